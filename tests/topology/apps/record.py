"""A server of HTTP/1.1 that writes down every byte it is sent, and answers with whatever bytes the request asks for.

``x-answer`` has them in hexadecimal, or says ``body`` if they are the request's body; without it the answer is a plain 200,
of ``x-size`` bytes if that says so. ``x-then: close`` hangs up behind it, ``x-then:
reset`` resets, ``x-then: early`` does not read the body before that. What it hears is one line for each
read, with the number of its connection; a request is one when its body is whole. ``x-hold`` is how many seconds to wait before
it is answered.
"""

from __future__ import annotations

import argparse
import itertools
import re
import socket
import struct
import time

from common import listen, say, serve

numbers = itertools.count(1)
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    serve(listen(parser.parse_args().port), answer)


def answer(connection: socket.socket, peer: tuple[object, ...]) -> None:
    number = next(numbers)
    unread = b""

    def more() -> None:
        nonlocal unread
        data = connection.recv(65536)
        say(event="heard", connection=number, text=data.decode("latin-1"))
        if not data:
            raise ConnectionAbortedError
        unread += data

    while True:
        while b"\r\n\r\n" not in unread:
            more()
        head, _, unread = unread.partition(b"\r\n\r\n")
        then, body = value(head, "x-then"), b""
        if then != b"early":
            length = int(value(head, "content-length") or 0)
            if value(head, "transfer-encoding"):
                while (end := re.search(rb"(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n", unread)) is None:
                    more()
                length = end.end()
            while len(unread) < length:
                more()
            body, unread = unread[:length], unread[length:]
        say(
            event="request",
            connection=number,
            line=head.partition(b"\r\n")[0].decode("latin-1"),
            head=f"{head.decode('latin-1')}\r\n\r\n",
            body=body.decode("latin-1"),
        )
        time.sleep(float(value(head, "x-hold") or 0))
        asked = value(head, "x-answer")
        match asked:
            case b"" if size := int(value(head, "x-size") or 0):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + bytes(size))
                say(event="sent", connection=number)
            case b"":
                connection.sendall(PLAIN)
            case b"body":
                connection.sendall(body)
            case _:
                connection.sendall(bytes.fromhex(asked.decode()))
        if then == b"reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if then:
            say(event="left", connection=number)
            return


def value(head: bytes, name: str) -> bytes:
    """Of a header; empty where there is none."""
    found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r\n]*)", head, re.IGNORECASE)
    return found[1] if found else b""


main()
