"""What the programs of the data plane are all told on their command lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from ambient.cli.exits import host_and_port

Bootstrap = Annotated[
    str | None,
    typer.Option(help="HOST:PORT where tokens are taken. Default: port 15013 of --control's host."),
]
Crl = Annotated[
    Path | None,
    typer.Option(
        help="PEM file with lists of revoked certificates; watched, may be empty or come later.",
        readable=False,
    ),
]
TrustDomain = Annotated[str, typer.Option(help="Trust domain of the mesh.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes. Default: one for each core, at least two.")
]
Admin = Annotated[str, typer.Option(help="Where the admin endpoint listens.", metavar="HOST:PORT")]
AccessLog = Annotated[str | None, typer.Option(help="File for the access log. Default: standard output.")]
LogFormat = Annotated[str, typer.Option(help="text or json.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
DrainSeconds = Annotated[float, typer.Option(min=0, help="How long connections may take to end at a stop.")]
TRUST_DOMAIN: Final = "cluster.local"
DRAIN_SECONDS: Final = 25.0


def bootstrap_of(control: str, bootstrap: str | None) -> str:
    """Where tokens are taken, both of them checked. Raises BadParameter."""
    host_and_port("--control", control)
    bootstrap = bootstrap or f"{control.rpartition(':')[0]}:15013"
    host_and_port("--bootstrap", bootstrap)
    return bootstrap


def workers_of(asked: int | None) -> int:
    """How many workers there are to be."""
    return asked or max(2, os.cpu_count() or 1)
