"""Calls of the control plane's API, as verbs make them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ambient.cli import output

if TYPE_CHECKING:
    from ambient.rpc.channel import Channel

STATE_DIR = Path("/var/lib/ambient/control")
StateDir = Annotated[Path, typer.Option(help="The control plane's state folder, where its socket is.")]
Answer = TypeVar("Answer")


def call(
    state_dir: Path, work: Callable[[Channel], Awaitable[Answer]], what: str = "asking the control plane"
) -> Answer:
    """What ``work`` makes of a channel to the control plane. Raises Unavailable if none answers."""
    with output.progress(what):
        return asyncio.run(_called(state_dir, work))


def is_known(state_dir: Path) -> bool:
    """Whether there is a control plane that could be asked."""
    from ambient.rpc import operator  # noqa: PLC0415

    return operator.find(state_dir).exists()


async def _called(state_dir: Path, work: Callable[[Channel], Awaitable[Answer]]) -> Answer:
    from ambient.rpc import operator  # noqa: PLC0415  # `ambient --help` must not load it.

    async with operator.door(operator.find(state_dir)) as channel:
        return await work(channel)
