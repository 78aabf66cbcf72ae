"""One end of an HBONE connection, sans-IO: bytes in, events out.

HBONE is HTTP/2 CONNECT (RFC 9113, section 8.5) inside mutual TLS. One HTTP/2 stream is one tunnelled TCP
connection; ``:authority`` is where it wants to go. This file knows no TLS and no socket.

Flow control. A connection window that streams share lets a few stalled streams starve the rest. So the connection
window is set out of the way (2^31-1, the most there is), and what bounds memory is the sum of the streams' windows:
each starts at ``FIRST_WINDOW`` and doubles while its reader keeps up, and what growth adds over all streams of one
connection is at most ``GROWTH``. A stalled stream thus holds at most its own window.

Resets. A reset stream is normal life for tunnelled TCP, so the library's limiter is set out of the way; the work in
flight for a peer is bounded by whoever carries out ``TunnelRequested``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import ngh2
from ngh2 import config
from ngh2.config import Configuration
from ngh2.enums import ErrorCode, Setting

from ambient.core.errors import PeerError, Unavailable

FIRST_WINDOW = 256 * 1024
MOST_WINDOW = 4 * 1024 * 1024
GROWTH = 32 * 1024 * 1024
_CONNECTION_WINDOW = 2**31 - 1
_NEVER = (2**62, 2**62)

Role = config.Role
Headers: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TunnelRequested:
    """The peer asks for a tunnel; answer with ``accept`` or ``refuse``."""

    stream: int
    method: str
    authority: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TunnelAnswered:
    """The peer answered our request with an HTTP status."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class TunnelData:
    """Bytes for the tunnelled connection; hand their number to ``consumed`` when there is room for more."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class TunnelFinished:
    """The peer will send no more on this tunnel, and said so in order."""

    stream: int


@dataclass(frozen=True, slots=True)
class TunnelReset:
    """The tunnel was cut. ``untouched``: the peer says that it did not act on it, so it may be asked for again."""

    stream: int
    untouched: bool


@dataclass(frozen=True, slots=True)
class TunnelClosed:
    """Both ends have said all and it has left: nothing of the tunnel remains."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamLimitChanged:
    """How many tunnels the peer takes at once."""

    streams: int


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """The peer sent GOAWAY: expect no more tunnels on this connection."""


@dataclass(frozen=True, slots=True)
class Ponged:
    """The peer answered a ping."""


HboneEvent: TypeAlias = (
    TunnelRequested
    | TunnelAnswered
    | TunnelData
    | TunnelFinished
    | TunnelReset
    | TunnelClosed
    | StreamLimitChanged
    | PeerLeaving
    | Ponged
)


class Hbone:
    """Feed it what the socket read; write what ``take`` returns."""

    def __init__(self, role: Role, *, most_streams: int = 200) -> None:
        self._connection = ngh2.Connection(
            role,
            Configuration(
                auto_window_update=False,
                stream_reset_rate_limit=_NEVER,
                max_inbound_header_count=64,
                max_inbound_header_list_size=16 * 1024,
            ),
        )
        settings = {Setting.INITIAL_WINDOW_SIZE: FIRST_WINDOW, Setting.MAX_CONCURRENT_STREAMS: most_streams}
        if role is Role.CLIENT:
            settings[Setting.ENABLE_PUSH] = 0
        self._connection.initiate_connection(settings)
        self._connection.set_local_window_size(_CONNECTION_WINDOW)
        self._windows: dict[int, _Window] = {}
        self._growth_left = GROWTH
        self._broken = False

    def receive(self, data: bytes) -> list[HboneEvent]:
        """Advance by ``data``. Raises PeerError if the peer broke HTTP/2."""
        try:
            self._connection.receive_data(data)
        except ngh2.NGH2Error as error:
            self._broken = True
            raise PeerError(f"not HTTP/2: {error}") from error
        return self._translate(self._connection.events())

    def open(self, authority: str, headers: Headers) -> int:
        """Ask for a tunnel to ``authority``; the stream that will carry it. Raises Unavailable when it cannot."""
        fields = [(b":method", b"CONNECT"), (b":authority", authority.encode())]
        fields += [(name.encode(), value.encode()) for name, value in headers]
        try:
            stream = self._connection.send_request(fields)
        except ngh2.NGH2Error as error:
            raise Unavailable(f"the connection takes no more tunnels: {error}") from error
        self._windows[stream] = _Window()
        return stream

    # A stream may have closed in the bytes that were fed last, before its owner has read of it in the events:
    # what is said of it then falls on the floor, as does everything once the peer has broken HTTP/2.

    def accept(self, stream: int, headers: Headers = ()) -> None:
        """Say yes (200): data may now flow both ways."""
        fields = [(b":status", b"200"), *((name.encode(), value.encode()) for name, value in headers)]
        if stream in self._windows:
            self._say(self._connection.send_response, stream, fields)

    def refuse(self, stream: int, status: int) -> None:
        """Say no with an HTTP status, and end the stream."""
        if stream in self._windows:
            fields = [(b":status", b"%d" % status)]
            self._say(self._connection.send_response, stream, fields, end_stream=True)

    def send(self, stream: int, data: bytes) -> None:
        """Queue bytes of the tunnelled connection; ``queued`` tells how many the peer has no room for yet."""
        if stream in self._windows:
            self._say(self._connection.send_data, stream, data)

    def queued(self, stream: int) -> int:
        """How many bytes of a stream wait for the peer's window or for ``take``."""
        return self._connection.queued_body_size(stream) if stream in self._windows else 0

    @property
    def queued_in_all(self) -> int:
        """How many bytes of all streams wait."""
        return self._connection.queued_body_size()

    def finish(self, stream: int) -> None:
        """Half-close, after what is queued."""
        if stream in self._windows:
            self._say(self._connection.end_stream, stream)

    def reset(self, stream: int, *, untouched: bool = False) -> None:
        """Cut a tunnel; what is queued for it is dropped."""
        if stream in self._windows:
            code = ErrorCode.REFUSED_STREAM if untouched else ErrorCode.CONNECT_ERROR
            self._say(self._connection.reset_stream, stream, code)

    def consumed(self, stream: int, amount: int) -> None:
        """Let the peer send ``amount`` more bytes, and more than before while the reader keeps up.

        Due for every byte, also when its stream has closed: else the connection's own window runs dry at last.
        """
        self._say(self._connection.acknowledge_received_data, amount, stream)
        window = self._windows.get(stream)
        if window is None:
            return
        window.consumed += amount
        if window.consumed < 2 * window.size or window.size >= MOST_WINDOW or window.size > self._growth_left:
            return
        self._growth_left -= window.size
        window.size *= 2
        window.consumed = 0
        self._say(self._connection.set_local_window_size, window.size, stream_id=stream)

    def ping(self) -> None:
        """Ask for a sign of life; ``Ponged`` is the answer."""
        self._say(self._connection.ping)

    def leave(self) -> None:
        """Say that no more tunnels are taken; those that live may end."""
        self._say(self._connection.send_goaway)

    def take(self) -> bytes:
        """Every byte that is due on the socket."""
        try:
            return self._connection.data_to_send()
        except ngh2.ConnectionStateError:
            return b""  # The peer's very first bytes were not HTTP/2: there is not even a farewell.

    def settled(self) -> list[HboneEvent]:
        """What sending brought about: tunnels whose last word has left with ``take``."""
        return [] if self._broken else self._translate(self._connection.events())

    @property
    def wants_nothing(self) -> bool:
        """Whether the connection is over: nothing to read and nothing to write."""
        try:
            return not (self._connection.want_read or self._connection.want_write)
        except ngh2.ConnectionStateError:
            return True

    def _say(self, what: Callable[..., None], *arguments: object, **options: object) -> None:
        if self._broken:
            return
        try:
            what(*arguments, **options)
        except ngh2.StreamUnavailableError:
            return
        except ngh2.ConnectionStateError:
            self._broken = True  # Some faults of the peer end the connection with a GOAWAY and no exception.

    def _translate(self, happened: list[ngh2.Event]) -> list[HboneEvent]:
        events: list[HboneEvent] = []
        chunks: list[bytes] = []
        chunks_of = 0
        for event in happened:
            match event:
                case ngh2.DataReceived(stream_id=stream, data=data, end_stream=ended):
                    if chunks and chunks_of != stream:
                        events.append(TunnelData(chunks_of, b"".join(chunks)))
                        chunks = []
                    chunks_of = stream
                    if data:
                        chunks.append(data)
                    if not ended:
                        continue
                    if chunks:
                        events.append(TunnelData(stream, b"".join(chunks)))
                        chunks = []
                    events.append(TunnelFinished(stream))
                case _:
                    if chunks:
                        events.append(TunnelData(chunks_of, b"".join(chunks)))
                        chunks = []
                    events.extend(self._control(event))
        if chunks:
            events.append(TunnelData(chunks_of, b"".join(chunks)))
        return events

    def _control(self, event: ngh2.Event) -> list[HboneEvent]:
        match event:
            case ngh2.RequestReceived(stream_id=stream, headers=headers, end_stream=ended):
                self._windows[stream] = _Window()
                fields = _text(headers)
                named = dict(fields)
                request = TunnelRequested(
                    stream,
                    named.get(":method", ""),
                    named.get(":authority", ""),
                    tuple(field for field in fields if not field[0].startswith(":")),
                )
                return [request, TunnelFinished(stream)] if ended else [request]
            case ngh2.ResponseReceived(stream_id=stream, headers=headers, end_stream=ended):
                status = dict(_text(headers)).get(":status", "")
                answer = TunnelAnswered(stream, int(status) if status.isdigit() else 0)
                return [answer, TunnelFinished(stream)] if ended else [answer]
            case ngh2.TrailersReceived(stream_id=stream):
                return [TunnelFinished(stream)]
            case ngh2.StreamClosed(stream_id=stream, error_code=code):
                window = self._windows.pop(stream, None)
                if window is not None:
                    self._growth_left += window.size - FIRST_WINDOW
                if code == ErrorCode.NO_ERROR:
                    return [TunnelClosed(stream)]
                return [TunnelReset(stream, untouched=code == ErrorCode.REFUSED_STREAM)]
            case ngh2.StreamReset(stream_id=stream, error_code=ErrorCode.NO_ERROR):
                return [TunnelReset(stream, untouched=False)]
            case ngh2.SettingsReceived(settings=settings) if Setting.MAX_CONCURRENT_STREAMS in settings:
                return [StreamLimitChanged(settings[Setting.MAX_CONCURRENT_STREAMS])]
            case ngh2.PingAcknowledged():
                return [Ponged()]
            case ngh2.GoAwayReceived() | ngh2.ConnectionClosed():
                return [PeerLeaving()]
            case _:
                return []


class _Window:
    """The receive window of one stream, and what its reader took since it last grew."""

    __slots__ = ("consumed", "size")

    def __init__(self) -> None:
        self.size = FIRST_WINDOW
        self.consumed = 0


def _text(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Header fields as text; bytes that are not UTF-8 stay visible as escapes."""
    return [
        (name.decode(errors="backslashreplace"), value.decode(errors="backslashreplace"))
        for name, value in headers
    ]
