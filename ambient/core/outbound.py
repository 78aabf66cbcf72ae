"""Where a captured connection goes.

The order is the mesh's contract: service with waypoint, service endpoint, workload waypoint, HBONE, plain TCP. What
a policy or an operator asked for and cannot be had is refused; nothing falls back to a weaker path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from ambient.core.endpoints import is_healthy
from ambient.core.gateways import is_behind, locate
from ambient.core.model.address import NetworkAddress, SocketAddress
from ambient.core.model.service import Service
from ambient.core.model.workload import TunnelProtocol, Workload
from ambient.core.observation import ResponseFlag
from ambient.core.ports import HBONE_PORT, OWN_PORTS, target_port

if TYPE_CHECKING:
    from ambient.core.balance import Pick
    from ambient.core.model.address import GatewayAddress, IpAddress
    from ambient.core.snapshot import Snapshot


class Refusal(Enum):
    """Why a connection is not carried; values are metric labels."""

    RECURSIVE = "recursive"
    UNKNOWN_WAYPOINT = "unknown_waypoint"
    NO_ENDPOINTS = "no_endpoints"
    NO_HEALTHY_ENDPOINT = "no_healthy_endpoint"
    NO_TARGET_PORT = "no_target_port"
    NO_ADDRESS = "no_address"
    OTHER_NETWORK = "other_network"
    NO_ROUTE = "no_route"
    """Routes of the service lead nowhere; only waypoints ask them."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Over HBONE: connect to ``hop``, see that it proves one of ``expect``, and ask it for ``authority``."""

    hop: SocketAddress
    authority: str
    expect: frozenset[str]
    """SPIFFE URIs, any one of which the peer's certificate must carry."""
    destination: Workload | None
    """The workload or waypoint at ``hop``."""
    service: Service | None
    """The service that the client meant."""


@dataclass(frozen=True, slots=True)
class Direct:
    """As plain TCP."""

    to: SocketAddress
    destination: Workload | None
    service: Service | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not at all."""

    why: Refusal
    detail: str
    """A sentence naming the object that is in the way."""
    destination: Workload | None = None
    service: Service | None = None

    @property
    def flag(self) -> ResponseFlag:
        """For ``response_flags``: nothing was reached."""
        return ResponseFlag.CONNECT


def resolve(
    snapshot: Snapshot, source: Workload, target: SocketAddress, pick: Pick
) -> Tunnel | Direct | Refuse:
    """Where ``source``'s connection to ``target`` goes; ``pick`` chooses among a service's endpoints."""
    if target.port in OWN_PORTS and _is_self(source, target.ip):
        return Refuse(Refusal.RECURSIVE, f"attempted recursive call to ourselves: {target}")
    destination = workload_at(snapshot, target.ip, source.network)
    service = snapshot.service_at(target.ip, source.network)
    if service is None and destination is None:
        # A workload is known more precisely than any range that it is in.
        service = snapshot.service_over(target.ip, source.network)
    if service is not None:
        if service.waypoint is not None:
            return _through(snapshot, source, target, service.waypoint, service, pick)
        if not service.passthrough:
            return to_service(snapshot, source, target, service, pick)
    if destination is None:
        return Direct(target, None, service)
    if destination.waypoint is not None and not is_behind(source, destination.waypoint):
        return _through(snapshot, source, target, destination.waypoint, service, pick)
    return to_workload(destination, target, service)


def _is_self(source: Workload, ip: IpAddress) -> bool:
    return ip.is_loopback or ip.is_unspecified or ip in source.addresses


def workload_at(snapshot: Snapshot, ip: IpAddress, network: str) -> Workload | None:
    """The workload that an address means.

    One in its node's own network shares that address with others: the address does not tell who it is.
    """
    workload = snapshot.workload_at(ip, network)
    return None if workload is None or workload.host_network else workload


def to_workload(destination: Workload, target: SocketAddress, service: Service | None) -> Tunnel | Direct:
    """To an address of a workload, past any waypoint."""
    match destination.tunnel:
        case TunnelProtocol.HBONE:
            hop = SocketAddress(target.ip, HBONE_PORT)
            return Tunnel(hop, str(target), _expected(destination, service), destination, service)
        case TunnelProtocol.NONE:
            return Direct(target, destination, service)


def _expected(destination: Workload, service: Service | None) -> frozenset[str]:
    own = frozenset({str(destination.identity)})
    return own if service is None else own.union(service.subject_alt_names)


def to_service(
    snapshot: Snapshot, source: Workload, target: SocketAddress, service: Service, pick: Pick
) -> Tunnel | Direct | Refuse:
    """To an endpoint of ``service``, past any waypoint; ``target`` has its port, and an address of a like family."""
    drawn = _draw(snapshot, source, service, target, pick)
    if isinstance(drawn, Refuse):
        return drawn
    endpoint, address = drawn
    return to_workload(endpoint, address, service)


def _draw(
    snapshot: Snapshot, source: Workload, service: Service, target: SocketAddress, pick: Pick
) -> tuple[Workload, SocketAddress] | Refuse:
    """An endpoint for ``target``'s port and where it listens."""

    def refuse(why: Refusal, detail: str) -> Refuse:
        return Refuse(why, detail, service=service)

    endpoints = snapshot.endpoints_of.get(service.key)
    if endpoints is None:
        return refuse(Refusal.NO_ENDPOINTS, f"no endpoints for service: {service.key}")
    found = endpoints.serving(service, source.network, target.port)
    if not found.healthy:
        return refuse(Refusal.NO_HEALTHY_ENDPOINT, f"no healthy upstream: {service.key}")
    if not found.near:
        theirs = next(one.network for one in endpoints if is_healthy(service, one))
        return refuse(Refusal.OTHER_NETWORK, _no_way(service.key, theirs, source.network))
    if not found.serving:
        detail = f"no valid target port for service: {service.key} has no endpoint for port {target.port}"
        return refuse(Refusal.NO_TARGET_PORT, detail)
    if not found.candidates:
        return refuse(Refusal.NO_ADDRESS, f"no address: no endpoint of service {service.key} has one")
    endpoint = pick(found.candidates)
    if endpoint is None:
        return refuse(Refusal.NO_HEALTHY_ENDPOINT, f"no healthy upstream: {service.key} has no capacity")
    port = target_port(service, endpoint, target.port)
    if port is None:
        raise ValueError(f"pick chose {endpoint.uid}, which it was not offered")
    return endpoint, SocketAddress(_address_of(endpoint, target.ip), port)


def _no_way(what: str, theirs: str, ours: str) -> str:
    return f"no way to network {theirs!r}, where {what} is, from network {ours!r}: no network gateway is supported"


def _address_of(endpoint: Workload, like: IpAddress) -> IpAddress:
    """Its address of the family that the client used, or else any."""
    return next((ip for ip in endpoint.addresses if ip.version == like.version), endpoint.addresses[0])


def _through(
    snapshot: Snapshot,
    source: Workload,
    target: SocketAddress,
    waypoint: GatewayAddress,
    service: Service | None,
    pick: Pick,
) -> Tunnel | Refuse:
    """By way of a waypoint, which is asked for what the client meant."""
    found = locate(snapshot, waypoint)
    match found:
        case Workload():
            if found.network != source.network:
                detail = _no_way(f"waypoint {found.uid}", found.network, source.network)
                return Refuse(Refusal.OTHER_NETWORK, detail, found, service)
            if not found.addresses:
                return Refuse(
                    Refusal.NO_ADDRESS, f"no address: waypoint {found.uid} has none", found, service
                )
            hop = SocketAddress(_address_of(found, _waypoint_ip(waypoint, target)), waypoint.port)
            return Tunnel(hop, str(target), _expected(found, None), found, service)
        case Service():
            drawn = _draw(snapshot, source, found, SocketAddress(target.ip, waypoint.port), pick)
            if isinstance(drawn, Refuse):
                return replace(drawn, detail=f"waypoint: {drawn.detail}", service=service)
            endpoint, hop = drawn
            return Tunnel(hop, str(target), _expected(endpoint, found), endpoint, service)
        case None:
            detail = f"unknown waypoint: {waypoint.destination}"
            return Refuse(Refusal.UNKNOWN_WAYPOINT, detail, service=service)


def _waypoint_ip(waypoint: GatewayAddress, target: SocketAddress) -> IpAddress:
    match waypoint.destination:
        case NetworkAddress(_, ip):
            return ip
        case str():
            return target.ip
