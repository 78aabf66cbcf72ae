"""``ambient check``: whether a machine can be a node, and whether a mesh is as it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from ambient.cli import admin, api, exits, output
from ambient.cli.output import Output, OutputOption
from ambient.cli.tables import printable
from ambient.cli.up import RUN_DIR, RunDir
from ambient.core import check as decide
from ambient.core.check import Finding, Level
from ambient.core.errors import AmbientError, Unavailable

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel

app = typer.Typer(add_completion=False)

PORTS: Final = (15000, 15012, 15013)
"""What the proxy's admin endpoint and the control plane listen on."""
_STYLES: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
Sections = Mapping[str, Sequence[Finding]]


@app.command()
def check(
    pre: Annotated[
        bool, typer.Option("--pre", help="Only whether this machine can be a node; no mesh is needed.")
    ] = False,
    state_dir: api.StateDir = api.STATE_DIR,
    run_dir: RunDir = RUN_DIR,
    at: Annotated[str, typer.Option("--admin", metavar="HOST:PORT", help=admin.HELP)] = admin.ADMIN,
    form: OutputOption = Output.TABLE,
) -> None:
    """Try what the mesh needs of this machine, and look at control plane, nodes, certificates and this node.

    Every line has a code that stays the same, and a remedy where there is something to do. Exit code 1 if something
    fails, 3 if no mesh answers here.
    """
    with exits.on_errors():
        exits.host_and_port("--admin", at)
        with output.progress("trying"):
            sections = dict(_sections(state_dir, run_dir, at, pre=pre))
        _show(sections, form)
        found = [finding for findings in sections.values() for finding in findings]
        if any(finding.code == "mesh" for finding in found):
            raise typer.Exit(exits.UNREACHABLE)
        if decide.worst(found) is Level.FAIL:
            raise typer.Exit(exits.FINDING)


def _sections(
    state_dir: Path, run_dir: Path, at: str, *, pre: bool
) -> Iterator[tuple[str, Sequence[Finding]]]:
    from ambient.local import check as gather  # noqa: PLC0415  # `ambient --help` must not load it.

    yield "this machine", decide.machine(gather.machine(PORTS if pre else ()))
    if pre:
        return
    is_node = (run_dir / "node.sock").exists()
    try:
        facts = api.call(state_dir, _control_plane)
        yield "the control plane", decide.control_plane(facts, gather.now(), version("ambient"))
    except Unavailable as error:
        if not is_node or state_dir.exists():
            yield "the control plane", (decide.unreachable(str(error)),)
    if is_node:
        yield "this node", decide.local_node(_local(run_dir, at), gather.now())


async def _control_plane(channel: Channel) -> decide.ControlPlane:
    from ambient.local import check as gather  # noqa: PLC0415

    return await gather.control_plane(channel)


def _local(run_dir: Path, at: str) -> decide.LocalNode:
    from ambient.local import check as gather  # noqa: PLC0415
    from ambient.node import api as daemon  # noqa: PLC0415

    why_no_daemon, workloads = "", []
    try:
        workloads = daemon.call(run_dir, {"verb": "list"})
    except AmbientError as error:
        why_no_daemon = str(error)
    why_no_proxy, is_connected, certificates = _proxy(at)
    return decide.LocalNode(
        why_no_daemon,
        why_no_proxy,
        is_connected,
        tuple(
            decide.LocalWorkload(
                f"{one['namespace']}/{one['name']}",
                one["capture"],
                one["why_not_proxied"],
                one["older_connections"],
            )
            for one in workloads
        ),
        certificates,
        gather.translations(workloads),
    )


def _proxy(at: str) -> tuple[str, bool, Mapping[str, datetime | None]]:
    """Why it is not ready, whether its control plane is connected, and the ends of its certificates."""
    try:
        status, said = admin.ask("GET", at, "/healthz/ready")
        _, metrics = admin.ask("GET", at, "/metrics")
        _, dump = admin.ask("GET", at, "/config_dump")
    except Unavailable as error:
        return str(error), False, {}
    held: list[dict[str, Any]] = json.loads(dump)["certificates"]
    why = "" if status == HTTPStatus.OK else f"the proxy is {said.decode(errors='replace').strip()}"
    is_connected = b"\nambient_control_connected 1" in metrics
    return why, is_connected, {one["identity"]: _end(one.get("expirationTime")) for one in held}


def _end(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _show(sections: Sections, form: Output) -> None:
    if form is not Output.TABLE:
        output.data(
            form,
            [
                {
                    "about": about,
                    "code": one.code,
                    "level": one.level.value,
                    "message": one.message,
                    "remedy": one.remedy,
                }
                for about, findings in sections.items()
                for one in findings
            ],
        )
        return
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for about, findings in sections.items():
        console.print(about)
        for one in findings:
            line = Text("  ").append(f"{one.level.value:<5}", _STYLES[one.level])
            console.print(line.append(f" {one.code:<20} {printable(one.message)}"))
            if one.remedy and one.level is not Level.OK:
                console.print(f"{'':<29}→ {printable(one.remedy)}")
    console.print(_conclusion([one for findings in sections.values() for one in findings]))


def _conclusion(findings: Sequence[Finding]) -> str:
    counts = {level: sum(one.level is level for one in findings) for level in Level}
    if counts[Level.FAIL] or counts[Level.WARN]:
        return f"{counts[Level.OK]} ok, {counts[Level.WARN]} to look at, {counts[Level.FAIL]} failed"
    return f"all {counts[Level.OK]} ok"
