"""``ambient status``: what is configured, and what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from ambient.cli import api, exits, output
from ambient.cli.output import Output, OutputOption
from ambient.cli.tables import printable

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.mesh import Status

app = typer.Typer(add_completion=False)


@app.command()
def status(state_dir: api.StateDir = api.STATE_DIR, form: OutputOption = Output.TABLE) -> None:
    """Say what is configured, where it comes from, and what was refused; exit code 1 if anything was."""
    with exits.on_errors():
        now = api.call(state_dir, _status)
        if form is Output.TABLE:
            for line in _lines(now):
                typer.echo(line)
        else:
            moments = {"started": output.moment(now.started), "now": output.moment(now.now)}
            output.data(form, {**asdict(now), **moments})
        if now.errors or any(source.trouble for source in now.sources):
            raise typer.Exit(exits.FINDING)


async def _status(channel: Channel) -> Status:
    from ambient.rpc import mesh  # noqa: PLC0415  # `ambient --help` must not load it.

    return await mesh.status(channel)


def _lines(now: Status) -> Iterator[str]:
    yield f"trust domain    {now.trust_domain}"
    yield f"program         ambient {now.program_version}, up {output.distance((now.now - now.started).total_seconds())}"
    yield f"version         {now.version}"
    yield f"namespaces      {now.namespaces}"
    yield f"services        {now.services}"
    yield f"workloads       {now.workloads}"
    yield f"authorizations  {now.authorizations}"
    yield f"nodes           {', '.join(now.connected_nodes) or 'none'}"
    for source in now.sources:
        trouble = f": {source.trouble}" if source.trouble else ""
        yield printable(f"source          {source.name} {source.place}, {source.objects} objects{trouble}")
    for error in now.errors:
        yield f"error    {printable(error)}"
    for warning in now.warnings:
        yield f"warning  {printable(warning)}"
