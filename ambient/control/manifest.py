"""From the text of a manifest to its objects, each of which is good or bad alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from ambient.control.documents import MOST_BAD, BadDocument, Document, Part, parts, too_bad
from ambient.control.objects import Key
from ambient.control.problem import Problem, Reason
from ambient.control.translate.kind import Translated, Untranslatable
from ambient.control.translate.kinds import key_of, translate, versions_of
from ambient.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Item:
    """One document."""

    line: int
    key: Key | None
    """None: it cannot be told, or the kind is not ours."""
    document: Mapping[str, Any]
    """As JSON would have it."""
    translated: Translated | None
    """None: it is bad, or the kind is not ours."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    source: Document | None = None
    """Where to look for the lines of its fields; None: there is nothing to say of any."""

    def line_of(self, field: str) -> int:
        """Where a field stands in the manifest, or as much of it as there is."""
        return self.line if self.source is None or not field else self.source.line_of(field)

    @property
    def is_ignored(self) -> bool:
        """It is of a kind that has no effect here."""
        return self.key is None and not self.problems


def read(content: bytes, root_namespaces: tuple[str, ...]) -> tuple[Item, ...]:
    """Every document of ``content``, in its order."""
    return Reader(root_namespaces).read(content)


class Reader:
    """Reads one manifest again and again; what stands in it as it did is not read again."""

    def __init__(self, root_namespaces: tuple[str, ...]) -> None:
        self._root_namespaces = root_namespaces
        self._known: dict[bytes, tuple[int, tuple[Item, ...]]] = {}
        """By hash of the text: the line where it was, and what it means."""

    def read(self, content: bytes) -> tuple[Item, ...]:
        """Every document of ``content``, in its order."""
        before, self._known = self._known, {}
        items: list[Item] = []
        bad = 0
        for part in parts(content):
            found = self._items(part, before)
            bad += sum(item.key is None and bool(item.problems) for item in found)
            if bad > MOST_BAD:
                items.append(_item(too_bad(part.line), self._root_namespaces))
                break
            items += found
        return tuple(_told_apart(items))

    def _items(self, part: Part, before: Mapping[bytes, tuple[int, tuple[Item, ...]]]) -> tuple[Item, ...]:
        name = blake2b(part.text.encode(), digest_size=16).digest()
        line, items = before.get(name, (0, ()))
        if not items or part.trouble:
            items = tuple(_item(document, self._root_namespaces) for document in part.documents())
        elif line != part.line:
            items = tuple(replace(item, line=item.line - line + part.line) for item in items)
        if all(item.source is None for item in items):
            self._known[name] = part.line, items
        return items


def _told_apart(items: list[Item]) -> Iterator[Item]:
    lines: dict[Key, list[int]] = {}
    for item in items:
        if item.key is not None:
            lines.setdefault(item.key, []).append(item.line)
    for item in items:
        if item.key is None or len(lines[item.key]) == 1:
            yield item
        else:
            yield _twice(item, lines[item.key])


def _item(document: Document | BadDocument, root_namespaces: tuple[str, ...]) -> Item:
    match document:
        case BadDocument(line, why):
            return Item(line, None, {}, None, (Problem("", why, Reason.SYNTAX),))
        case Document(line, body):
            source = document
            try:
                key = key_of(body)
            except ConfigError as error:
                return Item(line, None, {}, None, (Problem("", str(error), Reason.MISSING),), (), source)
            if key is None:
                return Item(
                    line, None, body, None, (), (Problem("", _unknown(body), Reason.UNKNOWN_KIND),), source
                )
            try:
                translated = translate(body, root_namespaces)
            except Untranslatable as error:
                return Item(line, key, body, None, error.problems, (), source)
            return Item(
                line, key, body, translated, (), translated.warnings, source if translated.warnings else None
            )


def _unknown(body: Mapping[str, Any]) -> str:
    kind, version = str(body["kind"]), str(body["apiVersion"])
    what = f"{kind} of {version} is a kind that has no effect here"
    group = version.rpartition("/")[0]
    read = [one for one in versions_of(kind) if one.rpartition("/")[0] == group]
    return f"{what}; write apiVersion: {read[0]}" if read else what


def _twice(item: Item, lines: list[int]) -> Item:
    first, second, *_ = lines
    problem = Problem(
        "", f"is in this file twice, at lines {first} and {second}; remove one of them", Reason.DUPLICATE
    )
    return replace(item, translated=None, problems=(problem,), warnings=())
