"""From the bytes of a YAML file to its documents, each of which is good or bad alone."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

LARGEST: Final = 4 << 20
"""Bytes of a file: far beyond an honest one."""

_SEPARATOR: Final = re.compile(r"^---(?=\s|$).*$", re.MULTILINE)
"""In YAML three dashes at a line's start end a document wherever they stand, even inside a string."""


@dataclass(frozen=True, slots=True)
class Document:
    """One object as it was written."""

    line: int
    """Where it begins, from 1."""
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BadDocument:
    """One that cannot be read."""

    line: int
    why: str


def documents(content: bytes) -> Iterator[Document | BadDocument]:
    """Every document that is not empty; a ``v1 List`` is taken apart."""
    if len(content) > LARGEST:
        yield BadDocument(1, f"the file has {len(content)} bytes; the most is {LARGEST}: split it")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        yield BadDocument(1, f"byte {error.start} is not UTF-8; save the file as UTF-8")
        return
    for line, part in _split(text):
        try:
            read = yaml.load(part, _Loader)  # noqa: S506
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = line + (mark.line if mark else 0)
            yield BadDocument(at, f"this is not YAML: {error.problem or error.context}")
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            yield BadDocument(
                line, f"this is not YAML: {str(error) or 'it is nested too deeply'}".splitlines()[0]
            )
        else:
            yield from _objects(line, read)


def _objects(line: int, read: object) -> Iterator[Document | BadDocument]:
    match read:
        case None:
            return
        case {"kind": "List", "apiVersion": "v1", "items": list(items)}:
            for item in items:
                yield from _objects(line, item)
        case dict():
            yield Document(line, read)
        case _:
            yield BadDocument(line, "this is not an object; it has apiVersion, kind and metadata")


def _split(text: str) -> Iterator[tuple[int, str]]:
    start, line = 0, 1
    for separator in _SEPARATOR.finditer(text):
        if separator.start() > start:
            yield line, text[start : separator.start()]
        line += text.count("\n", start, separator.start())
        # What follows the dashes on their own line belongs to the document: ``--- {kind: …}``.
        start = separator.start() + 3
    yield line, text[start:]


class _Loader(yaml.CSafeLoader):
    """Plain data; a key that comes twice is an error, and a time stays the text that it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is not a scalar", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} comes twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
