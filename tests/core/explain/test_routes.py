from dataclasses import replace
from datetime import timedelta

import pytest
from core.explain.circumstances import Known
from core.explain.test_call import API, KEY, NOW, SERVICE, WEB
from core.worlds import gateway, service, workload, world
from immutables import Map

from ambient.core.explain.answer import Question, Topic, Verdict
from ambient.core.explain.call import explain
from ambient.core.model.route import (
    Backend,
    Forward,
    HeaderMatch,
    Origin,
    PathMatch,
    PathMatchKind,
    Profile,
    ProfileRoute,
    Protocol,
    Redirect,
    Respond,
    Retry,
    RetryOn,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    TextMatch,
    TextMatchKind,
    Timeouts,
    Unmatched,
)

WAY = "shop/way.shop.svc.cluster.local"
WAYPOINT = workload("way", "10.0.0.7", tunnel=WEB.tunnel, services={WAY: [(15008, 15008)]})
BEHIND = replace(SERVICE, waypoint=gateway(WAY))
CANARY = Origin("VirtualService", "shop", "api", "spec.http[0]")
REST = Origin("VirtualService", "shop", "api", "spec.http[1]")
PROFILE = Origin("ServiceProfile", "shop", "api", "spec.routes[0]")
V1, V2 = Backend(KEY, subset="v1", weight=90), Backend(KEY, subset="v2", weight=10)
TABLE = RouteTable(
    Protocol.HTTP,
    (
        RouteRule(
            CANARY,
            Forward((replace(V2, weight=1),)),
            (RouteMatch(headers=(HeaderMatch("x-canary", TextMatch(TextMatchKind.EXACT, "true")),)),),
        ),
        RouteRule(
            REST,
            Forward((V1, V2)),
            (RouteMatch(path=PathMatch(PathMatchKind.PREFIX, "/orders")),),
            timeouts=Timeouts(request=timedelta(seconds=2)),
        ),
    ),
    Unmatched.NOT_FOUND,
)
KINDS = Profile(
    (
        ProfileRoute(
            PROFILE,
            "orders",
            RouteMatch(path=PathMatch(PathMatchKind.PREFIX, "/")),
            retry=Retry(1, frozenset({RetryOn.SERVER_ERROR})),
        ),
    )
)


def said(routes, *, to=BEHIND, **question):
    snapshot = world(WEB, API, WAYPOINT, service("way", "10.88.0.77", ports=((15008, 15008),)), to, routes)
    explanation = explain(snapshot, Known(), Question("shop/web", "api", 80, **question), NOW)
    return [(step.verdict, step.text, step.origin) for step in explanation.steps if step.topic is Topic.ROUTE]


OK, FAILS, WARNING = Verdict.OK, Verdict.FAILS, Verdict.WARNING


def table(*rules, **fields):
    return ServiceRoutes(KEY, (RouteTable(Protocol.HTTP, rules, Unmatched.NOT_FOUND, **fields),))


@pytest.mark.parametrize(
    ("routes", "question", "expected"),
    [
        pytest.param(ServiceRoutes(KEY, (TABLE,)), {"path": "/orders/1"}, [
            (OK, f"GET /orders/1 meets VirtualService shop/api: 90 of 100 to {KEY} subset v1, 10 of 100 to {KEY} subset v2", REST),
            (OK, "timeouts: request 2 s", REST),
        ], id="split"),
        pytest.param(ServiceRoutes(KEY, (TABLE,)), {"method": "POST", "path": "/x", "headers": Map({"x-canary": "true"})}, [
            (OK, f"POST /x meets VirtualService shop/api: to {KEY} subset v2", CANARY),
        ], id="header"),
        pytest.param(ServiceRoutes(KEY, (TABLE,)), {"path": "/x"}, [
            (FAILS, "no rule of VirtualService shop/api fits GET /x: it is answered with 404", CANARY._replace(field="")),
        ], id="no-rule"),
        pytest.param(ServiceRoutes(KEY, (TABLE,)), {}, [
            (OK, "no rule is for the connection: it goes to the service", None),
        ], id="connection"),
        pytest.param(ServiceRoutes(KEY, (TABLE,), KINDS), {"path": "/orders"}, [
            (OK, f"GET /orders meets VirtualService shop/api: 90 of 100 to {KEY} subset v1, 10 of 100 to {KEY} subset v2", REST),
            (OK, "timeouts: request 2 s", REST),
            (OK, "retries: at most 1, on 5xx", PROFILE),
        ], id="profile-over-split"),
        pytest.param(table(RouteRule(REST, Redirect(301))), {"path": "/"}, [
            (OK, "GET / meets VirtualService shop/api: answered with a redirection (301)", REST),
        ], id="redirect"),
        pytest.param(table(RouteRule(REST, Respond(418), name="tea")), {"path": "/"}, [
            (OK, "GET / meets VirtualService shop/api (tea): answered with 418, and nobody is asked", REST),
        ], id="respond"),
        pytest.param(table(RouteRule(REST, Forward((V1, replace(V2, trouble="no subset v2"))))), {"path": "/"}, [
            (OK, f"GET / meets VirtualService shop/api: 90 of 100 to {KEY} subset v1, 10 of 100 to {KEY} subset v2", REST),
            (WARNING, "10 of 100 requests fail with 500: no subset v2", REST),
        ], id="backend-in-trouble"),
        pytest.param(table(RouteRule(REST, Forward((replace(V2, trouble="no subset v2"),)))), {"path": "/"}, [
            (OK, f"GET / meets VirtualService shop/api: to {KEY} subset v2", REST),
            (FAILS, "10 of 10 requests fail with 500: no subset v2", REST),
        ], id="all-in-trouble"),
        pytest.param(table(RouteRule(REST, Forward((replace(V1, weight=0),)))), {"path": "/"}, [
            (OK, f"GET / meets VirtualService shop/api: to {KEY} subset v1", REST),
            (FAILS, "every backend has weight 0, so it is answered with 500", REST),
        ], id="no-weight"),
    ],
)  # fmt: skip
def test_the_rule_that_a_call_meets_is_named(routes, question, expected):
    assert said(routes, **question) == expected


def test_routes_without_a_waypoint_have_no_effect_and_the_call_goes_on():
    (step,) = said(ServiceRoutes(KEY, (TABLE,), KINDS), to=SERVICE, path="/x")
    assert step[:2] == (
        WARNING,
        f"VirtualService shop/api, ServiceProfile shop/api has no effect: service {KEY} has no waypoint, which alone carries routes out",
    )


def test_nothing_is_said_of_a_service_without_routes():
    assert said(ServiceRoutes(KEY), path="/x") == []
