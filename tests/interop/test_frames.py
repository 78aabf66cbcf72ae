"""What HTTP/2 allows and Envoy does not do, by a peer that stands on the ``h2`` library: it harms no byte, at either end.

What HTTP/2 forbids is in ``tests/hostile/test_frames.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import uvloop
from h2 import events as h2
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from net.harness import CLIENT, SERVER, Fabric, credentials_of, fabric

from ambient.core.model.address import SocketAddress
from ambient.net import tls

E = TypeVar("E", bound=h2.Event)
CONNECT = [(":method", "CONNECT"), (":authority", "10.0.0.1:80")]
PRIORITY, SETTINGS, GOAWAY, CONTINUATION, ALTSVC, ORIGIN, NOBODYS = 0x2, 0x4, 0x7, 0x9, 0xA, 0xC, 0xEE
LARGEST_FRAME = 2**24 - 1


class Peer:
    """Either end of a connection, used from a thread of its own."""

    def __init__(self, session: ssl.SSLSocket, *, is_client: bool) -> None:
        self.session = session
        session.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = H2Configuration(
            client_side=is_client, validate_outbound_headers=False, validate_inbound_headers=False
        )
        self.h2 = H2Connection(config)
        self.happened: list[h2.Event] = []
        self.ended = False

    def begin(self, **settings: int) -> None:
        """Say who we are; ``settings`` by their name in RFC 9113."""
        self.h2.local_settings = Settings(
            client=bool(self.h2.config.client_side),
            initial_values={SettingCodes[name]: value for name, value in settings.items()},
        )
        self.h2.max_inbound_frame_size = self.h2.local_settings.max_frame_size
        self.h2.initiate_connection()
        self.say()

    def say(self) -> None:
        self.session.sendall(self.h2.data_to_send())

    def raw(self, kind: int, stream: int, body: bytes, flags: int = 0) -> None:
        """A frame that the library would not send."""
        self.say()
        self.session.sendall(frame(kind, stream, body, flags))

    def hear(self) -> None:
        data = self.session.recv(1 << 20)
        if not data:
            self.ended = True
            raise EOFError
        self.happened += self.h2.receive_data(data)
        self.say()

    def wait(self, kind: type[E], stream: int | None = None) -> E:
        """The first event of a kind; it is taken out of ``happened``."""
        while True:
            for event in self.happened:
                if isinstance(event, kind) and stream in {None, getattr(event, "stream_id", None)}:
                    self.happened.remove(event)
                    return event
            self.hear()

    def body(self, stream: int, size: int | None = None) -> bytes:
        """So many bytes of a stream, or all until its end; the window is given back as they come."""
        received = bytearray()
        while size is None or len(received) < size:
            event = self.wait(h2.Event, stream)
            match event:
                case h2.DataReceived():
                    received += event.data
                    if event.flow_controlled_length:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                    self.say()
                case h2.StreamEnded():
                    break
                case h2.StreamReset():
                    raise ConnectionResetError
                case _:
                    pass
        return bytes(received)

    def send(self, stream: int, data: bytes, *, end_stream: bool = False, most: int = 1 << 20) -> None:
        """All of ``data``, in frames as large as the other side and ``most`` allow."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, most)
            if not room:
                self.hear()
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.say()
        if end_stream:
            self.h2.end_stream(stream)
            self.say()

    def ask(self, *more: tuple[str, str]) -> int:
        """A tunnel, as a client; the stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*CONNECT, *more])
        self.say()
        return stream


def frame(kind: int, stream: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("!I", len(body))[1:] + bytes((kind, flags)) + struct.pack("!I", stream) + body


def status(answer: h2.ResponseReceived) -> str:
    return next(
        value.decode() if isinstance(value, bytes) else value
        for name, value in answer.headers
        if name in (b":status", ":status")
    )


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()


def calling(work: Callable[[Peer], None], **settings: int) -> None:
    """Run ``work`` with a client of our HBONE port, behind which is an echo server."""

    async def scenario() -> None:
        async with fabric(echo) as mesh:

            def client() -> None:
                context = tls._context(ssl.PROTOCOL_TLS_CLIENT, credentials_of(CLIENT))
                plain = socket.create_connection(("127.0.0.1", mesh.address.port), timeout=10)
                with context.wrap_socket(plain) as session:
                    peer = Peer(session, is_client=True)
                    peer.begin(**settings)
                    work(peer)

            await asyncio.wait_for(asyncio.to_thread(client), 60)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@contextlib.contextmanager
def serving(mesh: Fabric, work: Callable[[Peer], None], **settings: int) -> Iterator[list[BaseException]]:
    """Have the tunnels of ``mesh`` end at servers that do ``work``; what went wrong with them is in the list."""
    context = tls._context(ssl.PROTOCOL_TLS_SERVER, credentials_of(SERVER))
    listener = socket.create_server(("127.0.0.1", 0))
    mesh.address = SocketAddress.of(listener.getsockname())
    wrong: list[BaseException] = []

    def one(plain: socket.socket) -> None:
        try:
            plain.settimeout(10)
            with context.wrap_socket(plain, server_side=True) as session:
                peer = Peer(session, is_client=False)
                peer.begin(**settings)
                work(peer)
                with contextlib.suppress(EOFError, OSError):
                    while True:
                        peer.hear()
        except BaseException as error:  # noqa: BLE001  # The test says which.
            wrong.append(error)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listener.accept()
                threading.Thread(target=one, args=(plain,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield wrong
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def answered(work: Callable[[Peer], None], sent: bytes, **settings: int) -> bytes:
    """What a client of our pool reads, that writes ``sent`` and half-closes, from a server that does ``work``."""

    async def scenario() -> bytes:
        async with fabric(echo) as mesh:
            with serving(mesh, work, **settings) as wrong:
                reader, writer = await mesh.connect()
                writer.write(sent)
                writer.write_eof()
                received = await asyncio.wait_for(reader.read(), 30)
                writer.close()
                for tunnel in list(mesh.pool._keys):
                    tunnel.abort("the test is over")
            assert wrong == []
            return received

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(scenario())


# ---- a client of ours


@pytest.mark.parametrize("size", [1, 1000, 16_384, 16_385, 1 << 20])
def test_frames_of_every_size_that_we_allow(size: int) -> None:
    sent = os.urandom(max(100, 3 * size))

    def work(peer: Peer) -> None:
        peer.wait(h2.RemoteSettingsChanged)
        stream = peer.ask()
        received = b""
        for at in range(0, len(sent), max(size, 10_000)):
            block = sent[at : at + max(size, 10_000)]
            peer.send(stream, block, most=size)
            received += peer.body(stream, len(block))
        assert received == sent

    calling(work, MAX_FRAME_SIZE=LARGEST_FRAME)


def test_frames_that_mean_nothing_to_us_are_passed_over() -> None:
    def work(peer: Peer) -> None:
        stream = peer.ask()
        for number in range(20):
            peer.raw(NOBODYS, stream, b"whatever")
            peer.raw(NOBODYS, 0, b"")
            peer.raw(ALTSVC, stream, b"\0\0h2")
            peer.raw(PRIORITY, stream, b"\0\0\0\0\x10")
            peer.raw(PRIORITY, 1001, b"\0\0\0\0\x10")
            peer.send(stream, b"%d " % number)
            peer.h2.send_data(stream, b"", pad_length=number)
            peer.h2.ping(b"12345678")
            peer.h2.update_settings({SettingCodes.ENABLE_PUSH: 0, SettingCodes(0x8): 0})
            peer.say()
        peer.send(stream, b"end", end_stream=True)
        assert peer.body(stream) == b"".join(b"%d " % number for number in range(20)) + b"end"

    calling(work)


def test_padding_is_taken_off_and_its_window_given_back() -> None:
    sent = os.urandom(2_000_000)

    def work(peer: Peer) -> None:
        stream = peer.ask()
        received = b""
        for at in range(0, len(sent), 4000):
            block = sent[at : at + 4000]
            while peer.h2.local_flow_control_window(stream) < len(block) + 256:
                peer.hear()
            peer.h2.send_data(stream, block, pad_length=255)
            peer.say()
            received += peer.body(stream, len(block))
        peer.h2.end_stream(stream)
        peer.say()
        assert received + peer.body(stream) == sent

    calling(work)


def test_trailers_end_a_stream_as_its_last_data_would() -> None:
    def work(peer: Peer) -> None:
        stream = peer.ask()
        peer.send(stream, b"before the trailers")
        peer.h2.send_headers(stream, [("x-checksum", "1234")], end_stream=True)
        peer.say()
        assert peer.body(stream) == b"before the trailers"

    calling(work)


def test_a_request_in_eight_frames_that_come_byte_by_byte_is_a_request() -> None:
    def work(peer: Peer) -> None:
        peer.say()
        block = peer.h2.encoder.encode([*CONNECT, ("baggage", "k8s.namespace.name=shop")])
        pieces = [block[at : at + len(block) // 7] for at in range(0, len(block), len(block) // 7)]
        assert len(pieces) <= 8
        spoken = frame(0x1, 1, pieces[0])
        spoken += b"".join(frame(CONTINUATION, 1, piece) for piece in pieces[1:-1])
        spoken += frame(CONTINUATION, 1, pieces[-1], 0x4)
        # The library must know of the stream, but not say so.
        peer.h2.send_headers(1, CONNECT)
        peer.h2.clear_outbound_data_buffer()
        for at in range(len(spoken)):
            peer.session.sendall(spoken[at : at + 1])
        assert status(peer.wait(h2.ResponseReceived, 1)) == "200"
        peer.send(1, b"hello", end_stream=True)
        assert peer.body(1) == b"hello"

    calling(work)


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        pytest.param([("x-long", "v" * 5000)] * 3, True, id="15-kilobytes"),
        pytest.param([("x-long", "v" * 5000)] * 4, False, id="20-kilobytes"),
        pytest.param([(f"x-{number}", "v") for number in range(60)], True, id="62-fields"),
        pytest.param([(f"x-{number}", "v") for number in range(63)], False, id="65-fields"),
    ],
)
def test_headers_beyond_the_limit_that_we_tell_end_the_connection(
    fields: list[tuple[str, str]], *, fits: bool
) -> None:
    def work(peer: Peer) -> None:
        peer.wait(h2.RemoteSettingsChanged)
        assert peer.h2.remote_settings.max_header_list_size == 16 * 1024
        stream = peer.ask(*fields)
        if fits:
            assert status(peer.wait(h2.ResponseReceived, stream)) == "200"
        else:
            with pytest.raises((EOFError, ConnectionError)):
                peer.wait(h2.ResponseReceived, stream)

    calling(work)


def test_a_window_that_is_closed_shrinks_below_nothing_and_opens_again() -> None:
    sent = os.urandom(500_000)

    def work(peer: Peer) -> None:
        stream = peer.ask()
        peer.wait(h2.ResponseReceived, stream)
        peer.send(stream, sent[:100_000])
        received = b""
        while len(received) < 1000:
            received += peer.wait(h2.DataReceived, stream).data
        # What was sent already is now more than the window: it is 1,000 below nothing.
        peer.raw(SETTINGS, 0, struct.pack("!HI", SettingCodes.INITIAL_WINDOW_SIZE, 0))
        peer.wait(h2.SettingsAcknowledged)
        assert len(received) <= 1000
        for _ in range(40):
            peer.h2.increment_flow_control_window(1000, stream)
            peer.say()
        while len(received) < 40_000:
            received += peer.wait(h2.DataReceived, stream).data
        assert len(received) == 40_000
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
        peer.h2.increment_flow_control_window(2**30)
        peer.say()
        peer.send(stream, sent[100_000:], end_stream=True)
        while len(received) < len(sent):
            received += peer.wait(h2.DataReceived, stream).data
        assert received == sent
        peer.wait(h2.StreamEnded, stream)

    calling(work, INITIAL_WINDOW_SIZE=1000)


def test_200_streams_in_one_breath_each_get_their_own_bytes() -> None:
    def work(peer: Peer) -> None:
        peer.wait(h2.RemoteSettingsChanged)
        streams = [peer.ask() for _ in range(200)]
        for stream in streams:
            peer.h2.send_data(stream, b"of %d" % stream)
        for stream in reversed(streams):
            peer.h2.end_stream(stream)
        peer.say()
        assert [peer.body(stream) for stream in streams] == [b"of %d" % stream for stream in streams]

    calling(work)


# ---- a server of ours


def heard_and_echoed(peer: Peer) -> None:
    """Take one tunnel and give its bytes back."""
    stream = peer.wait(h2.RequestReceived).stream_id
    peer.h2.send_headers(stream, [(":status", "200")])
    peer.send(stream, peer.body(stream), end_stream=True)


@pytest.mark.parametrize("size", [16_384, 100_000, 1 << 20, LARGEST_FRAME])
def test_we_send_frames_no_larger_than_the_server_allows(size: int) -> None:
    sent, largest = os.urandom(3_000_000), [0]

    def work(peer: Peer) -> None:
        stream = peer.wait(h2.RequestReceived).stream_id
        peer.h2.send_headers(stream, [(":status", "200")])
        peer.say()
        received = b""
        while len(received) < len(sent):
            event = peer.wait(h2.DataReceived, stream)
            largest[0] = max(largest[0], len(event.data))
            received += event.data
            peer.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
            peer.say()
        assert received == sent
        peer.send(stream, b"done", end_stream=True)

    assert answered(work, sent, MAX_FRAME_SIZE=size, INITIAL_WINDOW_SIZE=2_000_000) == b"done"
    assert largest[0] <= size


def test_informational_answers_before_the_answer_change_nothing() -> None:
    def work(peer: Peer) -> None:
        stream = peer.wait(h2.RequestReceived).stream_id
        for number in range(10):
            peer.h2.send_headers(stream, [(":status", "103"), ("link", f"</{number}>; rel=preload")])
        peer.h2.send_headers(stream, [(":status", "200")])
        peer.send(stream, peer.body(stream), end_stream=True)

    assert answered(work, b"question") == b"question"


def test_trailers_of_a_server_end_its_stream() -> None:
    def work(peer: Peer) -> None:
        stream = peer.wait(h2.RequestReceived).stream_id
        peer.h2.send_headers(stream, [(":status", "200")])
        peer.send(stream, peer.body(stream))
        peer.h2.send_headers(stream, [("x-checksum", "1234")], end_stream=True)
        peer.say()

    assert answered(work, b"question") == b"question"


def test_a_server_may_say_what_we_do_not_know() -> None:
    def work(peer: Peer) -> None:
        stream = peer.wait(h2.RequestReceived).stream_id
        peer.raw(ORIGIN, 0, b"\0\x0bhttps://a.b")
        peer.raw(ALTSVC, 0, b"\0\x0bhttps://a.bh3")
        peer.raw(NOBODYS, stream, os.urandom(1000))
        peer.h2.send_headers(stream, [(":status", "200"), ("server", "x" * 3000)])
        peer.raw(NOBODYS, 0, b"")
        peer.send(stream, peer.body(stream), end_stream=True)

    assert answered(work, b"question") == b"question"


def test_a_goaway_that_did_not_hear_the_request_sends_it_to_the_next_tunnel() -> None:
    connections: list[Peer] = []

    def work(peer: Peer) -> None:
        connections.append(peer)
        if len(connections) == 1:
            peer.wait(h2.RequestReceived)
            peer.raw(GOAWAY, 0, struct.pack("!II", 0, 0))
        else:
            heard_and_echoed(peer)

    assert answered(work, b"question") == b"question"
    assert len(connections) == 2


def test_a_window_of_one_byte_at_a_time_carries_all() -> None:
    sent = os.urandom(300)

    def work(peer: Peer) -> None:
        stream = peer.wait(h2.RequestReceived).stream_id
        peer.h2.send_headers(stream, [(":status", "200")])
        peer.say()
        received = b""
        while len(received) < len(sent):
            peer.h2.increment_flow_control_window(1, stream)
            peer.say()
            received += peer.wait(h2.DataReceived, stream).data
        peer.wait(h2.StreamEnded, stream)
        peer.send(stream, received, end_stream=True)

    assert answered(work, sent, INITIAL_WINDOW_SIZE=0) == sent
