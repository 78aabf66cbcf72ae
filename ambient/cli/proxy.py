"""``ambient proxy``: the shared L4 proxy of a node."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ambient.cli import program
from ambient.cli.exits import host_and_port, on_errors
from ambient.cli.program import (
    AccessLog,
    Admin,
    Bootstrap,
    Crl,
    DrainSeconds,
    LogFormat,
    LogLevel,
    TrustDomain,
    Workers,
)

app = typer.Typer(
    help="Run the shared L4 proxy of this node.", invoke_without_command=True, add_completion=False
)


@app.callback()
def proxy(
    control: Annotated[str, typer.Option(help="HOST:PORT of the control plane.", metavar="HOST:PORT")],
    root_cert: Annotated[
        Path, typer.Option(help="PEM file with the control plane's root certificate.", readable=False)
    ],
    crl: Crl = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with a bootstrap token; needed until the node has its own certificate.", readable=False
        ),
    ] = None,
    bootstrap: Bootstrap = None,
    run_dir: Annotated[Path, typer.Option(help="Folder that is shared with `ambient node`.")] = Path(
        "/run/ambient"
    ),
    state_dir: Annotated[Path, typer.Option(help="Folder for the last snapshot.")] = Path(
        "/var/lib/ambient/proxy"
    ),
    trust_domain: TrustDomain = program.TRUST_DOMAIN,
    workers: Workers = None,
    admin: Admin = "127.0.0.1:15000",
    access_log: AccessLog = None,
    log_format: LogFormat = "text",
    log_level: LogLevel = "info",
    drain_seconds: DrainSeconds = program.DRAIN_SECONDS,
) -> None:
    """Carry the traffic of this node's captured pods."""
    with on_errors(log_format, log_level):
        from ambient.member.parent import Settings  # noqa: PLC0415  # `ambient --help` must not load it.
        from ambient.proxy import main  # noqa: PLC0415

        settings = Settings(
            run_dir=run_dir,
            state_dir=state_dir,
            root_cert=root_cert,
            crl=crl,
            token_file=token_file,
            control=control,
            bootstrap=program.bootstrap_of(control, bootstrap),
            trust_domain=trust_domain,
            workers=program.workers_of(workers),
            admin=host_and_port("--admin", admin),
            access_log=access_log,
            log_format=log_format,
            log_level=log_level,
            drain_seconds=drain_seconds,
        )
        asyncio.run(main.serve(settings))
