from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from core.explain.circumstances import Known
from core.worlds import (
    HBONE,
    NONE,
    at,
    exactly,
    gateway,
    policy,
    service,
    snapshots,
    socket_addresses,
    workload,
    world,
)
from hypothesis import given, strategies as st

from ambient.core.authorize import Connection, Denied, authorize
from ambient.core.explain.answer import Enrolment, NodeStanding, Question, Topic, Verdict
from ambient.core.explain.call import explain
from ambient.core.explain.ends import ends_of
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action, Match, Scope
from ambient.core.model.pod import Exclusions
from ambient.core.model.route import Origin
from ambient.core.model.service import AppProtocol, DeclaredPort
from ambient.core.model.workload import TunnelProtocol, WorkloadStatus
from ambient.core.outbound import Refuse, Tunnel
from ambient.core.snapshot import Snapshot

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
KEY = "shop/api.shop.svc.cluster.local"
WEB = workload("web", "10.0.0.1", tunnel=HBONE, node="n1")
API = workload("api", "10.0.0.2", tunnel=HBONE, node="n2", services={KEY: [(80, 8080)]})
SERVICE = service("api", "10.88.0.10")
LABEL = Origin("Namespace", "", "shop", 'metadata.labels["ambient.dev/dataplane-mode"]')
STRICT = Origin("PeerAuthentication", "shop", "default", "spec.mtls.mode")
DENIES_PLAINTEXT = policy(
    "istio_converted_static_strict", Action.DENY, Match(not_principals=exactly("nobody")), scope=Scope.GLOBAL
)
WEB_ONLY = policy("web-only", Action.ALLOW, Match(principals=exactly("cluster.local/ns/shop/sa/web")))


def asked(snapshot: Snapshot, known: Known, source: str, destination: str, port: int | None = 80):
    return explain(snapshot, known, Question(source, destination, port), NOW)


def findings(explanation) -> list[tuple[Topic, Verdict, str]]:
    return [
        (step.topic, step.verdict, step.text) for step in explanation.steps if step.verdict is not Verdict.OK
    ]


def test_a_call_that_works_names_every_step_and_what_decided_it():
    known = Known(
        enrolments={"web": Enrolment(True, LABEL)},
        nodes={"n1": NodeStanding(True), "n2": NodeStanding(True)},
        ends={"web": datetime(2026, 11, 26, tzinfo=UTC)},
    )
    explanation = asked(world(WEB, API, SERVICE, WEB_ONLY), known, "shop/web", "api", None)
    assert [(step.topic.value, step.text, str(step.origin or "")) for step in explanation.steps] == [
        (
            "source",
            "shop/web on node n1 runs as spiffe://cluster.local/ns/shop/sa/web and is captured",
            'Namespace shop metadata.labels["ambient.dev/dataplane-mode"]',
        ),
        ("name", f"api is service {KEY} at 10.88.0.10", "Service shop/api"),
        ("service", f"port 80 of {KEY} leads to port 8080 of its endpoints", "Service shop/api spec.ports"),
        (
            "endpoint",
            "1 of 1 endpoints may be chosen: shop/api (10.0.0.2:8080)",
            "Service shop/api spec.selector",
        ),
        ("protocol", "mutual TLS (HBONE) to port 15008", ""),
        (
            "identity",
            "shop/web proves to be spiffe://cluster.local/ns/shop/sa/web, with a certificate until 2026-11-26T00:00:00Z",
            "",
        ),
        ("identity", "shop/api proves to be spiffe://cluster.local/ns/shop/sa/api", ""),
        (
            "policy",
            "AuthorizationPolicy shop/web-only lets it in to shop/api",
            "AuthorizationPolicy shop/web-only",
        ),
    ]
    assert explanation.verdict is Verdict.OK


FAILS = Verdict.FAILS
WARNING = Verdict.WARNING


@pytest.mark.parametrize(
    ("resources", "known", "question", "expected", "remedy"),
    [
        pytest.param(
            (WEB, API, SERVICE, policy("no-web", Action.DENY, Match(principals=exactly("cluster.local/ns/shop/sa/web")))),
            Known(), ("web", "api"),
            (Topic.POLICY, FAILS, "AuthorizationPolicy shop/no-web denies it at shop/api"), "change the rule",
            id="policy-denies",
        ),
        pytest.param(
            (WEB, replace(API, services=WEB.services), SERVICE), Known(), ("web", "api"),
            (Topic.ENDPOINT, FAILS, f"no workload of namespace shop carries the labels that service {KEY} selects"),
            "compare its selector", id="no-endpoints",
        ),
        pytest.param(
            (WEB, replace(API, status=WorkloadStatus.UNHEALTHY), SERVICE), Known(), ("web", "api"),
            (Topic.ENDPOINT, FAILS, f"every endpoint of service {KEY} is unhealthy or takes no traffic"),
            "health", id="no-healthy-endpoint",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(), ("web", "api", 8080),
            (Topic.SERVICE, FAILS, f"service {KEY} has no port 8080; its ports are 80"), "call one of its ports",
            id="port-that-is-not-served",
        ),
        pytest.param(
            (WEB, workload("api", "10.0.0.2", tunnel=HBONE, services={KEY: [(443, 8443)]}), service("api", "10.88.0.10", ports=((80, 0), (443, 8443)))),
            Known(), ("web", "api"),
            (Topic.ENDPOINT, FAILS, f"port 80 of service {KEY} has a targetPort by name, and no endpoint has a port of that name"),
            "port.ambient.dev/NAME", id="wrong-port-name",
        ),
        pytest.param(
            (WEB, replace(API, tunnel=NONE), SERVICE), Known(enrolments={"api": Enrolment(False, LABEL)}), ("web", "api"),
            (Topic.PROTOCOL, WARNING, "plain TCP to shop/api, which is not captured and speaks no HBONE"),
            "label namespace shop", id="un-enrolled-peer",
        ),
        pytest.param(
            (replace(WEB, tunnel=NONE), API, SERVICE, DENIES_PLAINTEXT), Known(stricts={"api": STRICT}), ("web", "api"),
            (Topic.POLICY, FAILS, "shop/api takes mutual TLS alone (STRICT), and the call comes as plain TCP"),
            "enrol the caller", id="strict-against-plaintext",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(ends={"api": datetime(2026, 11, 25, 11, tzinfo=UTC)}), ("web", "api"),
            (Topic.IDENTITY, FAILS, "the certificate by which shop/api would prove to be spiffe://cluster.local/ns/shop/sa/api ended at 2026-11-25T11:00:00Z"),
            "see on node n2", id="expired-certificate",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(ends={"web": None}), ("web", "api"),
            (Topic.IDENTITY, FAILS, "the certificate by which shop/web would prove to be spiffe://cluster.local/ns/shop/sa/web has ended"),
            "see on node n1", id="no-certificate-that-lives",
        ),
        pytest.param(
            (WEB, API, replace(SERVICE, waypoint=gateway("shop/way.shop.svc.cluster.local"))), Known(), ("web", "api"),
            (Topic.ROUTE, FAILS, "the call must go through a waypoint that cannot be reached: unknown waypoint: shop/way.shop.svc.cluster.local"),
            "start the waypoint", id="waypoint-missing",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(nodes={"n2": NodeStanding(True, ("Address",))}), ("web", "api"),
            (Topic.NODE, WARNING, "node n2, which judges what comes in for shop/api, has not acknowledged the newest Address yet"),
            "proxy-status", id="node-not-in-sync",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(nodes={"n1": NodeStanding(False)}), ("web", "api"),
            (Topic.NODE, WARNING, "node n1, which decides where the call goes, is not connected to the control plane and goes by what it heard last"),
            "see on node n1", id="node-not-connected",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(), ("web", "apy"),
            (Topic.NAME, FAILS, "no service or workload is called apy for callers of namespace shop; did you mean api?"),
            "NAME.NAMESPACE", id="name-not-known",
        ),
        pytest.param(
            (WEB, service("db", "10.88.0.11", namespace="data")), Known(), ("web", "db"),
            (Topic.NAME, FAILS, "no service or workload is called db for callers of namespace shop; there is one in namespace data: write db.data"),
            "NAME.NAMESPACE", id="name-of-another-namespace",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(enrolments={"web": Enrolment(True, LABEL, Exclusions(frozenset({80})))}), ("web", "api"),
            (Topic.PROTOCOL, WARNING, "10.88.0.10:80 is excluded from the capture of shop/web: the call is plain TCP that nobody vouches for"),
            "--exclude-outbound-port", id="excluded-port",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(enrolments={"web": Enrolment(True, LABEL, Exclusions(outbound_networks=frozenset({ip_network("10.88.0.0/16")})))}), ("web", "api"),
            (Topic.PROTOCOL, WARNING, "10.88.0.10:80 is excluded from the capture of shop/web: the call is plain TCP that nobody vouches for"),
            "--exclude-cidr", id="excluded-network",
        ),
        pytest.param(
            (WEB, API, SERVICE), Known(refusals={"shop/old": "address 10.0.0.9 is taken"}), ("shop/old", "api"),
            (Topic.SOURCE, FAILS, "shop/old is reported by its node, and refused: address 10.0.0.9 is taken"), "", id="refused-source",
        ),
        pytest.param(
            (workload("cart", "10.0.0.3", tunnel=HBONE), API, SERVICE, WEB_ONLY), Known(), ("cart", "api"),
            (Topic.POLICY, FAILS, "AuthorizationPolicy shop/web-only does not let it in to shop/api: rules[0] asks for principal cluster.local/ns/shop/sa/web (it is cluster.local/ns/shop/sa/cart)"),
            "add the caller", id="allow-for-another",
        ),
        pytest.param(
            (WEB, API, service("api", "10.88.0.10", ports=((80, 8080), (443, 8443)))), Known(), ("web", "api", None),
            (Topic.SERVICE, FAILS, "api has ports 80, 443, and none was named"), "ask for api:80", id="port-not-named",
        ),
        pytest.param(
            (WEB, API), Known(), ("web", "203.0.113.9"),
            (Topic.NAME, WARNING, "203.0.113.9 is nobody that the mesh knows: the call leaves it as plain TCP"), "ServiceEntry", id="outside",
        ),
        pytest.param(
            (WEB, API, service("api")), Known(), ("web", "10.0.0.2", 15008),
            None, "", id="own-port-of-another",
        ),
    ],
)  # fmt: skip
def test_the_cause_is_named_with_its_remedy(resources, known, question, expected, remedy):
    explanation = asked(world(*resources), known, *question)
    if expected is None:
        assert findings(explanation) == []
        return
    assert expected in findings(explanation)
    assert explanation.verdict is expected[1]
    (step,) = {step for step in explanation.steps if step.text == expected[2]}
    assert remedy in step.remedy


def test_endpoints_that_differ_are_judged_each_and_those_alike_once():
    endpoints = [
        replace(API, uid=f"{API.uid}-{n}", name=f"api-{n}", addresses=(at(f"10.0.1.{n}:1").ip,))
        for n in range(1, 4)
    ]
    locked = replace(endpoints[2], policies=("shop/nobody",))
    nobody = policy("nobody", Action.ALLOW, scope=Scope.WORKLOAD_SELECTOR)
    explanation = asked(world(WEB, *endpoints[:2], locked, SERVICE, nobody), Known(), "web", "api")
    said = [step.text for step in explanation.steps if step.topic is Topic.POLICY]
    assert said == [
        "no ALLOW policy concerns shop/api-1 and 1 more, so all may call",
        "AuthorizationPolicy shop/nobody does not let it in to shop/api-3: it has no rules, so it fits nobody",
    ]


@given(snapshots, socket_addresses, st.data())
def test_it_says_what_the_data_path_does(snapshot, target, data):
    sources = [
        one
        for one in snapshot.workloads.values()
        if one.addresses and snapshot.workload_at(one.addresses[0]) is one
    ]
    if not sources or not target.port:
        return
    source = data.draw(st.sampled_from(sorted(sources, key=lambda one: one.uid)))
    explanation = explain(
        snapshot, Known(), Question(str(source.addresses[0]), str(target.ip), target.port), NOW
    )
    decision, ends = ends_of(snapshot, source, target)
    is_vouched = source.tunnel is TunnelProtocol.HBONE and isinstance(decision, Tunnel)
    identity = source.identity if is_vouched else None
    denied = [
        end
        for end in ends
        if end.workload.tunnel is TunnelProtocol.HBONE
        and isinstance(
            authorize(
                snapshot,
                end.workload,
                Connection(identity, SocketAddress(source.addresses[0], 0), end.address),
            ),
            Denied,
        )
    ]
    called = decision.service or snapshot.workload_at(target.ip, source.network)
    if isinstance(decision, Refuse) or called is None or called.waypoint is None:
        fails = isinstance(decision, Refuse) or bool(denied)
        assert (explanation.verdict is Verdict.FAILS) == fails


@pytest.mark.parametrize(
    ("declared", "asked_for", "text", "verdicts"),
    [
        pytest.param(DeclaredPort(80, "http-web", AppProtocol.HTTP), {"path": "/"}, "port 80 (http-web, http) of", [], id="http"),
        pytest.param(DeclaredPort(80, "http", AppProtocol.HTTP), {}, "port 80 (http) of", [], id="named-as-it-speaks"),
        pytest.param(DeclaredPort(80, "web", None), {"path": "/"}, "port 80 (web) of", [], id="nothing-said"),
        pytest.param(DeclaredPort(80, "db", AppProtocol.TCP), {}, "port 80 (db, tcp) of", [], id="a-connection"),
        pytest.param(DeclaredPort(80, "db", AppProtocol.TCP), {"path": "/"}, "port 80 (db, tcp) of", [Verdict.WARNING], id="a-request-of-tcp"),
        pytest.param(DeclaredPort(80, "", AppProtocol.TLS), {"method": "GET"}, "port 80 (tls) of", [Verdict.WARNING], id="a-request-of-tls"),
    ],
)  # fmt: skip
def test_what_a_port_declares_is_told_and_counts_for_requests(declared, asked_for, text, verdicts):
    one = replace(SERVICE, declared=(declared,))
    explanation = explain(world(WEB, API, one), Known(), Question("web", "api", 80, **asked_for), NOW)
    assert [step.text.startswith(text) for step in explanation.steps if step.topic is Topic.SERVICE] == [True]
    opaque = [step.verdict for step in explanation.steps if "is declared" in step.text]
    assert opaque == verdicts
