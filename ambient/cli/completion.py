"""``ambient completion``: the verbs and options on the tab key."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from ambient.cli.main import COMPLETION

app = typer.Typer(add_completion=False)


class Shell(Enum):
    """Those that there are scripts for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(help="The shell that is to read it.")]) -> None:
    """Print a script that completes verbs and options: source <(ambient completion bash)."""
    typer.echo(get_completion_script(prog_name="ambient", complete_var=COMPLETION, shell=shell.value))
