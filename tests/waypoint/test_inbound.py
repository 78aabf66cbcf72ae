"""What comes to a waypoint, over real tunnels: who talks first decides, and everything is told of once."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from core.worlds import exactly, gateway, service, workload
from net.harness import credentials_of

from ambient.aio.tasks import Tasks
from ambient.core import delta
from ambient.core.detect import Spoken
from ambient.core.frames import Buffer
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.request_authorization import RequestAuthorization, RequestMatch
from ambient.core.model.route import (
    Backend,
    Forward,
    Origin,
    Protocol,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Unmatched,
)
from ambient.core.model.service import AppProtocol, DeclaredPort
from ambient.core.overload import Capacity, Overload
from ambient.core.snapshot import EMPTY
from ambient.member.live import Live
from ambient.member.tunnels import Tunnels
from ambient.net import sockets
from ambient.net.pool import Pool, PoolKey
from ambient.net.relay import End, Relay
from ambient.net.tcp import SocketEnd
from ambient.net.tls import Contexts
from ambient.net.tunnel import ClientTunnel, TunnelEnd, TunnelRefused
from ambient.telemetry.access import AccessLog
from ambient.telemetry.line import Format, Level
from ambient.telemetry.metrics import Traffic
from ambient.waypoint import late, opening
from ambient.waypoint.call import Call
from ambient.waypoint.dial import Dialer
from ambient.waypoint.inbound import Inbound
from ambient.waypoint.load import Load
from ambient.waypoint.world import World

GATE = service("gate", ports=((15008, 15008),))
OWN = workload("gate-0", "10.0.3.1", services={GATE.key: ((15008, 15008),)})
CLIENT = workload("client", "127.0.0.1")
WEB = service("web", "10.96.0.1", waypoint=gateway(GATE.key))
TARGET = "10.96.0.1:80"
SERVER = "127.0.0.3"
GREETING = b"220 who are you?\r\n"
Application = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Silent:
    """The owner of an end that HTTP was given: it keeps what it hears."""

    def __init__(self, end: End) -> None:
        self.heard = b""
        self.is_finished = False
        self.end = end
        end.relay = self
        end.start()

    def arrived(self, end: End, data: Buffer) -> None:
        self.heard += bytes(data)

    def finished(self, end: End) -> None:
        end.finished_reading = self.is_finished = True

    def closed(self, end: End) -> None: ...
    def broken(self, end: End, why: str) -> None: ...
    def gone(self, end: End, why: str | None) -> None: ...
    def full(self, end: End) -> None: ...
    def drained(self, end: End) -> None: ...


class _Load(Load):
    """Of this worker alone, with memory that a test says."""

    def __init__(self, overload: Overload, live: Live[Call]) -> None:
        self._of, self._carries = overload, live

    def why_no_connection(self) -> str | None:
        return self._of.why_no_connection(len(self._carries))


class Scene:
    """A waypoint's worker without its process, a server behind it, and clients of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.log = folder / "access"
        fd = os.open(self.log, os.O_WRONLY | os.O_CREAT)
        self.live: Live[Call] = Live(Traffic(), AccessLog(fd, Format.JSON, Level.DEBUG), lambda *_: None)
        self.port = port
        self.server = workload("web-1", SERVER, services={WEB.key: ((80, port),)})
        self.world = World(GATE.key, OWN.uid, contexts=Contexts(credentials_of(OWN.identity)))
        self.know(GATE, OWN, CLIENT, WEB, self.server)
        self.crashes: list[BaseException] = []
        self.tasks = Tasks(lambda _, error: self.crashes.append(error))
        dialer = Dialer(self.world)
        self.pool = Pool(dialer.tunnel)
        self.http: list[tuple[Call, Spoken, Silent]] = []
        self.short_of = Overload(Capacity(memory=100))
        self.inbound = Inbound(
            self.world, dialer, self.pool, self.live, self.tasks, self._serve, _Load(self.short_of, self.live)
        )
        self.tunnels = Tunnels(self.inbound, self.tasks, lambda: None)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        self._client = Contexts(credentials_of(CLIENT.identity))
        self._clients = Pool(self._dial)
        self._writers: list[asyncio.StreamWriter] = []

    def know(self, *resources: delta.Resource) -> None:
        """The mesh has these, besides what it had."""
        before = self.world.snapshot
        self.world.snapshot = delta.apply(before, delta.Delta(resources))
        for carried in late.concerned(before, self.world.snapshot, self.world, self.live):
            if (rejection := late.judge(self.world, carried)) is not None:
                self.live.cut(carried, rejection.flag, rejection.detail)
        if before is not EMPTY:
            self.inbound.recheck()

    def declare(self, protocol: AppProtocol) -> None:
        self.know(ServicePolicies(WEB.key, ports=(DeclaredPort(80, "", protocol),)))

    async def open(self, authority: str = TARGET) -> TunnelEnd:
        hop = SocketAddress.of(self._listener.getsockname())
        key = PoolKey("client", str(CLIENT.identity), None, hop, frozenset({str(OWN.identity)}))
        return await self._clients.open(key, authority, [("forwarded", 'for="127.0.0.1:4000"')])

    async def connect(self, authority: str = TARGET) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As an application holds it."""
        far = await self.open(authority)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        Relay(SocketEnd(ours), far, lambda _: None).start()
        reader, writer = await asyncio.open_connection(sock=theirs)
        self._writers.append(writer)
        return reader, writer

    def lines(self, message: str) -> list[dict[str, object]]:
        lines = map(json.loads, self.log.read_bytes().splitlines())
        return [line for line in lines if line["message"] == message]

    async def close(self) -> None:
        """Nothing is left when its clients are gone."""
        for writer in self._writers:
            writer.transport.abort()
        for _, _, owner in self.http:
            owner.end.reset()
        self._clients.leave(lambda _: True)
        await until(lambda: not self._clients.tunnels)
        await until(lambda: not len(self.tunnels))
        await until(lambda: not len(self.tasks))
        await until(lambda: not len(self.live))
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        assert self.crashes == []
        assert not self.inbound.undecided

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self.tasks.start(self.tunnels.serve(OWN.uid, sock), "serve")

    async def _dial(self, key: PoolKey, make: Callable[[], ClientTunnel]) -> ClientTunnel:
        sock = socket.socket()
        sock.setblocking(False)
        await sockets.connect(sock, key.hop)
        sockets.prepare(sock)
        return await self._client.dial(sock, key.expect, make)

    def _serve(self, call: Call, near: TunnelEnd, spoken: Spoken) -> None:
        self.http.append((call, spoken, Silent(near)))


class Server:
    """What it is called by, and what it heard."""

    def __init__(self, greeting: bytes = b"") -> None:
        self.greeting = greeting
        self.calls = 0
        self.ended = 0
        self.heard: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        try:
            if self.greeting:
                writer.write(self.greeting)
            while data := await reader.read(65536):
                self.heard.append(data)
                writer.write(data)
            writer.write_eof()
        except OSError:
            pass
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def scene(folder: Path, server: Server | None) -> AsyncIterator[Scene]:
    """``server``: None if nobody listens."""
    if server is None:
        with socket.socket() as free:
            free.bind((SERVER, 0))
            port = free.getsockname()[1]
        made = Scene(folder, port)
        yield made
        await made.close()
        return
    listening = await asyncio.start_server(server, SERVER, 0)
    made = Scene(folder, listening.sockets[0].getsockname()[1])
    yield made
    await made.close()
    await until(lambda: server.ended == server.calls)
    listening.close()


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.005)


async def read(reader: asyncio.StreamReader, size: int) -> bytes:
    async with asyncio.timeout(10):
        return await reader.readexactly(size)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here waits for a clock but where a test says so."""
    for name in (
        "UNDECIDED_SECONDS",
        "BRIEF_SECONDS",
        "SILENT_SECONDS",
        "UNREACHABLE_SECONDS",
        "FORBIDDEN_SECONDS",
    ):
        monkeypatch.setattr(opening, name, 60.0)


def test_a_server_that_talks_first_is_heard(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server(GREETING)
        async with scene(tmp_path, server) as made:
            reader, writer = await made.connect()
            assert await read(reader, len(GREETING)) == GREETING
            writer.write(b"hello")
            assert await read(reader, 5) == b"hello"
            writer.write_eof()
            assert await reader.read() == b""
            await until(lambda: made.lines("connection complete"))
        (line,) = made.lines("connection complete")
        assert line["src.addr"] == "127.0.0.1:4000"
        assert line["src.workload"] == "client"
        assert line["dst.addr"] == TARGET
        assert line["dst.service"] == WEB.hostname
        assert line["dst.workload"] == "web-1"
        assert (line["bytes_sent"], line["bytes_recv"]) == (len(GREETING) + 5, 5)
        assert "error" not in line

    run(scenario)


def test_a_client_that_talks_first_and_speaks_no_http_is_passed_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            reader, writer = await made.connect()
            writer.write(b"*1\r\n$4\r\nPING\r\n")
            assert await read(reader, 14) == b"*1\r\n$4\r\nPING\r\n"
            assert made.http == []
            assert server.calls == 1

    run(scenario)


@pytest.mark.parametrize(
    ("first", "spoken"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Spoken.HTTP1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken.HTTP2),
    ],
    ids=["http1", "http2"],
)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "told-by-its-bytes"])
def test_http_is_given_to_those_who_speak_it_with_all_its_bytes(
    tmp_path: Path, first: bytes, spoken: Spoken, declared: bool
) -> None:
    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            if declared:
                made.declare(AppProtocol.HTTP)
            _, writer = await made.connect()
            for byte in first[:20]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(first[20:])
            writer.write_eof()
            await until(lambda: made.http)
            ((call, told, owner),) = made.http
            await until(lambda: owner.is_finished)
            assert (told, owner.heard) == (spoken, first)
            assert call.arrival.service == WEB
            assert server.heard == []
            await until(lambda: server.ended == server.calls)
            assert server.calls == (0 if declared else 1)

    run(scenario)


def test_where_clients_talk_first_the_server_is_not_called_in_vain(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            for number in range(5):
                _, writer = await made.connect()
                writer.write(b"GET / HTTP/1.1\r\n")
                await until(lambda number=number: len(made.http) == number + 1)
            await until(lambda: server.ended == server.calls)
            assert server.calls <= 1

    run(scenario)


def test_a_server_is_heard_after_a_while_where_clients_talk_first_as_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "SILENT_SECONDS", 0.05)

    async def scenario() -> None:
        server = Server(GREETING)
        async with scene(tmp_path, server) as made:
            made.inbound.habits.client_talked(WEB.key, 80)
            reader, _ = await made.connect()
            assert await read(reader, len(GREETING)) == GREETING
            assert not made.inbound.habits.client_talks_first(WEB.key, 80)

    run(scenario)


@pytest.mark.parametrize(
    ("first", "patience"),
    [(b"GET /half", "UNDECIDED_SECONDS"), (b"x", "BRIEF_SECONDS"), (b"\x16\x03\x01", "UNDECIDED_SECONDS")],
    ids=["half-a-line", "a-letter", "half-a-hello"],
)
def test_too_few_bytes_are_nobodys_business_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bytes, patience: str
) -> None:
    monkeypatch.setattr(opening, patience, 0.05)

    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            reader, writer = await made.connect()
            writer.write(first)
            assert await read(reader, len(first)) == first
            assert made.http == []

    run(scenario)


@pytest.mark.parametrize(
    "said", [b"", b"GET /half", b"\x16\x03\x01"], ids=["nothing", "half-a-line", "half-a-hello"]
)
def test_a_client_that_finishes_early_is_passed_on(tmp_path: Path, said: bytes) -> None:
    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            reader, writer = await made.connect()
            writer.write(said)
            writer.write_eof()
            assert await reader.read() == said
            await until(lambda: made.lines("connection complete"))
            (line,) = made.lines("connection complete")
            assert "error" not in line

    run(scenario)


def test_a_client_that_gives_up_is_told_of_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            end = await made.open()
            await until(lambda: server.calls == 1)
            end.reset()
            await until(lambda: server.ended == 1)
            await until(lambda: made.lines("connection failed"))
            assert [line["error"] for line in made.lines("connection failed")] == [
                "the client gave up before it said what it wants"
            ]
            assert made.lines("connection opened") == []

    run(scenario)


def test_of_a_server_that_cannot_be_reached_a_silent_client_hears_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "UNREACHABLE_SECONDS", 0.05)

    async def scenario() -> None:
        async with scene(tmp_path, None) as made:
            reader, _ = await made.connect()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            (line,) = made.lines("connection failed")
            assert "Connection refused" in str(line["error"])

    run(scenario)


def test_of_a_server_that_cannot_be_reached_http_has_the_word(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, None) as made:
            _, writer = await made.connect()
            await until(lambda: not len(made.tasks))
            writer.write(b"GET / HTTP/1.1\r\n")
            await until(lambda: made.http)
            assert made.lines("connection failed") == []

    run(scenario)


def test_an_endpoint_that_cannot_be_reached_costs_nobody_a_connection(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            made.declare(AppProtocol.TCP)
            dead = [
                workload(f"dead-{n}", f"127.0.0.1{n}", services={WEB.key: ((80, made.port),)}) for n in (1, 2)
            ]
            made.know(*dead)
            for _ in range(20):
                reader, writer = await made.connect()
                writer.write(b"hello")
                assert await read(reader, 5) == b"hello"
            assert made.lines("connection failed") == []

    run(scenario)


def test_what_was_declared_opaque_is_answered_when_its_server_is_reached(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, None) as made:
            made.declare(AppProtocol.TCP)
            with pytest.raises(TunnelRefused) as refused:
                await made.open()
            assert refused.value.status == 503
            assert len(made.lines("connection failed")) == 1

    run(scenario)


def test_opaque_bytes_are_not_looked_at(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with scene(tmp_path, server) as made:
            made.declare(AppProtocol.TCP)
            reader, writer = await made.connect()
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await read(reader, 18) == b"GET / HTTP/1.1\r\n\r\n"
            assert made.http == []

    run(scenario)


def test_what_is_not_behind_it_is_refused_and_named(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with scene(tmp_path, None) as made:
            for authority in ("10.96.0.9:80", f"{SERVER}:{made.port}"):
                with pytest.raises(TunnelRefused) as refused:
                    await made.open(authority)
                assert refused.value.status == 404
            lines = made.lines("connection failed")
            assert [GATE.key in str(line["error"]) for line in lines] == [True, True]
            assert {line["src.identity"] for line in lines} == {str(CLIENT.identity)}

    run(scenario)


def test_an_overloaded_waypoint_takes_nothing_more_and_keeps_what_it_has(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server(GREETING)
        async with scene(tmp_path, server) as made:
            reader, writer = await made.connect()
            await read(reader, len(GREETING))
            made.short_of.weigh(90)
            with pytest.raises(TunnelRefused) as refused:
                await made.open()
            assert refused.value.status == 503
            (line,) = made.lines("connection failed")
            assert str(line["error"]).startswith("the waypoint is overloaded")
            writer.write(b"hello")
            assert await read(reader, 5) == b"hello"
            made.short_of.weigh(10)
            reader, _ = await made.connect()
            assert await read(reader, len(GREETING)) == GREETING

    run(scenario)


def deny(**named: object) -> ServicePolicies:
    policy = RequestAuthorization("p", "shop", (), Action.DENY, (((RequestMatch(**named),),),))  # type: ignore[arg-type]
    return ServicePolicies(WEB.key, authorizations=(policy,))


def test_what_guards_requests_is_not_passed_by_as_other_bytes(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server(GREETING)
        async with scene(tmp_path, server) as made:
            made.know(deny(methods=exactly("PUT")))
            reader, writer = await made.connect()
            writer.write(b"\x00\x01\x02")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            assert server.calls == 0
            (line,) = made.lines("connection failed")
            assert (line["policy"], line["response_flags"]) == ("shop/p", "DENY")
            _, writer = await made.connect()
            writer.write(b"GET / HTTP/1.1\r\n")
            await until(lambda: made.http)

    run(scenario)


def test_a_silent_client_that_may_only_ask_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "FORBIDDEN_SECONDS", 0.05)

    async def scenario() -> None:
        server = Server(GREETING)
        async with scene(tmp_path, server) as made:
            made.know(deny(methods=exactly("PUT")))
            reader, _ = await made.connect()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            assert server.calls == 0
            (line,) = made.lines("connection failed")
            assert (line["policy"], line["response_flags"]) == ("shop/p", "DENY")

    run(scenario)


@pytest.mark.parametrize("moment", ["carried", "undecided"])
@pytest.mark.parametrize("change", ["taken-from-behind", "forbidden"])
def test_a_change_of_the_mesh_ends_what_it_forbids(tmp_path: Path, moment: str, change: str) -> None:
    async def scenario() -> None:
        server = Server(GREETING if moment == "carried" else b"")
        async with scene(tmp_path, server) as made:
            reader, writer = await made.connect()
            if moment == "carried":
                await read(reader, len(GREETING))
            else:
                await until(lambda: server.calls == 1)
            made.know(
                replace(WEB, waypoint=None)
                if change == "taken-from-behind"
                else deny(not_methods=exactly("X"))
            )
            if moment == "undecided" and change == "forbidden":
                # Requests may be allowed still: what comes is to be seen first.
                writer.write(b"\x00")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            await until(lambda: server.ended == 1)
            message = "connection complete" if moment == "carried" else "connection failed"
            assert len(made.lines(message)) == 1

    run(scenario)


def test_a_waypoint_that_leaves_ends_what_has_said_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server(GREETING)
        async with scene(tmp_path, server) as made:
            made.inbound.habits.client_talked(WEB.key, 80)
            silent = await made.open()
            half, writer = await made.connect()
            writer.write(b"GET /half")
            made.inbound.habits.server_talked(WEB.key, 80)
            spoken_to, _ = await made.connect()
            await read(spoken_to, len(GREETING))
            await until(lambda: any(one.has_heard for one in made.inbound.undecided))
            made.inbound.leave()
            await until(lambda: silent.gone)
            assert [line["error"] for line in made.lines("connection failed")] == [
                "the waypoint stops, and nothing had been said"
            ]
            writer.write(b" HTTP/1.1\r\n")
            await until(lambda: made.http)
            del half

    run(scenario)


def test_tls_goes_where_its_name_leads(tmp_path: Path) -> None:
    async def scenario() -> None:
        server, other = Server(), Server()
        elsewhere = await asyncio.start_server(other, "127.0.0.2", 0)
        port = elsewhere.sockets[0].getsockname()[1]
        async with scene(tmp_path, server) as made:
            named = service("named", "10.96.0.5")
            to_named = RouteRule(
                Origin("TLSRoute", "shop", "r"),
                Forward((Backend(named.key, 80),)),
                (RouteMatch(server_names=("named.example.com",)),),
            )
            made.know(
                named,
                workload("named-1", "127.0.0.2", services={named.key: ((80, port),)}),
                ServiceRoutes(WEB.key, (RouteTable(Protocol.TLS, (to_named,), Unmatched.SERVICE),)),
            )
            for name, asked in (("named.example.com", other), ("another.example.com", server)):
                _, writer = await made.connect()
                hello = client_hello(name)
                writer.write(hello[:7])
                await writer.drain()
                await asyncio.sleep(0.01)
                writer.write(hello[7:])
                await until(lambda hello=hello, asked=asked: b"".join(asked.heard) == hello)
            assert len(server.heard) == 1
        elsewhere.close()

    run(scenario)


def client_hello(server_name: str) -> bytes:
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=server_name).do_handshake()
    return outgoing.read()
