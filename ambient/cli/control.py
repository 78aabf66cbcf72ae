"""``ambient control``: the control plane, and how it stands."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ambient.cli import tables
from ambient.cli.exits import on_errors
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.rpc.mesh import Status

app = typer.Typer(
    help="Run the control plane, or ask how it stands.", invoke_without_command=True, add_completion=False
)

STATE_DIR = Path("/var/lib/ambient/control")

StateDir = Annotated[
    Path, typer.Option(help="Folder of the root key, the database and the operator's socket.")
]


@app.callback()
def control(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of YAML objects; it is watched.")
    ] = None,
    state_dir: StateDir = STATE_DIR,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="For nodes with a certificate (mutual TLS).")
    ] = "0.0.0.0:15012",
    bootstrap_listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="For nodes with a bootstrap token (TLS).")
    ] = "0.0.0.0:15013",
    advertise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|IP", help="A name or address to put in the server certificate. May be repeated."
        ),
    ] = None,
    trust_domain: Annotated[str, typer.Option(help="Trust domain of the mesh.")] = "cluster.local",
    cluster: Annotated[str, typer.Option(help="First part of every workload's uid.")] = "local",
    root_namespace: Annotated[
        str,
        typer.Option(help="Namespace whose policies are for the whole mesh; istio-system is one as well."),
    ] = "ambient-system",
    certificate_lifetime: Annotated[
        int, typer.Option(metavar="SECONDS", help="Of the certificates that are issued.")
    ] = 86400,
    root_lifetime: Annotated[
        int, typer.Option(metavar="SECONDS", help="Of a root; another follows it by itself in time.")
    ] = 315360000,
    ca_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Take the authority from this folder (tls.crt, tls.key, ca.crt, or Istio's names); it is watched.",
        ),
    ] = None,
    admin: Annotated[
        str | None, typer.Option(metavar="ADDRESS:PORT", help="Serve readiness and metrics here.")
    ] = None,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Turn a folder of YAML, and what nodes report, into what proxies need."""
    if context.invoked_subcommand is not None:
        return
    with on_errors(log_format, log_level):
        from ambient.control import main  # noqa: PLC0415  # `ambient --help` must not load it.

        options = main.Options(
            config=config,
            state_dir=state_dir,
            listen=listen,
            bootstrap_listen=bootstrap_listen,
            advertise=tuple(advertise or ()),
            trust_domain=trust_domain,
            cluster=cluster,
            root_namespace=root_namespace,
            certificate_lifetime=timedelta(seconds=certificate_lifetime),
            root_lifetime=timedelta(seconds=root_lifetime),
            ca_dir=ca_dir,
            admin=admin,
        )
        asyncio.run(main.run(options))


@app.command()
def status(
    state_dir: StateDir = STATE_DIR,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
) -> None:
    """Say what is configured and what was refused; exit code 1 if anything was."""
    with on_errors():
        if output not in {"text", "json"}:
            raise typer.BadParameter("it is text or json", param_hint="--output")
        now = asyncio.run(_status(state_dir))
        if output == "json":
            typer.echo(json.dumps(asdict(now), indent=2, default=str))
        else:
            typer.echo(f"trust domain    {now.trust_domain}")
            typer.echo(f"version         {now.version}")
            typer.echo(f"namespaces      {now.namespaces}")
            typer.echo(f"services        {now.services}")
            typer.echo(f"workloads       {now.workloads}")
            typer.echo(f"authorizations  {now.authorizations}")
            typer.echo(f"nodes           {', '.join(now.connected_nodes) or 'none'}")
            for error in now.errors:
                typer.echo(f"error    {tables.printable(error)}")
            for warning in now.warnings:
                typer.echo(f"warning  {tables.printable(warning)}")
        if now.errors:
            raise typer.Exit(1)


@app.command("forget-node")
def forget_node(
    node: Annotated[str, typer.Argument(help="A node that is gone for good.")],
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Take the workloads of a dead node out of the mesh."""
    with on_errors():
        forgotten = asyncio.run(_forget_node(state_dir, node))
        if not forgotten:
            raise ConfigError(f"node {node} has no workloads here")
        typer.echo(f"node {node} forgotten with its {forgotten} workloads")


async def _status(state_dir: Path) -> Status:
    from ambient.rpc import mesh, operator  # noqa: PLC0415  # `ambient --help` must not load it.

    async with operator.door(operator.find(state_dir)) as channel:
        return await mesh.status(channel)


async def _forget_node(state_dir: Path, node: str) -> int:
    from ambient.rpc import mesh, operator  # noqa: PLC0415

    async with operator.door(operator.find(state_dir)) as channel:
        return await mesh.forget_node(channel, node)
