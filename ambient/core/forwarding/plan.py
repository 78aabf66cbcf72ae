"""What is done with one request, before any endpoint is looked at.

In this order: the path is made normal, tokens are verified, policies asked, rate limits taken from, a rule chosen; then,
by that rule, a preflight is answered, a fault injected, and the request redirected, answered, or prepared for a backend.

A ``Planner`` is compiled once for a service's routes and policies. What has a state (tokens, buckets, chance) is asked of
``Checks``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from ambient.core.authorize import Allowed, Denied
from ambient.core.authorize_request import RequestFacts, Token, authorize_request
from ambient.core.forwarding import grpc
from ambient.core.forwarding.answer import Answer, refuse
from ambient.core.forwarding.client import REQUEST_ID, STRIPPED, Client, is_request_id
from ambient.core.forwarding.cors import CorsRule
from ambient.core.forwarding.edits import Edit, edit
from ambient.core.forwarding.reason import Reason
from ambient.core.forwarding.rewriting import Rewriter, rewriter
from ambient.core.http.message import Headers, RequestHead
from ambient.core.http.paths import Ambiguous, Path, climbs, normal, without
from ambient.core.model.limit import ByAddress, ByClaim, ByHeader, ByIdentity, LimitKey, Together
from ambient.core.model.route import (
    DEFAULT_RETRY,
    Backend,
    Fault,
    Forward,
    Origin,
    Redirect,
    Respond,
    ResponseClass,
    Retry,
    RouteMatch,
    RouteRule,
    ServiceRoutes,
    Timeouts,
)
from ambient.core.resilience import bucket
from ambient.core.routing import Chosen, NotFound, Request, Router, match_test

if TYPE_CHECKING:
    from datetime import timedelta

    from ambient.core.model.address import IpAddress
    from ambient.core.model.jwt import JwtRule
    from ambient.core.model.limit import RateLimit
    from ambient.core.model.policies import ServicePolicies
    from ambient.core.model.traffic import Persistence, RetryBudget

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Verified:
    """The tokens of a request are good, or it has none."""

    token: Token | None = None
    edit: Edit = Edit()  # noqa: RUF009
    """What is done to the request for it."""
    parameters: frozenset[str] = frozenset()
    """Names of query parameters that go no further."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token of a request is not good."""

    detail: str
    challenge: str = "Bearer"
    """For ``www-authenticate``."""
    status: int = Reason.BAD_TOKEN.status


@dataclass(frozen=True, slots=True)
class Checks:
    """What has a state."""

    token: Callable[[tuple[JwtRule, ...], RequestHead], Verified | Unverified]
    take: Callable[[RateLimit, str], bucket.Verdict]
    """From the bucket of a limit and of what it tells requests apart by."""
    chance: Callable[[], float]
    """In [0, 1)."""
    request_id: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Timings:
    """``Timeouts`` in seconds; None: as long as it takes."""

    request: float | None = None
    attempt: float | None = None
    response: float | None = None
    idle: float | None = None
    last_attempt_unlimited: bool = False


@dataclass(slots=True)
class Notes:
    """What was found on the way to a decision, for those who watch."""

    is_grpc: bool = False
    request_id: str = ""
    policy: str | None = None
    """The ALLOW or DENY policy that decided."""
    would_deny: str | None = None
    would_allow: str | None = None
    over: tuple[str, ...] = ()
    """Limits that are dry runs, and would have refused it."""
    token: Token | None = None
    origin: Origin | None = None
    """The object and field that decided."""
    rule: str = ""
    """The rule's name."""
    profile_route: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The waypoint answers by itself, after ``delay`` seconds."""

    answer: Answer
    notes: Notes
    delay: float = 0.0


class Send(NamedTuple):
    """The request goes to an endpoint of a service, after ``delay`` seconds. A tuple, since one is made for each."""

    head: RequestHead
    service: str
    """``namespace/hostname``; empty: to the workload that was called."""
    port: int
    """Of that service, or workload."""
    subset: str
    notes: Notes
    timings: Timings
    retry: Retry
    budget: RetryBudget | None
    """A profile's, in place of any that a traffic policy has."""
    classes: tuple[ResponseClass, ...]
    persistence: Persistence | None
    asked: Request
    """The request as the rule saw it."""
    response: Edit
    """What is done to the backend's response."""
    added: Headers
    """What is added if there is no such response."""
    mirrors: tuple[Backend, ...]
    delay: float = 0.0


class Planner:
    """What is done with the requests for one service, or for the workloads behind a waypoint (no ``service``)."""

    def __init__(self, service: str, routes: ServiceRoutes | None, policies: ServicePolicies | None) -> None:
        self.routes, self.policies = routes, policies
        self._router = Router(ServiceRoutes(service) if routes is None else routes)
        self._tokens = () if policies is None else policies.tokens
        self._authorizations = () if policies is None else policies.authorizations
        self._limits = () if policies is None else policies.limits
        self._courses: dict[tuple[int, int, int], _Course] = {}

    def plan(
        self, client: Client, head: RequestHead, headers: Mapping[str, str], checks: Checks
    ) -> Send | Answered:
        """What is done with one request; ``headers`` are the head's, ``joined``."""
        notes = Notes()
        notes.is_grpc = grpc.is_grpc(headers.get("content-type"))
        shown = headers.get(REQUEST_ID)
        notes.request_id = shown if shown is not None and is_request_id(shown) else checks.request_id()
        path = normal(head.path)
        if isinstance(path, Ambiguous):
            return Answered(refuse(Reason.AMBIGUOUS_PATH, path.detail), notes)
        told, remote = client.forwards(headers)
        # Nobody decides by what a client says of itself: only by what the application will be told.
        headers = _believed(headers, told)
        forced = Edit()
        if self._tokens:
            verified = checks.token(self._tokens, head)
            if isinstance(verified, Unverified):
                challenge = (("www-authenticate", verified.challenge),)
                refused = refuse(Reason.BAD_TOKEN, verified.detail, headers=challenge)
                return Answered(replace(refused, status=verified.status), notes)
            notes.token, forced = verified.token, verified.edit
            if forced:
                # Whoever decides from here on must not believe what a client says of its own claims.
                headers = _believed(joined(forced.of(head.headers)), told)
            if verified.parameters:
                path = without(path, verified.parameters)
        if self._authorizations:
            denied = self._denied(client, head, path, headers, remote, notes)
            if denied is not None:
                return denied
        added: Headers = ()
        if self._limits:
            limited = self._limited(client, headers, checks, notes)
            if isinstance(limited, Answered):
                return limited
            added = limited
        asked = Request(client.route, head.method, str(path), head.authority, head.scheme, headers)
        course = self._course(asked, notes)
        if isinstance(course, Answered):
            return course
        return course.taken(asked, path, head, _Told(told, forced, added), checks, notes)

    def _denied(
        self,
        client: Client,
        head: RequestHead,
        path: Path,
        headers: Mapping[str, str],
        remote: IpAddress | None,
        notes: Notes,
    ) -> Answered | None:
        facts = RequestFacts(client.proved, head.method, path, head.authority, headers, notes.token, remote)
        match authorize_request(self._authorizations, facts):
            case Allowed(policy, would_deny, would_allow):
                notes.policy, notes.would_deny, notes.would_allow = policy, would_deny, would_allow
                return None
            case Denied(policy, why, would_deny, would_allow):
                notes.policy, notes.would_deny, notes.would_allow = policy, would_deny, would_allow
                if policy is not None:
                    namespace, _, name = policy.partition("/")
                    notes.origin = Origin("AuthorizationPolicy", namespace, name)
                return Answered(refuse(Reason.DENIED, f"RBAC: access denied: {why}"), notes)

    def _limited(
        self, client: Client, headers: Mapping[str, str], checks: Checks, notes: Notes
    ) -> Answered | Headers:
        """What is said of limits in the response, or that one is exceeded."""
        tightest: tuple[RateLimit, bucket.Taken] | None = None
        for limit in self._limits:
            if limit.ports and client.route.port not in limit.ports:
                continue
            taken = checks.take(limit, _key(limit.key, client, headers, notes.token))
            match taken:
                case bucket.Taken(remaining):
                    if tightest is None or remaining < tightest[1].remaining:
                        tightest = limit, taken
                case bucket.TooMany() if limit.dry_run:
                    notes.over += (limit.name,)
                case bucket.TooMany():
                    namespace, _, rest = limit.name.partition("/")
                    name, _, field = rest.partition("/")
                    notes.origin = Origin("RateLimitPolicy", namespace, name, field)
                    detail = f"rate limit {limit.name} is exceeded"
                    said = bucket.headers(limit, taken)
                    return Answered(refuse(Reason.RATE_LIMITED, detail, headers=said), notes)
        return () if tightest is None else bucket.headers(*tightest)

    def _course(self, asked: Request, notes: Notes) -> _Course | Answered:
        chosen = self._router.choose(asked)
        if isinstance(chosen, NotFound):
            notes.origin = chosen.table.rules[0].origin._replace(field="") if chosen.table.rules else None
            return Answered(refuse(Reason.NO_ROUTE, "no rule is for this request"), notes)
        port = asked.connection.port
        key = id(chosen.rule), id(chosen.profile), port
        course = self._courses.get(key)
        if course is None:
            # Rules and profiles live as long as the router, so that no other gets their ids.
            course = self._courses[key] = _Course(chosen, port)
        if chosen.rule is not None:
            notes.rule, notes.origin = chosen.rule.name, chosen.rule.origin
        if chosen.profile is not None:
            notes.profile_route = chosen.profile.name
        return course


def _believed(headers: Mapping[str, str], told: Headers) -> Mapping[str, str]:
    """Headers with what we tell of the client in place of what it says of itself."""
    said = dict(headers)
    for name in STRIPPED:
        said.pop(name, None)
    said.update(told)
    return said


def joined(headers: Headers) -> Mapping[str, str]:
    """By name; values of one name joined by commas, and of cookies by semicolons."""
    found = dict(headers)
    if len(found) == len(headers):
        return found
    found.clear()
    for name, value in headers:
        if name in found:
            found[name] += ("; " if name == "cookie" else ",") + value
        else:
            found[name] = value
    return found


def _key(key: LimitKey, client: Client, headers: Mapping[str, str], token: Token | None) -> str:
    """What a limit tells requests apart by."""
    match key:
        case Together():
            return ""
        case ByIdentity():
            return str(client.identity)
        case ByAddress():
            return str(client.proved.source.ip)
        case ByHeader(name):
            return headers.get(name, "")
        case ByClaim(name):
            value = None if token is None else token.claims.get(name)
            return value if isinstance(value, str) else "" if value is None else repr(value)


class _Told(NamedTuple):
    """What the steps before the rule have for the request and for its response."""

    client: Headers
    forced: Edit
    added: Headers


class _Course:
    """One rule with one profile route, for one port: all that can be known before a request comes."""

    def __init__(self, chosen: Chosen, port: int) -> None:
        rule = chosen.rule
        self._timings = _timings(chosen.timeouts)
        self._retry = DEFAULT_RETRY if chosen.retry is None else chosen.retry
        self._budget = chosen.budget
        self._classes = () if chosen.profile is None else chosen.profile.responses
        self._persistence = None if rule is None else rule.persistence
        self._tests = () if rule is None else tuple((match, match_test(match)) for match in rule.matches)
        self._action = chosen.action
        self._redirected: Rewriter | None = None
        self._ways: tuple[_Way, ...] = ()
        match chosen.action:
            case Forward(backends):
                heavy = [one for one in backends if one.weight > 0]
                self._ways = tuple(_Way(rule, one, port) for one in heavy)
                self._marks = list(accumulate(one.weight for one in heavy))
            case Redirect():
                self._redirected = None if chosen.action.path is None else rewriter(chosen.action.path)
            case Respond():
                pass
        self._without = _Way(rule, None, port)
        """What the rule says whoever serves."""

    def taken(
        self, asked: Request, path: Path, head: RequestHead, told: _Told, checks: Checks, notes: Notes
    ) -> Send | Answered:
        """What is done with a request that the rule is for."""
        way = self._drawn(checks)
        response, added = way.response, told.added
        if way.cors is not None:
            preflight = way.cors.preflight(head.method, asked.headers)
            if preflight is not None:
                return Answered(Answer(200, headers=preflight + added), notes)
            of_cors = way.cors.of_response(asked.headers)
            if of_cors is not None:
                response, added = response.then(of_cors), added + of_cors.added
        if told.added:
            response = response.then(Edit(added=told.added))
        delay = 0.0
        if way.fault is not None:
            if way.fault.delayed_share and checks.chance() < way.fault.delayed_share:
                delay = way.fault.delay.total_seconds()
            if way.fault.aborted_share and checks.chance() < way.fault.aborted_share:
                return Answered(_with(_abort(way.fault), added), notes, delay)
        match self._action:
            case Forward():
                if way.backend is None:
                    return Answered(
                        refuse(Reason.NO_BACKEND, "no backend has any weight", headers=added), notes
                    )
                if way.backend.trouble:
                    detail = f"backend {way.backend.service}: {way.backend.trouble}"
                    return Answered(refuse(Reason.BAD_BACKEND, detail, headers=added), notes, delay)
                if way.rewritten is not None:
                    path = way.rewritten(path, self._match(asked))
                    if climbs(path.bare):
                        detail = "the path that the rule makes of it has a dot segment"
                        return Answered(refuse(Reason.AMBIGUOUS_PATH, detail, headers=added), notes, delay)
                return Send(
                    way.head(head, path, told, asked.headers, notes),
                    way.backend.service,
                    way.port,
                    way.backend.subset,
                    notes,
                    self._within(asked.headers) if notes.is_grpc else self._timings,
                    self._retry,
                    self._budget,
                    self._classes,
                    self._persistence,
                    asked,
                    response,
                    added,
                    tuple(to for share, to in way.mirrors if share >= 1 or checks.chance() < share),
                    delay,
                )
            case Redirect():
                location = self._location(self._action, asked, path)
                answer = Answer(self._action.status, headers=(("location", location), *added))
                return Answered(answer, notes, delay)
            case Respond(status, body):
                return Answered(Answer(status, body=body, headers=added), notes, delay)

    def _drawn(self, checks: Checks) -> _Way:
        """A backend in proportion to weight."""
        ways = self._ways
        if not ways:
            return self._without
        if len(ways) == 1:
            return ways[0]
        marks = self._marks
        return ways[min(bisect_right(marks, checks.chance() * marks[-1]), len(ways) - 1)]

    def _match(self, asked: Request) -> RouteMatch:
        """Which match of the rule holds."""
        return next((match for match, fits in self._tests if fits(asked)), _ANY)

    def _within(self, headers: Mapping[str, str]) -> Timings:
        """No longer than the caller will wait."""
        said = grpc.timeout_seconds(headers.get("grpc-timeout"))
        own = self._timings.request
        if said is None or (own is not None and own <= said):
            return self._timings
        return replace(self._timings, request=said)

    def _location(self, redirect: Redirect, asked: Request, path: Path) -> str:
        """Where the client is sent to; what is not said stays as it asked."""
        said = asked.header("x-forwarded-proto")
        scheme = redirect.scheme or (said if said in _DEFAULT_PORTS else None) or asked.scheme
        host, port = _host_and_port(asked.authority)
        if redirect.authority:
            host, own = _host_and_port(redirect.authority)
            port = own or port
        if redirect.port is not None:
            port = str(redirect.port)
        elif redirect.scheme:
            port = ""
        authority = f"{host}:{port}" if port and port != str(_DEFAULT_PORTS.get(scheme)) else host
        target = path if self._redirected is None else self._redirected(path, self._match(asked))
        return f"{scheme}://{authority}{target}"


class _Way:
    """One backend of a rule, and what is done to a request for it."""

    def __init__(self, rule: RouteRule | None, backend: Backend | None, port: int) -> None:
        self.backend = backend
        self.port = port if backend is None or backend.port is None else backend.port
        filters = [] if rule is None else [rule.filters]
        if backend is not None:
            filters.append(backend.filters)
        request = response = Edit()
        self.cors: CorsRule | None = None
        self.fault: Fault | None = None
        rewrite_path, authority = None, ""
        mirrors: list[tuple[float, Backend]] = []
        for one in filters:
            request, response = (
                request.then(edit(one.request_headers)),
                response.then(edit(one.response_headers)),
            )
            if one.cors is not None:
                self.cors = CorsRule(one.cors)
            self.fault = self.fault if one.fault is None else one.fault
            if one.rewrite is not None:
                rewrite_path = rewrite_path if one.rewrite.path is None else one.rewrite.path
                authority = one.rewrite.authority or authority
            mirrors += [
                (
                    mirror.share,
                    replace(
                        mirror.backend, port=port if mirror.backend.port is None else mirror.backend.port
                    ),
                )
                for mirror in one.mirrors
                if not mirror.backend.trouble
            ]
        self.response = response
        self.mirrors = tuple(mirrors)
        self._request = request
        self._authority = authority or request.authority
        self.rewritten = None if rewrite_path is None else rewriter(rewrite_path)

    def head(
        self,
        head: RequestHead,
        path: Path,
        told: _Told,
        headers: Mapping[str, str],
        notes: Notes,
    ) -> RequestHead:
        """The request as the backend gets it."""
        said = [pair for pair in head.headers if pair[0] not in STRIPPED]
        said += told.client
        if "x-forwarded-proto" not in headers:
            said.append(_PROTO)
        if headers.get(REQUEST_ID) != notes.request_id:
            said = [pair for pair in said if pair[0] != REQUEST_ID]
            said.append((REQUEST_ID, notes.request_id))
        authority = self._authority or head.authority
        if authority != head.authority:
            said.append(("x-forwarded-host", head.authority))
        passed = tuple(said)
        if told.forced:
            passed = told.forced.of(passed)
        if self._request:
            passed = self._request.of(passed)
        return RequestHead(
            head.method,
            authority,
            str(path),
            passed,
            head.scheme,
            head.length,
            head.upgrade,
            head.expects_continue,
            head.takes_trailers,
        )


_ANY: Final = RouteMatch()
_PROTO: Final = ("x-forwarded-proto", "http")


def _abort(fault: Fault) -> Answer:
    status = grpc.named(fault.abort_grpc_status) if fault.abort_grpc_status else None
    return Answer(
        fault.abort_status or Reason.FAULT.status, Reason.FAULT, "fault filter abort", grpc_status=status
    )


def _with(answer: Answer, added: Headers) -> Answer:
    return replace(answer, headers=answer.headers + added) if added else answer


def _host_and_port(authority: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        return authority, ""
    return host, port


def _timings(timeouts: Timeouts) -> Timings:
    return Timings(
        _seconds(timeouts.request),
        _seconds(timeouts.attempt),
        _seconds(timeouts.response),
        _seconds(timeouts.idle),
        timeouts.last_attempt_unlimited,
    )


def _seconds(duration: timedelta | None) -> float | None:
    """Zero switches a limit off."""
    return duration.total_seconds() or None if duration is not None else None
