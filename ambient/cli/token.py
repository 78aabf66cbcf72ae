"""``ambient token``: what a new node shows to get its first certificate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from ambient.cli.api import STATE_DIR, StateDir
from ambient.cli.exits import on_errors

app = typer.Typer(help="Bootstrap tokens for nodes.", no_args_is_help=True, add_completion=False)


@app.callback()
def token() -> None:
    """Bootstrap tokens for nodes."""


@app.command()
def create(
    node: Annotated[str, typer.Option(help="The node that it is for.")],
    ttl: Annotated[int, typer.Option(metavar="SECONDS", min=1, max=86400, help="Until it expires.")] = 3600,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Print a token that one node can use once."""
    with on_errors():
        typer.echo(asyncio.run(_create(state_dir, node, ttl)))


async def _create(state_dir: Path, node: str, ttl: int) -> str:
    from ambient.rpc import access, operator  # noqa: PLC0415  # `ambient --help` must not load it.

    async with operator.door(state_dir / operator.SOCKET) as channel:
        return (await access.create_token(channel, node, ttl_seconds=ttl)).token
