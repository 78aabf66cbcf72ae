"""Services: names and virtual addresses for groups of workloads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ambient.core.model.address import GatewayAddress, NetworkAddress, NetworkRange


class Port(NamedTuple):
    """A service port and the port of the workload behind it (0: the same, or named and resolved per workload)."""

    service_port: int
    target_port: int


class AppProtocol(Enum):
    """What is spoken on a port."""

    HTTP = "http"
    """HTTP/1.1; a client may ask for HTTP/2 in it."""
    HTTP2 = "http2"
    """HTTP/2 from the first byte, without TLS."""
    GRPC = "grpc"
    TLS = "tls"
    TCP = "tcp"
    """Bytes that nobody looks into."""


class DeclaredPort(NamedTuple):
    """What an operator says of a service port."""

    service_port: int
    name: str
    protocol: AppProtocol | None
    """None: nothing; it is for a proxy to find out."""


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

    declared: tuple[DeclaredPort, ...] = ()
    """For the control plane and L7 proxies; an L4 proxy is not told."""

    @property
    def key(self) -> str:
        """``namespace/hostname``, its name in the mesh."""
        return f"{self.namespace}/{self.hostname}"

    @property
    def kind(self) -> str:
        """The kind of the object that tells of it: Service if its host name is one that a cluster makes."""
        return "Service" if self.hostname.startswith(f"{self.name}.{self.namespace}.svc.") else "ServiceEntry"

    def declaration(self, service_port: int) -> DeclaredPort:
        """What is said of a port; of most, nothing."""
        unsaid = DeclaredPort(service_port, "", None)
        return next((port for port in self.declared if port.service_port == service_port), unsaid)
