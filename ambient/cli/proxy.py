"""``ambient proxy``: the shared L4 proxy of a node."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from ambient.cli.exits import host_and_port, on_errors

app = typer.Typer(
    help="Run the shared L4 proxy of this node.", invoke_without_command=True, add_completion=False
)


@app.callback()
def proxy(
    control: Annotated[str, typer.Option(help="HOST:PORT of the control plane.", metavar="HOST:PORT")],
    root_cert: Annotated[
        Path, typer.Option(help="PEM file with the control plane's root certificate.", readable=False)
    ],
    crl: Annotated[
        Path | None,
        typer.Option(
            help="PEM file with lists of revoked certificates; watched, may be empty or come later.",
            readable=False,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with a bootstrap token; needed until the node has its own certificate.", readable=False
        ),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option(help="HOST:PORT where tokens are taken. Default: port 15013 of --control's host."),
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="Folder that is shared with `ambient node`.")] = Path(
        "/run/ambient"
    ),
    state_dir: Annotated[Path, typer.Option(help="Folder for the last snapshot.")] = Path(
        "/var/lib/ambient/proxy"
    ),
    trust_domain: Annotated[str, typer.Option(help="Trust domain of the mesh.")] = "cluster.local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes. Default: one for each core, at least two.")
    ] = None,
    admin: Annotated[
        str, typer.Option(help="Where the admin endpoint listens.", metavar="HOST:PORT")
    ] = "127.0.0.1:15000",
    access_log: Annotated[
        str | None, typer.Option(help="File for the access log. Default: standard output.")
    ] = None,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="How long connections may take to end at a stop.")
    ] = 25.0,
) -> None:
    """Carry the traffic of this node's captured pods."""
    with on_errors(log_format, log_level):
        from ambient.member.parent import Settings  # noqa: PLC0415  # `ambient --help` must not load it.
        from ambient.proxy import main  # noqa: PLC0415

        host_and_port("--control", control)
        bootstrap = bootstrap or f"{control.rpartition(':')[0]}:15013"
        host_and_port("--bootstrap", bootstrap)
        settings = Settings(
            run_dir=run_dir,
            state_dir=state_dir,
            root_cert=root_cert,
            crl=crl,
            token_file=token_file,
            control=control,
            bootstrap=bootstrap,
            trust_domain=trust_domain,
            workers=workers or max(2, os.cpu_count() or 1),
            admin=host_and_port("--admin", admin),
            access_log=access_log,
            log_format=log_format,
            log_level=log_level,
            drain_seconds=drain_seconds,
        )
        asyncio.run(main.serve(settings))
