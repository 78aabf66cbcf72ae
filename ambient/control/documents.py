"""From the bytes of a file of YAML or JSON to its documents, each of which is good or bad alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ambient.control import plain

LARGEST: Final = 10 << 20
"""Bytes of a file: far beyond an honest one."""
LARGEST_DOCUMENT: Final = 4 << 20
"""Characters of a document, which may be a List of some thousand objects."""
MOST_BAD: Final = 100
"""Bad documents of a file that are named; the rest is not read then."""

_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
"""In YAML three dashes at a line's start end a document wherever they stand, even inside a string."""
_CONFLICT: Final = re.compile(r"^(?:<{7}|>{7})(?: |$)", re.MULTILINE)
_PROLOGUE: Final = re.compile(r"(?:%.*|[ ]*(?:#.*)?)(?:\n(?:%.*|[ ]*(?:#.*)?))*")
"""What says nothing of its own: directives (``%YAML 1.2``), comments and empty lines."""


class _Source:
    """A text, and where in it everything stands; looked up when it is first asked."""

    def __init__(self, line: int, text: str) -> None:
        self._line, self._text = line, text
        self._places: list[plain.Place] | None = None

    def line_of(self, number: int, path: str) -> int:
        """The line of a field of its document of that number."""
        if self._places is None:
            try:
                self._places = plain.places(self._text)
            except plain.NotPlain:  # JSON may say what YAML cannot.
                self._places = []
        return self._line + (self._places[number].line_of(path) if self._places else 0)


@dataclass(frozen=True, slots=True)
class Document:
    """One object as it was written."""

    line: int
    """Where it begins, from 1."""
    content: Mapping[str, Any]
    """What JSON can say."""
    _source: _Source = field(repr=False, compare=False)
    _number: int = field(repr=False, compare=False)
    """Of the document in its source."""
    _within: str = field(default="", repr=False, compare=False)
    """What it is an item of."""

    def line_of(self, path: str) -> int:
        """Where a field such as ``spec.ports[2].port`` stands, or as much of it as there is."""
        return self._source.line_of(self._number, f"{self._within}.{path}" if self._within else path)


@dataclass(frozen=True, slots=True)
class BadDocument:
    """One that cannot be read."""

    line: int
    why: str


def documents(content: bytes) -> Iterator[Document | BadDocument]:
    """Every document that is not empty; a ``v1 List`` is taken apart. After very many bad ones it stops."""
    bad = 0
    for part in parts(content):
        for document in part.documents():
            if isinstance(document, BadDocument):
                bad += 1
                if bad > MOST_BAD:
                    yield too_bad(document.line)
                    return
            yield document


def too_bad(line: int) -> BadDocument:
    """In place of what is from there on."""
    return BadDocument(line, f"{MOST_BAD} documents before this are bad; mend them first")


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file that means the same wherever it stands."""

    line: int
    """Where it begins, from 1."""
    text: str
    trouble: str = ""
    """Why none of it can be read."""

    def documents(self) -> Iterator[Document | BadDocument]:
        """What is in it: one document, as a rule."""
        if self.trouble or len(self.text) > LARGEST_DOCUMENT:
            large = f"the document has more than {LARGEST_DOCUMENT >> 20} MiB; split it"
            yield BadDocument(self.line, self.trouble or large)
            return
        source = _Source(self.line, self.text)
        try:
            if self.text.lstrip()[:1] == "{" and (read := _json(self.text)) is not None:
                yield from _objects(read, self.line + _blank_lines(self.text), source, 0)
                return
            for number, (offset, read) in enumerate(plain.read(self.text)):
                yield from _objects(read, self.line + offset, source, number)
        except plain.NotPlain as error:
            yield BadDocument(self.line + error.line, error.why)


def parts(content: bytes) -> Iterator[Part]:
    """The file, cut at its dashes; parts that say nothing are left out."""
    try:
        text = _text(content)
    except _Bad as error:
        yield Part(error.line, "", str(error))
        return
    start, line = 0, 1
    for separator in _SEPARATOR.finditer(text):
        yield from _part(line, text[start : separator.start()])
        line += text.count("\n", start, separator.start())
        # What follows the dashes on their own line belongs to the document: ``--- {kind: …}``.
        start = separator.end()
        if text.startswith("\n", start):
            start, line = start + 1, line + 1
    yield from _part(line, text[start:])


def _part(line: int, text: str) -> Iterator[Part]:
    if text.lstrip()[:1] == "\ufeff":
        text = text.replace("\ufeff", "", 1)
    head, end, tail = text.rpartition("\n...")
    if end and _PROLOGUE.fullmatch(tail):
        text = head
    if not _PROLOGUE.fullmatch(text):
        yield Part(line, text)


class _Bad(Exception):
    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


def _text(content: bytes) -> str:
    if len(content) > LARGEST:
        raise _Bad(1, f"the file has more than {LARGEST >> 20} MiB; split it")
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"} or 0 in content[:2]:
        raise _Bad(1, "this is UTF-16; save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Bad(line, f"byte {error.start} is not UTF-8; save the file as UTF-8") from error
    if (conflict := _CONFLICT.search(text)) is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        raise _Bad(line, "a merge conflict is left in the file; settle it")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _json(text: str) -> object:
    """None: it may be YAML that begins as JSON does. Raises NotPlain."""
    try:
        read = json.loads(text, object_pairs_hook=_pairs, parse_int=_integer, parse_constant=_constant)
        plain.check(read)
    except json.JSONDecodeError:
        return None
    except RecursionError as error:
        raise plain.NotPlain(_blank_lines(text), plain.TOO_DEEP) from error
    except ValueError as error:
        raise plain.NotPlain(_blank_lines(text), str(error)) from error
    return read


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key, _ = next((key, times) for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(plain.twice(key))
    return found


def _integer(digits: str) -> int:
    if len(digits) > plain.LONGEST_NUMBER:
        raise ValueError(plain.no_number(digits[:20] + "..."))
    return int(digits)


def _constant(name: str) -> object:
    raise ValueError(plain.no_number(name))


def _blank_lines(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")


def _objects(read: object, line: int, source: _Source, number: int) -> Iterator[Document | BadDocument]:
    match read:
        case None:
            return
        case {"kind": "List", "apiVersion": "v1", "items": list(items)}:
            for at in range(len(items)):
                within = f"items[{at}]"
                yield _item(items[at], source.line_of(number, within), source, number, within)
        case dict():
            yield Document(line, read, source, number)
        case _:
            yield BadDocument(line, "this is not an object; it has apiVersion, kind and metadata")


def _item(item: object, line: int, source: _Source, number: int, within: str) -> Document | BadDocument:
    if isinstance(item, dict) and item.get("kind") != "List":
        return Document(line, item, source, number, within)
    what = "a List in a List" if isinstance(item, dict) else "not an object"
    return BadDocument(line, f"{within} is {what}; list objects, with apiVersion, kind and metadata")
