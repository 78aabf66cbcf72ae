"""Files of objects, and what the control plane says of them, at the line where it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ambient.cli.tables import printable
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.control.documents import Document
    from ambient.rpc.configuration import Answer, Manifest, Result, Violation

Files = Annotated[
    list[str],
    typer.Option(
        "--file", "-f", metavar="FILE|DIR|-", help="YAML or JSON; - is standard input. May be repeated."
    ),
]
SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"


def read(places: Sequence[str]) -> tuple[Manifest, ...]:
    """Every file that is named, and those in folders that are. Raises ConfigError."""
    from ambient.rpc.configuration import Manifest  # noqa: PLC0415  # `ambient --help` must not load it.

    return tuple(Manifest(origin, content) for place in places for origin, content in _contents(place))


def documents(manifests: Sequence[Manifest]) -> dict[tuple[str, int], Document]:
    """Each object by file and line, of those that can be read at all."""
    from ambient.control.documents import Document, documents as in_file  # noqa: PLC0415

    return {
        (manifest.origin, document.line): document
        for manifest in manifests
        for document in in_file(manifest.content)
        if isinstance(document, Document)
    }


def complain(answer: Answer, manifests: Sequence[Manifest]) -> bool:
    """Say each violation and warning on standard error, one line each; whether anything is refused."""
    said = any(result.violations or result.warnings for result in answer.results)
    where = documents(manifests) if said else {}
    for result in answer.results:
        for prefix, violations in (("", result.violations), ("warning: ", result.warnings)):
            for violation in violations:
                sys.stderr.write(f"{prefix}{line_of(result, violation, where)}\n")
    return any(result.violations for result in answer.results)


def line_of(result: Result, violation: Violation, where: dict[tuple[str, int], Document]) -> str:
    """``file:line object field text``."""
    document = where.get((result.origin, result.line))
    line = result.line if document is None or not violation.field else document.line_of(violation.field)
    named = "" if result.object is None else f" {result.object}:"
    return printable(f"{result.origin}:{line}:{named} {violation}")


def _contents(place: str) -> Iterator[tuple[str, bytes]]:
    if place == STDIN:
        yield "standard input", sys.stdin.buffer.read()
        return
    path = Path(place)
    try:
        if not path.is_dir():
            yield place, path.read_bytes()
            return
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise ConfigError(f"--file {place}: no file there ends in {', '.join(SUFFIXES)}")
        for file in files:
            yield str(file), file.read_bytes()
    except OSError as error:
        raise ConfigError(f"--file {place}: {error.strerror}") from error
