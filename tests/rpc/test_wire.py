from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core.delta import Delta
from ambient.core.model.address import GatewayAddress, NetworkAddress
from ambient.core.model.authorization import (
    Action,
    Authorization,
    Match,
    Scope,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.route import (
    Backend,
    Forward,
    Origin,
    PathMatch,
    PathMatchKind,
    Protocol,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Timeouts,
    Unmatched,
)
from ambient.core.model.service import Port, Service
from ambient.core.model.traffic import HashHeader, Maglev, TrafficPolicies, TrafficPolicy
from ambient.core.model.workload import Locality, TunnelProtocol, Workload, WorkloadStatus
from ambient.rpc import wire
from ambient.rpc.encoding import encode_delta, encode_resource
from ambient.rpc.pb.istio.security import authorization_pb2
from ambient.rpc.pb.istio.workload import workload_pb2
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, RawResource, Update

WORKLOAD = Workload(
    uid="local/ambient.dev/Workload/shop/web",
    name="web",
    namespace="shop",
    service_account="web",
    trust_domain="example.org",
    addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
    network="n",
    hostname="h",
    tunnel=TunnelProtocol.HBONE,
    status=WorkloadStatus.UNHEALTHY,
    node="n1",
    cluster="local",
    canonical_name="web",
    canonical_revision="v1",
    workload_name="web",
    services=Map({"shop/web.shop.svc.cluster.local": (Port(80, 8080), Port(81, 0))}),
    policies=("shop/p",),
    waypoint=GatewayAddress("shop/way.shop.svc.cluster.local", 15008),
    locality=Locality("r", "z", "s"),
    capacity=0,
    host_network=True,
    labels=Map({"version": "v1", "app": "web"}),
)
SERVICE = Service(
    name="web",
    namespace="shop",
    hostname="web.shop.svc.cluster.local",
    addresses=(NetworkAddress("", ip_address("10.1.0.1")), NetworkAddress("n", ip_address("fd01::1"))),
    ports=(Port(80, 0),),
    subject_alt_names=("spiffe://a/ns/b/sa/c",),
    waypoint=GatewayAddress(NetworkAddress("", ip_address("10.1.0.2")), 15008),
    allow_unhealthy=True,
)
AUTHORIZATION_ = Authorization(
    name="p",
    namespace="shop",
    scope=Scope.WORKLOAD_SELECTOR,
    action=Action.DENY,
    rules=(
        (),
        (
            (
                Match(
                    namespaces=(StringMatch(StringMatchKind.EXACT, "a"),),
                    not_namespaces=(StringMatch(StringMatchKind.PREFIX, "a"),),
                    principals=(StringMatch(StringMatchKind.SUFFIX, "a"),),
                    not_principals=(StringMatch(StringMatchKind.PRESENCE, ""),),
                    service_accounts=(ServiceAccountMatch("a", "b"),),
                    not_service_accounts=(ServiceAccountMatch("a", "c"),),
                    source_ips=(ip_network("10.0.0.0/8"),),
                    not_source_ips=(ip_network("fd00::/8"),),
                    destination_ips=(ip_network("0.0.0.0/0"),),
                    not_destination_ips=(ip_network("10.0.0.1/32"),),
                    destination_ports=(1, 65535),
                    not_destination_ports=(80,),
                ),
                Match(),
            ),
            (),
        ),
    ),
    dry_run=True,
)
SAID = ServiceRoutes(
    SERVICE.key,
    (
        RouteTable(
            Protocol.HTTP,
            (
                RouteRule(
                    Origin("HTTPRoute", "shop", "r", "spec.rules[0]"),
                    Forward((Backend(SERVICE.key, 80, "v1", 9, trouble="nobody is there"),)),
                    (
                        RouteMatch(
                            PathMatch(PathMatchKind.REGEX, "/a/[0-9]+"), destinations=(ip_network("::/0"),)
                        ),
                    ),
                    timeouts=Timeouts(timedelta(seconds=5)),
                ),
            ),
            Unmatched.NOT_FOUND,
        ),
    ),
    traffic=TrafficPolicies(ports=Map({80: TrafficPolicy(balancer=Maglev(HashHeader("x")))})),
)
EVERYTHING = (WORKLOAD, SERVICE, AUTHORIZATION_, SAID)


RAW = tuple(encode_resource(resource) for resource in EVERYTHING)


@st.composite
def damaged(draw):
    """A resource of which a few bytes are others, or more or fewer, or all of it is noise."""
    raw = draw(st.sampled_from(RAW))
    body = bytearray(raw.body)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    noise = draw(st.one_of(st.just(bytes(body)), st.binary(max_size=100)))
    return replace(raw, body=noise, type_url=draw(st.sampled_from([raw.type_url] * 3 + [ADDRESS, "another"])))


@given(damaged())
def test_any_bytes_are_a_resource_or_are_refused(raw):
    """And whatever they are, they leave their neighbours alone."""
    change, errors = wire.decode(Update((raw, RAW[0])))
    assert WORKLOAD in change.upserted
    assert len(change.upserted) + len(errors) == 2
    assert all(isinstance(why, str) and why for why in errors.values())


@pytest.mark.parametrize("resource", EVERYTHING, ids=lambda resource: type(resource).__name__)
def test_what_is_encoded_is_decoded(resource):
    assert wire.decode(Update((encode_resource(resource),))) == (Delta((resource,)), {})


def test_a_version_names_the_content_alone():
    assert encode_resource(WORKLOAD).version == encode_resource(WORKLOAD).version
    assert len({encode_resource(resource).version for resource in EVERYTHING}) == len(EVERYTHING)


def test_updates_survive_the_disk():
    change = encode_delta(Delta(EVERYTHING, ("gone",), ("a/b",)))
    assert wire.parse(wire.encode(change)) == change
    assert wire.decode(change)[0] == Delta(EVERYTHING, ("gone",), ("a/b",))
    with pytest.raises(wire.BadUpdate):
        wire.parse(b"\xff\xff\xff")


def test_a_state_takes_what_comes_later():
    one, other = RawResource(ADDRESS, "a", "1", b"1"), RawResource(ADDRESS, "b", "1", b"1")
    newer = RawResource(ADDRESS, "a", "2", b"2")
    assert wire.merge(Update((one, other)), Update((newer,), ((ADDRESS, "b"),))) == Update((newer,))
    assert wire.accepted(Update((one, other)), {"a": "bad"}) == Update((other,))


def workload(**fields):
    message = workload_pb2.Workload(uid="u", namespace="n")
    message.MergeFrom(workload_pb2.Workload(**fields))
    return RawResource(ADDRESS, "u", "1", workload_pb2.Address(workload=message).SerializeToString())


def service(**fields):
    message = workload_pb2.Service(namespace="n", hostname="h", **fields)
    return RawResource(ADDRESS, "n/h", "1", workload_pb2.Address(service=message).SerializeToString())


def policy(**fields):
    match = authorization_pb2.Match(**fields)
    rules = [authorization_pb2.Rule(clauses=[authorization_pb2.Clause(matches=[match])])]
    message = authorization_pb2.Authorization(name="p", namespace="n", rules=rules)
    return RawResource(AUTHORIZATION, "n/p", "1", message.SerializeToString())


def gateway(**fields):
    return workload_pb2.GatewayAddress(**fields)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (RawResource(ADDRESS, "u", "1", b"\xff"), "Error parsing"),
        (RawResource(ADDRESS, "u", "1", b""), "neither a workload nor a service"),
        (RawResource("x", "u", "1", b""), "unknown type 'x'"),
        (RawResource(ADDRESS, "v", "1", workload().body), "its content is named 'u'"),
        (workload(addresses=[b"123"]), "addresses[0] has 3 bytes; an address has 4 or 16"),
        (workload(tunnel_protocol=7), "tunnel_protocol is 7, which is unknown"),
        (workload(status=9), "status is 9, which is unknown"),
        (
            workload(services={"n/h": workload_pb2.PortList(ports=[workload_pb2.Port(service_port=70000)])}),
            "services[n/h].ports[0].service_port is 70000; a port is 1-65535",
        ),
        (
            workload(services={"x": workload_pb2.PortList()}),
            "services has the key 'x'; it is namespace/hostname",
        ),
        (workload(waypoint=gateway(hbone_mtls_port=1)), "waypoint has no destination"),
        (workload(waypoint=gateway()), "waypoint.hbone_mtls_port is 0; a port is 1-65535"),
        (
            service(addresses=[workload_pb2.NetworkAddress(address=b"1234", length=33)]),
            "addresses[0] has prefix length 33; at most 32",
        ),
        (
            policy(source_ips=[authorization_pb2.Address(address=b"1234", length=33)]),
            "rules[0].clauses[0].matches[0].source_ips[0] has prefix length 33; at most 32",
        ),
        (
            policy(destination_ports=[0]),
            "rules[0].clauses[0].matches[0].destination_ports[0] is 0; a port is 1-65535",
        ),
        (
            policy(principals=[authorization_pb2.StringMatch()]),
            "rules[0].clauses[0].matches[0].principals[0] has no kind of match",
        ),
    ],
)
def test_a_bad_resource_is_refused_by_name_and_the_good_ones_stay(raw, error):
    good = encode_resource(SERVICE)
    decoded, errors = wire.decode(Update((raw, good)))
    assert decoded.upserted == (SERVICE,)
    assert list(errors) == [raw.name]
    assert errors[raw.name].startswith(error)


def test_mapped_addresses_are_ipv4():
    mapped = ip_address("::ffff:10.0.0.1").packed
    decoded, _ = wire.decode(
        Update(
            (
                workload(addresses=[mapped]),
                policy(source_ips=[authorization_pb2.Address(address=mapped, length=104)]),
            )
        )
    )
    read, authorization = decoded.upserted
    assert read.addresses == (ip_address("10.0.0.1"),)
    assert authorization.rules[0][0][0].source_ips == (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("address", "length", "whole", "in_range"),
    [
        pytest.param("10.1.2.3", None, "10.1.2.3", None, id="whole"),
        pytest.param("10.1.2.3", 32, "10.1.2.3", None, id="whole-by-length"),
        pytest.param("::ffff:10.1.2.3", 128, "10.1.2.3", None, id="mapped"),
        pytest.param("10.0.0.0", 8, None, "10.0.0.0/8", id="range"),
        pytest.param("10.1.2.3", 8, None, "10.0.0.0/8", id="range-by-one-of-it"),
        pytest.param("::ffff:10.0.0.0", 104, None, "10.0.0.0/8", id="mapped-range"),
        pytest.param("0.0.0.0", 0, None, "0.0.0.0/0", id="everything"),
        pytest.param("fd00::", 8, None, "fd00::/8", id="range-of-v6"),
    ],
)
def test_an_address_of_a_service_may_be_a_range(address, length, whole, in_range):
    message = workload_pb2.NetworkAddress(address=ip_address(address).packed, length=length)
    (read,) = wire.decode(Update((service(addresses=[message]),)))[0].upserted
    assert [str(one.ip) for one in read.addresses] == ([] if whole is None else [whole])
    assert [str(one.range) for one in read.ranges] == ([] if in_range is None else [in_range])


def test_what_a_peer_leaves_out_has_its_meaning():
    (read,) = wire.decode(Update((workload(),)))[0].upserted
    assert (read.service_account, read.trust_domain, read.capacity) == ("default", "cluster.local", 1)
