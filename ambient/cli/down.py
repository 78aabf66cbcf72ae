"""``ambient down``: the end of ``ambient up``."""

from __future__ import annotations

from typing import Annotated

import typer

from ambient.cli import output
from ambient.cli.exits import on_errors
from ambient.cli.up import RUN_DIR, RunDir

app = typer.Typer(
    help="End what `ambient up` or `ambient node join` has started.", invoke_without_command=True
)


@app.command()
def down(
    run_dir: RunDir = RUN_DIR,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Remove all that it has kept, its certificate authority too."),
    ] = False,
) -> None:
    """End what `ambient up` has started: let connections end, and take the node out of the kernel."""
    with on_errors():
        from ambient.local import main  # noqa: PLC0415  # `ambient --help` must not load it.

        with output.progress("letting connections end"):
            node = main.down(run_dir.absolute(), purge=purge)
        typer.echo("nothing is up" if node is None else f"node {node} is down")
