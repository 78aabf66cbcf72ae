"""Many connections that stay. ``serve PORT`` sends back what comes; ``hold HOST PORT COUNT`` opens them, each proved by a byte that came back.

``hold`` then waits for signals: USR1 has a byte go and come on each connection, USR2 closes them all. One line says how each of that went.
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import selectors
import signal
import socket
import time
from collections.abc import Iterable

from common import listen, say


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("serve").add_argument("port", type=int)
    hold = verbs.add_parser("hold")
    hold.add_argument("host")
    hold.add_argument("port", type=int)
    hold.add_argument("count", type=int)
    hold.add_argument("--at-once", type=int, default=16)
    hold.add_argument("--seconds", type=float, default=300)
    arguments = parser.parse_args()
    if arguments.verb == "serve":
        serve(arguments.port)
    else:
        Holder(arguments.host, arguments.port, arguments.seconds).run(arguments.count, arguments.at_once)


def serve(port: int) -> None:
    listener = listen(port)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, listener)
    say(event="listening", port=port)
    while True:
        for key, _ in selector.select():
            sock: socket.socket = key.data
            if sock is listener:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                selector.register(accepted, selectors.EVENT_READ, accepted)
                continue
            try:
                data = sock.recv(4096)
                if data:
                    sock.send(data)
                    continue
            except ConnectionError:
                pass
            selector.unregister(sock)
            sock.close()


class Holder:
    """The connections of one client."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._to = (host, port)
        self._seconds = seconds
        """How long one round may take."""
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._selector = selectors.DefaultSelector()
        self._held: list[socket.socket] = []
        self._failed: dict[str, int] = {}

    def run(self, count: int, at_once: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGUSR2})
        began = time.monotonic()
        slowest = self._open(count, at_once)
        self._say("opened", began, slowest)
        while True:
            order = signal.sigwait({signal.SIGUSR1, signal.SIGUSR2})
            began = time.monotonic()
            if order == signal.SIGUSR2:
                for sock in self._held:
                    sock.close()
                self._say("closed", began, 0)
                return
            slowest = self._exchange(self._held)
            self._say("exchanged", began, slowest)

    def _say(self, event: str, began: float, slowest: float) -> None:
        seconds = time.monotonic() - began
        say(event=event, count=len(self._held), failed=self._failed, seconds=seconds, slowest=slowest)

    def _open(self, count: int, at_once: int) -> float:
        slowest = 0.0
        began: dict[socket.socket, float] = {}
        left = count
        deadline = time.monotonic() + self._seconds
        while left or began:
            while left and len(began) < at_once:
                left -= 1
                sock = socket.socket(self._family)
                sock.setblocking(False)
                number = sock.connect_ex(self._to)
                if number not in (0, errno.EINPROGRESS):
                    self._note(os.strerror(number), sock)
                    continue
                began[sock] = time.monotonic()
                self._selector.register(sock, selectors.EVENT_WRITE, sock)
            for key, events in self._selector.select(1):
                sock = key.data
                if events & selectors.EVENT_WRITE:
                    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if number == 0:
                        sock.send(b"a")
                        self._selector.modify(sock, selectors.EVENT_READ, sock)
                        continue
                    why = os.strerror(number)
                else:
                    why = _read(sock, b"a")
                self._selector.unregister(sock)
                slowest = max(slowest, time.monotonic() - began.pop(sock))
                if why:
                    self._note(why, sock)
                else:
                    self._held.append(sock)
            if time.monotonic() > deadline:
                self._give_up(began)
                return slowest
        return slowest

    def _exchange(self, socks: Iterable[socket.socket]) -> float:
        waiting = {}
        for sock in socks:
            sock.send(b"b")
            waiting[sock] = time.monotonic()
            self._selector.register(sock, selectors.EVENT_READ, sock)
        slowest = 0.0
        deadline = time.monotonic() + self._seconds
        while waiting and time.monotonic() < deadline:
            for key, _ in self._selector.select(1):
                sock = key.data
                self._selector.unregister(sock)
                slowest = max(slowest, time.monotonic() - waiting.pop(sock))
                why = _read(sock, b"b")
                if why:
                    self._held.remove(sock)
                    self._note(why, sock)
        for sock in waiting:
            self._held.remove(sock)
        self._give_up(waiting)
        return slowest

    def _give_up(self, socks: Iterable[socket.socket]) -> None:
        for sock in socks:
            self._selector.unregister(sock)
            self._note("no answer", sock)

    def _note(self, why: str, sock: socket.socket) -> None:
        sock.close()
        self._failed[why] = self._failed.get(why, 0) + 1


def _read(sock: socket.socket, wanted: bytes) -> str:
    try:
        data = sock.recv(16)
    except OSError as error:
        return error.strerror or repr(error)
    return "" if data == wanted else f"read {data!r}"


main()
