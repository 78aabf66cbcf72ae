"""``ambient control``: the control plane."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from ambient.cli.api import STATE_DIR
from ambient.cli.exits import on_errors

app = typer.Typer(add_completion=False)


@app.command()
def control(
    config: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of YAML objects; it is watched.")
    ] = None,
    state_dir: Annotated[
        Path, typer.Option(help="Folder of keys, the database and the operator's socket.")
    ] = STATE_DIR,
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
    node_lease: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="Nobody is sent to the workloads of a node that is silent for so long.",
        ),
    ] = 30,
    node_forget: Annotated[
        int,
        typer.Option(
            metavar="SECONDS", min=1, help="After so long they are forgotten. --node-lease or more."
        ),
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
    """Run the control plane: what is applied, a folder of YAML and what nodes report become what proxies need."""
    with on_errors(log_format, log_level):
        from ambient.control import main  # noqa: PLC0415  # `ambient --help` must not load it.
        from ambient.control.registry import Patience  # noqa: PLC0415

        options = main.Options(
            config=config,
            state_dir=state_dir,
            listen=listen,
            bootstrap_listen=bootstrap_listen,
            advertise=tuple(advertise or ()),
            trust_domain=trust_domain,
            cluster=cluster,
            root_namespace=root_namespace,
            patience=Patience(node_lease, max(node_lease, node_forget)),
            certificate_lifetime=timedelta(seconds=certificate_lifetime),
            root_lifetime=timedelta(seconds=root_lifetime),
            ca_dir=ca_dir,
            admin=admin,
        )
        asyncio.run(main.run(options))
