"""Peers that refuse, withdraw, fall silent or break the protocol: what it costs their siblings, and what is left."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable

import pytest
import uvloop
from net.harness import CLIENT, Fabric, credentials_of, fabric

from ambient.core import hbone
from ambient.core.errors import Unavailable
from ambient.core.hbone import Hbone, Role
from ambient.net import pool, tcp, tls, tunnel
from ambient.net.relay import Relay
from ambient.net.tcp import SocketEnd
from ambient.net.tls import Contexts
from ambient.net.tunnel import ServerTunnel, TunnelLost, TunnelRefused


def run(work) -> None:
    """Nothing may reach the event loop's handler of last resort."""
    unexpected: list[dict[str, object]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
        await asyncio.wait_for(work, 60)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watched())
    assert unexpected == []


def stand_still(seconds: float) -> None:
    time.sleep(seconds)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def ask(mesh: Fabric) -> None:
    reader, writer = await mesh.connect()
    writer.write(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    writer.close()


class Stranger:
    """A client or server with a true certificate and manners of its own."""

    def __init__(self, tls_socket: ssl.SSLSocket, role: Role = Role.CLIENT) -> None:
        self.tls, self.machine = tls_socket, Hbone(role)

    @classmethod
    async def at(cls, mesh: Fabric) -> "Stranger":
        return await asyncio.to_thread(cls._dial, mesh)

    @classmethod
    def _dial(cls, mesh: Fabric) -> "Stranger":
        context = tls._context(ssl.PROTOCOL_TLS_CLIENT, credentials_of(CLIENT))
        plain = socket.create_connection(("127.0.0.1", mesh.address.port), timeout=10)
        return cls(context.wrap_socket(plain))

    async def say(self) -> None:
        await asyncio.to_thread(self.tls.sendall, self.machine.take())

    async def hear(self) -> list[object]:
        data = await asyncio.to_thread(self.tls.recv, 65536)
        return list(self.machine.receive(data)) if data else ["end"]


def test_hundreds_of_refusals_use_up_nothing_of_the_tunnel() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:

            async def refuse(server: ServerTunnel, stream: int) -> None:
                server.refuse(stream, 401)

            relayed, mesh.answer = mesh.answer, refuse
            for _ in range(450):
                with pytest.raises(TunnelRefused):
                    await mesh.pool.open(mesh.key(), "10.0.0.1:80", [])
            mesh.answer = relayed
            await ask(mesh)
            assert mesh.dials == 1
            await until(lambda: mesh.live() == 0)

    run(scenario())


def test_a_request_that_is_never_answered_is_given_up_and_its_siblings_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tunnel, "ANSWER_SECONDS", 0.2)

    async def scenario() -> None:
        async with fabric(echo) as mesh:

            async def ignore(server: ServerTunnel, stream: int) -> None:
                pass

            relayed, mesh.answer = mesh.answer, ignore
            with pytest.raises(TunnelLost, match="did not answer"):
                await mesh.pool.open(mesh.key(), "10.0.0.1:80", [])
            mesh.answer = relayed
            await ask(mesh)
            assert mesh.dials == 1
            await until(lambda: mesh.live() == 0)

    run(scenario())


def test_a_request_withdrawn_in_the_same_breath_harms_nobody() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            refused: list[int] = []

            def refuse_at_once(server: ServerTunnel, request) -> None:
                server.refuse(request.stream, 503)
                refused.append(request.stream)

            mesh._requested = refuse_at_once
            stranger = await Stranger.at(mesh)
            for _ in range(300):
                stream = stranger.machine.open("10.0.0.1:80", [])
                asked = stranger.machine.take()
                stranger.machine.reset(stream)
                await asyncio.to_thread(stranger.tls.sendall, asked + stranger.machine.take())
            await until(lambda: len(refused) + mesh.withdrawn == 300)
            stranger.machine.ping()
            await stranger.say()
            await stranger.hear()
            assert not mesh.tunnels[0].over
            await until(lambda: mesh.live() == 0)
            stranger.tls.close()

    run(scenario())


@pytest.mark.parametrize(
    "bytes_of_it",
    [
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", id="http1"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100, id="bad-frames"),
        pytest.param(os.urandom(4000), id="noise"),
    ],
)
def test_a_peer_that_breaks_http2_is_closed(bytes_of_it: bytes) -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            stranger = await Stranger.at(mesh)
            await asyncio.to_thread(stranger.tls.sendall, bytes_of_it)
            while await asyncio.to_thread(stranger.tls.recv, 65536):
                pass
            stranger.tls.close()
            await until(lambda: mesh.tunnels[0].over)

    run(scenario())


def test_a_request_that_crosses_our_goodbye_is_handed_back_untouched() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            _, held = await mesh.connect()
            asked: list[int] = []
            mesh._requested = lambda _, request: asked.append(request.stream)
            server = mesh.tunnels[0]
            # Both happen before either end has read a byte of the other.
            opening = asyncio.create_task(mesh.pool.open(mesh.key(), "10.0.0.1:80", []))
            server._machine.leave()
            server.leaving = True
            await asyncio.sleep(0.2)
            assert server.streams == 1
            opening.cancel()
            held.close()

    run(scenario())


def test_a_peer_that_takes_no_streams_is_not_dialled_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Hbone):
        def __init__(self, role: Role) -> None:
            super().__init__(role, most_streams=0 if role is Role.SERVER else 200)

    monkeypatch.setattr(tunnel.hbone, "Hbone", Full)
    monkeypatch.setattr(tunnel, "ANSWER_SECONDS", 0.5)

    async def scenario() -> None:
        async with fabric(echo) as mesh:
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await mesh.pool.open(mesh.key(), "10.0.0.1:80", [])
            assert mesh.dials <= 4
            await until(lambda: mesh.live() == 0)

    run(scenario())


def test_a_burst_to_a_server_of_few_streams_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Narrow(Hbone):
        def __init__(self, role: Role) -> None:
            super().__init__(role, most_streams=2 if role is Role.SERVER else 200)

    monkeypatch.setattr(tunnel.hbone, "Hbone", Narrow)
    monkeypatch.setattr(tunnel, "ANSWER_SECONDS", 5)

    async def scenario() -> None:
        async with fabric(echo) as mesh:
            mesh._tunnel = lambda _: silent(mesh, for_seconds=0.02)
            ends = await asyncio.gather(*(mesh.connect() for _ in range(30)))
            for number, (_, writer) in enumerate(ends):
                writer.write(b"%d" % number)
                writer.write_eof()
            for number, (reader, _) in enumerate(ends):
                assert await reader.read() == b"%d" % number
            assert mesh.dials == 15

    run(scenario())


def test_those_who_wait_for_a_tunnel_that_never_comes_to_life_fail_with_it() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            mesh._tunnel = lambda _: silent(mesh, for_seconds=10)
            asked = [mesh.pool.open(mesh.key(), "10.0.0.1:80", []) for _ in range(30)]
            answers = asyncio.gather(*asked, return_exceptions=True)
            await until(lambda: mesh.live() > 0)
            mesh.tunnels[0].abort("nobody is served")
            assert {type(answer) for answer in await answers} == {TunnelLost}
            assert mesh.dials == 1

    run(scenario())


def test_streams_that_use_up_the_window_of_a_tunnel_do_not_hold_up_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hbone, "_CONNECTION_WINDOW", 300_000)

    async def scenario() -> None:
        async with fabric(echo) as mesh:

            async def ignore(server: ServerTunnel, stream: int) -> None:
                server.accept(stream)

            relayed, mesh.answer = mesh.answer, ignore
            for _ in range(2):
                _, writer = await mesh.connect()
                writer.write(b"x" * 1_000_000)
            (ours,) = mesh.pool._keys
            await until(lambda: not ours.has_room)
            mesh.answer = relayed
            await ask(mesh)
            assert mesh.dials == 2

    run(scenario())


def silent(mesh: Fabric, *, for_seconds: float) -> ServerTunnel:
    """A server that says nothing for a while, not even its settings."""
    made = ServerTunnel(lambda _: None, mesh._requested)
    made._writable = False
    asyncio.get_running_loop().call_later(for_seconds, made.resume_writing)
    mesh.tunnels.append(made)
    return made


def test_a_server_that_said_all_and_hears_no_more_is_heard_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Envoy says so with RST_STREAM and NO_ERROR; the client here has read nothing by then."""
    said = os.urandom(200_000)
    monkeypatch.setattr("net.harness._tcp_pair", narrow_pair)

    async def scenario() -> None:
        async with fabric(echo) as mesh:

            async def say_all(server: ServerTunnel, stream: int) -> None:
                server.accept(stream)
                server.send(stream, said)
                server.finish(stream)
                await until(lambda: server.queued(stream) == 0)
                server._flush()
                server._machine._say(server._machine._connection.reset_stream, stream, 0)
                server._flush_soon()

            mesh.answer = say_all
            reader, writer = await mesh.connect()
            writer.transport.pause_reading()
            relayed = mesh.relays[0]
            await until(lambda: relayed._gone == {relayed.far})
            assert relayed.over
            writer.transport.resume_reading()
            assert await reader.read() == said
            await until(lambda: relayed._gone == {relayed.near, relayed.far})
            assert relayed.error is None
            assert mesh.live() == 0

    run(scenario())


def narrow_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection that hold little between them."""
    with socket.socket() as listener, contextlib.ExitStack() as undone:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        theirs = undone.enter_context(socket.socket())
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(listener.getsockname())
        ours, _ = listener.accept()
        undone.pop_all()
    for sock in (ours, theirs):
        sock.setblocking(False)
    return ours, theirs


def test_credentials_that_change_while_a_tunnel_is_dialled_are_the_ones_it_is_used_with() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            dial = mesh.pool._dial
            began, go_on = asyncio.Event(), asyncio.Event()

            async def slow(key, make):
                began.set()
                await go_on.wait()
                return await dial(key, make)

            mesh.pool._dial = slow
            asking = asyncio.create_task(ask(mesh))
            await began.wait()
            mesh.client_contexts = Contexts(credentials_of(CLIENT))
            mesh.pool.leave(lambda _: True)
            go_on.set()
            await asking
            assert mesh.dials == 2
            await until(lambda: mesh.pool.tunnels == 1)

    run(scenario())


def test_a_tunnel_that_nobody_came_to_use_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.1)

    async def scenario() -> None:
        async with fabric(echo) as mesh:
            opening = asyncio.create_task(mesh.pool.open(mesh.key(), "10.0.0.1:80", []))
            await asyncio.sleep(0)
            opening.cancel()
            await until(lambda: mesh.dials == 1)
            await until(lambda: bool(mesh.tunnels))
            await until(lambda: mesh.tunnels[0].over and mesh.pool.tunnels == 0)

    run(scenario())


def test_a_silent_peer_is_given_up_but_a_pause_of_our_own_is_not_its_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tunnel, "PING_SECONDS", 0.2)

    async def scenario() -> None:
        async with fabric(echo) as mesh:
            _, writer = await mesh.connect()
            (ours,) = mesh.pool._keys
            # The whole process stands still, as it does under SIGSTOP: both ends wake late.
            stand_still(1.5)
            await asyncio.sleep(0.5)
            assert not ours.over
            mesh.tunnels[0].buffer_updated = lambda _: None
            mesh.tunnels[0]._transport.pause_reading()
            await until(lambda: ours.over)
            writer.close()

    run(scenario())


def test_what_only_flushes_to_a_peer_that_does_not_read_can_still_be_cut() -> None:
    async def scenario() -> None:
        ended: list[Relay] = []
        ours, theirs = [], []
        for _ in range(2):
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                far.connect(listener.getsockname())
                near, _ = listener.accept()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            ours.append(near)
            theirs.append(far)
        joined = Relay(SocketEnd(ours[0]), SocketEnd(ours[1]), ended.append)
        joined.start()
        theirs[0].shutdown(socket.SHUT_WR)
        theirs[1].setblocking(False)
        sent = 0
        while sent < 50_000:
            try:
                sent += theirs[1].send(b"x" * 10_000)
            except BlockingIOError:
                await asyncio.sleep(0.01)
        theirs[1].shutdown(socket.SHUT_WR)
        await until(lambda: joined.over)
        assert ended == []
        joined.cut("for the test")
        await until(lambda: ended == [joined])
        assert joined.error == "for the test"
        for sock in theirs:
            sock.close()

    run(scenario())


def test_bytes_that_a_client_never_took_are_not_called_a_good_end() -> None:
    async def scenario() -> None:
        async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.write(b"x" * 5_000_000)
            writer.close()

        async with fabric(application) as mesh:
            reader, writer = await mesh.connect()
            writer.write_eof()
            await until(lambda: mesh.relays[1].received > 100_000)
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()
            await until(lambda: mesh.live() == 0)
            assert mesh.relays[0].error is not None
            del reader

    run(scenario())


def test_a_peer_that_connects_and_never_shakes_hands_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 0.2)

    async def scenario() -> None:
        async with fabric(echo) as mesh:
            mute = [socket.create_connection(("127.0.0.1", mesh.address.port), timeout=10) for _ in range(50)]
            await until(lambda: len(mesh.errors) == 50)
            assert await asyncio.to_thread(mute[0].recv, 100) == b""
            for sock in mute:
                sock.close()
            await until(lambda: not mesh._tasks)

    run(scenario())


async def paired(rude: bool, *, open_ended: bool = False) -> tuple[socket.socket, SocketEnd]:
    """A client's socket, which may have been reset, and our end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    end = SocketEnd(ours)
    theirs.sendall(b"early")
    if rude:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
    elif not open_ended:
        theirs.shutdown(socket.SHUT_WR)
    await asyncio.sleep(0.02)
    return theirs, end


def test_a_client_that_is_gone_before_its_relay_starts_ends_it() -> None:
    async def scenario() -> None:
        for _ in range(20):
            ended: list[Relay] = []
            _, near = await paired(rude=True)
            theirs, far = await paired(rude=False)
            Relay(near, far, ended.append).start()
            await until(lambda ended=ended: len(ended) == 1)
            assert ended[0].error == "connection reset by peer"
            theirs.close()

    run(scenario())


def test_a_reset_is_noticed_though_its_end_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "LOOK_SECONDS", 0.2)

    async def scenario() -> None:
        ended: list[Relay] = []
        one, near = await paired(rude=False, open_ended=True)
        other, far = await paired(rude=False, open_ended=True)
        Relay(near, far, ended.append).start()
        one.setblocking(False)
        async with asyncio.timeout(10):
            full = 0
            while full < 20:
                try:
                    one.send(b"x" * 100_000)
                    full = 0
                except BlockingIOError:
                    full += 1
                    await asyncio.sleep(0.02)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        await until(lambda: len(ended) == 1)
        assert ended[0].error == "connection reset by peer"
        other.close()

    run(scenario())


def test_a_reset_behind_more_bytes_than_are_read_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "LOOK_SECONDS", 0.2)

    async def scenario() -> None:
        ended: list[Relay] = []
        one, near = await paired(rude=False, open_ended=True)
        other, far = await paired(rude=False, open_ended=True)
        Relay(near, far, ended.append).start()
        await asyncio.sleep(0.05)
        one.setblocking(False)
        for _ in range(200):
            with contextlib.suppress(BlockingIOError):
                one.send(b"x" * 100_000)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        await until(lambda: len(ended) == 1)
        assert ended[0].error == "connection reset by peer"
        other.close()

    run(scenario())


def test_a_reset_that_comes_with_the_last_bytes_is_noticed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "LOOK_SECONDS", 1000)

    async def scenario() -> None:
        for _ in range(10):
            ended: list[Relay] = []
            one, near = await paired(rude=False, open_ended=True)
            other, far = await paired(rude=False, open_ended=True)
            Relay(near, far, ended.append).start()
            await asyncio.sleep(0.02)
            one.sendall(b"the last")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
            await until(lambda ended=ended: len(ended) == 1)
            assert ended[0].error == "connection reset by peer"
            other.close()

    run(scenario())


def test_a_half_close_for_a_client_that_is_gone_is_its_own_end_and_nobody_elses() -> None:
    async def scenario() -> None:
        ended: list[Relay] = []
        one, near = await paired(rude=False, open_ended=True)
        other, far = await paired(rude=False, open_ended=True)
        Relay(near, far, ended.append).start()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        near.finish()  # The event loop has not told of the reset yet.
        await until(lambda: len(ended) == 1)
        assert ended[0].error == "connection reset by peer"
        other.close()

    run(scenario())


def test_clients_that_hang_up_before_the_answer_cost_their_siblings_nothing() -> None:
    """The answer is met by a reset, and the half-close behind it finds no connection any more."""

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"s":
            await echo(reader, writer)
            return
        # uvloop's word for a transport that its peer has ended is RuntimeError.
        with contextlib.suppress(ConnectionError, RuntimeError):
            await reader.read()
            writer.write(b"x" * 1000)
            writer.close()

    async def scenario() -> None:
        async with fabric(late) as mesh:
            reader, writer = await mesh.connect()
            writer.write(b"s")
            for _ in range(10):
                for _ in range(5):
                    _, hasty = await mesh.connect()
                    hasty.write(b"q")
                    hasty.close()
                writer.write(b"still here")
                assert await reader.readexactly(10) == b"still here"
            await until(lambda: mesh.live() == 2)
            assert mesh.dials == 1

    run(scenario())


def test_what_comes_before_a_relay_starts_is_not_lost() -> None:
    async def scenario() -> None:
        ended: list[Relay] = []
        one, near = await paired(rude=False)
        other, far = await paired(rude=False)
        Relay(near, far, ended.append).start()
        for sock in (one, other):
            sock.settimeout(5)
            assert await asyncio.to_thread(sock.recv, 100) == b"early"
            assert await asyncio.to_thread(sock.recv, 100) == b""
            sock.close()
        await until(lambda: len(ended) == 1)
        assert ended[0].error is None

    run(scenario())


def test_an_end_that_is_cut_before_its_relay_starts_leaves_nothing_with_its_descriptor() -> None:
    async def scenario() -> None:
        for _ in range(20):
            theirs, end = await paired(rude=False)
            end.reset()
            theirs.close()
            await asyncio.sleep(0.01)
        # The same descriptors again: whoever has them must hear of what happens on them.
        async with fabric(echo) as mesh:
            for _ in range(20):
                await ask(mesh)

    run(scenario())


def test_bytes_that_wait_are_passed_on_to_an_end_that_has_finished_already() -> None:
    async def scenario() -> None:
        ended: list[Relay] = []
        one, near = await paired(rude=False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            other = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        other.shutdown(socket.SHUT_WR)
        far = SocketEnd(ours)
        await asyncio.sleep(0.02)
        Relay(near, far, ended.append).start()
        other.settimeout(5)
        assert await asyncio.to_thread(other.recv, 100) == b"early"
        await until(lambda: len(ended) == 1)
        one.close()
        other.close()

    run(scenario())
