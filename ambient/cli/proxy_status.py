"""``ambient proxy-status``: how far each node has what it should have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ambient.cli import api, exits, output
from ambient.cli.output import Output, OutputOption
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel
    from ambient.rpc.mesh import Node, TypeSync

app = typer.Typer(add_completion=False)


@app.command()
def proxy_status(
    node: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    state_dir: api.StateDir = api.STATE_DIR,
    form: OutputOption = Output.TABLE,
) -> None:
    """Show of each node and type of resource what it acknowledged, has still to be told, or refuses and why.

    Exit code 1 if a node is not connected or refuses something.
    """
    with exits.on_errors():
        nodes = api.call(state_dir, _nodes)
        if node is not None:
            nodes = tuple(one for one in nodes if one.name == node)
            if not nodes:
                raise ConfigError(f"no node {node} is known; see ambient node ls")
        output.show(
            form,
            list(map(content, nodes)),
            ("NODE", "CONNECTED", "TYPE", "STATE", "REFUSED"),
            lambda: (row for one in nodes for row in _rows(one)),
            nothing="no node is known",
        )
        if any(not one.connected or any(kind.refused for kind in one.types) for one in nodes):
            raise typer.Exit(exits.FINDING)


async def _nodes(channel: Channel) -> tuple[Node, ...]:
    from ambient.rpc import mesh  # noqa: PLC0415  # `ambient --help` must not load it.

    return await mesh.nodes(channel)


def connected(node: Node) -> str:
    """Since when it is, or is not."""
    word = "yes" if node.connected else "no"
    if node.since is None:
        return word
    return f"{word}, for {output.distance((datetime.now(UTC) - node.since).total_seconds())}"


def content(node: Node) -> dict[str, Any]:
    """For programs."""
    return {
        "name": node.name,
        "connected": node.connected,
        "since": output.moment(node.since),
        "workloads": node.workloads,
        "certificate_end": output.moment(node.certificate_end),
        "types": [
            {
                "type": one.type,
                "in_sync": one.in_sync,
                "pending": one.pending,
                "refused": [{"name": name, "why": why} for name, why in one.refused.items()],
            }
            for one in node.types
        ],
    }


def _rows(node: Node) -> Iterator[Sequence[str]]:
    if not node.types:
        yield node.name, connected(node), "", "", ""
    for kind in sorted(node.types, key=lambda one: one.type):
        refused = [f"{name}: {why}" if name else why for name, why in kind.refused.items()] or [""]
        yield node.name, connected(node), kind.type, _state(kind), refused[0]
        for more in refused[1:]:
            yield "", "", "", "", more


def _state(kind: TypeSync) -> str:
    if kind.refused:
        return "refused"
    return "acknowledged" if kind.in_sync else f"{kind.pending} to be told"
