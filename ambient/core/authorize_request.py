"""Whether a request may reach what a waypoint stands for.

Policies with a target are considered, and no others: what selects workloads is enforced at their nodes. The order is
that of ``authorize``: any DENY that matches denies; without any ALLOW, allow; any ALLOW that matches allows; else deny.
Whatever a request does not have fits no value, and every ``not_*``.

A path is compared as ``ambient.core.http.paths`` has made it, and must be forwarded so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ambient.core.authorize import Allowed, Connection, Denied
from ambient.core.http.paths import Path
from ambient.core.matching import Facts, fits
from ambient.core.model.authorization import Action, Match, StringMatchKind
from ambient.core.model.jwt import SPACE_DELIMITED
from ambient.core.model.request_authorization import WAYPOINT_CLASSES, PathTemplate, RequestMatch, Target

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress
    from ambient.core.model.authorization import IpNetwork, StringMatch
    from ambient.core.model.request_authorization import (
        ClaimTest,
        HeaderTest,
        PathPattern,
        RequestAuthorization,
    )
    from ambient.core.model.service import Service

P = TypeVar("P")
V = TypeVar("V")

_NO_PATH: Final = Path("")


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says that was found good."""

    issuer: str
    subject: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    """As JSON has them."""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """Who asks whom for what."""

    connection: Connection
    method: str
    path: Path
    authority: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case; values of one name joined by commas."""
    token: Token | None = None
    remote: IpAddress | None = None
    """The client, where others have passed it on; None: the connection's own source."""
    server_name: str = ""


def concerns(policy: RequestAuthorization, service: Service, root_namespaces: Collection[str]) -> bool:
    """Whether a policy is for a service, or for the waypoint that requests for it pass."""
    wanted = addressed(service, root_namespaces)
    return any((policy.namespace, target) in wanted for target in policy.targets)


def addressed(service: Service, root_namespaces: Collection[str]) -> frozenset[tuple[str, Target]]:
    """What a policy for a service may name: the namespace that it is in, and the target."""
    own = (service.namespace, Target(service.kind, service.name))
    if service.waypoint is None:
        return frozenset({own})
    if not isinstance(service.waypoint.destination, str):
        return _classes(root_namespaces) | {own}
    namespace, _, hostname = service.waypoint.destination.partition("/")
    return addressed_at(namespace, hostname.partition(".")[0], root_namespaces) | {own}


def addressed_at(
    namespace: str, name: str, root_namespaces: Collection[str]
) -> frozenset[tuple[str, Target]]:
    """What a policy for all that is behind a waypoint may name."""
    return _classes(root_namespaces) | {(namespace, Target("Gateway", name))}


def _classes(root_namespaces: Collection[str]) -> frozenset[tuple[str, Target]]:
    return frozenset(
        (root, Target("GatewayClass", one)) for root in root_namespaces for one in WAYPOINT_CLASSES
    )


def authorize_request(policies: Iterable[RequestAuthorization], request: RequestFacts) -> Allowed | Denied:
    """Whether a request passes ``policies``, all of which concern it, and which one says so."""
    path, facts = request.path.bare, _facts(request.connection)
    return _judged(policies, lambda _, match: _match_fits(match, request, path, facts))


def authorize_connection(
    policies: Iterable[RequestAuthorization], connection: Connection, server_name: str = ""
) -> Allowed | Denied:
    """Whether a connection passes ``policies`` whose requests, if it carries any, nobody sees.

    It may carry all that a DENY speaks of, which therefore denies by what is known of the connection alone; and an ALLOW
    that speaks of requests allows nothing. Source: Istio makes TCP filters of such rules so.
    """
    request = RequestFacts(connection, "", _NO_PATH, server_name=server_name)
    facts = _facts(connection)

    def test(action: Action, match: RequestMatch) -> bool:
        known = _of_connection(match)
        if known == match:
            return _match_fits(match, request, "", facts)
        match action:
            case Action.ALLOW:
                return False
            case Action.DENY:
                return known == RequestMatch() or _match_fits(known, request, "", facts)

    return _judged(policies, test)


def _judged(
    policies: Iterable[RequestAuthorization], test: Callable[[Action, RequestMatch], bool]
) -> Allowed | Denied:
    ordered = sorted(policies, key=lambda policy: policy.key)

    def first(action: Action, *, dry_run: bool) -> str | None:
        fitting = (
            policy.key
            for policy in ordered
            if policy.action is action
            and policy.dry_run is dry_run
            and any(
                all(any(test(action, match) for match in clause) for clause in rule) for rule in policy.rules
            )
        )
        return next(fitting, None)

    would_deny = first(Action.DENY, dry_run=True)
    denying = first(Action.DENY, dry_run=False)
    if denying is not None:
        return Denied(denying, f"explicitly denied by: {denying}", would_deny)
    would_allow = first(Action.ALLOW, dry_run=True)
    if not any(policy.action is Action.ALLOW and not policy.dry_run for policy in ordered):
        return Allowed(None, would_deny, would_allow)
    allowing = first(Action.ALLOW, dry_run=False)
    if allowing is not None:
        return Allowed(allowing, would_deny, would_allow)
    return Denied(None, "allow policies exist, but none allowed", would_deny, would_allow)


def _of_connection(match: RequestMatch) -> RequestMatch:
    """What of a match is known without any request."""
    return RequestMatch(
        match.connection,
        match.remote_ips,
        match.not_remote_ips,
        server_names=match.server_names,
        not_server_names=match.not_server_names,
    )


def _facts(connection: Connection) -> Facts:
    return Facts(connection.source_identity, connection.source, connection.destination)


def _match_fits(match: RequestMatch, request: RequestFacts, path: str, facts: Facts) -> bool:
    if match == RequestMatch() or not (match.connection == Match() or fits(match.connection, facts)):
        return False
    return all(_fields(match, request, path))


def _fields(match: RequestMatch, request: RequestFacts, path: str) -> Iterator[bool]:
    token = request.token
    # Of half a name nothing is the principal, not even for "*". Source: Istio.
    is_named = token is not None and token.issuer and token.subject
    principal = (f"{token.issuer}/{token.subject}",) if token is not None and is_named else ()
    remote = request.remote or request.connection.source.ip
    yield _holds(match.remote_ips, match.not_remote_ips, (remote,), _is_in)
    yield _holds(match.request_principals, match.not_request_principals, principal, _text_fits)
    yield _holds(match.audiences, match.not_audiences, _claim(token, ("aud",)), _text_fits)
    yield _holds(match.presenters, match.not_presenters, _claim(token, ("azp",)), _text_fits)
    yield _holds(match.server_names, match.not_server_names, (request.server_name,), _text_fits)
    yield _holds(match.hosts, match.not_hosts, _spellings(request.authority), _text_fits)
    yield _holds(match.methods, match.not_methods, (request.method,), _text_fits)
    yield _holds(match.paths, match.not_paths, (path,), _path_fits)
    for header in match.headers:
        yield _header_holds(header, request.headers)
    for claim in match.claims:
        yield _claim_holds(claim, token)


def _spellings(authority: str) -> tuple[str, ...]:
    """Whom a request is for, as said, and without the dot that a full name may end with: servers make no difference."""
    said = authority.lower()
    host, colon, port = said.partition(":")
    return (said, f"{host[:-1]}{colon}{port}") if host.endswith(".") else (said,)


def _header_holds(test: HeaderTest, headers: Mapping[str, str]) -> bool:
    values = (headers[test.name],) if test.name in headers else ()
    return _holds(test.values, test.not_values, values, _text_fits)


def _claim_holds(test: ClaimTest, token: Token | None) -> bool:
    return _holds(test.values, test.not_values, _claim(token, test.path), _text_fits)


def _claim(token: Token | None, path: tuple[str, ...]) -> tuple[str, ...]:
    """The texts that a claim has; what is neither text nor a list of texts has none."""
    found: Any = None if token is None else token.claims
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return tuple(found.split()) if path[-1] in SPACE_DELIMITED else (found,)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def _holds(
    patterns: tuple[P, ...], not_patterns: tuple[P, ...], values: tuple[V, ...], test: Callable[[P, V], bool]
) -> bool:
    if patterns and not any(test(pattern, value) for pattern in patterns for value in values):
        return False
    return not any(test(pattern, value) for pattern in not_patterns for value in values)


def _is_in(network: IpNetwork, ip: IpAddress) -> bool:
    return ip in network


def _path_fits(pattern: PathPattern, path: str) -> bool:
    return (
        _template_fits(pattern.text, path) if isinstance(pattern, PathTemplate) else _text_fits(pattern, path)
    )


def _template_fits(template: str, path: str) -> bool:
    wanted, segments = template.split("/"), path.split("/")
    if "{**}" not in wanted:
        return len(wanted) == len(segments) and _segments_fit(wanted, segments)
    at = wanted.index("{**}")
    head, tail = wanted[:at], wanted[at + 1 :]
    return (
        len(segments) > len(head) + len(tail)
        and _segments_fit(head, segments)
        and _segments_fit(tail, segments[len(segments) - len(tail) :])
    )


def _segments_fit(wanted: list[str], segments: list[str]) -> bool:
    """As many as are wanted, from the first one on."""
    return all(
        bool(segment) if want == "{*}" else want == segment
        for want, segment in zip(wanted, segments, strict=False)
    )


def _text_fits(pattern: StringMatch, text: str) -> bool:
    match pattern.kind:
        case StringMatchKind.EXACT:
            return text == pattern.value
        case StringMatchKind.PREFIX:
            return text.startswith(pattern.value)
        case StringMatchKind.SUFFIX:
            return text.endswith(pattern.value)
        case StringMatchKind.PRESENCE:
            return text != ""
