"""``ambient``: the verbs, each loaded when it is named."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]
from typer.core import TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    from typer._click.core import Command, Context

COMPLETION: Final = "_AMBIENT_COMPLETE"
"""In the environment when a shell asks what could come next; the name is typer's."""
_VERBS: Final = (
    "up",
    "down",
    "control",
    "node",
    "proxy",
    "workload",
    "waypoint",
    "token",
    "login",
    "apply",
    "get",
    "delete",
    "describe",
    "check",
    "status",
    "proxy-status",
    "certs",
    "analyze",
    "why",
    "authz",
    "version",
    "completion",
)
"""Each is ``app`` in the module of its name."""


class Verbs(TyperGroup):
    """The verbs in the order in which a mesh is set up."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Their names."""
        del ctx
        return list(_VERBS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """One of them."""
        del ctx
        if cmd_name not in _VERBS:
            return None
        command = get_command(import_module(f"ambient.cli.{cmd_name.replace('-', '_')}").app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=Verbs, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def ambient() -> None:
    """A sidecarless service mesh: one proxy per node, steered by eBPF."""


if COMPLETION in os.environ:
    completion_init()

if __name__ == "__main__":
    app()
