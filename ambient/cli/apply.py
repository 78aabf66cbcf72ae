"""``ambient apply``: objects become configuration, all of them or none."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ambient.cli import api, exits, manifests, output, yaml_text
from ambient.cli.output import Output, OutputOption
from ambient.cli.tables import printable

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.configuration import Answer, Manifest, StoredObject

app = typer.Typer(add_completion=False)


@app.command()
def apply(
    file: manifests.Files,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    diff: Annotated[
        bool,
        typer.Option(
            "--diff", help="Show what would change, line by line, and do nothing; exit code 1 if anything."
        ),
    ] = False,
    state_dir: api.StateDir = api.STATE_DIR,
    form: OutputOption = Output.TABLE,
) -> None:
    """Create and change objects: all of them, or none if one is refused."""
    with exits.on_errors():
        given = manifests.read(file)
        if diff:
            _show_differences(state_dir, given)
            return
        answer = api.call(state_dir, lambda channel: _apply(channel, given, dry_run=dry_run), "applying")
        refused = manifests.complain(answer, given)
        _show(answer, form, dry_run=dry_run)
        if refused:
            raise typer.Exit(exits.FINDING)


async def _apply(channel: Channel, given: tuple[Manifest, ...], *, dry_run: bool) -> Answer:
    from ambient.rpc import configuration  # noqa: PLC0415  # `ambient --help` must not load it.

    return await configuration.apply(channel, given, dry_run=dry_run)


def _show(answer: Answer, form: Output, *, dry_run: bool) -> None:
    if form is not Output.TABLE:
        output.data(form, results(answer))
        return
    for result in answer.results:
        if result.object is not None and (answer.applied or dry_run or result.violations):
            typer.echo(printable(f"{result.object} {result.outcome.value}{' (dry run)' if dry_run else ''}"))
    if not answer.applied and not dry_run:
        typer.echo("nothing was changed")


def results(answer: Answer) -> list[dict[str, Any]]:
    """For programs."""
    return [
        {
            "kind": None if result.object is None else result.object.kind,
            "namespace": None if result.object is None else result.object.namespace,
            "name": None if result.object is None else result.object.name,
            "outcome": result.outcome.value,
            "file": result.origin,
            "line": result.line,
            "violations": [violation(one) for one in result.violations],
            "warnings": [violation(one) for one in result.warnings],
        }
        for result in answer.results
    ]


def violation(one: Any) -> dict[str, str]:  # noqa: ANN401  # A Violation, whose module is not loaded here.
    """For programs."""
    return {"field": one.field, "reason": one.reason.value, "message": one.message, "remedy": one.remedy}


def _show_differences(state_dir: api.StateDir, given: tuple[Manifest, ...]) -> None:
    async def ask(channel: Channel) -> tuple[Answer, list[StoredObject | None]]:
        from ambient.rpc import configuration  # noqa: PLC0415
        from ambient.rpc.errors import NotFound  # noqa: PLC0415

        answer = await configuration.validate(channel, given)
        present: list[StoredObject | None] = []
        for result in answer.results:
            try:
                present.append(
                    None if result.object is None else await configuration.get(channel, result.object)
                )
            except NotFound:
                present.append(None)
        return answer, present

    answer, present = api.call(state_dir, ask, "comparing")
    refused = manifests.complain(answer, given)
    where = manifests.documents(given)
    lines: list[str] = []
    for result, before in zip(answer.results, present, strict=True):
        document = where.get((result.origin, result.line))
        if document is not None and result.object is not None and result.outcome.value != "ignored":
            lines += differences(
                str(result.object), None if before is None else json.loads(before.content), document.content
            )
    for line in lines:
        typer.echo(printable(line))
    if refused or lines:
        raise typer.Exit(exits.FINDING)


def differences(name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Sequence[str]:
    """What changes of an object, as a unified diff."""
    return list(
        difflib.unified_diff(
            [] if before is None else list(_text(before)),
            list(_text(after)),
            "nothing" if before is None else f"{name} as it is",
            f"{name} as it would be",
            lineterm="",
        )
    )


def _text(content: Mapping[str, Any]) -> Iterator[str]:
    metadata = {name: value for name, value in content["metadata"].items() if name != "resourceVersion"}
    yield from yaml_text.of(_sorted({**content, "metadata": metadata})).splitlines()


def _sorted(content: Any) -> Any:  # noqa: ANN401  # JSON.
    if isinstance(content, Mapping):
        return {name: _sorted(content[name]) for name in sorted(content)}
    return [_sorted(one) for one in content] if isinstance(content, list | tuple) else content
