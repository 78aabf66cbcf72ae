"""``ambient up``: a whole mesh on this machine."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ambient.cli import output
from ambient.cli.exits import on_errors

if TYPE_CHECKING:
    from ambient.local.layout import Settings
    from ambient.local.supervisor import Supervisor

app = typer.Typer(add_completion=False)

RunDir = Annotated[Path, typer.Option(help="Folder of sockets and of the lock.")]
StateDir = Annotated[Path, typer.Option(help="Folder of all that is kept, and of logs.")]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Return when it is up, and leave it running.")]
RUN_DIR = Path("/run/ambient")
STATE_DIR = Path("/var/lib/ambient")


@app.command()
def up(
    name: Annotated[str | None, typer.Option(help="The node's name. Default: the machine's.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of YAML objects, watched, beside those of `ambient apply`."),
    ] = None,
    advertise: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|IP", help="How other machines reach this one. May be repeated."),
    ] = None,
    trust_domain: Annotated[str, typer.Option(help="Trust domain of the mesh.")] = "cluster.local",
    run_dir: RunDir = RUN_DIR,
    state_dir: StateDir = STATE_DIR,
    detach: Detach = False,
) -> None:
    """Run a whole mesh on this machine: control plane, node daemon and proxy, and start again what ends.

    Ctrl-C, or `ambient down`, ends them in order and takes the node out of the kernel. If this program is killed, they
    go on, and `ambient up` finds them again.
    """
    with on_errors():
        from ambient.local.layout import Settings  # noqa: PLC0415  # `ambient --help` must not load it.

        settings = Settings(
            node=name or machine_name(),
            run_dir=run_dir.absolute(),
            state_dir=state_dir.absolute(),
            config=None if config is None else config.absolute(),
            advertise=tuple(advertise or ()),
            trust_domain=trust_domain,
        )
        run(settings, detach=detach)


def run(settings: Settings, *, detach: bool) -> None:
    """Be the supervisor, or start one that stays."""
    from ambient.local import detached, main  # noqa: PLC0415

    if detach:
        with output.progress("starting"):
            detached.up(settings, lambda said: typer.echo(f"still waiting: {said}", err=True))
        _say(settings, detached=True)
    else:

        def is_up(supervisor: Supervisor) -> None:
            del supervisor
            _say(settings, detached=False)

        main.up(settings, is_up)


def machine_name() -> str:
    """What the machine is called, with what is allowed in a node's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", platform.node()).strip("-._") or "node"


def _say(settings: Settings, *, detached: bool) -> None:
    flags = _flags(settings)
    lines = [
        f"node {settings.node} is up in trust domain {settings.trust_domain}",
        f"  logs    {settings.log_dir}",
        "  metrics http://127.0.0.1:15000/metrics",
        "next",
    ]
    if settings.joined is None:
        state_dir = "" if settings.state_dir == STATE_DIR else f" --state-dir {settings.control_dir}"
        lines += [
            f"  ambient apply -f FILE{state_dir}   namespaces, services and policies",
            f"  ambient token create --node NAME{state_dir}   another machine: `ambient node join` there with what it prints",
            f"  ambient waypoint apply --namespace NS --enroll-namespace{state_dir}   for what is said of requests",
        ]
    lines += [
        f"  ambient workload add NAME --namespace NS --service-account SA --pid PID{flags}",
        f"  ambient down{flags}" + ("" if detached else "   or Ctrl-C"),
    ]
    typer.echo("\n".join(lines))


def _flags(settings: Settings) -> str:
    return "" if settings.run_dir == RUN_DIR else f" --run-dir {os.fspath(settings.run_dir)}"
