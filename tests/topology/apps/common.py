"""What the small programs share: one JSON line per thing that happened, and dual-stack listeners."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable

MPTCP = 262


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps({"at": time.time(), **fields}) + "\n")
    sys.stdout.flush()


def listen(port: int, family: str = "dual", address: str | None = None, protocol: int = 0) -> socket.socket:
    """A listener on ``4``, ``6`` (IPv6 only) or ``dual``; ``dual`` is IPv4 where there is no IPv6."""
    if family == "dual" and not has_ipv6():
        family = "4"
    kind = socket.AF_INET if family == "4" else socket.AF_INET6
    listener = socket.socket(kind, socket.SOCK_STREAM, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, family == "6")
    listener.bind((address or ("0.0.0.0" if family == "4" else "::"), port))
    listener.listen(1024)
    return listener


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def serve(listener: socket.socket, answer: Callable[[socket.socket, tuple[object, ...]], None]) -> None:
    """Say that it listens, and answer each connection in a thread, for ever."""
    say(event="listening", port=listener.getsockname()[1])
    serve_on(listener, answer)


def serve_on(listener: socket.socket, answer: Callable[[socket.socket, tuple[object, ...]], None]) -> None:
    """The same, of a listener that has no port."""
    while True:
        connection, peer = listener.accept()
        threading.Thread(target=_guarded, args=(answer, connection, peer), daemon=True).start()


def _guarded(
    answer: Callable[[socket.socket, tuple[object, ...]], None],
    connection: socket.socket,
    peer: tuple[object, ...],
) -> None:
    with connection:
        try:
            answer(connection, peer)
        except OSError as error:
            say(event="error", peer=peer, error=type(error).__name__, text=str(error))


def connect(host: str, port: int, timeout: float = 10) -> socket.socket:
    """A connection to a literal address of either family."""
    connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    connection.settimeout(timeout)
    connection.connect((host, port))
    return connection


def read_line(connection: socket.socket, limit: int = 65536) -> bytes:
    """Bytes up to a newline, which is taken and left out; what there is at the end of the stream."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < limit:
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return bytes(line).rstrip(b"\n")
