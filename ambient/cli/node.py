"""``ambient node``: the daemon that keeps a node's kernel, listeners and deposit."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ambient.cli import api, output, up
from ambient.cli.exits import on_errors
from ambient.cli.login import text_of
from ambient.cli.output import Output, OutputOption
from ambient.cli.proxy_status import connected, content
from ambient.cli.up import Detach, RunDir, StateDir
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.mesh import Node

app = typer.Typer(
    help="Run the daemon of a node, let a machine join, and see and forget nodes.",
    invoke_without_command=True,
    add_completion=False,
)

RUN_DIR = Path("/run/ambient")
STATE_DIR = Path("/var/lib/ambient/node")


@app.callback()
def node(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Option(help="The node's name, as its bootstrap token has it. Required.")
    ] = None,
    run_dir: Annotated[
        Path, typer.Option(help="Folder of the sockets, shared with `ambient proxy`.")
    ] = RUN_DIR,
    state_dir: Annotated[Path, typer.Option(help="Folder of the table of workloads.")] = STATE_DIR,
    cluster: Annotated[str, typer.Option(help="First part of every workload's uid.")] = "local",
    exclude_outbound_port: Annotated[
        list[int] | None, typer.Option(help="Never capture connections to this port. May be repeated.")
    ] = None,
    exclude_inbound_port: Annotated[
        list[int] | None,
        typer.Option(help="Never capture connections that come in to this port. May be repeated."),
    ] = None,
    exclude_cidr: Annotated[
        list[str] | None, typer.Option(help="Never capture connections to these addresses. May be repeated.")
    ] = None,
    prober_cgroup: Annotated[
        Path | None, typer.Option(help="cgroup v2 folder whose probes reach applications past every policy.")
    ] = None,
    uninstall: Annotated[
        bool,
        typer.Option("--uninstall", help="Remove all that the node has in the kernel and on disk, and exit."),
    ] = False,
    release: Annotated[
        bool,
        typer.Option(
            "--release", help="Remove all that the node has in the kernel, keep its table, and exit."
        ),
    ] = False,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Capture the connections of this node's workloads for its proxy, and keep what both need to restart."""
    if context.invoked_subcommand is not None:
        return
    if name is None:
        raise typer.BadParameter("name the node", param_hint="--name")
    with on_errors(log_format, log_level):
        from ambient.node import api, main  # noqa: PLC0415  # `ambient --help` must not load what only a daemon needs.

        settings = main.Settings(
            name=name,
            run_dir=run_dir.absolute(),
            state_dir=state_dir.absolute(),
            cluster=cluster,
            exclusions=api.parse_exclusions(
                exclude_outbound_port or [], exclude_inbound_port or [], exclude_cidr or []
            ),
            prober_cgroup=None if prober_cgroup is None else str(prober_cgroup.absolute()),
        )
        if uninstall:
            main.uninstall(settings)
            typer.echo(f"nothing of node {name} is left")
        elif release:
            main.release(settings)
            typer.echo(f"nothing of node {name} is in the kernel")
        else:
            main.run(settings)


@app.command()
def join(
    token: Annotated[
        str | None,
        typer.Argument(
            help="What `ambient token create --node NAME` printed; - reads it from standard input. "
            "Left out: the mesh that was joined before."
        ),
    ] = None,
    run_dir: RunDir = up.RUN_DIR,
    state_dir: StateDir = up.STATE_DIR,
    detach: Detach = False,
) -> None:
    """Make this machine a node of a mesh: run node daemon and proxy, and start again what ends.

    Ctrl-C, or `ambient down`, ends them in order and takes the node out of the kernel.
    """
    with on_errors():
        from ambient.core.join import JoinToken  # noqa: PLC0415
        from ambient.local import joining  # noqa: PLC0415

        places = (run_dir.absolute(), state_dir.absolute())
        if token is None:
            settings = joining.joined(*places)
        else:
            settings = asyncio.run(joining.join(JoinToken.parse(text_of(token)), *places))
        up.run(settings, detach=detach)


@app.command("ls")
def list_(state_dir: api.StateDir = api.STATE_DIR, form: OutputOption = Output.TABLE) -> None:
    """Show every node that is connected or has workloads."""
    with on_errors():
        nodes = api.call(state_dir, _nodes)
        output.show(
            form,
            list(map(content, nodes)),
            ("NODE", "CONNECTED", "WORKLOADS", "CERTIFICATE ENDS IN"),
            lambda: ((one.name, connected(one), str(one.workloads), _certificate(one)) for one in nodes),
            nothing="no node is known",
        )


@app.command()
def forget(
    name: Annotated[str, typer.Argument(help="A node that is gone for good.")],
    state_dir: api.StateDir = api.STATE_DIR,
) -> None:
    """Take the workloads of a dead node out of the mesh. One that is silent for a day is forgotten by itself."""
    with on_errors():
        forgotten = api.call(state_dir, lambda channel: _forget(channel, name))
        if not forgotten:
            raise ConfigError(f"node {name} has no workloads here")
        typer.echo(f"node {name} forgotten with its {forgotten} workloads")


async def _nodes(channel: Channel) -> tuple[Node, ...]:
    from ambient.rpc import mesh  # noqa: PLC0415  # `ambient --help` must not load it.

    return await mesh.nodes(channel)


async def _forget(channel: Channel, name: str) -> int:
    from ambient.rpc import mesh  # noqa: PLC0415

    return await mesh.forget_node(channel, name)


def _certificate(node: Node) -> str:
    if node.certificate_end is None:
        return ""
    left = (node.certificate_end - datetime.now(UTC)).total_seconds()
    return output.distance(left) if left > 0 else f"ended {output.distance(left)} ago"
