"""What each field of a VirtualService means by itself. The rules are those of Istio's API and of its translation."""

from datetime import timedelta
from ipaddress import ip_network

import pytest
import yaml
from immutables import Map

from ambient.control.translate.kinds import translate
from ambient.core.model.route import (
    DEFAULT_RETRY,
    Backend,
    Cors,
    Fault,
    Filters,
    Forward,
    HeaderEdits,
    HeaderMatch,
    Mirror,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Protocol,
    QueryMatch,
    Redirect,
    Respond,
    Retry,
    RetryOn,
    Rewrite,
    RouteMatch,
    TextMatch,
    TextMatchKind,
    Timeouts,
    Unmatched,
)

EXACT, PREFIX, REGEX, PRESENT = (
    TextMatchKind.EXACT,
    TextMatchKind.PREFIX,
    TextMatchKind.REGEX,
    TextMatchKind.PRESENT,
)
FULL, PATH_PREFIX = PathRewriteKind.FULL, PathRewriteKind.PREFIX
TO_B = "route: [{destination: {host: b}}]"
B = "shop/b.shop.svc.cluster.local"
SECOND = timedelta(seconds=1)


def read(text, version="v1", name="v"):
    return translate(
        {
            "apiVersion": f"networking.istio.io/{version}",
            "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": yaml.safe_load(text),
        },
        ("istio-system",),
    )


def said(translated):
    return [str(warning) for warning in translated.warnings]


def rules(text, warnings=()):
    """The rules of the one HTTP route that is given."""
    translated = read(f"{{hosts: [a], http: [{text}]}}")
    assert said(translated) == list(warnings)
    (table,) = translated.object.tables
    return table.rules


def rule(text, warnings=()):
    (only,) = rules(text, warnings)
    return only


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_served_version_is_the_same(version):
    assert read(f"{{hosts: [a], http: [{{{TO_B}}}]}}", version) == read(f"{{hosts: [a], http: [{{{TO_B}}}]}}")


@pytest.mark.parametrize(
    ("host", "whole"),
    [
        pytest.param("a", "a.shop.svc.cluster.local", id="short-is-of-the-objects-namespace"),
        pytest.param("a.other", "a.other", id="with-a-dot-is-whole"),
        pytest.param("a.other.svc.cluster.local", "a.other.svc.cluster.local", id="whole"),
        pytest.param("a.other.svc.cluster.local.", "a.other.svc.cluster.local", id="closing-dot"),
        pytest.param("API.Example.com", "api.example.com", id="case"),
        pytest.param("'*.example.com'", "*.example.com", id="wildcard"),
        pytest.param("'*'", "*", id="all"),
    ],
)
def test_hosts(host, whole):
    assert read(f"{{hosts: [{host}], http: [{{{TO_B}}}]}}").object.hosts == (whole,)


def test_a_host_that_is_written_in_two_ways_counts_once():
    spec = f"{{hosts: [a, a.shop.svc.cluster.local, z], http: [{{{TO_B}}}]}}"
    assert read(spec).object.hosts == ("a.shop.svc.cluster.local", "z.shop.svc.cluster.local")


@pytest.mark.parametrize(
    ("export", "expected"),
    [
        pytest.param("[]", None, id="nothing-is-all"),
        pytest.param("['*']", None, id="star-is-all"),
        pytest.param("[., '*']", None, id="star-beside-others"),
        pytest.param("[.]", frozenset({"shop"}), id="own"),
        pytest.param("[., web]", frozenset({"shop", "web"}), id="some"),
        pytest.param("['~']", frozenset(), id="none"),
    ],
)
def test_who_sees_it(export, expected):
    assert read(f"{{hosts: [a], exportTo: {export}, http: [{{{TO_B}}}]}}").object.exported_to == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("uri: {exact: /a}", RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/a")), id="uri-exact"),
        pytest.param("uri: {prefix: /a}", RouteMatch(path=PathMatch(PathMatchKind.PREFIX, "/a")), id="uri-prefix-of-characters"),
        pytest.param("uri: {regex: '/a.*'}", RouteMatch(path=PathMatch(PathMatchKind.REGEX, "/a.*")), id="uri-regex"),
        pytest.param("uri: {}", RouteMatch(), id="uri-empty-is-any"),
        pytest.param("uri: {exact: /a}, ignoreUriCase: true", RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/a", True)), id="uri-case"),
        pytest.param("method: {exact: GET}", RouteMatch(method=TextMatch(EXACT, "GET")), id="method"),
        pytest.param("scheme: {exact: https}", RouteMatch(scheme=TextMatch(EXACT, "https")), id="scheme"),
        pytest.param("authority: {prefix: a.}", RouteMatch(authority=TextMatch(PREFIX, "a.")), id="authority"),
        pytest.param("headers: {X-A: {exact: b}}", RouteMatch(headers=(HeaderMatch("x-a", TextMatch(EXACT, "b")),)), id="header"),
        pytest.param("headers: {x-a: {}}", RouteMatch(headers=(HeaderMatch("x-a", TextMatch(PRESENT, "")),)), id="header-present"),
        pytest.param("headers: {x-a: {regex: 'b|c'}}", RouteMatch(headers=(HeaderMatch("x-a", TextMatch(REGEX, "b|c")),)), id="header-regex"),
        pytest.param("withoutHeaders: {x-a: {exact: b}}", RouteMatch(headers=(HeaderMatch("x-a", TextMatch(EXACT, "b"), True),)), id="without-header"),
        pytest.param("withoutHeaders: {x-a: {}}", RouteMatch(headers=(HeaderMatch("x-a", TextMatch(PRESENT, ""), True),)), id="without-any-such-header"),
        pytest.param("queryParams: {q: {exact: '1'}}", RouteMatch(queries=(QueryMatch("q", TextMatch(EXACT, "1")),)), id="query"),
        pytest.param("queryParams: {q: {prefix: a}}", RouteMatch(queries=(QueryMatch("q", TextMatch(PREFIX, "a")),)), id="query-prefix"),
        pytest.param("port: 8080", RouteMatch(ports=frozenset({8080})), id="port"),
        pytest.param("sourceLabels: {app: web}", RouteMatch(source_labels=Map({"app": "web"})), id="source-labels"),
        pytest.param("sourceNamespace: web", RouteMatch(source_namespace="web"), id="source-namespace"),
        pytest.param("gateways: [mesh]", RouteMatch(), id="mesh"),
        pytest.param("method: {exact: GET}, port: 80", RouteMatch(method=TextMatch(EXACT, "GET"), ports=frozenset({80})), id="all-of-it"),
    ],
)  # fmt: skip
def test_each_field_of_a_match(text, match):
    assert rule(f"{{match: [{{{text}}}], {TO_B}}}").matches == (match,)


@pytest.mark.parametrize("text", [TO_B, f"match: [], {TO_B}", f"match: [{{}}], {TO_B}"])
def test_no_match_is_every_request(text):
    assert rule(f"{{{text}}}").matches == (RouteMatch(),)


def test_one_of_several_matches_is_enough_and_the_first_rule_counts():
    translated = read(
        "{hosts: [a], http: ["
        f"{{name: first, match: [{{port: 1}}, {{port: 2}}], {TO_B}}},"
        f"{{name: second, {TO_B}}}]}}"
    )
    (table,) = translated.object.tables
    assert [(one.name, one.matches) for one in table.rules] == [
        ("first", (RouteMatch(ports=frozenset({1})), RouteMatch(ports=frozenset({2})))),
        ("second", (RouteMatch(),)),
    ]
    assert [str(one.origin) for one in table.rules] == [
        "VirtualService shop/v spec.http[0]",
        "VirtualService shop/v spec.http[1]",
    ]
    assert (table.protocol, table.unmatched) == (Protocol.HTTP, Unmatched.NOT_FOUND)


@pytest.mark.parametrize(
    ("text", "backends"),
    [
        pytest.param("[{destination: {host: b}}]", (Backend(B),), id="one"),
        pytest.param("[{destination: {host: b}, weight: 0}]", (Backend(B),), id="one-has-all-whatever-its-weight"),
        pytest.param(
            "[{destination: {host: b}, weight: 1}, {destination: {host: c.other.svc.cluster.local}, weight: 3}]",
            (Backend(B, weight=1), Backend("other/c.other.svc.cluster.local", weight=3)),
            id="weights-need-not-make-100",
        ),
        pytest.param(
            "[{destination: {host: b, subset: v1, port: {number: 8080}}}]",
            (Backend(B, port=8080, subset="v1"),),
            id="subset-and-port",
        ),
        pytest.param("[{destination: {host: example.com}}]", (Backend("/example.com"),), id="outside-the-cluster"),
        pytest.param(
            "[{destination: {host: b}, headers: {request: {set: {X-A: b}}, response: {remove: [X-B]}}}]",
            (Backend(B, filters=Filters(HeaderEdits(set=(("x-a", "b"),)), HeaderEdits(remove=("x-b",)))),),
            id="headers-of-one-destination",
        ),
        pytest.param(
            "[{destination: {host: b}, headers: {request: {set: {Host: c.example.com}}}}]",
            (Backend(B, filters=Filters(rewrite=Rewrite(authority="c.example.com"))),),
            id="authority-of-one-destination",
        ),
    ],
)  # fmt: skip
def test_where_requests_go(text, backends):
    assert rule(f"{{route: {text}}}").action == Forward(backends)


def test_of_several_destinations_one_without_a_weight_gets_nothing():
    action = rule(
        "{route: [{destination: {host: b}, weight: 5}, {destination: {host: b, subset: v2}}]}",
        ["spec.http[0].route[1].weight is missing, so nothing is sent there; give its share"],
    ).action
    assert [backend.weight for backend in action.backends] == [5, 0]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        pytest.param("redirect: {uri: /b}", Redirect(301, path=PathRewrite(FULL, "/b")), id="uri-and-default-code"),
        pytest.param("redirect: {authority: b.com, redirectCode: 308}", Redirect(308, authority="b.com"), id="authority"),
        pytest.param("redirect: {scheme: https, port: 8443}", Redirect(301, scheme="https", port=8443), id="scheme-and-port"),
        pytest.param("redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}", Redirect(301, scheme="https", port=443), id="port-of-the-scheme"),
        pytest.param("redirect: {scheme: https, derivePort: FROM_REQUEST_PORT}", Redirect(301, scheme="https"), id="port-of-the-request"),
        pytest.param("match: [{uri: {prefix: /a}}], redirect: {prefixRewrite: /b}", Redirect(301, path=PathRewrite(PATH_PREFIX, "/b")), id="prefix"),
        pytest.param("directResponse: {status: 503}", Respond(503), id="answer"),
        pytest.param("directResponse: {status: 503, body: {string: nay}}", Respond(503, "nay"), id="answer-with-text"),
        pytest.param("directResponse: {status: 503, body: {bytes: bm8=}}", Respond(503, "no"), id="answer-with-bytes"),
    ],
)  # fmt: skip
def test_answers_that_ask_nobody(text, action):
    assert rule(f"{{{text}}}").action == action


@pytest.mark.parametrize(
    ("match", "rewrite", "expected"),
    [
        pytest.param("{uri: {prefix: /a}}", "{uri: /b}", Rewrite(PathRewrite(PATH_PREFIX, "/b")), id="prefix-for-prefix"),
        pytest.param("{uri: {exact: /a}}", "{uri: /b}", Rewrite(PathRewrite(FULL, "/b")), id="all-for-exact"),
        pytest.param("{uri: {regex: /a}}", "{uri: /b}", Rewrite(PathRewrite(FULL, "/b")), id="all-for-regex"),
        pytest.param("{uri: {prefix: /a}}", "{authority: c}", Rewrite(authority="c"), id="authority"),
        pytest.param("{uri: {prefix: /a}}", "{uri: /b, authority: c}", Rewrite(PathRewrite(PATH_PREFIX, "/b"), "c"), id="both"),
        pytest.param(
            "{}", r"{uriRegexRewrite: {match: '^/(\w+)/(.*)$', rewrite: '/\2/\1'}}",
            Rewrite(PathRewrite(PathRewriteKind.REGEX, r"/\2/\1", r"^/(\w+)/(.*)$")), id="regex",
        ),
    ],
)  # fmt: skip
def test_rewrites(match, rewrite, expected):
    assert rule(f"{{match: [{match}], rewrite: {rewrite}, {TO_B}}}").filters.rewrite == expected


def test_a_path_that_no_match_names_has_its_first_slash_replaced():
    only = rule(f"{{rewrite: {{uri: /b/}}, {TO_B}}}")
    assert only.matches == (RouteMatch(path=PathMatch(PathMatchKind.PREFIX, "/")),)
    assert only.filters.rewrite == Rewrite(PathRewrite(PATH_PREFIX, "/b/"))


def test_each_match_has_its_own_kind_of_rewrite():
    found = rules(
        f"{{match: [{{uri: {{prefix: /a}}}}, {{uri: {{exact: /b}}}}, {{uri: {{exact: /c}}}}, {{uri: {{prefix: /d}}}}],"
        f" rewrite: {{uri: /x}}, {TO_B}}}"
    )
    assert [(len(one.matches), one.filters.rewrite.path.kind) for one in found] == [
        (1, PATH_PREFIX),
        (2, FULL),
        (1, PATH_PREFIX),
    ]
    assert {one.origin.field for one in found} == {"spec.http[0]"}


@pytest.mark.parametrize(
    ("text", "edits"),
    [
        pytest.param("set: {X-A: b}", HeaderEdits(set=(("x-a", "b"),)), id="set"),
        pytest.param("add: {X-A: b}", HeaderEdits(add=(("x-a", "b"),)), id="add"),
        pytest.param("remove: [X-A, x-a]", HeaderEdits(remove=("x-a",)), id="remove"),
        pytest.param("set: {x-a: b}, remove: [x-a]", HeaderEdits(set=(("x-a", "b"),)), id="removed-before-it-is-set"),
        pytest.param("add: {x-a: b}, remove: [x-a]", HeaderEdits(set=(("x-a", "b"),)), id="removed-before-it-is-added"),
        pytest.param("set: {x-a: b}, add: {x-a: c}", HeaderEdits(set=(("x-a", "b"),), add=(("x-a", "c"),)), id="set-then-added"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", ["request", "response"])
def test_changes_of_headers(text, edits, side):
    filters = rule(f"{{headers: {{{side}: {{{text}}}}}, {TO_B}}}").filters
    assert filters == (
        Filters(request_headers=edits) if side == "request" else Filters(response_headers=edits)
    )


@pytest.mark.parametrize("name", [":authority", "Host", "host"])
def test_to_set_the_authority_is_a_rewrite(name):
    filters = rule(f"{{headers: {{request: {{set: {{'{name}': c}}}}}}, {TO_B}}}").filters
    assert filters == Filters(rewrite=Rewrite(authority="c"))


@pytest.mark.parametrize(
    ("text", "timeouts"),
    [
        pytest.param("timeout: 5s", Timeouts(request=5 * SECOND), id="seconds"),
        pytest.param("timeout: 1.5s", Timeouts(request=1.5 * SECOND), id="fraction"),
        pytest.param("timeout: 100ms", Timeouts(request=SECOND / 10), id="milliseconds"),
        pytest.param("timeout: 1h30m", Timeouts(request=5400 * SECOND), id="hours-and-minutes"),
        pytest.param(
            "retries: {attempts: 1, perTryTimeout: 2s}", Timeouts(attempt=2 * SECOND), id="of-one-try"
        ),
        pytest.param("name: n", Timeouts(), id="none"),
    ],
)
def test_timeouts(text, timeouts):
    assert rule(f"{{{text}, {TO_B}}}").timeouts == timeouts


@pytest.mark.parametrize(
    ("text", "retry"),
    [
        pytest.param("name: n", None, id="nothing-said-is-what-every-rule-has"),
        pytest.param("retries: {attempts: 0}", Retry(0, DEFAULT_RETRY.on, any_method=True), id="none"),
        pytest.param("retries: {}", Retry(0, DEFAULT_RETRY.on, any_method=True), id="no-attempts-is-none"),
        pytest.param("retries: {attempts: 3}", Retry(3, DEFAULT_RETRY.on, any_method=True), id="defaults"),
        pytest.param(
            "retries: {attempts: 3, retryOn: 'gateway-error,reset'}",
            Retry(3, frozenset({RetryOn.GATEWAY_ERROR, RetryOn.RESET}), any_method=True), id="words",
        ),
        pytest.param(
            "retries: {attempts: 1, retryOn: '503, 5xx, 429'}",
            Retry(1, frozenset({RetryOn.SERVER_ERROR}), ((503, 503), (429, 429)), any_method=True), id="words-and-codes",
        ),
        pytest.param(
            "retries: {attempts: 1, retryOn: '503', backoff: 1s}",
            Retry(1, frozenset(), ((503, 503),), SECOND, any_method=True), id="codes-alone",
        ),
    ],
)  # fmt: skip
def test_retries(text, retry):
    assert rule(f"{{{text}, {TO_B}}}").retry == retry


def test_what_is_tried_again_by_default():
    assert {word.value for word in DEFAULT_RETRY.on} == {
        "connect-failure",
        "refused-stream",
        "unavailable",
        "cancelled",
    }
    assert (DEFAULT_RETRY.attempts, DEFAULT_RETRY.codes, DEFAULT_RETRY.any_method) == (2, (), False)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("delay: {fixedDelay: 5s, percentage: {value: 0.1}}", Fault(delay=5 * SECOND, delayed_share=0.001), id="delay"),
        pytest.param("delay: {fixedDelay: 5s, percent: 50}", Fault(delay=5 * SECOND, delayed_share=0.5), id="delay-of-old"),
        pytest.param("delay: {fixedDelay: 5s, percent: 50, percentage: {value: 10}}", Fault(delay=5 * SECOND, delayed_share=0.1), id="percentage-counts-first"),
        pytest.param("abort: {httpStatus: 400, percentage: {value: 100}}", Fault(abort_status=400, aborted_share=1.0), id="abort"),
        pytest.param("abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}", Fault(abort_grpc_status="UNAVAILABLE", aborted_share=1.0), id="abort-grpc"),
    ],
)  # fmt: skip
def test_faults(text, fault):
    assert rule(f"{{fault: {{{text}}}, {TO_B}}}").filters.fault == fault


@pytest.mark.parametrize(
    ("text", "mirrors"),
    [
        pytest.param("mirror: {host: b}", (Mirror(Backend(B)),), id="all"),
        pytest.param("mirror: {host: b, subset: v2}, mirrorPercentage: {value: 25}", (Mirror(Backend(B, subset="v2"), 0.25),), id="some"),
        pytest.param("mirror: {host: b}, mirrorPercent: 50", (Mirror(Backend(B), 0.5),), id="percent-of-old"),
        pytest.param("mirror: {host: b}, mirror_percent: 50", (Mirror(Backend(B), 0.5),), id="percent-of-older"),
        pytest.param("mirror: {host: b}, mirrorPercentage: {value: 0}", (), id="none"),
        pytest.param(
            "mirrors: [{destination: {host: b}}, {destination: {host: c}, percentage: {value: 10}}]",
            (Mirror(Backend(B)), Mirror(Backend("shop/c.shop.svc.cluster.local"), 0.1)), id="several",
        ),
    ],
)  # fmt: skip
def test_mirrors(text, mirrors):
    assert rule(f"{{{text}, {TO_B}}}").filters.mirrors == mirrors


@pytest.mark.parametrize(
    ("text", "cors"),
    [
        pytest.param("allowOrigins: [{exact: 'https://a'}]", Cors(allow_origins=(TextMatch(EXACT, "https://a"),)), id="exact"),
        pytest.param("allowOrigins: [{exact: '*'}]", Cors(allow_origins=(TextMatch(PREFIX, ""),)), id="any"),
        pytest.param("allowOrigins: [{regex: 'https://.*'}]", Cors(allow_origins=(TextMatch(REGEX, "https://.*"),)), id="regex"),
        pytest.param("allowOrigin: ['https://a', '*']", Cors(allow_origins=(TextMatch(EXACT, "https://a"), TextMatch(PREFIX, ""))), id="of-old"),
        pytest.param(
            "allowMethods: [GET], allowHeaders: [X-A], exposeHeaders: [X-B], maxAge: 24h, allowCredentials: true",
            Cors((), ("GET",), ("X-A",), ("X-B",), timedelta(hours=24), True), id="the-rest",
        ),
    ],
)  # fmt: skip
def test_cors(text, cors):
    assert rule(f"{{corsPolicy: {{{text}}}, {TO_B}}}").filters.cors == cors


def test_tls_and_tcp_have_tables_of_their_own():
    translated = read(
        "{hosts: ['*.example.com'], tls: [{match: [{sniHosts: [a.example.com, '*.b.example.com'], port: 443,"
        " destinationSubnets: [10.0.0.0/8], sourceLabels: {a: b}, sourceNamespace: web}],"
        " route: [{destination: {host: b, port: {number: 8443}}}]}],"
        " tcp: [{match: [{port: 27017, destinationSubnets: [10.0.0.1]}], route: [{destination: {host: b}, weight: 1},"
        " {destination: {host: b, subset: v2}, weight: 9}]}, {route: [{destination: {host: b}}]}]}"
    )
    assert translated.warnings == ()
    tls, tcp = translated.object.tables
    assert (tls.protocol, tls.unmatched) == (Protocol.TLS, Unmatched.SERVICE)
    assert tls.rules[0].matches == (
        RouteMatch(
            ports=frozenset({443}),
            source_namespace="web",
            source_labels=Map({"a": "b"}),
            server_names=("a.example.com", "*.b.example.com"),
            destinations=(ip_network("10.0.0.0/8"),),
        ),
    )
    assert tls.rules[0].action == Forward((Backend(B, port=8443),))
    assert (tcp.protocol, tcp.unmatched) == (Protocol.TCP, Unmatched.SERVICE)
    assert tcp.rules[0].matches == (
        RouteMatch(ports=frozenset({27017}), destinations=(ip_network("10.0.0.1"),)),
    )
    assert tcp.rules[0].action == Forward((Backend(B, weight=1), Backend(B, subset="v2", weight=9)))
    assert tcp.rules[1].matches == (RouteMatch(),)


@pytest.mark.parametrize(
    ("spec", "warnings"),
    [
        pytest.param(f"{{http: [{{{TO_B}}}]}}", ["spec.hosts is missing, so the object is a delegate, and has no effect"], id="a-delegate"),
        pytest.param(
            f"{{hosts: [a], gateways: [g], http: [{{{TO_B}}}]}}",
            ["spec.gateways does not list mesh, so the object has no effect; ambient has no gateways"], id="of-a-gateway",
        ),
        pytest.param(
            f"{{hosts: [a], http: [{{match: [{{gateways: [g]}}], {TO_B}}}]}}",
            ["spec.http[0].match[0].gateways does not list mesh, so the match never holds; ambient has no gateways"],
            id="every-match-of-a-gateway",
        ),
        pytest.param(
            "{hosts: [a], http: [{delegate: {name: d}}]}",
            ["spec.http[0].delegate is not followed, so the rule has no effect; write the delegate's rules here"], id="to-a-delegate",
        ),
        pytest.param(
            f"{{hosts: [a], http: [{{match: [{{headers: {{'@request.auth.claims.group': {{exact: x}}}}}}], {TO_B}}}]}}",
            ['spec.http[0].match[0].headers["@request.auth.claims.group"] cannot be asked, so the match never holds; match a header'],
            id="a-claim",
        ),
    ],
)  # fmt: skip
def test_what_never_holds_has_no_rules(spec, warnings):
    translated = read(spec)
    assert (translated.object.tables, said(translated)) == ((), warnings)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param(f"match: [{{name: m}}], {TO_B}", "match[0].name has no effect; the name of the route is what is logged", id="match-name"),
        pytest.param(f"match: [{{statPrefix: m}}], {TO_B}", "match[0].statPrefix has no effect; requests are counted by service", id="stat-prefix"),
        pytest.param(f"match: [{{gateways: [mesh, g]}}], {TO_B}", 'match[0].gateways[1] is "g" and has no effect; ambient has no gateways', id="gateway"),
        pytest.param(f"match: [{{headers: {{uri: {{exact: /a}}}}}}], {TO_B}", "match[0].headers.uri has no effect; uri is matched beside headers", id="uri-as-header"),
        pytest.param(f"match: [{{uri: {{regex: a}}, ignoreUriCase: true}}], {TO_B}", "match[0].ignoreUriCase has no effect on a regex; begin it with (?i)", id="case-of-a-regex"),
        pytest.param("redirect: {derivePort: FROM_PROTOCOL_DEFAULT}", "redirect.derivePort has no effect without scheme: http or https; add it, or give port", id="derived-port"),
        pytest.param(f"retries: {{attempts: 1, retryRemoteLocalities: true}}, {TO_B}", "retries.retryRemoteLocalities has no effect; another try goes to any endpoint", id="remote-localities"),
        pytest.param(f"retries: {{attempts: 1, retryIgnorePreviousHosts: false}}, {TO_B}", "retries.retryIgnorePreviousHosts is false and has no effect; another endpoint is tried", id="previous-hosts"),
        pytest.param(f"retries: {{attempts: 1, retryOn: 'reset,retriable-headers'}}, {TO_B}", "retries.retryOn has retriable-headers, which has no effect; list the statuses themselves", id="retriable-headers"),
        pytest.param(f"fault: {{delay: {{fixedDelay: 1s}}}}, {TO_B}", "fault.delay.percentage is missing, so no request is held up; give its value, such as 100", id="delay-of-nothing"),
        pytest.param(f"fault: {{abort: {{httpStatus: 500}}}}, {TO_B}", "fault.abort.percentage is missing, so no request is aborted; give its value, such as 100", id="abort-of-nothing"),
        pytest.param(f"fault: {{delay: {{exponentialDelay: 1s}}}}, {TO_B}", "fault.delay.exponentialDelay has no effect; give fixedDelay", id="exponential-delay"),
        pytest.param(f"fault: {{abort: {{http2Error: x}}}}, {TO_B}", "fault.abort.http2Error has no effect; give httpStatus or grpcStatus", id="http2-error"),
        pytest.param(f"corsPolicy: {{unmatchedPreflights: IGNORE}}, {TO_B}", "corsPolicy.unmatchedPreflights is IGNORE and has no effect; such requests go to the service", id="preflights"),
        pytest.param(f"corsPolicy: {{allowOrigin: [a], allowOrigins: [{{exact: b}}]}}, {TO_B}", "corsPolicy.allowOrigin has no effect beside allowOrigins; remove it", id="origin-of-old"),
        pytest.param(f"headers: {{request: {{add: {{x-a: '%START_TIME%'}}}}}}, {TO_B}", "headers.request.add.x-a is sent as it is; Envoy's %…% is not replaced", id="envoys-format"),
    ],
)  # fmt: skip
def test_what_is_not_carried_out_is_named(text, warning):
    rule(f"{{{text}}}", [f"spec.http[0].{warning}"])


def test_other_gateways_beside_the_mesh():
    translated = read(f"{{hosts: [a], gateways: [istio-system/g, mesh], http: [{{{TO_B}}}]}}")
    assert len(translated.object.tables) == 1
    assert said(translated) == [
        'spec.gateways[0] is "istio-system/g" and has no effect; ambient has no gateways'
    ]


def test_a_source_subnet_is_named():
    translated = read(
        "{hosts: [a], tcp: [{match: [{sourceSubnet: 10.0.0.0/8}], route: [{destination: {host: b}}]}]}"
    )
    assert said(translated) == [
        "spec.tcp[0].match[0].sourceSubnet has no effect; Istio does not look at it either"
    ]
