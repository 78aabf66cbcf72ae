"""Which rule a call meets, as its service's waypoint asks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.core.explain import filters
from ambient.core.explain.answer import Step, Topic, Verdict
from ambient.core.explain.parties import of
from ambient.core.model.route import (
    Action,
    Backend,
    Forward,
    Origin,
    Redirect,
    Respond,
    Retry,
    ServiceRoutes,
    Timeouts,
)
from ambient.core.routing import Caller, Chosen, Connection, NotFound, Request, choose

if TYPE_CHECKING:
    from ambient.core.explain.answer import Question
    from ambient.core.model.address import SocketAddress
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


def steps(
    snapshot: Snapshot, source: Workload, service: Service, target: SocketAddress, question: Question
) -> Iterator[Step]:
    """What routes say of the call, or that nobody is there to ask them."""
    routes = snapshot.routes.get(service.key)
    if routes is None or not (routes.tables or routes.profile.routes or routes.profile_consumers):
        return
    if service.waypoint is None:
        yield _without_waypoint(routes, service)
        return
    asked = _asked(source, target, question)
    match choose(routes, asked):
        case NotFound(table):
            origins = ", ".join(dict.fromkeys(_object(rule.origin) for rule in table.rules))
            yield Step(
                Topic.ROUTE,
                Verdict.FAILS,
                f"no rule of {origins} fits {_shown(asked)}: it is answered with 404",
                table.rules[0].origin._replace(field="") if table.rules else None,
                "add a rule without matches for what no other is for, or ask for what one is for",
            )
        case Chosen() as chosen:
            yield from _chosen(chosen, asked)


def destinations(
    snapshot: Snapshot, source: Workload, service: Service, target: SocketAddress, question: Question
) -> tuple[Backend, ...]:
    """Whom the waypoint sends the call to; nobody, if it answers itself."""
    asked = _asked(source, target, question)
    chosen = choose(snapshot.routes.get(service.key, ServiceRoutes(service.key)), asked)
    if isinstance(chosen, NotFound):
        return ()
    if chosen.rule is None:
        return (Backend(service.key, target.port),)
    match chosen.action:
        case Forward(backends):
            return tuple(one for one in backends if one.weight and not one.trouble)
        case Redirect() | Respond():
            return ()


def _without_waypoint(routes: ServiceRoutes, service: Service) -> Step:
    origins = [rule.origin for table in routes.tables for rule in table.rules]
    origins += [route.origin for route in routes.profile.routes]
    origins += [route.origin for profile in routes.profile_consumers.values() for route in profile.routes]
    said = ", ".join(dict.fromkeys(map(_object, origins)))
    return Step(
        Topic.ROUTE,
        Verdict.WARNING,
        f"{said} has no effect: service {service.key} has no waypoint, which alone carries routes out",
        of(service, "metadata.labels"),
        f"label the service, or namespace {service.namespace}, istio.io/use-waypoint=NAME",
    )


def _asked(source: Workload, target: SocketAddress, question: Question) -> Request | Connection:
    connection = Connection(target.port, Caller(source.namespace, source.labels), None, target.ip)
    if not (question.method or question.path):
        return connection
    authority = question.headers.get("host", question.destination)
    return Request(
        connection, question.method or "GET", question.path or "/", authority, "http", question.headers
    )


def _chosen(chosen: Chosen, asked: Request | Connection) -> Iterator[Step]:
    rule = chosen.rule
    if rule is None:
        yield Step(Topic.ROUTE, Verdict.OK, f"no rule is for {_shown(asked)}: it goes to the service")
    else:
        named = f" ({rule.name})" if rule.name else ""
        said = f"{_shown(asked)} meets {_object(rule.origin)}{named}: {_action(chosen.action)}"
        yield Step(Topic.ROUTE, Verdict.OK, said, rule.origin)
        if words := list(filters.of_filters(rule.filters)):
            yield Step(Topic.ROUTE, Verdict.OK, f"on the way: {'; '.join(words)}", rule.origin)
        yield from _troubles(chosen.action, rule.origin)
    for text, origin in _limits(chosen):
        yield Step(Topic.ROUTE, Verdict.OK, text, origin)


def _troubles(action: Action, origin: Origin) -> Iterator[Step]:
    if not isinstance(action, Forward):
        return
    weights = sum(one.weight for one in action.backends)
    broken = [one for one in action.backends if one.trouble and one.weight]
    share = sum(one.weight for one in broken)
    for backend in broken:
        verdict = Verdict.FAILS if share == weights else Verdict.WARNING
        said = f"{backend.weight} of {weights} requests fail with 500: {backend.trouble}"
        yield Step(Topic.ROUTE, verdict, said, origin)
    if not weights:
        said = "every backend has weight 0, so it is answered with 500"
        yield Step(Topic.ROUTE, Verdict.FAILS, said, origin, "give one of them a weight")


def _action(action: Action) -> str:
    match action:
        case Forward(backends):
            weights = sum(one.weight for one in backends)
            if len(backends) == 1:
                return f"to {_backend(backends[0])}"
            return ", ".join(f"{one.weight} of {weights} to {_backend(one)}" for one in backends)
        case Redirect(status=status):
            return f"answered with a redirection ({status})"
        case Respond(status=status):
            return f"answered with {status}, and nobody is asked"


def _backend(backend: Backend) -> str:
    subset = f" subset {backend.subset}" if backend.subset else ""
    port = f":{backend.port}" if backend.port is not None else ""
    return f"{backend.service}{port}{subset}"


def _limits(chosen: Chosen) -> Iterator[tuple[str, Origin | None]]:
    """Timeouts and retries, by the object that set them."""
    own = chosen.rule.origin if chosen.rule is not None else None
    profile = chosen.profile.origin if chosen.profile is not None else None
    words = list(_timeouts(chosen.timeouts))
    if words:
        is_own = chosen.rule is not None and chosen.rule.timeouts != Timeouts()
        yield f"timeouts: {', '.join(words)}", own if is_own else profile
    if chosen.retry is not None:
        is_own = chosen.rule is not None and chosen.rule.retry is not None
        yield _retry(chosen.retry), own if is_own else profile
    if chosen.budget is not None:
        yield filters.of_budget(chosen.budget), profile


def _timeouts(timeouts: Timeouts) -> Iterator[str]:
    for name in ("request", "attempt", "response", "idle"):
        limit = getattr(timeouts, name)
        if limit is not None:
            yield f"{name} {limit.total_seconds():g} s" if limit else f"{name} without end"


def _retry(retry: Retry) -> str:
    if not retry.attempts:
        return "retries: none"
    on = ", ".join(sorted(one.value for one in retry.on))
    codes = ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in retry.codes)
    return f"retries: at most {retry.attempts}, on {', '.join(filter(None, (on, codes))) or 'failures'}"


def _shown(asked: Request | Connection) -> str:
    return f"{asked.method} {asked.path}" if isinstance(asked, Request) else "the connection"


def _object(origin: Origin) -> str:
    return str(origin._replace(field=""))
