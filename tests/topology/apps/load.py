"""A steady load whose every gap is measured: lanes that open a connection for each request, and connections that are held.

Says ``progress`` each second, ``failed`` and ``lost`` when it happens, and on SIGTERM a ``summary``: how many requests of
either kind went well, the slowest of them, and the longest time in which none did. Each request carries ``--marker``.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import threading
import time

from common import connect, read_line, say


class Kind:
    """What was seen of one kind of request. Used under ``lock``."""

    def __init__(self) -> None:
        self.ok = 0
        self.failed = 0
        self.slowest_ms = 0.0
        self.gap_ms = 0.0
        self.last_ok: float | None = None

    def went_well(self, started: float) -> None:
        now = time.monotonic()
        self.ok += 1
        self.slowest_ms = max(self.slowest_ms, (now - started) * 1000)
        if self.last_ok is not None:
            self.gap_ms = max(self.gap_ms, (now - self.last_ok) * 1000)
        self.last_ok = now

    def figures(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "failed": self.failed,
            "slowest_ms": round(self.slowest_ms),
            "gap_ms": round(self.gap_ms),
        }


lock = threading.Lock()
new, held = Kind(), Kind()
over = threading.Event()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--lanes", type=int, default=6)
    parser.add_argument("--held", type=int, default=8)
    parser.add_argument("--every", type=float, default=0.15, help="seconds between the requests of a lane")
    parser.add_argument("--marker", default="marker")
    parser.add_argument("--timeout", type=float, default=60)
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threads = [threading.Thread(target=lane, args=(arguments,), daemon=True) for _ in range(arguments.lanes)]
    threads += [
        threading.Thread(target=hold, args=(arguments, number), daemon=True)
        for number in range(arguments.held)
    ]
    for thread in threads:
        thread.start()
    while signal.sigtimedwait({signal.SIGTERM}, 0.5) is None:
        tell("progress", new_ok=new.ok, held_ok=held.ok, new_failed=new.failed, held_lost=held.failed)
    over.set()
    with lock:
        figures = {"new": new.figures(), "held": held.figures()}
    tell("summary", **figures)


def lane(arguments: argparse.Namespace) -> None:
    number = 0
    over.wait(random.random() * arguments.every)
    while not over.is_set():
        number += 1
        started = time.monotonic()
        try:
            with connect(arguments.host, arguments.port, arguments.timeout) as connection:
                greeted(connection)
                exchange(connection, f"{arguments.marker} {number}")
        except OSError as error:
            went_wrong(new, "failed", started, error)
        else:
            with lock:
                new.went_well(started)
        over.wait(max(0.0, arguments.every - (time.monotonic() - started)))


def hold(arguments: argparse.Namespace, number: int) -> None:
    """One connection, used until it breaks; it is not opened again."""
    started = time.monotonic()
    try:
        with connect(arguments.host, arguments.port, arguments.timeout) as connection:
            greeted(connection)
            while not over.is_set():
                started = time.monotonic()
                exchange(connection, f"{arguments.marker} held {number}")
                with lock:
                    held.went_well(started)
                over.wait(arguments.every)
    except OSError as error:
        went_wrong(held, "lost", started, error)


def went_wrong(kind: Kind, event: str, started: float, error: OSError) -> None:
    if over.is_set():
        return
    with lock:
        kind.failed += 1
    tell(event, error=type(error).__name__, ms=round((time.monotonic() - started) * 1000))


def greeted(connection: socket.socket) -> None:
    greeting = read_line(connection)
    if not greeting:
        raise ConnectionAbortedError("closed before any byte")
    json.loads(greeting)


def exchange(connection: socket.socket, text: str) -> None:
    connection.sendall(text.encode() + b"\n")
    answer = read_line(connection)
    if answer != text.encode():
        raise ConnectionAbortedError(f"{text!r} was answered {answer!r}")


def tell(event: str, **fields: object) -> None:
    with lock:
        say(event=event, **fields)


main()
