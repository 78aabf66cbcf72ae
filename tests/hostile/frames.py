"""Frames of HTTP/2 as no well-behaved library would write them, and what came back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from hpack import Encoder
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame

from ambient.core.errors import PeerError
from ambient.core.hbone import Hbone, HboneEvent, Role

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 1, 3, 5, 6
REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 9, 11
CONNECT = ((":method", "CONNECT"), (":authority", "10.0.0.1:80"))
Fields = Sequence[tuple[str, str]]


def frame(kind: int, stream: int = 0, body: bytes = b"", flags: int = 0) -> bytes:
    """Any frame, right or wrong."""
    return struct.pack("!I", len(body))[1:] + bytes((kind, flags)) + struct.pack("!I", stream) + body


def request(
    stream: int, fields: Fields = CONNECT, *, flags: int = END_HEADERS, encoder: Encoder | None = None
) -> bytes:
    """A HEADERS frame. ``encoder``: that of its connection, so that repeated fields shrink to a byte."""
    return frame(HEADERS, stream, (encoder or Plain()).encode(list(fields)), flags)


class Plain(Encoder):
    """Refers to nothing that was said before."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table_size = 0


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, stream, struct.pack("!I", code))


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, stream, struct.pack("!I", increment))


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, b"".join(struct.pack("!HI", *pair) for pair in pairs))


def rapid_resets(count: int, together: int, first: int = 1) -> Iterator[bytes]:
    """Requests that are withdrawn at once, so many in each write."""
    encoder = Encoder()
    streams = iter(range(first, first + 2 * count, 2))
    for _ in range(count // together):
        yield b"".join(
            request(stream, encoder=encoder) + reset(stream) for stream in islice(streams, together)
        )


def read(data: bytes) -> list[Frame]:
    """The frames of a direction."""
    frames = []
    while data:
        one, length = Frame.parse_frame_header(memoryview(data[:9]))
        one.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(one)
        data = data[9 + length :]
    return frames


class Victim:
    """A server, or a client, that is fed frames; it answers as a tunnel would: at once, and all that is due."""

    def __init__(self, role: Role = Role.SERVER, first: bytes = frame(SETTINGS)) -> None:
        self.machine = Hbone(role)
        self.sent: list[Frame] = []
        self.events: list[HboneEvent] = []
        self.fault: PeerError | None = None
        self.machine.take()
        self.feed((PREFACE if role is Role.SERVER else b"") + first)

    def feed(self, data: bytes, *, listens: bool = True) -> list[HboneEvent]:
        """What it made of ``data``, in as many turns as it took. ``listens``: the peer reads what is sent."""
        events: list[HboneEvent] = []
        try:
            events += self.machine.receive(data)
            while not self.machine.heard_all:
                events += self.machine.receive()
        except PeerError as error:
            self.fault = error
        if listens:
            self.sent += read(self.machine.take())
            events += self.machine.settled()
        self.events += events
        return events

    def feed_all(self, pieces: Iterable[bytes], *, listens: bool = True) -> int:
        """How many pieces it took before the connection was over."""
        for number, piece in enumerate(pieces):
            if self.over:
                return number
            self.feed(piece, listens=listens)
        return number + 1

    @property
    def over(self) -> bool:
        return self.fault is not None or self.machine.wants_nothing

    @property
    def goodbye(self) -> int | None:
        """The error code of its GOAWAY."""
        return next((one.error_code for one in self.sent if isinstance(one, GoAwayFrame)), None)

    @property
    def resets(self) -> list[tuple[int, int]]:
        """Streams that it reset, with their error codes."""
        return [(one.stream_id, one.error_code) for one in self.sent if isinstance(one, RstStreamFrame)]
