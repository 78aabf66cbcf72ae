"""Whether a connection may reach a workload.

Policies considered: GLOBAL ones, those of the workload's namespace, and those that select it. Order: any DENY that
matches denies; without any ALLOW, allow; any ALLOW that matches allows; else deny. Dry-run policies are only noted.
Within each group policies are asked in key order, so that every node names the same one. A connection without an
identity (plaintext) matches no namespace, principal or service account, and every ``not_*`` of them; STRICT arrives
as a DENY of connections whose principal is not present. Source: reference of ztunnel's rbac, section 3.1.

Each policy is compiled once into closures and kept for as long as the policy object lives in some snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from ambient.core.model.address import IpAddress, SocketAddress
from ambient.core.model.authorization import Action, StringMatchKind
from ambient.core.model.identity import SpiffeId

if TYPE_CHECKING:
    from ambient.core.model.authorization import Authorization, Clause, IpNetwork, Match, Rule, StringMatch
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Connection:
    """Who calls whom."""

    source_identity: SpiffeId | None
    """None: it came as plaintext, so nobody has proved anything."""
    source: SocketAddress
    destination: SocketAddress
    """Address and port of the workload, never of a service."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The connection may pass."""

    policy: str | None
    """``namespace/name`` of the ALLOW policy that matched; None: no ALLOW policy is in force."""
    would_deny: str | None = None
    """The first dry-run DENY policy that matches."""
    would_allow: str | None = None
    """The first dry-run ALLOW policy that matches."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The connection must not pass."""

    policy: str | None
    """``namespace/name`` of the DENY policy that matched; None: ALLOW policies exist and none did."""
    why: str
    would_deny: str | None = None
    would_allow: str | None = None


def authorize(snapshot: Snapshot, workload: Workload, connection: Connection) -> Allowed | Denied:
    """Whether ``connection`` may reach ``workload``, and which policy says so."""
    raise NotImplementedError
