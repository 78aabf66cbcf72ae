r"""One way to write a path: the same for policies, for routes and for the application.

In this order: ``\`` is ``/``; escapes of plain characters are undone, and others are in upper case; dot segments are
walked (RFC 3986, section 5.2.4); neighbouring slashes become one. What readers are known to disagree on has no way to be
written, and is refused: an escaped slash, backslash or NUL, a ``%`` that begins no escape, a fragment, and a dot segment
with parameters (``/..;a/``). Case, a slash at the end, and the query stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

_ODD: Final = re.compile(r"[%\\\x00]|//|/\.")
"""What a path that is normal already has not got, save for names that begin with a dot."""
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_DOT: Final = re.compile(r"%2[Ee]")
_SLASHES: Final = re.compile(r"//+")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PLAIN: Final = {code: chr(code) for code in _UNRESERVED}
_FORBIDDEN: Final = frozenset(b"\x00/\\")
_DOTS: Final = frozenset({".", ".."})


class Path(NamedTuple):
    """A path in its one way to be written. Made by ``normal`` alone."""

    bare: str
    """Without the query; begins with ``/``, or is ``*``."""
    query: str = ""
    """With its question mark; empty where there is none."""

    def __str__(self) -> str:
        return self.bare + self.query


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A path that others might read in another way."""

    detail: str


def without(path: Path, names: Collection[str]) -> Path:
    """The path without all query parameters of some names, by what their escapes stand for; others stay as written."""
    if not path.query:
        return path
    kept = [pair for pair in path.query[1:].split("&") if unquote_plus(pair.partition("=")[0]) not in names]
    return path._replace(query=f"?{'&'.join(kept)}" if kept else "")


def climbs(bare: str) -> bool:
    """Whether a path has a dot segment, however that is written: one that was put together after it had been made normal."""
    text = _DOT.sub(".", bare).replace("\\", "/")
    return any(segment.partition(";")[0] in _DOTS for segment in text.split("/"))


def normal(target: str) -> Path | Ambiguous:
    """The path, with its query, that a request asked for."""
    if "#" in target:
        return Ambiguous("the path has a fragment")
    bare, mark, query = target.partition("?")
    if _ODD.search(bare) is not None:
        walked = _walked(bare)
        if isinstance(walked, Ambiguous):
            return walked
        bare = walked
    if not bare.startswith("/") and bare != "*":
        return Ambiguous("the path does not begin with a slash")
    return Path(bare, mark + query)


def _walked(bare: str) -> str | Ambiguous:
    if "\x00" in bare:
        return Ambiguous("the path has a NUL")
    text = bare.replace("\\", "/")
    for escape in _ESCAPE.finditer(text):
        if escape[1] is None:
            return Ambiguous("the path has a percent sign that begins no escape")
        if int(escape[1], 16) in _FORBIDDEN:
            return Ambiguous(f"the path has an escape that is read in several ways: {escape[0]}")
    text = _ESCAPE.sub(_unescaped, text)
    kept: list[str] = []
    segments = text.split("/")
    for segment in segments[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment.partition(";")[0] in _DOTS and segment != ".":
            return Ambiguous("the path has a dot segment with parameters")
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in _DOTS:
        kept.append("")
    return _SLASHES.sub("/", f"{segments[0]}/{'/'.join(kept)}")


def _unescaped(escape: re.Match[str]) -> str:
    return _PLAIN.get(int(escape[1], 16)) or escape[0].upper()
