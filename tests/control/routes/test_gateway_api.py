"""The mesh cases of the Gateway API's conformance suite, by their short names, as far as they are decisions.

Re-implemented, not the official run: objects go in as YAML, and each request is asked of what the index made of them.
"""

from datetime import timedelta

import pytest
from control.routes.asked import CONSUMER, NAMESPACE, Mesh

from ambient.core.model.route import (
    HeaderEdits,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Rewrite,
)
from ambient.core.model.traffic import Persistence, RatioBudget

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s, namespace: %s}
spec:
  parentRefs: [{group: '', kind: Service, name: %s, namespace: gateway-conformance-mesh%s}]
  rules: %s
---
"""


def route(rules, *, kind="HTTPRoute", name="x", namespace=NAMESPACE, parent="echo", port=""):
    return ROUTE % (kind, name, namespace, parent, port and f", port: {port}", rules)


def to(*names, port=80, **fields):
    inner = ", ".join(
        f"{{name: {name.partition('=')[0]}, namespace: {NAMESPACE}, port: {port}"
        + (f", weight: {name.partition('=')[2]}}}" if "=" in name else "}")
        for name in names
    )
    return f"backendRefs: [{inner}]"


V1, V2 = [("echo-v1", 1)], [("echo-v2", 1)]


def test_mesh_basic():
    assert Mesh().backends() == "where it was sent"


def test_mesh_traffic_split():
    mesh = Mesh(
        route(
            f"[{{matches: [{{path: {{value: /v1}}}}], {to('echo-v1')}}}, {{matches: [{{path: {{value: /v2}}}}], {to('echo-v2')}}}]"
        )
    )
    assert (mesh.backends("/v1"), mesh.backends("/v2"), mesh.backends("/")) == (V1, V2, "404")


def test_mesh_http_route_simple_same_namespace():
    assert Mesh(route(f"[{{{to('echo-v1')}}}]")).backends() == V1


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/", {}, V1),
        ("/example", {}, V1),
        ("/", {"version": "one"}, V1),
        ("/v2", {}, V2),
        ("/v2/", {}, V2),
        ("/v2/example", {}, V2),
        ("/v2?a=b", {}, V2),
        ("/", {"version": "two"}, V2),
        ("/v2example", {}, V1),
        ("/foo/v2/example", {}, V1),
    ],
)
def test_mesh_http_route_matching(path, headers, expected):
    mesh = Mesh(
        route(
            f"[{{matches: [{{path: {{value: /}}}}, {{headers: [{{name: version, value: one}}]}}], {to('echo-v1')}}},"
            f" {{matches: [{{path: {{value: /v2}}}}, {{headers: [{{name: Version, value: two}}]}}], {to('echo-v2')}}}]"
        )
    )
    assert mesh.backends(path, **headers) == expected


def test_mesh_http_route_weight():
    mesh = Mesh(route(f"[{{{to('echo-v1=7', 'echo-v2=3')}}}]"))
    assert mesh.backends() == [("echo-v1", 7), ("echo-v2", 3)]


def test_mesh_http_route_request_header_modifier():
    modifier = "{set: [{name: X-Header-Set, value: set}], add: [{name: X-Header-Add, value: add}], remove: [X-Header-Remove]}"
    mesh = Mesh(
        route(
            f"[{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {modifier}}}], {to('echo-v1')}}}]"
        )
    )
    assert mesh.ask().rule.filters.request_headers == HeaderEdits(
        (("x-header-set", "set"),), (("x-header-add", "add"),), ("x-header-remove",)
    )


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        pytest.param("{hostname: example.org}", Redirect(302, authority="example.org"), id="MeshHTTPRouteRedirectHostAndStatus-302"),
        pytest.param("{hostname: example.org, statusCode: 301}", Redirect(301, authority="example.org"), id="MeshHTTPRouteRedirectHostAndStatus-301"),
        pytest.param("{port: 8083}", Redirect(302, port=8083), id="MeshHTTPRouteRedirectPort"),
        pytest.param("{scheme: https}", Redirect(302, scheme="https", port=443), id="MeshHTTPRouteSchemeRedirect"),
        pytest.param(
            "{path: {type: ReplaceFullPath, replaceFullPath: /new}}",
            Redirect(302, path=PathRewrite(PathRewriteKind.FULL, "/new")), id="MeshHTTPRouteRedirectPath",
        ),
        *(
            pytest.param(f"{{statusCode: {status}}}", Redirect(status), id=f"MeshHTTPRoute{status}Redirect")
            for status in (303, 307, 308)
        ),
    ],
)  # fmt: skip
def test_redirections(redirect, expected):
    mesh = Mesh(route(f"[{{filters: [{{type: RequestRedirect, requestRedirect: {redirect}}}]}}]"))
    assert mesh.ask().action == expected


def test_mesh_http_route_backend_request_header_modifier():
    backend = (
        "{name: echo-v1, port: 80, filters: [{type: RequestHeaderModifier,"
        " requestHeaderModifier: {set: [{name: a, value: b}]}}]}"
    )
    [found] = Mesh(route(f"[{{backendRefs: [{backend}]}}]")).ask().action.backends
    assert found.filters.request_headers == HeaderEdits((("a", "b"),))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/?animal=whale", V1),
        ("/?animal=dolphin", V2),
        ("/?animal=dolphin&color=blue", [("echo", 1)]),
        ("/?ANIMAL=whale", "404"),
        ("/?animal=shark", "404"),
        ("/", "404"),
    ],
)
def test_mesh_http_route_query_param_matching(path, expected):
    def rule(queries, name):
        return f"{{matches: [{{queryParams: [{queries}]}}], {to(name)}}}"

    whale, dolphin = "{name: animal, value: whale}", "{name: animal, value: dolphin}"
    blue = "{name: color, value: blue}"
    mesh = Mesh(
        route(f"[{rule(whale, 'echo-v1')}, {rule(dolphin, 'echo-v2')}, {rule(f'{dolphin}, {blue}', 'echo')}]")
    )
    assert mesh.backends(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/prefix/one", PathRewrite(PathRewriteKind.PREFIX, "/one")),
        ("/full/one", PathRewrite(PathRewriteKind.FULL, "/two")),
    ],
)
def test_mesh_http_route_rewrite_path(path, expected):
    mesh = Mesh(
        route(
            "[{matches: [{path: {value: /prefix/one}}], filters: [{type: URLRewrite, urlRewrite: {path:"
            f" {{type: ReplacePrefixMatch, replacePrefixMatch: /one}}}}}}], {to('echo-v1')}}},"
            " {matches: [{path: {value: /full/one}}], filters: [{type: URLRewrite, urlRewrite: {path:"
            f" {{type: ReplaceFullPath, replaceFullPath: /two}}}}}}], {to('echo-v2')}}}]"
        )
    )
    assert mesh.ask(path).rule.filters.rewrite == Rewrite(expected)


def test_mesh_http_route_named_rule():
    assert Mesh(route(f"[{{name: named, {to('echo-v1')}}}]")).ask().rule.name == "named"


def test_mesh_frontend_hostname():
    """The address that was called counts, and not the Host."""
    mesh = Mesh(route(f"[{{{to('echo-v1')}}}]", parent="echo-v2"))
    assert mesh.backends(of="echo-v2", authority="echo-v1") == V1
    assert mesh.backends(of="echo-v1", authority="echo-v2") == "where it was sent"


def test_mesh_ports():
    mesh = Mesh(
        route(f"[{{{to('echo-v1')}}}]", port=80), route(f"[{{{to('echo-v2')}}}]", name="y", port=8080)
    )
    assert (mesh.backends(port=80), mesh.backends(port=8080)) == (V1, V2)
    assert mesh.backends(port=443) == "where it was sent"
    every = Mesh(route(f"[{{{to('echo-v1')}}}]"))
    assert [every.backends(port=port) for port in (80, 8080, 443)] == [V1, V1, V1]


@pytest.mark.parametrize(
    ("ref", "attached"),
    [
        (", sectionName: http-alt", {8080}),
        (", sectionName: http, port: 80", {80}),
        (", sectionName: http, port: 8080", set()),
        (", sectionName: nothing", set()),
    ],
)
def test_a_section_is_a_port_by_its_name(ref, attached):
    mesh = Mesh(
        route(f"[{{{to('echo-v1')}}}]").replace(
            "namespace: gateway-conformance-mesh}]", f"namespace: gateway-conformance-mesh{ref}}}]"
        )
    )
    assert {port for port in (80, 8080, 443) if mesh.backends(port=port) == V1} == attached
    assert ["spec.parentRefs names port" in problem for problem in mesh.problems] == [True] * (not attached)


def test_mesh_consumer_route():
    mesh = Mesh(
        route(f"[{{{to('echo-v1')}}}]"), route(f"[{{{to('echo-v2')}}}]", name="y", namespace=CONSUMER)
    )
    assert (mesh.backends(caller=CONSUMER), mesh.backends(), mesh.backends(caller="other")) == (V2, V1, V1)


def test_a_consumers_route_alone_is_for_nobody_else():
    mesh = Mesh(route(f"[{{{to('echo-v2')}}}]", namespace=CONSUMER))
    assert (mesh.backends(caller=CONSUMER), mesh.backends()) == (V2, "where it was sent")


def call(method, **more):
    return {"path": f"/gateway_api.echo.GrpcEcho/{method}", "port": 7070, "method": "POST", **more}


def test_mesh_grpc_route_weight():
    mesh = Mesh(route(f"[{{{to('echo-v1=7', 'echo-v2=3', port=7070)}}}]", kind="GRPCRoute"))
    assert mesh.backends(**call("Echo")) == [("echo-v1", 7), ("echo-v2", 3)]


def test_mesh_grpc_route_request_header_modifier():
    mesh = Mesh(
        route(
            "[{matches: [{method: {service: gateway_api.echo.GrpcEcho, method: Echo}}], filters: [{type:"
            " RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Header, value: set}]}}],"
            f" {to('echo-v1', port=7070)}}}]",
            kind="GRPCRoute",
        )
    )
    assert mesh.ask(**call("Echo")).rule.filters.request_headers == HeaderEdits((("x-header", "set"),))
    assert mesh.backends(**call("EchoTwo")) == "404"


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("Echo", {}, V1),
        ("EchoTwo", {}, V2),
        ("EchoThree", {"version": "two"}, [("echo", 1)]),
        ("EchoThree", {}, "404"),
    ],
)
def test_grpc_routes_match_service_method_and_headers(method, headers, expected):
    def rule(match, name):
        return f"{{matches: [{match}], {to(name, port=7070)}}}"

    mesh = Mesh(
        route(
            f"[{rule('{headers: [{name: Version, value: two}]}', 'echo')},"
            f" {rule('{method: {service: gateway_api.echo.GrpcEcho, method: Echo}}', 'echo-v1')},"
            f" {rule('{method: {type: RegularExpression, method: EchoTw.}}', 'echo-v2')}]",
            kind="GRPCRoute",
        )
    )
    assert mesh.backends(**call(method, **headers)) == expected


def test_no_call_falls_to_an_http_route():
    mesh = Mesh(
        route(
            f"[{{matches: [{{method: {{service: other.Service}}}}], {to('echo-v1', port=7070)}}}]",
            kind="GRPCRoute",
        ),
        route(f"[{{{to('echo-v2')}}}]", name="y"),
    )
    assert mesh.backends(**call("Echo")) == "404"
    assert [problem for problem in mesh.problems if "HTTPRoute" in problem]


def test_a_match_of_the_header_host_is_one_of_the_authority():
    mesh = Mesh(route(f"[{{matches: [{{headers: [{{name: Host, value: a.b}}]}}], {to('echo-v1')}}}]"))
    assert (mesh.backends(authority="a.b"), mesh.backends(authority="echo")) == (V1, "404")


POLICY = """
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: %s, namespace: gateway-conformance-mesh, creationTimestamp: '2026-01-0%sT00:00:00Z'}
spec:
  targetRefs: [{group: '', kind: Service, name: echo}]
  %s
---
"""


def test_of_policies_for_one_service_the_oldest_counts_for_each_setting():
    mesh = Mesh(
        POLICY
        % ("young", 3, "retryConstraint: {budget: {percent: 1}}\n  sessionPersistence: {sessionName: young}"),
        POLICY % ("old", 2, "sessionPersistence: {sessionName: old}"),
    )
    assert mesh.policy().persistence == Persistence(name="old")
    assert mesh.policy().budget == RatioBudget(0.01, 10, timedelta(seconds=10))
    [problem] = mesh.problems
    assert (
        "XBackendTrafficPolicy gateway-conformance-mesh/young: spec.sessionPersistence does not count"
        in problem
    )


@pytest.mark.parametrize(
    ("backend", "trouble"),
    [
        ("{name: nobody, port: 80}", "is not known"),
        ("{name: echo-v1, port: 81}", "has no port 81"),
        ("{group: x.io, kind: ServiceImport, name: echo-v1}", "is ServiceImport, which cannot serve"),
        (
            "{name: echo-v1, port: 80, filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: c}}]}",
            "is ExtensionRef, which is not carried out",
        ),
    ],
)
def test_a_backend_that_cannot_serve_says_why(backend, trouble):
    [found] = Mesh(route(f"[{{backendRefs: [{backend}]}}]")).ask().action.backends
    assert trouble in found.trouble
