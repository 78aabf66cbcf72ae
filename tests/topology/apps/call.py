"""Makes one connection to an echo server and says what the client saw, also when it was refused or cut."""

from __future__ import annotations

import argparse
import errno
import json
import os
import socket
import time

from common import connect, read_line, say


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--send", default="hello")
    parser.add_argument(
        "--timeout", type=float, default=10 * float(os.environ.get("AMBIENT_TEST_PATIENCE", "1"))
    )
    arguments = parser.parse_args()
    started = time.monotonic()
    seen: dict[str, object] = {"event": "called", "error": None, "server": None}
    try:
        with connect(arguments.host, arguments.port, arguments.timeout) as connection:
            seen["connect_ms"] = round((time.monotonic() - started) * 1000, 2)
            seen["peername"] = connection.getpeername()[:2]
            seen["sockname"] = connection.getsockname()[:2]
            greeting = read_line(connection)
            seen["server"] = json.loads(greeting) if greeting else None
            connection.sendall(arguments.send.encode())
            connection.shutdown(socket.SHUT_WR)
            echoed = bytearray()
            while block := connection.recv(65536):
                echoed += block
            seen["echoed"] = echoed.decode()
    except OSError as error:
        # A connection that was reset before it was looked at has no peer any more.
        is_reset = error.errno == errno.ENOTCONN
        seen["error"] = ConnectionResetError.__name__ if is_reset else type(error).__name__
    seen["ms"] = round((time.monotonic() - started) * 1000, 2)
    say(**seen)


main()
