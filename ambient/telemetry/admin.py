"""The admin endpoint: a small HTTP/1.1 server that answers one request a connection.

It meets whoever can reach its port, so it reads little, waits little and serves few at a time.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import parse_qs

from ambient.aio.streams import StreamServer
from ambient.telemetry import log

LONGEST_LINE = 8 * 1024
MOST_HEADER_BYTES = 16 * 1024
READ_SECONDS = 5.0
WRITE_SECONDS = 30.0
MOST_CONNECTIONS = 64

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    """The first value of each parameter."""
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined by commas."""


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Admin:
    """Serves ``routes``: ``GET /path`` or ``POST /path`` → handler; HEAD is GET without the body."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes = {"GET /": self._index, **routes}
        self._connections = 0
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that it got. Raises OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listeners = [socket.create_server(address[:2], family=family) for family, *_, address in found]
        self._start(listeners)
        return int(listeners[0].getsockname()[1])

    async def start_on(self, listener: socket.socket) -> None:
        """Serve a listening socket, which is now this server's."""
        self._start([listener])

    async def stop(self) -> None:
        """Stop listening and cut what is being served."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)

    def _start(self, listeners: Sequence[socket.socket]) -> None:
        server = StreamServer(listeners, self._connected, _failed, LONGEST_LINE)
        self._serving = asyncio.create_task(server.run(), name="admin endpoint")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError):
            writer.transport.abort()  # The peer went away or is too slow: nobody is left to tell.
        finally:
            self._connections -= 1

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections > MOST_CONNECTIONS:
            await _send(writer, _plain(503, "too many connections"), body=True)
            return
        try:
            request = await asyncio.wait_for(_read(reader), READ_SECONDS)
        except TimeoutError:
            await _send(writer, _plain(408, f"no request within {READ_SECONDS:g} s"), body=True)
            return
        except _Malformed as error:
            await _send(writer, _plain(error.status, str(error)), body=True)
            return
        if request is None:
            return
        try:
            response = await self._answer(request)
        except Exception as error:  # noqa: BLE001  told to the loop's handler, which is the program's to set
            context = {"message": f"admin page {request.path} failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            response = _plain(500, "internal error; see the log")
        await _send(writer, response, body=request.method != "HEAD")

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._routes.get(f"{method} {request.path}")
        if handler is not None:
            if method == "POST" and "origin" in request.headers:
                return _plain(403, "not for web pages")
            return await handler(request)
        allowed = [route.split(" ")[0] for route in self._routes if route.split(" ")[1] == request.path]
        if not allowed:
            return _plain(404, f"no page {request.path}; / lists them")
        return Response(405, TEXT, b"method not allowed\n", {"Allow": ", ".join(allowed)})

    async def _index(self, _: Request) -> Response:
        return _plain(200, "\n".join(sorted(self._routes, key=lambda route: route.split(" ")[1])))


def fixed(content_type: str, page: Callable[[], bytes]) -> Handler:
    """A page that is made anew for each request."""

    async def handle(_: Request) -> Response:
        return Response(200, content_type, page())

    return handle


def ready(why_not: Callable[[], str | None]) -> Handler:
    """Readiness: 200, or 503 with what is missing."""

    async def handle(_: Request) -> Response:
        missing = why_not()
        return _plain(200, "ready") if missing is None else _plain(503, f"not ready: {missing}")

    return handle


def logging(set_level: Callable[[str], None]) -> Handler:
    """``POST /logging?level=debug``; ``set_level`` raises ValueError for what is no level."""

    async def handle(request: Request) -> Response:
        level = request.query.get("level", "")
        try:
            set_level(level)
        except ValueError as error:
            return _plain(400, str(error))
        return _plain(200, f"log level is {level.lower()}")

    return handle


def json_response(content: object) -> Response:
    """``content`` as JSON for people."""
    return Response(200, JSON, json.dumps(content, indent=2).encode() + b"\n")


def _failed(what: str, error: BaseException) -> None:
    log.error("the admin endpoint failed", what=what, why=str(error) or repr(error))


class _Malformed(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """One request; None: the peer left before it had asked."""
    try:
        line = await _line(reader)
        headers = await _headers(reader)
    except asyncio.IncompleteReadError:
        return None
    asked = _REQUEST_LINE.fullmatch(line)
    if asked is None:
        raise _Malformed(400, "not an HTTP/1.1 request line")
    method, target = asked[1].decode(), asked[2].decode()
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _Malformed(413, "no request body is read here")
    path, _, query = target.partition("?")
    try:
        parameters = parse_qs(query, keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise _Malformed(400, "too many query parameters") from None
    return Request(method, path, {name: values[0] for name, values in parameters.items()}, headers)


async def _headers(reader: asyncio.StreamReader) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    size = 0
    while line := await _line(reader):
        size += len(line) + 2
        if size > MOST_HEADER_BYTES:
            raise _Malformed(431, f"more than {MOST_HEADER_BYTES} bytes of headers")
        header = _HEADER.fullmatch(line)
        if header is None:
            raise _Malformed(400, "not a header line")
        name, value = header[1].decode().lower(), header[2].decode("latin-1").strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


async def _line(reader: asyncio.StreamReader) -> bytes:
    """A line without its end. Raises IncompleteReadError if the stream ends before it."""
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.LimitOverrunError:
        raise _Malformed(431, f"a line of more than {LONGEST_LINE} bytes") from None


def _plain(status: int, text: str) -> Response:
    return Response(status, TEXT, f"{text}\n".encode("utf-8", "backslashreplace"))


async def _send(writer: asyncio.StreamWriter, response: Response, *, body: bool) -> None:
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **response.headers,
    }
    head = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
    if body:
        writer.write(response.body)
    async with asyncio.timeout(WRITE_SECONDS):
        await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
