"""What a waypoint carries for whom, and where a connection goes whose bytes it does not look into.

It stands for the services and workloads that name it, and for nobody else: whoever is not behind it is not reached
through it, or policies that hold elsewhere would be passed by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ambient.core import authority
from ambient.core.authorize import Allowed, Connection, Denied
from ambient.core.authorize_request import authorize_connection
from ambient.core.baggage import parse_forwarded
from ambient.core.endpoints import Candidates
from ambient.core.gateways import is_behind
from ambient.core.inbound import Reject, Rejection, TunnelRequest, reject
from ambient.core.model.address import SocketAddress
from ambient.core.model.route import Backend, Forward, Redirect, Respond
from ambient.core.outbound import (
    Direct,
    Refusal,
    Refuse,
    Tunnel,
    to_service,
    to_workload,
    workload_at,
)
from ambient.core.ports import OWN_PORTS
from ambient.core.routing import Caller, Connection as Asked, NotFound, draw, traffic_for

if TYPE_CHECKING:
    from ambient.core.balance import Pick
    from ambient.core.model.address import IpAddress
    from ambient.core.model.policies import ServicePolicies
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload
    from ambient.core.routing import Routers
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Admit:
    """It is one of ours: carry it."""

    source: SocketAddress
    """The client's own address."""
    caller: Workload | None
    """The workload at ``source`` if it has the identity that was proved."""
    target: SocketAddress
    """What the client meant."""
    service: Service | None
    """What it called; None: a workload by its address."""
    workload: Workload | None
    """What it called; None: a service."""


def service_key(namespace: str, name: str) -> str:
    """The key of the service that a waypoint is called by."""
    return f"{namespace}/{name}.{namespace}.svc.cluster.local"


def admit(snapshot: Snapshot, own: Workload | None, waypoint: str, request: TunnelRequest) -> Admit | Reject:
    """Whether ``waypoint`` carries ``request``: the key of its service. ``own``: this replica, None before the mesh knows it."""
    if request.method != "CONNECT":
        shown = authority.shown(request.method)
        return reject(Rejection.METHOD, f"method is {shown}; only CONNECT is served")
    asked = authority.parse(request.authority)
    if asked is None:
        shown = authority.shown(request.authority)
        return reject(Rejection.AUTHORITY, f"authority {shown} is not host:port")
    if own is None:
        return reject(
            Rejection.UNKNOWN_WORKLOAD, f"the mesh does not know this waypoint yet: {request.local}"
        )
    service: Service | None
    workload: Workload | None = None
    match asked:
        case SocketAddress():
            target = asked
            workload = workload_at(snapshot, asked.ip, own.network)
            service = snapshot.service_at(asked.ip, own.network)
            # No range, however wide, is meant to have the waypoint's own loopback.
            if service is None and workload is None and not (asked.ip.is_loopback or asked.ip.is_unspecified):
                service = snapshot.service_over(asked.ip, own.network)
        case authority.HostPort(host, port):
            service = _named(snapshot, own, host)
            target = SocketAddress(_address(service, request), port)
    if service is not None and _is_ours(own, service):
        workload = None
    elif workload is not None and _is_ours(own, workload):
        service = None
        if target.port in OWN_PORTS:
            return reject(Rejection.RECURSIVE, f"attempted recursive call to a proxy: {target}")
    else:
        return reject(Rejection.NOT_SERVED, _not_served(waypoint, request.authority, service, workload))
    source, caller = _client(snapshot, own, request)
    return Admit(source, caller, target, service, workload)


def permit(
    snapshot: Snapshot,
    waypoint: str,
    service: Service | None,
    connection: Connection,
    server_name: str,
    *,
    may_be_http: bool,
) -> Allowed | Denied:
    """Whether policies let a connection pass of whose requests nothing is known.

    ``service``: None for a workload that was called by its address; ``server_name`` is empty where there is none.
    ``may_be_http``: nobody has declared that it is something else. Then a client may have written its requests so that
    only servers take them for such, and no token that is demanded can be seen.
    """
    policies = policies_of(snapshot, waypoint, service)
    if policies is None:
        return Allowed(None)
    decision = authorize_connection(policies.authorizations, connection, server_name)
    if may_be_http and isinstance(decision, Allowed) and any(rule.is_required for rule in policies.tokens):
        why = "a token is demanded, and none can be seen on a connection that is not HTTP"
        return Denied(None, why, decision.would_deny, decision.would_allow)
    return decision


def policies_of(snapshot: Snapshot, waypoint: str, service: Service | None) -> ServicePolicies | None:
    """What is enforced for calls of a service; those of the waypoint's own are for workloads, called by their address."""
    return snapshot.policies.get(waypoint if service is None else service.key)


def route(
    snapshot: Snapshot,
    own: Workload,
    routers: Routers,
    admitted: Admit,
    server_name: str | None,
    chance: float,
    pick: Pick,
) -> Tunnel | Direct | Refuse:
    """Where a connection goes; ``server_name``: None unless it is TLS. ``chance`` in [0, 1) draws among backends."""
    target, service = admitted.target, admitted.service
    if service is None:
        return _to_called(snapshot, own, target, None)
    routes = snapshot.routes.get(service.key)
    caller = Caller() if admitted.caller is None else _caller(admitted.caller)
    backend = Backend(service.key, target.port)
    if routes is not None:
        asked = Asked(target.port, caller, server_name, target.ip)
        chosen = routers.of(routes).choose(asked)
        if isinstance(chosen, NotFound):
            return _no_route(f"none of {service.key} is for it", service)
        match chosen.action:
            case Forward(backends):
                drawn = draw(backends, chance)
                if drawn is None:
                    return _no_route(f"every backend of {service.key} has weight 0", service)
                backend = drawn
            case Redirect() | Respond():
                return _no_route(f"what is said of {service.key} answers requests, and this is none", service)
    return _to_backend(snapshot, own, backend, admitted, caller, pick)


def _to_backend(
    snapshot: Snapshot, own: Workload, backend: Backend, admitted: Admit, caller: Caller, pick: Pick
) -> Tunnel | Direct | Refuse:
    called, target = admitted.service, admitted.target
    service = snapshot.services.get(backend.service)
    if backend.trouble or service is None:
        return _no_route(backend.trouble or f"service {backend.service} is not known", called)
    if service.passthrough:
        return _to_called(snapshot, own, target, service)
    wanted = SocketAddress(target.ip, target.port if backend.port is None else backend.port)
    if not backend.subset:
        return to_service(snapshot, own, wanted, service, pick)
    routes = snapshot.routes.get(service.key)
    subset = None if routes is None else traffic_for(routes, caller.namespace).subsets.get(backend.subset)
    if subset is None:
        return _no_route(f"service {service.key} has no subset {backend.subset!r}", called)
    labels = dict(subset.labels).items()

    def of_subset(candidates: Candidates) -> Workload | None:
        return pick(Candidates.of(one for one in candidates if labels <= dict(one.labels).items()))

    way = to_service(snapshot, own, wanted, service, of_subset)
    match way:
        case Refuse(Refusal.NO_HEALTHY_ENDPOINT):
            return replace(way, detail=f"{way.detail} in subset {backend.subset!r}")
        case Refuse() | Tunnel() | Direct():
            return way


def _to_called(
    snapshot: Snapshot, own: Workload, target: SocketAddress, service: Service | None
) -> Tunnel | Direct:
    """Where the client meant to go."""
    workload = workload_at(snapshot, target.ip, own.network)
    return Direct(target, None, service) if workload is None else to_workload(workload, target, service)


def _no_route(why: str, service: Service | None) -> Refuse:
    return Refuse(Refusal.NO_ROUTE, f"no route: {why}", None, service)


def _is_ours(own: Workload, one: Service | Workload) -> bool:
    return one.waypoint is not None and is_behind(own, one.waypoint)


def _named(snapshot: Snapshot, own: Workload, host: str) -> Service | None:
    """The service called ``host``: of the namespace that its name has, or of the waypoint's."""
    wanted = host.lower()
    namespaces = (*wanted.split(".")[1:2], own.namespace)
    found = (snapshot.services.get(f"{namespace}/{wanted}") for namespace in namespaces)
    return next((service for service in found if service is not None), None)


def _address(service: Service | None, request: TunnelRequest) -> IpAddress:
    """Of a service that was called by name; where it has none, what was dialled stands for it."""
    addresses = () if service is None else service.addresses
    return addresses[0].ip if addresses else request.local.ip


def _not_served(waypoint: str, asked: str, service: Service | None, workload: Workload | None) -> str:
    if service is not None:
        what = f"service {service.key}"
    elif workload is not None:
        what = f"workload {workload.uid}"
    else:
        what = authority.shown(asked)
    return f"{what} is not behind waypoint {waypoint}"


def _client(
    snapshot: Snapshot, own: Workload, request: TunnelRequest
) -> tuple[SocketAddress, Workload | None]:
    """Who calls from where: as the client's node says, if that fits who it has proved to be."""
    forwarded = parse_forwarded(request.forwarded) if request.forwarded else None
    said = None if forwarded is None else forwarded.source
    for source in (said, request.source):
        if source is None:
            continue
        workload = snapshot.workload_at(source.ip, own.network)
        if workload is not None and workload.identity == request.identity:
            return source, workload
    if said is not None and said.ip == request.source.ip:
        return said, None
    return request.source, None


def _caller(workload: Workload) -> Caller:
    return Caller(workload.namespace, workload.labels)
