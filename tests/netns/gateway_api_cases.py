"""What the Gateway API's conformance tests for meshes ask, and what they expect, by their ShortNames.

Of each: the routes that are applied, the requests, and how these are answered. Names and figures are those of the official
suite (kubernetes-sigs/gateway-api, conformance/tests/mesh, August 2026), which runs in a cluster and not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from topology.objects import Object

NAMESPACE: Final = "gateway-conformance-mesh"
CONSUMER: Final = "gateway-conformance-mesh-consumer"
ECHO: Final = "/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/Echo"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, and what must come of it."""

    path: str = "/"
    """Or the method, of gRPC."""
    to: str = "echo"
    """The service, or the pod for ``pod:NAME``."""
    port: int = 80
    host: str = ""
    """Empty: as ``to``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    client: str = "echo-v1"
    grpc: bool = False
    status: int | None = None
    """Of HTTP or of gRPC; None: a success."""
    server: str = ""
    """Who answers; empty: no matter."""
    path_there: str = ""
    """As the server sees it; empty: no matter."""
    headers_there: Mapping[str, str] = field(default_factory=dict)
    """That the server sees, among others."""
    absent_there: tuple[str, ...] = ()
    answered: Mapping[str, str] = field(default_factory=dict)
    """Headers of the response, among others."""
    unanswered: tuple[str, ...] = ()

    def misfit(self, answer: Mapping[str, Any]) -> str | None:
        """What is wrong with an answer."""
        if answer.get("status") != (self.status if self.status is not None else 0 if self.grpc else 200):
            return "status"
        seen, told = answer.get("seen", {}), answer.get("headers", {})
        there = seen.get("headers", {})
        checks = {
            "server": not self.server or seen.get("server") == self.server,
            "path": not self.path_there or seen.get("path") == self.path_there,
            "headers there": self.headers_there.items() <= there.items(),
            "absent there": there.keys().isdisjoint(self.absent_there),
            "answered": self.answered.items() <= told.items(),
            "unanswered": told.keys().isdisjoint(self.unanswered),
        }
        return next((name for name, is_right in checks.items() if not is_right), None)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the suite."""

    asks: tuple[Ask, ...] = ()
    routes: tuple[Object, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of the first of ``asks``, by server."""


def route(
    *rules: Object,
    to: str = "echo",
    port: int | None = None,
    kind: str = "HTTPRoute",
    namespace: str = NAMESPACE,
    name: str = "case",
) -> Object:
    """One whose parent is a service."""
    parent: Object = {"group": "", "kind": "Service", "name": to, "namespace": NAMESPACE}
    if port is not None:
        parent["port"] = port
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"parentRefs": [parent], "rules": list(rules)},
    }


def rule(*matches: Object, to: Object | tuple[Object, ...] = (), filters: tuple[Object, ...] = ()) -> Object:
    made: Object = {}
    if matches:
        made["matches"] = list(matches)
    if filters:
        made["filters"] = list(filters)
    if to:
        made["backendRefs"] = [to] if isinstance(to, dict) else list(to)
    return made


def below(path: str, **other: Any) -> Object:
    return {"path": {"type": "PathPrefix", "value": path}, **other}


def queries(**values: str) -> Object:
    return {"queryParams": [{"name": name, "value": value} for name, value in values.items()]}


def header(name: str, value: str) -> Object:
    return {"headers": [{"name": name, "value": value}]}


def v1(port: int = 80, **fields: Any) -> Object:
    return {"name": "echo-v1", "port": port, **fields}


def v2(port: int = 80, **fields: Any) -> Object:
    return {"name": "echo-v2", "port": port, **fields}


def edit(kind: str, **edits: Any) -> Object:
    """``set`` and ``add`` by name, ``remove`` as names."""
    spec: Object = {
        verb: [{"name": name, "value": value} for name, value in edits[verb].items()]
        for verb in ("set", "add")
        if verb in edits
    }
    if "remove" in edits:
        spec["remove"] = list(edits["remove"])
    return {"type": kind, kind[0].lower() + kind[1:]: spec}


def redirect(**fields: Any) -> Object:
    return {"type": "RequestRedirect", "requestRedirect": fields}


def rewrite(path: Object) -> Object:
    return {"type": "URLRewrite", "urlRewrite": {"path": path}}


def prefix(value: str) -> Object:
    return {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}


def full(value: str) -> Object:
    return {"type": "ReplaceFullPath", "replaceFullPath": value}


def _told(path: str, status: int, location: str) -> Ask:
    return Ask(path, status=status, answered={"location": location})


_TOLD_SET: Final = edit("ResponseHeaderModifier", set={"X-Header-Set": "set"})
_EDITS: Final[dict[str, dict[str, Any]]] = {
    "/set": {"set": {"X-Header-Set": "set-overwrites-values"}},
    "/add": {"add": {"X-Header-Add": "add-appends-values"}},
    "/remove": {"remove": ["X-Header-Remove"]},
    "/multiple": {
        "set": {"X-Header-Set-1": "header-set-1", "X-Header-Set-2": "header-set-2"},
        "add": {
            "X-Header-Add-1": "header-add-1",
            "X-Header-Add-2": "header-add-2",
            "X-Header-Add-3": "header-add-3",
        },
        "remove": ["X-Header-Remove-1", "X-Header-Remove-2"],
    },
    "/case-insensitivity": {
        "set": {"X-Header-Set": "header-set"},
        "add": {"X-Header-Add": "header-add"},
        "remove": ["X-Header-Remove"],
    },
}
_OTHER: Final = {"some-other-header": "val"}
_EDITED: Final = (
    Ask(
        "/set",
        headers=_OTHER,
        server="echo-v1",
        headers_there={**_OTHER, "x-header-set": "set-overwrites-values"},
    ),
    Ask(
        "/set",
        headers={**_OTHER, "X-Header-Set": "some-other-value"},
        server="echo-v1",
        headers_there={**_OTHER, "x-header-set": "set-overwrites-values"},
    ),
    Ask(
        "/add",
        headers=_OTHER,
        server="echo-v1",
        headers_there={**_OTHER, "x-header-add": "add-appends-values"},
    ),
    Ask(
        "/add",
        headers={**_OTHER, "X-Header-Add": "some-other-value"},
        server="echo-v1",
        headers_there={**_OTHER, "x-header-add": "some-other-value,add-appends-values"},
    ),
    Ask("/remove", headers={"X-Header-Remove": "val"}, server="echo-v1", absent_there=("x-header-remove",)),
    Ask(
        "/multiple",
        headers={
            "X-Header-Set-2": "set-val-2",
            "X-Header-Add-2": "add-val-2",
            "X-Header-Remove-2": "remove-val-2",
            "Another-Header": "another-header-val",
        },
        server="echo-v1",
        headers_there={
            "x-header-set-1": "header-set-1",
            "x-header-set-2": "header-set-2",
            "x-header-add-1": "header-add-1",
            "x-header-add-2": "add-val-2,header-add-2",
            "x-header-add-3": "header-add-3",
            "another-header": "another-header-val",
        },
        absent_there=("x-header-remove-1", "x-header-remove-2"),
    ),
    Ask(
        "/case-insensitivity",
        headers={
            "x-header-set": "original-val-set",
            "x-header-add": "original-val-add",
            "x-header-remove": "original-val-remove",
            "Another-Header": "another-header-val",
        },
        server="echo-v1",
        headers_there={
            "x-header-set": "header-set",
            "x-header-add": "original-val-add,header-add",
            "another-header": "another-header-val",
        },
        absent_there=("x-header-remove",),
    ),
)
_REWRITTEN_HEADERS: Final = edit(
    "RequestHeaderModifier",
    set={"X-Header-Set": "set-overwrites-values"},
    add={"X-Header-Add": "header-val-1", "X-Header-Add-Append": "header-val-2"},
    remove=["X-Header-Remove"],
)


def _rewritten_with_headers(path: str, there: str) -> Ask:
    return Ask(
        path,
        headers={
            "X-Header-Remove": "remove-val",
            "X-Header-Add-Append": "append-val-1",
            "X-Header-Set": "set-val",
        },
        server="echo-v1",
        path_there=there,
        headers_there={
            "x-header-add": "header-val-1",
            "x-header-add-append": "append-val-1,header-val-2",
            "x-header-set": "set-overwrites-values",
        },
        absent_there=("x-header-remove",),
    )


def _call(case: str, server: str, headers: Mapping[str, str], **expected: Any) -> Ask:
    return Ask(
        ECHO,
        port=7070,
        host="echo:7070",
        grpc=True,
        headers={"x-test-case": case, **headers},
        server=server,
        **expected,
    )


def _called(case: str, to: Object, **edits: Any) -> Object:
    return rule(header("x-test-case", case), to=to, filters=(edit("RequestHeaderModifier", **edits),))


CASES: Final[Mapping[str, Case]] = {
    "MeshBasic": Case((Ask(),)),
    "MeshTrafficSplit": Case(
        (Ask("/v1", server="echo-v1"), Ask("/v2", server="echo-v2")),
        (route(rule(below("/v1"), to=v1()), rule(below("/v2"), to=v2())),),
    ),
    "MeshHTTPRouteSimpleSameNamespace": Case((Ask(server="echo-v1"),), (route(rule(to=v1(8080))),)),
    "MeshHTTPRouteMatching": Case(
        (
            Ask("/", server="echo-v1"),
            Ask("/example", server="echo-v1"),
            Ask("/", headers={"Version": "one"}, server="echo-v1"),
            Ask("/v2", server="echo-v2"),
            Ask("/v2/example", server="echo-v2"),
            Ask("/", headers={"Version": "two"}, server="echo-v2"),
            Ask("/v2/", server="echo-v2"),
            Ask("/v2example", server="echo-v1"),
            Ask("/foo/v2/example", server="echo-v1"),
        ),
        (
            route(
                rule(below("/"), header("version", "one"), to=v1()),
                rule(below("/v2"), header("version", "two"), to=v2()),
            ),
        ),
    ),
    "MeshHTTPRouteWeight": Case(
        (Ask(),), (route(rule(to=(v1(weight=70), v2(weight=30)))),), {"echo-v1": 0.7, "echo-v2": 0.3}
    ),
    "MeshHTTPRouteRequestHeaderModifier": Case(
        _EDITED,
        (
            route(
                *(
                    rule(below(path), to=v1(), filters=(edit("RequestHeaderModifier", **edits),))
                    for path, edits in _EDITS.items()
                )
            ),
        ),
    ),
    "MeshHTTPRouteRedirectHostAndStatus": Case(
        (
            _told("/hostname-redirect", 302, "http://example.org/hostname-redirect"),
            _told("/host-and-status", 301, "http://example.org/host-and-status"),
        ),
        (
            route(
                rule(below("/hostname-redirect"), filters=(redirect(hostname="example.org"),)),
                rule(below("/host-and-status"), filters=(redirect(hostname="example.org", statusCode=301),)),
            ),
        ),
    ),
    "MeshHTTPRouteBackendRequestHeaderModifier": Case(
        _EDITED,
        (
            route(
                *(
                    rule(below(path), to=v1(filters=[edit("RequestHeaderModifier", **edits)]))
                    for path, edits in _EDITS.items()
                )
            ),
        ),
    ),
    "MeshHTTPRouteQueryParamMatching": Case(
        (
            Ask("/?animal=whale", server="echo-v1"),
            Ask("/?animal=dolphin", server="echo-v2"),
            Ask("/?animal=whale&otherparam=irrelevant", server="echo-v1"),
            Ask("/?animal=dolphin&color=yellow", server="echo-v2"),
            Ask("/?color=blue", status=404),
            Ask("/?animal=dog", status=404),
            Ask("/?animal=whaledolphin", status=404),
            Ask("/", status=404),
            Ask("/path1?animal=whale", server="echo-v1"),
            Ask("/?animal=whale", headers={"version": "one"}, server="echo-v2"),
            Ask("/path3?animal=shark", server="echo-v1"),
            Ask("/path4?animal=kraken", headers={"version": "three"}, server="echo-v1"),
            Ask("/?animal=shark", status=404),
            Ask("/path4?animal=kraken", status=404),
            Ask("/path5?animal=hydra", server="echo-v1"),
        ),
        (
            route(
                rule(queries(animal="whale"), to=v1()),
                rule(queries(animal="dolphin"), to=v2()),
                rule(below("/path1", **queries(animal="whale")), to=v1()),
                rule({**header("version", "one"), **queries(animal="whale")}, to=v2()),
                rule(
                    below("/path3", **queries(animal="shark")),
                    below("/path4", **header("version", "three"), **queries(animal="kraken")),
                    to=v1(),
                ),
                rule(below("/path5"), to=v1()),
                rule(queries(animal="hydra"), to=v2()),
            ),
        ),
    ),
    "MeshHTTPRouteRedirectPath": Case(
        (
            _told("/original-prefix/lemon", 302, "http://echo/replacement-prefix/lemon"),
            _told("/full/path/original", 302, "http://echo/full-path-replacement"),
            _told("/path-and-host", 302, "http://example.org/replacement-prefix"),
            _told("/path-and-status", 301, "http://echo/replacement-prefix"),
            _told("/full-path-and-host", 302, "http://example.org/replacement-full"),
            _told("/full-path-and-status", 301, "http://echo/replacement-full"),
        ),
        (
            route(
                rule(below("/original-prefix"), filters=(redirect(path=prefix("/replacement-prefix")),)),
                rule(below("/full"), filters=(redirect(path=full("/full-path-replacement")),)),
                rule(
                    below("/path-and-host"),
                    filters=(redirect(hostname="example.org", path=prefix("/replacement-prefix")),),
                ),
                rule(
                    below("/path-and-status"),
                    filters=(redirect(statusCode=301, path=prefix("/replacement-prefix")),),
                ),
                rule(
                    below("/full-path-and-host"),
                    filters=(redirect(hostname="example.org", path=full("/replacement-full")),),
                ),
                rule(
                    below("/full-path-and-status"),
                    filters=(redirect(statusCode=301, path=full("/replacement-full")),),
                ),
                port=80,
            ),
        ),
    ),
    "MeshHTTPRouteRedirectPort": Case(
        (
            _told("/port", 302, "http://echo:8083/port"),
            _told("/port-and-host", 302, "http://example.org:8083/port-and-host"),
            _told("/port-and-status", 301, "http://echo:8083/port-and-status"),
            _told("/port-and-host-and-status", 302, "http://example.org:8083/port-and-host-and-status"),
        ),
        (
            route(
                rule(below("/port"), filters=(redirect(port=8083),)),
                rule(below("/port-and-host"), filters=(redirect(port=8083, hostname="example.org"),)),
                rule(below("/port-and-status"), filters=(redirect(port=8083, statusCode=301),)),
                rule(
                    below("/port-and-host-and-status"),
                    filters=(redirect(port=8083, hostname="example.org", statusCode=302),),
                ),
                port=80,
            ),
        ),
    ),
    "MeshHTTPRouteSchemeRedirect": Case(
        (
            _told("/scheme", 302, "https://echo/scheme"),
            _told("/scheme-and-host", 302, "https://example.org/scheme-and-host"),
            _told("/scheme-and-status", 301, "https://echo/scheme-and-status"),
            _told("/scheme-and-host-and-status", 302, "https://example.org/scheme-and-host-and-status"),
        ),
        (
            route(
                rule(below("/scheme"), filters=(redirect(scheme="https"),)),
                rule(below("/scheme-and-host"), filters=(redirect(scheme="https", hostname="example.org"),)),
                rule(below("/scheme-and-status"), filters=(redirect(scheme="https", statusCode=301),)),
                rule(
                    below("/scheme-and-host-and-status"),
                    filters=(redirect(scheme="https", hostname="example.org", statusCode=302),),
                ),
                port=80,
            ),
        ),
    ),
    "MeshHTTPRouteRewritePath": Case(
        (
            Ask("/prefix/one/two", server="echo-v1", path_there="/one/two"),
            Ask("/strip-prefix/three", server="echo-v1", path_there="/three"),
            Ask("/strip-prefix", server="echo-v1", path_there="/"),
            Ask("/full/one/two", server="echo-v1", path_there="/one"),
            _rewritten_with_headers("/full/rewrite-path-and-modify-headers/test", "/test"),
            _rewritten_with_headers("/prefix/rewrite-path-and-modify-headers/one", "/prefix/one"),
        ),
        (
            route(
                rule(below("/prefix/one"), to=v1(), filters=(rewrite(prefix("/one")),)),
                rule(below("/strip-prefix"), to=v1(), filters=(rewrite(prefix("/")),)),
                rule(below("/full/one"), to=v1(), filters=(rewrite(full("/one")),)),
                rule(
                    below("/full/rewrite-path-and-modify-headers"),
                    to=v1(),
                    filters=(rewrite(full("/test")), _REWRITTEN_HEADERS),
                ),
                rule(
                    below("/prefix/rewrite-path-and-modify-headers"),
                    to=v1(),
                    filters=(rewrite(prefix("/prefix")), _REWRITTEN_HEADERS),
                ),
            ),
        ),
    ),
    "MeshHTTPRouteNamedRule": Case(
        (
            Ask("/named", server="echo-v1", path_there="/named"),
            Ask("/unnamed", server="echo-v2", path_there="/unnamed"),
        ),
        (
            route(
                {"name": "named-rule", **rule(below("/named"), to=v1(8080))},
                rule(below("/unnamed"), to=v2(8080)),
                port=80,
            ),
        ),
    ),
    **{
        f"MeshHTTPRoute{status}Redirect": Case(
            (_told(path, status, f"http://echo{path}"),),
            (route(rule(below(path), filters=(redirect(statusCode=status, path=full(path)),))),),
        )
        for status, path in ((303, "/redirect"), (307, "/temporary"), (308, "/permanent"))
    },
    "MeshFrontend": Case(
        (
            Ask(to="echo-v2", server="echo-v2", answered={"x-header-set": "set"}),
            Ask(to="pod:echo-v2", port=8080, server="echo-v2", unanswered=("x-header-set",)),
        ),
        (route(rule(to=v2(), filters=(_TOLD_SET,)), to="echo-v2"),),
    ),
    "MeshFrontendHostname": Case(
        (
            Ask(to="echo-v2", host="echo-v1", server="echo-v2", answered={"x-header-set": "set"}),
            Ask(to="echo-v1", host="echo-v2", server="echo-v1", unanswered=("x-header-set",)),
        ),
        (route(rule(to=v2(), filters=(_TOLD_SET,)), to="echo-v2"),),
    ),
    "MeshPorts": Case(
        (
            Ask(to="echo-v1", server="echo-v1", answered={"x-header-set": "v1"}),
            Ask(to="echo-v1", port=8080, host="echo-v1:8080", server="echo-v1", unanswered=("x-header-set",)),
            Ask(to="echo-v2", server="echo-v2", answered={"x-header-set": "v2"}),
            Ask(
                to="echo-v2",
                port=8080,
                host="echo-v2:8080",
                server="echo-v2",
                answered={"x-header-set": "v2"},
            ),
        ),
        (
            route(
                rule(to=v1(), filters=(edit("ResponseHeaderModifier", set={"X-Header-Set": "v1"}),)),
                to="echo-v1",
                port=80,
                name="explicit-port",
            ),
            route(
                rule(to=v2(), filters=(edit("ResponseHeaderModifier", set={"X-Header-Set": "v2"}),)),
                to="echo-v2",
                name="all-ports",
            ),
        ),
    ),
    "MeshConsumerRoute": Case(
        (
            Ask(to="echo-v1", client="consumer", server="echo-v1", answered={"x-header-set": "set"}),
            Ask(to="echo-v1", server="echo-v1", unanswered=("x-header-set",)),
        ),
        (route(rule(to=v1(namespace=NAMESPACE), filters=(_TOLD_SET,)), to="echo-v1", namespace=CONSUMER),),
    ),
    "MeshGRPCRouteWeight": Case(
        (Ask(ECHO, port=7070, host="echo:7070", grpc=True),),
        (route(rule(to=(v1(7070, weight=70), v2(7070, weight=30))), kind="GRPCRoute"),),
        {"echo-v1": 0.7, "echo-v2": 0.3},
    ),
    "MeshGRPCRouteRequestHeaderModifier": Case(
        (
            _call(
                "set",
                "echo-v1",
                {"some-other-header": "stays", "x-header-set": "goes"},
                headers_there={"some-other-header": "stays", "x-header-set": "set-overwrites-values"},
            ),
            _call(
                "add",
                "echo-v1",
                {"x-header-add": "first"},
                headers_there={"x-header-add": "first,add-appends-values"},
            ),
            _call("remove", "echo-v1", {"x-header-remove": "goes"}, absent_there=("x-header-remove",)),
            _call(
                "multi",
                "echo-v2",
                {"x-header-set-2": "goes", "x-header-add-2": "first", "x-header-remove-2": "goes"},
                headers_there={
                    "x-header-set-1": "header-set-1",
                    "x-header-set-2": "header-set-2",
                    "x-header-add-1": "header-add-1",
                    "x-header-add-2": "first,header-add-2",
                },
                absent_there=("x-header-remove-1", "x-header-remove-2"),
            ),
        ),
        (
            route(
                _called("set", v1(7070), set={"X-Header-Set": "set-overwrites-values"}),
                _called("add", v1(7070), add={"X-Header-Add": "add-appends-values"}),
                _called("remove", v1(7070), remove=["X-Header-Remove"]),
                _called(
                    "multi",
                    v2(7070),
                    set={"X-Header-Set-1": "header-set-1", "X-Header-Set-2": "header-set-2"},
                    add={"X-Header-Add-1": "header-add-1", "X-Header-Add-2": "header-add-2"},
                    remove=["X-Header-Remove-1", "X-Header-Remove-2"],
                ),
                kind="GRPCRoute",
                port=7070,
            ),
        ),
    ),
}
