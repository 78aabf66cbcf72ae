"""``ambient why``: every decision on the way of a call, and the object behind each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ambient.cli import explaining
from ambient.cli.api import STATE_DIR, StateDir
from ambient.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(add_completion=False)


@app.command()
def why(
    source: explaining.Source,
    destination: explaining.Destination,
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="Explain a request of HTTP, with this method.")
    ] = "",
    path: Annotated[str, typer.Option(help="Explain a request of HTTP, for this path.")] = "",
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="That the request has. May be repeated.")
    ] = None,
    file: explaining.Files = None,
    state_dir: StateDir = STATE_DIR,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say why a call works or does not; exit code 1 if it fails, or not all is as one would think."""
    headers = dict(_header(text) for text in header or ())
    question = explaining.question(source, destination, method, path, headers)
    explanation = explaining.asked(question, _paths(file), state_dir)
    explaining.show(explanation, output)


def _paths(files: Sequence[Path] | None) -> tuple[Path, ...]:
    return tuple(files or ())


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--header")
    return name.lower(), value
