"""A socket as an end: pieces leave together and in order, and what does not leave is counted."""

from __future__ import annotations

import asyncio
import os
import socket

import uvloop

from ambient.core.frames import Buffer
from ambient.net.relay import End
from ambient.net.tcp import SocketEnd


class Told:
    """An owner that writes down what it hears."""

    def __init__(self, end: End) -> None:
        self.told: list[str] = []
        self.sizes: list[int] = []
        end.relay = self

    def arrived(self, _end: End, data: Buffer) -> None:
        self.sizes.append(len(data))

    def finished(self, end: End) -> None:
        end.finished_reading = True

    def full(self, _end: End) -> None:
        self.told.append("full")

    def drained(self, _end: End) -> None:
        self.told.append("drained")

    def gone(self, _end: End, _why: str | None) -> None:
        self.told.append("gone")

    def broken(self, _end: End, _why: str) -> None:
        pass

    closed = finished


def run(scenario) -> None:
    async def main() -> None:
        ours, theirs = _pair()
        async with asyncio.timeout(60):
            await scenario(ours, theirs)
        theirs.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    theirs.setblocking(False)
    return ours, theirs


async def read_all(sock: socket.socket, size: int) -> bytes:
    loop, heard = asyncio.get_running_loop(), bytearray()
    while len(heard) < size:
        heard += await loop.sock_recv(sock, 65536)
    return bytes(heard)


def test_pieces_arrive_in_order_though_only_some_of_them_leave_at_once() -> None:
    async def scenario(ours: socket.socket, theirs: socket.socket) -> None:
        end = SocketEnd(ours)
        told = Told(end)
        pieces = [os.urandom(size) for size in (1, 0, 5000, 200_000, 3, 300_000, 7)]
        end.write_all([memoryview(piece) for piece in pieces])
        end.write_all([b"and", b"more"])
        assert end.unsent > 64 * 1024
        assert told.told == ["full"]
        whole = b"".join(pieces) + b"andmore"
        assert await read_all(theirs, len(whole)) == whole
        assert end.unsent == 0
        assert told.told == ["full", "drained"]
        end.reset()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told.told[-1] == "gone"

    run(scenario)


def test_pieces_that_leave_at_once_leave_nothing() -> None:
    async def scenario(ours: socket.socket, theirs: socket.socket) -> None:
        end = SocketEnd(ours)
        told = Told(end)
        end.write_all([b"one", b"", memoryview(b"two")])
        assert (end.unsent, told.told) == (0, [])
        assert await read_all(theirs, 6) == b"onetwo"
        end.reset()
        end.write_all([b"never"])
        assert end.unsent == 0
        await asyncio.sleep(0)

    run(scenario)


def test_no_more_is_read_at_once_than_was_asked_for() -> None:
    async def scenario(ours: socket.socket, theirs: socket.socket) -> None:
        end = SocketEnd(ours, 1000)
        told = Told(end)
        await asyncio.get_running_loop().sock_sendall(theirs, b"x" * 10_500)
        end.start()
        while sum(told.sizes) < 10_500:
            await asyncio.sleep(0)
        assert max(told.sizes) == 1000
        end.reset()
        await asyncio.sleep(0)

    run(scenario)
