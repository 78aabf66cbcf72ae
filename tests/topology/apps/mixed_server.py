"""Answers requests of HTTP/1.1, HTTP/2 and gRPC, whichever a connection begins with, and echoes what is upgraded.

The query says how: ``size`` of the body, ``wait`` seconds before it, ``cut`` to break off in the middle (``length``,
``chunks``, ``stream`` or ``connection``). The ``id`` of what is posted is written to ``--seen``, a line for each time that it
came. On SIGTERM what is under way ends, and then it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from urllib.parse import parse_qsl, urlsplit

from common import say
from frames2 import PREFACE, Connection, Pairs
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame

INTERNAL_ERROR = 2
HALF_SECONDS = 0.05
"""Between half an answer and its breaking off, so that most clients have seen the half."""


class Server:
    def __init__(self, name: str, seen: int) -> None:
        self.name, self.seen = name, seen
        self.leaving = asyncio.Event()
        self.open: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            first = await self._unless_leaving(reader.readexactly(len(PREFACE)))
            if first == PREFACE:
                await Http2(self, reader, writer).run()
            elif first is not None:
                await self._http1(reader, writer, first)
        except (OSError, EOFError):
            pass
        finally:
            self.open.discard(task)
            writer.close()

    async def _unless_leaving(self, reading: object) -> bytes | None:
        """What is read, or None if the server leaves first."""
        read = asyncio.ensure_future(reading)  # type: ignore[call-overload]
        left = asyncio.ensure_future(self.leaving.wait())
        try:
            await asyncio.wait((read, left), return_when=asyncio.FIRST_COMPLETED)
            return read.result() if read.done() else None
        finally:
            left.cancel()
            read.cancel()

    # ---- HTTP/1.1

    async def _http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> None:
        while True:
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split(" ", 2)
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
            if fields.get("upgrade"):
                return await self._echo(reader, writer, fields["upgrade"])
            body = await self._body(reader, fields)
            asked = self.take(method, target, body)
            await asyncio.sleep(float(asked.get("wait", 0)))
            content = b"x" * int(asked.get("size", 0))
            last = "connection: close\r\n" if self.leaving.is_set() else ""
            start = f"HTTP/1.1 200 OK\r\nserver: {self.name}\r\n{last}"
            match asked.get("cut"):
                case None:
                    writer.write(f"{start}content-length: {len(content)}\r\n\r\n".encode() + content)
                    await writer.drain()
                case "chunks":
                    half = content[: len(content) // 2]
                    writer.write(f"{start}transfer-encoding: chunked\r\n\r\n{len(half):x}\r\n".encode())
                    writer.write(half + b"\r\n")
                    return await asyncio.sleep(HALF_SECONDS)
                case _:
                    writer.write(f"{start}content-length: {len(content)}\r\n\r\n".encode())
                    writer.write(content[: len(content) // 2])
                    return await asyncio.sleep(HALF_SECONDS)
            if last:
                return None
            more = await self._unless_leaving(reader.readexactly(1))
            if more is None:
                return None
            first = more

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: str) -> None:
        writer.write(f"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n".encode())
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()

    async def _body(self, reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
        if fields.get("transfer-encoding") != "chunked":
            return await reader.readexactly(int(fields.get("content-length", 0)))
        body = bytearray()
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        while (await reader.readline()).strip():
            pass
        return bytes(body)

    # ---- both

    def take(self, method: str, target: str, body: bytes) -> dict[str, str]:
        """What is asked for; what was posted is written down."""
        asked = dict(parse_qsl(urlsplit(target).query))
        if method == "POST" and "id" in asked:
            os.write(self.seen, f"{asked['id']} {len(body)}\n".encode())
        return asked


class Http2:
    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.connection = Connection(reader, writer)
        self.heads: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytearray] = {}
        self.answers: dict[int, asyncio.Task[None]] = {}
        self.last = 0

    async def run(self) -> None:
        self.connection.greet(client=False)
        leaving = asyncio.create_task(self._leave())
        try:
            while True:
                match await self.connection.receive():
                    case HeadersFrame() as frame:
                        self.last = max(self.last, frame.stream_id)
                        self.heads[frame.stream_id] = dict(self.connection.headers_of(frame))
                        self.bodies[frame.stream_id] = bytearray()
                        self._look(frame.stream_id, frame.flags)
                    case DataFrame() as frame:
                        if frame.stream_id in self.bodies:
                            self.bodies[frame.stream_id] += frame.data
                            self._look(frame.stream_id, frame.flags)
                    case RstStreamFrame() as frame:
                        self.connection.ended(frame.stream_id)
                        self.heads.pop(frame.stream_id, None)
                        self.bodies.pop(frame.stream_id, None)
                        if (task := self.answers.pop(frame.stream_id, None)) is not None:
                            task.cancel()
                    case _:
                        pass
        finally:
            self.connection.over()
            leaving.cancel()
            for task in tuple(self.answers.values()):
                task.cancel()

    async def _leave(self) -> None:
        await self.server.leaving.wait()
        self.connection.write(GoAwayFrame(0, last_stream_id=self.last))
        while self.heads or self.answers:
            await asyncio.sleep(0.01)
        await self.connection.writer.drain()
        self.connection.writer.close()

    def _look(self, stream: int, flags: object) -> None:
        if "END_STREAM" in flags:  # type: ignore[operator]
            head, body = self.heads.pop(stream), bytes(self.bodies.pop(stream))
            task = asyncio.create_task(self._answer(stream, head, body))
            self.answers[stream] = task
            task.add_done_callback(lambda _: self.answers.pop(stream, None))

    async def _answer(self, stream: int, head: dict[str, str], body: bytes) -> None:
        is_call = head.get("content-type", "").startswith("application/grpc")
        # The path of a call has no query: it is asked in a header.
        target = f"/?{head['x-ask']}" if is_call else head[":path"]
        asked = self.server.take(head[":method"], target, body)
        await asyncio.sleep(float(asked.get("wait", 0)))
        content = b"x" * int(asked.get("size", 0))
        if is_call:
            content = bytes([0]) + len(content).to_bytes(4, "big") + content
        told: Pairs = [(":status", "200"), ("server", self.server.name)]
        told.append(("content-type", "application/grpc" if is_call else "text/plain"))
        connection = self.connection
        cut = asked.get("cut")
        if cut not in {None, "chunks", "stream", "connection"}:
            told.append(("content-length", str(len(content))))
        connection.headers(stream, told, ended=False)
        try:
            if cut is None:
                await connection.body(stream, content, ended=not is_call)
                if is_call:
                    connection.headers(stream, [("grpc-status", "0")], ended=True)
                return
            await connection.body(stream, content[: len(content) // 2], ended=False)
        except OSError:
            return
        await asyncio.sleep(HALF_SECONDS)
        if cut == "connection":
            connection.writer.close()
        else:
            connection.ended(stream)
            connection.write(RstStreamFrame(stream, error_code=INTERNAL_ERROR))


async def run() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="mixed")
    parser.add_argument("--seen", default=os.devnull)
    arguments = parser.parse_args()
    seen = os.open(arguments.seen, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    server = Server(arguments.name, seen)
    listener = await asyncio.start_server(server.serve, "0.0.0.0", arguments.port, backlog=1024)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.leaving.set)
    say(event="listening", port=arguments.port)
    await server.leaving.wait()
    listener.close()
    while server.open:
        await asyncio.wait(tuple(server.open))


asyncio.run(run())
