"""A request by way of a waypoint, to whoever serves it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from core.explain.circumstances import Known
from core.explain.test_call import API, KEY, NOW, SERVICE, WEB
from core.explain.test_routes import BEHIND, WAYPOINT, table
from core.worlds import NONE, exactly, gateway, policy, service, workload, world
from immutables import Map

from ambient.core.explain.answer import NodeStanding, Question, Topic, Verdict
from ambient.core.explain.call import explain
from ambient.core.model.authorization import Action, Match
from ambient.core.model.jwt import JwtRule, KeysOfIssuer
from ambient.core.model.limit import ByHeader, ByIdentity, LimitScope, RateLimit
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import (
    Backend,
    Fault,
    Filters,
    Forward,
    HeaderEdits,
    Mirror,
    Origin,
    PathRewrite,
    PathRewriteKind,
    Profile,
    ProfileRoute,
    Respond,
    Rewrite,
    RouteMatch,
    RouteRule,
    ServiceRoutes,
)
from ambient.core.model.settings import MeshSettings, Permission
from ambient.core.model.traffic import (
    ConnectionLimits,
    Outlier,
    RatioBudget,
    Subset,
    TrafficPolicies,
    TrafficPolicy,
)
from ambient.core.model.workload import WorkloadStatus

OK, WARNING, FAILS = Verdict.OK, Verdict.WARNING, Verdict.FAILS
WAY = service("way", ports=((15008, 15008),))
RULE = Origin("HTTPRoute", "shop", "r", "spec.rules[0]")
SECOND = timedelta(seconds=1)


def steps(*resources, to=BEHIND, source=WEB, known=None, name="api", port=80, **question):
    question.setdefault("path", "/x")
    snapshot = world(source, API, WAYPOINT, WAY, to, *resources)
    return explain(snapshot, known or Known(), Question("shop/web", name, port, **question), NOW).steps


def said(*resources, **options):
    return [(step.verdict, step.text) for step in steps(*resources, **options)]


def after_the_waypoint(*resources, **options):
    every = said(*resources, **options)
    found = [i for i, (_, text) in enumerate(every) if text.startswith("shop/way proves")]
    return every[found[0] + 1 :] if found else every


LETS_IN = (OK, "no ALLOW policy concerns shop/api, so all may call")
PROVES = (OK, "shop/api proves to be spiffe://cluster.local/ns/shop/sa/api")
CHOICE = (OK, f"the waypoint may choose 1 of 1 endpoints of {KEY}: shop/api (10.0.0.2:8080)")


def test_every_leg_of_a_request_is_told():
    assert said(known=Known(nodes={"n1": NodeStanding(True)})) == [
        (OK, "shop/web on node n1 runs as spiffe://cluster.local/ns/shop/sa/web and is captured"),
        (OK, f"api is service {KEY} at 10.88.0.10"),
        (OK, f"port 80 of {KEY} leads to port 8080 of its endpoints"),
        (OK, "the call goes to the waypoint, shop/way (10.88.0.10:80)"),
        (OK, "mutual TLS (HBONE) to port 15008"),
        (OK, "shop/web proves to be spiffe://cluster.local/ns/shop/sa/web"),
        (OK, "shop/way proves to be spiffe://cluster.local/ns/shop/sa/way"),
        CHOICE,
        PROVES,
        LETS_IN,
    ]


def test_whom_the_rule_sends_it_to_is_asked():
    v2 = replace(API, uid=f"{API.uid}-2", name="api-2", addresses=WAYPOINT.addresses, labels=Map({"v": "2"}))
    other = service("other", "10.88.0.12")
    routes = replace(
        table(RouteRule(RULE, Forward((Backend(KEY, 80, "v2", 9), Backend(other.key, 80))))),
        traffic=TrafficPolicies(subsets=Map({"v2": Subset("v2", Map({"v": "2"}))})),
    )
    v2 = replace(v2, addresses=workload("x", "10.0.0.3").addresses)
    told = after_the_waypoint(routes, v2, other)
    assert told == [
        (OK, f"the waypoint may choose 1 of 2 endpoints of {KEY} subset v2: shop/api-2 (10.0.0.3:8080)"),
        (OK, "shop/api-2 proves to be spiffe://cluster.local/ns/shop/sa/api"),
        (OK, "no ALLOW policy concerns shop/api-2, so all may call"),
        (WARNING, f"the waypoint finds none of 0 endpoints of {other.key} that can serve: requests for it are answered with 503"),
    ]  # fmt: skip


def test_that_nobody_can_serve_fails_the_request():
    sick = replace(API, status=WorkloadStatus.UNHEALTHY)
    (told,) = after_the_waypoint(sick)
    assert told == (FAILS, f"the waypoint finds none of 1 endpoints of {KEY} that can serve: requests for it are answered with 503")  # fmt: skip


def test_what_the_waypoint_answers_itself_goes_nowhere():
    assert after_the_waypoint(table(RouteRule(RULE, Respond(418)))) == []


def test_a_policy_of_nodes_sees_the_waypoint():
    web_only = policy("web-only", Action.ALLOW, Match(principals=exactly("cluster.local/ns/shop/sa/web")))
    told = after_the_waypoint(web_only)
    assert told[2][0] is FAILS
    assert told[2][1].startswith("AuthorizationPolicy shop/web-only does not let it in to shop/api: ")
    assert told[3] == (
        WARNING,
        "policies of workloads behind a waypoint see spiffe://cluster.local/ns/shop/sa/way, and not the caller",
    )
    way_only = policy("way-only", Action.ALLOW, Match(principals=exactly("cluster.local/ns/shop/sa/way")))
    assert after_the_waypoint(way_only)[-1] == (OK, "AuthorizationPolicy shop/way-only lets it in to shop/api")  # fmt: skip


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        (Filters(HeaderEdits((("a", "1"),), (("b", "2"),), ("c",))), "headers of the request are set: a; headers of the request are added: b; headers of the request are removed: c"),
        (Filters(response_headers=HeaderEdits((("a", "1"),))), "headers of the response are set: a"),
        (Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.PREFIX, "/v2"), "b.example")), "the prefix of the path becomes /v2; the authority becomes b.example"),
        (Filters(rewrite=Rewrite(PathRewrite(PathRewriteKind.REGEX, "/b", "/a+"))), "what /a+ finds in the path becomes /b"),
        (Filters(mirrors=(Mirror(Backend(KEY, 80), 0.5),)), f"0.5 of them are sent to {KEY} too"),
        (Filters(fault=Fault(2 * SECOND, 0.1, 503, "", 0.2)), "0.1 of them are held up for 2 s; 0.2 of them are answered with 503"),
    ],
    ids=["request-headers", "response-headers", "rewrite", "regex", "mirror", "fault"],
)  # fmt: skip
def test_filters_are_told(filters, words):
    routes = table(RouteRule(RULE, Forward((Backend(KEY, 80),)), filters=filters))
    assert (OK, f"on the way: {words}") in said(routes)


def test_limits_breakers_and_budgets_are_told():
    routes = ServiceRoutes(
        KEY,
        profile=Profile((ProfileRoute(RULE, "all", RouteMatch()),), RatioBudget(0.2, 10, 10 * SECOND)),
        traffic=TrafficPolicies(
            TrafficPolicy(
                limits=ConnectionLimits(connections=100, pending_requests=10),
                outlier=Outlier(consecutive_5xx=5),
            )
        ),
    )
    told = said(routes)
    assert (OK, f"for {KEY}: at most 100 connections; at most 10 requests that wait; an endpoint is left out after 5 answers of 500 and more in a row") in told  # fmt: skip
    assert (OK, "retries are at most 0.2 of the requests in 10 s, and 10 a second") in told


def test_rate_limits_are_told_with_their_object():
    limits = (
        RateLimit("shop/slow/all", 100, 60 * SECOND, 120),
        RateLimit("shop/slow/each", 1, SECOND, 1, ByIdentity(), LimitScope.MESH, ports=frozenset({80})),
        RateLimit("shop/slow/user", 2, SECOND, 2, ByHeader("x-user"), dry_run=True),
        RateLimit("shop/slow/other", 1, SECOND, 1, ports=frozenset({81})),
    )
    told = [
        (step.text, str(step.origin))
        for step in steps(ServicePolicies(KEY, limits=limits))
        if step.text.startswith("limit ")
    ]
    where = "RateLimitPolicy shop/slow spec.limits"
    assert told == [
        ("limit all: 100 requests in 60 s, 120 of them at once", where),
        ("limit each: 1 requests in 1 s for each identity, 1 of them at once over all replicas", where),
        ("limit user: 2 requests in 1 s for each value of header x-user, 2 of them at once, which is only counted", where),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("is_required", "headers", "verdict"),
    [(True, {}, FAILS), (True, {"Authorization": "Bearer x"}, WARNING), (False, {}, OK)],
    ids=["missing", "not-looked-into", "not-demanded"],
)
def test_a_token_that_is_demanded_is_asked_for(is_required, headers, verdict):
    policies = ServicePolicies(KEY, tokens=(JwtRule("i", KeysOfIssuer(), is_required=is_required),))
    told = steps(policies, headers=Map(headers))
    assert {step.verdict for step in told if "token" in step.text} <= {verdict}
    assert max((step.verdict for step in told), key=list(Verdict).index) is verdict


OTHER_WAY = service("other-way", ports=((15008, 15008),))
OTHER_REPLICA = workload("other-way-1", "10.0.0.6", services={OTHER_WAY.key: [(15008, 15008)]})


@pytest.mark.parametrize(
    ("its_waypoint", "fails"),
    [(None, False), (gateway(WAY.key), False), (gateway(OTHER_WAY.key), True)],
    ids=["none", "the-same", "another"],
)
def test_a_backend_that_only_another_waypoint_may_call_refuses_this_one(its_waypoint, fails):
    backend = service("backend", "10.88.0.13")
    pod = workload(
        "pod", "10.0.0.4", tunnel=WEB.tunnel, services={backend.key: [(80, 80)]}, waypoint=its_waypoint
    )
    resources = (replace(backend, waypoint=gateway(OTHER_WAY.key)), pod, OTHER_WAY, OTHER_REPLICA)
    told = after_the_waypoint(table(RouteRule(RULE, Forward((Backend(backend.key, 80),)))), *resources)
    refused = (
        FAILS,
        f"waypoint bypass: workload {pod.uid} is behind waypoint {OTHER_WAY.key}, and the connection did not come through it",
    )
    assert (refused in told) is fails


PLAIN = replace(WEB, tunnel=NONE)
AT_WAY = replace(API, waypoint=gateway(WAY.key))


@pytest.mark.parametrize(
    ("resources", "to", "source", "name", "last"),
    [
        ((), BEHIND, PLAIN, "api", (WARNING, "the call of shop/web, which is not captured, goes past waypoint shop/way.shop.svc.cluster.local, whose routes and policies do not count for it")),
        ((AT_WAY,), SERVICE, PLAIN, "10.0.0.2", (FAILS, "the call of shop/web, which is not captured, goes past waypoint shop/way.shop.svc.cluster.local, and is refused for it (waypoint_bypass)")),
        ((AT_WAY, MeshSettings(waypoint_bypass=Permission.ALLOW)), SERVICE, PLAIN, "10.0.0.2", (WARNING, "the call of shop/web, which is not captured, goes past waypoint shop/way.shop.svc.cluster.local, as waypointBypass of MeshConfig allows")),
        ((AT_WAY,), SERVICE, WEB, "10.0.0.2", LETS_IN),
    ],
    ids=["service", "workload", "allowed", "captured"],
)  # fmt: skip
def test_who_is_not_captured_goes_past_the_waypoint(resources, to, source, name, last):
    told = said(*resources, to=to, source=source, name=name, port=8080 if name == "10.0.0.2" else 80)
    assert told[-1] == last


def test_the_waypoints_node_is_looked_at():
    known = Known(nodes={"w1": NodeStanding(False)})
    told = said(replace(WAYPOINT, node="w1"), known=known)
    assert (WARNING, "node w1, which is the waypoint, is not connected to the control plane and goes by what it heard last") in told  # fmt: skip
    assert Topic.NODE in {step.topic for step in steps(replace(WAYPOINT, node="w1"), known=known)}
