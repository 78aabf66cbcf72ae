"""Moves many bytes one way and compares checksums: ``serve PORT``, ``push HOST PORT BYTES``, ``pull HOST PORT BYTES``, and
``fetch HOST PORT BYTES``, which is a pull that the client is the first to close.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import time

from common import connect, listen, read_line, say, serve

BLOCK = 1 << 18


def main() -> None:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    serving = verbs.add_parser("serve")
    serving.add_argument("port", type=int)
    serving.add_argument("--family", choices=["4", "6", "dual"], default="dual")
    for verb in ("push", "pull", "fetch"):
        moving = verbs.add_parser(verb)
        moving.add_argument("host")
        moving.add_argument("port", type=int)
        moving.add_argument("bytes", type=int)
        moving.add_argument("--timeout", type=float, default=60)
    arguments = parser.parse_args()
    if arguments.verb == "serve":
        serve(listen(arguments.port, arguments.family), answer)
        return
    started = time.monotonic()
    with connect(arguments.host, arguments.port, arguments.timeout) as connection:
        if arguments.verb == "push":
            connection.sendall(b"push\n")
            sent = pour(connection, arguments.bytes)
            connection.shutdown(socket.SHUT_WR)
            received = json.loads(read_line(connection))
        else:
            connection.sendall(f"{arguments.verb} {arguments.bytes}\n".encode())
            received = swallow(connection, arguments.bytes if arguments.verb == "fetch" else None)
            connection.shutdown(socket.SHUT_WR)
            sent = arguments.bytes, received[1]
    seconds = time.monotonic() - started
    say(event="moved", sent=sent, received=received, same=list(sent) == list(received), seconds=seconds)


def answer(connection: socket.socket, peer: tuple[object, ...]) -> None:
    verb, *amount = read_line(connection).split()
    if verb == b"push":
        received = swallow(connection)
        connection.sendall(json.dumps(received).encode() + b"\n")
    else:
        pour(connection, int(amount[0]))
        if verb == b"pull":
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(BLOCK):
            pass
    say(event="served", verb=verb.decode(), peer=peer[:2])


def pour(connection: socket.socket, amount: int) -> tuple[int, str]:
    block, digest, left = os.urandom(BLOCK), hashlib.blake2b(), amount
    while left:
        piece = block[: min(left, BLOCK)]
        connection.sendall(piece)
        digest.update(piece)
        left -= len(piece)
    return amount, digest.hexdigest()


def swallow(connection: socket.socket, amount: int | None = None) -> tuple[int, str]:
    """All that comes, or so many bytes."""
    digest, count = hashlib.blake2b(), 0
    while count != amount and (block := connection.recv(BLOCK)):
        digest.update(block)
        count += len(block)
    return count, digest.hexdigest()


main()
