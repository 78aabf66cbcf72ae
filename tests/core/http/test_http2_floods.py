"""What keeps the rules of HTTP/2, frame by frame, and means harm: each ends before it costs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest
from core.http.http2_peers import ENDED, GET, POST, Fed, server
from hostile.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    REFUSED_STREAM,
    frame,
    rapid_resets,
    request,
    reset,
    settings,
    window_update,
)
from hostile.measure import resident
from hpack import Encoder
from hyperframe.frame import DataFrame

from ambient.core.http.http2 import Http2Server
from ambient.core.http.machine import DEFAULT_LIMITS
from ambient.core.http.message import (
    BodyCame,
    Fault,
    InformationCame,
    MessageCut,
    MessageEnded,
    PeerLeaving,
    RequestCame,
    RequestRefused,
    ResponseCame,
    ResponseHead,
    RoomChanged,
)

Pieces = Iterator[bytes]
OK = ResponseHead(200)


def streams(most: int = 60_000) -> Iterator[int]:
    return iter(range(1, most, 2))


def opened(*then: bytes, times: int = 2000) -> Pieces:
    return chain((request(1, POST),), repeat(b"".join(then), times))


def withdrawn() -> Pieces:
    encoder = Encoder()
    return (request(stream, GET, encoder=encoder) + reset(stream) for stream in streams())


def with_trailers(*fields: tuple[str, str], flags: int) -> Pieces:
    """MadeYouReset: what we must answer with a reset of our own."""
    encoder = Encoder()
    return (
        request(stream, POST, encoder=encoder) + request(stream, fields, encoder=encoder, flags=flags)
        for stream in streams()
    )


def refused_by_us(*field: tuple[str, str]) -> Pieces:
    encoder = Encoder()
    return (request(stream, (*GET, *field), encoder=encoder, flags=ENDED) for stream in streams())


def bomb() -> Pieces:
    """One fat field is told once, and then meant thousands of times in a byte each."""
    encoder = Encoder()
    fat = ("x-fat", "A" * 3900)
    yield request(1, (*GET, fat), encoder=encoder)
    for stream in range(3, 403, 2):
        yield request(stream, (*GET, *[fat] * 3000), encoder=encoder)


def small_bomb() -> Pieces:
    """The same below every limit of the library's: the headers are too long."""
    encoder = Encoder()
    fat = ("x-fat", "A" * 3900)
    for stream in streams():
        yield request(stream, (*GET, *[fat] * 20), encoder=encoder)


def crumbs() -> Pieces:
    encoder = Encoder()
    for stream in streams():
        yield request(stream, (*GET, *[("cookie", "a=b")] * 110), encoder=encoder)


def table_flips() -> Pieces:
    """The client makes its own table small and large again, in each head."""
    plain = request(1, GET)[9 + 1 :]
    for stream in streams():
        yield frame(HEADERS, stream, b"\x20\x3f\xe1\x1f" + plain, END_HEADERS) + reset(stream)


ENDLESS: dict[str, Callable[[], Pieces]] = {
    "rapid-reset": withdrawn,
    "rapid-reset-in-big-writes": lambda: rapid_resets(30_000, 1000),
    "made-you-reset-by-less-than-announced": lambda: (
        request(stream, (*POST, ("content-length", "5"))) + frame(DATA, stream, b"x", 1)
        for stream in streams()
    ),
    "made-you-reset-by-bad-trailers": lambda: with_trailers(("x", "y"), flags=END_HEADERS),
    "made-you-reset-by-forbidden-trailers": lambda: with_trailers(("host", "y"), flags=ENDED),
    "made-you-reset-by-malformed-requests": lambda: refused_by_us(("Upper", "x")),
    "made-you-refuse": lambda: refused_by_us(("host", "other")),
    "empty-header-blocks": lambda: (frame(HEADERS, stream, b"", END_HEADERS) for stream in streams()),
    "continuations": lambda: chain(
        (request(1, GET, flags=0),), repeat(frame(CONTINUATION, 1, b"\0\1a\1b" * 50), 999)
    ),
    "empty-continuations": lambda: chain((request(1, GET, flags=0),), repeat(frame(CONTINUATION, 1), 999)),
    "hpack-bomb": bomb,
    "small-hpack-bomb": small_bomb,
    "cookie-crumbs": crumbs,
    "table-flips": table_flips,
    "streams-beyond-the-limit": lambda: (request(stream, POST) for stream in streams()),
    "settings": lambda: repeat(settings((1, 0)) + settings((1, 4096)), 9000),
    "settings-in-one-write": lambda: repeat(settings((1, 0)) * 2000, 99),
    "pings": lambda: repeat(frame(PING, 0, bytes(8)) * 50, 999),
    "pings-in-one-write": lambda: repeat(frame(PING, 0, bytes(8)) * 2000, 99),
    "pings-and-a-stream": lambda: opened(frame(PING, 0, bytes(8)) * 50),
    "priorities": lambda: repeat(frame(PRIORITY, 3, b"\0\0\0\0\1") * 100, 999),
    "unknown-frames": lambda: repeat(frame(0xEE) * 100, 999),
    "unknown-frames-that-are-big": lambda: repeat(frame(0xEE, 0, bytes(16384)), 30_000),
    "empty-data": lambda: opened(frame(DATA, 1) * 100),
    "empty-data-on-a-closed-stream": lambda: chain(
        (request(1, POST) + reset(1),), repeat(frame(DATA, 1) * 100, 999)
    ),
    "window-updates": lambda: repeat(window_update(0, 1) * 100, 999),
    "window-updates-of-a-stream": lambda: opened(window_update(1, 1) * 100),
    "window-updates-of-a-closed-stream": lambda: chain(
        (request(1, POST) + reset(1),), repeat(window_update(1, 1) * 100, 999)
    ),
    "headers-on-a-closed-stream": lambda: chain(
        (request(1, POST) + reset(1),), repeat(request(1, POST) * 50, 999)
    ),
    "resets-of-a-closed-stream": lambda: chain((request(1, POST),), repeat(reset(1) * 50, 999)),
}


@pytest.mark.parametrize("script", list(ENDLESS.values()), ids=ENDLESS)
def test_what_serves_no_purpose_is_sent_away_before_it_costs(script: Callable[[], Pieces]) -> None:
    it = server()
    before = resident()
    for number, piece in enumerate(script()):
        it.feed(piece)
        if it.machine.is_over:
            break
        if number % 50 == 0:
            it.sent.clear()
    assert it.machine.is_over
    assert it.goodbye == ENHANCE_YOUR_CALM
    assert len(it.requests) <= 2 * DEFAULT_LIMITS.streams + 1, "work for others"
    told = {came.stream for came in it.requests}
    ended = {event.stream for event in it.events if isinstance(event, MessageCut)}
    assert told == ended, "whoever works for it hears that it is over"
    assert it.refused[-1] == 400
    assert resident() - before < 12 * 1024, "KiB"


@pytest.mark.parametrize("together", [1, 10, 500])
def test_of_ten_thousand_rapid_resets_few_are_ever_heard_of(together: int) -> None:
    it = server()
    taken = it.feed_all(rapid_resets(10_000, together))
    assert it.goodbye == ENHANCE_YOUR_CALM
    assert len(it.requests) <= DEFAULT_LIMITS.streams + 1
    assert taken * together <= 1000


def answering(it: Fed[Http2Server], data: bytes) -> None:
    """As a shell would that answers at once."""
    for event in it.feed(data):
        match event:
            case RequestCame(stream):
                it.machine.respond(stream, OK)
                it.machine.send(stream, b"hello")
                it.machine.finish(stream)
            case BodyCame(stream, data):
                it.machine.consumed(stream, len(data))
            case (
                MessageEnded()
                | MessageCut()
                | RequestRefused()
                | PeerLeaving()
                | RoomChanged()
                | ResponseCame()
                | InformationCame()
            ):
                pass
    it.listen()


def test_honest_clients_may_go_on_for_ever() -> None:
    it = server()
    encoder = Encoder()
    for stream in range(1, 20_001, 2):
        said = request(stream, POST, encoder=encoder) + frame(DATA, stream, b"x", 1)
        answering(it, said + window_update(0, 5) + (frame(PING, 0, bytes(8)) if stream % 5 == 0 else b""))
        it.forget()
    assert not it.machine.is_over


def test_a_client_that_gives_up_now_and_then_stays() -> None:
    it = server()
    encoder = Encoder()
    for stream in range(1, 4001, 2):
        if stream % 8 == 1:
            it.feed(request(stream, GET, encoder=encoder) + reset(stream))
        else:
            answering(it, request(stream, GET, encoder=encoder, flags=ENDED))
        it.forget()
    assert not it.machine.is_over


def test_streams_that_are_left_after_their_answer_began_are_nobodys_fault() -> None:
    it = server()
    encoder = Encoder()
    for stream in range(1, 4001, 2):
        it.feed(request(stream, GET, encoder=encoder, flags=ENDED))
        it.machine.respond(stream, OK)
        it.listen()
        it.feed(reset(stream))
        it.forget()
    assert not it.machine.is_over


def test_a_client_that_reads_with_a_window_of_one_holds_what_was_queued_and_no_more() -> None:
    it = server(first=settings((4, 1)))
    encoder = Encoder()
    asked = [request(stream, GET, encoder=encoder, flags=ENDED) for stream in streams(200)]
    it.feed(b"".join(asked))
    for stream in streams(200):
        it.machine.respond(stream, OK)
        it.machine.send(stream, bytes(32_768))
    it.listen()
    assert all(it.machine.queued(stream) == 32_767 for stream in streams(200))
    before = resident()
    for _ in range(40):
        it.feed(b"".join(window_update(stream, 1) for stream in streams(200)))
    assert sum(len(one.data) for one in it.sent if isinstance(one, DataFrame)) == 100 * 41
    assert resident() - before < 4 * 1024, "KiB"
    it.feed(b"".join(map(reset, streams(200))))
    assert all(it.machine.queued(stream) == 0 for stream in streams(200))


def test_a_client_that_reads_no_answers_is_answered_no_more_at_last() -> None:
    machine = Http2Server()
    it = Fed(machine, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
    encoder = Encoder()
    requests = 0
    it.feed(request(1, GET, encoder=encoder, flags=ENDED), listens=False)
    for stream in range(3, 4001, 2):
        for event in it.feed(request(stream, GET, encoder=encoder, flags=ENDED), listens=False):
            if isinstance(event, RequestCame):
                requests += 1
                machine.respond(event.stream, OK, ended=True)
        if machine.is_over:
            break
    assert requests <= 256 + DEFAULT_LIMITS.streams, "answers that wait"
    assert machine.is_over


def test_what_a_head_without_end_may_hold_is_bounded() -> None:
    it = server()
    it.forget()
    tracemalloc.start()
    it.feed(request(1, GET, flags=0))
    for _ in range(8):
        it.feed(frame(CONTINUATION, 1, b"\0\1a\x7f\x81\x7d" + b"b" * 16_000))
        if it.machine.is_over:
            break
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1024 * 1024


def test_heads_that_are_large_in_memory_and_small_on_the_wire_are_few() -> None:
    it = server()
    encoder = Encoder()
    fat = ("x-fat", "A" * 3900)
    it.feed(request(1, (*GET, fat), encoder=encoder))
    it.feed(b"".join(request(stream, (*GET, *[fat] * 14), encoder=encoder) for stream in range(3, 199, 2)))
    assert 15 < len(it.requests) < 20
    assert len(it.resets) + len(it.requests) == 99
    assert {code for _, code in it.resets} == {REFUSED_STREAM}
    for came in it.requests:
        it.machine.respond(came.stream, OK, ended=True)
    it.listen()
    answering(it, request(301, (*GET, *[fat] * 14), encoder=encoder, flags=ENDED))
    assert it.heads[-1][0] == 301


def test_a_turn_is_short_and_what_is_left_of_it_is_not_forgotten() -> None:
    machine = server().machine
    encoder = Encoder()
    asked = b"".join(request(stream, GET, encoder=encoder, flags=ENDED) for stream in streams(2001))
    turns, requested, pinged = 0, 0, frame(PING, 0, bytes(8)) * 900
    events = machine.receive(asked + pinged)
    while True:
        turns += 1
        came = [event for event in events if isinstance(event, RequestCame)]
        assert len(came) <= 96
        requested += len(came)
        for event in came:
            machine.respond(event.stream, OK, ended=True)
        machine.gather()
        if machine.heard_all:
            break
        assert not machine.wants_more
        events = machine.receive(b"")
    assert machine.wants_more
    assert requested == 1000
    assert turns > 10
    assert not machine.is_over


def test_what_waited_for_its_turn_is_forgotten_when_the_connection_is_over() -> None:
    machine = server().machine
    machine.receive(window_update(0, 1) * 2500)
    assert not machine.heard_all
    machine.leave()
    assert machine.is_over
    assert machine.receive(b"") == []
    assert machine.heard_all
    assert machine.wants_more


def test_streams_that_were_refused_cost_more_than_frames() -> None:
    it = server()
    taken = it.feed_all(request(stream, POST) for stream in streams())
    assert taken < 1500
    assert {code for _, code in it.resets} == {REFUSED_STREAM}
    assert [cut.fault for cut in it.cuts] == [Fault.OVERLOADED] * DEFAULT_LIMITS.streams


def test_padding_is_given_back_and_hides_nothing() -> None:
    it = server()
    it.feed(request(1, POST))
    for _ in range(5000):
        it.feed(frame(DATA, 1, b"\xff" + bytes(255), PADDED))
        it.sent.clear()
    assert not it.machine.is_over
