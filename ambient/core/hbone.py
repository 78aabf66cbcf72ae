"""One end of an HBONE connection, sans-IO: bytes in, events out.

HBONE is HTTP/2 CONNECT (RFC 9113, section 8.5) inside mutual TLS. One HTTP/2 stream is one tunnelled TCP
connection; ``:authority`` is where it wants to go. This file knows no TLS and no socket.

Two hands. Bytes of tunnels (DATA) and their credit (WINDOW_UPDATE) are carried here, because the library would copy
each byte twice and cut it into frames of 16 KiB; everything else is ngh2's: header compression, settings, the life
of streams, and every fault of the peer. ngh2 never sees a byte of a live tunnel, only its last, empty DATA frame.

Flow control. A connection window that streams share lets a few stalled streams starve the rest. So the connection
window is set out of the way (2^31-1, the most there is), and what bounds memory is the sum of the streams' windows:
each starts at ``FIRST_WINDOW`` and doubles while its reader keeps up, and what growth adds over all streams of one
connection is at most ``GROWTH``. A stalled stream thus holds at most its own window.

Resets. A reset stream is normal life for tunnelled TCP, so the library's limiter is set out of the way; the work in
flight for a peer is bounded by whoever carries out ``TunnelRequested``.

Turns. A request is a dozen bytes to send and much to carry out, so what one read of a socket can hold must not be
carried out in one go. After a crowd of requests, or of frames, ``receive`` stops and keeps what it has not heard yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias

import ngh2
from ngh2 import config
from ngh2.config import Configuration
from ngh2.enums import ErrorCode, Setting

from ambient.core import frames
from ambient.core.errors import PeerError, Unavailable
from ambient.core.frames import Buffer, Frame, Frames, Piece

FIRST_WINDOW = 256 * 1024
MOST_WINDOW = 4 * 1024 * 1024
GROWTH = 32 * 1024 * 1024
MOST_FRAME: Final = 1024 * 1024
"""The largest frame that the peer may send. Source: the peers' figure."""
PORTION: Final = 256 * 1024
"""About how many bytes ``gather`` hands out at once."""
_TURN: Final = 64 * 1024
"""How many bytes a stream may send before the next has its turn."""
_MOST_CREDIT: Final = 2**31 - 1
_MOST_HEADERS: Final = 16 * 1024
"""Bytes of header fields that one request or answer may have. Source: the peers' figure."""
_CONNECTION_WINDOW = _MOST_CREDIT
_NO_LIMIT: Final = 2**31 - 1
_NEVER = (2**62, 2**62)
_CROWD: Final = 64
"""Requests and answers of one turn: some milliseconds' work for who carries them out."""
_MOST_FRAMES: Final = 2048
"""Frames of one turn: some milliseconds for us."""
_MOST_UNREAD: Final = 10_000
"""Answers that a peer may leave unread while it asks on. Those of streams that live are far fewer."""

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
class RequestsWithdrawn:
    """In a crowd of requests, so many were reset before they had their turn; nothing else is said of them."""

    count: int


@dataclass(frozen=True, slots=True)
class TunnelAnswered:
    """The peer answered our request with an HTTP status."""

    stream: int
    status: int


class TunnelData(NamedTuple):
    """Bytes for the tunnelled connection; hand their number to ``consumed`` when there is room for more.

    They may be a slice of what was given to ``receive``, and last as long.
    """

    stream: int
    data: Buffer


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
class TunnelStopped:
    """The peer, which has said all on this tunnel in order, will hear no more: nothing of the tunnel remains.

    Source: RFC 9113, section 8.1: RST_STREAM with NO_ERROR after END_STREAM, upon which nothing that was received may
    be thrown away. Envoy sends it when the application behind it was the first to finish.
    """

    stream: int


@dataclass(frozen=True, slots=True)
class StreamLimitChanged:
    """How many tunnels the peer takes at once; said once at least, with the peer's first SETTINGS."""

    streams: int


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """The peer sent GOAWAY: expect no more tunnels on this connection."""


@dataclass(frozen=True, slots=True)
class Ponged:
    """The peer answered a ping."""


HboneEvent: TypeAlias = (
    TunnelRequested
    | RequestsWithdrawn
    | TunnelAnswered
    | TunnelData
    | TunnelFinished
    | TunnelReset
    | TunnelClosed
    | TunnelStopped
    | StreamLimitChanged
    | PeerLeaving
    | Ponged
)


class Hbone:
    """Feed it what the socket read; write what ``gather`` or ``take`` returns."""

    def __init__(self, role: Role, *, most_streams: int = 200) -> None:
        self._connection = ngh2.Connection(
            role,
            Configuration(
                auto_window_update=False,
                stream_reset_rate_limit=_NEVER,
                max_inbound_header_count=64,
                max_inbound_header_list_size=_MOST_HEADERS,
            ),
        )
        settings = {
            Setting.INITIAL_WINDOW_SIZE: FIRST_WINDOW,
            Setting.MAX_CONCURRENT_STREAMS: most_streams,
            Setting.MAX_FRAME_SIZE: MOST_FRAME,
            Setting.MAX_HEADER_LIST_SIZE: _MOST_HEADERS,
        }
        if role is Role.CLIENT:
            settings[Setting.ENABLE_PUSH] = 0
        self._connection.initiate_connection(settings)
        self._connection.set_local_window_size(_CONNECTION_WINDOW)
        self._fresh: set[int] = set()
        """Streams that were asked for and have not been handed out: ngh2 cannot reset them yet."""
        self._regretted: list[tuple[int, ErrorCode]] = []
        self._control_due = True
        """ngh2 may have something to say."""
        self._control_asked = False
        """ngh2 was asked what it has to say since ``settled``."""
        self._streams: dict[int, _Stream] = {}
        self._broken = False
        self._left = False
        """Either end has said goodbye."""
        # What we receive:
        self._unheard = b""
        self._headers = 0
        """How many requests and answers have come."""
        self._preface = frames.PREFACE if role is Role.SERVER else 0
        self._frames = Frames()
        self._reading: _Stream | None = None
        self._payload_left = 0
        self._within = False
        """ngh2 has heard the beginning of a frame, and not its end: nothing else can be told it."""
        self._endings: list[int] = []
        """Streams whose end waits for that."""
        self._update = b""
        self._credit = _CONNECTION_WINDOW
        self._uncredited = 0
        self._growth_left = GROWTH
        # What we send:
        self._unread = 0
        """Answers since ``gather`` was last called."""
        self._updates: list[Buffer] = []
        self._ready: dict[int, _Stream] = {}
        self._lent: list[_Stream] = []
        self._queued = 0
        self._room = 65_535
        self._first_room = 65_535
        self._most_frame = 16_384
        self._most_streams: int | None = None

    def receive(self, data: Buffer = b"") -> list[HboneEvent]:
        """Advance by ``data``, for one turn; if not ``heard_all`` then, call it again after others had theirs.

        Raises PeerError if the peer broke HTTP/2, or asks and asks and does not read the answers.
        """
        if (alone := self._data_alone(memoryview(data))) is not None:
            return [alone]
        view = memoryview(self._unheard + data if self._unheard else data)
        events: list[HboneEvent] = []
        if self._preface:
            self._feed(view[: self._preface], events)
            view, self._preface = view[self._preface :], max(0, self._preface - len(view))
        crowd, number = self._headers + _CROWD, 0
        for number, piece in enumerate(self._frames.feed(view), start=1):
            match piece.frame.kind:
                case frames.DATA:
                    self._data(piece, events)
                case frames.WINDOW_UPDATE:
                    self._window_update(piece, events)
                case _:
                    self._pass(piece, events)
            if self._headers >= crowd or number >= _MOST_FRAMES:
                break
        self._unheard = bytes(view[self._frames.at :]) if number else b""
        events = _joined(events)
        return _without_withdrawn(events) if self._headers >= crowd else events

    @property
    def heard_all(self) -> bool:
        """Whether nothing of what was received waits for its turn."""
        return not self._unheard

    def open(self, authority: str, headers: Headers) -> int:
        """Ask for a tunnel to ``authority``; the stream that will carry it. Raises Unavailable when it cannot."""
        fields = [(b":method", b"CONNECT"), (b":authority", authority.encode())]
        fields += [(name.encode(), value.encode()) for name, value in headers]
        try:
            number = self._connection.send_request(fields)
        except ngh2.NGH2Error as error:
            raise Unavailable(f"the connection takes no more tunnels: {error}") from error
        self._control_due = True
        self._streams[number] = _Stream(number, self._first_room, speaks=True)
        self._fresh.add(number)
        return number

    # A stream may have closed in the bytes that were fed last, before its owner has read of it in the events:
    # what is said of it then falls on the floor, as does everything once the peer has broken HTTP/2.

    def accept(self, stream: int, headers: Headers = ()) -> None:
        """Say yes (200): data may now flow both ways."""
        fields = [(b":status", b"200"), *((name.encode(), value.encode()) for name, value in headers)]
        if stream in self._streams:
            self._streams[stream].speaks = True
            self._unread += 1
            self._say(self._connection.send_response, stream, fields)

    def refuse(self, stream: int, status: int) -> None:
        """Say no with an HTTP status, and end the stream."""
        if stream in self._streams:
            fields = [(b":status", b"%d" % status)]
            self._unread += 1
            self._say(self._connection.send_response, stream, fields, end_stream=True)

    def send(self, stream: int, data: Buffer) -> None:
        """Queue bytes of the tunnelled connection; ``queued`` tells how many have not been handed out yet.

        ``data`` is kept as it is until ``gather``, which copies what it could not hand out.
        """
        sender = self._streams.get(stream)
        if sender is None or not sender.speaks or not data:
            return
        sender.queue.append(data)
        sender.queued += len(data)
        self._queued += len(data)
        if type(data) is not bytes:
            self._lent.append(sender)
        if sender.room > 0:
            self._ready[stream] = sender

    def queued(self, stream: int) -> int:
        """How many bytes of a stream wait for the peer's window or for ``gather``."""
        sender = self._streams.get(stream)
        return 0 if sender is None else sender.queued

    @property
    def queued_in_all(self) -> int:
        """How many bytes of all streams wait."""
        return self._queued

    @property
    def has_room(self) -> bool:
        """Whether the peer's window for all streams together has room. A few that it does not read may use it up."""
        return self._room > 0

    def finish(self, stream: int) -> None:
        """Half-close, after what is queued."""
        sender = self._streams.get(stream)
        if sender is not None and sender.speaks:
            sender.speaks = False
            sender.finishing = True
            if not sender.queued:
                self._end(sender)

    def reset(self, stream: int, *, untouched: bool = False) -> None:
        """Cut a tunnel; what is queued for it is dropped."""
        cut = self._streams.get(stream)
        if cut is not None:
            self._drop(cut)
            self._unread += 1
            code = ErrorCode.REFUSED_STREAM if untouched else ErrorCode.CONNECT_ERROR
            if stream in self._fresh:
                self._regretted.append((stream, code))
            else:
                self._say(self._connection.reset_stream, stream, code)

    def consumed(self, stream: int, amount: int) -> None:
        """Let the peer send ``amount`` more bytes, and more than before while the reader keeps up.

        Due for every byte, also when its stream has closed: else the connection's own window runs dry at last.
        """
        self._uncredited += amount
        if 2 * self._uncredited > _CONNECTION_WINDOW:
            self._updates.append(frames.window_update(0, self._uncredited))
            self._credit += self._uncredited
            self._uncredited = 0
        reader = self._streams.get(stream)
        if reader is None or not reader.hears:
            return
        reader.uncredited += amount
        reader.consumed += amount
        if (
            reader.consumed >= 2 * reader.size
            and reader.size < MOST_WINDOW
            and reader.size <= self._growth_left
        ):
            self._growth_left -= reader.size
            reader.uncredited += reader.size
            reader.size *= 2
            reader.consumed = 0
        elif 2 * reader.uncredited < reader.size:
            return
        self._updates.append(frames.window_update(stream, reader.uncredited))
        reader.credit += reader.uncredited
        reader.uncredited = 0

    def ping(self) -> None:
        """Ask for a sign of life; ``Ponged`` is the answer."""
        self._say(self._connection.ping)

    def leave(self) -> None:
        """Say that no more tunnels are taken; those that live may end."""
        self._left = True
        # The library says goodbye before it asks for what was to be asked first, and who hears it closes.
        self._gather_control(self._updates)
        self._say(self._connection.send_goaway)

    @property
    def due(self) -> bool:
        """Whether ``gather`` may have something to hand out, or ``settled`` something to tell."""
        return bool(self._control_due or self._updates or (self._ready and self._room > 0))

    def gather(self) -> list[Buffer]:
        """The next bytes that are due on the socket, about ``PORTION`` of them; none are due if it is empty.

        They are to be written before anything else is asked of this object: call it only when they can be.
        """
        self._unread = 0
        due: list[Buffer] = []
        if self._updates:
            due += self._updates
            self._updates.clear()
        self._gather_control(due)
        left = PORTION
        while self._ready and self._room > 0 and left > 0:
            for sender in tuple(self._ready.values()):
                left -= self._gather_data(sender, due)
                if left <= 0 or self._room <= 0:
                    break
        if self._lent:
            for sender in self._lent:
                sender.queue = deque(bytes(data) for data in sender.queue)
            self._lent.clear()
        return due

    def take(self) -> bytes:
        """Every byte that is due on the socket."""
        return b"".join(data for due in iter(self.gather, []) for data in due)

    @property
    def unsettled(self) -> bool:
        """Whether ``gather`` may have brought something about since ``settled``."""
        return self._control_asked

    def settled(self) -> list[HboneEvent]:
        """What sending brought about: tunnels whose last word has left with ``gather``."""
        self._control_asked = False
        if self._broken:
            return []
        return self._translate(self._connection.events())

    @property
    def wants_nothing(self) -> bool:
        """Whether the connection is over: nothing to read and nothing to write."""
        try:
            return not (self._updates or self._connection.want_read or self._connection.want_write)
        except ngh2.ConnectionStateError:
            return True

    # What is received:

    def _feed(self, data: Buffer, events: list[HboneEvent]) -> None:
        if self._unread > _MOST_UNREAD:
            self._fail(
                ErrorCode.ENHANCE_YOUR_CALM, f"{self._unread} answers were not read, and more was asked"
            )
        self._control_due = True
        try:
            self._connection.receive_data(data)
        except ngh2.NGH2Error as error:
            if self._left and not self._streams:
                return  # All was said: a ping or a window that crossed our goodbye breaks nothing.
            self._broken = True
            raise PeerError(f"not HTTP/2: {error}") from error
        events += self._translate(self._connection.events())

    def _pass(self, piece: Piece, events: list[HboneEvent]) -> None:
        self._within = True
        if piece.first:
            self._feed(frames.header(piece.frame), events)
        if piece.payload:
            self._feed(piece.payload, events)
        if piece.last:
            self._within = False
            endings, self._endings = self._endings, []
            for number in endings:
                self._say(self._end_stream, number)

    def _data_alone(self, view: memoryview) -> TunnelData | None:
        """What most reads of small messages are, read at once: one whole frame of DATA; None: something else."""
        if self._unheard or self._preface or self._frames.inside:
            return None
        frame = frames.alone(view)
        if frame is None or frame.kind != frames.DATA or frame.flags or not frame.length:
            return None
        stream = self._stream_of_data(frame)
        return None if stream is None else TunnelData(frame.stream, view[frames.HEADER :])

    def _data(self, piece: Piece, events: list[HboneEvent]) -> None:
        frame = piece.frame
        if piece.first:
            self._reading = self._stream_of_data(frame)
            self._payload_left = -1 if frame.flags & frames.PADDED else frame.length
        stream = self._reading
        if stream is None:
            self._pass(piece, events)
            return
        data = self._unpadded(piece)
        # It may have been cut, by us, since the frame began.
        lives = self._streams.get(frame.stream) is stream
        if data and not lives:
            self.consumed(frame.stream, len(data))
        elif data:
            events.append(TunnelData(frame.stream, data))
        if lives and piece.last and frame.flags & frames.END_STREAM:
            stream.hears = False
            self._feed(frames.header(Frame(0, frames.DATA, frames.END_STREAM, frame.stream)), events)

    def _stream_of_data(self, frame: Frame) -> _Stream | None:
        """Whose bytes this DATA frame has; None: nobody's, and ngh2 knows what that means to the peer."""
        stream = self._streams.get(frame.stream)
        if stream is None or not stream.hears or frame.length > MOST_FRAME:
            return None
        stream.credit -= frame.length
        self._credit -= frame.length
        if stream.credit < 0 or self._credit < 0:
            self._fail(ErrorCode.FLOW_CONTROL_ERROR, f"stream {frame.stream} sent more than its window")
        return stream

    def _unpadded(self, piece: Piece) -> memoryview:
        frame, payload = piece.frame, piece.payload
        if self._payload_left < 0 and (payload or piece.last):
            padding = payload[0] if payload else frame.length
            if padding >= frame.length:
                self._fail(ErrorCode.PROTOCOL_ERROR, "more padding than frame")
            self._payload_left = frame.length - 1 - padding
            payload = payload[1:]
            self.consumed(frame.stream, 1 + padding)
        data = payload[: max(0, self._payload_left)]
        self._payload_left -= len(data)
        return data

    def _window_update(self, piece: Piece, events: list[HboneEvent]) -> None:
        frame = piece.frame
        if frame.length != 4:
            self._pass(piece, events)
            return
        self._update = bytes(piece.payload) if piece.first else self._update + piece.payload
        if not piece.last:
            return
        increment = int.from_bytes(self._update) & _MOST_CREDIT
        stream = self._streams.get(frame.stream)
        if not increment or (frame.stream and stream is None):
            # Not ours, or wrong: ngh2 knows what that means to the peer.
            self._pass(Piece(frame, memoryview(self._update), first=True, last=True), events)
        elif stream is not None:
            self._more_room(stream, increment)
        else:
            self._room += increment
            if self._room > _MOST_CREDIT:
                self._fail(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")

    def _more_room(self, stream: _Stream, increment: int) -> None:
        stream.room += increment
        if stream.room > _MOST_CREDIT:
            self._drop(stream)
            self._say(self._connection.reset_stream, stream.number, ErrorCode.FLOW_CONTROL_ERROR)
        elif stream.queued and stream.room > 0:
            self._ready[stream.number] = stream

    def _fail(self, code: ErrorCode, why: str) -> None:
        self._say(self._connection.terminate_connection, code)
        self._broken = True
        raise PeerError(f"not HTTP/2: {why}")

    def _translate(self, happened: list[ngh2.Event]) -> list[HboneEvent]:
        events: list[HboneEvent] = []
        for event in happened:
            match event:
                case ngh2.RequestReceived(stream_id=number, headers=headers, end_stream=ended):
                    self._headers += 1
                    self._streams[number] = _Stream(number, self._first_room, hears=not ended)
                    fields = _text(headers)
                    named = dict(fields)
                    rest = tuple(field for field in fields if not field[0].startswith(":"))
                    request = TunnelRequested(
                        number, named.get(":method", ""), named.get(":authority", ""), rest
                    )
                    events += [request, self._finished(number)] if ended else [request]
                case ngh2.InformationalResponseReceived():
                    self._headers += 1
                case ngh2.ResponseReceived(stream_id=number, headers=headers, end_stream=ended):
                    self._headers += 1
                    if (stream := self._streams.get(number)) is not None:
                        stream.hears = not ended
                    status = dict(_text(headers)).get(":status", "")
                    answer = TunnelAnswered(number, int(status) if status.isdigit() else 0)
                    events += [answer, self._finished(number)] if ended else [answer]
                case ngh2.TrailersReceived(stream_id=number):
                    if (stream := self._streams.get(number)) is not None:
                        stream.hears = False
                    events.append(self._finished(number))
                case ngh2.DataReceived(stream_id=number, end_stream=True):
                    events.append(self._finished(number))
                case ngh2.StreamClosed(stream_id=number, error_code=code):
                    self._closed(number)
                    if code == ErrorCode.NO_ERROR:
                        events.append(TunnelClosed(number))
                    else:
                        events.append(TunnelReset(number, untouched=code == ErrorCode.REFUSED_STREAM))
                case ngh2.StreamReset(stream_id=number, error_code=ErrorCode.NO_ERROR):
                    stream = self._streams.get(number)
                    stopped = stream is not None and stream.finished
                    events.append(TunnelStopped(number) if stopped else TunnelReset(number, untouched=False))
                case ngh2.SettingsReceived(settings=settings):
                    events += self._settings(settings)
                case ngh2.PingAcknowledged():
                    events.append(Ponged())
                case ngh2.GoAwayReceived() | ngh2.ConnectionClosed():
                    self._left = True
                    events.append(PeerLeaving())
                case _:
                    pass
        return events

    def _settings(self, settings: Mapping[int, int]) -> list[HboneEvent]:
        self._most_frame = settings.get(Setting.MAX_FRAME_SIZE, self._most_frame)
        room = settings.get(Setting.INITIAL_WINDOW_SIZE, self._first_room)
        change, self._first_room = room - self._first_room, room
        for stream in tuple(self._streams.values()) if change else ():
            self._more_room(stream, change)
        known = self._most_streams
        self._most_streams = settings.get(
            Setting.MAX_CONCURRENT_STREAMS, _NO_LIMIT if known is None else known
        )
        return [] if self._most_streams == known else [StreamLimitChanged(self._most_streams)]

    def _finished(self, number: int) -> TunnelFinished:
        if (stream := self._streams.get(number)) is not None:
            stream.finished = True
        return TunnelFinished(number)

    def _closed(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._drop(stream)
            self._growth_left += stream.size - FIRST_WINDOW

    # What is sent:

    def _say(self, what: Callable[..., None], *arguments: object, **options: object) -> None:
        if self._broken:
            return
        self._control_due = True
        try:
            what(*arguments, **options)
        except ngh2.StreamUnavailableError:
            return
        except ngh2.ConnectionStateError:
            self._broken = True  # Some faults of the peer end the connection with a GOAWAY and no exception.

    def _gather_control(self, due: list[Buffer]) -> None:
        if not self._control_due:
            return
        self._control_due, self._control_asked = False, True
        try:
            said = self._connection.data_to_send()
        except ngh2.ConnectionStateError:
            return  # The peer's very first bytes were not HTTP/2: there is not even a farewell.
        if said:
            due.append(said)
        self._fresh.clear()
        if self._regretted:
            for stream, code in self._regretted:
                self._say(self._connection.reset_stream, stream, code)
            self._regretted.clear()
            self._gather_control(due)

    def _gather_data(self, sender: _Stream, due: list[Buffer]) -> int:
        """What one stream may send in its turn; how many bytes that is."""
        turn = min(_TURN if len(self._ready) > 1 else PORTION, sender.room, self._room)
        left = turn
        while left > 0 and sender.queue:
            data = sender.queue[0]
            size = min(len(data), left, self._most_frame)
            due.append(frames.data_header(size, sender.number))
            if size == len(data):
                due.append(sender.queue.popleft())
            else:
                whole = memoryview(data)
                due.append(whole[:size])
                sender.queue[0] = whole[size:]
            left -= size
        sent = turn - left
        sender.room -= sent
        sender.queued -= sent
        self._room -= sent
        self._queued -= sent
        del self._ready[sender.number]
        if sender.room > 0 and sender.queue:
            self._ready[sender.number] = sender  # Behind the others, which ``gather`` may not have come to.
        if sender.finishing and not sender.queue:
            self._end(sender)
            self._gather_control(due)
        return sent

    def _end(self, sender: _Stream) -> None:
        self._say(self._end_stream, sender.number)

    def _end_stream(self, number: int) -> None:
        """ngh2 has seen none of our bytes and none of the peer's credit, and waits for room even for nothing."""
        missing = 1 - self._connection.stream_remote_window_size(number)
        if missing > 0 and self._within:
            self._endings.append(number)
            return
        if missing > 0:
            self._connection.receive_data(frames.window_update(number, missing))
        self._connection.end_stream(number)

    def _drop(self, sender: _Stream) -> None:
        """Forget what is queued."""
        self._queued -= sender.queued
        sender.queue.clear()
        sender.queued = 0
        sender.speaks = sender.finishing = False
        self._ready.pop(sender.number, None)


class _Stream:
    """One tunnel of a connection: what may be said on it, and how much."""

    __slots__ = (
        "consumed",
        "credit",
        "finished",
        "finishing",
        "hears",
        "number",
        "queue",
        "queued",
        "room",
        "size",
        "speaks",
        "uncredited",
    )

    def __init__(self, number: int, room: int, *, speaks: bool = False, hears: bool = False) -> None:
        self.number = number
        self.hears = hears
        """The peer may send on it."""
        self.finished = False
        """The peer has said all, in order."""
        self.size = FIRST_WINDOW
        """Its receive window."""
        self.credit = FIRST_WINDOW
        """How much the peer may send now."""
        self.uncredited = 0
        self.consumed = 0
        """What its reader took since the window last grew."""
        self.speaks = speaks
        """We may send on it."""
        self.room = room
        """How much we may send now."""
        self.queue: deque[Buffer] = deque()
        self.queued = 0
        """Bytes in ``queue``."""
        self.finishing = False
        """The half-close follows what is queued."""


def _joined(events: list[HboneEvent]) -> list[HboneEvent]:
    """The same, with bytes of one stream that follow each other as one: to carry each frame's alone costs more."""
    if len(events) < 2:
        return events
    joined: list[HboneEvent] = []
    for stream, run in groupby(events, _stream_of_bytes):
        together = list(run)
        if stream is None or len(together) == 1:
            joined += together
        else:
            pieces = [event.data for event in together if isinstance(event, TunnelData)]
            joined.append(TunnelData(stream, b"".join(pieces)))
    return joined


def _stream_of_bytes(event: HboneEvent) -> int | None:
    return event.stream if isinstance(event, TunnelData) else None


def _without_withdrawn(events: list[HboneEvent]) -> list[HboneEvent]:
    ended = {event.stream for event in events if isinstance(event, TunnelReset)}
    kept = [event for event in events if not (isinstance(event, TunnelRequested) and event.stream in ended)]
    withdrawn = len(events) - len(kept)
    return [*kept, RequestsWithdrawn(withdrawn)] if withdrawn else kept


def _text(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Header fields as text; bytes that are not UTF-8 stay visible as escapes."""
    return [
        (name.decode(errors="backslashreplace"), value.decode(errors="backslashreplace"))
        for name, value in headers
    ]
