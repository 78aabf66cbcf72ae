"""``ambient certificate``: the certificates that a node's proxy holds."""

from __future__ import annotations

import json
from http import client
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ambient.cli import exits, tables
from ambient.core.errors import ConfigError, Unavailable

app = typer.Typer(help="See and renew the certificates that this node's proxy holds.", no_args_is_help=True)

_Admin = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where the proxy's admin endpoint listens (its --admin).")
]


@app.command("list")
def list_certificates(
    admin: _Admin = "127.0.0.1:15000",
    output: Annotated[str, typer.Option("--output", "-o", help="table or json.")] = "table",
) -> None:
    """Show each identity, the state of its certificate, its serial number and its end."""
    with exits.on_errors():
        held: list[dict[str, Any]] = _ask("GET", admin, "/config_dump")["certificates"]
        if output == "json":
            typer.echo(json.dumps(held, indent=2))
            return
        tables.show(
            ("IDENTITY", "STATE", "SERIAL NUMBER", "NOT AFTER"),
            (
                (one["identity"], one["state"], one.get("serialNumber", ""), one.get("expirationTime", ""))
                for one in held
            ),
        )


@app.command()
def renew(
    identity: Annotated[
        str | None, typer.Argument(help="spiffe://… to renew. Default: all that the proxy holds.")
    ] = None,
    admin: _Admin = "127.0.0.1:15000",
) -> None:
    """Ask for a new certificate now. Live connections go on with the one that they began with."""
    with exits.on_errors():
        query = "" if identity is None else f"?identity={quote(identity, safe='')}"
        for renewing in _ask("POST", admin, f"/certificates/renew{query}")["renewing"]:
            typer.echo(f"renewing {renewing}")


def _ask(method: str, admin: str, path: str) -> dict[str, Any]:
    host, port = exits.host_and_port("--admin", admin)
    connection = client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise Unavailable(f"no proxy answers at --admin {admin}: {error.strerror or error}") from error
    finally:
        connection.close()
    if response.status != client.OK:
        raise ConfigError(body.decode(errors="replace").strip())
    answer: dict[str, Any] = json.loads(body)
    return answer
