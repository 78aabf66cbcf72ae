"""Who may connect to whom. Source: ``istio.security.Authorization`` and its evaluation rules.

Rules are OR, clauses in a rule AND, matches in a clause OR, fields in a match AND, values in a field OR.
No rules: matches nothing. A rule with no clauses: matches everything. An empty match: matches nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple, TypeAlias

IpNetwork: TypeAlias = IPv4Network | IPv6Network


class Action(Enum):
    """What a matching policy does."""

    ALLOW = "allow"
    DENY = "deny"


class Scope(Enum):
    """Which workloads a policy is for."""

    GLOBAL = "global"
    NAMESPACE = "namespace"
    WORKLOAD_SELECTOR = "workload_selector"


class StringMatchKind(Enum):
    """How a pattern is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENCE = "presence"


class StringMatch(NamedTuple):
    """One pattern; ``value`` is empty for PRESENCE (any non-empty string)."""

    kind: StringMatchKind
    value: str


class ServiceAccountMatch(NamedTuple):
    """One account of one namespace."""

    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class Match:
    """Fields that must all hold; within a field, any value. ``not_*``: none of the values."""

    namespaces: tuple[StringMatch, ...] = ()
    not_namespaces: tuple[StringMatch, ...] = ()
    principals: tuple[StringMatch, ...] = ()
    """Compared with the SPIFFE id without ``spiffe://``."""
    not_principals: tuple[StringMatch, ...] = ()
    service_accounts: tuple[ServiceAccountMatch, ...] = ()
    not_service_accounts: tuple[ServiceAccountMatch, ...] = ()
    source_ips: tuple[IpNetwork, ...] = ()
    not_source_ips: tuple[IpNetwork, ...] = ()
    destination_ips: tuple[IpNetwork, ...] = ()
    not_destination_ips: tuple[IpNetwork, ...] = ()
    destination_ports: tuple[int, ...] = ()
    """Ports of the workload, not of a service."""
    not_destination_ports: tuple[int, ...] = ()


Clause: TypeAlias = tuple[Match, ...]
Rule: TypeAlias = tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Authorization:
    """One policy."""

    name: str
    namespace: str
    scope: Scope
    action: Action
    rules: tuple[Rule, ...]
    dry_run: bool = False

    @property
    def key(self) -> str:
        """``namespace/name``, its name in the mesh."""
        return f"{self.namespace}/{self.name}"


def shut(key: str, scope: Scope) -> Authorization:
    """Such as lets nobody in: what counts of a policy that cannot be read, where no earlier one stands."""
    namespace, _, name = key.partition("/")
    everybody: Rule = ()
    return Authorization(name, namespace, scope, Action.DENY, (everybody,))
