r"""One line of a log, as text or JSON, that no value can break out of.

Every line is printable ASCII: control characters, terminal escapes, bidirectional marks and anything else that a
peer could send appear as ``\u…`` escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum, IntEnum
from functools import lru_cache
from typing import TypeAlias

Value: TypeAlias = object
"""str, bytes, numbers, booleans, None; anything else is written as its ``str``."""

_BARE = re.compile(r"[!#-<>-\[\]-~]+")
"""Printable ASCII without space, ``"``, ``=`` and the backslash."""

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode
_quoted = json.encoder.encode_basestring_ascii
"""As ``_encode``, of a str: an encoder makes itself ready anew for every value."""


class Format(Enum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


class Level(IntEnum):
    """DEBUG: each connection. INFO: the world changed. WARNING: look tomorrow. ERROR: wake someone."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40

    @classmethod
    def of(cls, name: str) -> Level:
        """The level called ``name`` in any case. Raises ValueError naming the choices."""
        try:
            return cls[name.upper()]
        except KeyError:
            choices = ", ".join(level.name.lower() for level in cls)
            raise ValueError(f"{name!r} is not a log level; choose one of {choices}") from None


_LEVELS = {level: level.name.lower() for level in Level}


def render(style: Format, at: datetime, level: Level, event: str, fields: Mapping[str, Value]) -> bytes:
    """A line with its end. Text: time, level, event, then ``key=value`` with values quoted as JSON where needed."""
    return joined(style, at, level, event, (part(style, fields),))


def part(style: Format, fields: Mapping[str, Value]) -> str:
    """Fields as ``joined`` takes them, to be kept where many lines say the same."""
    match style:
        case Format.TEXT:
            return "".join([f" {_key(key)}={_word(value)}" for key, value in fields.items()])
        case Format.JSON:
            return _escape_delete("".join([f",{_name(key)}:{_json(value)}" for key, value in fields.items()]))


def joined(style: Format, at: datetime, level: Level, event: str, parts: Iterable[str]) -> bytes:
    """A line with its end, of several parts."""
    match style:
        case Format.TEXT:
            return f"{timestamp(at)} {level.name} {_word(event)}{''.join(parts)}\n".encode("ascii")
        case Format.JSON:
            said = _escape_delete(_quoted(event))
            head = f'{{"time":"{timestamp(at)}","level":"{_LEVELS[level]}","message":{said}'
            return f"{head}{''.join(parts)}}}\n".encode("ascii")


def timestamp(at: datetime) -> str:
    """UTC with milliseconds: ``2026-01-31T23:59:59.123Z``."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:-6] + "Z"


def _plain(value: Value) -> str | int | float | bool | None:
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            return value if value - value == 0 else str(value)
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case Enum():
            return str(value.value)
        case _:
            return str(value)


@lru_cache(1024)
def _name(key: str) -> str:
    return _quoted(key)


def _json(value: Value) -> str:
    # Nearly all are one of these.
    if type(value) is str:
        return _quoted(value)
    if type(value) is int:
        return str(value)
    return _encode(_plain(value))


@lru_cache(1024)
def _key(key: str) -> str:
    return _word(key)


def _word(value: Value) -> str:
    # Nearly all are one of these.
    if type(value) is str:
        return value if _BARE.fullmatch(value) else _escape_delete(_encode(value))
    if type(value) is int:
        return str(value)
    match plain := _plain(value):
        case str():
            return plain if _BARE.fullmatch(plain) else _escape_delete(_encode(plain))
        case bool() | None:
            return _encode(plain)
        case _:
            return str(plain)


def _escape_delete(text: str) -> str:
    return text.replace("\x7f", "\\u007f") if "\x7f" in text else text
