"""Another path for the backend, or for the client to go to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias
from urllib.parse import quote

from ambient.core.http.paths import Path
from ambient.core.model.route import PathMatch, PathMatchKind, PathRewrite, PathRewriteKind, RouteMatch
from ambient.core.patterns import compiled

Rewriter: TypeAlias = Callable[[Path, RouteMatch], Path]
"""The new path, by the match of the rule that held."""
_EVERY_PATH: Final = PathMatch(PathMatchKind.PREFIX, "/")
_SAFE: Final = "/%:@!$&'()*+,;=-._~?"


def rewriter(rewrite: PathRewrite) -> Rewriter:
    """Made ready once. The query stays."""
    match rewrite.kind:
        case PathRewriteKind.FULL:
            whole = _path(_written(rewrite.value))
            return lambda path, _: path._replace(bare=whole)
        case PathRewriteKind.PREFIX:
            value = _written(rewrite.value)
            return lambda path, match: path._replace(bare=_path(_put(value, match.path, path.bare)))
        case PathRewriteKind.REGEX:
            pattern = compiled(rewrite.pattern)
            return lambda path, _: path._replace(
                bare=_path(_written(pattern.replaced(rewrite.value, path.bare)))
            )


def _put(value: str, matched: PathMatch | None, bare: str) -> str:
    """``value`` in place of what ``matched`` found at the beginning of a path."""
    prefix = matched or _EVERY_PATH
    match prefix.kind:
        case PathMatchKind.PREFIX:
            return value + bare[len(prefix.value) :]
        case PathMatchKind.SEGMENTS:
            rest = bare[len(prefix.value.rstrip("/")) :]
            return value.rstrip("/") + rest if rest else value
        case PathMatchKind.EXACT | PathMatchKind.REGEX:
            return value


def _path(text: str) -> str:
    return text if text.startswith("/") else "/" + text


def _written(text: str) -> str:
    """With escapes in place of what would end a request line."""
    return text if text.isascii() and text.isprintable() and " " not in text else quote(text, _SAFE)
