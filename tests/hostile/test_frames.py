"""Frames that break RFC 9113, or keep it and mean harm, against one end of HBONE: what is refused, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from hostile import breaches
from hostile.frames import (
    CONNECT,
    CONTINUATION,
    DATA,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
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

OPEN = request(1)
CONNECTION_ERRORS = breaches.connection_errors(CONNECT)


@pytest.mark.parametrize(("script", "code"), list(CONNECTION_ERRORS.values()), ids=CONNECTION_ERRORS)
def test_a_broken_connection_is_ended_with_its_reason(script: bytes, code: int) -> None:
    victim = Victim()
    victim.feed(script)
    victim.feed(request(101))
    assert victim.over
    assert victim.goodbye in {code, None}, "the wrong reason"
    assert victim.goodbye == code or victim.fault is not None
    assert not any(getattr(event, "stream", 0) == 101 for event in victim.events)


MALFORMED = breaches.malformed(CONNECT) | {
    "no-authority": request(1, CONNECT[:1]),
    "connect-with-path-and-scheme": request(1, (*CONNECT, (":path", "/"), (":scheme", "https"))),
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


@pytest.mark.parametrize(
    ("script", "code"), list(breaches.FROM_A_SERVER.values()), ids=breaches.FROM_A_SERVER
)
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
