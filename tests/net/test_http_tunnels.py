"""Connections of HTTP inside HBONE, as a waypoint has them: with real TLS, on streams that share a tunnel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import uvloop
from net.harness import Fabric, fabric
from net.site import CLIENTS, SERVERS, Collected, Cut
from net.test_http_sockets import GET, POST, Echo, Sink, Source, hello, stands, until

from ambient.core.http.message import Fault
from ambient.net.http import HttpClient, HttpServer, ServerStream
from ambient.net.tunnel import ServerTunnel

VERSIONS = sorted(SERVERS)
LARGE = 20_000_000


class Inside:
    """Servers behind a tunnel, and clients before it."""

    def __init__(self, mesh: Fabric, version: str) -> None:
        self.mesh = mesh
        self.version = version
        self.asked: Callable[[ServerStream], object] = hello
        self.servers: set[HttpServer] = set()
        self.clients: set[HttpClient] = set()
        mesh.answer = self._answer

    async def _answer(self, tunnel: ServerTunnel, stream: int) -> None:
        end = tunnel.end_of(stream)
        assert end is not None
        tunnel.accept(stream)
        server = HttpServer(
            end,
            SERVERS[self.version](),
            lambda stream: self.asked(stream) and None,
            lambda _: None,
            lambda: self.servers.discard(server),
        )
        self.servers.add(server)
        server.start()

    async def dial(self) -> HttpClient:
        end = await self.mesh.pool.open(self.mesh.key(), "10.0.0.1:80", [])
        client = HttpClient(end, CLIENTS[self.version](), self.clients.discard)
        self.clients.add(client)
        return client

    def begin(self, client: HttpClient, head, *, ended: bool = False, taking: bool = True) -> Collected:
        collected = Collected(taking=taking)
        collected.stream = client.request(head, collected, ended=ended)
        return collected

    async def get(self, client: HttpClient, path: str = "/") -> bytes:
        return bytes((await self.begin(client, replace(GET, path=path), ended=True).whole()).data)


def run(version: str, scenario: Callable[[Inside], Awaitable[None]]) -> None:
    async def main() -> None:
        async with fabric(lambda reader, writer: asyncio.sleep(0)) as mesh, asyncio.timeout(60):
            await scenario(Inside(mesh, version))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


both = pytest.mark.parametrize("version", VERSIONS)


@both
def test_many_connections_share_a_tunnel_and_close_in_order(version: str) -> None:
    async def scenario(inside: Inside) -> None:
        clients = [await inside.dial() for _ in range(20)]
        for _ in range(20):
            answers = await asyncio.gather(*(inside.get(client) for client in clients))
            assert answers == [b"hello"] * 20
        assert inside.mesh.dials == 1
        for client in clients:
            client.leave()
        await until(lambda: not (inside.clients or inside.servers or inside.mesh.live()))
        assert not inside.mesh.errors

    run(version, scenario)


@both
def test_large_bodies_come_back_whole(version: str) -> None:
    async def scenario(inside: Inside) -> None:
        inside.asked = Echo
        body = os.urandom(LARGE // 4)

        async def one() -> None:
            asked = inside.begin(await inside.dial(), POST)
            await asked.send_all(body, part=50_000)
            asked.stream.finish((("x-sum", "7"),))
            await asked.whole()
            assert asked.data == body
            assert asked.trailers == (("x-sum", "7"),)

        await asyncio.gather(*(one() for _ in range(4)))

    run(version, scenario)


@both
def test_a_slow_reader_holds_its_server_back_and_nobody_else(version: str) -> None:
    async def scenario(inside: Inside) -> None:
        sources: list[Source] = []
        inside.asked = lambda stream: sources.append(Source(stream, LARGE))
        slow = inside.begin(await inside.dial(), GET, ended=True, taking=False)
        await until(lambda: sources)
        assert await stands(lambda: sources[0].left) > LARGE // 2
        inside.asked = hello
        assert await inside.get(await inside.dial()) == b"hello"
        slow.taking = True
        slow.take()
        await slow.whole()
        assert len(slow.data) == LARGE

    run(version, scenario)


@both
def test_a_slow_server_holds_its_client_back(version: str) -> None:
    async def scenario(inside: Inside) -> None:
        sinks: list[Sink] = []
        inside.asked = lambda stream: sinks.append(Sink(stream))
        asked = inside.begin(await inside.dial(), POST)
        sending = asyncio.ensure_future(asked.send_all(b"x" * LARGE))
        await until(lambda: sinks)
        assert await stands(lambda: asked.stream.sent) < LARGE // 2
        sinks[0].take()
        await sending
        asked.stream.finish()
        await asked.whole()
        assert bytes(asked.data) == b"%d" % LARGE

    run(version, scenario)


@both
@pytest.mark.parametrize("how", ["the-request", "the-connection", "the-tunnel"])
def test_what_a_client_gives_up_is_noticed_by_whoever_answers_it(version: str, how: str) -> None:
    async def scenario(inside: Inside) -> None:
        sinks: list[Sink] = []
        inside.asked = lambda stream: sinks.append(Sink(stream, answering=False))
        client = await inside.dial()
        asked = inside.begin(client, GET, ended=True)
        await until(lambda: sinks)
        match how:
            case "the-request":
                asked.stream.reset()
            case "the-connection":
                client.cut("nobody waits")
            case _:
                for tunnel in tuple(inside.mesh.pool._keys):
                    tunnel.abort("nobody waits")
        await until(lambda: sinks[0].was_cut)
        if how != "the-request":
            await until(lambda: not (inside.clients or inside.servers or inside.mesh.live()))

    run(version, scenario)


@both
@pytest.mark.parametrize("how", ["the-connection", "the-tunnel"])
def test_a_server_that_is_lost_in_the_middle_of_an_answer_is_no_end(version: str, how: str) -> None:
    async def scenario(inside: Inside) -> None:
        sources: list[Source] = []
        inside.asked = lambda stream: sources.append(Source(stream, LARGE))
        client = await inside.dial()
        asked = inside.begin(client, GET, ended=True, taking=False)
        await asked.answer.wait()
        await until(lambda: asked.data)
        if how == "the-connection":
            for server in tuple(inside.servers):
                server.cut("killed")
        else:
            for tunnel in inside.mesh.tunnels:
                tunnel.abort("killed")
        with pytest.raises(Cut) as cut:
            await asked.whole()
        assert cut.value.fault is Fault.RESET
        await until(lambda: not (inside.clients or inside.servers or inside.mesh.live()))

    run(version, scenario)


@both
def test_a_server_that_drains_lets_its_clients_ask_elsewhere(version: str) -> None:
    async def scenario(inside: Inside) -> None:
        client = await inside.dial()
        assert await inside.get(client) == b"hello"
        for server in tuple(inside.servers):
            server.leave(within=30)
        await until(lambda: not (inside.clients or inside.servers))
        assert not client.has_room
        await until(lambda: inside.mesh.live() == 0)

    run(version, scenario)
