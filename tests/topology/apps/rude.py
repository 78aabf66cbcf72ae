"""Servers as the world has them: ``slow`` reads a little at a time, ``mute`` never reads, ``reset`` resets after a line,
``hang-up`` closes its sending side at once and goes on reading."""

from __future__ import annotations

import argparse
import socket
import struct
import threading
import time

from common import listen, read_line, say, serve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manner", choices=["slow", "mute", "reset", "hang-up"])
    parser.add_argument("port", type=int)
    parser.add_argument("--bytes-per-second", type=int, default=1000)
    arguments = parser.parse_args()

    def answer(connection: socket.socket, peer: tuple[object, ...]) -> None:
        count = 0
        match str(arguments.manner):
            case "slow":
                while block := connection.recv(max(1, arguments.bytes_per_second // 10)):
                    count += len(block)
                    time.sleep(0.1)
            case "mute":
                threading.Event().wait()
            case "reset":
                count = len(read_line(connection))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case _:
                connection.shutdown(socket.SHUT_WR)
                while block := connection.recv(65536):
                    count += len(block)
        say(event="served", manner=arguments.manner, peer=peer[:2], bytes=count)

    serve(listen(arguments.port), answer)


main()
