"""``ambient delete``: objects go, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ambient.cli import api, exits, kinds, manifests, objects
from ambient.cli.tables import printable

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.configuration import Answer, ObjectName

app = typer.Typer(add_completion=False)


@app.command()
def delete(
    kind: Annotated[
        str | None, typer.Argument(help="Such as service, services, svc.", autocompletion=kinds.complete)
    ] = None,
    name: Annotated[list[str] | None, typer.Argument(help="NAME or NAMESPACE/NAME of each object.")] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", metavar="FILE|DIR|-", help="Every object in it. May be repeated."),
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where they are.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    state_dir: api.StateDir = api.STATE_DIR,
) -> None:
    """Remove objects: all of them, or none if one is refused. Those of a watched folder are removed there."""
    if bool(file) == bool(kind and name):
        raise typer.BadParameter("give KIND and NAME, or --file")
    with exits.on_errors():
        answer = api.call(
            state_dir,
            lambda channel: _delete(channel, kind or "", name or [], file or [], namespace, dry_run=dry_run),
            "deleting",
        )
        for result in answer.results:
            refused = "".join(f": {one}" for one in result.violations)
            note = " (dry run)" if dry_run else ""
            typer.echo(printable(f"{result.object} {result.outcome.value}{refused}{note}"), err=bool(refused))
        if not answer.applied and not dry_run:
            typer.echo("nothing was changed")
        if any(result.violations or result.outcome.value == "not found" for result in answer.results):
            raise typer.Exit(exits.FINDING)


async def _delete(
    channel: Channel, kind: str, names: list[str], files: list[str], namespace: str, *, dry_run: bool
) -> Answer:
    from ambient.rpc import configuration  # noqa: PLC0415  # `ambient --help` must not load it.

    wanted = _in_files(files) if files else [await _named(channel, kind, name, namespace) for name in names]
    return await configuration.delete(channel, tuple(map(configuration.Deletion, wanted)), dry_run=dry_run)


async def _named(channel: Channel, kind: str, name: str, namespace: str) -> ObjectName:
    namespace, name = objects.split(name, namespace)
    return (await objects.find(channel, kinds.named(kind), namespace, name)).name


def _in_files(files: list[str]) -> list[ObjectName]:
    from ambient.rpc.configuration import ObjectName  # noqa: PLC0415

    names: list[ObjectName] = []
    for document in manifests.documents(manifests.read(files)).values():
        metadata = document.content.get("metadata") or {}
        names.append(
            ObjectName(
                str(document.content.get("kind", "")),
                str(metadata.get("namespace", "")),
                str(metadata.get("name", "")),
            )
        )
    return names
