"""YAML as plain data: what JSON can say, and no more of it than an honest object has.

Scalars are read as Kubernetes reads them: ``yes`` and ``on`` are booleans, ``010`` is eight, ``1e3`` is a number, a time
and ``12:30`` are text. Keys are text as it is written. What others would lose or guess is refused: a key that comes
twice, tags, a value that contains itself, numbers that JSON does not have. An alias counts as often as it is used, so
that a few lines cannot stand for a million.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import yaml

MOST_VALUES: Final = 500_000
"""In a document."""
DEEPEST: Final = 64
"""Levels of values in each other; Kubernetes' deepest kinds have some twenty."""
TOO_DEEP: Final = f"this is more than {DEEPEST} levels deep; no object is"

_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NUMBER_BEGINS: Final = frozenset("+-.0123456789")
_INTEGER: Final = re.compile(r"[-+]?(?:0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9_]*)")
_REAL: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NOT_OF_JSON: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
LONGEST_NUMBER: Final = 40
"""Digits; what is longer is text."""
_LONE: Final = re.compile("[\ud800-\udfff]")
_ITEM: Final = re.compile(r"\[(\d{1,9})\]")
_TEXT: Final = ("!", "tag:yaml.org,2002:str")
_HINTS: Final = {
    "mapping values are not allowed in this context": "; check the indentation, and quote a value that has ': ' in it",
    "could not find expected ':'": "; check the indentation, and the quotes before it",
    "did not find expected key": "; check the indentation, and the quotes before it",
    "did not find expected <document start>": "; write --- before another document",
    "found unexpected end of stream": "; close the quote that is open",
}


class NotPlain(Exception):
    """A text that cannot be read."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        """From 0."""
        self.why = why


def read(text: str) -> Iterator[tuple[int, Any]]:
    """Each document of a stream, with the line where it begins, from 0. Raises NotPlain where it cannot go on."""
    events = _Events(text)
    events.take()
    while not isinstance(events.take(), yaml.StreamEndEvent):
        event = events.take()
        yield event.start_mark.line, _Values(events).read(event, DEEPEST)
        events.take()


class Place(NamedTuple):
    """Where a value stands."""

    line: int
    """From 0: of its key, if it has one."""
    below: Mapping[str, Place] | Sequence[Place] = ()
    """Of the values in it."""

    def line_of(self, field: str) -> int:
        """Where a field such as ``spec.ports[2].port`` in it stands, or as much of it as there is."""
        found = self._step(field)
        return self.line if found is None else found[0].line_of(found[1])

    def _step(self, field: str) -> tuple[Place, str] | None:
        """The value in it that leads to ``field``, and how it goes on."""
        if not isinstance(self.below, Mapping):
            number = _ITEM.match(field)
            if number is None or int(number[1]) >= len(self.below):
                return None
            return self.below[int(number[1])], field[number.end() :]
        longest = None
        for key, place in self.below.items():
            rest = _after(field, key)
            if rest is not None and (longest is None or len(rest) < len(longest[1])):
                longest = place, rest
        return longest


def places(text: str) -> list[Place]:
    """Where everything stands in a text that was read before: a document, and the next."""
    events = _Events(text)
    events.take()
    found = []
    while not isinstance(events.take(), yaml.StreamEndEvent):
        event = events.take()
        found.append(Place(event.start_mark.line, _below(events, event)))
        events.take()
    return found


def _below(events: _Events, event: Any) -> Mapping[str, Place] | Sequence[Place]:  # noqa: ANN401
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Place] = []
        while not isinstance(item := events.take(), yaml.SequenceEndEvent):
            items.append(Place(item.start_mark.line, _below(events, item)))
        return items
    fields: dict[str, Place] = {}
    if isinstance(event, yaml.MappingStartEvent):
        while not isinstance(key := events.take(), yaml.MappingEndEvent):
            fields[key.value] = Place(key.start_mark.line, _below(events, events.take()))
    return fields


def _after(field: str, key: str) -> str | None:
    """What of a path is left below ``key``; None: it leads elsewhere."""
    for step in (f'["{key}"]', f".{key}", key):
        rest = field.removeprefix(step)
        if len(rest) < len(field) and (not rest or rest[0] in ".["):
            return rest
    return None


def check(value: object) -> None:
    """Hold what was read of JSON to the same bounds. Raises ValueError."""
    left = MOST_VALUES
    level: list[object] = [value]
    for _ in range(DEEPEST + 1):
        left -= len(level)
        if left < 0:
            raise ValueError(f"this has more than {MOST_VALUES} values; split it")
        below: list[object] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
                below += one.keys()
            elif isinstance(one, list):
                below += one
            elif isinstance(one, float) and math.isinf(one):
                raise ValueError("it has a number that is too large; put it in quotes if it is text")
            elif isinstance(one, str) and not one.isascii() and _LONE.search(one):
                raise ValueError("it has half a surrogate pair in a text; write the character itself")
        if not below:
            return
        level = below
    raise ValueError(TOO_DEEP)


class _Events:
    """What the parser meets, one after another."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parser = yaml.CSafeLoader(text)

    def take(self) -> Any:  # noqa: ANN401  Which kind of event is the grammar's affair.
        try:
            return self._parser.get_event()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line, mark.column) if mark else (0, 0)
            raise NotPlain(line, self._why(str(error.problem or error.context), line, column)) from error
        except yaml.reader.ReaderError as error:
            line = self._text.encode()[: error.position].count(b"\n")
            why = f"this is not YAML: the control character {error.character:#04x} is in it; remove it"
            raise NotPlain(line, why) from error

    def _why(self, problem: str, line: int, column: int) -> str:
        if problem == "found character that cannot start any token":
            character = self._text.split("\n", line + 1)[line][column : column + 1]
            if character == "\t":
                return "this is not YAML: it is indented with a tab; use spaces"
            return f"this is not YAML: a value begins with {character}; put it in quotes"
        return f"this is not YAML: {problem}{_HINTS.get(problem, '')}"


class _Values:
    """The values of one document."""

    def __init__(self, events: _Events) -> None:
        self._take = events.take
        self._left = MOST_VALUES
        self._anchored: dict[str, tuple[Any, int]] = {}
        """Values that aliases may stand for, and how many values each has."""
        self._open: set[str] = set()
        """Those that have begun and not ended."""

    def read(self, event: Any, deeper: int) -> Any:  # noqa: ANN401
        """The value that begins with ``event``; it may have ``deeper`` levels."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._count(event, 1)
        anchor, left = event.anchor, self._left
        if anchor is not None:
            self._open.add(anchor)
        value = (
            self._scalar(event) if isinstance(event, yaml.ScalarEvent) else self._collection(event, deeper)
        )
        if anchor is not None:
            self._open.discard(anchor)
            self._anchored[anchor] = value, left - self._left + 1
        return value

    def _count(self, event: Any, values: int) -> None:  # noqa: ANN401
        self._left -= values
        if self._left < 0:
            raise _bad(
                event, f"this has more than {MOST_VALUES} values, counting what aliases stand for; split it"
            )

    def _alias(self, event: Any) -> Any:  # noqa: ANN401
        name = event.anchor
        if name in self._open:
            raise _bad(event, f"the value &{name} contains itself, as *{name}; write out what is meant")
        if name not in self._anchored:
            raise _bad(event, f"*{name} stands for nothing: no &{name} comes before it; write out the value")
        value, values = self._anchored[name]
        self._count(event, values)
        return value

    def _collection(self, event: Any, deeper: int) -> Any:  # noqa: ANN401
        if not deeper:
            raise _bad(event, TOO_DEEP)
        if event.tag not in {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}:
            raise _tagged(event)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := self._take(), yaml.SequenceEndEvent):
                items.append(self.read(item, deeper - 1))
            return items
        return self._mapping(deeper)

    def _mapping(self, deeper: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := self._take(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _bad(event, "a key is not text; write it out, in quotes if need be")
            if event.tag not in {None, *_TEXT}:
                raise _tagged(event)
            key = event.value
            if key in found or (key == "<<" and merged):
                raise _bad(event, twice(key))
            value = self.read(self._take(), deeper - 1)
            if key == "<<" and event.implicit[0]:
                merged = _defaults(event, value)
            else:
                found[key] = value
        return {**merged, **found} if merged else found

    def _scalar(self, event: Any) -> Any:  # noqa: ANN401
        text: str = event.value
        if event.tag is not None:
            if event.tag not in _TEXT:
                raise _tagged(event)
            return text
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in _NUMBER_BEGINS or len(text) > LONGEST_NUMBER:
            return text
        if _INTEGER.fullmatch(text):
            return _integer(text)
        if _NOT_OF_JSON.fullmatch(text) or (_REAL.fullmatch(text) and math.isinf(float(text))):
            raise _bad(event, no_number(text))
        return float(text) if _REAL.fullmatch(text) else text


def _integer(text: str) -> int:
    digits = text.lstrip("+-").replace("_", "")
    value = int(digits, 8) if digits[0] == "0" and digits.isdigit() else int(digits, 0)
    return -value if text[0] == "-" else value


def _defaults(event: Any, value: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a merge key brings: of several mappings, the first that has a key counts."""
    mappings = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in mappings):
        raise _bad(event, "<< brings something that is no mapping; let it name one with *")
    merged: dict[str, Any] = {}
    for one in reversed(mappings):
        merged |= one
    return merged


def twice(key: str) -> str:
    """Why a mapping cannot be read."""
    return f"the key {_short(key)} comes twice; remove one of them"


def no_number(text: str) -> str:
    """Why a number cannot be read."""
    return f"{text} is no number that an object can have; put it in quotes if it is text"


def _bad(event: Any, why: str) -> NotPlain:  # noqa: ANN401
    return NotPlain(event.start_mark.line, why)


def _tagged(event: Any) -> NotPlain:  # noqa: ANN401
    return _bad(event, f"the tag {_short(event.tag)} asks for more than plain data; remove it")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
