"""Whatever order things happen in: the same bytes mean the same, and no stream ever has another's."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import groupby

from core.http.http2_peers import (
    ENDED,
    GET,
    POST,
    Pair,
    answer,
    body_of,
    client,
    server,
    trailers,
    trailers_of,
)
from hostile.frames import (
    DATA,
    END_STREAM,
    GOAWAY,
    PADDED,
    PING,
    PRIORITY,
    frame,
    request,
    reset,
    settings,
    window_update,
)
from hypothesis import given, settings as how, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.machine import Limits
from ambient.core.http.message import (
    BodyCame,
    Event,
    Fault,
    Headers,
    InformationCame,
    MessageCut,
    MessageEnded,
    PeerLeaving,
    RequestCame,
    RequestHead,
    RequestRefused,
    ResponseCame,
    ResponseHead,
    RoomChanged,
)

NUMBERS = st.sampled_from([1, 3, 5, 7, 9])
LATER = st.sampled_from([1, 3, 5, 7, 9, 11, 0, 2])


def some_frame() -> st.SearchStrategy[bytes]:
    """One that is in order somewhere."""
    flags = st.sampled_from([0, END_STREAM])
    return st.one_of(
        st.builds(lambda n, f: request(n, POST, flags=4 | f), NUMBERS, flags),
        st.builds(lambda n: request(n, GET, flags=ENDED), NUMBERS),
        st.builds(lambda n, d, f: frame(DATA, n, d, f), NUMBERS, st.binary(max_size=20), flags),
        st.builds(lambda n, f: frame(DATA, n, b"\2ab\0\0", PADDED | f), NUMBERS, flags),
        st.builds(lambda n: trailers(n, ("x", "y")), NUMBERS),
        st.builds(lambda n: trailers(n, ("host", "y")), NUMBERS),
        st.builds(reset, LATER),
        st.builds(window_update, LATER, st.integers(0, 100)),
        st.just(frame(PING, 0, bytes(8))),
        st.just(frame(PRIORITY, 1, b"\0\0\0\0\1")),
        st.builds(lambda size: settings((4, size)), st.integers(0, 1000)),
        st.builds(lambda last: frame(GOAWAY, 0, struct.pack("!II", last, 0)), st.integers(0, 3)),
        st.builds(frame, st.integers(0, 20), LATER, st.binary(max_size=9)),
        st.builds(lambda n, f: answer(n, flags=4 | f), NUMBERS, flags),
        st.builds(lambda n: answer(n, ("content-length", "3")), NUMBERS),
    )


def told(events: list[Event]) -> list[Event]:
    """What was told, with parts of a body that follow each other as one, and cuts that do in order of their streams."""
    whole: list[Event] = []
    for event in events:
        last = whole[-1] if whole else None
        if isinstance(event, BodyCame) and isinstance(last, BodyCame) and last.stream == event.stream:
            whole[-1] = BodyCame(event.stream, bytes(last.data) + bytes(event.data))
        elif event != RoomChanged():
            whole.append(event)
    of_a_kind = [list(run) for _, run in groupby(whole, type)]
    return [
        event
        for run in of_a_kind
        for event in (sorted(run, key=_stream_of) if isinstance(run[0], MessageCut) else run)
    ]


def _stream_of(event: Event) -> int:
    assert isinstance(event, MessageCut)
    return event.stream


@given(st.lists(some_frame(), max_size=12).map(b"".join), st.lists(st.integers(1, 60), max_size=12))
@how(max_examples=200, deadline=None)
def test_any_cut_of_the_same_bytes_tells_a_server_the_same(said: bytes, sizes: list[int]) -> None:
    whole, cut = server(), server()
    whole.feed(said)
    for size in sizes:
        cut.feed(said[:size])
        said = said[size:]
    cut.feed(said)
    assert told(cut.events) == told(whole.events)
    assert cut.goodbye == whole.goodbye
    assert cut.machine.is_over == whole.machine.is_over


@given(st.lists(some_frame(), max_size=12).map(b"".join), st.lists(st.integers(1, 60), max_size=12))
@how(max_examples=200, deadline=None)
def test_any_cut_of_the_same_bytes_tells_a_client_the_same(said: bytes, sizes: list[int]) -> None:
    whole, cut = client(), client()
    for it in (whole, cut):
        for number in range(5):
            it.machine.request(RequestHead("POST", "shop", "/", length=None), ended=number % 2 == 0)
        it.listen()
    whole.feed(said)
    for size in sizes:
        cut.feed(said[:size])
        said = said[size:]
    cut.feed(said)
    assert told(cut.events) == told(whole.events)
    assert cut.goodbye == whole.goodbye


@given(st.binary(max_size=200), st.binary(max_size=200))
@how(deadline=None)
def test_noise_raises_nothing(one: bytes, other: bytes) -> None:
    for it in (server(), client()):
        it.feed(one)
        it.feed(other)
        it.machine.receive_end()
        assert it.machine.is_over


TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=10).map(lambda name: "x-" + name)
VALUES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=30
)
HEADERS_OF = st.lists(st.tuples(TOKENS, VALUES), max_size=8).map(tuple)


@given(
    head=st.builds(
        RequestHead,
        method=st.sampled_from(["GET", "POST", "DELETE", "PATCH"]),
        authority=st.sampled_from(["shop", "shop:80", "10.0.0.1", "[::1]:8080"]),
        path=st.text("abc/?&=%.;~", max_size=20).map(lambda path: "/" + path),
        headers=HEADERS_OF,
        scheme=st.sampled_from(["http", "https"]),
        length=st.none(),
        expects_continue=st.booleans(),
        takes_trailers=st.booleans(),
    ),
    body=st.binary(max_size=100),
    ending=HEADERS_OF,
)
@how(max_examples=100, deadline=None)
def test_what_is_said_is_what_is_heard(head: RequestHead, body: bytes, ending: Headers) -> None:
    pair = Pair()
    stream = pair.client.request(head)
    pair.client.send(stream, body)
    pair.client.finish(stream, ending)
    pair.exchange()
    assert pair.heard_by_server[0] == RequestCame(stream, head)
    assert body_of(pair.heard_by_server, stream) == body
    assert trailers_of(pair.heard_by_server, stream) == ending
    answered = ResponseHead(201, head.headers, len(body))
    pair.server.respond(stream, answered)
    pair.server.send(stream, body)
    pair.server.finish(stream, ending)
    pair.exchange()
    assert ResponseCame(stream, answered) in pair.heard_by_client
    assert body_of(pair.heard_by_client, stream) == body
    assert trailers_of(pair.heard_by_client, stream) == ending


def test_two_hundred_streams_at_once_with_bodies_beyond_every_window() -> None:
    limits = Limits(streams=200, stream_window=1000)
    pair = Pair(limits)
    bodies = {
        pair.client.request(RequestHead("POST", "shop", f"/{number}", length=None)): bytes([number]) * 7001
        for number in range(200)
    }
    assert not pair.client.has_room
    for stream, body in bodies.items():
        pair.client.send(stream, body)
        pair.client.finish(stream)
    pair.exchange()
    for stream, body in bodies.items():
        assert body_of(pair.heard_by_server, stream) == body
        pair.server.respond(stream, ResponseHead(200, length=len(body)))
        pair.server.send(stream, body)
        pair.server.finish(stream, (("x", str(stream)),))
    pair.exchange()
    for stream, body in bodies.items():
        assert body_of(pair.heard_by_client, stream) == body
        assert trailers_of(pair.heard_by_client, stream) == (("x", str(stream)),)
    assert pair.client.has_room
    assert not [event for event in pair.heard_by_client if isinstance(event, MessageCut)]


@dataclass
class Said:
    """What one side said on a stream, and what the other heard."""

    said: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)
    has_said_all: bool = False
    has_heard_all: bool = False
    is_over: bool = False
    is_asked: bool = False
    is_open: bool = False


class Interleaved(RuleBasedStateMachine):
    """Requests, bodies, trailers, resets and goodbyes in any order, both ways, whoever has heard what of it."""

    def __init__(self) -> None:
        super().__init__()
        limits = Limits(streams=4, stream_window=50)
        self.client, self.server = Http2Client(limits), Http2Server(limits)
        self.on_the_way: dict[str, bytearray] = {"up": bytearray(), "down": bytearray()}
        self.up: dict[int, Said] = {}
        self.down: dict[int, Said] = {}
        self.number = 0

    def part(self, stream: int) -> bytes:
        """Bytes that say whose they are."""
        self.number += 1
        return b"<%d:%d>" % (stream, self.number)

    @precondition(lambda self: self.client.has_room)
    @rule(ended=st.booleans())
    def ask(self, ended: bool) -> None:
        stream = self.client.request(
            RequestHead("POST", "shop", "/", length=0 if ended else None), ended=ended
        )
        assert stream not in self.up
        self.up[stream] = Said(is_open=True, has_said_all=ended)
        self.down[stream] = Said()

    @rule(which=st.integers(0, 20), is_up=st.booleans(), times=st.integers(1, 20))
    def say(self, which: int, is_up: bool, times: int) -> None:
        for stream, side in self._some(which, is_up=is_up):
            data = b"".join(self.part(stream) for _ in range(times))
            (self.client if is_up else self.server).send(stream, data)
            side.said += data

    @rule(which=st.integers(0, 20), is_up=st.booleans(), ending=st.sampled_from([(), (("x", "y"),)]))
    def finish(self, which: int, is_up: bool, ending: Headers) -> None:
        for stream, side in self._some(which, is_up=is_up):
            (self.client if is_up else self.server).finish(stream, ending)
            side.has_said_all = True

    def _some(self, which: int, *, is_up: bool) -> list[tuple[int, Said]]:
        sides = self.up if is_up else self.down
        open_ones = [
            (stream, side) for stream, side in sides.items() if side.is_open and not side.has_said_all
        ]
        return open_ones[which % len(open_ones) :][:1] if open_ones else []

    @rule(which=st.integers(0, 20), information=st.booleans(), ended=st.booleans())
    def respond(self, which: int, information: bool, ended: bool) -> None:
        asked = [
            stream
            for stream, side in self.down.items()
            if side.is_asked and not (side.is_over or side.is_open)
        ]
        if not asked:
            return
        stream = asked[which % len(asked)]
        if information:
            self.server.inform(stream, 103, (("link", "x"),))
            return
        self.server.respond(stream, ResponseHead(200), ended=ended)
        self.down[stream].is_open = True
        self.down[stream].has_said_all = ended

    @rule(which=st.integers(0, 20), is_up=st.booleans(), fault=st.sampled_from(Fault))
    def cut(self, which: int, is_up: bool, fault: Fault) -> None:
        if self.up:
            stream = list(self.up)[which % len(self.up)]
            (self.client if is_up else self.server).reset(stream, fault)
            self.up[stream].is_over = self.down[stream].is_over = True

    @rule(is_up=st.booleans())
    def leave(self, is_up: bool) -> None:
        (self.client if is_up else self.server).leave()

    @rule(stream=st.integers(-1, 12), size=st.integers(0, 100))
    def ask_of_what_is_not(self, stream: int, size: int) -> None:
        """Numbers that mean nothing are passed over."""
        for machine in (self.client, self.server):
            if stream not in self.up or self.up[stream].is_over:
                machine.send(stream, b"stray")
                machine.consumed(stream, size)
                machine.finish(stream)
                machine.queued(stream)

    @rule(is_up=st.booleans(), size=st.integers(1, 400))
    def carry(self, is_up: bool, size: int) -> None:
        speaker, hearer = (self.client, self.server) if is_up else (self.server, self.client)
        wire = self.on_the_way["up" if is_up else "down"]
        wire += b"".join(speaker.gather())
        data, wire[:] = bytes(wire[:size]), wire[size:]
        events = hearer.receive(data)
        while not hearer.heard_all:
            events += hearer.receive(b"")
        for event in events:
            self.heard(event, hearer, is_up=is_up)

    def heard(self, event: Event, hearer: Http2Server | Http2Client, *, is_up: bool) -> None:
        sides = self.up if is_up else self.down
        match event:
            case RequestCame(stream):
                assert is_up
                assert stream in self.up
                self.down[stream].is_asked = True
            case ResponseCame(stream) | InformationCame(stream):
                assert not is_up
                assert stream in self.up
            case BodyCame(stream, data):
                side = sides[stream]
                side.heard += data
                assert side.said.startswith(bytes(side.heard)), "another stream's, or not in order"
                hearer.consumed(stream, len(data))
            case MessageEnded(stream):
                side = sides[stream]
                assert not side.has_heard_all
                side.has_heard_all = True
                assert side.has_said_all
                assert side.heard == side.said
            case MessageCut(stream):
                self.up[stream].is_over = self.down[stream].is_over = True
            case PeerLeaving() | RoomChanged():
                pass
            case RequestRefused():
                raise AssertionError(event)

    @invariant()
    def nothing_is_queued_beyond_what_was_said(self) -> None:
        for sides, machine in ((self.up, self.client), (self.down, self.server)):
            for stream, side in sides.items():
                assert 0 <= machine.queued(stream) <= len(side.said)

    def teardown(self) -> None:
        """What is on its way arrives, and then whatever lives has said all of what was heard."""
        for _ in range(2000):
            before = (len(self.on_the_way["up"]), len(self.on_the_way["down"]))
            self.carry(is_up=True, size=1000)
            self.carry(is_up=False, size=1000)
            if before == (0, 0) and not any(self.on_the_way.values()):
                break
        assert not any(self.on_the_way.values())
        for events, machine in ((self.client.receive_end(), "client"), (self.server.receive_end(), "server")):
            assert all(isinstance(event, MessageCut) for event in events), machine
        assert self.client.is_over
        assert self.server.is_over


Interleaved.TestCase.settings = how(max_examples=60, stateful_step_count=40, deadline=None)
TestInterleaved: type = Interleaved.TestCase
