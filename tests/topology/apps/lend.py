"""Connects where it is asked to, and hands the connection over: who has it then is of this pod, for the kernel and the mesh.

Asked on a socket of the file system, ``HOST PORT`` in a line for each connection.
"""

from __future__ import annotations

import argparse
import socket

from common import connect, read_line, say, serve_on


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    listener = socket.socket(socket.AF_UNIX)
    path = parser.parse_args().path
    listener.bind(path)
    listener.listen(64)
    say(event="listening", path=path)
    serve_on(listener, lend)


def lend(asker: socket.socket, _: tuple[object, ...]) -> None:
    host, port = read_line(asker).decode().split()
    try:
        connection = connect(host, int(port))
    except OSError as error:
        asker.sendall(str(error).encode())
        raise
    with connection:
        socket.send_fds(asker, [b"+"], [connection.fileno()])


main()
