import asyncio
from contextlib import asynccontextmanager

import pytest

from ambient.telemetry import admin
from ambient.telemetry.admin import TEXT, Admin, Request, Response, fixed, json_response, logging, ready


class World:
    def __init__(self) -> None:
        self.missing: str | None = None
        self.level = "info"
        self.seen: Request | None = None
        self.go = asyncio.Event()

    def set_level(self, level: str) -> None:
        if level != "debug":
            raise ValueError(f"{level!r} is not a log level")
        self.level = level

    async def echo(self, request: Request) -> Response:
        self.seen = request
        return json_response({"path": request.path})

    async def broken(self, _: Request) -> Response:
        raise ZeroDivisionError

    async def slow(self, _: Request) -> Response:
        await self.go.wait()
        return Response(200, TEXT, b"slow\n")


@asynccontextmanager
async def served():
    world = World()
    server = Admin(
        {
            "GET /healthz/ready": ready(lambda: world.missing),
            "GET /page": fixed(TEXT, lambda: b"page\n"),
            "GET /echo": world.echo,
            "GET /broken": world.broken,
            "GET /slow": world.slow,
            "POST /logging": logging(world.set_level),
        }
    )
    port = await server.start("127.0.0.1", 0)
    try:
        yield world, port
    finally:
        await server.stop()


async def ask(port: int, *pieces: bytes, end: bool = False) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


def get(target: str, method: str = "GET", headers: str = "") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode("latin-1")


ANSWERS = {
    "ready": (get("/healthz/ready"), 200, b"ready\n"),
    "page": (get("/page"), 200, b"page\n"),
    "http-1.0": (b"GET /page HTTP/1.0\r\n\r\n", 200, b"page\n"),
    "query": (get("/page?x=1"), 200, b"page\n"),
    "head": (get("/page", "HEAD"), 200, b""),
    "index": (get("/"), 200, b"/logging"),
    "unknown-page": (get("/nowhere"), 404, b"no page /nowhere"),
    "wrong-method": (get("/page", "DELETE"), 405, b"not allowed"),
    "post-to-a-get-page": (get("/page", "POST"), 405, b"not allowed"),
    "get-of-a-post-page": (get("/logging?level=debug"), 405, b"not allowed"),
    "set-level": (get("/logging?level=debug", "POST"), 200, b"log level is debug"),
    "set-level-with-empty-body": (
        get("/logging?level=debug", "POST", "Content-Length: 0\r\n"),
        200,
        b"debug",
    ),
    "set-no-level": (get("/logging", "POST"), 400, b"'' is not a log level"),
    "set-level-from-a-web-page": (
        get("/logging?level=debug", "POST", "Origin: http://evil\r\n"),
        403,
        b"web pages",
    ),
    "body": (get("/page", headers="Content-Length: 4\r\n") + b"body", 413, b"body"),
    "chunked": (get("/page", headers="Transfer-Encoding: chunked\r\n"), 413, b"body"),
    "lower-case-method": (get("/page", "get"), 400, b"request line"),
    "no-version": (b"GET /page\r\n\r\n", 400, b"request line"),
    "http-2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, b"request line"),
    "absolute-form": (get("http://x/page"), 400, b"request line"),
    "two-spaces": (b"GET  /page HTTP/1.1\r\n\r\n", 400, b"request line"),
    "bare-line-feed": (b"GET /page HTTP/1.1\nX: y\r\n\r\n", 400, b"request line"),
    "zero-byte": (b"GET /page HTTP/1.1\r\nX: a\x00b\r\n\r\n", 400, b"header line"),
    "header-with-line-feed": (b"GET /page HTTP/1.1\r\nX: a\nY: b\r\n\r\n", 400, b"header line"),
    "folded-header": (b"GET /page HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400, b"header line"),
    "space-before-colon": (b"GET /page HTTP/1.1\r\nX : a\r\n\r\n", 400, b"header line"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, b"request line"),
    "many-parameters": (get("/page?" + "&".join(f"a{n}=1" for n in range(20))), 400, b"query parameters"),
    "long-request-line": (get("/" + "a" * 9000), 431, b"line of more than 8192"),
    "long-header": (get("/page", headers="X: " + "a" * 9000 + "\r\n"), 431, b"line of more than 8192"),
    "many-headers": (get("/page", headers="X: aaaaaaaaaaaaaaaa\r\n" * 1000), 431, b"bytes of headers"),
}


@pytest.mark.parametrize(("request_bytes", "status", "words"), list(ANSWERS.values()), ids=ANSWERS)
async def test_a_request_is_answered(request_bytes, status, words):
    async with served() as (_, port):
        answer = await ask(port, request_bytes)
    if answer == b"reset":
        assert status in {413, 431}  # We closed before all was read; the kernel may drop the answer then.
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert words in body
    assert b"Connection: close" in head


async def test_not_ready_says_why():
    async with served() as (world, port):
        world.missing = "no snapshot from the control plane"
        answer = await ask(port, get("/healthz/ready"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"not ready: no snapshot from the control plane\n")


async def test_head_has_the_length_and_no_body():
    async with served() as (_, port):
        answer = await ask(port, get("/page", "HEAD"))
    assert b"Content-Length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_a_handler_sees_query_and_headers():
    async with served() as (world, port):
        await ask(port, get("/echo?a=1&a=2&b=x%20y&c", headers="Accept: one\r\naccept: two\r\n"))
        assert world.seen is not None
        assert world.seen.query == {"a": "1", "b": "x y", "c": ""}
        assert world.seen.headers["accept"] == "one,two"


async def test_a_request_may_come_byte_by_byte():
    async with served() as (_, port):
        answer = await ask(port, *(bytes([byte]) for byte in get("/page")))
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_handler_that_breaks_is_loud_and_ends_only_its_own_request():
    loud = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loud.append(context["exception"]))
    async with served() as (_, port):
        assert (await ask(port, get("/broken"))).startswith(b"HTTP/1.1 500 ")
        assert (await ask(port, get("/page"))).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0)
    assert [type(error) for error in loud] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "start", [b"", b"GET /pa", b"GET /page HTTP/1.1\r\n"], ids=["silence", "line", "headers"]
)
async def test_whoever_dawdles_is_sent_away(monkeypatch, start):
    monkeypatch.setattr(admin, "READ_SECONDS", 0.05)
    async with served() as (_, port):
        assert (await ask(port, start)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "start", [b"", b"GET /pa", b"GET /page HTTP/1.1\r\n"], ids=["silence", "line", "headers"]
)
async def test_whoever_leaves_early_gets_nothing(start):
    async with served() as (_, port):
        assert await ask(port, start, end=True) == b""


async def test_only_so_many_are_served_at_a_time(monkeypatch):
    monkeypatch.setattr(admin, "MOST_CONNECTIONS", 2)
    async with served() as (world, port):
        slow = [asyncio.create_task(ask(port, get("/slow"))) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert (await ask(port)).startswith(b"HTTP/1.1 503 ")
        world.go.set()
        assert all(answer.endswith(b"slow\n") for answer in await asyncio.gather(*slow))
        assert (await ask(port, get("/page"))).startswith(b"HTTP/1.1 200 ")


async def test_stopping_cuts_what_is_served():
    async with served() as (_, port):
        waiting = asyncio.create_task(ask(port, get("/slow")))
        await asyncio.sleep(0.1)
    assert await waiting in {b"", b"reset"}
