"""Peers of the HTTP/2 machines that speak frame by frame, and two machines that speak with each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from hostile.frames import ACK, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, Plain, frame, read
from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.machine import DEFAULT_LIMITS, Limits
from ambient.core.http.message import (
    BodyCame,
    Event,
    Headers,
    MessageCut,
    MessageEnded,
    RequestCame,
    RequestRefused,
)

M = TypeVar("M", Http2Server, Http2Client)
ENDED = END_HEADERS | END_STREAM
GET = ((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop"))
POST = ((":method", "POST"), *GET[1:])


def answer(stream: int, *fields: tuple[str, str], status: str = "200", flags: int = END_HEADERS) -> bytes:
    """A response's head."""
    return frame(HEADERS, stream, Plain().encode([(":status", status), *fields]), flags)


def trailers(stream: int, *fields: tuple[str, str]) -> bytes:
    return frame(HEADERS, stream, Plain().encode(list(fields)), ENDED)


class Fed(Generic[M]):
    """A machine that is fed frames. What it says is kept; as a shell would, it is heard until it has told all."""

    def __init__(self, machine: M, first: bytes) -> None:
        self.machine = machine
        self.sent: list[Frame] = []
        self.events: list[Event] = []
        self.heads: list[tuple[int, list[tuple[str, str]]]] = []
        """Each block of fields that it sent, and its stream."""
        self._decoder = Decoder()
        self.feed(first)
        self.start = len(self.sent)

    def feed(self, data: bytes = b"", *, listens: bool = True) -> list[Event]:
        """What it made of ``data``, in as many turns as it took. ``listens``: what it says is taken from it."""
        events = self.machine.receive(data)
        if listens:
            self.listen()
        while not self.machine.heard_all:
            events += self.machine.receive(b"")
            if listens:
                self.listen()
        self.events += events
        return events

    def feed_all(self, pieces: Iterable[bytes], *, listens: bool = True) -> int:
        """How many pieces it took before the connection was over."""
        for number, piece in enumerate(pieces):
            if self.machine.is_over:
                return number
            self.feed(piece, listens=listens)
        return number + 1

    def listen(self) -> list[Frame]:
        """What it has to say."""
        said = b"".join(self.machine.gather())
        frames = read(said.removeprefix(PREFACE))
        self.sent += frames
        for one in frames:
            if isinstance(one, HeadersFrame):
                raw = self._decoder.decode(one.data, raw=True)
                said = [(str(name, "latin-1"), str(value, "latin-1")) for name, value in raw]
                self.heads.append((one.stream_id, said))
        return frames

    def forget(self) -> None:
        """What was said and told so far is of no interest."""
        self.sent.clear()
        self.events.clear()
        self.heads.clear()

    @property
    def goodbye(self) -> int | None:
        """The error code of its GOAWAY."""
        return next((one.error_code for one in self.sent if isinstance(one, GoAwayFrame)), None)

    @property
    def resets(self) -> list[tuple[int, int]]:
        """Streams that it reset, with their error codes."""
        return [(one.stream_id, one.error_code) for one in self.sent if isinstance(one, RstStreamFrame)]

    def body(self, stream: int) -> bytes:
        """What it sent of a body."""
        return b"".join(
            one.data for one in self.sent if isinstance(one, DataFrame) and one.stream_id == stream
        )

    @property
    def requests(self) -> list[RequestCame]:
        return [event for event in self.events if isinstance(event, RequestCame)]

    @property
    def refused(self) -> list[int]:
        return [event.status for event in self.events if isinstance(event, RequestRefused)]

    @property
    def cuts(self) -> list[MessageCut]:
        return [event for event in self.events if isinstance(event, MessageCut)]


def server(limits: Limits = DEFAULT_LIMITS, first: bytes = frame(SETTINGS)) -> Fed[Http2Server]:
    """A server whose client has agreed to its settings."""
    return Fed(Http2Server(limits), PREFACE + first + frame(SETTINGS, flags=ACK))


def client(limits: Limits = DEFAULT_LIMITS, first: bytes = frame(SETTINGS)) -> Fed[Http2Client]:
    """A client whose server has agreed to its settings."""
    return Fed(Http2Client(limits), first + frame(SETTINGS, flags=ACK))


class Pair:
    """A client and a server that hear each other."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.client, self.server = Http2Client(limits), Http2Server(limits)
        self.heard_by_client: list[Event] = []
        self.heard_by_server: list[Event] = []
        self.exchange()

    def exchange(self) -> None:
        """Until neither has anything more to say; bodies are consumed as they come."""
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            for speaker, hearer, heard in (
                (self.client, self.server, self.heard_by_server),
                (self.server, self.client, self.heard_by_client),
            ):
                said = b"".join(speaker.gather())
                if said or not hearer.heard_all:
                    is_quiet = False
                    events = hearer.receive(said)
                    heard.extend(events)
                    for event in events:
                        if isinstance(event, BodyCame):
                            hearer.consumed(event.stream, len(event.data))


def body_of(events: Iterable[Event], stream: int) -> bytes:
    return b"".join(
        bytes(event.data) for event in events if isinstance(event, BodyCame) and event.stream == stream
    )


def trailers_of(events: Iterable[Event], stream: int) -> Headers | None:
    """None: the message has not ended."""
    return next(
        (event.trailers for event in events if isinstance(event, MessageEnded) and event.stream == stream),
        None,
    )
