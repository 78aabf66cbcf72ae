"""``ambient get``: the objects that stand."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from ambient.cli import api, exits, kinds, objects, output, tables, workloads, yaml_text
from ambient.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from ambient.rpc.configuration import Event, StoredObject, Wanted

app = typer.Typer(add_completion=False)


@app.command()
def get(
    kind: Annotated[
        str,
        typer.Argument(
            help="Such as service, services, svc; all; or workloads, those of the mesh.",
            autocompletion=kinds.complete,
        ),
    ],
    name: Annotated[str | None, typer.Argument(help="NAME or NAMESPACE/NAME of one object.")] = None,
    namespace: objects.Namespace = "",
    selector: Annotated[
        str, typer.Option("--selector", "-l", metavar="K=V,…", help="Only objects with these labels.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, and show what changes.")] = False,
    state_dir: api.StateDir = api.STATE_DIR,
    form: OutputOption = Output.TABLE,
) -> None:
    """Show objects of configuration; YAML and JSON can be applied again."""
    with exits.on_errors():
        from ambient.rpc import configuration  # noqa: PLC0415  # `ambient --help` must not load it.

        namespace, name = objects.split(name or "", namespace)
        if kind.lower() in workloads.NAMES:
            if watch:
                raise typer.BadParameter("workloads cannot be watched", param_hint="--watch")
            workloads.show(state_dir, namespace, labels(selector), name, form)
            return
        wanted_kind = kinds.named(kind, or_all=True)
        wanted = configuration.Wanted(wanted_kind, namespace, labels(selector))
        if watch:
            asyncio.run(_watch(state_dir, wanted, name, form))
        elif name and wanted_kind:
            one = api.call(state_dir, lambda channel: objects.find(channel, wanted_kind, namespace, name))
            output.show(form, objects.content(one), objects.COLUMNS, lambda: [objects.row(one)])
        else:
            found = api.call(state_dir, lambda channel: configuration.list_all(channel, wanted))
            _show_all(tuple(one for one in found if name in ("", one.name.name)), form)


def labels(selector: str) -> dict[str, str]:
    """Read ``key=value,key=value``."""
    pairs = {}
    for pair in filter(None, selector.split(",")):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--selector")
        pairs[key.strip()] = value.strip().removeprefix("=")
    return pairs


def _show_all(found: tuple[StoredObject, ...], form: Output) -> None:
    content = {"apiVersion": "v1", "kind": "List", "items": [objects.content(one) for one in found]}
    output.show(form, content, objects.COLUMNS, lambda: map(objects.row, found), nothing="there is none")


async def _watch(state_dir: api.StateDir, wanted: Wanted, name: str, form: Output) -> None:
    from ambient.rpc import configuration, operator  # noqa: PLC0415
    from ambient.rpc.errors import Relist  # noqa: PLC0415

    async with operator.door(operator.find(state_dir)) as channel:
        revision = 0
        while True:
            try:
                async for event in configuration.watch(channel, wanted, revision):
                    revision = event.revision or revision
                    _tell(event, wanted, name, form)
            except Relist:
                revision = 0  # All that stands is shown anew.


def _tell(event: Event, wanted: Wanted, name: str, form: Output) -> None:
    from ambient.rpc.configuration import Bookmark, Gone, Put  # noqa: PLC0415

    match event:
        case Bookmark():
            return
        case Put(stored):
            own = objects.content(stored)["metadata"].get("labels") or {}
            if (name and stored.name.name != name) or not wanted.labels.items() <= own.items():
                return
            line, content = objects.row(stored), {"event": "put", "object": objects.content(stored)}
        case Gone(gone):
            if name and gone.name != name:
                return
            line = (gone.kind, gone.namespace, gone.name, "", "", "gone")
            named = {"kind": gone.kind, "metadata": {"namespace": gone.namespace, "name": gone.name}}
            content = {"event": "gone", "object": named}
    match form:
        case Output.TABLE:
            typer.echo("  ".join(tables.printable(cell) or "-" for cell in line))
        case Output.JSON:
            typer.echo(json.dumps(content, ensure_ascii=False))
        case Output.YAML:
            typer.echo(f"---\n{yaml_text.of(content)}", nl=False)
