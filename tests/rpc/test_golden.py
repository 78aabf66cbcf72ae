"""Every message that we encode for others, byte by byte, against bytes written by hand.

Field numbers are those of Istio's and Envoy's own files.
"""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from immutables import Map
from rpc.by_hand import data, fields, number, texts

from ambient.core.model.address import GatewayAddress, NetworkAddress, NetworkRange
from ambient.core.model.authorization import (
    Action,
    Authorization,
    Match,
    Scope,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)
from ambient.core.model.service import Port, Service
from ambient.core.model.workload import Locality, TunnelProtocol, Workload, WorkloadStatus
from ambient.rpc.discovery import Entry, Response, response_bytes
from ambient.rpc.encoding import encode_resource
from ambient.rpc.pb.istio.v1.auth import ca_pb2
from ambient.rpc.signing import signing_response
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, RawResource

UID = "local/ambient.dev/Workload/shop/web"
WORKLOAD = Workload(
    uid=UID,
    name="web",
    namespace="shop",
    service_account="web-account",
    trust_domain="example.org",
    addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
    network="net",
    hostname="web-host",
    tunnel=TunnelProtocol.HBONE,
    status=WorkloadStatus.UNHEALTHY,
    node="n1",
    cluster="local",
    canonical_name="web-app",
    canonical_revision="v1",
    workload_name="web-pod",
    services=Map({"shop/web.shop.svc.cluster.local": (Port(80, 8080), Port(443, 0))}),
    policies=("shop/p", "shop/q"),
    waypoint=GatewayAddress("shop/way.shop.svc.cluster.local", 15008),
    locality=Locality("region", "zone", "subzone"),
    capacity=300,
    host_network=True,
    labels=Map({"version": "v1"}),
)
WORKLOAD_BYTES = data(  # Address.workload
    1,
    b"".join(
        (
            data(1, "web"),
            data(2, "shop"),
            data(3, bytes([10, 0, 0, 1])),
            data(3, bytes([0xFD, *[0] * 14, 1])),
            data(4, "net"),
            number(5, 1),  # HBONE
            data(6, "example.org"),
            data(7, "web-account"),
            data(
                8,
                data(1, data(1, "shop"), data(2, "way.shop.svc.cluster.local")),
                number(3, 15008),
            ),
            data(9, "n1"),
            data(10, "web-app"),
            data(11, "v1"),
            number(12, 2),  # POD
            data(13, "web-pod"),
            data(16, "shop/p"),
            data(16, "shop/q"),
            number(17, 1),  # UNHEALTHY
            data(18, "local"),
            data(20, UID),
            data(21, "web-host"),
            data(
                22,
                data(1, "shop/web.shop.svc.cluster.local"),
                data(2, data(1, number(1, 80), number(2, 8080)), data(1, number(1, 443))),
            ),
            data(24, data(1, "region"), data(2, "zone"), data(3, "subzone")),
            number(25, 1),  # HOST_NETWORK
            data(27, number(1, 300)),
            data(15008, data(1, "version"), data(2, "v1")),  # Our own; others pass it over.
        )
    ),
)
SERVICE = Service(
    name="web",
    namespace="shop",
    hostname="web.shop.svc.cluster.local",
    addresses=(NetworkAddress("net", ip_address("10.1.0.1")), NetworkAddress("", ip_address("fd01::1"))),
    ports=(Port(80, 8080), Port(443, 0)),
    subject_alt_names=("spiffe://a/ns/b/sa/c",),
    waypoint=GatewayAddress(NetworkAddress("net", ip_address("10.1.0.2")), 15008),
    allow_unhealthy=True,
    ranges=(NetworkRange("net", ip_network("10.8.0.0/13")),),
    passthrough=True,
)
SERVICE_BYTES = data(  # Address.service
    2,
    b"".join(
        (
            data(1, "web"),
            data(2, "shop"),
            data(3, "web.shop.svc.cluster.local"),
            data(4, data(1, "net"), data(2, bytes([10, 1, 0, 1]))),
            data(4, data(2, bytes([0xFD, 1, *[0] * 13, 1]))),
            data(4, data(1, "net"), data(2, bytes([10, 8, 0, 0])), number(3, 13)),
            data(5, number(1, 80), number(2, 8080)),
            data(5, number(1, 443)),
            data(6, "spiffe://a/ns/b/sa/c"),
            data(
                7,
                data(2, data(1, "net"), data(2, bytes([10, 1, 0, 2]))),
                number(3, 15008),
            ),
            data(8, number(2, 3), number(3, 1)),  # PASSTHROUGH, ALLOW_ALL
        )
    ),
)
POLICY = Authorization(
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
                    not_namespaces=(StringMatch(StringMatchKind.PREFIX, "b"),),
                    principals=(StringMatch(StringMatchKind.SUFFIX, "c"),),
                    not_principals=(StringMatch(StringMatchKind.PRESENCE, ""),),
                    service_accounts=(ServiceAccountMatch("d", "e"),),
                    not_service_accounts=(ServiceAccountMatch("f", "g"),),
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
POLICY_BYTES = b"".join(
    (
        data(1, "p"),
        data(2, "shop"),
        number(3, 2),  # WORKLOAD_SELECTOR
        number(4, 1),  # DENY
        data(5, b""),
        data(
            5,
            data(
                1,
                data(
                    2,
                    data(1, data(1, "a")),
                    data(2, data(2, "b")),
                    data(3, data(3, "c")),
                    data(4, data(4, b"")),
                    data(5, data(1, bytes([10, 0, 0, 0])), number(2, 8)),
                    data(6, data(1, bytes([0xFD, *[0] * 15])), number(2, 8)),
                    data(7, data(1, bytes(4))),
                    data(8, data(1, bytes([10, 0, 0, 1])), number(2, 32)),
                    data(9, bytes([1, 0xFF, 0xFF, 0x03])),  # Numbers are packed.
                    data(10, bytes([80])),
                    data(11, data(1, "d"), data(2, "e")),
                    data(12, data(1, "f"), data(2, "g")),
                ),
                data(2, b""),
            ),
            data(1, b""),
        ),
        number(6, 1),
    )
)
# What a field is when it is left out: the plainest of each.
PLAIN_WORKLOAD = Workload("u", "w", "n", "default", "cluster.local", ())
PLAIN_WORKLOAD_BYTES = data(
    1,
    data(1, "w"),
    data(2, "n"),
    data(6, "cluster.local"),
    data(7, "default"),
    number(12, 2),
    data(20, "u"),
    data(24, b""),
)


@pytest.mark.parametrize(
    ("resource", "type_url", "name", "body"),
    [
        pytest.param(WORKLOAD, ADDRESS, UID, WORKLOAD_BYTES, id="workload"),
        pytest.param(PLAIN_WORKLOAD, ADDRESS, "u", PLAIN_WORKLOAD_BYTES, id="workload-plain"),
        pytest.param(
            replace(PLAIN_WORKLOAD, capacity=0),
            ADDRESS,
            "u",
            data(1, PLAIN_WORKLOAD_BYTES[2:], data(27, b"")),
            id="workload-of-no-capacity",
        ),
        pytest.param(SERVICE, ADDRESS, "shop/web.shop.svc.cluster.local", SERVICE_BYTES, id="service"),
        pytest.param(
            Service("s", "n", "h", (), ()),
            ADDRESS,
            "n/h",
            data(2, data(1, "s"), data(2, "n"), data(3, "h")),
            id="service-plain",
        ),
        pytest.param(POLICY, AUTHORIZATION, "shop/p", POLICY_BYTES, id="authorization"),
        pytest.param(
            Authorization("p", "n", Scope.NAMESPACE, Action.ALLOW, ()),
            AUTHORIZATION,
            "n/p",
            data(1, "p") + data(2, "n") + number(3, 1),
            id="authorization-plain",
        ),
    ],
)
def test_a_noun_is_these_bytes(resource, type_url, name, body):
    raw = encode_resource(resource)
    assert (raw.type_url, raw.name) == (type_url, name)
    assert raw.body == body


def test_types_have_these_urls():
    assert ADDRESS == "type.googleapis.com/istio.workload.Address"
    assert AUTHORIZATION == "type.googleapis.com/istio.security.Authorization"


def test_a_response_is_these_bytes():
    one = RawResource(ADDRESS, "a/b", "v1", b"body")
    other = RawResource(ADDRESS, "c", "v2", b"")
    response = Response(ADDRESS, "n7", (Entry.of(one, ("/10.0.0.1",)), Entry.of(other)), ("gone", "gone too"))
    entries = (
        data(
            2,
            data(1, "v1"),
            data(2, data(1, ADDRESS), data(2, b"body")),
            data(3, "a/b"),
            data(4, "/10.0.0.1"),
        ),
        data(2, data(1, "v2"), data(2, data(1, ADDRESS)), data(3, "c")),
    )
    head = (data(4, ADDRESS), data(5, "n7"), data(6, "gone"), data(6, "gone too"))
    assert response_bytes(response) == b"".join((*head, *entries))
    # A checksum is in ``system_version_info``, before the rest.
    checked = replace(response, checksum=0xABC)
    stated = data(1, f"ambient-checksum:{'abc':0>32}")
    assert response_bytes(checked) == b"".join((stated, *head, *entries))
    assert response_bytes(Response(ADDRESS, "1", (), ())) == data(4, ADDRESS) + data(5, "1")


def test_a_certificate_is_asked_for_and_given_in_these_bytes():
    struct = data(1, data(1, "ImpersonatedIdentity"), data(2, data(3, "spiffe://a/ns/b/sa/c")))
    asked = data(1, "CSR") + number(3, 86400) + data(4, struct)
    read = ca_pb2.IstioCertificateRequest.FromString(asked)
    assert (read.csr, read.validity_duration) == ("CSR", 86400)
    assert read.metadata.fields["ImpersonatedIdentity"].string_value == "spiffe://a/ns/b/sa/c"
    assert signing_response((b"leaf", b"root")) == data(1, "leaf") + data(1, "root")


def test_every_field_of_the_reference_that_is_known_here_is_in_the_golden_bytes():
    (workload,) = fields(WORKLOAD_BYTES)[1]
    left_out = {14, 19, 23, 26}  # native_tunnel, network_gateway, application_tunnel, extensions: not built.
    assert (
        set(fields(workload))
        == {*range(1, 14), *range(16, 19), *range(20, 23), *range(24, 28), 15008} - left_out
    )
    (service,) = fields(SERVICE_BYTES)[2]
    # ip_families, extensions, canonical, ingress_use_waypoint, weighted_waypoints, visibility: not built.
    assert set(fields(service)) == set(range(1, 9))
    assert set(fields(POLICY_BYTES)) == set(range(1, 7))
    rules = fields(POLICY_BYTES)[5]
    (clause, _) = fields(rules[1])[1]
    assert set(fields(fields(clause)[2][0])) == set(range(1, 13))
    assert texts(workload, 16) == ["shop/p", "shop/q"]
