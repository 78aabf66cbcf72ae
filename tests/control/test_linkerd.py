"""What a ServiceProfile means, with the traps that its users know."""

from datetime import timedelta

import pytest
import yaml

from ambient.control.problem import Reason
from ambient.control.translate.kinds import translate
from ambient.core.model.route import (
    AllOf,
    AnyOf,
    Backend,
    Forward,
    Not,
    Origin,
    PathMatch,
    PathMatchKind,
    Protocol,
    ResponseClass,
    Retry,
    RetryOn,
    RouteMatch,
    RouteRule,
    RouteTable,
    TextMatch,
    TextMatchKind,
    Timeouts,
    Unmatched,
)
from ambient.core.model.traffic import RatioBudget

HOST = "api.shop.svc.cluster.local"
SECOND = timedelta(seconds=1)


def read(spec, version="v1alpha2", namespace="shop", name=HOST):
    document = {
        "apiVersion": f"linkerd.io/{version}",
        "kind": "ServiceProfile",
        "metadata": {"name": name, "namespace": namespace},
        "spec": yaml.safe_load(spec),
    }
    return translate(document, ("ambient-system",))


def profile(spec):
    translated = read(spec)
    assert translated.warnings == ()
    return translated.object


def route(text):
    [found] = profile(f"routes: [{{name: a, condition: {{method: GET}}, {text}}}]").routes
    return found


def path(pattern):
    return RouteMatch(path=PathMatch(PathMatchKind.REGEX, pattern))


GET = RouteMatch(method=TextMatch(TextMatchKind.EXACT, "GET"))


@pytest.mark.parametrize("version", ["v1alpha2", "v1alpha1"])
def test_a_profile_is_of_the_host_that_it_is_named_by(version):
    found = read("{}", version, "web").object
    assert (found.namespace, found.host) == ("web", HOST)
    assert (found.routes, found.budget, found.split, found.opaque_ports) == ((), None, None, frozenset())


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        pytest.param("{method: GET}", GET, id="method"),
        pytest.param("{pathRegex: /a}", path("/a"), id="path"),
        pytest.param("{pathRegex: '^/a$'}", path("^/a$"), id="path-with-anchors"),
        pytest.param("{pathRegex: ' /a '}", path("/a"), id="path-trimmed"),
        pytest.param(
            "{pathRegex: /a, method: GET}",
            RouteMatch(path=PathMatch(PathMatchKind.REGEX, "/a"), method=TextMatch(TextMatchKind.EXACT, "GET")), id="both",
        ),
        pytest.param("{all: [{method: GET}, {pathRegex: /a}]}", AllOf((GET, path("/a"))), id="all"),
        pytest.param("{any: [{method: GET}, {pathRegex: /a}]}", AnyOf((GET, path("/a"))), id="any"),
        pytest.param("{not: {method: GET}}", Not(GET), id="not"),
        pytest.param("{all: []}", AllOf(()), id="all-of-nothing-is-true"),
        pytest.param("{any: []}", AnyOf(()), id="any-of-nothing-is-false"),
        pytest.param(
            "{method: GET, not: {pathRegex: /a}, any: [{pathRegex: /b}]}",
            AllOf((GET, AnyOf((path("/b"),)), Not(path("/a")))), id="what-is-set-together-counts-together",
        ),
    ],
)  # fmt: skip
def test_which_requests(condition, expected):
    [found] = profile(f"routes: [{{name: a, condition: {condition}}}]").routes
    assert found.condition == expected


def test_routes_keep_their_order_as_the_first_counts():
    found = profile(
        "routes: [{name: b, condition: {method: GET}}, {name: a, condition: {method: GET}}]"
    ).routes
    assert [(entry.name, entry.origin) for entry in found] == [
        ("b", Origin("ServiceProfile", "shop", HOST, "spec.routes[0]")),
        ("a", Origin("ServiceProfile", "shop", HOST, "spec.routes[1]")),
    ]


@pytest.mark.parametrize(
    ("pattern", "is_told"),
    [
        ("/a|/b", True),
        ("(a)|b", True),
        ("/(a|b)", False),
        (r"/a\|b", False),
        ("/[a|b]", False),
        (r"/[\]|]", False),
    ],
)
def test_alternatives_that_linkerd_anchors_by_halves_are_told(pattern, is_told):
    warnings = read(f"routes: [{{name: a, condition: {{not: {{pathRegex: '{pattern}'}}}}}}]").warnings
    assert [warning.field for warning in warnings] == ["spec.routes[0].condition"] * is_told


@pytest.mark.parametrize(
    ("text", "retry"),
    [
        pytest.param("timeout: 5s", None, id="nothing-said"),
        pytest.param("isRetryable: false", Retry(0), id="never"),
        pytest.param(
            "isRetryable: true",
            Retry(
                2**32 - 1,
                frozenset({RetryOn.DEADLINE_EXCEEDED, RetryOn.INTERNAL, RetryOn.UNAVAILABLE}),
                ((500, 599),),
                timedelta(),
                any_method=True,
            ),
            id="answers-that-are-failures-and-nothing-else",
        ),
    ],
)
def test_retries(text, retry):
    assert route(text).retry == retry


@pytest.mark.parametrize(
    ("classes", "codes"),
    [
        pytest.param("[{condition: {status: {min: 429, max: 429}}, isFailure: true}]", ((429, 429), (500, 599)), id="more"),
        pytest.param("[{condition: {status: {min: 500, max: 502}}}]", ((503, 599),), id="less"),
        pytest.param(
            "[{condition: {status: {min: 501, max: 501}}}, {condition: {status: {min: 500, max: 599}}, isFailure: true}]",
            ((500, 500), (502, 599)), id="the-first-class-counts",
        ),
    ],
)  # fmt: skip
def test_what_is_a_failure_is_tried_again(classes, codes):
    assert route(f"isRetryable: true, responseClasses: {classes}").retry.codes == codes


@pytest.mark.parametrize(
    ("condition", "ranges"),
    [
        pytest.param("{status: {min: 500, max: 599}}", [(500, 599)], id="range"),
        pytest.param("{not: {status: {min: 200, max: 599}}}", [(100, 199)], id="not"),
        pytest.param("{all: [{status: {min: 400, max: 599}}, {not: {status: {min: 404, max: 404}}}]}", [(400, 403), (405, 599)], id="all"),
        pytest.param("{any: [{status: {min: 400, max: 401}}, {status: {min: 402, max: 403}}]}", [(400, 403)], id="any-joins"),
        pytest.param("{status: {min: 400, max: 599}, not: {status: {min: 500, max: 599}}}", [(400, 499)], id="together"),
    ],
)  # fmt: skip
def test_which_responses(condition, ranges):
    found = route(f"responseClasses: [{{condition: {condition}, isFailure: true}}]").responses
    assert found == tuple(ResponseClass(first, last, is_failure=True) for first, last in ranges)


@pytest.mark.parametrize(
    ("condition", "where", "reason"),
    [
        pytest.param("{status: {min: 500}}", "condition.status", Reason.VALUE, id="one-bound-is-dropped-by-linkerd"),
        pytest.param("{any: [{not: {status: {max: 500}}}]}", "condition.any[0].not.status", Reason.VALUE, id="one-bound-within"),
        pytest.param("{any: []}", "condition", Reason.NO_EFFECT, id="any-of-nothing"),
    ],
)  # fmt: skip
def test_classes_that_linkerd_drops_are_told(condition, where, reason):
    text = f"routes: [{{name: a, condition: {{method: GET}}, responseClasses: [{{condition: {condition}}}]}}]"
    warnings = read(text).warnings
    assert [(warning.field, warning.reason) for warning in warnings] == [
        (f"spec.routes[0].responseClasses[0].{where}", reason)
    ]


def test_one_bound_alone_is_that_status():
    found = read(
        "routes: [{name: a, condition: {method: GET}, responseClasses: [{condition: {status: {max: 404}}}]}]"
    )
    assert found.object.routes[0].responses == (ResponseClass(404, 404, is_failure=False),)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        ("5s", 5 * SECOND),
        ("1.5s", 1.5 * SECOND),
        ("100ms", SECOND / 10),
        ("1h2m", 3720 * SECOND),
        ("''", None),
    ],
)
def test_timeouts_are_gos(timeout, expected):
    assert route(f"timeout: {timeout}").timeouts == Timeouts(request=expected)


@pytest.mark.parametrize(
    ("spec", "budget"),
    [
        pytest.param(
            "{retryBudget: {retryRatio: 0.5, minRetriesPerSecond: 3, ttl: 20s}}", RatioBudget(0.5, 3, 20 * SECOND), id="given",
        ),
        pytest.param("{retryBudget: {retryRatio: 0, minRetriesPerSecond: 0, ttl: 1s}}", RatioBudget(0, 0, SECOND), id="least"),
        pytest.param(
            "{routes: [{name: a, condition: {method: GET}, isRetryable: true}]}", RatioBudget(0.2, 10, 10 * SECOND), id="by-default",
        ),
        pytest.param("{routes: [{name: a, condition: {method: GET}}]}", None, id="nothing-to-try-again"),
    ],
)  # fmt: skip
def test_the_budget(spec, budget):
    assert profile(spec).budget == budget


@pytest.mark.parametrize(
    ("weight", "expected"),
    [("1", 1000), ("500m", 500), ("0.5", 500), ("'0.0001'", 1), ("1k", 1_000_000), ("1e1", 10_000), ("1Ki", 1_024_000), ("0", 0)],
)  # fmt: skip
def test_weights_are_quantities(weight, expected):
    found = profile(f"dstOverrides: [{{authority: {HOST}, weight: {weight}}}]").split
    assert found.rules[0].action.backends[0].weight == expected


def test_a_split():
    found = profile(
        "dstOverrides: [{authority: 'api-v1.shop.svc.cluster.local.:8080', weight: 900m},"
        " {authority: api.other.svc.cluster.local, weight: 100m}]"
    ).split
    assert found == RouteTable(
        Protocol.HTTP,
        (
            RouteRule(
                Origin("ServiceProfile", "shop", HOST, "spec.dstOverrides"),
                Forward(
                    (
                        Backend("shop/api-v1.shop.svc.cluster.local", 8080, weight=900),
                        Backend("other/api.other.svc.cluster.local", weight=100),
                    )
                ),
            ),
        ),
        Unmatched.SERVICE,
    )


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("{3306: true, 80: false}", {3306}),
        ("{'3306': {}}", {3306}),
        ("{}", set()),
    ],
)
def test_opaque_ports(ports, expected):
    assert profile(f"opaquePorts: {ports}").opaque_ports == expected
