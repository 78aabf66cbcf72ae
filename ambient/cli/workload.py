"""``ambient workload``: tell the node daemon of workloads, where there is no Kubernetes to tell it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ambient.cli import output
from ambient.cli.exits import on_errors
from ambient.control.member import DEPLOYMENT_LABEL
from ambient.core.errors import ConfigError

app = typer.Typer(
    help="Add, list and remove the workloads of this node.", no_args_is_help=True, add_completion=False
)

Namespace = Annotated[str, typer.Option(help="Its namespace in the mesh's configuration.")]
RunDir = Annotated[Path, typer.Option(help="The node daemon's --run-dir.")]
RUN_DIR = Path("/run/ambient")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Unique in its namespace.")],
    namespace: Namespace,
    service_account: Annotated[str, typer.Option(help="Who it is: its service account.")],
    label: Annotated[
        list[str] | None, typer.Option(help="k=v, for selectors of services and policies. May be repeated.")
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(
            help="The apps/v1 Deployment that it is one of: it has the labels and ports of its template."
        ),
    ] = None,
    netns: Annotated[
        Path | None, typer.Option(help="Its network namespace, such as /run/netns/NAME.")
    ] = None,
    pid: Annotated[int | None, typer.Option(help="A process in its network namespace and cgroup.")] = None,
    cgroup: Annotated[
        Path | None, typer.Option(help="Its cgroup v2 folder. Default: that of --pid, or none.")
    ] = None,
    exclude_outbound_port: Annotated[
        list[int] | None, typer.Option(help="Do not capture its connections to this port. May be repeated.")
    ] = None,
    exclude_inbound_port: Annotated[
        list[int] | None, typer.Option(help="Do not capture connections to this port of it. May be repeated.")
    ] = None,
    exclude_cidr: Annotated[
        list[str] | None,
        typer.Option(help="Do not capture its connections to these addresses. May be repeated."),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="tcp:PORT|http:PORT/PATH",
            help="How to find out whether it is healthy; nobody is sent to it while it is not. Default: it is.",
        ),
    ] = None,
    run_dir: RunDir = RUN_DIR,
) -> None:
    """Register a workload; its namespace's labels say whether its traffic is captured."""
    with on_errors():
        answer = _call(
            run_dir,
            {
                "verb": "add",
                "name": name,
                "namespace": namespace,
                "service_account": service_account,
                "labels": _labels(label or []) | ({DEPLOYMENT_LABEL: deployment} if deployment else {}),
                "netns": None if netns is None else str(netns.absolute()),
                "pid": pid,
                "cgroup": None if cgroup is None else str(cgroup.absolute()),
                "exclude_outbound_ports": exclude_outbound_port or [],
                "exclude_inbound_ports": exclude_inbound_port or [],
                "exclude_cidrs": exclude_cidr or [],
                "probe": probe,
            },
        )
    typer.echo(f"{namespace}/{name} {answer['note'] or 'registered'}")


@app.command("list")
def list_(
    form: output.OutputOption = output.Output.TABLE,
    run_dir: RunDir = RUN_DIR,
) -> None:
    """Show the workloads of this node and how far each is in the mesh."""
    with on_errors():
        workloads = _call(run_dir, {"verb": "list"})
    output.show(
        form,
        workloads,
        ("NAME", "NAMESPACE", "SERVICE ACCOUNT", "ADDRESSES", "CAPTURE", "HEALTHY", "PROXIED"),
        lambda: (
            (
                workload["name"],
                workload["namespace"],
                workload["service_account"],
                ", ".join(workload["addresses"]) or "none",
                workload["capture"],
                "yes" if workload["healthy"] else "no",
                "yes" if workload["proxied"] else f"no: {workload['why_not_proxied']}",
            )
            for workload in workloads
        ),
        nothing="this node has no workloads",
    )


class Health(Enum):
    """Whether others may be sent to a workload."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@app.command()
def health(
    name: Annotated[str, typer.Argument(help="As it was added.")],
    state: Annotated[Health, typer.Argument(help="What it is from now on.")],
    namespace: Namespace,
    run_dir: RunDir = RUN_DIR,
) -> None:
    """Say whether others may be sent to a workload that has no probe. What it has goes on."""
    with on_errors():
        answer = _call(
            run_dir,
            {
                "verb": "health",
                "name": name,
                "namespace": namespace,
                "healthy": state is Health.HEALTHY,
            },
        )
    typer.echo(f"{namespace}/{name} {answer['note'] or f'is {state.value}'}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As it was added.")],
    namespace: Namespace,
    now: Annotated[
        bool, typer.Option("--now", help="Cut its connections instead of letting them end.")
    ] = False,
    run_dir: RunDir = RUN_DIR,
) -> None:
    """Take a workload out of the mesh; returns when nothing of it is left in the kernel."""
    with on_errors():
        _call(run_dir, {"verb": "remove", "name": name, "namespace": namespace, "now": now})
    typer.echo(f"{namespace}/{name} removed")


def _labels(pairs: list[str]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--label {pair!r} is not of the form key=value")
        labels[key] = value
    return labels


def _call(run_dir: Path, request: dict[str, object]) -> Any:  # noqa: ANN401  # JSON.
    from ambient.node import api  # noqa: PLC0415  # `ambient --help` must not load it.

    with output.progress("asking the node daemon"):
        return api.call(run_dir, request)
