from core.worlds import HBONE, at, service, workload

from ambient.core.baggage import Baggage
from ambient.core.model.identity import SpiffeId
from ambient.core.model.workload import Locality
from ambient.core.observation import (
    LABELS,
    NOBODY,
    UNKNOWN,
    Observation,
    Party,
    Reporter,
    ResponseFlag,
    Security,
)

WEB = service("web", "10.96.0.1")
CLIENT = workload(
    "client-1",
    "10.0.0.1",
    workload_name="client",
    canonical_name="client-app",
    canonical_revision="v1",
    cluster="local",
    locality=Locality("eu", "eu-1a"),
)
SERVER = workload("web-1", "10.0.1.1", workload_name="web", cluster="local", tunnel=HBONE)

TUNNELLED = Observation(
    reporter=Reporter.SOURCE,
    source=Party.of(CLIENT, CLIENT.identity),
    destination=Party.of(SERVER, SERVER.identity),
    source_address=at("10.0.0.1:40000"),
    destination_address=at("10.96.0.1:80"),
    hbone_address=at("10.0.1.1:15008"),
    service=WEB,
    security=Security.MUTUAL_TLS,
)
UNKNOWN_PEERS = Observation(
    reporter=Reporter.DESTINATION,
    source=NOBODY,
    destination=NOBODY,
    source_address=at("10.0.9.9:40000"),
    destination_address=at("10.0.1.1:80"),
)


def test_labels_of_a_tunnelled_connection():
    labels = dict(zip(LABELS, TUNNELLED.labels(ResponseFlag.DENY), strict=True))
    assert labels == {
        "reporter": "source",
        "source_workload": "client",
        "source_canonical_service": "client-app",
        "source_canonical_revision": "v1",
        "source_workload_namespace": "shop",
        "source_principal": "spiffe://cluster.local/ns/shop/sa/client-1",
        "source_app": "client-app",
        "source_version": "v1",
        "source_cluster": "local",
        "destination_service": "web.shop.svc.cluster.local",
        "destination_service_namespace": "shop",
        "destination_service_name": "web",
        "destination_workload": "web",
        "destination_canonical_service": "unknown",
        "destination_canonical_revision": "unknown",
        "destination_workload_namespace": "shop",
        "destination_principal": "spiffe://cluster.local/ns/shop/sa/web-1",
        "destination_app": "unknown",
        "destination_version": "unknown",
        "destination_cluster": "local",
        "request_protocol": "tcp",
        "response_flags": "DENY",
        "connection_security_policy": "mutual_tls",
        "source_region": "eu",
        "source_zone": "eu-1a",
        "destination_region": "unknown",
        "destination_zone": "unknown",
    }


def test_what_is_not_known_is_unknown():
    labels = dict(zip(LABELS, UNKNOWN_PEERS.labels(), strict=True))
    known = {name: value for name, value in labels.items() if value != UNKNOWN}
    assert known == {"reporter": "destination", "request_protocol": "tcp", "response_flags": "-"}


def test_log_fields():
    assert TUNNELLED.access_fields() == {
        "src.addr": "10.0.0.1:40000",
        "src.workload": "client-1",
        "src.namespace": "shop",
        "src.identity": "spiffe://cluster.local/ns/shop/sa/client-1",
        "src.cluster": "local",
        "dst.addr": "10.96.0.1:80",
        "dst.hbone_addr": "10.0.1.1:15008",
        "dst.service": "web.shop.svc.cluster.local",
        "dst.workload": "web-1",
        "dst.namespace": "shop",
        "dst.identity": "spiffe://cluster.local/ns/shop/sa/web-1",
        "dst.cluster": "local",
        "direction": "outbound",
    }
    assert UNKNOWN_PEERS.access_fields() == {
        "src.addr": "10.0.9.9:40000",
        "dst.addr": "10.0.1.1:80",
        "direction": "inbound",
    }


def test_a_peer_that_only_claims():
    claims = Baggage("far", "lies", "deployment", "web", "web-app", "v2", "eu", "eu-1a")
    proved = SpiffeId("cluster.local", "shop", "web")
    party = Party.claiming(claims, proved)
    assert (party.namespace, party.identity, party.workload, party.cluster) == (
        "shop",
        str(proved),
        "web",
        "far",
    )
    assert Party.claiming(claims, None).namespace == "lies"
    assert Party.claiming(Baggage(), None) == NOBODY


def test_a_peer_of_whom_only_the_identity_is_known():
    assert Party.of(None, SpiffeId("td", "ns", "sa")) == Party(
        namespace="ns", identity="spiffe://td/ns/ns/sa/sa"
    )
    assert Party.of(None) == NOBODY
