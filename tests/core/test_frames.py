"""What ``core.hbone`` carries itself of HTTP/2, told by frames that another library writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import given, strategies as st

from ambient.core import hbone
from ambient.core.errors import PeerError
from ambient.core.frames import Frames
from ambient.core.hbone import Hbone, HboneEvent, Role

STATUS_200 = b"\x88"
"""In HPACK, an entry of the static table."""


def opened(first_window: int | None = None, most_frame: int | None = None) -> tuple[Hbone, int]:
    """A client whose request was answered by a peer with these settings."""
    client = Hbone(Role.CLIENT)
    stream = client.open("10.0.0.1:80", [])
    client.take()
    settings = {SettingsFrame.INITIAL_WINDOW_SIZE: first_window, SettingsFrame.MAX_FRAME_SIZE: most_frame}
    client.receive(
        SettingsFrame(
            settings={key: value for key, value in settings.items() if value is not None}
        ).serialize()
    )
    client.receive(HeadersFrame(stream, STATUS_200, flags=["END_HEADERS"]).serialize())
    client.take()
    return client, stream


def sent(client: Hbone) -> list[Frame]:
    """The frames that are due."""
    raw, frames = memoryview(client.take()), []
    while raw:
        frame, length = Frame.parse_frame_header(raw[:9])
        frame.parse_body(raw[9 : 9 + length])
        frames.append(frame)
        raw = raw[9 + length :]
    return frames


def data_of(events: list[HboneEvent]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, hbone.TunnelData))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=40)), max_size=12),
    st.lists(st.integers(1, 30)),
)
def test_pieces_of_any_split_make_the_same_frames(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    raw = b"".join(
        len(payload).to_bytes(3) + bytes([kind, 0]) + (1).to_bytes(4) + payload for kind, payload in frames
    )
    splitter, seen, payload = Frames(), [], b""
    while raw:
        cut = cuts.pop() if cuts else len(raw)
        for piece in splitter.feed(memoryview(raw[:cut])):
            payload = bytes(piece.payload) if piece.first else payload + piece.payload
            if piece.last:
                seen.append((piece.frame.kind, payload))
                assert piece.frame.length == len(payload)
        raw = raw[cut:]
    assert seen == frames


def test_credit_that_comes_byte_by_byte_lets_a_stalled_stream_go_on() -> None:
    client, stream = opened(first_window=10)
    client.send(stream, b"x" * 100)
    assert b"".join(frame.data for frame in sent(client)) == b"x" * 10
    for byte in WindowUpdateFrame(stream, window_increment=50).serialize():
        assert client.receive(bytes([byte])) == []
    assert b"".join(frame.data for frame in sent(client)) == b"x" * 50
    assert client.queued(stream) == 40


@pytest.mark.parametrize("window", [0, 1, 100_000])
def test_a_half_close_needs_no_room_and_follows_what_is_queued(window: int) -> None:
    client, stream = opened(first_window=window)
    client.send(stream, b"x" * 100)
    client.finish(stream)
    first = sent(client)
    client.receive(WindowUpdateFrame(stream, window_increment=1000).serialize())
    both = first + sent(client)
    assert b"".join(frame.data for frame in both) == b"x" * 100
    assert ["END_STREAM" in frame.flags for frame in both] == [False] * (len(both) - 1) + [True]


def test_a_window_that_shrinks_below_nothing_is_made_up_for_first() -> None:
    client, stream = opened(first_window=100)
    client.send(stream, b"x" * 300)
    assert b"".join(frame.data for frame in sent(client)) == b"x" * 100
    client.receive(SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 20}).serialize())
    client.receive(WindowUpdateFrame(stream, window_increment=80).serialize())
    assert not [frame for frame in sent(client) if isinstance(frame, DataFrame)]
    client.receive(WindowUpdateFrame(stream, window_increment=5).serialize())
    assert b"".join(frame.data for frame in sent(client)) == b"x" * 5


@pytest.mark.parametrize("most", [16_384, 65_536, 2**24 - 1])
def test_no_frame_is_larger_than_the_peer_takes(most: int) -> None:
    client, stream = opened(first_window=1_000_000, most_frame=most)
    client.receive(WindowUpdateFrame(0, window_increment=1_000_000).serialize())
    client.send(stream, b"x" * 200_000)
    sizes = [len(frame.data) for frame in sent(client)]
    assert sum(sizes) == 200_000
    assert max(sizes) == min(most, 200_000)


def test_the_connection_window_of_the_peer_is_kept() -> None:
    client, stream = opened(first_window=1_000_000)
    client.send(stream, b"x" * 200_000)
    assert sum(len(frame.data) for frame in sent(client)) == 65_535
    client.receive(WindowUpdateFrame(0, window_increment=7).serialize())
    assert sum(len(frame.data) for frame in sent(client)) == 7


def test_streams_that_have_room_take_turns() -> None:
    client, one = opened(first_window=1_000_000)
    two = client.open("10.0.0.1:80", [])
    client.receive(WindowUpdateFrame(0, window_increment=1_000_000).serialize())
    client.take()
    for stream in (one, two):
        client.send(stream, b"x" * 500_000)
    portion = b"".join(client.gather())
    assert {one, two} == {int.from_bytes(portion[at + 5 : at + 9]) for at in (0, 4 * (9 + 16_384))}


def test_bytes_that_were_lent_are_copied_if_they_could_not_leave() -> None:
    client, stream = opened(first_window=10)
    lent = bytearray(b"x" * 100)
    client.send(stream, memoryview(lent))
    client.gather()
    lent[:] = b"y" * 100
    client.receive(WindowUpdateFrame(stream, window_increment=1000).serialize())
    assert b"".join(frame.data for frame in sent(client)) == b"x" * 90


@pytest.mark.parametrize("cut", [1, 8, 9, 10, 11, 500])
def test_padding_is_taken_off_and_credited(cut: int) -> None:
    client, stream = opened()
    frame = DataFrame(stream, b"question", pad_length=30)
    frame.flags.add("PADDED")
    raw = frame.serialize()
    events: list[HboneEvent] = []
    for at in range(0, len(raw), cut):
        events += [
            hbone.TunnelData(event.stream, bytes(event.data))
            if isinstance(event, hbone.TunnelData)
            else event
            for event in client.receive(raw[at : at + cut])
        ]
    assert data_of(events) == b"question"


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda stream: (9).to_bytes(3) + b"\0\x08" + stream.to_bytes(4) + b"\x09" + b"x" * 8, id="padding"),
        pytest.param(lambda stream: (0).to_bytes(3) + b"\0\x08" + stream.to_bytes(4), id="padded-and-empty"),
        pytest.param(lambda stream: DataFrame(stream, b"x" * 16_384).serialize() * 17, id="beyond-its-window"),
        pytest.param(lambda stream: DataFrame(stream + 2, b"x").serialize(), id="data-on-an-idle-stream"),
        pytest.param(lambda _: DataFrame(1).serialize()[:5] + bytes(4), id="data-on-stream-0"),
        pytest.param(lambda _: WindowUpdateFrame(0, window_increment=2**31 - 1).serialize(), id="overflow"),
        pytest.param(lambda _: b"\0\0\4\x08\0" + bytes(4) + bytes(4), id="no-increment"),
        pytest.param(lambda stream: b"\0\0\5\x08\0" + stream.to_bytes(4) + bytes(5), id="odd-window-update"),
        pytest.param(lambda stream: b"\x10\0\1\0\0" + stream.to_bytes(4) + b"x" * 0x100001, id="frame-too-large"),
    ],
)  # fmt: skip
def test_a_peer_that_breaks_flow_control_or_framing_is_told_goodbye(attack: Callable[[int], bytes]) -> None:
    client, stream = opened()
    with contextlib.suppress(PeerError):
        client.receive(attack(stream))
    farewell = client.take()
    assert farewell[3] == 7, "a GOAWAY"
    assert farewell[17 - 4 : 17] != bytes(4), "that names an error"


def test_a_window_that_overflows_costs_the_peer_its_stream_alone() -> None:
    client, stream = opened()
    client.receive(WindowUpdateFrame(stream, window_increment=2**31 - 1).serialize())
    assert [frame.error_code for frame in sent(client)] == [3]
    assert client.open("10.0.0.1:80", [])
