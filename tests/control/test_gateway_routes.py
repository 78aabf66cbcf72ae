"""What routes of the Gateway API mean. The ids are the rules of its specification."""

from dataclasses import replace
from datetime import timedelta

import pytest
import yaml

from ambient.control.objects import ServiceRef
from ambient.control.problem import Reason
from ambient.control.translate.kinds import translate
from ambient.core.model.route import (
    Backend,
    Cors,
    Filters,
    Forward,
    HeaderEdits,
    HeaderMatch,
    Mirror,
    Origin,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Protocol,
    QueryMatch,
    Redirect,
    Retry,
    RetryOn,
    Rewrite,
    RouteMatch,
    TextMatch,
    TextMatchKind,
    Timeouts,
)
from ambient.core.model.traffic import Persistence, PersistenceKind

EXACT, REGEX = TextMatchKind.EXACT, TextMatchKind.REGEX
ANY_PATH = PathMatch(PathMatchKind.SEGMENTS, "/")
SECOND = timedelta(seconds=1)
B = "{name: b, port: 80}"
BACKEND = Backend("shop/b.shop.svc.cluster.local", 80)


def read(kind, spec, version="v1", annotations=None):
    document = {
        "apiVersion": f"gateway.networking.k8s.io/{version}",
        "kind": kind,
        "metadata": {
            "name": "x",
            "namespace": "shop",
            "annotations": annotations or {},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], **yaml.safe_load(spec)},
    }
    return translate(document, ("ambient-system",))


def rules(kind, spec, **more):
    translated = read(kind, spec, **more)
    assert translated.warnings == ()
    return translated.object.rules


def http_rule(text):
    [rule] = rules("HTTPRoute", f"rules: [{text}]")
    return rule


def warned(translated):
    return [(warning.field, warning.reason) for warning in translated.warnings]


@pytest.mark.parametrize(
    ("kind", "protocol", "versions"),
    [
        ("HTTPRoute", Protocol.HTTP, ("v1", "v1beta1", "v1alpha2")),
        ("GRPCRoute", Protocol.GRPC, ("v1", "v1alpha2")),
        ("TLSRoute", Protocol.TLS, ("v1", "v1alpha3", "v1alpha2")),
        ("TCPRoute", Protocol.TCP, ("v1", "v1alpha2")),
    ],
)
def test_every_version_of_a_route(kind, protocol, versions):
    hosts = "hostnames: [a.b], " if kind == "TLSRoute" else ""
    for version in versions:
        route = read(kind, f"{{{hosts}rules: [{{backendRefs: [{B}]}}]}}", version).object
        assert (route.kind, route.namespace, route.name, route.protocol) == (kind, "shop", "x", protocol)
        assert route.created == "2026-01-01T00:00:00Z"
        assert route.parents == (ServiceRef("shop", "a"),)
        assert route.rules[0].action == Forward((BACKEND,))
        assert route.rules[0].origin == Origin(kind, "shop", "x", "spec.rules[0]")


@pytest.mark.parametrize(
    ("parents", "expected", "warnings"),
    [
        pytest.param("[{group: '', kind: Service, name: a, port: 80}]", (ServiceRef("shop", "a", 80),), [], id="port"),
        pytest.param("[{group: '', kind: Service, name: a, namespace: b}]", (ServiceRef("b", "a"),), [], id="consumer"),
        pytest.param("[{group: core, kind: Service, name: a}]", (ServiceRef("shop", "a"),), [], id="group-as-linkerd-writes-it"),
        pytest.param(
            "[{group: '', kind: Service, name: a, port: 80}, {group: '', kind: Service, name: a, port: 81}]",
            (ServiceRef("shop", "a", 80), ServiceRef("shop", "a", 81)), [], id="two-ports",
        ),
        pytest.param("[{name: edge}]", (), [("spec.parentRefs[0]", Reason.PARENT)], id="gateway-by-default"),
        pytest.param(
            "[{name: edge}, {group: '', kind: Service, name: a}]", (ServiceRef("shop", "a"),),
            [("spec.parentRefs[0]", Reason.PARENT)], id="gateway-and-service",
        ),
        pytest.param("[{group: '', kind: Gateway, name: a}]", (), [("spec.parentRefs[0]", Reason.PARENT)], id="core-gateway"),
        pytest.param(
            "[{group: '', kind: Service, name: a, sectionName: http}]", (ServiceRef("shop", "a", None, "http"),), [], id="port-by-name",
        ),
        pytest.param(
            "[{group: '', kind: Service, name: a, sectionName: http, port: 80}]",
            (ServiceRef("shop", "a", 80, "http"),), [], id="port-by-name-and-number",
        ),
        pytest.param("[]", (), [("spec.parentRefs", Reason.PARENT)], id="nothing"),
    ],
)  # fmt: skip
def test_what_a_route_is_attached_to(parents, expected, warnings):
    translated = read("HTTPRoute", f"parentRefs: {parents}")
    assert translated.object.parents == expected
    assert warned(translated) == warnings


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{}", RouteMatch(path=ANY_PATH), id="path-by-default"),
        pytest.param("{path: {value: /a}}", RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/a")), id="prefix-by-default"),
        pytest.param("{path: {type: PathPrefix, value: /a/}}", RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/a")), id="prefix-without-its-last-slash"),
        pytest.param("{path: {type: PathPrefix, value: /}}", RouteMatch(path=ANY_PATH), id="prefix-of-all"),
        pytest.param("{path: {type: Exact, value: /a/}}", RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/a/")), id="exact-with-its-last-slash"),
        pytest.param("{path: {type: Exact, value: '/%20a;b=c'}}", RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/%20a;b=c")), id="exact-with-signs"),
        pytest.param(
            "{path: {type: RegularExpression, value: '/a/[0-9]+'}}",
            RouteMatch(path=PathMatch(PathMatchKind.REGEX, "/a/[0-9]+")), id="path-regex",
        ),
        pytest.param("{method: GET}", RouteMatch(path=ANY_PATH, method=TextMatch(EXACT, "GET")), id="method"),
        pytest.param(
            "{headers: [{name: Version, value: two}]}",
            RouteMatch(path=ANY_PATH, headers=(HeaderMatch("version", TextMatch(EXACT, "two")),)), id="header-name-in-any-case",
        ),
        pytest.param(
            "{headers: [{name: a, type: RegularExpression, value: 'x+'}]}",
            RouteMatch(path=ANY_PATH, headers=(HeaderMatch("a", TextMatch(REGEX, "x+")),)), id="header-regex",
        ),
        pytest.param(
            "{queryParams: [{name: A, value: b}, {name: a, type: RegularExpression, value: 'x+'}]}",
            RouteMatch(
                path=ANY_PATH,
                queries=(QueryMatch("A", TextMatch(EXACT, "b")), QueryMatch("a", TextMatch(REGEX, "x+"))),
            ),
            id="query-name-in-its-own-case",
        ),
    ],
)  # fmt: skip
def test_what_a_request_must_be(match, expected):
    assert http_rule(f"{{matches: [{match}]}}").matches == (expected,)


@pytest.mark.parametrize("rule", ["{}", "{matches: []}"])
def test_a_rule_without_matches_is_for_every_request(rule):
    assert http_rule(rule).matches == (RouteMatch(path=ANY_PATH),)


def test_a_route_without_rules_has_one_for_every_request():
    assert [rule.matches for rule in rules("HTTPRoute", "{}")] == [(RouteMatch(path=ANY_PATH),)]


@pytest.mark.parametrize(
    ("match", "where"),
    [
        ("{headers: [{name: A, value: b}, {name: a, value: c}]}", "spec.rules[0].matches[0].headers[1]"),
        (
            "{queryParams: [{name: a, value: b}, {name: a, value: c}]}",
            "spec.rules[0].matches[0].queryParams[1]",
        ),
    ],
)
def test_of_matches_of_one_name_the_first_counts(match, where):
    translated = read("HTTPRoute", f"rules: [{{matches: [{match}]}}]")
    assert warned(translated) == [(where, Reason.NO_EFFECT)]
    [found] = translated.object.rules[0].matches
    assert [entry.match.value for entry in (*found.headers, *found.queries)] == ["b"]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{}", RouteMatch(), id="every-call"),
        pytest.param("{method: {service: a.B, method: C}}", RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/a.B/C")), id="service-and-method"),
        pytest.param("{method: {service: a.B}}", RouteMatch(path=PathMatch(PathMatchKind.SEGMENTS, "/a.B")), id="service"),
        pytest.param("{method: {method: C}}", RouteMatch(path=PathMatch(PathMatchKind.REGEX, "/[^/]+/C")), id="method"),
        pytest.param(
            "{method: {type: RegularExpression, service: 'a|b', method: 'C.*'}}",
            RouteMatch(path=PathMatch(PathMatchKind.REGEX, "/(?:a|b)/(?:C.*)")), id="regex",
        ),
        pytest.param(
            "{method: {type: RegularExpression, method: 'C.*'}}",
            RouteMatch(path=PathMatch(PathMatchKind.REGEX, "/[^/]+/(?:C.*)")), id="regex-of-any-service",
        ),
        pytest.param("{headers: [{name: A, value: b}]}", RouteMatch(headers=(HeaderMatch("a", TextMatch(EXACT, "b")),)), id="header"),
    ],
)  # fmt: skip
def test_what_a_call_must_be(match, expected):
    [rule] = rules("GRPCRoute", f"rules: [{{matches: [{match}]}}]")
    assert rule.matches == (expected,)


def test_a_grpc_route_without_rules_answers_nothing():
    translated = read("GRPCRoute", "{}")
    assert translated.object.rules == ()
    assert warned(translated) == [("spec.rules", Reason.NO_EFFECT)]


def test_servers_by_name():
    [rule] = rules("TLSRoute", f"{{hostnames: [a.b, '*.c.d'], rules: [{{name: first, backendRefs: [{B}]}}]}}")
    assert rule.matches == (RouteMatch(server_names=("a.b", "*.c.d")),)
    assert rule.name == "first"


def test_of_several_rules_for_connections_the_first_counts():
    translated = read("TCPRoute", f"rules: [{{backendRefs: [{B}]}}, {{backendRefs: [{B}]}}]", "v1alpha2")
    assert len(translated.object.rules) == 1
    assert warned(translated) == [("spec.rules[1]", Reason.NO_EFFECT)]


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_hostnames_say_nothing_in_a_mesh(kind):
    translated = read(kind, "{hostnames: [a.b], rules: [{}]}")
    assert warned(translated) == [("spec.hostnames", Reason.NO_EFFECT)]
    assert translated.object.rules[0].matches[0].authority is None


@pytest.mark.parametrize(
    ("refs", "expected"),
    [
        pytest.param(f"[{B}]", (BACKEND,), id="weight-by-default"),
        pytest.param("[{name: b, port: 80, weight: 0}]", (replace(BACKEND, weight=0),), id="weight-zero"),
        pytest.param(
            "[{name: b, port: 80, weight: 70}, {name: c, namespace: d, port: 81, weight: 30}]",
            (replace(BACKEND, weight=70), Backend("d/c.d.svc.cluster.local", 81, weight=30)), id="other-namespace",
        ),
        pytest.param("[{group: core, kind: Service, name: b, port: 80}]", (BACKEND,), id="group-as-linkerd-writes-it"),
        pytest.param("[]", (), id="none"),
        pytest.param(
            "[{name: b, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X, value: y}]}}]}]",
            (replace(BACKEND, filters=Filters(request_headers=HeaderEdits(set=(("x", "y"),)))),), id="filters-of-a-backend",
        ),
    ],
)  # fmt: skip
def test_where_requests_go(refs, expected):
    assert http_rule(f"{{backendRefs: {refs}}}").action == Forward(expected)


def test_a_backend_of_another_kind_fails_its_share():
    translated = read(
        "HTTPRoute", f"rules: [{{backendRefs: [{B}, {{group: x.io, kind: ServiceImport, name: c}}]}}]"
    )
    good, bad = translated.object.rules[0].action.backends
    assert good == BACKEND
    assert (bad.weight, bad.trouble[:46]) == (1, "spec.rules[0].backendRefs[1].kind is ServiceIm")
    assert warned(translated) == [("spec.rules[0].backendRefs[1].kind", Reason.KIND)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param(
            "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: b}], add: [{name: C, value: d}], remove: [E, e]}}",
            Filters(request_headers=HeaderEdits((("a", "b"),), (("c", "d"),), ("e",))), id="request-headers",
        ),
        pytest.param(
            "{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: A, value: b}, {name: a, value: c}]}}",
            Filters(response_headers=HeaderEdits((("a", "b"),))), id="response-headers-first-of-a-name",
        ),
        pytest.param(
            "{type: URLRewrite, urlRewrite: {hostname: a.b, path: {type: ReplaceFullPath, replaceFullPath: /c}}}",
            Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.FULL, "/c"), "a.b")), id="rewrite-all",
        ),
        pytest.param(
            "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}",
            Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.PREFIX, ""))), id="rewrite-prefix-away",
        ),
        pytest.param(
            "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}",
            Filters(mirrors=(Mirror(BACKEND, 1.0),)), id="mirror-all",
        ),
        pytest.param(
            "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, percent: 0}}",
            Filters(mirrors=(Mirror(BACKEND, 0.0),)), id="mirror-nothing",
        ),
        pytest.param(
            "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, percent: 20}},"
            "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}, fraction: {numerator: 1, denominator: 8}}}",
            Filters(mirrors=(Mirror(BACKEND, 0.2), Mirror(BACKEND, 0.125))), id="mirrors-may-repeat",
        ),
        pytest.param(
            "{type: CORS, cors: {allowOrigins: ['*']}}",
            Filters(cors=Cors(allow_origins=(TextMatch(TextMatchKind.PRESENT, ""),), max_age=5 * SECOND)), id="cors-by-default",
        ),
        pytest.param(
            "{type: CORS, cors: {allowOrigins: ['https://A.b:443', 'http://a.b:8080', 'https://*.c.d', 'http://*:81'],"
            " allowMethods: [GET, PUT], allowHeaders: [X-A], exposeHeaders: ['*'], maxAge: 60, allowCredentials: true}}",
            Filters(cors=Cors(
                (
                    TextMatch(EXACT, "https://a.b"), TextMatch(EXACT, "http://a.b:8080"),
                    TextMatch(REGEX, r"https://[^/:]+\.c\.d"), TextMatch(REGEX, "http://[^/:]+:81"),
                ),
                ("GET", "PUT"), ("x-a",), ("*",), 60 * SECOND, allow_credentials=True,
            )),
            id="cors",
        ),
    ],
)  # fmt: skip
def test_what_is_done_on_the_way(filters, expected):
    assert http_rule(f"{{filters: [{filters}]}}").filters == expected


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        pytest.param("{}", Redirect(), id="found-by-default"),
        pytest.param("{hostname: a.b, statusCode: 301}", Redirect(301, authority="a.b"), id="host-and-status"),
        pytest.param("{scheme: https}", Redirect(scheme="https", port=443), id="scheme-brings-its-port"),
        pytest.param("{scheme: http}", Redirect(scheme="http", port=80), id="scheme-of-plaintext"),
        pytest.param("{scheme: https, port: 8443}", Redirect(scheme="https", port=8443), id="port-before-the-schemes"),
        pytest.param("{port: 8080}", Redirect(port=8080), id="port-alone"),
        pytest.param(
            "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}",
            Redirect(path=PathRewrite(PathRewriteKind.PREFIX, "/b")), id="prefix",
        ),
        *(pytest.param(f"{{statusCode: {status}}}", Redirect(status), id=f"status-{status}") for status in (303, 307, 308)),
    ],
)  # fmt: skip
def test_redirections(redirect, expected):
    rule = http_rule(f"{{filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}")
    assert rule.action == expected


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        pytest.param(
            "{filters: [{type: ExtensionRef, extensionRef: {group: a.b, kind: C, name: d}}], backendRefs: [{name: b, port: 80}]}",
            "spec.rules[0].filters[0].type", id="extension",
        ),
        pytest.param(
            "{filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, grpc: {}, backendRef: {name: c, port: 80}}}], backendRefs: [{name: b, port: 80}]}",
            "spec.rules[0].filters[0].type", id="authorization-by-others",
        ),
        pytest.param(
            "{backendRefs: [{name: b, port: 80, filters: [{type: RequestRedirect, requestRedirect: {}}]}]}",
            "spec.rules[0].backendRefs[0].filters", id="redirection-of-a-backend",
        ),
    ],
)  # fmt: skip
def test_what_is_not_carried_out_fails_its_requests(rule, where):
    translated = read("HTTPRoute", f"rules: [{rule}]")
    [backend] = translated.object.rules[0].action.backends
    assert backend.trouble.startswith(where)
    assert warned(translated) == [(where, Reason.UNSUPPORTED)]


def test_a_redirection_does_not_pass_by_a_filter_that_is_not_carried_out():
    translated = read(
        "HTTPRoute",
        "rules: [{filters: [{type: RequestRedirect, requestRedirect: {}},"
        " {type: ExtensionRef, extensionRef: {group: a.b, kind: C, name: d}}]}]",
    )
    assert translated.object.rules[0].action == Forward(())


def test_a_mirror_of_another_kind_is_told():
    translated = read(
        "HTTPRoute",
        "rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {group: x.io, kind: C, name: d}}}]}]",
    )
    assert translated.object.rules[0].filters.mirrors[0].backend.trouble
    assert warned(translated) == [("spec.rules[0].filters[0].requestMirror.backendRef.kind", Reason.KIND)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{}", Timeouts(), id="left-to-the-proxy"),
        pytest.param("{timeouts: {request: 10s}}", Timeouts(request=10 * SECOND), id="request"),
        pytest.param("{timeouts: {request: 10s, backendRequest: 2s}}", Timeouts(10 * SECOND, 2 * SECOND), id="one-try"),
        pytest.param("{timeouts: {request: 0s, backendRequest: 2s}}", Timeouts(timedelta(), 2 * SECOND), id="zero-is-no-limit"),
        pytest.param("{timeouts: {backendRequest: 2s}}", Timeouts(attempt=2 * SECOND), id="one-try-alone"),
    ],
)  # fmt: skip
def test_timeouts(text, expected):
    assert http_rule(text).timeouts == expected


@pytest.mark.parametrize(
    ("retry", "attempts", "codes", "backoff"),
    [
        pytest.param("{}", 2, (), None, id="connection-errors-alone"),
        pytest.param("{attempts: 3}", 3, (), None, id="attempts-are-extra-tries"),
        pytest.param("{codes: [503, 500, 503]}", 2, ((500, 500), (503, 503)), None, id="codes"),
        pytest.param("{backoff: 100ms}", 2, (), SECOND / 10, id="least-backoff"),
    ],
)
def test_retries(retry, attempts, codes, backoff):
    rule = http_rule(f"{{retry: {retry}}}")
    assert rule.retry == Retry(attempts, rule.retry.on, codes, backoff, after_timeout=True, any_method=True)
    assert {RetryOn.CONNECT_FAILURE, RetryOn.RESET, RetryOn.REFUSED_STREAM} <= rule.retry.on


def test_a_rule_that_says_nothing_of_retries_leaves_them_to_the_proxy():
    assert http_rule("{}").retry is None


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{}", Persistence(PersistenceKind.COOKIE), id="cookie-by-default"),
        pytest.param("{type: Header, sessionName: X}", Persistence(PersistenceKind.HEADER, "X"), id="header"),
        pytest.param("{absoluteTimeout: 1h}", Persistence(lifetime=3600 * SECOND), id="with-an-end"),
        pytest.param(
            "{absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}",
            Persistence(lifetime=3600 * SECOND, is_permanent=True),
            id="permanent",
        ),
    ],
)
def test_sessions(kind, text, expected):
    [rule] = rules(kind, f"rules: [{{sessionPersistence: {text}}}]")
    assert rule.persistence == expected


def test_what_has_no_effect_is_named():
    translated = read("HTTPRoute", "{useDefaultGateways: All}")
    assert warned(translated) == [("spec.useDefaultGateways", Reason.NO_EFFECT)]
