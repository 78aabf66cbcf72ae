"""Frames that break RFC 9113, or keep it and mean harm, against one end of HBONE: what is refused, and what it cost."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

import pytest
from hostile.frames import (
    ACK,
    COMPRESSION_ERROR,
    CONNECT,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Victim,
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

from ambient.core import hbone
from ambient.core.hbone import Role

ENDED = END_HEADERS | END_STREAM
OPEN = request(1)

CONNECTION_ERRORS = {
    # 4.2 and 4.3: sizes and header compression
    "frame-larger-than-allowed": (frame(DATA, 1, bytes(32768)), FRAME_SIZE_ERROR),
    "index-of-no-entry": (frame(HEADERS, 1, b"\xff\x80\x01", END_HEADERS), COMPRESSION_ERROR),
    "table-larger-than-allowed": (frame(HEADERS, 1, b"\x3f\xe1\xff\x7f", END_HEADERS), COMPRESSION_ERROR),
    "huffman-with-end-of-string": (
        frame(HEADERS, 1, b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff", END_HEADERS),
        COMPRESSION_ERROR,
    ),
    # 5.1: states of streams
    "data-on-an-idle-stream": (frame(DATA, 1, b"x"), PROTOCOL_ERROR),
    "reset-of-an-idle-stream": (reset(1), PROTOCOL_ERROR),
    "window-update-of-an-idle-stream": (window_update(1, 1), PROTOCOL_ERROR),
    "continuation-of-an-idle-stream": (frame(CONTINUATION, 1, b"\x82", END_HEADERS), PROTOCOL_ERROR),
    "data-on-a-half-closed-stream": (request(1, flags=ENDED) + frame(DATA, 1, b"x"), STREAM_CLOSED),
    "headers-on-a-half-closed-stream": (request(1, flags=ENDED) + request(1, flags=ENDED), STREAM_CLOSED),
    # 5.1.1: identifiers
    "even-stream": (request(2), PROTOCOL_ERROR),
    # 6.1 - 6.10: frames
    "data-on-stream-zero": (frame(DATA, 0, b"x"), PROTOCOL_ERROR),
    "headers-on-stream-zero": (request(0), PROTOCOL_ERROR),
    "padding-longer-than-the-frame": (OPEN + frame(DATA, 1, b"\x05xx", PADDED), PROTOCOL_ERROR),
    "priority-of-four-bytes": (frame(PRIORITY, 1, bytes(4)), FRAME_SIZE_ERROR),
    "reset-of-three-bytes": (OPEN + frame(RST_STREAM, 1, bytes(3)), FRAME_SIZE_ERROR),
    "settings-on-a-stream": (frame(SETTINGS, 1), PROTOCOL_ERROR),
    "settings-of-five-bytes": (frame(SETTINGS, 0, bytes(5)), FRAME_SIZE_ERROR),
    "acknowledged-settings-with-content": (frame(SETTINGS, 0, bytes(6), 1), FRAME_SIZE_ERROR),
    "push-that-is-neither-0-nor-1": (settings((2, 2)), PROTOCOL_ERROR),
    "window-of-2-to-the-31": (settings((4, 2**31)), FLOW_CONTROL_ERROR),
    "frame-size-below-16-kib": (settings((5, 16383)), PROTOCOL_ERROR),
    "push-promise-to-a-server": (frame(PUSH_PROMISE, 1, bytes(4), END_HEADERS), PROTOCOL_ERROR),
    "ping-on-a-stream": (frame(PING, 1, bytes(8)), PROTOCOL_ERROR),
    "ping-of-seven-bytes": (frame(PING, 0, bytes(7)), FRAME_SIZE_ERROR),
    "goaway-on-a-stream": (frame(GOAWAY, 1, bytes(8)), PROTOCOL_ERROR),
    "window-update-of-nothing": (window_update(0, 0), PROTOCOL_ERROR),
    "window-update-of-three-bytes": (frame(WINDOW_UPDATE, 0, bytes(3)), FRAME_SIZE_ERROR),
    "window-beyond-its-limit": (window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR),
    "frame-inside-a-header-block": (request(1, flags=0) + frame(PING, 0, bytes(8)), PROTOCOL_ERROR),
    "more-data-than-the-window": (OPEN + frame(DATA, 1, bytes(16384)) * 17, FLOW_CONTROL_ERROR),
    # MadeYouReset: what tempts a server to reset a stream itself, which frees its place and not its work.
    "made-you-reset-by-window-update-0": (OPEN + window_update(1, 0), PROTOCOL_ERROR),
    "made-you-reset-by-a-zero-priority": (OPEN + frame(PRIORITY, 1, b""), FRAME_SIZE_ERROR),
    "settings-of-forty": (settings(*((100 + i, 1) for i in range(40))), ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize(("script", "code"), list(CONNECTION_ERRORS.values()), ids=CONNECTION_ERRORS)
def test_a_broken_connection_is_ended_with_its_reason(script: bytes, code: int) -> None:
    victim = Victim()
    victim.feed(script)
    victim.feed(request(101))
    assert victim.over
    assert victim.goodbye in {code, None}, "the wrong reason"
    assert victim.goodbye == code or victim.fault is not None
    assert not any(getattr(event, "stream", 0) == 101 for event in victim.events)


def with_field(name: str, value: str) -> bytes:
    return request(1, (*CONNECT, (name, value)))


MALFORMED = {
    "no-authority": request(1, ((":method", "CONNECT"),)),
    "no-method": request(1, ((":authority", "10.0.0.1:80"),)),
    "connect-with-path-and-scheme": request(1, (*CONNECT, (":path", "/"), (":scheme", "https"))),
    "upper-case-name": with_field("Upper", "x"),
    "unknown-pseudo-field": with_field(":other", "x"),
    "pseudo-field-of-a-response": with_field(":status", "200"),
    "pseudo-field-twice": request(1, (*CONNECT, (":authority", "10.0.0.2:80"))),
    "pseudo-field-after-others": request(1, (("x", "y"), *CONNECT)),
    "connection-field": with_field("connection", "keep-alive"),
    "transfer-encoding": with_field("transfer-encoding", "chunked"),
    "te-that-is-not-trailers": with_field("te", "gzip"),
    "line-break-in-a-value": with_field("baggage", "a\r\nb: c"),
    "nul-in-a-value": with_field("baggage", "a\0b"),
    "line-break-in-the-authority": request(1, (CONNECT[0], (":authority", "10.0.0.1:80\r\nx: y"))),
    "empty-name": with_field("", "x"),
    "empty-header-block": frame(HEADERS, 1, b"", END_HEADERS),
}


@pytest.mark.parametrize("script", list(MALFORMED.values()), ids=MALFORMED)
def test_a_malformed_request_is_reset_and_never_heard_of(script: bytes) -> None:
    victim = Victim()
    assert not any(isinstance(event, hbone.TunnelRequested) for event in victim.feed(script))
    assert victim.resets == [(1, PROTOCOL_ERROR)]
    assert any(isinstance(event, hbone.TunnelRequested) for event in victim.feed(request(3)))


def test_a_stream_number_that_was_used_is_refused_and_a_lower_one_ignored() -> None:
    victim = Victim()
    victim.feed(request(5) + request(5))
    assert victim.resets == [(5, PROTOCOL_ERROR)]
    victim.feed(request(3))
    requested = [event.stream for event in victim.events if isinstance(event, hbone.TunnelRequested)]
    assert requested == [5]


def test_streams_beyond_the_limit_are_refused_untouched() -> None:
    victim = Victim()
    for stream in range(1, 1001, 2):
        victim.feed(request(stream))
    requested = [event for event in victim.events if isinstance(event, hbone.TunnelRequested)]
    assert len(requested) == 200
    assert victim.resets == [(stream, REFUSED_STREAM) for stream in range(401, 1001, 2)]


def test_streams_beyond_the_limit_for_ever_end_the_connection() -> None:
    victim = Victim()
    victim.feed_all(request(stream) for stream in range(1, 60_001, 2))
    assert victim.over
    assert victim.goodbye == ENHANCE_YOUR_CALM
    assert len(victim.resets) < 12_000


def opened(then: bytes, times: int) -> Iterator[bytes]:
    yield OPEN
    for _ in range(times):
        yield then


def bomb() -> Iterator[bytes]:
    """One fat field is told once, and then meant three thousand times in a byte each."""
    encoder = Encoder()
    fat = ("x-fat", "A" * 3900)
    yield request(1, (*CONNECT, fat), encoder=encoder)
    for stream in range(3, 403, 2):
        yield request(stream, (*CONNECT, *[fat] * 3000), encoder=encoder)


def crumbs() -> Iterator[bytes]:
    """Each counts, though they would be put together into one field."""
    encoder = Encoder()
    fields = (*CONNECT, *[("cookie", "a=b")] * 1000)
    request(1, fields, encoder=encoder)
    block = encoder.encode(fields)
    yield request(1, (*CONNECT, ("cookie", "a=b")), encoder=Encoder())
    for stream in range(3, 2001, 2):
        yield frame(HEADERS, stream, block, END_HEADERS)


ENDLESS: dict[str, tuple[Callable[[], Iterator[bytes]], int | None]] = {
    "continuations": (
        lambda: iter([request(1, flags=0), *[frame(CONTINUATION, 1, b"\0\1a\1b" * 50)] * 9999]),
        None,
    ),
    "empty-continuations": (lambda: iter([request(1, flags=0), *[frame(CONTINUATION, 1)] * 9999]), None),
    "hpack-bomb": (bomb, None),
    "cookie-crumbs": (crumbs, None),
    "fat-header-list": (
        lambda: iter([request(1, (*CONNECT, ("x", "A" * 9000), ("y", "B" * 9000)))] * 99),
        None,
    ),
    "settings-in-one-write": (lambda: iter([settings((1, 0)) * 2000] * 99), None),
    "pings-in-one-write": (lambda: iter([frame(PING, 0, bytes(8)) * 2000] * 99), None),
    "priorities": (lambda: iter([frame(PRIORITY, 3, b"\0\0\0\0\1") * 100] * 999), ENHANCE_YOUR_CALM),
    "unknown-frames": (lambda: iter([frame(0xEE) * 100] * 999), ENHANCE_YOUR_CALM),
    "empty-headers": (
        lambda: iter(frame(HEADERS, s, b"", END_HEADERS) for s in range(1, 60_001, 2)),
        ENHANCE_YOUR_CALM,
    ),
    "made-you-reset-by-malformed-requests": (
        lambda: iter(request(s, (*CONNECT, ("Upper", "x"))) for s in range(1, 60_001, 2)),
        ENHANCE_YOUR_CALM,
    ),
}


@pytest.mark.parametrize(("script", "code"), list(ENDLESS.values()), ids=ENDLESS)
def test_what_serves_no_purpose_ends_the_connection_before_it_costs(
    script: Callable[[], Iterator[bytes]], code: int | None
) -> None:
    victim = Victim()
    pieces = list(script())
    before, began = resident(), time.process_time()
    taken = victim.feed_all(pieces)
    assert victim.over
    assert taken < len(pieces)
    assert victim.goodbye == code or victim.fault is not None
    assert resident() - before < 16 * 1024, "KiB"
    assert time.process_time() - began < 5


def overflows() -> Iterator[bytes]:
    """MadeYouReset: a stream error that we must answer with a reset of our own."""
    for stream in range(1, 20_001, 2):
        yield request(stream) + window_update(stream, 2**31 - 1)


COSTS_LITTLE: dict[str, Callable[[], Iterator[bytes]]] = {
    "made-you-reset-by-window-overflow": overflows,
    "empty-data": lambda: opened(frame(DATA, 1) * 100, 200),
    # What an honest peer may do too, only less of it: each frame costs a few microseconds and no memory.
    "settings": lambda: iter([settings((1, 0)) + settings((1, 4096))] * 10_000),
    "pings": lambda: iter([frame(PING, 0, bytes(8))] * 20_000),
    "window-updates": lambda: iter([window_update(0, 1) * 100] * 200),
    "big-unknown-frames": lambda: iter([frame(0xEE, 0, bytes(16384))] * 1000),
    "padding": lambda: opened(frame(DATA, 1, bytes((255,)) + bytes(255), PADDED), 20_000),
    "headers-on-closed-streams": lambda: iter([OPEN + reset(1) + request(1) * 20] * 500),
}


@pytest.mark.parametrize("script", list(COSTS_LITTLE.values()), ids=COSTS_LITTLE)
def test_what_is_allowed_in_any_number_costs_little(script: Callable[[], Iterator[bytes]]) -> None:
    victim = Victim()
    pieces = list(script())
    before, began = resident(), time.process_time()
    for piece in pieces:
        victim.feed(piece)
        victim.sent.clear()
        if victim.over:
            break
    assert resident() - before < 8 * 1024, "KiB"
    assert time.process_time() - began < 10


@pytest.mark.parametrize("together", [1, 10, 500])
def test_ten_thousand_rapid_resets_are_heard_in_short_turns(together: int) -> None:
    victim = Victim()
    machine = victim.machine
    pieces = list(rapid_resets(10_000, together))
    before = resident()
    requested = withdrawn = 0
    for piece in pieces:
        events = machine.receive(piece)
        while True:
            asked = sum(isinstance(event, hbone.TunnelRequested) for event in events)
            assert asked <= 200, "work that one turn starts"
            requested += asked
            withdrawn += sum(event.count for event in events if isinstance(event, hbone.RequestsWithdrawn))
            if machine.heard_all:
                break
            events = machine.receive()
    assert requested + withdrawn == 10_000
    assert withdrawn > 8000 or together < 500
    assert resident() - before < 4 * 1024, "KiB"
    assert not machine._streams


def test_a_reset_that_the_peer_provokes_ends_the_work_as_well() -> None:
    victim = Victim()
    victim.feed_all(overflows())
    requested = {event.stream for event in victim.events if isinstance(event, hbone.TunnelRequested)}
    ended = {event.stream for event in victim.events if isinstance(event, hbone.TunnelReset)}
    assert len(requested) == 10_000
    assert requested <= ended
    assert victim.resets == [(stream, FLOW_CONTROL_ERROR) for stream in range(1, 20_001, 2)]
    assert not victim.machine._streams


def test_a_peer_that_asks_and_never_reads_the_answers_is_given_up() -> None:
    victim = Victim()
    before = resident()
    for round_ in range(3000):
        streams = range(200 * round_ + 1, 200 * round_ + 201, 2)
        for event in victim.feed(b"".join(map(request, streams)), listens=False):
            if isinstance(event, hbone.TunnelRequested):
                victim.machine.refuse(event.stream, 400)
        victim.feed(b"".join(map(reset, streams)), listens=False)
        if victim.fault is not None:
            break
    assert "were not read" in str(victim.fault)
    assert round_ < 2000
    assert resident() - before < 8 * 1024, "KiB"


def test_a_peer_that_gives_no_window_holds_no_more_than_was_queued() -> None:
    victim = Victim(first=settings((4, 0)))
    for stream in range(1, 201, 2):
        victim.feed(request(stream))
        victim.machine.accept(stream)
        victim.machine.send(stream, bytes(65536))
    victim.feed(b"")
    assert victim.machine.queued_in_all == 100 * 65536
    victim.feed(b"".join(map(reset, range(1, 201, 2))))
    assert victim.machine.queued_in_all == 0


def test_a_window_that_opens_byte_by_byte_gets_what_it_asks_for() -> None:
    victim = Victim(first=settings((4, 0)))
    victim.feed(OPEN)
    victim.machine.accept(1)
    victim.machine.send(1, bytes(range(200)))
    for _ in range(200):
        victim.feed(window_update(1, 1))
    assert b"".join(one.data for one in victim.sent if isinstance(one, DataFrame)) == bytes(range(200))
    assert victim.machine.queued(1) == 0


# ---- what a hostile server can do to a client


FROM_A_SERVER = {
    "push-promise": (frame(SETTINGS, flags=ACK) + frame(PUSH_PROMISE, 1, struct.pack("!I", 2) + b"\x82", END_HEADERS), PROTOCOL_ERROR),
    "request": (request(2), PROTOCOL_ERROR),
    "answer-to-nothing": (frame(HEADERS, 7, b"\x88", END_HEADERS), PROTOCOL_ERROR),
    "data-before-an-answer": (frame(DATA, 1, b"x"), PROTOCOL_ERROR),
    "more-than-the-window": (frame(HEADERS, 1, b"\x88", END_HEADERS) + frame(DATA, 1, bytes(16384)) * 17, FLOW_CONTROL_ERROR),
    "frame-larger-than-allowed": (frame(HEADERS, 1, bytes(32768)), FRAME_SIZE_ERROR),
    "pushes-enabled": (settings((2, 1)), PROTOCOL_ERROR),
}  # fmt: skip


@pytest.mark.parametrize(("script", "code"), list(FROM_A_SERVER.values()), ids=FROM_A_SERVER)
def test_a_server_that_breaks_the_protocol_is_left_or_its_stream_is_reset(script: bytes, code: int) -> None:
    victim = Victim(Role.CLIENT)
    assert victim.machine.open("10.0.0.1:80", []) == 1
    victim.feed(b"")
    victim.feed(script)
    assert victim.goodbye == code or victim.fault is not None or victim.resets == [(1, code)]
    assert not any(isinstance(event, hbone.TunnelData) for event in victim.events[:1])


def test_a_server_that_says_wait_for_ever_is_heard_in_short_turns() -> None:
    victim = Victim(Role.CLIENT)
    victim.machine.open("10.0.0.1:80", [])
    victim.feed(b"")
    informational = frame(HEADERS, 1, b"\x08\x03100", END_HEADERS)
    before = resident()
    for _ in range(200):
        assert victim.feed(informational * 100) == []
    assert resident() - before < 8 * 1024, "KiB"
