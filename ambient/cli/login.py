"""``ambient login``: call the control plane from this machine."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ambient.cli.exits import on_errors
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.core.join import JoinToken

app = typer.Typer(add_completion=False)

PROFILE = Path("~/.config/ambient/operator.json")

TokenText = Annotated[
    str, typer.Argument(metavar="TOKEN", help="What was printed; - reads it from standard input.")
]


@app.command()
def login(
    token: TokenText,
    profile: Annotated[Path, typer.Option(help="Where the certificate and its key are kept.")] = PROFILE,
) -> None:
    """Get an operator's certificate with a token of `ambient token create --name NAME --role ROLE`.

    It renews itself whenever it is used; unused for a day it ends, and another token is needed.
    """
    with on_errors():
        from ambient.core.join import JoinToken  # noqa: PLC0415  # `ambient --help` must not load it.

        read = JoinToken.parse(text_of(token))
        if read.role == "node":
            raise ConfigError(f"this token is of node {read.name}; use it there with `ambient node join`")
        asyncio.run(_login(read, profile.expanduser()))
        typer.echo(f"operator {read.name} may call {read.control} as {read.role}")


def text_of(token: str) -> str:
    """A token as it was typed, or from standard input, where nobody else sees it."""
    return sys.stdin.readline() if token == "-" else token  # noqa: S105


async def _login(token: JoinToken, profile: Path) -> None:
    from ambient.net.roots import fetch_root  # noqa: PLC0415
    from ambient.rpc import operator  # noqa: PLC0415

    root = await fetch_root(token.bootstrap, token.root)
    await operator.login(token, root, profile)
