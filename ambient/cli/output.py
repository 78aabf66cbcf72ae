"""What a verb shows: a table for people, JSON or YAML for programs; and a word of patience when it takes long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from threading import Timer
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from ambient.cli import tables

_PATIENCE_SECONDS: Final = 2.0


class Output(Enum):
    """How something is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to print it.")]


def show(
    output: Output,
    content: Any,  # noqa: ANN401  # JSON.
    columns: Sequence[str],
    rows: Callable[[], Iterable[Sequence[str]]],
    nothing: str = "",
) -> None:
    """Print ``content``, or the table that stands for it; ``nothing``: what is said of an empty table."""
    if output is not Output.TABLE:
        data(output, content)
        return
    found = list(rows())
    if found or not nothing:
        tables.show(columns, found)
    else:
        typer.echo(nothing, err=True)


def data(output: Output, content: Any) -> None:  # noqa: ANN401  # JSON.
    """Print JSON or YAML."""
    if output is Output.YAML:
        from ambient.cli import yaml_text  # noqa: PLC0415  # `ambient --help` must not load YAML.

        typer.echo(yaml_text.of(content), nl=False)
    else:
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def moment(at: datetime | None) -> str | None:
    """A point in time for programs."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def distance(seconds: float) -> str:
    """How long that is, for people: its two largest units."""
    left = int(abs(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say what is going on, on a terminal, when the body takes longer than two seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    status = console.status(f"{what} …")
    begun = Timer(_PATIENCE_SECONDS, status.start)
    begun.daemon = True
    begun.start()
    try:
        yield
    finally:
        begun.cancel()
        begun.join()
        status.stop()
