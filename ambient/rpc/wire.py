"""Resources of the mesh as bytes, and back: what the control plane sends, workers receive and the disk keeps.

No gRPC here, so that a worker can import this cheaply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, TypeVar

from google.protobuf.message import DecodeError
from immutables import Map

from ambient.core.delta import Delta, Resource
from ambient.core.errors import PeerError
from ambient.core.model import authorization, policies
from ambient.core.model.address import GatewayAddress, IpAddress, NetworkAddress, NetworkRange, unmapped
from ambient.core.model.authorization import (
    Action,
    Authorization,
    Clause,
    IpNetwork,
    Match,
    Rule,
    Scope,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.service import Port, Service
from ambient.core.model.workload import Locality, TunnelProtocol, Workload, WorkloadStatus
from ambient.rpc.mirror import Invalid
from ambient.rpc.pb.ambient.snapshot.v1 import snapshot_pb2
from ambient.rpc.pb.istio.security import authorization_pb2
from ambient.rpc.pb.istio.workload import workload_pb2
from ambient.rpc.policies import decode_policies, decode_settings
from ambient.rpc.routes import decode_routes

if TYPE_CHECKING:
    from collections.abc import Iterable

ADDRESS: Final = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION: Final = "type.googleapis.com/istio.security.Authorization"
ROUTES: Final = "type.googleapis.com/ambient.route.v1.ServiceRoutes"
POLICIES: Final = "type.googleapis.com/ambient.policy.v1.ServicePolicies"
SETTINGS: Final = "type.googleapis.com/ambient.policy.v1.MeshSettings"
MESH: Final = "mesh"
"""The name of the one resource with settings."""

T = TypeVar("T")
Name = tuple[str, str]
"""A type URL and a name: what a resource is known by on the wire."""


@dataclass(frozen=True, slots=True)
class RawResource:
    """One resource as it travels."""

    type_url: str
    name: str
    version: str
    """As the control plane named it: opaque, echoed on reconnect."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """What changed, or a whole state as a change from nothing. Removal comes first."""

    upserted: tuple[RawResource, ...] = ()
    removed: tuple[Name, ...] = ()


class BadUpdate(PeerError):
    """Bytes that are not an update."""

    reason = "bad_update"


def encode(update: Update) -> bytes:
    """For workers, the deposit and the disk."""
    message = snapshot_pb2.Update(
        upserted=[
            snapshot_pb2.Resource(type_url=raw.type_url, name=raw.name, version=raw.version, body=raw.body)
            for raw in update.upserted
        ],
        removed=[snapshot_pb2.Name(type_url=type_url, name=name) for type_url, name in update.removed],
    )
    return message.SerializeToString()


def parse(content: bytes) -> Update:
    """What ``encode`` made. Raises BadUpdate for anything else."""
    try:
        message = snapshot_pb2.Update.FromString(content)
    except DecodeError as error:
        raise BadUpdate("these bytes are not an update of the mesh") from error
    return Update(
        tuple(RawResource(raw.type_url, raw.name, raw.version, raw.body) for raw in message.upserted),
        tuple((gone.type_url, gone.name) for gone in message.removed),
    )


def merge(held: Update, update: Update) -> Update:
    """A whole state after ``update``: later versions replace earlier ones, what is removed is gone.

    For states; for a run of changes use it with what was removed kept in mind.
    """
    resources = {(raw.type_url, raw.name): raw for raw in held.upserted}
    for name in update.removed:
        resources.pop(name, None)
    resources.update(((raw.type_url, raw.name), raw) for raw in update.upserted)
    return Update(tuple(resources.values()))


def accepted(update: Update, errors: Mapping[str, str]) -> Update:
    """``update`` without the resources that were refused."""
    return Update(tuple(raw for raw in update.upserted if raw.name not in errors), update.removed)


def shut(raw: RawResource) -> Resource | None:
    """What counts of a policy that could not be decoded: it lets nobody in, as far as it can be seen to reach.

    None: it would have let everybody in anyway, or is no policy.
    """
    if raw.type_url == POLICIES:
        return policies.shut(raw.name)
    if raw.type_url != AUTHORIZATION:
        return None
    try:
        message = authorization_pb2.Authorization.FromString(raw.body)
    except DecodeError:
        return authorization.shut(raw.name, Scope.GLOBAL)
    if message.dry_run:
        return None
    return authorization.shut(raw.name, _SCOPE.get(message.scope, Scope.GLOBAL))


def decode(update: Update) -> tuple[Delta, dict[str, str]]:
    """The change in the mesh's nouns, and by name why each resource that is not in it was refused."""
    upserted: list[Resource] = []
    errors: dict[str, str] = {}
    for raw in update.upserted:
        try:
            upserted.append(_decode(raw))
        except (Invalid, DecodeError) as error:
            errors[raw.name] = str(error)
    return (
        Delta(
            tuple(upserted),
            _removed(update, ADDRESS),
            _removed(update, AUTHORIZATION),
            _removed(update, ROUTES),
            _removed(update, POLICIES),
            settings_removed=(SETTINGS, MESH) in update.removed,
        ),
        errors,
    )


def _removed(update: Update, of_type: str) -> tuple[str, ...]:
    return tuple(name for type_url, name in update.removed if type_url == of_type)


def _decode(raw: RawResource) -> Resource:
    resource: Resource
    if raw.type_url == AUTHORIZATION:
        resource = _authorization(authorization_pb2.Authorization.FromString(raw.body))
        name = resource.key
    elif raw.type_url == ADDRESS:
        address = workload_pb2.Address.FromString(raw.body)
        match address.WhichOneof("type"):
            case "workload":
                resource = _workload(address.workload)
                name = resource.uid
            case "service":
                resource = _service(address.service)
                name = resource.key
            case _:
                raise Invalid("neither a workload nor a service")
    elif raw.type_url == ROUTES:
        resource = decode_routes(raw.body)
        name = resource.service
    elif raw.type_url == POLICIES:
        resource = decode_policies(raw.body)
        name = resource.service
    elif raw.type_url == SETTINGS:
        resource, name = decode_settings(raw.body), MESH
    else:
        raise Invalid(f"unknown type {raw.type_url!r}")
    if name != raw.name:
        raise Invalid(f"its content is named {name!r}")
    return resource


def _workload(message: workload_pb2.Workload) -> Workload:
    services: dict[str, tuple[Port, ...]] = {
        _service_key(key, "services"): _ports(ports.ports, f"services[{key}].ports")
        for key, ports in message.services.items()
    }
    return Workload(
        uid=_present(message.uid, "uid"),
        name=message.name,
        namespace=_present(message.namespace, "namespace"),
        service_account=message.service_account or "default",
        trust_domain=message.trust_domain or "cluster.local",
        addresses=tuple(_ip(packed, f"addresses[{i}]") for i, packed in enumerate(message.addresses)),
        network=message.network,
        hostname=message.hostname,
        tunnel=_enum(_TUNNEL, message.tunnel_protocol, "tunnel_protocol"),
        status=_enum(_STATUS, message.status, "status"),
        node=message.node,
        cluster=message.cluster_id,
        canonical_name=message.canonical_name,
        canonical_revision=message.canonical_revision,
        workload_name=message.workload_name,
        services=Map(services),
        policies=tuple(message.authorization_policies),
        waypoint=_gateway(message.waypoint, "waypoint") if message.HasField("waypoint") else None,
        locality=Locality(message.locality.region, message.locality.zone, message.locality.subzone),
        capacity=message.capacity.value if message.HasField("capacity") else 1,
        host_network=_enum(_HOST_NETWORK, message.network_mode, "network_mode"),
        labels=Map(dict(message.labels)),
    )


def _service(message: workload_pb2.Service) -> Service:
    addresses, ranges = _addresses(message.addresses)
    return Service(
        name=message.name,
        namespace=_present(message.namespace, "namespace"),
        hostname=_present(message.hostname, "hostname"),
        addresses=addresses,
        ports=_ports(message.ports, "ports"),
        subject_alt_names=tuple(message.subject_alt_names),
        waypoint=_gateway(message.waypoint, "waypoint") if message.HasField("waypoint") else None,
        allow_unhealthy=_enum(
            _HEALTH_POLICY, message.load_balancing.health_policy, "load_balancing.health_policy"
        ),
        ranges=ranges,
        passthrough=_enum(_PASSTHROUGH, message.load_balancing.mode, "load_balancing.mode"),
    )


def _authorization(message: authorization_pb2.Authorization) -> Authorization:
    return Authorization(
        name=_present(message.name, "name"),
        namespace=message.namespace,
        scope=_enum(_SCOPE, message.scope, "scope"),
        action=_enum(_ACTION, message.action, "action"),
        rules=tuple(_rule(rule, f"rules[{i}]") for i, rule in enumerate(message.rules)),
        dry_run=message.dry_run,
    )


def _rule(message: authorization_pb2.Rule, where: str) -> Rule:
    return tuple(_clause(clause, f"{where}.clauses[{i}]") for i, clause in enumerate(message.clauses))


def _clause(message: authorization_pb2.Clause, where: str) -> Clause:
    return tuple(_match(match, f"{where}.matches[{i}]") for i, match in enumerate(message.matches))


def _match(message: authorization_pb2.Match, where: str) -> Match:
    return Match(
        namespaces=_strings(message.namespaces, f"{where}.namespaces"),
        not_namespaces=_strings(message.not_namespaces, f"{where}.not_namespaces"),
        principals=_strings(message.principals, f"{where}.principals"),
        not_principals=_strings(message.not_principals, f"{where}.not_principals"),
        service_accounts=_accounts(message.service_accounts, f"{where}.service_accounts"),
        not_service_accounts=_accounts(message.not_service_accounts, f"{where}.not_service_accounts"),
        source_ips=_networks(message.source_ips, f"{where}.source_ips"),
        not_source_ips=_networks(message.not_source_ips, f"{where}.not_source_ips"),
        destination_ips=_networks(message.destination_ips, f"{where}.destination_ips"),
        not_destination_ips=_networks(message.not_destination_ips, f"{where}.not_destination_ips"),
        destination_ports=_numbers(message.destination_ports, f"{where}.destination_ports"),
        not_destination_ports=_numbers(message.not_destination_ports, f"{where}.not_destination_ports"),
    )


def _strings(messages: Iterable[authorization_pb2.StringMatch], where: str) -> tuple[StringMatch, ...]:
    return tuple(_string(message, f"{where}[{i}]") for i, message in enumerate(messages))


def _string(message: authorization_pb2.StringMatch, where: str) -> StringMatch:
    match message.WhichOneof("match_type"):
        case "exact":
            return StringMatch(StringMatchKind.EXACT, _present(message.exact, where))
        case "prefix":
            return StringMatch(StringMatchKind.PREFIX, _present(message.prefix, where))
        case "suffix":
            return StringMatch(StringMatchKind.SUFFIX, _present(message.suffix, where))
        case "presence":
            return StringMatch(StringMatchKind.PRESENCE, "")
        case _:
            raise Invalid(f"{where} has no kind of match")


def _accounts(
    messages: Iterable[authorization_pb2.ServiceAccountMatch], where: str
) -> tuple[ServiceAccountMatch, ...]:
    return tuple(
        ServiceAccountMatch(
            _present(message.namespace, f"{where}[{i}].namespace"),
            _present(message.service_account, f"{where}[{i}].service_account"),
        )
        for i, message in enumerate(messages)
    )


def _networks(messages: Iterable[authorization_pb2.Address], where: str) -> tuple[IpNetwork, ...]:
    return tuple(
        _network(message.address, message.length, f"{where}[{i}]") for i, message in enumerate(messages)
    )


def _network(packed: bytes, length: int, where: str) -> IpNetwork:
    if len(packed) not in {4, 16}:
        raise Invalid(f"{where} has {len(packed)} bytes; an address has 4 or 16")
    if length > len(packed) * 8:
        raise Invalid(f"{where} has prefix length {length}; at most {len(packed) * 8}")
    network = ip_network((ip_address(packed), length), strict=False)
    match network:
        case IPv6Network() if length >= 96 and (mapped := network.network_address.ipv4_mapped) is not None:
            return IPv4Network((mapped, length - 96))
        case _:
            return network


def _numbers(ports: Iterable[int], where: str) -> tuple[int, ...]:
    return tuple(_port(port, f"{where}[{i}]") for i, port in enumerate(ports))


def _ports(messages: Iterable[workload_pb2.Port], where: str) -> tuple[Port, ...]:
    return tuple(
        Port(
            _port(message.service_port, f"{where}[{i}].service_port"),
            _port(message.target_port, f"{where}[{i}].target_port", least=0),
        )
        for i, message in enumerate(messages)
    )


def _port(number: int, where: str, *, least: int = 1) -> int:
    if not least <= number <= 0xFFFF:
        raise Invalid(f"{where} is {number}; a port is {least}-65535")
    return number


def _ip(packed: bytes, where: str) -> IpAddress:
    if len(packed) not in {4, 16}:
        raise Invalid(f"{where} has {len(packed)} bytes; an address has 4 or 16")
    return unmapped(ip_address(packed))


def _addresses(
    messages: Iterable[workload_pb2.NetworkAddress],
) -> tuple[tuple[NetworkAddress, ...], tuple[NetworkRange, ...]]:
    """Whole addresses, and ranges of them."""
    addresses: list[NetworkAddress] = []
    ranges: list[NetworkRange] = []
    for i, message in enumerate(messages):
        where = f"addresses[{i}]"
        length = message.length if message.HasField("length") else len(message.address) * 8
        network = _network(message.address, length, where)
        if network.prefixlen == network.max_prefixlen:
            addresses.append(NetworkAddress(message.network, network.network_address))
        else:
            ranges.append(NetworkRange(message.network, network))
    return tuple(addresses), tuple(ranges)


def _network_address(message: workload_pb2.NetworkAddress, where: str) -> NetworkAddress:
    if message.HasField("length") and message.length != len(message.address) * 8:
        raise Invalid(f"{where} is a network of prefix length {message.length}; a gateway has one address")
    return NetworkAddress(message.network, _ip(message.address, where))


def _gateway(message: workload_pb2.GatewayAddress, where: str) -> GatewayAddress:
    port = _port(message.hbone_mtls_port, f"{where}.hbone_mtls_port")
    match message.WhichOneof("destination"):
        case "hostname":
            namespace = _present(message.hostname.namespace, f"{where}.hostname.namespace")
            hostname = _present(message.hostname.hostname, f"{where}.hostname.hostname")
            return GatewayAddress(f"{namespace}/{hostname}", port)
        case "address":
            return GatewayAddress(_network_address(message.address, f"{where}.address"), port)
        case _:
            raise Invalid(f"{where} has no destination")


def _service_key(key: str, where: str) -> str:
    namespace, _, hostname = key.partition("/")
    if not (namespace and hostname) or "/" in hostname:
        raise Invalid(f"{where} has the key {key!r}; it is namespace/hostname")
    return key


def _present(text: str, where: str) -> str:
    if not text:
        raise Invalid(f"{where} is empty")
    return text


def _enum(known: Mapping[int, T], number: int, where: str) -> T:
    if number not in known:
        raise Invalid(f"{where} is {number}, which is unknown")
    return known[number]


_TUNNEL: Final[Mapping[int, TunnelProtocol]] = {
    workload_pb2.NONE: TunnelProtocol.NONE,
    workload_pb2.HBONE: TunnelProtocol.HBONE,
    # A sidecar's port takes plain TCP in PERMISSIVE mode, and nothing that a tunnel could carry.
    workload_pb2.LEGACY_ISTIO_MTLS: TunnelProtocol.NONE,
}
_STATUS: Final[Mapping[int, WorkloadStatus]] = {
    workload_pb2.HEALTHY: WorkloadStatus.HEALTHY,
    workload_pb2.UNHEALTHY: WorkloadStatus.UNHEALTHY,
}
_HOST_NETWORK: Final[Mapping[int, bool]] = {workload_pb2.STANDARD: False, workload_pb2.HOST_NETWORK: True}
_HEALTH_POLICY: Final[Mapping[int, bool]] = {
    workload_pb2.LoadBalancing.ONLY_HEALTHY: False,
    workload_pb2.LoadBalancing.ALLOW_ALL: True,
}
_PASSTHROUGH: Final[Mapping[int, bool]] = {
    workload_pb2.LoadBalancing.UNSPECIFIED_MODE: False,
    workload_pb2.LoadBalancing.STRICT: False,
    workload_pb2.LoadBalancing.FAILOVER: False,
    workload_pb2.LoadBalancing.PASSTHROUGH: True,
}
_SCOPE: Final[Mapping[int, Scope]] = {
    authorization_pb2.GLOBAL: Scope.GLOBAL,
    authorization_pb2.NAMESPACE: Scope.NAMESPACE,
    authorization_pb2.WORKLOAD_SELECTOR: Scope.WORKLOAD_SELECTOR,
}
_ACTION: Final[Mapping[int, Action]] = {
    authorization_pb2.ALLOW: Action.ALLOW,
    authorization_pb2.DENY: Action.DENY,
}
