"""The mesh's nouns as they travel. ``ambient.rpc.wire.decode`` is the way back."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import UInt32Value

from ambient.core.model.address import NetworkAddress, NetworkRange
from ambient.core.model.authorization import Action, Authorization, Scope, StringMatchKind
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.service import Service
from ambient.core.model.settings import MeshSettings
from ambient.core.model.workload import TunnelProtocol, Workload, WorkloadStatus
from ambient.rpc.pb.istio.security import authorization_pb2
from ambient.rpc.pb.istio.workload import workload_pb2
from ambient.rpc.policies import encode_policies, encode_settings
from ambient.rpc.routes import encode_routes
from ambient.rpc.wire import (
    ADDRESS,
    AUTHORIZATION,
    MESH,
    POLICIES,
    ROUTES,
    SETTINGS,
    Name,
    RawResource,
    Update,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

    from ambient.core.delta import Delta, Resource
    from ambient.core.model.address import GatewayAddress
    from ambient.core.model.authorization import (
        Clause,
        IpNetwork,
        Match,
        Rule,
        ServiceAccountMatch,
        StringMatch,
    )
    from ambient.core.model.service import Port


def encode_delta(delta: Delta) -> Update:
    """A change of the mesh as it travels."""
    removed = [(ADDRESS, name) for name in delta.removed_addresses]
    removed += [(AUTHORIZATION, name) for name in delta.removed_authorizations]
    removed += [(ROUTES, name) for name in delta.removed_routes]
    removed += [(POLICIES, name) for name in delta.removed_policies]
    if delta.settings_removed:
        removed.append((SETTINGS, MESH))
    return Update(tuple(encode_resource(resource) for resource in delta.upserted), tuple(removed))


def encode_resource(resource: Resource) -> RawResource:
    """One noun; its version is a hash of its content, so that a restarted control plane names it the same."""
    match resource:
        case Workload():
            return _raw(encode_name(resource), workload_pb2.Address(workload=_workload(resource)))
        case Service():
            return _raw(encode_name(resource), workload_pb2.Address(service=_service(resource)))
        case Authorization():
            return _raw(encode_name(resource), _authorization(resource))
        case ServiceRoutes():
            return _raw(encode_name(resource), encode_routes(resource))
        case ServicePolicies():
            return _raw(encode_name(resource), encode_policies(resource))
        case MeshSettings():
            return _raw(encode_name(resource), encode_settings(resource))


def encode_name(resource: Resource) -> Name:
    """What it is known by on the wire."""
    match resource:
        case Workload():
            return ADDRESS, resource.uid
        case Service():
            return ADDRESS, resource.key
        case Authorization():
            return AUTHORIZATION, resource.key
        case ServiceRoutes():
            return ROUTES, resource.service
        case ServicePolicies():
            return POLICIES, resource.service
        case MeshSettings():
            return SETTINGS, MESH


def _raw(of: Name, message: Message) -> RawResource:
    type_url, name = of
    body = message.SerializeToString(deterministic=True)
    return RawResource(type_url, name, hashlib.sha256(body).hexdigest()[:32], body)


def _workload(workload: Workload) -> workload_pb2.Workload:
    return workload_pb2.Workload(
        uid=workload.uid,
        name=workload.name,
        namespace=workload.namespace,
        addresses=[ip.packed for ip in workload.addresses],
        hostname=workload.hostname,
        network=workload.network,
        tunnel_protocol=_TUNNEL[workload.tunnel],
        trust_domain=workload.trust_domain,
        service_account=workload.service_account,
        waypoint=_gateway(workload.waypoint),
        node=workload.node,
        canonical_name=workload.canonical_name,
        canonical_revision=workload.canonical_revision,
        workload_type=workload_pb2.POD,
        workload_name=workload.workload_name,
        services={
            key: workload_pb2.PortList(ports=_ports(ports)) for key, ports in workload.services.items()
        },
        authorization_policies=workload.policies,
        status=_STATUS[workload.status],
        cluster_id=workload.cluster,
        locality=workload_pb2.Locality(
            region=workload.locality.region, zone=workload.locality.zone, subzone=workload.locality.subzone
        ),
        network_mode=workload_pb2.HOST_NETWORK if workload.host_network else workload_pb2.STANDARD,
        capacity=None if workload.capacity == 1 else UInt32Value(value=workload.capacity),
        labels=workload.labels,
    )


def _service(service: Service) -> workload_pb2.Service:
    return workload_pb2.Service(
        name=service.name,
        namespace=service.namespace,
        hostname=service.hostname,
        addresses=[
            *(_network_address(address) for address in service.addresses),
            *(_network_range(held) for held in service.ranges),
        ],
        ports=_ports(service.ports),
        subject_alt_names=service.subject_alt_names,
        waypoint=_gateway(service.waypoint),
        load_balancing=_load_balancing(service),
    )


def _load_balancing(service: Service) -> workload_pb2.LoadBalancing | None:
    if not (service.allow_unhealthy or service.passthrough):
        return None
    message = workload_pb2.LoadBalancing()
    if service.allow_unhealthy:
        message.health_policy = workload_pb2.LoadBalancing.ALLOW_ALL
    if service.passthrough:
        message.mode = workload_pb2.LoadBalancing.PASSTHROUGH
    return message


def _authorization(authorization: Authorization) -> authorization_pb2.Authorization:
    return authorization_pb2.Authorization(
        name=authorization.name,
        namespace=authorization.namespace,
        scope=_SCOPE[authorization.scope],
        action=_ACTION[authorization.action],
        rules=[_rule(rule) for rule in authorization.rules],
        dry_run=authorization.dry_run,
    )


def _rule(rule: Rule) -> authorization_pb2.Rule:
    return authorization_pb2.Rule(clauses=[_clause(clause) for clause in rule])


def _clause(clause: Clause) -> authorization_pb2.Clause:
    return authorization_pb2.Clause(matches=[_match(match) for match in clause])


def _match(match: Match) -> authorization_pb2.Match:
    return authorization_pb2.Match(
        namespaces=_strings(match.namespaces),
        not_namespaces=_strings(match.not_namespaces),
        principals=_strings(match.principals),
        not_principals=_strings(match.not_principals),
        service_accounts=_accounts(match.service_accounts),
        not_service_accounts=_accounts(match.not_service_accounts),
        source_ips=_networks(match.source_ips),
        not_source_ips=_networks(match.not_source_ips),
        destination_ips=_networks(match.destination_ips),
        not_destination_ips=_networks(match.not_destination_ips),
        destination_ports=match.destination_ports,
        not_destination_ports=match.not_destination_ports,
    )


def _strings(matches: Iterable[StringMatch]) -> list[authorization_pb2.StringMatch]:
    return [_string(match) for match in matches]


def _string(match: StringMatch) -> authorization_pb2.StringMatch:
    match match.kind:
        case StringMatchKind.EXACT:
            return authorization_pb2.StringMatch(exact=match.value)
        case StringMatchKind.PREFIX:
            return authorization_pb2.StringMatch(prefix=match.value)
        case StringMatchKind.SUFFIX:
            return authorization_pb2.StringMatch(suffix=match.value)
        case StringMatchKind.PRESENCE:
            return authorization_pb2.StringMatch(presence=Empty())


def _accounts(matches: Iterable[ServiceAccountMatch]) -> list[authorization_pb2.ServiceAccountMatch]:
    return [
        authorization_pb2.ServiceAccountMatch(
            namespace=match.namespace, service_account=match.service_account
        )
        for match in matches
    ]


def _networks(networks: Iterable[IpNetwork]) -> list[authorization_pb2.Address]:
    return [
        authorization_pb2.Address(address=network.network_address.packed, length=network.prefixlen)
        for network in networks
    ]


def _ports(ports: Iterable[Port]) -> list[workload_pb2.Port]:
    return [workload_pb2.Port(service_port=port.service_port, target_port=port.target_port) for port in ports]


def _network_address(address: NetworkAddress) -> workload_pb2.NetworkAddress:
    return workload_pb2.NetworkAddress(network=address.network, address=address.ip.packed)


def _network_range(held: NetworkRange) -> workload_pb2.NetworkAddress:
    return workload_pb2.NetworkAddress(
        network=held.network, address=held.range.network_address.packed, length=held.range.prefixlen
    )


def _gateway(gateway: GatewayAddress | None) -> workload_pb2.GatewayAddress | None:
    if gateway is None:
        return None
    match gateway.destination:
        case NetworkAddress() as address:
            return workload_pb2.GatewayAddress(
                address=_network_address(address), hbone_mtls_port=gateway.port
            )
        case str() as key:
            namespace, _, hostname = key.partition("/")
            name = workload_pb2.NamespacedHostname(namespace=namespace, hostname=hostname)
            return workload_pb2.GatewayAddress(hostname=name, hbone_mtls_port=gateway.port)


_TUNNEL: Final = {TunnelProtocol.NONE: workload_pb2.NONE, TunnelProtocol.HBONE: workload_pb2.HBONE}
_STATUS: Final = {
    WorkloadStatus.HEALTHY: workload_pb2.HEALTHY,
    WorkloadStatus.UNHEALTHY: workload_pb2.UNHEALTHY,
}
_SCOPE: Final = {
    Scope.GLOBAL: authorization_pb2.GLOBAL,
    Scope.NAMESPACE: authorization_pb2.NAMESPACE,
    Scope.WORKLOAD_SELECTOR: authorization_pb2.WORKLOAD_SELECTOR,
}
_ACTION: Final = {Action.ALLOW: authorization_pb2.ALLOW, Action.DENY: authorization_pb2.DENY}
