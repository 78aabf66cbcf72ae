"""Objects of every dialect as tests write them, and the book that they come to."""

from collections.abc import Iterable
from dataclasses import replace

from core.worlds import service as make_service
from immutables import Map

from ambient.control.objects import (
    BackendPolicy,
    DestinationRule,
    Key,
    Route,
    SelectingService,
    ServiceProfile,
    ServiceRef,
    VirtualService,
)
from ambient.control.routes.book import Book
from ambient.core.model.route import (
    Backend,
    Forward,
    HeaderMatch,
    Origin,
    PathMatch,
    PathMatchKind,
    ProfileRoute,
    Protocol,
    QueryMatch,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    TextMatch,
    TextMatchKind,
    Unmatched,
)
from ambient.core.model.traffic import Subset, TrafficPolicies, TrafficPolicy

API = "shop/api.shop.svc.cluster.local"
HOST = "api.shop.svc.cluster.local"
ATTACHED = (ServiceRef("shop", "api"),)
PROTOCOLS = {
    "HTTPRoute": Protocol.HTTP,
    "GRPCRoute": Protocol.GRPC,
    "TLSRoute": Protocol.TLS,
    "TCPRoute": Protocol.TCP,
}


def key(name: str, namespace: str = "shop") -> str:
    return f"{namespace}/{name}.{namespace}.svc.cluster.local"


def service(name: str = "api", *ports: int, namespace: str = "shop", annotated=None) -> SelectingService:
    made = make_service(name, ports=tuple((port, port) for port in ports or (80,)), namespace=namespace)
    return SelectingService(made, Map({"app": name}), (), annotated=annotated)


def backend(name: str = "api", port: int | None = 80, namespace: str = "shop", **fields) -> Backend:
    return Backend(key(name, namespace), port, **fields)


def path(text: str) -> PathMatch:
    """``=/a`` exact, ``/a`` segments, ``^/a`` prefix, ``~a.*`` regex."""
    kinds = {"=": PathMatchKind.EXACT, "^": PathMatchKind.PREFIX, "~": PathMatchKind.REGEX}
    if text[0] in kinds:
        return PathMatch(kinds[text[0]], text[1:])
    return PathMatch(PathMatchKind.SEGMENTS, text)


def exactly(value: str) -> TextMatch:
    return TextMatch(TextMatchKind.EXACT, value)


def match(
    at: str | None = None, *, method: str | None = None, headers=(), queries=(), **fields
) -> RouteMatch:
    return RouteMatch(
        path=None if at is None else path(at),
        method=None if method is None else exactly(method),
        headers=tuple(HeaderMatch(name, exactly(value)) for name, value in dict(headers).items()),
        queries=tuple(QueryMatch(name, exactly(value)) for name, value in dict(queries).items()),
        **fields,
    )


def rule(
    name: str, *matches: RouteMatch, to: Iterable[Backend] | Backend | None = None, **fields
) -> RouteRule:
    """``name`` is what tests tell it by."""
    backends = (to,) if isinstance(to, Backend) else tuple(to or (backend(),))
    origin = fields.pop("origin", Origin("HTTPRoute", "shop", name, "spec.rules[0]"))
    return RouteRule(origin, Forward(backends), matches or (RouteMatch(),), name, **fields)


def route(
    name: str,
    *rules: RouteRule,
    kind: str = "HTTPRoute",
    namespace: str = "shop",
    created: str = "",
    parents=ATTACHED,
) -> Route:
    own = tuple(
        replace(one, origin=Origin(kind, namespace, name, f"spec.rules[{i}]"))
        for i, one in enumerate(rules or (rule(name),))
    )
    return Route(kind, namespace, name, created, PROTOCOLS[kind], tuple(parents), own)


def on(port: int | None, name: str = "api", namespace: str = "shop") -> tuple[ServiceRef, ...]:
    return (ServiceRef(namespace, name, port),)


def virtual(
    name: str,
    *rules: RouteRule,
    hosts=(HOST,),
    namespace: str = "shop",
    created: str = "",
    to=None,
    tables: tuple[RouteTable, ...] = (),
) -> VirtualService:
    own = tuple(
        replace(one, origin=Origin("VirtualService", namespace, name, f"spec.http[{i}]"))
        for i, one in enumerate(rules or (rule(name),))
    )
    made = tables or (RouteTable(Protocol.HTTP, own, Unmatched.NOT_FOUND),)
    exported = None if to is None else frozenset(to)
    return VirtualService(namespace, name, created, tuple(hosts), made, exported)


def subset(name: str, **fields) -> Subset:
    return Subset(name, Map({"version": name}), **fields)


def destination(
    name: str,
    *subsets: Subset,
    host: str = HOST,
    namespace: str = "shop",
    created: str = "",
    to=None,
    policy: TrafficPolicy | None = None,
    ports=(),
) -> DestinationRule:
    traffic = TrafficPolicies(policy or TrafficPolicy(), Map(ports), Map({one.name: one for one in subsets}))
    return DestinationRule(namespace, name, created, host, traffic, None if to is None else frozenset(to))


def profile(
    *names: str, namespace: str = "shop", host: str = HOST, budget=None, split=None, opaque=()
) -> ServiceProfile:
    routes = tuple(
        ProfileRoute(Origin("ServiceProfile", namespace, host, f"spec.routes[{i}]"), name, match(f"={name}"))
        for i, name in enumerate(names)
    )
    return ServiceProfile(namespace, host, routes, budget, split, frozenset(opaque))


def budget_policy(name: str, budget, *, created: str = "", targets=ATTACHED, **fields):
    return BackendPolicy("XBackendTrafficPolicy", "shop", name, created, tuple(targets), budget, **fields)


class Written:
    """A book, and the routes that its changes come to."""

    def __init__(self, *every, roots: tuple[str, ...] = ("ambient-system", "istio-system")):
        self.book = Book(roots)
        self.routes: dict[str, ServiceRoutes] = {}
        self.services: dict[str, dict[str, SelectingService]] = {}
        self.write(*every)

    def write(self, *every, without: Iterable[Key] = ()):
        said = {one.key: one for one in every if not isinstance(one, SelectingService)}
        touched = set()
        for one in every:
            if isinstance(one, SelectingService):
                self.services.setdefault(one.service.namespace, {})[one.service.key] = one
                touched.add(one.service.namespace)
        for name in without:
            if name.kind == "Service":
                del self.services[name.namespace][key(name.name, name.namespace)]
                touched.add(name.namespace)
            else:
                said[name] = None
        changed = self.book.change(
            said, {namespace: tuple(self.services[namespace].values()) for namespace in touched}
        )
        for one in changed.upserted:
            assert self.routes.get(one.service) != one
            self.routes[one.service] = one
        for name in changed.removed:
            del self.routes[name]
        return changed

    def problems(self, endpoints=None) -> list[str]:
        return [
            f"{name}: {problem}"
            for name, some in self.book.problems(endpoints or {}).items()
            for problem in some
            if "selects no workload" not in str(problem)
        ]

    def tables(self, of: str = API) -> list[tuple]:
        """Consumer, ports, protocol and names of rules of each table."""
        return [
            (one.consumer, sorted(one.ports), one.protocol.value, [rule.name for rule in one.rules])
            for one in self.routes[of].tables
        ]
