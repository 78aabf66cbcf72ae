"""Clients that are slow, that leave in the middle, and that upgrade, until SIGTERM; then one line counts what became of them.

``wrong`` is whatever ended as if it were whole and was not what was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
from collections import Counter

from common import say

MOST = 1_000_000
BLOCK = 64 * 1024
SLOW_SECONDS = 0.1
"""Between two reads or writes, at most."""


class Unruly:
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.over = asyncio.Event()
        self.seen: Counter[str] = Counter()

    async def lane(self, kind: str) -> None:
        visits = {"reader": self.reader, "writer": self.writer, "socket": self.socket}
        while not self.over.is_set():
            try:
                became = await visits[kind]()
            except (OSError, EOFError):
                became = "cut"
                await asyncio.sleep(SLOW_SECONDS)
            self.seen[f"{kind} {became}"] += 1

    async def reader(self) -> str:
        """Reads slowly, every other time not to the end."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=BLOCK)
        size = random.randint(BLOCK, MOST)
        stays = random.random() < 0.5
        try:
            writer.write(f"GET /?size={size} HTTP/1.1\r\nhost: rough\r\n\r\n".encode())
            if b" 200 " not in await reader.readuntil(b"\r\n\r\n"):
                return "refused"
            left = size
            while left and (stays or left > size // 2):
                block = await reader.read(min(left, BLOCK))
                if not block:
                    raise EOFError("in the middle")
                left -= len(block)
                await asyncio.sleep(random.random() * SLOW_SECONDS)
            return "left" if left else "fine"
        finally:
            writer.transport.abort()

    async def writer(self) -> str:
        """Writes slowly, every other time not to the end."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        size = random.randint(BLOCK, MOST)
        stays = random.random() < 0.5
        try:
            head = f"POST /?size=1 HTTP/1.1\r\nhost: rough\r\ncontent-length: {size}\r\n\r\n"
            writer.write(head.encode())
            left = size
            while left and (stays or left > size // 2):
                part = min(left, BLOCK)
                writer.write(bytes(part))
                await writer.drain()
                left -= part
                await asyncio.sleep(random.random() * SLOW_SECONDS)
            if left:
                return "left"
            answer = await reader.readuntil(b"\r\n\r\n")
            return "fine" if b" 200 " in answer else "refused"
        finally:
            writer.transport.abort()

    async def socket(self) -> str:
        """Upgrades, hears back what it says, and ends in order."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(
                b"GET /chat HTTP/1.1\r\nhost: rough\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            if b" 101 " not in await reader.readuntil(b"\r\n\r\n"):
                return "refused"
            for _ in range(random.randint(1, 20)):
                said = os.urandom(random.randint(1, 20_000))
                writer.write(said)
                if await reader.readexactly(len(said)) != said:
                    return "wrong"
                await asyncio.sleep(random.random() * SLOW_SECONDS)
            writer.write_eof()
            return "wrong" if await reader.read(1) else "fine"
        finally:
            writer.transport.abort()

    async def run(self, lanes: int) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.over.set)
        kinds = ("reader", "writer", "socket")
        await asyncio.gather(*(self.lane(kind) for kind in kinds for _ in range(lanes)))
        say(event="summary", seen=self.seen)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--lanes", type=int, default=2, help="of each kind")
    arguments = parser.parse_args()
    asyncio.run(Unruly(arguments.host, arguments.port).run(arguments.lanes))


main()
