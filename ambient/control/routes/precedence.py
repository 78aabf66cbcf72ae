"""Which rule comes first where several routes of the Gateway API meet, and which of two objects is the older.

Source: GEP-1294 and the API's own documentation. It leaves open where a pattern stands: here after an exact path and
before every prefix, as a prefix of ``/`` would hide it; longer patterns first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol as TypingProtocol, TypeAlias

from ambient.core.model.route import PathMatch, PathMatchKind, Protocol, RouteMatch, RouteRule

if TYPE_CHECKING:
    from ambient.control.objects import Route

_Rank: TypeAlias = tuple[int, ...]

KINDS: Final = (Protocol.GRPC, Protocol.HTTP, Protocol.TLS, Protocol.TCP)
"""Of several kinds on one port, the first counts alone."""
_ANY_SERVICE: Final = "/[^/]+/"


class Dated(TypingProtocol):
    """An object with an age."""

    @property
    def created(self) -> str:
        """RFC 3339 in UTC; empty: unknown, and younger than any."""

    @property
    def namespace(self) -> str:
        """Where it is."""

    @property
    def name(self) -> str:
        """Its name there."""


def age(one: Dated) -> tuple[bool, str, str, str]:
    """To sort by: the oldest first, and names where ages are equal."""
    return not one.created, one.created, one.namespace, one.name


def merged(routes: Iterable[Route]) -> tuple[RouteRule, ...]:
    """The rules of routes of one kind, in the order of asking.

    A rule with several matches stands in several places if rules of others come between them.
    """
    ranked = [
        (_rank(route.protocol, match), *age(route), i, j, match, rule)
        for route in routes
        for i, rule in enumerate(route.rules)
        for j, match in enumerate(rule.matches)
    ]
    ranked.sort(key=lambda one: one[:7])
    rules: list[RouteRule] = []
    for *_, match, rule in ranked:
        if rules and replace(rules[-1], matches=rule.matches) == rule:
            rules[-1] = replace(rules[-1], matches=(*rules[-1].matches, match))
        else:
            rules.append(replace(rule, matches=(match,)))
    return tuple(rules)


def _rank(protocol: Protocol, match: RouteMatch) -> _Rank:
    match protocol:
        case Protocol.HTTP:
            path = _path_rank(match.path)
            return (*path, match.method is None, -len(match.headers), -len(match.queries))
        case Protocol.GRPC:
            service, method = _grpc_lengths(match.path)
            return (-service, -method, -len(match.headers))
        case Protocol.TLS:
            return max((_name_rank(name) for name in match.server_names), default=(1, 0))
        case Protocol.TCP:
            return ()


def _path_rank(path: PathMatch | None) -> _Rank:
    if path is None:
        return (2, -1)
    match path.kind:
        case PathMatchKind.EXACT:
            return (0, 0)
        case PathMatchKind.REGEX:
            return (1, -len(path.value))
        case PathMatchKind.PREFIX | PathMatchKind.SEGMENTS:
            return (2, -len(path.value))


def _grpc_lengths(path: PathMatch | None) -> tuple[int, int]:
    """Characters of the service and of the method."""
    if path is None:
        return 0, 0
    if path.kind is PathMatchKind.REGEX and path.value.startswith(_ANY_SERVICE):
        return 0, len(path.value) - len(_ANY_SERVICE)
    service, _, method = path.value.removeprefix("/").partition("/")
    return len(service), len(method)


def _name_rank(name: str) -> _Rank:
    return (int(name.startswith("*")), -len(name))
