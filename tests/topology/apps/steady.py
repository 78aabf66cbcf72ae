"""A client that never rests: each tick one request on a new connection and one on a connection held from the start.

Each is one JSON line: ``kind`` new or held, ``ok``, ``connect_ms``, ``ms``, ``error``. A held connection that breaks is said
once, as ``lost``, and opened again. The request carries ``--marker``, for whoever watches the wire.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import time

from common import connect, read_line, say

running = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--every", type=float, default=0.1, help="seconds between ticks")
    parser.add_argument("--marker", default="marker")
    parser.add_argument("--no-held", action="store_true")
    parser.add_argument("--no-new", action="store_true")
    parser.add_argument("--timeout", type=float, default=10)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    held: socket.socket | None = None
    number = 0
    while running:
        tick = time.monotonic()
        number += 1
        text = f"{arguments.marker} {number}"
        if not arguments.no_new:
            request(arguments, text)
        if not arguments.no_held:
            held = held_request(arguments, held, text)
        time.sleep(max(0.0, arguments.every - (time.monotonic() - tick)))
    say(event="ended", requests=number)


def stop(*_: object) -> None:
    global running  # noqa: PLW0603
    running = False


def request(arguments: argparse.Namespace, text: str) -> None:
    started = time.monotonic()
    connect_ms = None
    try:
        with connect(arguments.host, arguments.port, arguments.timeout) as connection:
            connect_ms = since(started)
            server = greeted(connection)
            exchange(connection, text)
        report("new", started, connect_ms, server=server)
    except OSError as error:
        report("new", started, connect_ms, error=error)


def held_request(
    arguments: argparse.Namespace, held: socket.socket | None, text: str
) -> socket.socket | None:
    started = time.monotonic()
    try:
        if held is None:
            held = connect(arguments.host, arguments.port, arguments.timeout)
            say(event="held", sockname=held.getsockname()[:2], server=greeted(held))
        exchange(held, text)
    except OSError as error:
        report("held", started, None, error=error, lost=held is not None)
        if held is not None:
            held.close()
        return None
    report("held", started, None)
    return held


def greeted(connection: socket.socket) -> object:
    greeting = read_line(connection)
    if not greeting:
        raise ConnectionAbortedError("closed before any byte")
    return json.loads(greeting)


def exchange(connection: socket.socket, text: str) -> None:
    connection.sendall(text.encode() + b"\n")
    answer = read_line(connection)
    if answer != text.encode():
        raise ConnectionAbortedError(f"{text!r} was answered {answer!r}")


def report(
    kind: str,
    started: float,
    connect_ms: float | None,
    *,
    error: OSError | None = None,
    lost: bool = False,
    server: object = None,
) -> None:
    say(
        event="request",
        kind=kind,
        ok=error is None,
        connect_ms=connect_ms,
        ms=since(started),
        error=type(error).__name__ if error else None,
        lost=lost,
        server=server,
    )


def since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 2)


main()
