"""``ambient analyze``: what is wrong with a configuration, or will not do what its writer thinks."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from immutables import Map

from ambient.cli import api, exits, output
from ambient.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from ambient.control.analysis.codes import Finding
    from ambient.rpc.channel import Channel
    from ambient.rpc.mesh import MeshWorkload
    from ambient.rpc.registration import LocalWorkload

app = typer.Typer(add_completion=False)


@app.command()
def analyze(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files or folders of YAML. Without any, the configuration of the running mesh."),
    ] = None,
    codes: Annotated[
        bool, typer.Option("--codes", help="List every code, its cause and its remedy.")
    ] = False,
    state_dir: api.StateDir = api.STATE_DIR,
    form: OutputOption = Output.TABLE,
) -> None:
    """Find what is wrong, or does not do what it says; exit code 1 for errors and warnings."""
    with exits.on_errors():
        from ambient.control.analysis.codes import Severity  # noqa: PLC0415  # `ambient --help` must not load it.

        if codes:
            _show_codes(form)
            return
        found = _of_files(files) if files else api.call(state_dir, _of_mesh)
        output.show(
            form,
            [_content(one) for one in found],
            ("SEVERITY", "CODE", "WHERE", "OBJECT", "FINDING", "REMEDY"),
            lambda: (
                (one.severity.value, one.code.code, one.place, one.object, one.text, one.code.remedy)
                for one in found
            ),
            nothing="nothing was found",
        )
        if any(one.severity is not Severity.INFO for one in found):
            raise typer.Exit(exits.FINDING)


def _of_files(files: list[Path]) -> tuple[Finding, ...]:
    from ambient.control import offline  # noqa: PLC0415

    return offline.analyze(offline.mesh(offline.read(files)))


async def _of_mesh(channel: Channel) -> tuple[Finding, ...]:
    from ambient.control import offline  # noqa: PLC0415
    from ambient.rpc import configuration, mesh  # noqa: PLC0415

    objects = await configuration.list_all(channel, configuration.Wanted())
    contents = {f"{one.origin or one.source} ({one.name})": one.content for one in objects}
    local = [
        (one.node, _local(one)) for one in await mesh.workloads(channel) if one.origin is mesh.Origin.NODE
    ]
    return offline.analyze(offline.mesh(contents, local))


def _local(workload: MeshWorkload) -> LocalWorkload:
    from ambient.rpc.registration import LocalWorkload  # noqa: PLC0415

    return LocalWorkload(
        workload.uid,
        workload.name,
        workload.namespace,
        workload.service_account,
        tuple(map(ip_address, workload.addresses)),
        Map(workload.labels),
        workload.hbone,
        workload.healthy,
    )


def _content(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity.value,
        "code": finding.code.code,
        "where": finding.place,
        "object": finding.object,
        "text": finding.text,
        "remedy": finding.code.remedy,
    }


def _show_codes(style: Output) -> None:
    from ambient.control.analysis.codes import Code  # noqa: PLC0415

    output.show(
        style,
        [{"code": one.code, "cause": one.title, "remedy": one.remedy} for one in Code],
        ("CODE", "CAUSE", "REMEDY"),
        lambda: ((one.code, one.title, one.remedy) for one in Code),
    )
