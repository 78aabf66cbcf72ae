"""``ambient certs``: what the authority has signed, how it stands, and the certificates that a node's proxy holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import typer

from ambient.cli import admin, api, exits
from ambient.cli.api import STATE_DIR, StateDir
from ambient.cli.output import Output, OutputOption, data, distance, moment, show
from ambient.core.errors import ConfigError

if TYPE_CHECKING:
    from ambient.rpc.authority import Member, Standing

app = typer.Typer(
    help="See, renew, revoke and replace certificates, up to the root.",
    no_args_is_help=True,
    add_completion=False,
)
SOON_DAYS: Final = 30
"""An authority with fewer days left is a finding."""


@app.command("list")
def list_certificates(
    proxy: Annotated[
        bool, typer.Option("--proxy", help="Those that this node's proxy holds, not those that were signed.")
    ] = False,
    at: Annotated[
        str,
        typer.Option("--admin", metavar="HOST:PORT", help=admin.HELP),
    ] = admin.ADMIN,
    state_dir: StateDir = STATE_DIR,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show each certificate with its identity, serial number and end: all that were signed, or those of a proxy."""
    with exits.on_errors():
        if proxy:
            _show_held(_ask("GET", at, "/config_dump")["certificates"], output)
            return
        from ambient.rpc import authority  # noqa: PLC0415  # `ambient --help` must not load it.

        signed = api.call(state_dir, authority.certificates)
        show(
            output,
            [
                {**asdict(one), "not_after": moment(one.not_after), "revoked": moment(one.revoked)}
                for one in signed
            ],
            ("IDENTITY", "NODE", "SERIAL NUMBER", "ENDS IN", "REVOKED"),
            lambda: (
                (
                    one.identity,
                    one.node,
                    one.serial,
                    _left(one.not_after),
                    "" if one.revoked is None else moment(one.revoked) or "",
                )
                for one in signed
            ),
            "no certificate lives",
        )


@app.command()
def renew(
    identity: Annotated[
        str | None, typer.Argument(help="spiffe://… to renew. Default: all that the proxy holds.")
    ] = None,
    at: Annotated[
        str,
        typer.Option("--admin", metavar="HOST:PORT", help=admin.HELP),
    ] = admin.ADMIN,
) -> None:
    """Ask for a new certificate now. Live connections go on with the one that they began with."""
    with exits.on_errors():
        query = "" if identity is None else f"?identity={quote(identity, safe='')}"
        for renewing in _ask("POST", at, f"/certificates/renew{query}")["renewing"]:
            typer.echo(f"renewing {renewing}")


@app.command()
def rotate(state_dir: StateDir = STATE_DIR, output: OutputOption = Output.TABLE) -> None:
    """Have another root. Nodes hear of it, then it signs, then the old one goes: no connection fails."""
    with exits.on_errors():
        from ambient.rpc import authority  # noqa: PLC0415

        _show_standing(api.call(state_dir, authority.rotate), output)


@app.command()
def verify(state_dir: StateDir = STATE_DIR, output: OutputOption = Output.TABLE) -> None:
    """Say who signs, until when, and what is waited for; exit code 1 if something needs a hand."""
    with exits.on_errors():
        from ambient.control import recovery  # noqa: PLC0415
        from ambient.rpc import authority, operator  # noqa: PLC0415

        try:
            standing = api.call(state_dir, authority.standing)
        except operator.Unreachable:
            standing = recovery.standing(state_dir, datetime.now(UTC))
        found = _findings(standing)
        _show_standing(standing, output, found)
        if found:
            raise typer.Exit(exits.FINDING)


@app.command()
def recover(
    force: Annotated[bool, typer.Option("--force", help="Although the root that signs is good.")] = False,
    ca_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Of `ambient control`, if its authority is given.")
    ] = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Have another root when the old one has ended; works while the control plane runs, and while it does not."""
    with exits.on_errors():
        from ambient.control import recovery  # noqa: PLC0415
        from ambient.rpc import authority, operator  # noqa: PLC0415

        try:
            api.call(state_dir, lambda channel: authority.recover(channel, force=force))
            running = True
        except operator.Unreachable:
            recovery.recover(state_dir, datetime.now(UTC), ca_dir, force=force)
            running = False
        typer.echo(f"there is a new root: {state_dir / 'root-cert.pem'}")
        steps = [] if running else ["start the control plane: ambient control …"]
        steps += [
            "on each node, put that file where its proxy has its --root-cert",
            "for each node, `ambient token create --node NODE` here, and put it where its proxy has its --token-file",
        ]
        for number, step in enumerate(steps, 1):
            typer.echo(f"{number}. {step}")
        typer.echo("Proxies read both files again by themselves; nothing needs to be restarted on a node.")


@app.command()
def revoke(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SERIAL|IDENTITY", help="A serial number, or spiffe://… for all of its certificates."
        ),
    ],
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Have no node believe a certificate any more; what lives with it is cut."""
    with exits.on_errors():
        from ambient.rpc import authority  # noqa: PLC0415

        for one in api.call(state_dir, lambda channel: authority.revoke(channel, name)):
            typer.echo(f"revoked {one.serial} of {one.identity} on node {one.node}")


def _show_held(held: list[dict[str, Any]], output: Output) -> None:
    show(
        output,
        held,
        ("IDENTITY", "STATE", "SERIAL NUMBER", "NOT AFTER"),
        lambda: (
            (one["identity"], one["state"], one.get("serialNumber", ""), one.get("expirationTime", ""))
            for one in held
        ),
    )


def _show_standing(standing: Standing, output: Output, findings: tuple[str, ...] = ()) -> None:
    if output is not Output.TABLE:
        members = [{**asdict(one), "not_after": moment(one.not_after)} for one in standing.authorities]
        data(output, {**asdict(standing), "authorities": members, "findings": findings})
        return
    show(
        output,
        None,
        ("AUTHORITY", "ROOT", "ENDS IN", "SIGNS", "KEY"),
        lambda: (
            (
                one.role,
                one.root,
                _left(one.not_after),
                "yes" if one.signs else "",
                "here" if one.has_key else "away",
            )
            for one in standing.authorities
        ),
    )
    typer.echo(f"phase      {standing.phase}")
    if standing.waits_for:
        typer.echo(f"waits for  {standing.waits_for}")
    for finding in findings:
        typer.echo(f"finding    {finding}")


def _findings(standing: Standing) -> tuple[str, ...]:
    found = [
        f"the {one.role} of {one.root} {_end(one)}; {_remedy(one)}"
        for one in standing.authorities
        if one.signs and one.not_after - datetime.now(UTC) < timedelta(days=SOON_DAYS)
    ]
    return (*found, standing.trouble) if standing.trouble else tuple(found)


def _end(one: Member) -> str:
    left = _left(one.not_after)
    return "has ended" if left == "ended" else f"ends in {left}"


def _remedy(one: Member) -> str:
    if one.not_after <= datetime.now(UTC):
        return "`ambient certs recover` makes another"
    if one.role == "issuer":
        return "bring root-key.pem back, or put another authority into --ca-dir, or `ambient certs rotate`"
    return "`ambient certs rotate` replaces it, or another authority in --ca-dir does"


def _left(at: datetime) -> str:
    seconds = (at - datetime.now(UTC)).total_seconds()
    return distance(seconds) if seconds > 0 else "ended"


def _ask(method: str, at: str, path: str) -> dict[str, Any]:
    status, body = admin.ask(method, at, path)
    if status != HTTPStatus.OK:
        raise ConfigError(body.decode(errors="replace").strip())
    answer: dict[str, Any] = json.loads(body)
    return answer
