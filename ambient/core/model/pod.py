"""Pods: workloads of this node, as its daemon holds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from immutables import Map

from ambient.core.model.address import IpAddress, SocketAddress

if TYPE_CHECKING:
    from ambient.core.model.authorization import IpNetwork


class Capture(Enum):
    """How far a pod's traffic is in the mesh."""

    OFF = "off"
    """Not at all: nothing of ours touches it."""
    DRAINING = "draining"
    """New connections go straight; HBONE from peers that have not heard yet is still accepted."""
    ON = "on"
    """Outbound and inbound are captured."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Traffic that stays outside the mesh."""

    outbound_ports: frozenset[int] = frozenset()
    inbound_ports: frozenset[int] = frozenset()
    outbound_networks: frozenset[IpNetwork] = frozenset()

    def __or__(self, other: Exclusions) -> Exclusions:
        return Exclusions(
            self.outbound_ports | other.outbound_ports,
            self.inbound_ports | other.inbound_ports,
            self.outbound_networks | other.outbound_networks,
        )


@dataclass(frozen=True, slots=True)
class Pod:
    """One local workload: who it says it is, and where the kernel keeps it."""

    uid: str
    name: str
    namespace: str
    service_account: str
    netns_cookie: int
    """``SO_NETNS_COOKIE`` of its network namespace: unique for the life of the machine."""
    addresses: tuple[IpAddress, ...]
    labels: Map[str, str] = Map()  # noqa: RUF009
    cgroup: str | None = None
    """Its cgroup v2 folder; None: only reachable through the root of the hierarchy."""
    exclusions: Exclusions = Exclusions()


@dataclass(frozen=True, slots=True)
class OlderConnection:
    """A TCP connection of a pod that never met the mesh."""

    local: SocketAddress
    remote: SocketAddress
    inbound: bool
    """Whether the pod is its server: its local port has a listener."""
    cookie: int
    """The kernel's socket cookie, by which it can be destroyed."""
