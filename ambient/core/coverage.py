"""Which rules of a table no request can reach, as those before them take all that they are for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.core.model.route import PathMatch, PathMatchKind, RouteMatch, TextMatch, TextMatchKind

if TYPE_CHECKING:
    from ambient.core.model.route import RouteRule, RouteTable


def unreachable(table: RouteTable) -> Iterator[tuple[RouteRule, RouteRule]]:
    """Rules that are never met, each with the rule before it that takes its first match's requests.

    Only what can be told from each pair of matches is: a rule whose requests several others share is not found.
    """
    for number, rule in enumerate(table.rules):
        takers = [
            next(
                (one for one in table.rules[:number] if any(covers(two, match) for two in one.matches)), None
            )
            for match in rule.matches
        ]
        if takers and takers[0] is not None and None not in takers:
            yield rule, takers[0]


def covers(wider: RouteMatch, match: RouteMatch) -> bool:
    """Whether every request that ``match`` is for is one that ``wider`` is for. False where that is hard to tell."""
    return (
        _path_covers(wider.path, match.path)
        and _text_covers(wider.method, match.method)
        and _text_covers(wider.scheme, match.scheme)
        and _text_covers(wider.authority, match.authority)
        and set(wider.headers) <= set(match.headers)
        and set(wider.queries) <= set(match.queries)
        and (not wider.ports or (bool(match.ports) and match.ports <= wider.ports))
        and wider.source_namespace in {"", match.source_namespace}
        and set(wider.source_labels.items()) <= set(match.source_labels.items())
        and (
            not wider.server_names
            or (bool(match.server_names) and set(match.server_names) <= set(wider.server_names))
        )
        and (
            not wider.destinations
            or (bool(match.destinations) and set(match.destinations) <= set(wider.destinations))
        )
    )


def _text_covers(wider: TextMatch | None, text: TextMatch | None) -> bool:
    if wider is None or wider == text:
        return True
    if text is None or text.ignore_case or text.kind is not TextMatchKind.EXACT:
        return False
    value, wanted = text.value, wider.value
    if wider.ignore_case:
        value, wanted = value.lower(), wanted.lower()
    match wider.kind:
        case TextMatchKind.EXACT:
            return value == wanted
        case TextMatchKind.PREFIX:
            return value.startswith(wanted)
        case TextMatchKind.SUFFIX:
            return value.endswith(wanted)
        case TextMatchKind.PRESENT:
            return True
        case TextMatchKind.REGEX:
            return False


def _path_covers(wider: PathMatch | None, path: PathMatch | None) -> bool:
    if wider is None or wider == path:
        return True
    if path is None or path.ignore_case or path.kind is PathMatchKind.REGEX:
        return False
    value, wanted = path.value, wider.value
    if wider.ignore_case:
        value, wanted = value.lower(), wanted.lower()
    match wider.kind:
        case PathMatchKind.EXACT:
            return path.kind is PathMatchKind.EXACT and value == wanted
        case PathMatchKind.PREFIX:
            # ``/a/`` by segments is also for ``/a``.
            least = value.rstrip("/") if path.kind is PathMatchKind.SEGMENTS else value
            return least.startswith(wanted)
        case PathMatchKind.SEGMENTS:
            whole = wanted.rstrip("/")
            least = value.rstrip("/") if path.kind is PathMatchKind.SEGMENTS else value
            if path.kind is PathMatchKind.PREFIX:
                return least.startswith(f"{whole}/")
            return least == whole or least.startswith(f"{whole}/")
        case PathMatchKind.REGEX:
            return False
