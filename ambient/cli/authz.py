"""``ambient authz``: who may call whom."""

from __future__ import annotations

import typer

from ambient.cli import explaining
from ambient.cli.api import STATE_DIR, StateDir
from ambient.cli.output import Output, OutputOption

app = typer.Typer(help="Ask who may call whom.", no_args_is_help=True, add_completion=False)


@app.callback()
def authz() -> None:
    """Ask who may call whom."""


@app.command()
def check(
    source: explaining.Source,
    destination: explaining.Destination,
    file: explaining.Files = None,
    state_dir: StateDir = STATE_DIR,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say whether policies let a call in, and which one decides; exit code 1 if they do not."""
    question = explaining.question(source, destination)
    explanation = explaining.asked(question, tuple(file or ()), state_dir)
    explaining.show(explaining.of_policies(explanation), output)
