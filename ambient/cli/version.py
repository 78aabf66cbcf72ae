"""``ambient version``: which ambient this is."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

import typer

from ambient.cli import output

app = typer.Typer(add_completion=False)


@app.command()
def version(form: output.OutputOption = output.Output.TABLE) -> None:
    """Say which ambient this is, and what it runs on."""
    content = {
        "ambient": installed("ambient"),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    if form is output.Output.TABLE:
        for name, value in content.items():
            typer.echo(f"{name:<9}{value}")
    else:
        output.data(form, content)
