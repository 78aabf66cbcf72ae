"""``ambient token``: what a new node or operator shows to get its first certificate, and who has one."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ambient.cli import api, output
from ambient.cli.api import STATE_DIR, StateDir
from ambient.cli.exits import on_errors
from ambient.cli.output import Output, OutputOption

if TYPE_CHECKING:
    from ambient.rpc.access import Issued
    from ambient.rpc.channel import Channel

app = typer.Typer(
    help="Who may come in: tokens for nodes and operators, and operators.",
    no_args_is_help=True,
    add_completion=False,
)


class OperatorRole(Enum):
    """What an operator may do."""

    ADMIN = "admin"
    READER = "reader"


@app.callback()
def token() -> None:
    """Who may come in: tokens for nodes and operators, and operators."""


@app.command()
def create(
    node: Annotated[str | None, typer.Option(help="The node that it is for.")] = None,
    name: Annotated[str | None, typer.Option(help="The operator that it is for, with --role.")] = None,
    role: Annotated[OperatorRole | None, typer.Option(help="What the operator may do.")] = None,
    ttl: Annotated[int, typer.Option(metavar="SECONDS", min=1, max=86400, help="Until it expires.")] = 3600,
    address: Annotated[
        str,
        typer.Option(
            help="How its user reaches the control plane. Default: what that advertises, or its own."
        ),
    ] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="Print the secret alone, for clients of others' making.")
    ] = False,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Print a token that can be used once: by `ambient node join`, `ambient proxy` or `ambient waypoint run`, or by `ambient login`."""
    if node is not None and name is None and role is None:
        whom, what = node, "node"
    elif node is None and name is not None and role is not None:
        whom, what = name, role.value
    else:
        raise typer.BadParameter("give --node, or --name and --role", param_hint="--node")

    async def call(channel: Channel) -> Issued:
        from ambient.rpc import access  # noqa: PLC0415  # `ambient --help` must not load it.

        return await access.create_token(channel, whom, access.Role(what), ttl_seconds=ttl, address=address)

    with on_errors():
        made = api.call(state_dir, call)
        typer.echo(made.token if plain else made.join_token)


@app.command("list")
def list_(output_: OutputOption = Output.TABLE, state_dir: StateDir = STATE_DIR) -> None:
    """Show the tokens that have not expired, without their secrets."""

    async def call(channel: Channel) -> list[dict[str, Any]]:
        from ambient.rpc import access  # noqa: PLC0415

        return [
            {
                "id": one.id,
                "name": one.name,
                "role": one.role.value,
                "expires": output.moment(one.expires),
                "used": one.is_used,
            }
            for one in await access.tokens(channel)
        ]

    with on_errors():
        found = api.call(state_dir, call)
        output.show(
            output_,
            found,
            ("ID", "NAME", "ROLE", "EXPIRES", "USED"),
            lambda: (
                (one["id"], one["name"], one["role"], one["expires"], "yes" if one["used"] else "no")
                for one in found
            ),
            "no token is out",
        )


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `ambient token list` has it.")],
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Let nobody use a token any more. A certificate that was got with it is not touched: see `ambient certs revoke`."""

    async def call(channel: Channel) -> None:
        from ambient.rpc import access  # noqa: PLC0415

        await access.revoke_token(channel, token_id)

    with on_errors():
        api.call(state_dir, call)
        typer.echo(f"token {token_id} revoked")


@app.command()
def operators(output_: OutputOption = Output.TABLE, state_dir: StateDir = STATE_DIR) -> None:
    """Show who may call the control plane from other machines."""

    async def call(channel: Channel) -> list[dict[str, Any]]:
        from ambient.rpc import access  # noqa: PLC0415

        return [
            {"name": one.name, "role": one.role.value, "since": output.moment(one.since)}
            for one in await access.operators(channel)
        ]

    with on_errors():
        found = api.call(state_dir, call)
        output.show(
            output_,
            found,
            ("NAME", "ROLE", "SINCE"),
            lambda: ((one["name"], one["role"], one["since"]) for one in found),
            "there is no operator besides root on the control plane's machine",
        )


@app.command("remove-operator")
def remove_operator(
    name: Annotated[str, typer.Argument(help="As `ambient token operators` has it.")],
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Let an operator call no more, from now on."""

    async def call(channel: Channel) -> None:
        from ambient.rpc import access  # noqa: PLC0415

        await access.remove_operator(channel, name)

    with on_errors():
        api.call(state_dir, call)
        typer.echo(f"operator {name} removed")
