"""Small meshes for tables, and strategies for any mesh."""

from ipaddress import ip_address, ip_network

from hypothesis import strategies as st
from immutables import Map

from ambient.core import delta
from ambient.core.model.address import GatewayAddress, IpAddress, NetworkAddress, NetworkRange, SocketAddress
from ambient.core.model.authorization import (
    Action,
    Authorization,
    Match,
    Scope,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.identity import SpiffeId
from ambient.core.model.jwt import JwtRule, KeysOfIssuer
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import Protocol, RouteTable, ServiceRoutes, Unmatched
from ambient.core.model.service import Port, Service
from ambient.core.model.settings import MeshSettings, Permission
from ambient.core.model.traffic import TrafficPolicies
from ambient.core.model.workload import Locality, TunnelProtocol, Workload, WorkloadStatus
from ambient.core.snapshot import EMPTY, Snapshot

HBONE = TunnelProtocol.HBONE
NONE = TunnelProtocol.NONE


def world(*resources: delta.Resource) -> Snapshot:
    return delta.apply(EMPTY, delta.Delta(resources))


def at(text: str) -> SocketAddress:
    return SocketAddress.parse(text)


def workload(name: str, *addresses: str, namespace: str = "shop", **fields) -> Workload:
    fields.setdefault("service_account", name)
    fields.setdefault("trust_domain", "cluster.local")
    if isinstance(services := fields.get("services"), dict):
        fields["services"] = Map(
            {key: tuple(Port(*port) for port in ports) for key, ports in services.items()}
        )
    return Workload(
        uid=f"local/ambient.dev/Workload/{namespace}/{name}",
        name=name,
        namespace=namespace,
        addresses=tuple(ip_address(address) for address in addresses),
        **fields,
    )


def service(
    name: str,
    *vips: str,
    ports=((80, 8080),),
    namespace: str = "shop",
    network: str = "",
    ranges=(),
    **fields,
) -> Service:
    return Service(
        name=name,
        namespace=namespace,
        hostname=f"{name}.{namespace}.svc.cluster.local",
        addresses=tuple(NetworkAddress(network, ip_address(vip)) for vip in vips),
        ports=tuple(Port(*port) for port in ports),
        ranges=tuple(NetworkRange(network, ip_network(one)) for one in ranges),
        **fields,
    )


def gateway(destination: str, port: int = 15008) -> GatewayAddress:
    """``ns/hostname`` or an IP of the empty network."""
    return GatewayAddress(
        destination if "/" in destination else NetworkAddress("", ip_address(destination)), port
    )


def policy(
    name: str, action: Action, *rules, scope: Scope = Scope.NAMESPACE, namespace: str = "shop", dry_run=False
):
    """Each rule a tuple of clauses; a bare Match is a rule of one clause of one match."""
    return Authorization(
        name,
        namespace,
        scope,
        action,
        tuple(((rule,),) if isinstance(rule, Match) else rule for rule in rules),
        dry_run,
    )


def exactly(*values: str) -> tuple[StringMatch, ...]:
    return tuple(StringMatch(StringMatchKind.EXACT, value) for value in values)


PRESENT = (StringMatch(StringMatchKind.PRESENCE, ""),)

_names = st.sampled_from(["a", "b", "c"])
_ips: st.SearchStrategy[IpAddress] = st.sampled_from(
    ["10.0.0.1", "10.0.0.2", "10.1.0.1", "fd00::1", "fd00::2"]
).map(ip_address)
_networks = st.sampled_from(["", "other"])
_ports = st.sampled_from([80, 443, 8080])
_service_keys = st.builds(
    lambda namespace, name: f"{namespace}/{name}.{namespace}.svc.cluster.local", _names, _names
)
network_ranges = st.sampled_from(["10.0.0.0/31", "10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/64"]).map(
    ip_network
)
_gateways = st.one_of(
    st.none(),
    st.builds(
        GatewayAddress, st.one_of(_service_keys, st.builds(NetworkAddress, _networks, _ips)), st.just(15008)
    ),
)


def _tuples(values, most=2):
    return st.lists(values, max_size=most, unique=True).map(tuple)


_port_lists = _tuples(st.builds(Port, _ports, st.sampled_from([0, 80, 8080])))

workloads = st.builds(
    Workload,
    uid=st.builds(lambda namespace, name: f"local/ambient.dev/Workload/{namespace}/{name}", _names, _names),
    name=_names,
    namespace=_names,
    service_account=_names,
    trust_domain=st.sampled_from(["cluster.local", "elsewhere"]),
    addresses=_tuples(_ips),
    network=_networks,
    tunnel=st.sampled_from(TunnelProtocol),
    status=st.sampled_from(WorkloadStatus),
    services=st.dictionaries(_service_keys, _port_lists, max_size=2).map(Map),
    policies=_tuples(st.builds(lambda namespace, name: f"{namespace}/{name}", _names, _names)),
    waypoint=_gateways,
    locality=st.just(Locality()),
    capacity=st.integers(0, 2),
    host_network=st.booleans(),
    labels=st.dictionaries(_names, _names, max_size=2).map(Map),
)

services = st.builds(
    lambda name, namespace, addresses, ports, waypoint, unhealthy, ranges, passthrough: Service(
        name,
        namespace,
        f"{name}.{namespace}.svc.cluster.local",
        addresses,
        ports,
        (f"spiffe://cluster.local/ns/{namespace}/sa/{name}",),
        waypoint,
        unhealthy,
        ranges,
        passthrough,
    ),
    _names,
    _names,
    _tuples(st.builds(NetworkAddress, _networks, _ips)),
    _port_lists,
    _gateways,
    st.booleans(),
    _tuples(st.builds(NetworkRange, _networks, network_ranges)),
    st.booleans(),
)

_string_matches = st.builds(
    StringMatch,
    st.sampled_from(StringMatchKind),
    st.sampled_from(["", "a", "b", "cluster.local", "cluster.local/ns/a/sa/a", "sa/b"]),
)
_ranges = st.sampled_from(["10.0.0.1/32", "10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/64", "10.0.0.2/31"]).map(
    lambda text: ip_network(text, strict=False)
)
_accounts = st.builds(ServiceAccountMatch, _names, _names)
_match_fields = {
    "namespaces": _string_matches,
    "not_namespaces": _string_matches,
    "principals": _string_matches,
    "not_principals": _string_matches,
    "service_accounts": _accounts,
    "not_service_accounts": _accounts,
    "source_ips": _ranges,
    "not_source_ips": _ranges,
    "destination_ips": _ranges,
    "not_destination_ips": _ranges,
    "destination_ports": _ports,
    "not_destination_ports": _ports,
}
matches = st.dictionaries(st.sampled_from(sorted(_match_fields)), st.just(None), max_size=3).flatmap(
    lambda chosen: st.builds(Match, **{name: _tuples(_match_fields[name]) for name in chosen})
)

authorizations = st.builds(
    Authorization,
    name=_names,
    namespace=_names,
    scope=st.sampled_from(Scope),
    action=st.sampled_from(Action),
    rules=_tuples(_tuples(_tuples(matches))),
    dry_run=st.booleans(),
)

routes = st.builds(
    ServiceRoutes,
    _service_keys,
    st.just(()) | st.just((RouteTable(Protocol.HTTP, (), Unmatched.NOT_FOUND),)),
    traffic=st.builds(TrafficPolicies, opaque_ports=st.frozensets(_ports, max_size=1)),
)

policies = st.builds(
    ServicePolicies, _service_keys, tokens=st.just(()) | st.just((JwtRule("issuer", KeysOfIssuer()),))
)
mesh_settings = st.builds(MeshSettings, waypoint_bypass=st.sampled_from(Permission))

snapshots = st.lists(
    st.one_of(workloads, services, authorizations, routes, policies, mesh_settings), max_size=8
).map(lambda every: world(*every))

identities = st.one_of(
    st.none(), st.builds(SpiffeId, st.sampled_from(["cluster.local", "elsewhere"]), _names, _names)
)
socket_addresses = st.builds(SocketAddress, _ips, _ports)
