"""What is done with a request: tables of each way to match, and any routes against a plain reading of the model."""

import re
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import get_type_hints

import pytest
from core.routes import of
from hypothesis import given, settings, strategies as st
from immutables import Map

from ambient.core.model.route import (
    AllOf,
    AnyOf,
    Backend,
    Forward,
    HeaderMatch,
    Not,
    Origin,
    PathMatch,
    PathMatchKind,
    Profile,
    ProfileRoute,
    Protocol,
    QueryMatch,
    Retry,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    TextMatch,
    TextMatchKind,
    Timeouts,
    Unmatched,
)
from ambient.core.model.traffic import RatioBudget, Simple, Subset, TrafficPolicies, TrafficPolicy
from ambient.core.routing import (
    Caller,
    Chosen,
    Connection,
    NotFound,
    Request,
    Router,
    Routers,
    choose,
    draw,
    match_test,
    policy_of,
    traffic_for,
)

API = "shop/api.shop.svc.cluster.local"
ORIGIN = Origin("HTTPRoute", "shop", "r", "spec.rules[0]")
WEB = Caller("web", Map({"app": "web", "version": "v1"}))


def text(kind: str, value: str = "", *, ignore_case=False) -> TextMatch:
    return TextMatch(TextMatchKind(kind), value, ignore_case)


def path(kind: str, value: str, *, ignore_case=False) -> RouteMatch:
    return RouteMatch(path=PathMatch(PathMatchKind(kind), value, ignore_case))


def header(name: str, match: TextMatch, *, inverted=False) -> RouteMatch:
    return RouteMatch(headers=(HeaderMatch(name, match, inverted),))


def query(name: str, match: TextMatch) -> RouteMatch:
    return RouteMatch(queries=(QueryMatch(name, match),))


def get(at="/", port=80, caller=WEB, **fields) -> Request:
    fields.setdefault("authority", "api.shop")
    return Request(Connection(port, caller, None, ip_address("10.96.0.1")), "GET", at, **fields)


def rule(name: str, *matches: RouteMatch, **fields) -> RouteRule:
    return RouteRule(ORIGIN, Forward((Backend(API, 80, name),)), matches or (RouteMatch(),), name, **fields)


def table(*rules: RouteRule, protocol=Protocol.HTTP, unmatched=Unmatched.NOT_FOUND, **fields) -> RouteTable:
    return RouteTable(protocol, rules, unmatched, **fields)


def named(answer: Chosen | NotFound) -> str:
    match answer:
        case NotFound():
            return "not found"
        case Chosen(None):
            return "service"
        case Chosen(chosen):
            return chosen.name


@pytest.mark.parametrize(
    ("match", "request_", "holds"),
    [
        pytest.param(RouteMatch(), get(), True, id="nothing-asked"),
        pytest.param(path("exact", "/a"), get("/a?b=1"), True, id="exact-path-without-query"),
        pytest.param(path("exact", "/a"), get("/a/"), False, id="exact-path-is-exact"),
        pytest.param(path("exact", "/A", ignore_case=True), get("/a"), True, id="exact-path-ignoring-case"),
        pytest.param(path("prefix", "/a"), get("/ab"), True, id="prefix-of-characters"),
        pytest.param(path("segments", "/a"), get("/ab"), False, id="prefix-of-segments"),
        pytest.param(path("segments", "/a"), get("/a"), True, id="segments-alone"),
        pytest.param(path("segments", "/a"), get("/a/b"), True, id="segments-and-more"),
        pytest.param(path("segments", "/a/"), get("/a"), True, id="segments-with-a-slash-at-the-end"),
        pytest.param(path("segments", "/"), get("/anything"), True, id="root"),
        pytest.param(path("regex", "/a/[0-9]+"), get("/a/12"), True, id="pattern"),
        pytest.param(path("regex", "/a"), get("/a/12"), False, id="pattern-of-the-whole-path"),
        pytest.param(RouteMatch(method=text("exact", "GET")), get(), True, id="method"),
        pytest.param(RouteMatch(method=text("exact", "get")), get(), False, id="method-minds-case"),
        pytest.param(RouteMatch(scheme=text("exact", "https")), get(), False, id="scheme"),
        pytest.param(RouteMatch(authority=text("prefix", "api")), get(), True, id="authority"),
        pytest.param(header("x", text("exact", "1")), get(headers={"x": "1"}), True, id="header"),
        pytest.param(header("x", text("exact", "1")), get(), False, id="header-missing"),
        pytest.param(header("x", text("exact", "1"), inverted=True), get(), True, id="inverted-and-missing"),
        pytest.param(header("x", text("exact", "1"), inverted=True), get(headers={"x": "1"}), False, id="inverted"),
        pytest.param(header("x", text("present")), get(headers={"x": ""}), True, id="present-though-empty"),
        pytest.param(header("x", text("suffix", "z")), get(headers={"x": "yz"}), True, id="suffix"),
        pytest.param(header("x", text("regex", "[ab]+")), get(headers={"x": "abc"}), False, id="header-pattern-is-whole"),
        pytest.param(header("host", text("exact", "api.shop")), get(), True, id="host-is-the-authority"),
        pytest.param(query("a", text("exact", "1")), get("/?a=1&a=2"), True, id="first-query-counts"),
        pytest.param(query("a", text("exact", "2")), get("/?a=1&a=2"), False, id="second-query-does-not"),
        pytest.param(query("a b", text("exact", "ü")), get("/?a%20b=%C3%BC"), True, id="query-escapes"),
        pytest.param(query("a", text("present")), get("/?b=1"), False, id="query-missing"),
        pytest.param(RouteMatch(ports=frozenset({80, 81})), get(), True, id="port"),
        pytest.param(RouteMatch(ports=frozenset({81})), get(), False, id="other-port"),
        pytest.param(RouteMatch(source_namespace="web"), get(), True, id="source-namespace"),
        pytest.param(RouteMatch(source_namespace="db"), get(), False, id="other-source-namespace"),
        pytest.param(RouteMatch(source_labels=Map({"app": "web"})), get(), True, id="source-labels"),
        pytest.param(RouteMatch(source_labels=Map({"app": "web", "version": "v2"})), get(), False, id="all-source-labels"),
        pytest.param(RouteMatch(destinations=(ip_network("10.96.0.0/16"),)), get(), True, id="destination"),
        pytest.param(RouteMatch(destinations=(ip_network("10.97.0.0/16"),)), get(), False, id="other-destination"),
        pytest.param(RouteMatch(server_names=("a",)), get(), False, id="no-server-name-without-tls"),
        pytest.param(
            RouteMatch(path=PathMatch(PathMatchKind.EXACT, "/a"), method=text("exact", "POST")), get("/a"), False, id="everything-must-hold"
        ),
    ],
)  # fmt: skip
def test_a_match(match, request_, holds):
    routes = ServiceRoutes(API, (table(rule("it", match)),))
    assert named(choose(routes, request_)) == ("it" if holds else "not found")


TLS, TCP = Protocol.TLS, Protocol.TCP


def sni(name: str | None = None, port=80, caller=WEB) -> Connection:
    return Connection(port, caller, name)


@pytest.mark.parametrize(
    ("tables", "asked", "answer"),
    [
        pytest.param([], get(), "service", id="nothing-said"),
        pytest.param([table(rule("a"), rule("b"))], get(), "a", id="first-rule"),
        pytest.param([table(rule("a", path("exact", "/a"), path("exact", "/b")))], get("/b"), "a", id="any-match-of-a-rule"),
        pytest.param([table()], get(), "not found", id="no-rule"),
        pytest.param([table(unmatched=Unmatched.SERVICE), table(rule("b"))], get(), "service", id="one-table-decides-alone"),
        pytest.param([table(rule("b"), ports=frozenset({81})), table(rule("a"))], get(), "a", id="table-of-another-port"),
        pytest.param([table(rule("b"), consumer="db"), table(rule("a"))], get(), "a", id="table-of-other-callers"),
        pytest.param([table(rule("b"), consumer="web"), table(rule("a"))], get(), "b", id="table-of-the-callers-namespace"),
        pytest.param([table(rule("g"), protocol=Protocol.GRPC)], get(), "g", id="grpc-is-http"),
        pytest.param([table(rule("t"), protocol=TCP)], get(), "t", id="http-over-tcp"),
        pytest.param([table(rule("s"), protocol=TLS)], get(), "service", id="http-is-not-tls"),
        pytest.param([table(rule("h"))], sni("a"), "service", id="tls-is-not-http"),
        pytest.param([table(rule("h")), table(rule("t"), protocol=TCP)], sni(), "t", id="tcp-is-for-anyone"),
        pytest.param([table(rule("s", RouteMatch(server_names=("*.b.c",))), protocol=TLS)], sni("A.B.C"), "s", id="subdomain"),
        pytest.param([table(rule("s", RouteMatch(server_names=("*.b.c",))), protocol=TLS)], sni("b.c"), "not found", id="not-the-domain-itself"),
        pytest.param([table(rule("s", RouteMatch(server_names=("b.c",))), protocol=TLS)], sni(""), "not found", id="no-server-name"),
    ],
)  # fmt: skip
def test_which_table_and_rule(tables, asked, answer):
    assert named(choose(ServiceRoutes(API, tuple(tables)), asked)) == answer


def seconds(number) -> timedelta:
    return timedelta(seconds=number)


def kind(name: str, condition=RouteMatch(), **fields) -> ProfileRoute:  # noqa: B008
    return ProfileRoute(Origin("ServiceProfile", "shop", "api"), name, condition, **fields)


ONCE, TWICE = Retry(1), Retry(2)


@pytest.mark.parametrize(
    ("own", "profile", "timeouts", "retry"),
    [
        pytest.param({}, {}, Timeouts(), None, id="nothing-set"),
        pytest.param({}, {"timeouts": Timeouts(seconds(5)), "retry": ONCE}, Timeouts(seconds(5)), ONCE, id="the-profiles"),
        pytest.param(
            {"timeouts": Timeouts(seconds(1)), "retry": TWICE}, {"timeouts": Timeouts(seconds(5), idle=seconds(9)), "retry": ONCE},
            Timeouts(seconds(1), idle=seconds(9)), TWICE, id="the-rules-own-come-first",
        ),
        pytest.param({"timeouts": Timeouts(seconds(0))}, {"timeouts": Timeouts(seconds(5))}, Timeouts(seconds(0)), None, id="zero-is-set"),
    ],
)  # fmt: skip
def test_a_profile_fills_what_the_rule_leaves_open(own, profile, timeouts, retry):
    routes = ServiceRoutes(
        API, (table(rule("a", **own)),), Profile((kind("p", **profile),), RatioBudget(0.2, 10, seconds(10)))
    )
    chosen = choose(routes, get())
    assert (chosen.profile.name, chosen.timeouts, chosen.retry) == ("p", timeouts, retry)
    assert chosen.budget == RatioBudget(0.2, 10, seconds(10))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        pytest.param(AllOf(()), True, id="all-of-none"),
        pytest.param(AnyOf(()), False, id="any-of-none"),
        pytest.param(Not(AnyOf(())), True, id="not"),
        pytest.param(
            AllOf((path("regex", "/.*"), RouteMatch(method=text("exact", "POST")))), False, id="all"
        ),
        pytest.param(AnyOf((path("regex", "/.*"), RouteMatch(method=text("exact", "POST")))), True, id="any"),
    ],
)
def test_conditions_of_profiles(condition, holds):
    routes = ServiceRoutes(API, profile=Profile((kind("first", condition), kind("second"))))
    assert choose(routes, get()).profile.name == ("first" if holds else "second")


def test_a_profile_of_the_callers_namespace_takes_the_place_of_the_services():
    routes = ServiceRoutes(
        API,
        profile=Profile((kind("all"),), RatioBudget(0.2, 10, seconds(10))),
        profile_consumers=Map({"web": Profile((kind("web"),))}),
    )
    assert (choose(routes, get()).profile.name, choose(routes, get()).budget) == ("web", None)
    assert choose(routes, get(caller=Caller("db"))).profile.name == "all"


A, B, C, D = (TrafficPolicy(balancer=one) for one in (*list(Simple)[:3], None))


@pytest.mark.parametrize(
    ("subset", "port", "policy"),
    [
        pytest.param("", 80, A, id="service"),
        pytest.param("", 81, B, id="port-before-service"),
        pytest.param("v1", 80, C, id="subset-before-service"),
        pytest.param("v1", 81, C, id="subset-before-port"),
        pytest.param("v1", 82, D, id="port-of-subset-before-all"),
        pytest.param("v2", 81, B, id="subset-without-policy"),
        pytest.param("v3", None, A, id="unknown-subset"),
    ],
)
def test_the_most_precise_policy_holds_alone(subset, port, policy):
    policies = TrafficPolicies(
        A,
        Map({81: B}),
        Map({"v1": Subset("v1", Map(), C, Map({82: D})), "v2": Subset("v2", Map())}),
    )
    assert policy_of(policies, subset, port) == policy


def test_policies_for_callers_of_a_namespace():
    routes = ServiceRoutes(
        API, traffic=TrafficPolicies(A), traffic_consumers=Map({"web": TrafficPolicies(B)})
    )
    assert traffic_for(routes, "web").policy == B
    assert traffic_for(routes, "db").policy == A


@pytest.mark.parametrize(
    ("weights", "chance", "drawn"),
    [
        ([], 0.5, None),
        ([0, 0], 0.5, None),
        ([90, 10], 0.0, 0),
        ([90, 10], 0.89, 0),
        ([90, 10], 0.9, 1),
        ([0, 1], 0.0, 1),
        ([1, 0], 0.999999, 0),
    ],
)
def test_backends_are_drawn_by_weight(weights, chance, drawn):
    backends = [Backend(API, subset=str(i), weight=weight) for i, weight in enumerate(weights)]
    assert draw(backends, chance) == (None if drawn is None else backends[drawn])


def test_a_router_is_made_once_for_the_same_routes():
    routers, routes = Routers(), ServiceRoutes(API, (table(rule("a")),))
    first = routers.of(routes)
    assert routers.of(routes) is first
    assert routers.of(ServiceRoutes(API)) is not first
    routers.keep({})
    assert routers.of(routes) is not first


# Against a plain reading


def text_fits(match: TextMatch, value: str) -> bool:
    flags = re.IGNORECASE if match.ignore_case else 0
    pattern = {
        TextMatchKind.EXACT: re.escape(match.value),
        TextMatchKind.PREFIX: re.escape(match.value) + "(?s:.*)",
        TextMatchKind.SUFFIX: "(?s:.*)" + re.escape(match.value),
        TextMatchKind.REGEX: match.value,
        TextMatchKind.PRESENT: "(?s:.*)",
    }[match.kind]
    return re.fullmatch(pattern, value, flags) is not None


def path_fits(match: PathMatch, value: str) -> bool:
    if match.kind is PathMatchKind.SEGMENTS:
        wanted, has = match.value.strip("/"), value.strip("/")
        if match.ignore_case:
            wanted, has = wanted.lower(), has.lower()
        parts = wanted.split("/") if wanted else []
        return has.split("/")[: len(parts)] == parts
    return text_fits(TextMatch(TextMatchKind(match.kind.value), match.value, match.ignore_case), value)


def match_holds(match: RouteMatch, asked: Request | Connection) -> bool:
    connection = asked.connection if isinstance(asked, Request) else asked
    labels = connection.caller.labels
    held = [
        not match.ports or connection.port in match.ports,
        match.source_namespace in {"", connection.caller.namespace},
        all(labels.get(key) == value for key, value in match.source_labels.items()),
        not match.server_names or connection.server_name in match.server_names,
        not match.destinations or any(connection.destination in network for network in match.destinations),
    ]
    wants_http = (match.path, match.method, match.scheme, match.authority, *match.headers, *match.queries)
    if isinstance(asked, Request):
        queries = dict(part.split("=") for part in reversed(asked.path.split("?")[1].split("&")))
        held += [
            match.path is None or path_fits(match.path, asked.path.split("?")[0]),
            match.method is None or text_fits(match.method, asked.method),
            match.scheme is None or text_fits(match.scheme, asked.scheme),
            match.authority is None or text_fits(match.authority, asked.authority),
            *(
                (one.name in asked.headers and text_fits(one.match, asked.headers[one.name])) != one.inverted
                for one in match.headers
            ),
            *(one.name in queries and text_fits(one.match, queries[one.name]) for one in match.queries),
        ]
    else:
        held.append(not any(one is not None for one in wants_http))
    return all(held)


def condition_holds(condition, asked) -> bool:
    match condition:
        case RouteMatch():
            return match_holds(condition, asked)
        case AllOf(conditions):
            return all(condition_holds(one, asked) for one in conditions)
        case AnyOf(conditions):
            return any(condition_holds(one, asked) for one in conditions)
        case Not(one):
            return not condition_holds(one, asked)


def plainly(routes: ServiceRoutes, asked: Request | Connection):
    connection = asked.connection if isinstance(asked, Request) else asked
    protocols = ["tls", "tcp"] if connection.server_name is not None else ["tcp"]
    if isinstance(asked, Request):
        protocols = ["grpc", "http", "tcp"]
    for one in routes.tables:
        if (
            one.protocol.value in protocols
            and one.consumer in ("", connection.caller.namespace)
            and (connection.port in one.ports or not one.ports)
        ):
            holding = [rule for rule in one.rules if any(match_holds(m, asked) for m in rule.matches)]
            if holding:
                return holding[0]
            return "not found" if one.unmatched is Unmatched.NOT_FOUND else None
    return None


callers = st.builds(
    Caller,
    st.sampled_from(["", "a", "a"]),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from("ab")).map(Map),
)
connections = st.builds(
    Connection,
    st.sampled_from([80, 443]),
    callers,
    st.sampled_from([None, "", "a", "b"]),
    st.sampled_from(["10.0.0.1", "10.1.0.1", "192.0.2.1", "fd00::1"]).map(ip_address),
)
requests = st.builds(
    Request,
    connections,
    st.sampled_from(["a", "/a", "GET"]),
    st.builds(
        lambda path, *queries: path + "?" + "&".join(queries),
        st.sampled_from(["/", "/a", "/a/b", "/ab", "/b"]),
        *[st.sampled_from(["a=a", "b=b", "shop=/a", "a=b"])] * 2,
    ),
    st.sampled_from(["a", "b", "A"]),
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.sampled_from(["a", "b", "shop"]), st.sampled_from(["", "a", "b", "A/A"])),
)

_HINTS = get_type_hints(RouteMatch)
FIELDS = {name: of(hint) for name, hint in _HINTS.items()} | {
    "ports": st.frozensets(st.sampled_from([80, 443]), max_size=2),
    "destinations": st.sampled_from([(ip_network("10.0.0.0/8"),), (ip_network("fd00::/64"),)]),
}
few_fields = st.lists(st.sampled_from(sorted(FIELDS)), max_size=2, unique=True).flatmap(
    lambda names: st.builds(RouteMatch, **{name: FIELDS[name] for name in names})
)
few_conditions = st.recursive(
    few_fields,
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda every: AllOf(tuple(every)))
        | st.lists(inner, max_size=2).map(lambda every: AnyOf(tuple(every)))
        | inner.map(Not)
    ),
    max_leaves=3,
)


def some(values, most=3):
    return st.lists(values, max_size=most).map(tuple)


rules = st.builds(lambda *matches: rule("r", *matches), few_fields, few_fields)
tables = st.builds(
    RouteTable,
    st.sampled_from(Protocol),
    some(rules),
    st.sampled_from(Unmatched),
    st.sampled_from([frozenset(), frozenset({80}), frozenset({443})]),
    st.sampled_from(["", "", "a", "shop"]),
)
profiles = st.builds(Profile, some(st.builds(kind, st.just("p"), few_conditions)), st.none())
some_routes = st.builds(
    ServiceRoutes,
    st.just(API),
    some(tables),
    profiles,
    st.dictionaries(st.sampled_from(["a", "shop"]), profiles, max_size=1).map(Map),
)


@settings(max_examples=400, deadline=None)
@given(some_routes, requests | connections)
def test_a_router_answers_as_a_plain_reading_does(routes, asked):
    answer = Router(routes).choose(asked)
    expected = plainly(routes, asked)
    if expected == "not found":
        assert isinstance(answer, NotFound)
        return
    connection = asked.connection if isinstance(asked, Request) else asked
    profile = routes.profile_consumers.get(connection.caller.namespace, routes.profile)
    fitting = [one for one in profile.routes if condition_holds(one.condition, asked)]
    assert answer.rule is expected
    assert answer.profile is (fitting[0] if fitting else None)
    assert answer.budget == profile.budget


@settings(max_examples=400, deadline=None)
@given(few_fields, requests | connections)
def test_a_match_holds_as_a_plain_reading_does(match, asked):
    routes = ServiceRoutes(API, profile=Profile((kind("it", match),)))
    assert (choose(routes, asked).profile is not None) is match_holds(match, asked)


_segments = st.lists(st.sampled_from(["", "a", "b", "ab"]), min_size=1, max_size=4).map("/".join)
_path_matches = st.builds(
    PathMatch,
    st.sampled_from([PathMatchKind.EXACT, PathMatchKind.PREFIX, PathMatchKind.SEGMENTS]),
    _segments.map("/".__add__),
    st.sampled_from([False, False, True]),
) | st.builds(PathMatch, st.just(PathMatchKind.REGEX), st.sampled_from(["/a.*", "/[ab]/b"]))
_matches = st.builds(
    RouteMatch,
    path=st.none() | _path_matches,
    method=st.sampled_from([None, None, text("exact", "GET"), text("exact", "PUT")]),
)


@settings(max_examples=300)
@given(st.lists(st.lists(_matches, min_size=1, max_size=2), max_size=30), _segments)
def test_the_first_of_many_rules_counts(every, segments):
    rules = [rule(str(number), *matches) for number, matches in enumerate(every)]
    asked = get(f"/{segments}?a=/b")
    expected = next(
        (one.name for one in rules if any(match_test(match)(asked) for match in one.matches)), "not found"
    )
    assert named(choose(ServiceRoutes(API, (table(*rules),)), asked)) == expected
