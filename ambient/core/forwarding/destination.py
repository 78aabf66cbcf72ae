"""Which endpoints a request may go to, and how each is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ambient.core.forwarding.reason import Reason
from ambient.core.model.address import SocketAddress
from ambient.core.model.service import AppProtocol
from ambient.core.model.workload import TunnelProtocol, Workload
from ambient.core.ports import HBONE_PORT, target_port

if TYPE_CHECKING:
    from ambient.core.endpoints import Candidates
    from ambient.core.model.service import Service
    from ambient.core.snapshot import Snapshot

_NO_NETWORK: Final = "no network gateway is supported"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes."""

    address: SocketAddress
    endpoint: Workload | None
    """The workload there; None: an address that the mesh does not know."""
    hop: SocketAddress | None = None
    """Where its HBONE is taken; None: it speaks none, and is dialled as it is."""
    expect: frozenset[str] = frozenset()
    """SPIFFE URIs, any one of which it must prove."""

    @property
    def way(self) -> tuple[SocketAddress, SocketAddress | None, frozenset[str]]:
        """What a connection to it depends on."""
        return self.address, self.hop, self.expect

    @property
    def uid(self) -> str:
        """What tells it from its siblings."""
        return str(self.address) if self.endpoint is None else self.endpoint.uid


@dataclass(frozen=True, slots=True)
class Missing:
    """There is nobody to ask."""

    reason: Reason
    detail: str
    """A sentence that names the service."""


def candidates(snapshot: Snapshot, service: Service, port: int, network: str) -> Candidates | Missing:
    """Who may serve a port of ``service`` for a waypoint in ``network``."""
    endpoints = snapshot.endpoints_of.get(service.key)
    if endpoints is None:
        return Missing(Reason.NO_ENDPOINTS, f"no endpoints for service: {service.key}")
    found = endpoints.serving(service, network, port)
    if not found.healthy:
        return Missing(Reason.NO_HEALTHY_ENDPOINT, f"no healthy upstream: {service.key}")
    if not found.near:
        detail = f"no way to the network of {service.key} from network {network!r}: {_NO_NETWORK}"
        return Missing(Reason.OTHER_NETWORK, detail)
    if not found.serving:
        return Missing(Reason.NO_TARGET_PORT, f"{service.key} has no endpoint for port {port}")
    if not found.candidates:
        return Missing(Reason.NO_ADDRESS, f"no endpoint of service {service.key} has an address")
    return found.candidates


def destination(
    endpoint: Workload, service: Service, port: int, own: Workload | None
) -> Destination | Missing:
    """How an endpoint of ``service`` is reached from the workload that we are."""
    there = target_port(service, endpoint, port)
    if there is None:
        return Missing(Reason.NO_TARGET_PORT, f"{endpoint.uid} has no port for {service.key} port {port}")
    version = endpoint.addresses[0].version if own is None or not own.addresses else own.addresses[0].version
    ip = next((ip for ip in endpoint.addresses if ip.version == version), endpoint.addresses[0])
    return reached(SocketAddress(ip, there), endpoint, own, frozenset(service.subject_alt_names))


def reached(
    address: SocketAddress,
    endpoint: Workload | None,
    own: Workload | None,
    also: frozenset[str] = frozenset(),
) -> Destination | Missing:
    """How an address is reached, where ``endpoint`` is, if anyone; ``also``: identities that it may prove as well."""
    if own is not None and address.ip in own.addresses:
        return Missing(Reason.RECURSIVE, f"the waypoint itself is at {address}")
    if endpoint is None:
        return Destination(address, None)
    match endpoint.tunnel:
        case TunnelProtocol.HBONE:
            expect = also | {str(endpoint.identity)}
            return Destination(address, endpoint, SocketAddress(address.ip, HBONE_PORT), expect)
        case TunnelProtocol.NONE:
            return Destination(address, endpoint)


def speaks_http2(declared: AppProtocol | None, *, is_grpc: bool, by_client: bool, upgrades: bool) -> bool:
    """Whether an endpoint is asked in HTTP/2: as declared, else as the client asked.

    ``by_client``: it asked in HTTP/2. ``upgrades``: it asks for another protocol, which only HTTP/1.1 can go on with. A
    DestinationRule's ``h2UpgradePolicy`` says nothing of it: it is about the way between proxies, which is HTTP/2 anyway.
    """
    if upgrades:
        return False
    match declared:
        case AppProtocol.HTTP2 | AppProtocol.GRPC:
            return True
        case AppProtocol.HTTP:
            return is_grpc
        case AppProtocol.TLS | AppProtocol.TCP | None:
            return is_grpc or by_client
