"""Either end of an HTTP/2 connection (RFC 9113), on ngh2.

Turns. ngh2 tells all that a call of it has heard, also behind the frame that broke the connection, and resets a stream
when it next speaks. So it is fed frame by frame, and what each brought is judged, and answered, before the next: no matter
how the bytes were cut, they mean the same. A crowd of requests or of frames ends a turn: then not all is heard, and the
shell asks again.

Windows. A stream's window is given back as its bytes are ``consumed``. The connection's must never be what a sender waits
for: a few stalled streams would starve the rest. It is twice as large as all that streams may have together, since ngh2
gives it back by halves. What a connection can have on its way through us is bounded by the streams' windows:
``Limits.streams`` times ``Limits.stream_window``.

Work in flight. ngh2 forgets a stream as soon as it is reset, and the peer may open the next. What counts here are the
exchanges whose end the shell has not been told of when it last had its turn; a request beyond ``Limits.streams``, or one
whose head would make those in flight too large together, is refused unheard. ngh2 would end the connection instead, so it is not told how many streams we announce.

Goodbyes. Whoever has left begins nothing more, and is over with the last stream. A connection that the peer broke is
over at once: every exchange is cut, and GOAWAY says why, by our own hand where ngh2 says nothing more.

Answers that come before all of the request. The rest of it is not waited for: its exchange is cut for the shell, and the
client is told to stop (RST_STREAM with NO_ERROR) as soon as the answer has left.

WebSockets are taken as RFC 8441 has them. Streams are never pushed. Priorities are passed over.
"""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import ngh2
from ngh2.config import Configuration, Role
from ngh2.enums import ErrorCode, Setting

from ambient.core import frames
from ambient.core.frames import Buffer
from ambient.core.http import http2_heads as heads
from ambient.core.http.fields import Refusal
from ambient.core.http.machine import DEFAULT_LIMITS, ClientMachine, Limits, Machine, ServerMachine, Waiting
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
from ambient.core.http.patience import Patience

MOST_INFORMATION: Final = 16
"""Answers before the answer that a server may give."""
_MOST_CREDIT: Final = 2**31 - 1
_NO_LIMIT: Final = 2**32 - 1
_NEVER: Final = (2**62, 2**62)
_MOST_DUE: Final = 256
"""Pieces that may wait for ``gather``. What ngh2 would say beyond them stays with it, and its streams are not closed: so
whoever reads no answers is answered no more, ``Limits.streams`` at last."""
_MOST_HEAD_BYTES: Final = 1024 * 1024
"""Bytes of the heads of all requests in flight, which may have come in a byte for each field (CVE-2026-47774)."""
_TURN_HEADS: Final = 64
"""Messages of one turn: some milliseconds' work for whoever hears of them."""
_TURN_FRAMES: Final = 2048
_SPARE_FIELDS: Final = 28
"""By so many fields a head may exceed our limit and be refused with a word; one of more ends the connection."""
_ALLOWED: Final = (("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),)

_CODES: Final = {
    Fault.CANCELLED: ErrorCode.CANCEL,
    Fault.REFUSED: ErrorCode.REFUSED_STREAM,
    Fault.RESET: ErrorCode.INTERNAL_ERROR,
    Fault.MALFORMED: ErrorCode.PROTOCOL_ERROR,
    Fault.TIMED_OUT: ErrorCode.CANCEL,
    Fault.OVERLOADED: ErrorCode.ENHANCE_YOUR_CALM,
}
_FAULTS: Final[Mapping[int, Fault]] = {
    ErrorCode.NO_ERROR: Fault.CANCELLED,
    ErrorCode.CANCEL: Fault.CANCELLED,
    ErrorCode.REFUSED_STREAM: Fault.REFUSED,
    ErrorCode.ENHANCE_YOUR_CALM: Fault.OVERLOADED,
}
"""What a peer means by its codes; by all others, ``RESET``."""
_CODE_NUMBERS: Final[frozenset[int]] = frozenset(ErrorCode)
_NOT_HTTP2: Final = "it is not HTTP/2 as it should be"


class _Stream:
    """One exchange, until ngh2 has closed its stream."""

    __slots__ = (
        "given_up",
        "has_head",
        "head_bytes",
        "hears",
        "informed",
        "is_mute",
        "is_upgraded",
        "left",
        "number",
        "request",
        "says",
        "unconsumed",
        "was_reset",
    )

    def __init__(self, number: int, request: RequestHead | None, *, hears: bool) -> None:
        self.number = number
        self.request = request
        """None: it was refused, and nobody was told."""
        self.head_bytes = 0
        """How much its head counts, which its work holds on to."""
        self.hears = hears
        """More of the peer's message is to be told."""
        self.says = True
        """Our message has not ended."""
        self.has_head = False
        """Our head was said."""
        self.left: int | None = None
        """Bytes that our body may still have; None: as many as come."""
        self.is_mute = False
        """It has no body, whatever its head says of one (of HEAD, 204, 304)."""
        self.is_upgraded = False
        self.unconsumed = 0
        self.informed = 0
        self.was_reset = False
        """The peer has reset it."""
        self.given_up = request is None
        """Nobody is to hear of it any more."""

    @property
    def is_over(self) -> bool:
        """Whether its number means nothing to the shell any more."""
        return self.given_up or not (self.hears or self.says)


class _Http2(Machine):
    """What both ends have in common."""

    def __init__(self, role: Role, settings: dict[Setting, int], limits: Limits) -> None:
        self._limits = limits
        self._connection = connection = ngh2.Connection(
            role,
            Configuration(
                auto_window_update=False,
                stream_reset_rate_limit=_NEVER,
                max_inbound_header_count=limits.header_count + _SPARE_FIELDS,
                max_inbound_header_list_size=2 * limits.header_bytes,
            ),
        )
        settings = {
            Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
            Setting.MAX_HEADER_LIST_SIZE: limits.header_bytes,
            Setting.NO_RFC7540_PRIORITIES: 1,
            **settings,
        }
        connection.initiate_connection({**settings, Setting.MAX_CONCURRENT_STREAMS: _NO_LIMIT})
        window = max(limits.connection_window, 2 * limits.streams * limits.stream_window)
        connection.set_local_window_size(min(window, _MOST_CREDIT))
        preface, first = b"", connection.data_to_send()
        if role is Role.CLIENT:
            preface, first = first[: frames.PREFACE], first[frames.PREFACE :]
        ours = {**settings, Setting.MAX_CONCURRENT_STREAMS: self._announced}
        payload = ngh2.pack_settings_payload(ours)
        header = frames.header(frames.Frame(len(payload), frames.SETTINGS, 0, 0))
        theirs = frames.HEADER + frames.frame_at(first, 0).length
        self._due: list[Buffer] = [preface + header + payload + first[theirs:]]
        self._patience = Patience(0 if preface else frames.PREFACE, limits.streams)
        self._streams: dict[int, _Stream] = {}
        self._told: list[Event] = []
        """What is to be told when the shell asks next."""
        self._unheard = b""
        self._answered_early: set[int] = set()
        """Streams that are to be reset once our answer has left."""
        self._left = False
        """Either end has said goodbye."""
        self._peer_left = False
        self._is_broken = False
        self._why = ""
        """What ngh2 had against the peer, if it said so."""

    @property
    @abstractmethod
    def _announced(self) -> int:
        """How many streams the peer may open at once."""

    # What comes:

    def receive(self, data: Buffer) -> list[Event]:
        events, self._told = self._told, []
        unheard, self._unheard = self._unheard, b""
        if self.is_over:
            return events
        view = memoryview(unheard + data if unheard else data)
        at, end = 0, len(view)
        patience = self._patience
        heads_of_turn, frames_of_turn = patience.heads + _TURN_HEADS, patience.passed + _TURN_FRAMES
        while at < end and patience.heads < heads_of_turn and patience.passed < frames_of_turn:
            upto = patience.step(view, at)
            if not patience.is_flooded:
                self._feed(view[at:upto], events)
            if patience.is_spent and not self._is_broken:
                self._send_away(events)
            if self.is_over:
                return events
            at = upto
        self._unheard = bytes(view[at:]) if at < end else b""
        self._turn_ends(events)
        return events

    def receive_end(self) -> list[Event]:
        events, self._told = self._told, []
        if not self._is_broken:
            self._break(None, "the peer has gone", events)
        return events

    @property
    def heard_all(self) -> bool:
        return not (self._unheard or self._told)

    @property
    def wants_more(self) -> bool:
        return not self._unheard

    def _feed(self, data: memoryview, events: list[Event]) -> None:
        connection = self._connection
        broken: ngh2.NGH2Error | None = None
        try:
            connection.receive_data(data)
        except ngh2.NGH2Error as error:
            broken = error
        self._translate(connection.events(), events)
        if broken is not None:
            if self._left and not self._streams:
                self._is_broken = True  # All was said: what crossed our goodbye breaks nothing.
                return
            is_flood = isinstance(broken, ngh2.DenialOfServiceError)
            code = ErrorCode.ENHANCE_YOUR_CALM if is_flood else ErrorCode.PROTOCOL_ERROR
            self._due.append(frames.goaway(self._last_heard, code))
            self._break(Fault.OVERLOADED if is_flood else Fault.MALFORMED, str(broken), events)
        elif not self._patience.is_provoked and len(self._due) < _MOST_DUE:
            self._flush(events)

    def _send_away(self, events: list[Event]) -> None:
        self._say_goodbye_for_good()
        self._break(Fault.OVERLOADED, "it asked for too much that serves nothing", events)

    def _say_goodbye_for_good(self) -> None:
        self._say(self._connection.terminate_connection, ErrorCode.ENHANCE_YOUR_CALM)
        self._due.append(self._connection.data_to_send())

    def _break(self, fault: Fault | None, detail: str, events: list[Event]) -> None:
        """End it at once. ``fault``: the peer's; None: it has gone."""
        self._is_broken = True
        events += [
            MessageCut(stream.number, fault or self._fault_of_gone(stream.number), detail)
            for stream in self._streams.values()
            if not stream.is_over
        ]
        self._streams.clear()
        self._answered_early.clear()
        self._unheard = b""

    @property
    @abstractmethod
    def _last_heard(self) -> int:
        """The last stream of the peer's that was heard."""

    @abstractmethod
    def _fault_of_gone(self, _number: int) -> Fault:
        """What it means for an exchange that the peer is gone."""

    def _translate(self, happened: Iterable[ngh2.Event], events: list[Event]) -> None:
        for event in happened:
            match event:
                case ngh2.DataReceived(number, data, ended):
                    self._data(number, data, events, ended=ended)
                case ngh2.StreamClosed(number, code):
                    self._closed(number, code, events)
                case ngh2.TrailersReceived(number, block):
                    self._trailers(number, block, events)
                case ngh2.StreamReset(number):
                    if (stream := self._streams.get(number)) is not None:
                        stream.was_reset = True
                case ngh2.GoAwayReceived():
                    if not self._peer_left:
                        events.append(PeerLeaving())
                    self._left = self._peer_left = True
                case ngh2.ConnectionClosed(_, why):
                    self._why = self._why or str(why, "ascii", "backslashreplace")
                case _:
                    self._translate_own(event, events)
            if self._patience.is_provoked:
                return

    @abstractmethod
    def _translate_own(self, event: ngh2.Event, events: list[Event]) -> None:
        """What only one of the ends hears."""

    def _data(self, number: int, data: bytes, events: list[Event], *, ended: bool) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.given_up or not stream.hears:
            if data:
                self._say(self._connection.acknowledge_received_data, len(data), number)
            return
        if data:
            stream.unconsumed += len(data)
            self._patience.earn(1)
            events.append(BodyCame(number, data))
        if ended:
            stream.hears = False
            events.append(MessageEnded(number))

    def _trailers(self, number: int, block: heads.Block, events: list[Event]) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.given_up or not stream.hears:
            return
        found = heads.read_trailers(block, self._limits, of_request=isinstance(self, ServerMachine))
        if isinstance(found, Refusal):
            self._cut(stream, Fault.MALFORMED, found.detail, events)
        else:
            stream.hears = False
            events.append(MessageEnded(number, found))

    def _closed(self, number: int, code: int, events: list[Event]) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            self._closed_untold(number, events)
            return
        self._answered_early.discard(number)
        self._acknowledge(stream, stream.unconsumed)
        self._settle(stream, code)
        if stream.is_over:
            return
        if stream.was_reset or code == ErrorCode.REFUSED_STREAM:
            fault = _FAULTS.get(code, Fault.RESET)
            events.append(MessageCut(number, fault, f"the peer has reset it: {_name_of(code)}"))
        else:
            events.append(MessageCut(number, Fault.MALFORMED, f"{_NOT_HTTP2}: {_name_of(code)}"))

    def _closed_untold(self, number: int, events: list[Event]) -> None:
        """A stream was closed before anything was heard on it."""

    def _settle(self, stream: _Stream, code: int) -> None:
        """A stream was closed."""

    def _cut(self, stream: _Stream, fault: Fault, detail: str, events: list[Event]) -> None:
        self._give_up(stream, fault)
        events.append(MessageCut(stream.number, fault, detail))

    # What is sent. Of a stream that is over nothing is asked of ngh2, which may have forgotten it.

    def gather(self) -> list[Buffer]:
        if not self._is_broken:
            self._flush(self._told)
            self._turn_ends(self._told)
        due, self._due = self._due, []
        return due

    def send(self, stream: int, data: Buffer) -> None:
        sender = self._streams.get(stream)
        if sender is None or sender.given_up or not (sender.says and sender.has_head) or sender.is_mute:
            return
        if sender.left is not None:
            sender.left -= len(data)
            if sender.left < 0:
                self._cut(sender, Fault.RESET, "more was said than was announced", self._told)
                return
        self._patience.earn(4 + len(data) // 1024)
        self._say(self._connection.send_data, stream, data)

    def finish(self, stream: int, trailers: Headers = ()) -> None:
        sender = self._streams.get(stream)
        if sender is None or sender.given_up or not (sender.says and sender.has_head):
            return
        if sender.left and not sender.is_mute:
            self._cut(sender, Fault.RESET, "less was said than was announced", self._told)
            return
        if trailers and not sender.is_mute:
            self._say(self._connection.send_trailers, stream, heads.fields_block(trailers))
        else:
            self._say(self._connection.end_stream, stream)
        self._said_all(sender)

    def _said_all(self, stream: _Stream) -> None:
        stream.says = False

    def reset(self, stream: int, fault: Fault = Fault.CANCELLED) -> None:
        given_up = self._streams.get(stream)
        if given_up is not None and not given_up.is_over:
            self._give_up(given_up, fault)

    def _give_up(self, stream: _Stream, fault: Fault) -> None:
        stream.given_up = True
        self._acknowledge(stream, stream.unconsumed)
        self._say(self._connection.reset_stream, stream.number, _CODES[fault])

    def consumed(self, stream: int, size: int) -> None:
        reader = self._streams.get(stream)
        if reader is not None:
            self._acknowledge(reader, min(size, reader.unconsumed))

    def _acknowledge(self, stream: _Stream, size: int) -> None:
        if size:
            stream.unconsumed -= size
            self._say(self._connection.acknowledge_received_data, size, stream.number)

    def queued(self, stream: int) -> int:
        sender = self._streams.get(stream)
        if sender is None or sender.given_up:
            return 0
        return self._connection.queued_body_size(stream)

    def leave(self) -> None:
        if self._left or self._is_broken:
            return
        self._flush(self._told)  # What was asked first is said first.
        self._left = True
        self._say(self._connection.send_goaway)

    @property
    def waiting(self) -> Waiting:
        if self._streams:
            return Waiting.MESSAGE
        return Waiting.HEAD if self._patience.is_inside else Waiting.IDLE

    @property
    def is_over(self) -> bool:
        return self._is_broken or (self._left and not self._streams)

    def _say(self, what: Callable[..., object], *arguments: object) -> None:
        # A stream may have closed in what was fed last, before its owner hears of it.
        with contextlib.suppress(ngh2.NGH2Error):
            what(*arguments)

    def _flush(self, events: list[Event]) -> None:
        """Take what ngh2 has to say, and what became of streams by that."""
        connection = self._connection
        while connection.want_write:
            said = connection.data_to_send()
            if said:
                self._due.append(said)
            if happened := connection.events():
                self._translate(happened, events)
            if self._answered_early:
                self._stop_answered()
            if not (said or happened):
                break
        if not connection.want_read and (self._streams or not self._left):
            self._break(Fault.MALFORMED, self._why or _NOT_HTTP2, events)

    def _stop_answered(self) -> None:
        connection = self._connection
        room = connection.remote_window_size
        for number in tuple(self._answered_early):
            # With room left in both windows, nothing of the answer waits.
            if room > 0 and connection.stream_remote_window_size(number) > 0:
                self._answered_early.discard(number)
                self._say(connection.reset_stream, number, ErrorCode.NO_ERROR)

    def _turn_ends(self, events: list[Event]) -> None:
        """All that can be said has been."""


class Http2Server(_Http2, ServerMachine):
    """An HTTP/2 connection with a client."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(
            Role.SERVER,
            {Setting.MAX_CONCURRENT_STREAMS: limits.streams, Setting.ENABLE_CONNECT_PROTOCOL: 1},
            limits,
        )
        self._highest = 0
        self._head_bytes = 0
        """Of all requests in flight."""
        self._cut_lately = 0
        """Exchanges that were cut since the shell last had its turn: its work on them may not have ended."""
        self._refused: set[int] = set()
        """Streams that were refused unheard."""

    @property
    def _announced(self) -> int:
        return self._limits.streams

    @property
    def _last_heard(self) -> int:
        return self._highest

    def inform(self, stream: int, status: int, headers: Headers = ()) -> None:
        if not 100 <= status <= 199 or status == 101:
            raise ValueError(f"status {status} is not before an answer")
        asked = self._streams.get(stream)
        if asked is not None and not (asked.given_up or asked.has_head):
            block = heads.response_block(status, headers)
            self._say(self._connection.send_informational_response, stream, block)

    def respond(self, stream: int, head: ResponseHead, *, ended: bool = False) -> None:
        asked = self._streams.get(stream)
        if asked is None or asked.given_up or asked.has_head or asked.request is None:
            return
        request, status = asked.request, head.status
        if status == 101:
            if not request.upgrade:
                raise ValueError("nobody asked for another protocol")
            asked.is_upgraded = True
            status = 200
        elif request.upgrade and 200 <= status <= 299:
            # To this client it would mean that the upgrade was taken.
            head, status, ended = ResponseHead(502), 502, True
        asked.has_head = True
        asked.is_mute = request.method == "HEAD" or status in (204, 304)
        asked.left = head.length
        if ended and head.length and not asked.is_mute:
            self._cut(asked, Fault.RESET, "less was said than was announced", self._told)
            return
        block = heads.response_block(status, head.headers, head.length)
        self._patience.earn(4)
        if ended:
            self._respond_ended(stream, block)
            self._said_all(asked)
        else:
            self._say(self._connection.send_response, stream, block)

    def _respond_ended(self, stream: int, block: heads.Block) -> None:
        with contextlib.suppress(ngh2.NGH2Error):
            self._connection.send_response(stream, block, end_stream=True)

    def _said_all(self, stream: _Stream) -> None:
        super()._said_all(stream)
        if stream.hears and not stream.is_upgraded:
            stream.given_up = True
            self._answered_early.add(stream.number)
            told = MessageCut(stream.number, Fault.CANCELLED, "it was answered before all of it had come")
            self._told.append(told)

    def gather(self) -> list[Buffer]:
        self._cut_lately = 0
        return super().gather()

    def expire(self) -> list[Event]:
        events, self._told = self._told, []
        if self.waiting is Waiting.HEAD and not self.is_over:
            self._say_goodbye_for_good()
            self._is_broken = True
            events.append(RequestRefused(408, "the rest of a request did not come"))
        return events

    def _translate_own(self, event: ngh2.Event, events: list[Event]) -> None:
        match event:
            case ngh2.RequestReceived(number, block, ended):
                self._requested(number, block, events, ended=ended)
            case _:
                pass

    def _requested(self, number: int, block: heads.Block, events: list[Event], *, ended: bool) -> None:
        self._highest = number
        size = heads.size_of(block)
        in_flight = len(self._streams) + self._cut_lately
        if in_flight >= self._limits.streams or self._head_bytes + size > _MOST_HEAD_BYTES:
            self._patience.refuse()
            self._refused.add(number)
            self._say(self._connection.reset_stream, number, ErrorCode.REFUSED_STREAM)
            return
        head = heads.read_request(block, size, self._limits, ended=ended)
        if isinstance(head, Refusal):
            self._refuse(number, head, events, ended=ended)
            return
        self._streams[number] = stream = _Stream(number, head, hears=not ended)
        stream.head_bytes = size
        self._head_bytes += size
        self._patience.earn(10)
        events.append(RequestCame(number, head))
        if ended:
            events.append(MessageEnded(number))

    def _refuse(self, number: int, refusal: Refusal, events: list[Event], *, ended: bool) -> None:
        self._patience.provoke()
        self._streams[number] = _Stream(number, None, hears=False)
        if not ended:
            self._answered_early.add(number)
        headers = _ALLOWED if refusal.status == 405 else ()
        self._respond_ended(number, heads.response_block(refusal.status, headers, 0))
        events.append(RequestRefused(refusal.status, refusal.detail))

    def _closed_untold(self, number: int, events: list[Event]) -> None:
        if number in self._refused:
            self._refused.discard(number)
        else:
            self._patience.provoke()
            events.append(RequestRefused(400, _NOT_HTTP2))

    def _settle(self, stream: _Stream, code: int) -> None:
        self._head_bytes -= stream.head_bytes
        if stream.request is None:
            return
        if code == ErrorCode.NO_ERROR and stream.is_over:
            self._patience.went_well()
            return
        self._cut_lately += 1
        was_provoked = code != ErrorCode.NO_ERROR and not stream.given_up
        if (stream.was_reset and not stream.has_head) or (was_provoked and not stream.was_reset):
            self._patience.provoke()

    def _cut(self, stream: _Stream, fault: Fault, detail: str, events: list[Event]) -> None:
        if fault is Fault.MALFORMED:
            self._patience.provoke()
        super()._cut(stream, fault, detail, events)

    def _break(self, fault: Fault | None, detail: str, events: list[Event]) -> None:
        super()._break(fault, detail, events)
        if fault is not None:
            events.append(RequestRefused(400, detail))

    def _fault_of_gone(self, _number: int) -> Fault:
        return Fault.CANCELLED


class Http2Client(_Http2, ClientMachine):
    """An HTTP/2 connection with a server."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(Role.CLIENT, {Setting.ENABLE_PUSH: 0}, limits)
        self._most_streams = min(100, limits.streams)
        """How many streams the server takes at once: 100 until it has said so. Source: nghttp2, and Go."""
        self._takes_upgrades = False
        self._unsaid: set[int] = set()
        """Streams that were asked for and have not left yet."""
        self._had_room = True
        self._is_fresh = True
        self._never_sent = 0

    @property
    def _announced(self) -> int:
        return 0

    @property
    def _last_heard(self) -> int:
        return 0

    @property
    def has_room(self) -> bool:
        return not (self._left or self._is_broken) and len(self._streams) < self._most_streams

    @property
    def is_fresh(self) -> bool:
        return self._is_fresh

    @property
    def takes_upgrades(self) -> bool:
        """Whether the server has said that it does (RFC 8441). A request with one is cut as refused otherwise."""
        return self._takes_upgrades

    def request(self, head: RequestHead, *, ended: bool = False) -> int:
        if not self.has_room:
            raise ValueError("the connection has no room for another request")
        if ended and head.length:
            raise ValueError(f"a request of {head.length} bytes has not ended with its head")
        self._is_fresh = False
        number = self._ask(head, ended=ended)
        if number is None:
            self._never_sent -= 1
            refused = MessageCut(
                self._never_sent, Fault.REFUSED, "the server does not take it on this connection"
            )
            self._told.append(refused)
            return self._never_sent
        stream = _Stream(number, head, hears=True)
        stream.has_head = True
        stream.says = not ended
        stream.left = None if head.upgrade else head.length
        self._streams[number] = stream
        self._unsaid.add(number)
        self._patience.earn(10)
        self._had_room = self.has_room
        return number

    def _ask(self, head: RequestHead, *, ended: bool) -> int | None:
        if head.upgrade and not self._takes_upgrades:
            return None
        try:
            return self._connection.send_request(heads.request_block(head), end_stream=ended)
        except ngh2.NGH2Error:
            return None

    def gather(self) -> list[Buffer]:
        due = super().gather()
        self._unsaid.clear()
        return due

    def _translate_own(self, event: ngh2.Event, events: list[Event]) -> None:
        match event:
            case ngh2.ResponseReceived(number, block, ended):
                self._answered(number, block, events, ended=ended)
            case ngh2.InformationalResponseReceived(number, block):
                self._informed(number, block, events)
            case ngh2.SettingsReceived(settings):
                said = settings.get(Setting.MAX_CONCURRENT_STREAMS, None)
                if said is not None:
                    self._most_streams = min(said, self._limits.streams)
                if Setting.ENABLE_CONNECT_PROTOCOL in settings:
                    self._takes_upgrades = settings[Setting.ENABLE_CONNECT_PROTOCOL] == 1
            case _:
                pass

    def _answered(self, number: int, block: heads.Block, events: list[Event], *, ended: bool) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.given_up or stream.request is None:
            return
        head = heads.read_response(block, self._limits, stream.request, ended=ended)
        if isinstance(head, Refusal):
            self._cut(stream, Fault.MALFORMED, head.detail, events)
            return
        events.append(ResponseCame(number, head))
        if ended:
            stream.hears = False
            events.append(MessageEnded(number))

    def _informed(self, number: int, block: heads.Block, events: list[Event]) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.given_up or stream.request is None:
            return
        stream.informed += 1
        head = heads.read_response(block, self._limits, stream.request, ended=False)
        if isinstance(head, Refusal):
            self._cut(stream, Fault.MALFORMED, head.detail, events)
        elif stream.informed > MOST_INFORMATION:
            self._cut(stream, Fault.MALFORMED, "there are too many answers before the answer", events)
        else:
            events.append(InformationCame(number, head.status, head.headers))

    def _turn_ends(self, events: list[Event]) -> None:
        if self._had_room is not (has_room := self.has_room):
            self._had_room = has_room
            events.append(RoomChanged())

    def _fault_of_gone(self, number: int) -> Fault:
        return Fault.REFUSED if number in self._unsaid else Fault.RESET


def _name_of(code: int) -> str:
    return ErrorCode(code).name if code in _CODE_NUMBERS else f"{code:#x}"
