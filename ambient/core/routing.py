"""What is done with one request, or one connection, for a service.

The tables of ``ServiceRoutes`` stand in the order of asking: the first that is for the caller's namespace, the port and the
protocol decides alone, and in it the first rule with a match that holds. A TCP table is also for HTTP and TLS, where no
table before it is. A profile says of the same request how long it may take and when it is sent again, as far as the rule
does not.

A ``Router`` is compiled once for a value of ``ServiceRoutes``, and ``Routers`` keeps it for as long as snapshots share it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from heapq import merge
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import unquote

from immutables import Map

from ambient.core.model.route import (
    Action,
    AllOf,
    AnyOf,
    Backend,
    Condition,
    Forward,
    HeaderMatch,
    Not,
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
from ambient.core.model.traffic import RetryBudget, TrafficPolicies, TrafficPolicy
from ambient.core.patterns import compiled

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as routes look at it."""

    namespace: str = ""
    labels: Map[str, str] = Map()  # noqa: RUF009


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection to a service."""

    port: int
    """Of the service."""
    caller: Caller = Caller()
    server_name: str | None = None
    """The SNI, which may be empty; None: it is not TLS, or not ours to pass on as it is."""
    destination: IpAddress | None = None
    """The address that was called."""


@dataclass(frozen=True)
class Request:
    """A request on a connection."""

    connection: Connection
    method: str
    path: str
    """With its query."""
    authority: str = ""
    scheme: str = "http"
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case; values of one name joined by commas."""

    @property
    def bare_path(self) -> str:
        """Without the query."""
        return self.path.partition("?")[0]

    @cached_property
    def queries(self) -> Mapping[str, str]:
        """The first value of each parameter, with %-escapes undone."""
        found: dict[str, str] = {}
        for part in self.path.partition("?")[2].split("&"):
            name, _, value = part.partition("=")
            if name:
                found.setdefault(unquote(name), unquote(value))
        return found

    def header(self, name: str) -> str | None:
        """A header, or what stands for one in HTTP/2."""
        match name:
            case "host" | ":authority":
                return self.authority
            case ":method":
                return self.method
            case ":path":
                return self.path
            case ":scheme":
                return self.scheme
            case _:
                return self.headers.get(name)


class Chosen(NamedTuple):
    """What is done."""

    rule: RouteRule | None
    """None: nothing is said of it, so it goes to the service that was called."""
    action: Action
    profile: ProfileRoute | None
    """What kind of request it is."""
    timeouts: Timeouts
    retry: Retry | None
    """None: DEFAULT_RETRY."""
    budget: RetryBudget | None
    """The profile's, in place of any that a traffic policy has."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """No rule is for it: 404, UNIMPLEMENTED for gRPC, and the end of a connection that is not HTTP."""

    table: RouteTable


def choose(routes: ServiceRoutes, asked: Request | Connection) -> Chosen | NotFound:
    """What is done with one request or connection; whoever asks often keeps a ``Router``."""
    return Router(routes).choose(asked)


class Router:
    """The routes of one service, ready to be asked."""

    def __init__(self, routes: ServiceRoutes) -> None:
        self.routes = routes
        self._tables = tuple((table, _Rules(table.rules)) for table in routes.tables)
        self._profile = _Kinds(routes.profile)
        self._profiles = {
            namespace: _Kinds(profile) for namespace, profile in routes.profile_consumers.items()
        }

    def choose(self, asked: Request | Connection) -> Chosen | NotFound:
        """What is done with one request or connection."""
        connection = asked.connection if isinstance(asked, Request) else asked
        action: Action = Forward((Backend(self.routes.service, connection.port),))
        for table, rules in self._tables:
            if not _is_for(table, connection, _CARRIES[_kind(asked)]):
                continue
            rule = rules.first(asked)
            if rule is not None:
                return self._chosen(rule, rule.action, asked, connection)
            match table.unmatched:
                case Unmatched.NOT_FOUND:
                    return NotFound(table)
                case Unmatched.SERVICE:
                    break
        return self._chosen(None, action, asked, connection)

    def _chosen(
        self, rule: RouteRule | None, action: Action, asked: Request | Connection, connection: Connection
    ) -> Chosen:
        kinds = self._profiles.get(connection.caller.namespace, self._profile)
        route = next((route for route, fits in kinds.tests if fits(asked)), None)
        timeouts = Timeouts() if rule is None else rule.timeouts
        retry = None if rule is None else rule.retry
        if route is not None:
            timeouts = _filled(timeouts, route.timeouts)
            retry = route.retry if retry is None else retry
        return Chosen(rule, action, route, timeouts, retry, kinds.budget)


class Routers:
    """Routers of the services of snapshots, each made when it is first asked and kept while its routes are."""

    def __init__(self) -> None:
        self._routers: dict[str, Router] = {}

    def of(self, routes: ServiceRoutes) -> Router:
        """The router of these routes."""
        router = self._routers.get(routes.service)
        if router is None or router.routes is not routes:
            router = self._routers[routes.service] = Router(routes)
        return router

    def keep(self, routes: Mapping[str, ServiceRoutes]) -> None:
        """Forget all others."""
        for service in self._routers.keys() - set(routes):
            del self._routers[service]


def policy_of(policies: TrafficPolicies, subset: str, port: int | None) -> TrafficPolicy:
    """What holds for a port of a service or of a subset of it; the most precise that is set holds alone."""
    by_port = policies.ports.get(port, policies.policy) if port is not None else policies.policy
    own = policies.subsets.get(subset)
    if own is None:
        return by_port
    chosen = own.ports.get(port, own.policy) if port is not None else own.policy
    return by_port if chosen is None else chosen


def traffic_for(routes: ServiceRoutes, namespace: str) -> TrafficPolicies:
    """The traffic policies of a service for callers of a namespace."""
    return routes.traffic_consumers.get(namespace, routes.traffic)


def draw(backends: Iterable[Backend], chance: float) -> Backend | None:
    """One in proportion to weight, by ``chance`` in [0, 1); None: no weight at all."""
    heavy = [backend for backend in backends if backend.weight > 0]
    mark = chance * sum(backend.weight for backend in heavy)
    for backend in heavy:
        mark -= backend.weight
        if mark < 0:
            return backend
    return heavy[-1] if heavy else None


# Tables


class _Rules:
    """Rules in order, of which only those are asked that may be for a path: however many there are, these are few.

    A rule is filed under whole segments that the path must begin with, once for each of its matches; one that says of paths
    nothing that is so, under none, and is always asked.
    """

    def __init__(self, rules: tuple[RouteRule, ...]) -> None:
        self._tests = [(rule, _any_of([match_test(one) for one in rule.matches])) for rule in rules]
        filed: dict[str, list[int]] = {}
        always: list[int] = []
        for number, rule in enumerate(rules):
            places = {_place(match) for match in rule.matches}
            if "" in places:
                always.append(number)
            else:
                for place in places:
                    filed.setdefault(place, []).append(number)
        self._filed, self._always = filed, always
        self._depth = max((place.count("/") for place in filed), default=0)

    def first(self, asked: Request | Connection) -> RouteRule | None:
        """The first that fits."""
        tests = self._tests
        for number in self._candidates(asked):
            rule, fits = tests[number]
            if fits(asked):
                return rule
        return None

    def _candidates(self, asked: Request | Connection) -> Iterable[int]:
        if not (self._filed and isinstance(asked, Request)):
            return self._always
        path, filed = asked.bare_path, self._filed
        found = [filed[path]] if path in filed else []
        end = 0
        for _ in range(self._depth):
            end = path.find("/", end + 1)
            if end == -1:
                break
            if (place := path[:end]) in filed:
                found.append(filed[place])
        if not found:
            return self._always
        if len(found) == 1 and not self._always:
            return found[0]
        return merge(self._always, *found)


def _place(match: RouteMatch) -> str:
    """Segments that a path which fits begins with, without a slash at the end, or a whole path; empty: any."""
    path = match.path
    if path is None or path.ignore_case or not path.value.startswith("/"):
        return ""
    match path.kind:
        case PathMatchKind.EXACT:
            return path.value
        case PathMatchKind.SEGMENTS:
            return path.value.rstrip("/")
        case PathMatchKind.PREFIX:
            return path.value.rpartition("/")[0]
        case PathMatchKind.REGEX:
            return ""


class _Kinds:
    def __init__(self, profile: Profile) -> None:
        self.budget = profile.budget
        self.tests = tuple((route, _condition_test(route.condition)) for route in profile.routes)


def _kind(asked: Request | Connection) -> Protocol:
    match asked:
        case Request():
            return Protocol.HTTP
        case Connection(_, _, None, _):
            return Protocol.TCP
        case Connection():
            return Protocol.TLS


_CARRIES: Mapping[Protocol, frozenset[Protocol]] = {
    Protocol.HTTP: frozenset({Protocol.GRPC, Protocol.HTTP, Protocol.TCP}),
    Protocol.TLS: frozenset({Protocol.TLS, Protocol.TCP}),
    Protocol.TCP: frozenset({Protocol.TCP}),
}
"""Whose tables are asked."""


def _is_for(table: RouteTable, connection: Connection, protocols: frozenset[Protocol]) -> bool:
    return (
        table.protocol in protocols
        and table.consumer in {"", connection.caller.namespace}
        and (not table.ports or connection.port in table.ports)
    )


def _filled(own: Timeouts, other: Timeouts) -> Timeouts:
    return Timeouts(
        request=other.request if own.request is None else own.request,
        attempt=other.attempt if own.attempt is None else own.attempt,
        response=other.response if own.response is None else own.response,
        idle=other.idle if own.idle is None else own.idle,
        last_attempt_unlimited=(
            other.last_attempt_unlimited if own.attempt is None else own.last_attempt_unlimited
        ),
    )


# Tests of a request

_Test: TypeAlias = Callable[[Request | Connection], bool]
_TextTest: TypeAlias = Callable[[str], bool]


def _condition_test(condition: Condition) -> _Test:
    match condition:
        case RouteMatch():
            return match_test(condition)
        case AllOf(conditions):
            return _all_of([_condition_test(one) for one in conditions])
        case AnyOf(conditions):
            return _any_of([_condition_test(one) for one in conditions])
        case Not(one):
            fits = _condition_test(one)
            return lambda asked: not fits(asked)


def _all_of(tests: list[_Test]) -> _Test:
    if len(tests) == 1:
        return tests[0]
    return lambda asked: all(test(asked) for test in tests)


def _any_of(tests: list[_Test]) -> _Test:
    if len(tests) == 1:
        return tests[0]
    return lambda asked: any(test(asked) for test in tests)


def match_test(match: RouteMatch) -> Callable[[Request | Connection], bool]:
    """Whether a request or connection fits one match, made ready once."""
    return _all_of([*_connection_tests(match), *map(_of_request, _request_tests(match))])


def _connection_tests(match: RouteMatch) -> list[_Test]:
    tests: list[_Test] = []
    if match.ports:
        tests.append(lambda asked: _connection(asked).port in match.ports)
    if match.source_namespace:
        tests.append(lambda asked: _connection(asked).caller.namespace == match.source_namespace)
    if match.source_labels:
        wanted = tuple(match.source_labels.items())
        tests.append(
            lambda asked: all(_connection(asked).caller.labels.get(key) == value for key, value in wanted)
        )
    if match.server_names:
        names = tuple(name.lower() for name in match.server_names)
        tests.append(
            lambda asked: (
                (name := _connection(asked).server_name) is not None
                and any(_is_named(pattern, name.lower()) for pattern in names)
            )
        )
    if match.destinations:
        tests.append(
            lambda asked: (
                (ip := _connection(asked).destination) is not None
                and any(ip in network for network in match.destinations)
            )
        )
    return tests


def _connection(asked: Request | Connection) -> Connection:
    return asked.connection if isinstance(asked, Request) else asked


def _is_named(pattern: str, name: str) -> bool:
    return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern


def _of_request(test: Callable[[Request], bool]) -> _Test:
    return lambda asked: isinstance(asked, Request) and test(asked)


def _request_tests(match: RouteMatch) -> list[Callable[[Request], bool]]:
    tests: list[Callable[[Request], bool]] = []
    if match.path is not None:
        path = _path_test(match.path)
        tests.append(lambda request: path(request.bare_path))
    if match.method is not None:
        method = text_test(match.method)
        tests.append(lambda request: method(request.method))
    if match.scheme is not None:
        scheme = text_test(match.scheme)
        tests.append(lambda request: scheme(request.scheme))
    if match.authority is not None:
        authority = text_test(match.authority)
        tests.append(lambda request: authority(request.authority))
    tests += [_header_test(header) for header in match.headers]
    tests += [_query_test(query) for query in match.queries]
    return tests


def _header_test(header: HeaderMatch) -> Callable[[Request], bool]:
    name, inverted, fits = header.name, header.inverted, text_test(header.match)

    def test(request: Request) -> bool:
        value = request.header(name)
        return (value is not None and fits(value)) is not inverted

    return test


def _query_test(query: QueryMatch) -> Callable[[Request], bool]:
    name, fits = query.name, text_test(query.match)
    return lambda request: (value := request.queries.get(name)) is not None and fits(value)


def _path_test(path: PathMatch) -> _TextTest:
    match path.kind:
        case PathMatchKind.EXACT:
            return text_test(TextMatch(TextMatchKind.EXACT, path.value, path.ignore_case))
        case PathMatchKind.PREFIX:
            return text_test(TextMatch(TextMatchKind.PREFIX, path.value, path.ignore_case))
        case PathMatchKind.REGEX:
            return text_test(TextMatch(TextMatchKind.REGEX, path.value, path.ignore_case))
        case PathMatchKind.SEGMENTS:
            whole = path.value.rstrip("/")
            exact = text_test(TextMatch(TextMatchKind.EXACT, whole, path.ignore_case))
            below = text_test(TextMatch(TextMatchKind.PREFIX, f"{whole}/", path.ignore_case))
            return lambda text: exact(text) or below(text)


def text_test(match: TextMatch) -> Callable[[str], bool]:
    """Whether a text fits, made ready once."""
    value = match.value.lower() if match.ignore_case else match.value
    test: _TextTest
    match match.kind:
        case TextMatchKind.PRESENT:
            return lambda text: True  # noqa: ARG005
        case TextMatchKind.REGEX:
            return compiled(match.value, ignore_case=match.ignore_case).fits
        case TextMatchKind.EXACT:
            test = value.__eq__
        case TextMatchKind.PREFIX:
            test = lambda text: text.startswith(value)  # noqa: E731
        case TextMatchKind.SUFFIX:
            test = lambda text: text.endswith(value)  # noqa: E731
    return (lambda text: test(text.lower())) if match.ignore_case else test
