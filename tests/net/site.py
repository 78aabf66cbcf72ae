"""Servers, clients and proxies of HTTP in one process, over real sockets and with the real machines."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ambient.core.frames import Buffer
from ambient.core.http.http1 import Http1Client, Http1Server
from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.machine import ClientMachine, ServerMachine
from ambient.core.http.message import (
    Fault,
    Headers,
    RequestHead,
    RequestRefused,
    ResponseHead,
)
from ambient.net.http import (
    DEFAULT_TIMEOUTS,
    ClientStream,
    HttpClient,
    HttpServer,
    ServerStream,
    Stream,
    Timeouts,
)
from ambient.net.http_pool import HttpPool
from ambient.net.tcp import SocketEnd

SERVERS: dict[str, Callable[[], ServerMachine]] = {"http1": Http1Server, "http2": Http2Server}
CLIENTS: dict[str, Callable[[], ClientMachine]] = {"http1": Http1Client, "http2": Http2Client}


class Cut(Exception):
    """A message did not end in order."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


class Collected:
    """A receiver that keeps what it hears, and takes bytes only while ``taking``."""

    def __init__(self, *, taking: bool = True) -> None:
        self.stream: Stream | None = None
        self.taking = taking
        self.informed_of: list[int] = []
        self.head: ResponseHead | None = None
        self.data = bytearray()
        self.trailers: Headers = ()
        self.answer = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kept = 0

    def informed(self, status: int, headers: Headers) -> None:
        self.informed_of.append(status)

    def answered(self, head: ResponseHead) -> None:
        self.head = head
        self.answer.set()

    def body(self, data: Buffer) -> None:
        self.data += data
        self._kept += len(data)
        if self.taking:
            self.take()

    def ended(self, trailers: Headers) -> None:
        self.trailers = trailers
        if not self.end.done():
            self.end.set_result(None)

    def cut(self, fault: Fault, detail: str) -> None:
        self.room.set()
        self.answer.set()
        if not self.end.done():
            self.end.set_exception(Cut(fault, detail))
            self.end.exception()

    def drained(self) -> None:
        self.room.set()

    def take(self) -> None:
        """What waits."""
        kept, self._kept = self._kept, 0
        if kept:
            assert self.stream is not None
            self.stream.consumed(kept)

    async def whole(self) -> Collected:
        """When all has come. Raises Cut."""
        await self.end
        return self

    async def send_all(self, data: bytes, part: int = 16 * 1024) -> None:
        """No faster than there is room."""
        stream = self.stream
        assert stream is not None
        for at in range(0, len(data), part):
            if stream.is_over or self.end.done():
                return
            stream.send(data[at : at + part])
            if stream.is_full:
                self.room.clear()
                await self.room.wait()


class Towards:
    """One direction of a request that is passed on: hears ``source``, and says the same on ``target``."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.source: Stream | None = None
        self.target: Stream | None = None

    def informed(self, status: int, headers: Headers) -> None:
        self.pair.down.inform(status, headers)

    def answered(self, head: ResponseHead) -> None:
        self.pair.down.respond(head)

    def body(self, data: Buffer) -> None:
        assert self.source is not None
        assert self.target is not None
        self.target.send(data)
        self.pair.most_held = max(self.pair.most_held, held(self.source, self.target))
        if not self.target.is_full:
            self.source.consumed(self.source.unconsumed)

    def ended(self, trailers: Headers) -> None:
        assert self.target is not None
        self.target.finish(trailers)

    def cut(self, fault: Fault, detail: str) -> None:
        assert self.target is not None
        self.pair.cut.append((fault, detail))
        self.target.reset(fault)

    def drained(self) -> None:
        # There is room on the stream that this hears of, so what comes from the other may go on.
        assert self.target is not None
        self.target.consumed(self.target.unconsumed)


class Pair:
    """A request that is passed on, and answered by whoever it was passed on to."""

    def __init__(self, down: ServerStream, client: HttpClient) -> None:
        self.down = down
        self.most_held = 0
        self.cut: list[tuple[Fault, str]] = []
        asking, answering = Towards(self), Towards(self)
        down.receiver = asking
        self.up: ClientStream = client.request(down.head, answering)
        asking.source = answering.target = down
        asking.target = answering.source = self.up


def held(source: Stream, target: Stream) -> int:
    """Bytes that came from ``source`` and have not left to ``target``."""
    connection = target._connection
    return max(source.unconsumed, connection.machine.queued(target.id)) + connection._end.unsent


Asked = Callable[[ServerStream], None]


class Site:
    """A process with listeners. Whatever it opened is closed when it ends."""

    def __init__(self) -> None:
        self.pool: HttpPool[tuple[str, int]] = HttpPool()
        self.servers: set[HttpServer] = set()
        self.clients: set[HttpClient] = set()
        self.refused: list[RequestRefused] = []
        self.pairs: list[Pair] = []
        self.dials = 0
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []

    def serve(
        self, version: str, asked: Asked, timeouts: Timeouts = DEFAULT_TIMEOUTS, buffers: int | None = None
    ) -> int:
        """The port of a new server; ``buffers``: the size of its sockets' own, for tests of back-pressure."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        _small(listener, buffers)
        self._listeners.append(listener)

        def accept() -> None:
            sock, _ = listener.accept()
            self._begin(sock, SERVERS[version](), asked, timeouts)

        self._loop.add_reader(listener, accept)
        port: int = listener.getsockname()[1]
        return port

    def proxy(self, down: str, up: str, port: int, **how: int) -> int:
        """The port of a new proxy for what is at ``port``, speaking one version below and one above."""

        def asked(stream: ServerStream) -> None:
            client = self.pool.take((up, port)) or self.dial(up, port, **how)
            self.pairs.append(Pair(stream, client))

        return self.serve(down, asked, **how)

    def dial(self, version: str, port: int, buffers: int | None = None) -> HttpClient:
        """A new connection, kept in the pool."""
        self.dials += 1
        sock = socket.socket()
        _small(sock, buffers)
        sock.connect(("127.0.0.1", port))
        client = HttpClient(SocketEnd(sock, 64 * 1024), CLIENTS[version](), self.clients.discard)
        self.clients.add(client)
        self.pool.add((version, port), client)
        return client

    async def ask(self, client: HttpClient, head: RequestHead, body: bytes = b"") -> Collected:
        """The whole answer."""
        collected = self.begin(client, head, ended=not body)
        if body:
            await collected.send_all(body)
            assert collected.stream is not None
            collected.stream.finish()
        return await collected.whole()

    def begin(
        self, client: HttpClient, head: RequestHead, *, ended: bool = False, taking: bool = True
    ) -> Collected:
        """Ask, and what will be heard."""
        collected = Collected(taking=taking)
        collected.stream = client.request(head, collected, ended=ended)
        return collected

    def stop(self) -> None:
        """Close everything at once."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        for connection in (*self.servers, *self.clients):
            connection.cut("the test is over")

    def _begin(self, sock: socket.socket, machine: ServerMachine, asked: Asked, timeouts: Timeouts) -> None:
        end = SocketEnd(sock, 64 * 1024)
        server = HttpServer(
            end, machine, asked, self.refused.append, lambda: self.servers.discard(server), timeouts
        )
        self.servers.add(server)
        server.start()


def _small(sock: socket.socket, buffers: int | None) -> None:
    if buffers is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    """For one minute. A callback that fails ends it at once."""
    failed: list[BaseException] = []
    task = asyncio.current_task()
    assert task is not None

    def fail(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failed.append(context.get("exception") or RuntimeError(context["message"]))
        task.cancel()

    asyncio.get_running_loop().set_exception_handler(fail)
    built = Site()
    try:
        async with asyncio.timeout(60):
            yield built
    except asyncio.CancelledError:
        if failed:
            raise failed[0] from None
        raise
    finally:
        built.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not failed
