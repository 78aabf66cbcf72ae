"""Greets each connection with a JSON line of what the server sees of it, then echoes; half-close is answered."""

from __future__ import annotations

import argparse
import json
import socket

from common import MPTCP, listen, say, serve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--family", choices=["4", "6", "dual"], default="dual")
    parser.add_argument("--address")
    parser.add_argument("--name", default="echo")
    parser.add_argument("--mptcp", action="store_true")
    arguments = parser.parse_args()

    def answer(connection: socket.socket, accepted: tuple[object, ...]) -> None:
        seen = {
            "server": arguments.name,
            "accepted_from": accepted[:2],
            "peername": connection.getpeername()[:2],
            "sockname": connection.getsockname()[:2],
        }
        say(event="accepted", **seen)
        connection.sendall(json.dumps(seen).encode() + b"\n")
        count = 0
        while block := connection.recv(65536):
            count += len(block)
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        say(event="closed", peername=seen["peername"], bytes=count)

    serve(
        listen(arguments.port, arguments.family, arguments.address, MPTCP if arguments.mptcp else 0), answer
    )


main()
