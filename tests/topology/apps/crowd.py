"""Many connections of one client: ``abort HOST PORT COUNT`` resets each after a byte of its own or of the server, ``stall HOST PORT COUNT``
writes on each until nothing more is taken and holds them all, ``many HOST PORT COUNT`` has them all open at once and exchanges a line on each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator

from common import connect, read_line, say


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manner", choices=["abort", "stall", "many"])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    {"abort": abort, "stall": stall, "many": many}[arguments.manner](
        arguments.host, arguments.port, arguments.count
    )


def abort(host: str, port: int, count: int) -> None:
    numbers = iter(range(count))
    refused: list[OSError] = []
    threads = [threading.Thread(target=abort_some, args=(host, port, numbers, refused)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(event="aborted", count=count, refused=len(refused))


def abort_some(host: str, port: int, numbers: Iterator[int], refused: list[OSError]) -> None:
    for number in numbers:
        try:
            connection = connect(host, port, 10)
            with connection:
                if number % 2:
                    connection.recv(1)
                else:
                    connection.sendall(b"x")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError as error:
            refused.append(error)


def stall(host: str, port: int, count: int) -> None:
    block = b"x" * 65536
    held: list[socket.socket] = []
    taken = 0
    for _ in range(count):
        connection = connect(host, port, 10)
        connection.setblocking(False)
        held.append(connection)
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 1:
        for connection in held:
            with contextlib.suppress(BlockingIOError):
                taken += connection.send(block)
                quiet_since = time.monotonic()
        time.sleep(0.01)
    say(event="stalled", count=len(held), taken=taken)
    signal.pause()


def many(host: str, port: int, count: int) -> None:
    held = [connect(host, port, 30) for _ in range(count)]
    wrong = 0
    for number, connection in enumerate(held):
        json.loads(read_line(connection))
        connection.sendall(f"line {number}\n".encode())
    for number, connection in enumerate(held):
        wrong += read_line(connection) != f"line {number}".encode()
        connection.close()
    say(event="exchanged", count=len(held), wrong=wrong)


main()
