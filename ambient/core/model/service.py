"""Services: names and virtual addresses for groups of workloads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ambient.core.model.address import GatewayAddress, NetworkAddress, NetworkRange


class Port(NamedTuple):
    """A service port and the port of the workload behind it (0: the same, or named and resolved per workload)."""

    service_port: int
    target_port: int


@dataclass(frozen=True, slots=True)
class Service:
    """A named group of workloads. Source: ``istio.workload.Service``."""

    name: str
    namespace: str
    hostname: str
    addresses: tuple[NetworkAddress, ...]
    """Its virtual addresses; none for a headless service."""
    ports: tuple[Port, ...]
    subject_alt_names: tuple[str, ...] = ()
    """SPIFFE URIs that its endpoints may present besides their own."""
    waypoint: GatewayAddress | None = None
    allow_unhealthy: bool = False
    """Whether unhealthy endpoints are balanced over too (publishNotReadyAddresses)."""
    ranges: tuple[NetworkRange, ...] = ()
    """Ranges of addresses that are its own too, where nothing more precise is known of one."""
    passthrough: bool = False
    """Whether connections go where they were meant to go, and not to an endpoint."""

    @property
    def key(self) -> str:
        """``namespace/hostname``, its name in the mesh."""
        return f"{self.namespace}/{self.hostname}"
