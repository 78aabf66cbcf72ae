"""Whom a waypoint stands for, who calls, and where a connection goes that it does not look into."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.worlds import HBONE, at, gateway, service, workload, world
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core import balance
from ambient.core.authorize import Allowed, Connection, Denied
from ambient.core.inbound import Rejection, TunnelRequest
from ambient.core.model.authorization import Action
from ambient.core.model.identity import SpiffeId
from ambient.core.model.jwt import JwtRule, KeysGiven
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.request_authorization import RequestAuthorization, RequestMatch
from ambient.core.model.route import (
    Backend,
    Forward,
    Origin,
    Protocol,
    Respond,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Unmatched,
)
from ambient.core.model.traffic import Subset, TrafficPolicies
from ambient.core.outbound import Direct, Refusal, Refuse, Tunnel
from ambient.core.routing import Routers
from ambient.core.waypoint import Admit, admit, permit, route, service_key

GATE = service("gate", ports=((15008, 15008),))
OWN = workload("gate-0", "10.0.3.1", services={GATE.key: ((15008, 15008),)}, tunnel=HBONE)
BEHIND = gateway(GATE.key)
WEB = service("web", "10.96.0.1", "fd96::1", waypoint=BEHIND)
OTHER = service("other", "10.96.0.2", waypoint=gateway("shop/gate-2.shop.svc.cluster.local"))
OPEN = service("open", "10.96.0.3")
RANGE = service("range", ranges=("10.200.0.0/16",), waypoint=BEHIND)
PASSED = service("passed", "10.96.0.7", passthrough=True, waypoint=BEHIND)
BY_NAME = service("by-name", namespace="elsewhere", waypoint=BEHIND)
WEB_1 = workload("web-1", "10.0.1.11", tunnel=HBONE, services={WEB.key: ((80, 8080),)})
WEB_2 = workload("web-2", "10.0.1.12", services={WEB.key: ((80, 8080),)}, labels=Map({"version": "v2"}))
OPEN_1 = workload("open-1", "10.0.1.21", tunnel=HBONE, services={OPEN.key: ((80, 8080),)})
LONE = workload("lone", "10.0.1.31", tunnel=HBONE, waypoint=BEHIND)
CLIENT = workload("client", "10.0.0.1", tunnel=HBONE)
EVERYBODY = (GATE, OWN, WEB, OTHER, OPEN, RANGE, PASSED, BY_NAME, WEB_1, WEB_2, OPEN_1, LONE, CLIENT)
MESH = world(*EVERYBODY)


def request(
    authority: str, method: str = "CONNECT", source: str = "10.0.0.1:5", forwarded: str = "", who=CLIENT
):
    return TunnelRequest(method, authority, at(source), who.identity, at("10.0.3.1:15008"), forwarded)


ADMITTED = {
    "service": ("10.96.0.1:80", "10.96.0.1:80", WEB, None),
    "service-by-its-other-address": ("[fd96::1]:80", "[fd96::1]:80", WEB, None),
    "service-on-a-port-that-it-lacks": ("10.96.0.1:81", "10.96.0.1:81", WEB, None),
    "service-by-name": ("web.shop.svc.cluster.local:80", "10.96.0.1:80", WEB, None),
    "service-by-name-in-any-case": ("Web.Shop.svc.cluster.local:80", "10.96.0.1:80", WEB, None),
    "service-without-address": ("by-name.elsewhere.svc.cluster.local:80", "10.0.3.1:80", BY_NAME, None),
    "range": ("10.200.3.4:80", "10.200.3.4:80", RANGE, None),
    "workload": ("10.0.1.31:8080", "10.0.1.31:8080", None, LONE),
}


@pytest.mark.parametrize(("authority", "target", "called", "lone"), ADMITTED.values(), ids=ADMITTED)
def test_what_is_behind_it_is_carried(authority: str, target: str, called, lone) -> None:
    wanted = Admit(at("10.0.0.1:5"), CLIENT, at(target), called, lone)
    assert admit(MESH, OWN, GATE.key, request(authority)) == wanted


REJECTED = {
    "another-method": (request("10.96.0.1:80", "GET"), 400, Rejection.METHOD, "'GET'"),
    "no-port": (request("10.96.0.1"), 400, Rejection.AUTHORITY, "'10.96.0.1'"),
    "behind-another": (request("10.96.0.2:80"), 404, Rejection.NOT_SERVED, "service shop/other"),
    "behind-none": (request("10.96.0.3:80"), 404, Rejection.NOT_SERVED, "service shop/open"),
    "workload-behind-none": (request("10.0.1.11:8080"), 404, Rejection.NOT_SERVED, "Workload/shop/web-1"),
    "itself": (request("10.0.3.1:15008"), 404, Rejection.NOT_SERVED, "Workload/shop/gate-0"),
    "unknown-address": (request("192.0.2.1:80"), 404, Rejection.NOT_SERVED, "192.0.2.1:80"),
    "unknown-name": (request("nobody.example.com:80"), 404, Rejection.NOT_SERVED, "nobody.example.com:80"),
    "port-of-a-proxy": (request("10.0.1.31:15008"), 503, Rejection.RECURSIVE, "10.0.1.31:15008"),
}


@pytest.mark.parametrize(("asked", "status", "why", "named"), REJECTED.values(), ids=REJECTED)
def test_what_is_not_is_refused_by_name(asked, status: int, why: Rejection, named: str) -> None:
    rejection = admit(MESH, OWN, GATE.key, asked)
    assert (rejection.status, rejection.why) == (status, why)
    assert named in rejection.detail
    if why is Rejection.NOT_SERVED:
        assert GATE.key in rejection.detail


def test_a_replica_that_the_mesh_does_not_know_carries_nothing() -> None:
    rejection = admit(MESH, None, GATE.key, request("10.96.0.1:80"))
    assert (rejection.status, rejection.why) == (503, Rejection.UNKNOWN_WORKLOAD)


CALLERS = {
    "as-its-peer": ("10.0.0.1:5", "", CLIENT, "10.0.0.1:5", CLIENT),
    "its-own-port": ("10.0.0.1:5", 'for="10.0.0.1:777"', CLIENT, "10.0.0.1:777", CLIENT),
    "through-another-address": ("192.0.2.9:5", 'for="10.0.0.1:777"', CLIENT, "10.0.0.1:777", CLIENT),
    "as-somebody-else": ("10.0.0.1:5", 'for="10.0.1.11:777"', CLIENT, "10.0.0.1:5", CLIENT),
    "as-an-address-that-nobody-has": ("10.0.0.1:5", 'for="192.0.2.7:777"', CLIENT, "10.0.0.1:5", CLIENT),
    "from-an-address-of-another": ("10.0.1.11:5", "", CLIENT, "10.0.1.11:5", None),
    "its-port-at-an-unknown-address": ("192.0.2.9:5", 'for="192.0.2.9:777"', CLIENT, "192.0.2.9:777", None),
    "with-a-header-that-is-none": ("10.0.0.1:5", "for=;;", CLIENT, "10.0.0.1:5", CLIENT),
}


@pytest.mark.parametrize(("peer", "forwarded", "who", "source", "caller"), CALLERS.values(), ids=CALLERS)
def test_a_caller_is_where_its_node_says_if_that_fits_who_it_is(peer, forwarded, who, source, caller) -> None:
    admitted = admit(MESH, OWN, GATE.key, request("10.96.0.1:80", source=peer, forwarded=forwarded, who=who))
    assert (admitted.source, admitted.caller) == (at(source), caller)


def test_the_most_exact_wins_where_an_address_is_in_a_range_that_is_ours() -> None:
    inside = workload("inside", "10.200.0.9", tunnel=HBONE)
    rejection = admit(world(*EVERYBODY, inside), OWN, GATE.key, request("10.200.0.9:80"))
    assert rejection.why is Rejection.NOT_SERVED


# Where a connection goes


def admitted(authority: str) -> Admit:
    found = admit(MESH, OWN, GATE.key, request(authority))
    assert isinstance(found, Admit)
    return found


def hbone(to, authority: str, of) -> Tunnel:
    return Tunnel(at(f"{to.addresses[0]}:15008"), authority, frozenset({str(to.identity)}), to, of)


def rule(action, *matches: RouteMatch) -> RouteRule:
    return RouteRule(Origin("TCPRoute", "shop", "r"), action, matches or (RouteMatch(),))


def said(*rules: RouteRule, protocol=Protocol.TCP, unmatched=Unmatched.NOT_FOUND, **more) -> ServiceRoutes:
    return ServiceRoutes(WEB.key, (RouteTable(protocol, rules, unmatched),), **more)


TO_OPEN, TO_WEB = Backend(OPEN.key, 80), Backend(WEB.key, 80)
OF_V2 = TrafficPolicies(
    subsets=Map({"v2": Subset("v2", Map({"version": "v2"})), "v3": Subset("v3", Map({"version": "v3"}))})
)

WAYS = {
    "to-an-endpoint": ("10.96.0.1:80", None, None, 0.0, hbone(WEB_1, "10.0.1.11:8080", WEB)),
    "to-an-endpoint-without-hbone": ("10.96.0.1:80", None, None, 0.9, Direct(at("10.0.1.12:8080"), WEB_2, WEB)),
    "to-a-workload": ("10.0.1.31:8080", None, None, 0.0, hbone(LONE, "10.0.1.31:8080", None)),
    "passed-through": ("10.96.0.7:443", None, None, 0.0, Direct(at("10.96.0.7:443"), None, PASSED)),
    "by-a-route": ("10.96.0.1:80", said(rule(Forward((TO_OPEN,)))), None, 0.0, hbone(OPEN_1, "10.0.1.21:8080", OPEN)),
    "by-weight-to-the-first": (
        "10.96.0.1:80",
        said(rule(Forward((replace(TO_OPEN, weight=1), replace(TO_WEB, weight=9))))),
        None,
        0.05,
        hbone(OPEN_1, "10.0.1.21:8080", OPEN),
    ),
    "by-weight-to-the-second": (
        "10.96.0.1:80",
        said(rule(Forward((replace(TO_OPEN, weight=1), replace(TO_WEB, weight=9))))),
        None,
        0.2,
        hbone(WEB_1, "10.0.1.11:8080", WEB),
    ),
    "by-server-name": (
        "10.96.0.1:80",
        said(rule(Forward((TO_OPEN,)), RouteMatch(server_names=("*.example.com",))), protocol=Protocol.TLS),
        "a.example.com",
        0.0,
        hbone(OPEN_1, "10.0.1.21:8080", OPEN),
    ),
    "to-a-subset": (
        "10.96.0.1:80",
        said(rule(Forward((replace(TO_WEB, subset="v2"),))), traffic=OF_V2),
        None,
        0.0,
        Direct(at("10.0.1.12:8080"), WEB_2, WEB),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("authority", "routes", "name", "chance", "wanted"), WAYS.values(), ids=WAYS)
def test_a_connection_goes_where_routes_say(authority, routes, name, chance, wanted) -> None:
    mesh = MESH if routes is None else world(*EVERYBODY, routes)
    pick = balance.by_capacity(min(chance, 0.999) if routes is None else 0.0)
    assert route(mesh, OWN, Routers(), admitted(authority), name, chance, pick) == wanted


NOWHERE = {
    "no-rule-is-for-it": (said(rule(Forward((TO_OPEN,)), RouteMatch(ports=frozenset({81})))), "no route"),
    "no-weight": (said(rule(Forward((replace(TO_OPEN, weight=0),)))), "weight 0"),
    "an-answer": (said(rule(Respond(204))), "answers requests"),
    "an-unknown-backend": (said(rule(Forward((Backend("shop/gone.shop.svc.cluster.local", 80),)))), "shop/gone"),
    "a-backend-in-trouble": (said(rule(Forward((replace(TO_OPEN, trouble="no ReferenceGrant"),)))), "ReferenceGrant"),
    "an-unknown-subset": (said(rule(Forward((replace(TO_WEB, subset="v1"),)))), "'v1'"),
}  # fmt: skip


@pytest.mark.parametrize(("routes", "named"), NOWHERE.values(), ids=NOWHERE)
def test_routes_that_lead_nowhere_are_named(routes: ServiceRoutes, named: str) -> None:
    way = route(
        world(*EVERYBODY, routes), OWN, Routers(), admitted("10.96.0.1:80"), None, 0.0, balance.by_capacity(0)
    )
    assert isinstance(way, Refuse)
    assert way.why is Refusal.NO_ROUTE
    assert named in way.detail


def test_a_subset_that_nobody_is_of_is_named() -> None:
    routes = said(rule(Forward((replace(TO_WEB, subset="v3"),))), traffic=OF_V2)
    way = route(
        world(*EVERYBODY, routes), OWN, Routers(), admitted("10.96.0.1:80"), None, 0.0, balance.by_capacity(0)
    )
    assert isinstance(way, Refuse)
    assert (way.why, "'v3'" in way.detail) == (Refusal.NO_HEALTHY_ENDPOINT, True)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_whatever_is_drawn_is_an_endpoint(chance: float, picked: float) -> None:
    routes = said(rule(Forward((TO_OPEN, TO_WEB, replace(TO_WEB, subset="v2")))), traffic=OF_V2)
    way = route(
        world(*EVERYBODY, routes),
        OWN,
        Routers(),
        admitted("10.96.0.1:80"),
        None,
        chance,
        balance.by_capacity(picked),
    )
    assert isinstance(way, Tunnel | Direct)
    assert way.destination in (OPEN_1, WEB_1, WEB_2)


# Policies


def guarded(key: str, action: Action) -> ServicePolicies:
    everyone = RequestAuthorization("p", "shop", (), action, (((RequestMatch(server_names=()),),),))
    return ServicePolicies(key, authorizations=(everyone,))


def test_policies_of_the_waypoint_are_for_workloads_and_those_of_services_for_these() -> None:
    connection = Connection(SpiffeId("cluster.local", "shop", "client"), at("10.0.0.1:5"), at("10.0.1.31:80"))
    mesh = world(*EVERYBODY, guarded(GATE.key, Action.ALLOW))
    assert isinstance(permit(mesh, GATE.key, None, connection, "", may_be_http=True), Denied)
    assert permit(mesh, GATE.key, WEB, connection, "", may_be_http=True) == Allowed(None)
    mesh = world(*EVERYBODY, guarded(WEB.key, Action.ALLOW))
    assert permit(mesh, GATE.key, None, connection, "", may_be_http=True) == Allowed(None)
    assert isinstance(permit(mesh, GATE.key, WEB, connection, "", may_be_http=True), Denied)


def test_a_waypoint_is_called_by_the_service_of_its_name() -> None:
    assert service_key("shop", "gate") == GATE.key


def test_where_a_token_is_demanded_nothing_passes_that_may_be_a_request_in_disguise() -> None:
    connection = Connection(SpiffeId("cluster.local", "shop", "client"), at("10.0.0.1:5"), at("10.96.0.1:80"))
    rule = JwtRule("issuer", KeysGiven("{}"), is_required=True)
    mesh = world(*EVERYBODY, ServicePolicies(WEB.key, tokens=(rule,)))
    denied = permit(mesh, GATE.key, WEB, connection, "", may_be_http=True)
    assert isinstance(denied, Denied)
    assert "token" in denied.why
    assert permit(mesh, GATE.key, WEB, connection, "", may_be_http=False) == Allowed(None)
    mesh = world(*EVERYBODY, ServicePolicies(WEB.key, tokens=(replace(rule, is_required=False),)))
    assert permit(mesh, GATE.key, WEB, connection, "", may_be_http=True) == Allowed(None)


@pytest.mark.parametrize(
    "to", ["127.0.0.1:80", "127.9.9.9:80", "0.0.0.0:80", "[::1]:80", "[::]:80", "[::ffff:127.0.0.1]:80"]
)
def test_whatever_range_is_behind_it_nobody_is_led_into_the_waypoint_itself(to: str) -> None:
    everything = service("everything", ranges=("0.0.0.0/0", "::/0"), passthrough=True, waypoint=BEHIND)
    mesh = world(*EVERYBODY, everything)
    assert isinstance(admit(mesh, OWN, GATE.key, request("192.0.2.1:80")), Admit)
    rejection = admit(mesh, OWN, GATE.key, request(to))
    assert (rejection.status, rejection.why) == (404, Rejection.NOT_SERVED)
