"""Tries to be answered by many addresses, and says how far each try came.

Arguments: ``NAME HOST PORT`` in groups of three. ``stage`` is ``connection`` (nobody took it), ``request`` (it was taken, and
ended without a byte of an answer; a TLS alert is none), ``answered`` or ``hang``. A reset always comes from who took it. With ``--mark N`` the sockets
carry that mark, as a pod with CAP_NET_RAW may forge it; with ``--bind`` they are bound to that address first.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import socket
import time

from common import say

REQUEST = b"GET /healthz/ready HTTP/1.1\r\nHost: proxy\r\n\r\n"
TLS_ALERT = 0x15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--mark", type=lambda text: int(text, 0))
    parser.add_argument("--bind")
    parser.add_argument("--timeout", type=float, default=10)
    arguments = parser.parse_args()
    targets = list(zip(*[iter(arguments.targets)] * 3, strict=True))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for seen in pool.map(lambda target: attempt(arguments, *target), targets):
            say(event="tried", **seen)


def attempt(arguments: argparse.Namespace, name: str, host: str, port: str) -> dict[str, object]:
    started = time.monotonic()
    stage, error, answer = "connection", None, b""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as client:
        client.settimeout(arguments.timeout)
        try:
            if arguments.mark is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, arguments.mark)
            if arguments.bind is not None:
                client.bind((arguments.bind, 0))
            client.connect((host, int(port)))
            stage = "request"
            client.sendall(REQUEST)
            answer = client.recv(65536)
            if answer and answer[0] != TLS_ALERT:
                stage = "answered"
        except TimeoutError:
            stage = "hang"
        except ConnectionResetError as caught:
            stage, error = "request", type(caught).__name__
        except OSError as caught:
            error = type(caught).__name__
    return {
        "name": name,
        "stage": stage,
        "error": error,
        "answer": answer[:60].decode("latin-1"),
        "ms": round((time.monotonic() - started) * 1000),
    }


main()
