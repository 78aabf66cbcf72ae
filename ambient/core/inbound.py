"""Whether a connection that arrives for a workload of this node is let in.

The same questions are asked of a live connection when a new snapshot comes (``recheck``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ambient.core.authorize import Connection
from ambient.core.model.address import SocketAddress
from ambient.core.model.identity import SpiffeId
from ambient.core.model.service import Service
from ambient.core.observation import ResponseFlag

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


class Rejection(Enum):
    """Why a connection is not let in; values are metric labels."""

    METHOD = "method"
    AUTHORITY = "authority"
    IP_MISMATCH = "ip_mismatch"
    RECURSIVE = "recursive"
    TRUST_DOMAIN = "trust_domain"
    UNKNOWN_WORKLOAD = "unknown_workload"
    UNKNOWN_SERVICE = "unknown_service"
    NO_TARGET_PORT = "no_target_port"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class TunnelRequest:
    """A CONNECT stream, with what its TLS connection proved."""

    method: str
    authority: str
    source: SocketAddress
    """The TCP peer."""
    identity: SpiffeId
    """Proved by the peer's certificate."""
    local: SocketAddress
    """The address of ours that the peer dialled."""
    forwarded: str = ""
    """The ``forwarded`` header; only names the service in telemetry."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Let it in: dial ``target`` in the workload's namespace."""

    target: SocketAddress
    policy: str | None
    """The ALLOW policy that matched."""
    service: Service | None = None
    """The service that the client meant, if it is one that the workload serves."""
    would_deny: str | None = None
    """A dry-run DENY policy that matches."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Do not let it in."""

    status: int
    """For a CONNECT; plaintext is reset instead."""
    why: Rejection
    detail: str
    """A sentence for log and trace."""
    policy: str | None
    """The DENY policy that matched."""
    flag: ResponseFlag


def admit_tunnel(snapshot: Snapshot, workload: Workload | None, request: TunnelRequest) -> Admit | Reject:
    """Whether ``request`` may reach ``workload``; None: the mesh does not know the pod that was dialled."""
    raise NotImplementedError


def admit_plaintext(
    snapshot: Snapshot, workload: Workload | None, source: SocketAddress, destination: SocketAddress
) -> Admit | Reject:
    """Whether a plain TCP connection from ``source`` to ``destination`` may reach ``workload``."""
    raise NotImplementedError


def recheck(snapshot: Snapshot, workload: Workload, connection: Connection) -> Reject | None:
    """Why a live connection that was let in must be cut under ``snapshot``; None: it may stay."""
    raise NotImplementedError
