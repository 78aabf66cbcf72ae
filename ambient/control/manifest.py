"""From the text of a manifest to its objects, each of which is good or bad alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ambient.control.documents import BadDocument, Document, documents
from ambient.control.objects import Key
from ambient.control.problem import Problem, Reason
from ambient.control.translate.kind import Translated, Untranslatable
from ambient.control.translate.kinds import key_of, translate
from ambient.core.errors import ConfigError

MOST_VALUES: Final = 200_000
"""Of one object: far beyond an honest one."""


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
            try:
                plain = _Plain().of(body)
                key = key_of(body)
            except ConfigError as error:
                return Item(line, None, {}, None, (Problem("", str(error), Reason.MISSING),))
            except RecursionError:
                why = "it is nested too deeply; no object of ours is"
                return Item(line, None, {}, None, (Problem("", why, Reason.SYNTAX),))
            if key is None:
                what = f"{body['kind']} of {body['apiVersion']} is a kind that has no effect here"
                return Item(line, None, plain, None, (), (Problem("", what, Reason.UNKNOWN_KIND),))
            try:
                translated = translate(body, root_namespaces)
            except Untranslatable as error:
                return Item(line, key, plain, None, error.problems)
            return Item(line, key, plain, translated, (), translated.warnings)


def _twice(item: Item, lines: list[int]) -> Item:
    first, second, *_ = lines
    problem = Problem(
        "", f"is in this file twice, at lines {first} and {second}; remove one of them", Reason.DUPLICATE
    )
    return replace(item, translated=None, problems=(problem,), warnings=())


class _Plain:
    """Makes JSON's values of YAML's, and does not unfold what is folded beyond measure."""

    def __init__(self) -> None:
        self._count = 0

    def of(self, value: Any) -> Any:  # noqa: ANN401  # YAML.
        self._count += 1
        if self._count > MOST_VALUES:
            raise ConfigError(
                f"it has more than {MOST_VALUES} values when its aliases (*) are unfolded; write less"
            )
        match value:
            case dict():
                return {self._key(key): self.of(inner) for key, inner in value.items()}
            case list():
                return [self.of(inner) for inner in value]
            case None | bool() | int() | str():
                return value
            case float() if math.isfinite(value):
                return value
            case _:
                return str(value)

    def _key(self, key: object) -> str:
        match key:
            case str():
                return key
            case None | bool() | int() | float():
                return json.dumps(key)
            case _:
                return str(key)
