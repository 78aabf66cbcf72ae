"""The admin endpoint of this node's proxy."""

from __future__ import annotations

from http import client
from typing import Final

from ambient.cli import exits
from ambient.core.errors import Unavailable

ADMIN: Final = "127.0.0.1:15000"
HELP: Final = "Where the proxy's admin endpoint listens (its --admin)."


def ask(method: str, admin: str, path: str) -> tuple[int, bytes]:
    """Status and body of a page. Raises Unavailable if no proxy answers."""
    host, port = exits.host_and_port("--admin", admin)
    connection = client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError as error:
        raise Unavailable(f"no proxy answers at --admin {admin}: {error.strerror or error}") from error
    finally:
        connection.close()
