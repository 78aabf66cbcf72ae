"""What Linkerd's objects come to where they meet others: as YAML, asked of what the index made of them."""

from datetime import timedelta

import pytest
from control.routes.asked import CONSUMER, NAMESPACE, Mesh

from ambient.core.model.route import Retry, Timeouts
from ambient.core.model.traffic import Accrual, RatioBudget
from ambient.core.routing import NotFound

HOST = f"echo.{NAMESPACE}.svc.cluster.local"
SECOND = timedelta(seconds=1)
ANNOTATED = """
apiVersion: v1
kind: Service
metadata: {name: annotated, namespace: gateway-conformance-mesh, annotations: {%s}}
spec: {clusterIP: 10.0.0.9, ports: [{port: 80}, {port: 3306}]}
---
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: x, namespace: gateway-conformance-mesh, annotations: {%s}}
spec:
  parentRefs: [{group: '', kind: Service, name: annotated}]
  rules: [{%s}]
---
"""
PROFILE = """
apiVersion: linkerd.io/v1alpha2
kind: ServiceProfile
metadata: {name: %s, namespace: %s}
spec: {%s}
---
"""
GET = "routes: [{name: get, condition: {method: GET, pathRegex: '/orders/[^/]+'}, timeout: 2s, isRetryable: true}]"


def profile(spec=GET, *, host=HOST, namespace=NAMESPACE):
    return PROFILE % (host, namespace, spec)


def told(mesh, text):
    return [problem for problem in mesh.problems if text in problem]


@pytest.mark.parametrize(
    ("path", "method", "name"),
    [
        ("/orders/1", "GET", "get"),
        ("/orders/1?a=b", "GET", "get"),
        ("/orders/1/items", "GET", None),
        ("/v1/orders/1", "GET", None),
        ("/orders/1", "POST", None),
    ],
)
def test_the_whole_path_must_fit_and_its_query_does_not_count(path, method, name):
    chosen = Mesh(profile()).choose(path, method=method)
    assert (chosen.profile and chosen.profile.name) == name
    assert (chosen.rule, chosen.timeouts.request) == (None, 2 * SECOND if name else None)


def test_the_first_route_that_fits_counts():
    routes = "{name: a, condition: {method: GET}}, {name: b, condition: {pathRegex: /b}}"
    mesh = Mesh(profile(f"routes: [{routes}]"))
    assert mesh.choose("/b").profile.name == "a"
    assert mesh.choose("/b", method="PUT").profile.name == "b"


def test_a_profile_of_the_callers_namespace_stands_in_place_of_the_services():
    mesh = Mesh(
        profile(),
        profile("routes: [{name: mine, condition: {any: [{method: GET}]}}]", namespace=CONSUMER),
    )
    assert mesh.choose("/orders/1", caller=CONSUMER).profile.name == "mine"
    assert mesh.choose("/orders/1").profile.name == "get"


def test_the_budget_is_the_profiles():
    budget = "retryBudget: {retryRatio: 0.5, minRetriesPerSecond: 1, ttl: 5s}"
    assert Mesh(profile(f"{GET}, {budget}")).choose("/orders/1").budget == RatioBudget(0.5, 1, 5 * SECOND)
    assert Mesh(profile()).choose("/orders/1").budget == RatioBudget(0.2, 10, 10 * SECOND)


def test_overrides_split_what_is_sent_to_the_service():
    overrides = ", ".join(
        f"{{authority: '{name}.{NAMESPACE}.svc.cluster.local:80', weight: {weight}}}"
        for name, weight in (("echo-v1", "900m"), ("echo-v2", "100m"))
    )
    assert Mesh(profile(f"dstOverrides: [{overrides}]")).backends() == [("echo-v1", 900), ("echo-v2", 100)]


def test_an_override_of_an_unknown_host_says_so():
    mesh = Mesh(profile("dstOverrides: [{authority: nobody.example.com, weight: 1}]"))
    [backend] = mesh.choose().action.backends
    assert "nobody.example.com is not known" in backend.trouble
    assert told(mesh, "spec.dstOverrides")


def test_a_profile_of_an_unknown_service_says_so():
    assert told(
        Mesh(profile(host="nobody.example.com")), "names nobody.example.com, and no service of that name"
    )


@pytest.mark.parametrize(
    ("route", "timeouts", "attempts"),
    [
        pytest.param(ROUTE % ("HTTPRoute", "", "matches: []"), Timeouts(5 * SECOND), 2, id="as-the-service-has-it"),
        pytest.param(
            ROUTE % ("HTTPRoute", "timeout.linkerd.io/idle: 9s", "matches: []"),
            Timeouts(timedelta(), timedelta(), timedelta(), 9 * SECOND), 2, id="any-annotation-of-the-route-in-place-of-all",
        ),
        pytest.param(
            ROUTE % ("HTTPRoute", "", "timeouts: {request: 1s}, retry: {attempts: 7}"),
            Timeouts(SECOND), 7, id="fields-of-a-rule-before-the-service",
        ),
    ],
)  # fmt: skip
def test_annotations_of_services_and_routes(route, timeouts, attempts):
    service = (
        ANNOTATED
        % "timeout.linkerd.io/request: 5s, retry.linkerd.io/http: '503', retry.linkerd.io/limit: '2'"
    )
    chosen = Mesh(service, route).choose(of="annotated")
    assert chosen.timeouts == timeouts
    assert chosen.retry.attempts == attempts


def test_annotations_of_a_service_need_no_route():
    chosen = Mesh(ANNOTATED % "retry.linkerd.io/http: gateway-error").choose(of="annotated")
    assert (chosen.rule, chosen.retry) == (None, Retry(1, codes=((502, 504),), any_method=True))


def test_calls_and_requests_of_one_service_are_tried_again_for_reasons_of_their_own():
    mesh = Mesh(ANNOTATED % "retry.linkerd.io/http: 5xx, retry.linkerd.io/grpc: unavailable")
    grpc = mesh.choose(of="annotated", method="POST", content_type="application/grpc+proto").retry
    http = mesh.choose(of="annotated", content_type="application/json").retry
    assert ([one.value for one in grpc.on], grpc.codes) == (["unavailable"], ())
    assert (http.on, http.codes) == (frozenset(), ((500, 599),))


def test_breakers_and_opaque_ports_reach_the_traffic_policy_unless_a_profile_is_there():
    service = ANNOTATED % (
        "balancer.linkerd.io/failure-accrual: consecutive, config.linkerd.io/opaque-ports: '3306'"
    )
    mesh = Mesh(service)
    assert (mesh.policy("annotated").accrual, mesh.opaque_ports("annotated")) == (Accrual(7), {3306})
    beside = Mesh(service, profile(host=HOST.replace("echo", "annotated")))
    assert (beside.policy("annotated").accrual, beside.opaque_ports("annotated")) == (None, {3306})


def test_a_profile_takes_an_http_routes_place_and_both_are_told():
    mesh = Mesh(
        ANNOTATED % "",
        ROUTE % ("HTTPRoute", "", "backendRefs: [{name: echo-v1, port: 80}]"),
        profile(host=HOST.replace("echo", "annotated")),
    )
    chosen = mesh.choose("/orders/1", of="annotated")
    assert not isinstance(chosen, NotFound)
    assert (chosen.rule, chosen.profile.name) == (None, "get")
    assert told(mesh, "HTTPRoute")
