"""What is said of one service, and what comes of it: worlds and tables."""

from datetime import timedelta

import pytest
from control.routes.said import (
    API,
    HOST,
    Written,
    backend,
    budget_policy,
    destination,
    key,
    match,
    on,
    profile,
    route,
    rule,
    service,
    subset,
    virtual,
)
from core.worlds import workload
from hypothesis import given, settings, strategies as st
from immutables import Map

from ambient.control.objects import Key, ServiceRef
from ambient.core.endpoints import Endpoints
from ambient.core.model.route import (
    Filters,
    Mirror,
    ProfileRoute,
    Protocol,
    RouteMatch,
    RouteTable,
    Unmatched,
)
from ambient.core.model.traffic import (
    Accrual,
    ConcurrencyBudget,
    LocalityPolicy,
    RatioBudget,
    Simple,
    TrafficPolicies,
    TrafficPolicy,
)

OLD, YOUNG = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


@pytest.mark.parametrize(
    ("rules", "order"),
    [
        pytest.param([rule("prefix", match("/a")), rule("exact", match("=/a"))], ["exact", "prefix"], id="exact-path-first"),
        pytest.param([rule("short", match("/a")), rule("long", match("/a/b"))], ["long", "short"], id="longest-prefix"),
        pytest.param([rule("none"), rule("root", match("/"))], ["none", "root"], id="no-path-is-the-root"),
        pytest.param([rule("prefix", match("/aaaa")), rule("regex", match("~/a.*"))], ["regex", "prefix"], id="a-pattern-before-a-prefix"),
        pytest.param([rule("regex", match("~/a.*")), rule("exact", match("=/a"))], ["exact", "regex"], id="a-pattern-after-an-exact-path"),
        pytest.param([rule("any", match("/a")), rule("get", match("/a", method="GET"))], ["get", "any"], id="method"),
        pytest.param([rule("method", match("/a", method="GET")), rule("path", match("/a/b"))], ["path", "method"], id="path-before-method"),
        pytest.param([rule("one", match("/a", headers={"a": "1"})), rule("two", match("/a", headers={"a": "1", "b": "2"}))], ["two", "one"], id="most-headers"),
        pytest.param([rule("headers", match("/a", headers={"a": "1"})), rule("method", match("/a", method="GET"))], ["method", "headers"], id="method-before-headers"),
        pytest.param([rule("one", match("/a", queries={"a": "1"})), rule("two", match("/a", queries={"a": "1", "b": "2"}))], ["two", "one"], id="most-queries"),
        pytest.param([rule("queries", match("/a", queries={"a": "1", "b": "2"})), rule("header", match("/a", headers={"a": "1"}))], ["header", "queries"], id="headers-before-queries"),
        pytest.param([rule("first", match("/a")), rule("second", match("/a"))], ["first", "second"], id="first-in-the-list"),
    ],
)  # fmt: skip
def test_matches_of_an_http_route(rules, order):
    written = Written(service(), route("r", *rules))
    assert written.tables() == [("", [], "http", order)]


def test_a_rule_stands_where_each_of_its_matches_belongs():
    both = rule("both", match("=/a"), match("/"))
    written = Written(service(), route("r", both, rule("middle", match("/b"))))
    assert written.tables() == [("", [], "http", ["both", "middle", "both"])]
    assert [len(one.matches) for one in written.routes[API].tables[0].rules] == [1, 1, 1]


def test_matches_of_a_rule_that_stand_together_stay_together():
    written = Written(service(), route("r", rule("one", match("=/a"), match("/b"), match("/a"))))
    assert [len(one.matches) for one in written.routes[API].tables[0].rules] == [3]


def grpc(name, at, **fields):
    return rule(name, match(at, **fields))


@pytest.mark.parametrize(
    ("rules", "order"),
    [
        pytest.param([grpc("service", "/a.B"), grpc("method", "=/a.B/C")], ["method", "service"], id="method-of-a-service-first"),
        pytest.param([grpc("short", "=/a.B/CCCC"), grpc("long", "/a.BBBB")], ["long", "short"], id="service-before-method"),
        pytest.param([grpc("method", "~/[^/]+/Get"), grpc("service", "/a")], ["service", "method"], id="a-method-of-any-service"),
        pytest.param([grpc("short", "~/[^/]+/Get"), grpc("long", "~/[^/]+/GetAll")], ["long", "short"], id="longest-method"),
        pytest.param([grpc("none", "/a.B"), grpc("header", "/a.B", headers={"x": "1"})], ["header", "none"], id="headers"),
        pytest.param([rule("all"), grpc("service", "/a")], ["service", "all"], id="nothing-asked-last"),
    ],
)  # fmt: skip
def test_matches_of_a_grpc_route(rules, order):
    written = Written(service(), route("r", *rules, kind="GRPCRoute"))
    assert written.tables() == [("", [], "grpc", order)]


def sni(name, *server_names):
    return rule(name, RouteMatch(server_names=server_names))


@pytest.mark.parametrize(
    ("rules", "order"),
    [
        pytest.param([sni("any"), sni("wild", "*.a.b"), sni("exact", "x.a.b")], ["exact", "wild", "any"], id="exact-wildcard-any"),
        pytest.param([sni("short", "*.b"), sni("long", "*.a.b")], ["long", "short"], id="longest-wildcard"),
    ],
)  # fmt: skip
def test_matches_of_a_tls_route(rules, order):
    assert Written(service(), route("r", *rules, kind="TLSRoute")).tables() == [("", [], "tls", order)]


@pytest.mark.parametrize(
    ("routes", "order"),
    [
        pytest.param([route("young", created=YOUNG), route("old", created=OLD)], ["old", "young"], id="oldest"),
        pytest.param([route("undated"), route("young", created=YOUNG)], ["young", "undated"], id="undated-is-youngest"),
        pytest.param([route("b", created=OLD), route("a", created=OLD)], ["a", "b"], id="name"),
        pytest.param(
            [route("old", rule("old", match("/a")), created=OLD), route("young", rule("young", match("/a/b")), created=YOUNG)],
            ["young", "old"], id="path-before-age",
        ),
    ],
)  # fmt: skip
def test_routes_of_one_kind_are_merged(routes, order):
    written = Written(service(), *routes)
    assert written.tables() == [("", [], "http", order)]
    assert written.problems() == []
    assert written.routes[API].tables[0].unmatched is Unmatched.NOT_FOUND


def on_ports(*ports):
    return tuple(ServiceRef("shop", "api", port) for port in ports)


CONFLICT = "has no effect on service shop/api.shop.svc.cluster.local"
KINDS = "as of several kinds the first of GRPCRoute, HTTPRoute, TLSRoute and TCPRoute counts alone; keep one of them"


@pytest.mark.parametrize(
    ("said", "tables", "problems"),
    [
        pytest.param([route("h"), route("g", kind="GRPCRoute")], [("", [], "grpc", ["g"])], [f"HTTPRoute shop/h: spec.parentRefs {CONFLICT}: GRPCRoute shop/g counts there, {KINDS}"], id="grpc-over-http"),
        pytest.param([route("t", kind="TLSRoute"), route("h")], [("", [], "http", ["h"])], [f"TLSRoute shop/t: spec.parentRefs {CONFLICT}: HTTPRoute shop/h counts there, {KINDS}"], id="http-over-tls"),
        pytest.param([route("p", kind="TCPRoute"), route("t", kind="TLSRoute")], [("", [], "tls", ["t"])], [f"TCPRoute shop/p: spec.parentRefs {CONFLICT}: TLSRoute shop/t counts there, {KINDS}"], id="tls-over-tcp"),
        pytest.param(
            [route("young", kind="TCPRoute", created=YOUNG), route("old", kind="TCPRoute", created=OLD)], [("", [], "tcp", ["old"])],
            [f"TCPRoute shop/young: spec.parentRefs {CONFLICT}: TCPRoute shop/old counts there, as it is older; keep one of them"], id="oldest-tcp-alone",
        ),
        pytest.param(
            [route("h", parents=on_ports(80)), route("g", kind="GRPCRoute", parents=on_ports(443))],
            [("", [80], "http", ["h"]), ("", [443], "grpc", ["g"])], [], id="kinds-on-ports-of-their-own",
        ),
        pytest.param(
            [route("h"), route("g", kind="GRPCRoute", parents=on_ports(443))], [("", [80], "http", ["h"]), ("", [443], "grpc", ["g"])],
            [f"HTTPRoute shop/h: spec.parentRefs {CONFLICT} on port 443: GRPCRoute shop/g counts there, {KINDS}"], id="conflict-on-one-port",
        ),
        pytest.param(
            [route("h"), route("one", parents=on_ports(80))], [("", [80], "http", ["h", "one"]), ("", [443], "http", ["h"])], [], id="a-route-of-one-port-merges-there",
        ),
        pytest.param([route("h", parents=on_ports(80, 443))], [("", [], "http", ["h"])], [], id="each-port-is-every-port"),
        pytest.param(
            [route("h", parents=on_ports(81))], [],
            ["HTTPRoute shop/h: spec.parentRefs names port 81 of service shop/api.shop.svc.cluster.local, which has 80, 443; name one of these, or none for all"], id="not-a-port-of-it",
        ),
        pytest.param(
            [route("h"), route("c", namespace="web")], [("web", [], "http", ["c"]), ("", [], "http", ["h"])], [], id="consumer-replaces",
        ),
        pytest.param(
            [route("h"), route("c", namespace="web", parents=on_ports(443))], [("web", [443], "http", ["c"]), ("", [], "http", ["h"])], [], id="consumer-of-one-port",
        ),
        pytest.param(
            [route("h"), route("c", namespace="web"), route("d", namespace="web")], [("web", [], "http", ["c", "d"]), ("", [], "http", ["h"])], [], id="consumers-merge-among-themselves",
        ),
        pytest.param(
            [route("h"), route("c", kind="TCPRoute", namespace="web")], [("web", [], "tcp", ["c"]), ("", [], "http", ["h"])], [], id="consumer-of-another-kind",
        ),
        pytest.param(
            [route("p", kind="TCPRoute"), route("c", namespace="web")],
            [("web", [], "http", ["c"]), ("web", [], "tcp", []), ("", [], "tcp", ["p"])], [], id="nothing-of-the-producers-is-left",
        ),
    ],
)  # fmt: skip
def test_routes_of_the_gateway_api(said, tables, problems):
    written = Written(service("api", 80, 443), *said)
    assert (written.tables() if tables else []) == tables
    assert written.problems() == problems
    assert tables or API not in written.routes


def test_a_producer_of_a_kind_that_a_consumer_lacks_is_not_asked():
    written = Written(service(), route("p", kind="TCPRoute"), route("c", namespace="web"))
    covering = written.routes[API].tables[1]
    assert (covering.consumer, covering.rules, covering.unmatched) == ("web", (), Unmatched.SERVICE)


OLDER = "names api.shop.svc.cluster.local, and VirtualService shop/old is older and counts alone; put the routes of one host into one VirtualService"
TCP = RouteTable(Protocol.TCP, (rule("tcp"),), Unmatched.SERVICE)
HTTP = RouteTable(Protocol.HTTP, (rule("http"),), Unmatched.NOT_FOUND)


@pytest.mark.parametrize(
    ("said", "tables", "problems"),
    [
        pytest.param([virtual("v", rule("b"), rule("a"))], [("", [], "http", ["b", "a"])], [], id="in-its-own-order"),
        pytest.param([virtual("young", created=YOUNG), virtual("old", created=OLD)], [("", [], "http", ["old"])], [f"VirtualService shop/young: spec.hosts {OLDER}"], id="oldest-alone"),
        pytest.param([virtual("all", hosts=("*",), created=OLD), virtual("v")], [("", [], "http", ["v"])], [], id="most-precise-host"),
        pytest.param([virtual("all", hosts=("*",)), virtual("shop", hosts=("*.shop.svc.cluster.local",))], [("", [], "http", ["shop"])], [], id="longest-wildcard"),
        pytest.param([virtual("v", to=["web"])], [("web", [], "http", ["v"])], [], id="exported-to-a-namespace"),
        pytest.param([virtual("own", to=["web"]), virtual("all", created=OLD)], [("web", [], "http", ["own"]), ("", [], "http", ["all"])], [], id="exported-by-name-before-all"),
        pytest.param(
            [virtual("own", to=["web"], hosts=("*",)), virtual("all")], [("", [], "http", ["all"])], [], id="precise-host-before-export",
        ),
        pytest.param([virtual("v", tables=(HTTP, TCP))], [("", [], "http", ["http"]), ("", [], "tcp", ["tcp"])], [], id="a-table-of-each-protocol"),
        pytest.param(
            [virtual("v"), route("h")], [("", [], "http", ["h"])],
            [f"VirtualService shop/v: spec.hosts {CONFLICT}: HTTPRoute shop/h counts there, as routes of the Gateway API come before a VirtualService; keep one of them"], id="http-route-over-virtual-service",
        ),
        pytest.param(
            [virtual("v"), route("h", parents=on_ports(80))], [("", [443], "http", ["v"]), ("", [80], "http", ["h"])],
            [f"VirtualService shop/v: spec.hosts {CONFLICT} on port 80: HTTPRoute shop/h counts there, as routes of the Gateway API come before a VirtualService; keep one of them"], id="http-route-on-one-port",
        ),
        pytest.param(
            [virtual("v"), route("c", namespace="web")], [("web", [], "http", ["c"]), ("", [], "http", ["v"])], [], id="consumer-route-beside-a-virtual-service",
        ),
    ],
)  # fmt: skip
def test_virtual_services(said, tables, problems):
    written = Written(service("api", 80, 443), *said)
    assert sorted(written.tables()) == sorted(tables)
    assert written.problems() == problems


DISABLED = "spec.parentRefs names service shop/api.shop.svc.cluster.local, where ServiceProfile {} takes the place of every route{}; remove one of them"
SPLIT = RouteTable(Protocol.HTTP, (rule("split"),), Unmatched.SERVICE)


@pytest.mark.parametrize(
    ("said", "tables", "problems"),
    [
        pytest.param([profile("/a"), virtual("v")], [("", [], "http", ["v"])], [], id="virtual-service-goes-on-splitting"),
        pytest.param([profile("/a"), route("h")], [], [f"HTTPRoute shop/h: {DISABLED.format(f'shop/{HOST}', '')}"], id="profile-disables-http-route"),
        pytest.param([profile("/a"), route("c", namespace="web")], [], [f"HTTPRoute web/c: {DISABLED.format(f'shop/{HOST}', '')}"], id="also-for-consumers"),
        pytest.param(
            [profile("/a", namespace="web"), route("h")], [("web", [], "http", []), ("", [], "http", ["h"])],
            [f"HTTPRoute shop/h: {DISABLED.format(f'web/{HOST}', ' for callers of namespace web')}"], id="a-callers-profile-disables-for-it-alone",
        ),
        pytest.param([profile(split=SPLIT)], [("", [], "http", ["split"])], [], id="dst-overrides"),
        pytest.param(
            [profile(split=SPLIT), virtual("v")], [("", [], "http", ["v"])],
            [f"ServiceProfile shop/{HOST}: spec.dstOverrides has no effect: VirtualService shop/v splits the traffic; remove one of them"], id="virtual-service-over-dst-overrides",
        ),
        pytest.param(
            [profile(split=SPLIT, namespace="web"), profile("/a")], [("web", [], "http", ["split"])], [], id="dst-overrides-of-callers",
        ),
        pytest.param(
            [profile("/a"), virtual("v"), route("h")], [("", [], "http", ["v"])], [f"HTTPRoute shop/h: {DISABLED.format(f'shop/{HOST}', '')}"], id="all-three",
        ),
    ],
)  # fmt: skip
def test_service_profiles_and_routes(said, tables, problems):
    written = Written(service(), *said)
    assert written.tables() == tables
    assert written.problems() == problems


BUDGET, OTHER_BUDGET = RatioBudget(0.2, 10, timedelta(seconds=10)), ConcurrencyBudget(0.2, 3)


def test_a_profile_of_the_callers_namespace_comes_before_the_services():
    written = Written(service(), profile("/a", budget=BUDGET), profile("/b", namespace="web"))
    routes = written.routes[API]
    assert ([one.name for one in routes.profile.routes], routes.profile.budget) == (["/a"], BUDGET)
    assert [one.name for one in routes.profile_consumers["web"].routes] == ["/b"]


def test_opaque_ports_count_in_the_services_namespace_alone():
    written = Written(service(), profile(opaque=[80]), profile(opaque=[81], namespace="web"))
    assert written.routes[API].traffic.opaque_ports == frozenset({80})
    assert written.problems() == [
        f"ServiceProfile web/{HOST}: spec.opaquePorts counts only in the service's own namespace, shop; move it there"
    ]


def annotated(**fields):
    return budget_policy("api", None, **fields)


def test_annotations_of_a_service_and_a_profile():
    said = ProfileRoute(rule("r").origin, "annotated", RouteMatch())
    marked = service(annotated=annotated(profile=(said,), accrual=Accrual(7), opaque_ports=frozenset({80})))
    written = Written(marked)
    assert written.routes[API].profile.routes == (said,)
    assert written.routes[API].traffic.policy.accrual == Accrual(7)
    assert written.routes[API].traffic.opaque_ports == frozenset({80})
    written.write(profile("/a"))
    assert [one.name for one in written.routes[API].profile.routes] == ["/a"]
    assert written.routes[API].traffic.policy.accrual is None
    assert written.problems() == [
        (
            "XBackendTrafficPolicy shop/api: metadata.annotations set timeouts or retries, "
            f"and ServiceProfile shop/{HOST} takes their place; remove one of them"
        )
    ]


# Policies

A, B, C = (TrafficPolicy(balancer=one) for one in list(Simple)[:3])


@pytest.mark.parametrize(
    ("rules", "general", "consumers"),
    [
        pytest.param([], None, {}, id="none"),
        pytest.param([destination("a", policy=A)], A, {}, id="one"),
        pytest.param([destination("w", policy=A, host="*.svc.cluster.local"), destination("e", policy=B)], B, {}, id="precise-host-alone"),
        pytest.param([destination("w", subset("v1"), host="*"), destination("e", policy=B)], B, {}, id="no-subsets-of-a-wildcard"),
        pytest.param([destination("w", policy=A, host="*.local")], A, {}, id="wildcard"),
        pytest.param([destination("r", policy=A, namespace="istio-system")], A, {}, id="root-namespace"),
        pytest.param([destination("r", policy=A, namespace="istio-system"), destination("w", policy=B, host="*")], B, {}, id="services-namespace-before-root"),
        pytest.param([destination("c", policy=A, namespace="web")], None, {"web": A}, id="callers-own"),
        pytest.param([destination("c", policy=A, namespace="web"), destination("p", policy=B)], B, {"web": A}, id="callers-own-before-the-services"),
        pytest.param([destination("p", policy=A, to=["web"])], None, {"web": A}, id="exported-to-a-namespace"),
        pytest.param([destination("p", policy=A, to=["shop"])], None, {"shop": A}, id="exported-to-its-own-namespace"),
        pytest.param([destination("c", policy=A, namespace="web", to=["db"]), destination("p", policy=B)], B, {}, id="not-exported-to-its-own-callers"),
    ],
)  # fmt: skip
def test_which_destination_rule_counts(rules, general, consumers):
    written = Written(service(), *rules)
    routes = written.routes.get(API)
    assert (routes.traffic.policy if routes else None) == (
        general or (TrafficPolicy() if consumers else None)
    )
    assert {
        name: one.policy for name, one in (routes.traffic_consumers if routes else {}).items()
    } == consumers


def test_destination_rules_for_one_host_become_one():
    written = Written(
        service(),
        destination("none", subset("v1"), created=OLD),
        destination("first", subset("v2"), policy=A, created=YOUNG),
        destination("second", subset("v2", policy=B), policy=B),
    )
    traffic = written.routes[API].traffic
    assert (traffic.policy, sorted(traffic.subsets), traffic.subsets["v2"].policy) == (A, ["v1", "v2"], None)
    assert written.problems() == [
        f'DestinationRule shop/second: spec.subsets["v2"] does not count for {HOST}: DestinationRule shop/first is older and sets it; remove one of them',
        f"DestinationRule shop/second: spec.trafficPolicy does not count for {HOST}: DestinationRule shop/first is older and sets it; remove one of them",
    ]


def test_a_port_that_the_service_lacks_is_named():
    written = Written(service("api", 80, 443), destination("d", ports={81: A}))
    assert written.problems() == [
        f"DestinationRule shop/d: spec.trafficPolicy.portLevelSettings names port 81, and service {API} has 80, 443; name one of these"
    ]


def test_a_budget_holds_at_every_level():
    levels = destination(
        "d", subset("v1", policy=B, ports=Map({80: C})), subset("v2"), policy=A, ports={80: B}
    )
    traffic = Written(service(), levels, budget_policy("b", BUDGET)).routes[API].traffic
    assert traffic == TrafficPolicies(
        TrafficPolicy(balancer=A.balancer, budget=BUDGET),
        Map({80: TrafficPolicy(balancer=B.balancer, budget=BUDGET)}),
        Map(
            {
                "v1": subset(
                    "v1",
                    policy=TrafficPolicy(balancer=B.balancer, budget=BUDGET),
                    ports=Map({80: TrafficPolicy(balancer=C.balancer, budget=BUDGET)}),
                ),
                "v2": subset("v2"),
            }
        ),
    )


def test_a_budget_of_one_port_leaves_the_others():
    traffic = (
        Written(
            service("api", 80, 443), destination("d", policy=A), budget_policy("b", BUDGET, targets=on(80))
        )
        .routes[API]
        .traffic
    )
    assert (traffic.policy, traffic.ports[80]) == (A, TrafficPolicy(balancer=A.balancer, budget=BUDGET))


def test_the_oldest_budget_counts():
    written = Written(
        service(),
        budget_policy("young", OTHER_BUDGET, created=YOUNG),
        budget_policy("old", BUDGET, created=OLD),
    )
    assert written.routes[API].traffic.policy.budget == BUDGET
    assert written.problems() == [
        (
            f"XBackendTrafficPolicy shop/young: spec.retryConstraint does not count for {API}: "
            "XBackendTrafficPolicy shop/old is older; remove one of them"
        )
    ]


# Backends

UNKNOWN = "service shop/v2.shop.svc.cluster.local is not known; add a Service or ServiceEntry of that name, or name another"


def troubles(written, of=API):
    return [
        one.trouble
        for table in written.routes[of].tables
        for each in table.rules
        for one in each.action.backends
    ]


@pytest.mark.parametrize(
    ("to", "others", "trouble"),
    [
        pytest.param(backend("v2"), [], UNKNOWN, id="unknown-service"),
        pytest.param(backend("v2"), [service("v2")], "", id="known"),
        pytest.param(backend("v2", 81), [service("v2", 80, 443)], "service shop/v2.shop.svc.cluster.local has no port 81; name one of 80, 443", id="unknown-port"),
        pytest.param(backend("v2", None), [service("v2", 81, 443)], "service shop/v2.shop.svc.cluster.local has no port 80; name one of 81, 443", id="the-called-port-is-none-of-its"),
        pytest.param(backend("v2", None), [service("v2", 81)], "", id="its-only-port"),
        pytest.param(backend(subset="v1"), [], f"service {API} has no subset v1; add a DestinationRule for {HOST} that has it", id="no-destination-rule"),
        pytest.param(backend(subset="v1"), [destination("d", subset("v2"))], f"service {API} has no subset v1; name one of v2, or add it to the DestinationRule", id="unknown-subset"),
        pytest.param(backend(subset="v1"), [destination("d", subset("v1"))], "", id="known-subset"),
        pytest.param(backend(trouble="is no Service"), [], "is no Service", id="what-its-translation-told"),
    ],
)  # fmt: skip
def test_backends_that_can_serve_nothing(to, others, trouble):
    written = Written(service(), *others, route("r", rule("r", to=to)))
    assert troubles(written) == [trouble]
    told = (
        [f"HTTPRoute shop/r: spec.rules[0] sends requests where none can be served: {trouble}"]
        if trouble and not to.trouble
        else []
    )
    assert written.problems() == told


def test_a_mirror_that_can_serve_nothing_is_told_too():
    mirrors = Filters(mirrors=(Mirror(backend("v2")),))
    written = Written(service(), route("r", rule("r", filters=mirrors)))
    assert written.routes[API].tables[0].rules[0].filters.mirrors[0].backend.trouble == UNKNOWN
    assert len(written.problems()) == 1


def test_a_backend_without_a_port_gets_its_services_only_one():
    written = Written(service(), service("v2", 81), virtual("v", rule("v", to=backend("v2", None))))
    assert written.routes[API].tables[0].rules[0].action.backends[0].port == 81


def test_a_host_is_found_in_another_namespace():
    elsewhere = backend("v2", namespace="shop")
    wrong = "web/v2.shop.svc.cluster.local"
    found = virtual("v", rule("v", to=type(elsewhere)(wrong, 80)))
    written = Written(service(), service("v2"), found)
    assert written.routes[API].tables[0].rules[0].action.backends[0].service == key("v2")


def test_subsets_that_only_some_callers_see_are_trouble_for_the_rest():
    written = Written(
        service(),
        destination("d", subset("v1"), namespace="web"),
        virtual("v", rule("v", to=backend(subset="v1"))),
    )
    by_caller = {
        one.consumer: one.rules[0].action.backends[0].trouble != "" for one in written.routes[API].tables
    }
    assert by_caller == {"web": False, "": True}


# Time: what a change touches


def test_trouble_comes_and_goes_with_what_is_missing():
    written = Written(service(), virtual("v", rule("v", to=[backend("v2", subset="v1")])))
    assert troubles(written) == [UNKNOWN]
    written.write(service("v2"))
    assert "has no subset v1" in troubles(written)[0]
    written.write(destination("d", subset("v1"), host="v2.shop.svc.cluster.local"))
    assert troubles(written) == [""]
    written.write(without=[Key("Service", "shop", "v2")])
    assert troubles(written) == [UNKNOWN]


def test_routes_end_with_what_they_came_from():
    written = Written(service(), route("r"))
    changed = written.write(without=[Key("HTTPRoute", "shop", "r")])
    assert (changed.upserted, changed.removed) == ((), (API,))
    written.write(route("r"))
    assert written.write(without=[Key("Service", "shop", "api")]).removed == (API,)
    assert written.routes == {}


def test_a_change_costs_what_changed():
    written = Written(
        service(),
        service("v2"),
        service("v3"),
        route("r"),
        virtual("v", hosts=("v2.shop.svc.cluster.local",)),
    )
    changed = written.write(route("r", rule("other")))
    assert [one.service for one in changed.upserted] == [API]
    assert written.write(route("r", rule("other"))).upserted == ()
    changed = written.write(destination("d", subset("v1"), host="v3.shop.svc.cluster.local"))
    assert [one.service for one in changed.upserted] == [key("v3")]


def test_a_route_that_moves_leaves_its_old_service():
    written = Written(service(), service("v2"), route("r"))
    changed = written.write(route("r", parents=on(None, "v2")))
    assert ([one.service for one in changed.upserted], changed.removed) == ([key("v2")], (API,))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (route("r"), f"HTTPRoute shop/r: spec.parentRefs names {HOST}, and no service of that name is known; add a v1 Service of that name, or correct the reference"),
        (virtual("v"), f"VirtualService shop/v: spec.hosts names {HOST}, and no service of that name is known; add a Service or ServiceEntry of that name, or correct the host"),
        (destination("d"), f"DestinationRule shop/d: spec.host names {HOST}, and no service of that name is known; add a Service or ServiceEntry of that name, or correct the host"),
        (profile(), f"ServiceProfile shop/{HOST}: metadata.name names {HOST}, and no service of that name is known; add a v1 Service of that name, or correct the name"),
        (budget_policy("b", BUDGET), f"XBackendTrafficPolicy shop/b: spec.targetRefs names {HOST}, and no service of that name is known; add a v1 Service of that name, or correct the reference"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.key.kind,
)  # fmt: skip
def test_what_names_no_service_is_told_until_there_is_one(said, problem):
    written = Written(said)
    assert written.problems() == [problem]
    written.write(service())
    assert written.problems() == []
    written.write(without=[Key("Service", "shop", "api")])
    assert written.problems() == [problem]


def test_subsets_that_nobody_is_in_are_told():
    written = Written(service(), destination("d", subset("v1"), subset("v2")))
    v1 = workload("a", labels=Map({"version": "v1"}))
    (problems,) = written.book.problems({API: Endpoints.of(v1)}).values()
    assert [str(one) for one in problems] == [
        f'spec.subsets["v2"] selects no workload of service {API}; label one version=v2'
    ]
    written.book.stir([API])
    assert len(written.book.problems({}).popitem()[1]) == 2


def test_labels_that_are_looked_at():
    written = Written(
        service(),
        destination("d", subset("v1"), policy=TrafficPolicy(locality=LocalityPolicy(priorities=("zone",)))),
    )
    assert written.book.labels == {"version", "zone"}
    source = RouteMatch(source_labels=Map({"app": "web"}))
    assert written.write(virtual("v", rule("v", source))).labels == {"app"}
    written.write(service("v2"), destination("e", subset("v2"), host="v2.shop.svc.cluster.local"))
    assert written.write(without=[Key("DestinationRule", "shop", "d")]).labels == {"zone"}
    assert written.book.labels == {"version", "app"}


# Any order


def anything():
    names = st.sampled_from(["a", "b"])
    namespaces = st.sampled_from(["shop", "web"])
    created = st.sampled_from(["", OLD, YOUNG])
    hosts = st.sampled_from([HOST, "v2.shop.svc.cluster.local", "*.svc.cluster.local", "*"])
    backends = st.builds(
        backend,
        st.sampled_from(["api", "v2", "v3"]),
        st.sampled_from([None, 80, 443]),
        subset=st.sampled_from(["", "v1", "v2"]),
    )
    rules = st.builds(
        lambda to, at, method: rule("r", match(at, method=method), to=to),
        backends,
        st.sampled_from([None, "/", "/a", "=/a", "~/a"]),
        st.sampled_from([None, "GET"]),
    )
    some_rules = st.lists(rules, min_size=1, max_size=2)
    exported = st.sampled_from([None, ["web"], ["shop"]])
    parents = st.sampled_from([on(None), on(80), on(None, "v2"), on(443, "v2")])
    kinds = st.sampled_from(["HTTPRoute", "HTTPRoute", "GRPCRoute", "TCPRoute"])
    return st.one_of(
        st.builds(
            lambda name, rules, kind, namespace, created, parents: route(
                name, *rules, kind=kind, namespace=namespace, created=created, parents=parents
            ),
            names, some_rules, kinds, namespaces, created, parents,
        ),
        st.builds(
            lambda name, rules, host, namespace, created, to: virtual(
                name, *rules, hosts=(host,), namespace=namespace, created=created, to=to
            ),
            names, some_rules, hosts, namespaces, created, exported,
        ),
        st.builds(
            lambda name, subsets, host, namespace, created, to, policy: destination(
                name, *map(subset, subsets), host=host, namespace=namespace, created=created, to=to, policy=policy
            ),
            names, st.sets(st.sampled_from(["v1", "v2"])), hosts, namespaces, created, exported, st.sampled_from([None, A, B]),
        ),
        st.builds(lambda namespace: profile("/a", namespace=namespace), namespaces),
        st.builds(lambda name, budget, created: budget_policy(name, budget, created=created), names, st.sampled_from([BUDGET, OTHER_BUDGET]), created),
        st.builds(service, st.sampled_from(["api", "v2"]), st.sampled_from([80, 443])),
    )  # fmt: skip


def key_of(one):
    return one.key


@settings(max_examples=200, deadline=None)
@given(st.lists(anything(), max_size=9, unique_by=key_of), st.data())
def test_the_same_objects_come_to_the_same_routes_in_any_order(every, data):
    at_once = Written(*every)
    shuffled = data.draw(st.permutations(every))
    in_steps = Written()
    for one in shuffled:
        in_steps.write(one)
    assert in_steps.routes == at_once.routes
    assert in_steps.problems() == at_once.problems()
    assert in_steps.book.labels == at_once.book.labels


@settings(max_examples=200, deadline=None)
@given(st.lists(anything(), max_size=9, unique_by=key_of), st.lists(anything(), max_size=6, unique_by=key_of))
def test_what_is_taken_back_leaves_nothing(every, more):
    plain = Written(*every)
    kept = {one.key for one in every}
    written = Written(*every, *(one for one in more if one.key not in kept))
    written.write(without=[one.key for one in more if one.key not in kept])
    assert written.routes == plain.routes
    assert written.problems() == plain.problems()
    assert written.book.labels == plain.book.labels
