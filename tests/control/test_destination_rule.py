"""What each field of a DestinationRule means by itself, and which of its policies stands for a port and a subset."""

from datetime import timedelta

import pytest
import yaml
from immutables import Map

from ambient.control.translate.kinds import translate
from ambient.core.model.traffic import (
    ConcurrencyBudget,
    ConnectionLimits,
    HashCookie,
    HashHeader,
    HashQuery,
    HashSource,
    LocalityPolicy,
    LocalityWeights,
    Maglev,
    Outlier,
    RatioBudget,
    RingHash,
    Simple,
    Subset,
    TrafficPolicies,
    TrafficPolicy,
)

SECOND = timedelta(seconds=1)
RANDOM, ROUND_ROBIN, LEAST_REQUEST = Simple.RANDOM, Simple.ROUND_ROBIN, Simple.LEAST_REQUEST


def read(text, version="v1"):
    return translate(
        {
            "apiVersion": f"networking.istio.io/{version}",
            "kind": "DestinationRule",
            "metadata": {"name": "d", "namespace": "shop"},
            "spec": yaml.safe_load(text),
        },
        ("istio-system",),
    )


def said(translated):
    return [str(warning) for warning in translated.warnings]


def policy(text, warnings=()):
    translated = read(f"{{host: b, trafficPolicy: {{{text}}}}}")
    assert said(translated) == [f"spec.trafficPolicy.{warning}" for warning in warnings]
    assert translated.object.traffic == TrafficPolicies(translated.object.traffic.policy)
    return translated.object.traffic.policy


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_served_version_is_the_same(version):
    assert read("{host: b}", version) == read("{host: b}")


@pytest.mark.parametrize(
    ("host", "whole"),
    [
        pytest.param("b", "b.shop.svc.cluster.local", id="short"),
        pytest.param("b.web.svc.cluster.local", "b.web.svc.cluster.local", id="whole"),
        pytest.param("'*.example.com'", "*.example.com", id="wildcard"),
        pytest.param("'*'", "*", id="all"),
    ],
)
def test_the_host(host, whole):
    assert read(f"{{host: {host}}}").object.host == whole


def test_who_sees_it():
    assert read("{host: b, exportTo: [., web]}").object.exported_to == frozenset({"shop", "web"})


def test_a_rule_for_some_callers_alone_is_for_nobody():
    translated = read("{host: b, workloadSelector: {matchLabels: {a: b}}}")
    assert translated.object.exported_to == frozenset()
    assert said(translated) == [
        "spec.workloadSelector has no effect, and neither has the object: policies are for all callers; leave it out"
    ]


@pytest.mark.parametrize(
    ("text", "balancer"),
    [
        pytest.param("simple: UNSPECIFIED", None, id="unspecified"),
        pytest.param("simple: LEAST_REQUEST", LEAST_REQUEST, id="least-request"),
        pytest.param("simple: LEAST_CONN", LEAST_REQUEST, id="least-request-of-old"),
        pytest.param("simple: RANDOM", RANDOM, id="random"),
        pytest.param("simple: ROUND_ROBIN", ROUND_ROBIN, id="round-robin"),
        pytest.param("simple: PASSTHROUGH", Simple.PASSTHROUGH, id="passthrough"),
        pytest.param("consistentHash: {httpHeaderName: X-User}", RingHash(HashHeader("x-user"), 1024), id="by-header"),
        pytest.param("consistentHash: {httpCookie: {name: c}}", RingHash(HashCookie("c")), id="by-cookie"),
        pytest.param("consistentHash: {httpCookie: {name: c, path: /a, ttl: 0s}}", RingHash(HashCookie("c", "/a", timedelta())), id="by-session-cookie"),
        pytest.param("consistentHash: {httpQueryParameterName: q}", RingHash(HashQuery("q")), id="by-query"),
        pytest.param("consistentHash: {useSourceIp: true}", RingHash(HashSource()), id="by-source"),
        pytest.param("consistentHash: {useSourceIp: false, httpHeaderName: a}", RingHash(HashHeader("a")), id="not-by-source"),
        pytest.param("consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 64}}", RingHash(HashSource(), 64), id="ring"),
        pytest.param("consistentHash: {useSourceIp: true, minimumRingSize: 64}", RingHash(HashSource(), 64), id="ring-of-old"),
        pytest.param("consistentHash: {useSourceIp: true, maglev: {}}", Maglev(HashSource(), 65537), id="maglev"),
        pytest.param("consistentHash: {useSourceIp: true, maglev: {tableSize: 251}}", Maglev(HashSource(), 251), id="maglev-of-a-size"),
    ],
)  # fmt: skip
def test_balancers(text, balancer):
    assert policy(f"loadBalancer: {{{text}}}") == TrafficPolicy(balancer=balancer)


@pytest.mark.parametrize("text", ["warmup: {duration: 30s}", "warmupDurationSecs: 30s"])
def test_warmup(text):
    assert policy(f"loadBalancer: {{{text}}}") == TrafficPolicy(warmup=30 * SECOND)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        pytest.param("tcp: {maxConnections: 100}", ConnectionLimits(connections=100), id="connections"),
        pytest.param("tcp: {maxConnections: 0}", ConnectionLimits(), id="zero-is-the-default"),
        pytest.param("tcp: {connectTimeout: 30ms}", ConnectionLimits(connect_timeout=SECOND * 0.03), id="connect-timeout"),
        pytest.param("tcp: {maxConnectionDuration: 1h}", ConnectionLimits(longest_connection=timedelta(hours=1)), id="longest"),
        pytest.param("tcp: {idleTimeout: 0s}", ConnectionLimits(idle_timeout=timedelta()), id="idle-off"),
        pytest.param("http: {idleTimeout: 1m}", ConnectionLimits(idle_timeout=60 * SECOND), id="idle-http"),
        pytest.param("http: {http1MaxPendingRequests: 1}", ConnectionLimits(pending_requests=1), id="pending"),
        pytest.param("http: {http2MaxRequests: 2}", ConnectionLimits(requests=2), id="requests"),
        pytest.param("http: {maxRequestsPerConnection: 1}", ConnectionLimits(requests_per_connection=1), id="one-request-each"),
        pytest.param("http: {maxRetries: 3}", ConnectionLimits(retries=3), id="retries"),
        pytest.param("http: {maxConcurrentStreams: 4}", ConnectionLimits(streams_per_connection=4), id="streams"),
        pytest.param("http: {h2UpgradePolicy: UPGRADE}", ConnectionLimits(upgrade_to_http2=True), id="upgrade"),
        pytest.param("http: {h2UpgradePolicy: DO_NOT_UPGRADE}", ConnectionLimits(upgrade_to_http2=False), id="no-upgrade"),
        pytest.param("http: {h2UpgradePolicy: DEFAULT}", ConnectionLimits(), id="default-upgrade"),
        pytest.param("http: {useClientProtocol: true}", ConnectionLimits(upgrade_to_http2=False), id="the-callers-protocol"),
    ],
)  # fmt: skip
def test_connection_pools(text, limits):
    assert policy(f"connectionPool: {{{text}}}") == TrafficPolicy(limits=limits)


@pytest.mark.parametrize(
    ("text", "outlier"),
    [
        pytest.param("{}", Outlier(), id="defaults-are-the-programs"),
        pytest.param("{consecutive5xxErrors: 7, interval: 5m, baseEjectionTime: 15m}", Outlier(consecutive_5xx=7, interval=timedelta(minutes=5), base_ejection=timedelta(minutes=15)), id="consecutive"),
        pytest.param("{consecutive5xxErrors: 0}", Outlier(consecutive_5xx=0), id="zero-is-off"),
        pytest.param("{consecutiveGatewayErrors: 3}", Outlier(consecutive_gateway_errors=3), id="gateway-errors"),
        pytest.param("{splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}", Outlier(splits_local_failures=True, consecutive_local_failures=2), id="local-failures"),
        pytest.param("{maxEjectionPercent: 100, minHealthPercent: 50}", Outlier(most_ejected_percent=100, least_healthy_percent=50), id="percentages"),
        pytest.param("{maxEjectionPercent: 0}", Outlier(), id="zero-percent-is-the-default"),
    ],
)  # fmt: skip
def test_outliers(text, outlier):
    assert policy(f"outlierDetection: {text}") == TrafficPolicy(outlier=outlier, locality=LocalityPolicy())


@pytest.mark.parametrize(
    ("text", "locality"),
    [
        pytest.param("loadBalancer: {simple: RANDOM}", None, id="nothing-said"),
        pytest.param("outlierDetection: {}", LocalityPolicy(), id="outliers-turn-it-on"),
        pytest.param("outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}", LocalityPolicy(is_on=False), id="off-all-the-same"),
        pytest.param("loadBalancer: {localityLbSetting: {enabled: true}}", LocalityPolicy(), id="on"),
        pytest.param(
            "loadBalancer: {localityLbSetting: {distribute: [{from: 'a/b/*', to: {'a/b/*': 80, c: 20}}]}}",
            LocalityPolicy(weights=(LocalityWeights("a/b/*", Map({"a/b/*": 80, "c": 20})),)), id="distribute",
        ),
        pytest.param(
            "outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}",
            LocalityPolicy(failover=(("a", "b"),)), id="failover",
        ),
        pytest.param(
            "outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [x, y=z]}}",
            LocalityPolicy(priorities=("x", "y=z")), id="priorities",
        ),
    ],
)  # fmt: skip
def test_localities(text, locality):
    assert policy(text).locality == locality


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        pytest.param("{}", ConcurrencyBudget(0.2, 3), id="defaults"),
        pytest.param("{percent: 50, minRetryConcurrency: 1}", ConcurrencyBudget(0.5, 1), id="of-those-under-way"),
        pytest.param("{percent: 0}", ConcurrencyBudget(0.0, 3), id="none-but-the-least"),
        pytest.param("{percent: 25, minRetryConcurrency: 5, budgetInterval: 10s}", RatioBudget(0.25, 0.5, 10 * SECOND), id="of-a-window"),
        pytest.param("{budgetInterval: 0s}", ConcurrencyBudget(0.2, 3), id="no-window"),
    ],
)  # fmt: skip
def test_retry_budgets(text, budget):
    assert policy(f"retryBudget: {text}") == TrafficPolicy(budget=budget)


RULE = (
    "loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {maxConnections: 1}}, retryBudget: {percent: 10}"
)
ROBIN = "loadBalancer: {simple: ROUND_ROBIN}"
BUDGET = ConcurrencyBudget(0.1, 3)
WHOLE = TrafficPolicy(RANDOM, ConnectionLimits(connections=1), budget=BUDGET)


def port(number, text):
    return f"portLevelSettings: [{{port: {{number: {number}}}, {text}}}]"


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        pytest.param(RULE, {}, id="none"),
        pytest.param(f"{RULE}, {port(80, ROBIN)}", {80: TrafficPolicy(ROUND_ROBIN, budget=BUDGET)}, id="nothing-is-inherited-but-the-budget"),
        pytest.param(f"{RULE}, {port(80, 'tls: {mode: ISTIO_MUTUAL}')}", {80: TrafficPolicy(budget=BUDGET)}, id="an-empty-one-is-all-defaults"),
    ],
)  # fmt: skip
def test_a_port_stands_in_place_of_the_rule(text, ports):
    traffic = read(f"{{host: b, trafficPolicy: {{{text}}}}}").object.traffic
    assert (traffic.policy, traffic.ports) == (WHOLE, Map(ports))


@pytest.mark.parametrize(
    ("rule", "subset", "policy", "ports"),
    [
        pytest.param(RULE, None, None, {}, id="no-policy-of-its-own"),
        pytest.param(RULE, ROBIN, TrafficPolicy(ROUND_ROBIN, WHOLE.limits, budget=BUDGET), {}, id="one-block-in-place-of-the-rules"),
        pytest.param(RULE, "retryBudget: {percent: 50}", TrafficPolicy(RANDOM, WHOLE.limits, budget=ConcurrencyBudget(0.5, 3)), {}, id="its-own-budget"),
        pytest.param(
            f"{RULE}, {port(80, ROBIN)}", "connectionPool: {tcp: {maxConnections: 9}}",
            TrafficPolicy(RANDOM, ConnectionLimits(connections=9), budget=BUDGET),
            {80: TrafficPolicy(ROUND_ROBIN, ConnectionLimits(connections=9), budget=BUDGET)}, id="over-the-rules-port",
        ),
        pytest.param(
            f"{RULE}, {port(80, ROBIN)}", f"connectionPool: {{tcp: {{maxConnections: 9}}}}, {port(80, 'outlierDetection: {}')}",
            TrafficPolicy(RANDOM, ConnectionLimits(connections=9), budget=BUDGET),
            {80: TrafficPolicy(outlier=Outlier(), locality=LocalityPolicy(), budget=BUDGET)}, id="its-own-port-before-all",
        ),
        pytest.param(
            RULE, f"{ROBIN}, {port(81, 'loadBalancer: {simple: LEAST_REQUEST}')}",
            TrafficPolicy(ROUND_ROBIN, WHOLE.limits, budget=BUDGET),
            {81: TrafficPolicy(LEAST_REQUEST, budget=BUDGET)}, id="its-own-port",
        ),
    ],
)  # fmt: skip
def test_a_subset_stands_over_the_rule(rule, subset, policy, ports):
    own = f", trafficPolicy: {{{subset}}}" if subset else ""
    translated = read(
        f"{{host: b, trafficPolicy: {{{rule}}}, subsets: [{{name: v1, labels: {{version: v1}}{own}}}]}}"
    )
    assert translated.object.traffic.subsets == Map(
        {"v1": Subset("v1", Map({"version": "v1"}), policy, Map(ports))}
    )
    assert translated.warnings == ()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param("tls: {mode: DISABLE}", "tls.mode is DISABLE and has no effect; the mesh always speaks mutual TLS", id="tls-off"),
        pytest.param("tls: {mode: SIMPLE, sni: a}", "tls.mode is SIMPLE and has no effect; let the application speak TLS itself", id="tls-simple"),
        pytest.param("tls: {mode: MUTUAL, credentialName: a}", "tls.mode is MUTUAL and has no effect; let the application speak TLS itself", id="tls-mutual"),
        pytest.param("tunnel: {targetHost: a, targetPort: 1}", "tunnel has no effect; nothing is tunnelled through another proxy", id="tunnel"),
        pytest.param("proxyProtocol: {version: V2}", "proxyProtocol has no effect; the application sees its caller's address anyway", id="proxy-protocol"),
        pytest.param("loadBalancer: {consistentHash: {ringHash: {}}}", "loadBalancer.consistentHash names nothing to go by, and has no effect; give httpHeaderName", id="hash-of-nothing"),
        pytest.param("loadBalancer: {consistentHash: {httpCookie: {name: a, attributes: [{name: SameSite, value: Lax}]}}}", "loadBalancer.consistentHash.httpCookie.attributes has no effect; the cookie has none", id="cookie-attributes"),
        pytest.param("loadBalancer: {backendUtilization: {}}", "loadBalancer.backendUtilization has no effect; write simple: LEAST_REQUEST", id="utilization"),
        pytest.param("loadBalancer: {zoneAwareLbSetting: {enabled: true}}", "loadBalancer.zoneAwareLbSetting has no effect; use localityLbSetting", id="zone-aware"),
        pytest.param("loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}", "loadBalancer.localityLbSetting.failover has no effect without outlierDetection; add it", id="failover-without-outliers"),
        pytest.param("loadBalancer: {localityLbSetting: {failoverPriority: [a]}}", "loadBalancer.localityLbSetting.failoverPriority has no effect without outlierDetection; add it", id="priorities-without-outliers"),
        pytest.param("loadBalancer: {warmup: {duration: 1s, aggression: 2}}", "loadBalancer.warmup.aggression has no effect; the share grows with time alone", id="aggression"),
        pytest.param("loadBalancer: {warmup: {duration: 1s, minimumPercent: 5}}", "loadBalancer.warmup.minimumPercent has no effect; the share grows with time alone", id="minimum"),
        pytest.param("connectionPool: {tcp: {tcpKeepalive: {time: 1h}}}", "connectionPool.tcp.tcpKeepalive has no effect; connections of the mesh have their own keepalive", id="keepalive"),
        pytest.param("connectionPool: {http: {http2KeepAlive: {interval: 1s}}}", "connectionPool.http.http2KeepAlive has no effect; connections of the mesh have their own keepalive", id="http2-keepalive"),
        pytest.param("connectionPool: {tcp: {idleTimeout: 1s}, http: {idleTimeout: 2s}}", "connectionPool.tcp.idleTimeout has no effect beside http.idleTimeout; make them the same", id="two-idle-timeouts"),
        pytest.param("outlierDetection: {consecutiveErrors: 5}", "outlierDetection.consecutiveErrors has no effect; use consecutive5xxErrors", id="errors-of-old"),
        pytest.param("outlierDetection: {outlierDetectionHttpErrorCodes: [429]}", "outlierDetection.outlierDetectionHttpErrorCodes has no effect; statuses from 500 count", id="codes"),
        pytest.param("outlierDetection: {failurePercentageThreshold: 50}", "outlierDetection.failurePercentageThreshold has no effect; use consecutive5xxErrors", id="failure-percentage"),
        pytest.param("outlierDetection: {consecutiveLocalOriginFailures: 5}", "outlierDetection.consecutiveLocalOriginFailures has no effect without splitExternalLocalOriginErrors: true; add it", id="local-failures-unsplit"),
    ],
)  # fmt: skip
def test_what_is_not_carried_out_is_named(text, warning):
    policy(text, [warning])


def test_what_subsets_and_ports_say_is_named_where_it_stands():
    translated = read(
        "{host: b, trafficPolicy: {outlierDetection: {}, portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE}}]},"
        " subsets: [{name: v1, trafficPolicy: {proxyProtocol: {}, loadBalancer: {localityLbSetting: {failoverPriority: [a]}}}}]}"
    )
    assert said(translated) == [
        "spec.trafficPolicy.portLevelSettings[0].tls.mode is SIMPLE and has no effect; let the application speak TLS itself",
        "spec.subsets[0].trafficPolicy.proxyProtocol has no effect; the application sees its caller's address anyway",
    ]
    assert translated.object.traffic.subsets["v1"].policy.locality == LocalityPolicy(priorities=("a",))
