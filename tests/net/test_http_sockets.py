"""Connections of HTTP between real sockets with the real machines, alone and joined to a proxy."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import uvloop
from net.site import SERVERS, Cut, Site, site

from ambient.core.http.message import Fault, RequestHead, ResponseHead
from ambient.net.http import ServerStream, Timeouts

GET = RequestHead("GET", "shop", "/")
POST = RequestHead("POST", "shop", "/", length=None, takes_trailers=True)
OK = ResponseHead(200)
VERSIONS = sorted(SERVERS)
PAIRS = [pytest.param(down, up, id=f"{down}-{up}") for down in VERSIONS for up in VERSIONS]
LARGE = 10_000_000
SMALL_BUFFERS = 16 * 1024
MOST_HELD = 192 * 1024
"""What a proxy may have of one direction: its queue, a window, and what one read brings."""


def run(scenario: Callable[[Site], Awaitable[None]]) -> None:
    async def main() -> None:
        async with site() as built:
            await scenario(built)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


# What servers do:


def hello(stream: ServerStream) -> None:
    stream.respond(ResponseHead(200, (("x-path", stream.head.path),), length=5))
    stream.send(b"hello")
    stream.finish()


class Echo:
    """Says what it hears, no faster than that is taken."""

    def __init__(self, stream: ServerStream) -> None:
        self.stream = stream
        stream.receiver = self
        stream.respond(ResponseHead(101 if stream.head.upgrade else 200))

    def body(self, data) -> None:
        self.stream.send(data)
        if not self.stream.is_full:
            self.stream.consumed(self.stream.unconsumed)

    def ended(self, trailers) -> None:
        self.stream.finish(trailers)

    def cut(self, fault, detail) -> None:
        pass

    def drained(self) -> None:
        self.stream.consumed(self.stream.unconsumed)

    informed = answered = None


class Source:
    """Answers with so many bytes, whatever is asked."""

    def __init__(self, stream: ServerStream, size: int) -> None:
        self.stream, self.left = stream, size
        stream.receiver = self
        stream.respond(OK)
        self.drained()

    def drained(self) -> None:
        while self.left and not self.stream.is_full:
            part = min(self.left, 16_000)
            self.left -= part
            self.stream.send(b"x" * part)
        if not self.left:
            self.stream.finish()

    def body(self, data) -> None:
        self.stream.consumed(len(data))

    def ended(self, trailers) -> None:
        pass

    def cut(self, fault, detail) -> None:
        self.left = -1

    informed = answered = None


class Sink:
    """Takes bytes only while ``taking``, and answers with their number, or never."""

    def __init__(self, stream: ServerStream, *, taking: bool = False, answering: bool = True) -> None:
        self.stream = stream
        self.taking, self.answering = taking, answering
        self.was_cut: Fault | None = None
        stream.receiver = self

    def body(self, data) -> None:
        if self.taking:
            self.take()

    def take(self) -> None:
        self.taking = True
        self.stream.consumed(self.stream.unconsumed)

    def ended(self, trailers) -> None:
        if not self.answering:
            return
        said = b"%d" % self.stream.received
        self.stream.respond(ResponseHead(200, length=len(said)))
        self.stream.send(said)
        self.stream.finish()

    def cut(self, fault, detail) -> None:
        self.was_cut = fault

    drained = informed = answered = None


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


async def stands(figure: Callable[[], int]) -> int:
    """The figure, when it has not moved for a while."""
    seen, since = figure(), 0
    while since < 20:
        await asyncio.sleep(0.01)
        since = since + 1 if figure() == seen else 0
        seen = figure()
    return seen


# Alone:


@pytest.mark.parametrize("version", VERSIONS)
def test_a_thousand_requests_share_a_connection(version: str) -> None:
    async def scenario(at: Site) -> None:
        client = at.dial(version, at.serve(version, hello))
        for number in range(1000):
            answer = await at.ask(client, replace(GET, path=f"/{number}"))
            assert (answer.head.status, bytes(answer.data)) == (200, b"hello")
            assert dict(answer.head.headers)["x-path"] == f"/{number}"
        assert (len(at.servers), len(at.clients), client.under_way) == (1, 1, 0)
        assert client.has_room

    run(scenario)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_and_its_trailers_come_back(version: str) -> None:
    async def scenario(at: Site) -> None:
        client = at.dial(version, at.serve(version, Echo))
        body = os.urandom(1_000_000)
        asked = at.begin(client, POST)
        await asked.send_all(body)
        asked.stream.finish((("x-sum", "7"),))
        await asked.whole()
        assert bytes(asked.data) == body
        assert asked.trailers == (("x-sum", "7"),)

    run(scenario)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_leaves_closes_in_order(version: str) -> None:
    async def scenario(at: Site) -> None:
        client = at.dial(version, at.serve(version, hello))
        await at.ask(client, GET)
        client.leave()
        await until(lambda: not (at.servers or at.clients))

    run(scenario)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_leaves_ends_what_is_under_way(version: str) -> None:
    async def scenario(at: Site) -> None:
        asked: list[ServerStream] = []
        port = at.serve(version, asked.append)
        busy, idle = at.dial(version, port), at.dial(version, port)
        waiting = at.begin(busy, GET, ended=True)
        await until(lambda: asked and len(at.servers) == 2)
        for server in at.servers:
            server.leave(within=30)
        await until(lambda: idle not in at.clients)
        assert (len(at.servers), at.pool.take((version, port))) == (1, None)
        hello(asked[0])
        assert bytes((await waiting.whole()).data) == b"hello"
        await until(lambda: not (at.servers or at.clients))

    run(scenario)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_is_killed_costs_what_was_under_way(version: str) -> None:
    async def scenario(at: Site) -> None:
        asked: list[ServerStream] = []
        port = at.serve(version, asked.append)
        client = at.dial(version, port)
        waiting = at.begin(client, GET, ended=True)
        await until(lambda: asked)
        asked[0].respond(OK)
        asked[0].send(b"some")
        await until(lambda: waiting.data)
        for server in tuple(at.servers):
            server.cut("killed")
        with pytest.raises(Cut) as cut:
            await waiting.whole()
        assert cut.value.fault is Fault.RESET
        await until(lambda: not at.clients)
        assert at.pool.count((version, port)) == 0

    run(scenario)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_goes_away_is_noticed_by_whoever_answers_it(version: str) -> None:
    async def scenario(at: Site) -> None:
        sinks: list[Sink] = []
        client = at.dial(
            version, at.serve(version, lambda stream: sinks.append(Sink(stream, answering=False)))
        )
        at.begin(client, GET, ended=True)
        await until(lambda: sinks)
        client.cut("nobody waits")
        await until(lambda: sinks[0].was_cut)
        await until(lambda: not at.servers)

    run(scenario)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_that_is_given_up_is_noticed_by_whoever_answers_it(version: str) -> None:
    async def scenario(at: Site) -> None:
        sinks: list[Sink] = []
        client = at.dial(
            version, at.serve(version, lambda stream: sinks.append(Sink(stream, answering=False)))
        )
        given_up = at.begin(client, GET, ended=True)
        await until(lambda: sinks)
        given_up.stream.reset()
        await until(lambda: sinks[0].was_cut)

    run(scenario)


def test_an_idle_connection_that_its_server_closes_is_not_taken_again() -> None:
    async def scenario(at: Site) -> None:
        port = at.serve("http1", hello, Timeouts(idle=0.05))
        await at.ask(at.dial("http1", port), GET)
        await until(lambda: at.pool.count(("http1", port)) == 0)
        assert at.pool.take(("http1", port)) is None
        assert not at.clients

    run(scenario)


# Bytes as they are:


class Wire:
    """A client without manners."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def say(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def hear(self) -> bytes:
        return await self._loop.sock_recv(self.sock, 65536)

    async def hear_all(self) -> bytes:
        """To the end, which must be in order."""
        heard = b""
        while data := await self.hear():
            heard += data
        return heard


def test_a_head_that_does_not_end_is_answered_with_408() -> None:
    async def scenario(at: Site) -> None:
        wire = Wire(at.serve("http1", hello, Timeouts(head=0.1)))
        await wire.say(b"GET / HTTP/1.1\r\nhost: sh")
        heard = await wire.hear_all()
        assert heard.startswith(b"HTTP/1.1 408 ")
        assert [refused.status for refused in at.refused] == [408]
        wire.sock.close()
        await until(lambda: not at.servers)

    run(scenario)


def test_a_body_that_does_not_come_is_answered_with_408() -> None:
    async def scenario(at: Site) -> None:
        sinks: list[Sink] = []
        port = at.serve("http1", lambda stream: sinks.append(Sink(stream)), Timeouts(body=0.1))
        wire = Wire(port)
        await wire.say(b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\r\n\r\n")
        heard = await wire.hear_all()
        assert heard.startswith(b"HTTP/1.1 408 ")
        assert sinks[0].was_cut is Fault.TIMED_OUT
        wire.sock.close()
        await until(lambda: not at.servers)

    run(scenario)


def test_the_last_answer_arrives_though_its_client_is_still_sending() -> None:
    async def scenario(at: Site) -> None:
        def refuse(stream: ServerStream) -> None:
            stream.respond(ResponseHead(403, length=6))
            stream.send(b"denied")
            stream.finish()

        wire = Wire(at.serve("http1", refuse))
        await wire.say(
            b"POST / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: 100000000\r\n\r\n"
        )
        for _ in range(20):
            await wire.say(b"x" * 100_000)
        heard = await wire.hear_all()
        assert heard.startswith(b"HTTP/1.1 403 ")
        assert heard.endswith(b"denied")
        wire.sock.close()
        await until(lambda: not at.servers)

    run(scenario)


def test_requests_that_are_pipelined_are_answered_in_turn() -> None:
    async def scenario(at: Site) -> None:
        asked: list[ServerStream] = []
        wire = Wire(at.serve("http1", asked.append))
        await wire.say(b"".join(b"GET /%d HTTP/1.1\r\nhost: shop\r\n\r\n" % number for number in range(50)))
        for number in range(50):
            await until(lambda number=number: len(asked) > number)
            assert len(asked) == number + 1
            hello(asked[number])
        heard = b""
        while heard.count(b"hello") < 50:
            heard += await wire.hear()
        assert [int(part.split()[0]) for part in heard.split(b"x-path: /")[1:]] == list(range(50))
        wire.sock.close()

    run(scenario)


def test_one_who_pipelines_without_end_is_not_read() -> None:
    async def scenario(at: Site) -> None:
        asked: list[ServerStream] = []
        port = at.serve("http1", asked.append, buffers=SMALL_BUFFERS)
        wire = Wire(port)
        sent = 0
        request = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n" * 1000

        async def flood() -> None:
            nonlocal sent
            while True:
                await wire.say(request)
                sent += len(request)

        flooding = asyncio.ensure_future(flood())
        await until(lambda: asked)
        assert await stands(lambda: sent) < 20_000_000
        flooding.cancel()
        assert len(asked) == 1
        [server] = at.servers
        assert len(server.machine._data) + sum(map(len, server.machine._later)) < 200_000
        wire.sock.close()

    run(scenario)


# Through a proxy:


async def proxied(at: Site, down: str, up: str, asked: Callable[[ServerStream], object], **how: int):
    port = at.proxy(down, up, at.serve(up, asked, **how), **how)
    return at.dial(down, port, **how)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_ten_megabytes_go_both_ways_with_trailers(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        client = await proxied(at, down, up, Echo)
        body = os.urandom(LARGE)
        asked = at.begin(client, POST)
        await asked.send_all(body)
        asked.stream.finish((("x-sum", "7"),))
        await asked.whole()
        assert asked.data == body
        assert asked.trailers == (("x-sum", "7"),)
        assert at.pairs[0].most_held <= MOST_HELD

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_a_slow_reader_holds_its_server_back(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        sources: list[Source] = []
        client = await proxied(
            at, down, up, lambda stream: sources.append(Source(stream, LARGE)), buffers=SMALL_BUFFERS
        )
        asked = at.begin(client, GET, ended=True, taking=False)
        await until(lambda: sources)
        left = await stands(lambda: sources[0].left)
        assert left > LARGE // 2
        [pair] = at.pairs
        assert pair.most_held <= MOST_HELD
        asked.taking = True
        asked.take()
        await asked.whole()
        assert len(asked.data) == LARGE
        assert pair.most_held <= MOST_HELD

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_a_slow_server_holds_its_client_back(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        sinks: list[Sink] = []
        client = await proxied(at, down, up, lambda stream: sinks.append(Sink(stream)), buffers=SMALL_BUFFERS)
        asked = at.begin(client, POST)
        sending = asyncio.ensure_future(asked.send_all(b"x" * LARGE))
        await until(lambda: sinks)
        assert await stands(lambda: asked.stream.sent) < LARGE // 2
        [pair] = at.pairs
        assert pair.most_held <= MOST_HELD
        sinks[0].take()
        await sending
        asked.stream.finish()
        await asked.whole()
        assert bytes(asked.data) == b"%d" % LARGE
        assert pair.most_held <= MOST_HELD

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_a_server_says_to_go_on_before_the_body_is_sent(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        sinks: list[Sink] = []
        client = await proxied(at, down, up, lambda stream: sinks.append(Sink(stream, taking=True)))
        asked = at.begin(client, replace(POST, length=5, expects_continue=True))
        await until(lambda: sinks)
        assert not asked.informed_of
        sinks[0].stream.inform(100)
        await until(lambda: asked.informed_of)
        assert asked.informed_of == [100]
        asked.stream.send(b"hello")
        asked.stream.finish()
        assert bytes((await asked.whole()).data) == b"5"

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_an_early_answer_reaches_a_client_that_is_still_sending(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        def refuse(stream: ServerStream) -> None:
            stream.respond(ResponseHead(413, length=0), ended=True)

        client = await proxied(at, down, up, refuse)
        asked = at.begin(client, POST)
        sending = asyncio.ensure_future(asked.send_all(b"x" * LARGE))
        await asked.whole()
        assert asked.head.status == 413
        sending.cancel()

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_a_server_that_breaks_off_is_no_end_for_the_client(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        asked_: list[ServerStream] = []
        client = await proxied(at, down, up, asked_.append)
        asked = at.begin(client, GET, ended=True)
        await until(lambda: asked_)
        asked_[0].respond(OK)
        asked_[0].send(b"some")
        await until(lambda: asked.data == b"some")
        asked_[0].reset(Fault.RESET)
        with pytest.raises(Cut):
            await asked.whole()
        await until(lambda: all(pair.up.is_over and pair.down.is_over for pair in at.pairs))

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_a_client_that_breaks_off_frees_the_server(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        sinks: list[Sink] = []
        client = await proxied(at, down, up, lambda stream: sinks.append(Sink(stream)))
        asked = at.begin(client, POST)
        asked.stream.send(b"some")
        await until(lambda: sinks and sinks[0].stream.received)
        asked.stream.reset()
        await until(lambda: sinks[0].was_cut)
        assert all(pair.up.is_over and pair.down.is_over for pair in at.pairs)

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_a_thousand_requests_of_many_clients_are_not_mixed_up(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        port = at.proxy(down, up, at.serve(up, Echo))

        async def client(number: int) -> None:
            connection = at.dial(down, port)
            for turn in range(50):
                body = b"%d/%d" % (number, turn) * 20
                answer = await at.ask(connection, POST, body)
                assert answer.data == body

        await asyncio.gather(*(client(number) for number in range(20)))
        # One to the proxy for each client, and no more from it than were ever needed at once.
        assert at.dials <= 40

    run(scenario)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_whatever_is_given_up_at_whatever_moment_nothing_is_left_and_nothing_is_mixed_up(
    down: str, up: str, seed: int
) -> None:
    async def scenario(at: Site) -> None:
        chance = random.Random(seed)
        served: list[ServerStream] = []

        def asked(stream: ServerStream) -> None:
            served.append(stream)
            Echo(stream)

        port = at.proxy(down, up, at.serve(up, asked))

        async def one(number: int) -> None:
            client = at.pool.take((down, port)) or at.dial(down, port)
            pending = at.begin(client, POST)
            body = b"%d," % number * 20_000
            fate = chance.choice(["whole", "whole", "reset", "cut", "server-reset", "server-cut"])
            at_part = chance.randrange(8)
            for part in range(8):
                size = len(body) // 8 + 1
                await pending.send_all(body[part * size : (part + 1) * size])
                if part == at_part:
                    match fate:
                        case "reset":
                            pending.stream.reset()
                            return
                        case "cut":
                            client.cut("given up")
                        case "server-reset" if served:
                            chance.choice(served).reset(chance.choice(list(Fault)))
                        case "server-cut" if served:
                            chance.choice(served)._connection.cut("given up")
                        case _:
                            pass
                await asyncio.sleep(0)
            pending.stream.finish()
            try:
                await pending.whole()
            except Cut:
                # Some of an answer may have come: of ours, or nothing.
                assert body.startswith(bytes(pending.data))
            else:
                assert pending.data == body

        for _ in range(5):
            await asyncio.gather(*(one(number) for number in range(20)))
        await until(lambda: all(pair.up.is_over and pair.down.is_over for pair in at.pairs))
        await until(lambda: all(stream.is_over for stream in served))
        for connection in (*at.servers, *at.clients):
            connection.leave(within=30)
        await until(lambda: not (at.servers or at.clients))
        assert len(at.pool) == 0

    run(scenario)


@pytest.mark.parametrize(("down", "up"), PAIRS)
def test_an_upgraded_connection_carries_bytes_and_both_half_closes(down: str, up: str) -> None:
    async def scenario(at: Site) -> None:
        client = await proxied(at, down, up, Echo)
        # In HTTP/2 both servers must have said first that they take it.
        await at.ask(client, POST, b"first")
        asked = at.begin(client, replace(GET, upgrade="websocket", length=None))
        await asked.answer.wait()
        assert asked.head.status == 101
        body = os.urandom(300_000)
        await asked.send_all(body)
        await until(lambda: len(asked.data) == len(body))
        asked.stream.finish()
        await asked.whole()
        assert asked.data == body
        await until(lambda: all(pair.up.is_over and pair.down.is_over for pair in at.pairs))

    run(scenario)
