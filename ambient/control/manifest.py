"""From the text of a manifest to its objects, each of which is good or bad alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ambient.control.documents import BadDocument, Document, documents
from ambient.control.objects import Key
from ambient.control.problem import Problem, Reason
from ambient.control.translate.kind import Translated, Untranslatable
from ambient.control.translate.kinds import key_of, translate
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

    def line_of(self, field: str) -> int:
        """Where a field stands in the manifest, or as much of it as there is."""
        return self.line if self.source is None or not field else self.source.line_of(field)

    @property
    def is_ignored(self) -> bool:
        """It is of a kind that has no effect here."""
        return self.key is None and not self.problems


def read(content: bytes, root_namespaces: tuple[str, ...]) -> tuple[Item, ...]:
    """Every document of ``content``, in its order."""
    items = [_item(document, root_namespaces) for document in documents(content)]
    lines: dict[Key, list[int]] = {}
    for item in items:
        if item.key is not None:
            lines.setdefault(item.key, []).append(item.line)
    return tuple(
        item if item.key is None or len(lines[item.key]) == 1 else _twice(item, lines[item.key])
        for item in items
    )


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
                what = f"{body['kind']} of {body['apiVersion']} is a kind that has no effect here"
                return Item(line, None, body, None, (), (Problem("", what, Reason.UNKNOWN_KIND),), source)
            try:
                translated = translate(body, root_namespaces)
            except Untranslatable as error:
                return Item(line, key, body, None, error.problems, (), source)
            return Item(line, key, body, translated, (), translated.warnings, source)


def _twice(item: Item, lines: list[int]) -> Item:
    first, second, *_ = lines
    problem = Problem(
        "", f"is in this file twice, at lines {first} and {second}; remove one of them", Reason.DUPLICATE
    )
    return replace(item, translated=None, problems=(problem,), warnings=())
