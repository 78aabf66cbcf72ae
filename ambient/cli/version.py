"""``ambient version``: which ambient this is."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

import typer

from ambient.cli import api, exits, output

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel

app = typer.Typer(add_completion=False)


@app.command()
def version(state_dir: api.StateDir = api.STATE_DIR, form: output.OutputOption = output.Output.TABLE) -> None:
    """Say which ambient this is, what it runs on, and which ambient the control plane is, if there is one."""
    with exits.on_errors():
        content = {
            "ambient": installed("ambient"),
            "python": platform.python_version(),
            "kernel": platform.release(),
        }
        if api.is_known(state_dir):
            content["control plane"] = api.call(state_dir, _asked)
        if form is output.Output.TABLE:
            for name, value in content.items():
                typer.echo(f"{name:<15}{value}")
        else:
            output.data(form, content)


async def _asked(channel: Channel) -> str:
    from ambient.rpc import mesh  # noqa: PLC0415  # `ambient --help` must not load it.

    return (await mesh.status(channel)).program_version
