"""HTTP/1.1 on one connection, sans-IO, at either end.

One exchange follows another. What belongs to the next one is kept, and not looked at, until the one before is over:
neither may begin early, and after a fault it is never heard of. A connection that was cut, where either message ended
in another way than it said, or which has bytes that nobody asked for, is not used again.

Bodies are told as slices of what was received and written as they are given; heads are read by ``heads``, bodies by
``bodies``. One ``receive`` tells one request, or answers to one, and of a body no more than ``bodies.MOST_CHUNKS``
chunks: then the machine has not ``heard_all``.

There are no windows. A machine ``wants_more`` while less than ``Limits.stream_window`` of a body waits to be
``consumed``, and while nothing is kept that waits for its turn.

What may not be passed on has no way out: headers that are the machine's business are left out when a head is written,
and a head with a line break in it, or any other text that would be read as something else, is a ValueError.
"""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum, auto
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from ambient.core.frames import Buffer
from ambient.core.http import fields, heads
from ambient.core.http.bodies import Body, Chunked, Counted, Unbounded
from ambient.core.http.fields import Refusal
from ambient.core.http.heads import Answered, Asked
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

LINGER: Final = 256 * 1024
"""Bytes of a request that are thrown away when its answer has ended, so that the connection can be used again."""
MOST_INFORMATION: Final = 16
"""Answers of 1xx before one answer."""
_JOINED: Final = 16 * 1024
"""What is to be written leaves as one piece if it is no more than that."""
_SMALL_CHUNK: Final = 4 * 1024
_WITH_BODY: Final = frozenset(("PATCH", "POST", "PUT"))
"""Methods of which a request without a body says so."""
_ALLOWED: Final = "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class _Saying(Enum):
    """How our message goes on."""

    NOTHING = auto()
    """It has not begun, or has ended."""
    EMPTY = auto()
    """Its head has been said and it can have no body; what is sent is thrown away."""
    COUNTED = auto()
    CHUNKED = auto()
    BYTES = auto()
    """Bytes as they are, until the connection ends."""


class _Connection(Machine):
    """What both ends have in common: what was heard and not told, and how bodies are heard and said."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._over = False
        self._stream = 0
        """The exchange that is under way, or the last."""
        # What was received:
        self._data: Buffer = b""
        self._at = 0
        """How much of ``_data`` has been heard."""
        self._later: list[bytes] = []
        """What came behind it."""
        self._due: list[Event] = []
        """To be told by the next ``receive``."""
        self._again = False
        self._body: Body | None = None
        """The body that is due or has begun."""
        self._ends = False
        """The peer has hung up behind what has not been heard."""
        self._unconsumed = 0
        # What is to be said:
        self._out: list[Buffer] = []
        self._saying = _Saying.NOTHING
        self._left = 0
        """Bytes that our body still must have, if its length was said."""
        self._says_trailers = False
        self._tunnels = False
        """Both ends go on in another protocol."""

    def gather(self) -> list[Buffer]:
        out, self._out = self._out, []
        if len(out) > 1 and sum(map(len, out)) <= _JOINED:
            return [b"".join(out)]
        return out

    def send(self, stream: int, data: Buffer) -> None:
        if stream != self._stream or self._over or not len(data):
            return
        match self._saying:
            case _Saying.COUNTED:
                if len(data) > self._left:
                    self._cut()
                    return
                self._left -= len(data)
                self._out.append(data)
            case _Saying.CHUNKED if len(data) <= _SMALL_CHUNK:
                self._out.append(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))
            case _Saying.CHUNKED:
                self._out += (b"%x\r\n" % len(data), data, b"\r\n")
            case _Saying.BYTES:
                self._out.append(data)
            case _Saying.NOTHING | _Saying.EMPTY:
                pass

    def finish(self, stream: int, trailers: Headers = ()) -> None:
        if stream != self._stream or self._over or self._saying is _Saying.NOTHING:
            return
        match self._saying:
            case _Saying.CHUNKED if trailers and self._says_trailers:
                self._out.append(_head("0\r\n", 1, trailers))
            case _Saying.CHUNKED:
                self._out.append(b"0\r\n\r\n")
            case _Saying.COUNTED if self._left:
                self._cut()
                return
            case _Saying.COUNTED | _Saying.BYTES | _Saying.EMPTY | _Saying.NOTHING:
                pass
        self._saying = _Saying.NOTHING
        self._said()

    @abstractmethod
    def _said(self) -> None:
        """Our message has ended."""

    def reset(self, stream: int, fault: Fault = Fault.CANCELLED) -> None:  # noqa: ARG002  # There is no way to say it.
        if stream == self._stream and self._is_under_way:
            self._cut()

    def _cut(self) -> None:
        """End the connection in the middle of things."""
        self._over = True
        self._due.clear()
        self._forget()

    def _forget(self) -> None:
        """Nothing that was received, and not told, will be."""
        self._data, self._at = b"", 0
        self._later.clear()
        self._body = None
        self._again = False

    def consumed(self, stream: int, size: int) -> None:
        if stream == self._stream:
            self._unconsumed = max(0, self._unconsumed - size)

    def queued(self, stream: int) -> int:  # noqa: ARG002  # The machine's name for it.
        return 0

    @property
    @abstractmethod
    def _is_under_way(self) -> bool:
        """Whether an exchange is."""

    @property
    def heard_all(self) -> bool:
        return not (self._due or self._again)

    @property
    def wants_more(self) -> bool:
        return not (self._over or self._again) and self._unconsumed < self._limits.stream_window

    @property
    def has_finished(self) -> bool:
        return self._tunnels and self._saying is _Saying.NOTHING and not self._over

    @property
    def is_over(self) -> bool:
        return self._over and not self._due

    # What was received:

    @property
    def _keeps(self) -> bool:
        """Whether there is anything that has not been heard."""
        return self._at < len(self._data) or bool(self._later)

    def _take(self, data: Buffer) -> None:
        """Put ``data`` behind what was kept. That may be much: it is put together when what is there is not enough."""
        if not self._data and not self._later:
            self._data = data
        elif self._body is not None and self._body.is_tired:
            if len(data):
                self._later.append(bytes(data))
        elif len(data) or self._later:
            rest = memoryview(self._data)[self._at :]
            self._data, self._at = b"".join((rest, *self._later, data)), 0
            self._later.clear()

    def _keep(self) -> None:
        """``data`` lasts no longer than the call that brought it."""
        if self._at >= len(self._data):
            self._data, self._at = b"", 0
        elif type(self._data) is not bytes:
            self._data, self._at = bytes(self._data[self._at :]), 0
        if self._later and self._body is not None:
            self._again = True

    def _searchable(self) -> bytes:
        if type(self._data) is not bytes:
            self._data = bytes(self._data)
        return self._data

    def _hear_body(self, body: Body, events: list[Event]) -> None:
        pieces: list[Buffer] = []
        self._at = body.feed(self._data, self._at, pieces)
        if pieces:
            self._came(pieces[0] if len(pieces) == 1 else b"".join(pieces), events)
        if self._over:
            return
        if body.fault is not None:
            self._broken(body.fault, events)
        elif body.has_ended:
            self._body = None
            events.append(MessageEnded(self._stream, body.trailers))
            self._heard(events)
        else:
            self._again = body.is_tired

    def _came(self, data: Buffer, events: list[Event]) -> None:
        """Part of a body."""
        self._unconsumed += len(data)
        events.append(BodyCame(self._stream, data))

    @abstractmethod
    def _broken(self, refusal: Refusal, events: list[Event]) -> None:
        """The peer broke HTTP within its message."""

    @abstractmethod
    def _heard(self, events: list[Event]) -> None:
        """The peer's message has ended, and that was told."""


class Http1Server(_Connection, ServerMachine):
    """The end that is asked.

    A request that is none is answered here and ends the connection; so does one whose body turns out to be none, with
    status 400 if its answer has not begun. A client that hangs up wants no answer: HTTP/1.1 cannot tell one that has
    only finished from one that is gone, and the peers take it so.

    What comes of a request when its answer has ended is thrown away, and told only by its end; if it is more than
    ``LINGER``, it is cut. To a client that still waits for ``100`` when it is answered, the answer is the last.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)
        self._scanner = heads.request_scanner(limits)
        self._may_skip = True
        """One empty line may come before a request. Source: RFC 9112, section 2.2."""
        self._asked: Asked | None = None
        """The exchange that is under way."""
        self._has_heard = False
        """All of its request."""
        self._has_answered = False
        """The answer has begun."""
        self._awaits_continue = False
        """The client sends no body before it is told to."""
        self._left_over = 0
        """Bytes of a request that may still be thrown away."""
        self._leaving = False
        self._closes = False
        """The answer that has begun says that it is the last."""

    def receive(self, data: Buffer) -> list[Event]:
        events, self._due = self._due, []
        self._again = False
        if self._over:
            return events
        if self._asked is not None and self._body is None:
            # The turn of what comes behind a request is when its exchange is over, if then.
            if len(data) and self._asked.keeps and not self._closes:
                self._later.append(bytes(data))
            return events
        self._take(data)
        if self._asked is None:
            self._hear_head(events)
        if self._body is not None:
            self._hear_body(self._body, events)
        self._keep()
        if self._ends and not (self._again or self._over):
            self._hear_end(events)
        return events

    def receive_end(self) -> list[Event]:
        events, self._due = self._due, []
        if self._again:
            self._ends = True
        elif not self._over:
            self._hear_end(events)
        return events

    def _hear_end(self, events: list[Event]) -> None:
        self._over = True
        if isinstance(self._body, Unbounded):
            self._over = self._saying is _Saying.NOTHING
            self._body = None
            self._has_heard = True
            events.append(MessageEnded(self._stream))
        elif self._asked is not None:
            events.append(MessageCut(self._stream, Fault.CANCELLED, "the client hung up"))
        self._forget()

    def _hear_head(self, events: list[Event]) -> None:
        data = self._searchable()
        if self._may_skip and data.startswith(b"\r\n", self._at):
            self._may_skip = False
            self._at += 2
        if self._at >= len(data):
            return
        end = self._scanner.find(data, self._at)
        if end is None:
            return
        if isinstance(end, Refusal):
            events.append(self._refuse(end))
            return
        asked = heads.read_request(data[self._at : end], self._limits)
        if isinstance(asked, Refusal):
            events.append(self._refuse(asked))
            return
        self._at = end
        self._begin(asked, events)

    def _begin(self, asked: Asked, events: list[Event]) -> None:
        head = asked.head
        self._stream += 1
        self._asked = asked
        self._may_skip = True
        self._has_heard = self._has_answered = self._closes = False
        self._awaits_continue = head.expects_continue
        events.append(RequestCame(self._stream, head))
        if asked.is_chunked:
            self._body = Chunked(self._limits, of_request=True)
        elif head.length:
            self._body = Counted(head.length)
        elif not head.upgrade:
            self._has_heard = True
            events.append(MessageEnded(self._stream))

    def _came(self, data: Buffer, events: list[Event]) -> None:
        self._awaits_continue = False
        if self._has_answered and self._saying is _Saying.NOTHING and not self._tunnels:
            self._left_over -= len(data)
            if self._left_over < 0:
                self._over = True
                self._forget()
                detail = "more of a request came after its answer than is thrown away"
                events.append(MessageCut(self._stream, Fault.OVERLOADED, detail))
        else:
            super()._came(data, events)

    def _broken(self, refusal: Refusal, events: list[Event]) -> None:
        if self._over:
            return
        if self._has_answered:
            self._cut()
        else:
            self._refuse(refusal)
        events.append(MessageCut(self._stream, Fault.MALFORMED, refusal.detail))

    def expire(self) -> list[Event]:
        if self._over or self.waiting is not Waiting.HEAD:
            return []
        return [self._refuse(Refusal(408, "the head has taken too long to come"))]

    def _refuse(self, refusal: Refusal) -> RequestRefused:
        body = f"{refusal.detail}\n"
        line = _status_line(refusal.status)
        allow = _ALLOWED if refusal.status == 405 else ""
        self._out.append(
            f"{line}{allow}content-type: text/plain\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode(
                "latin-1"
            )
        )
        self._over = True
        self._saying = _Saying.NOTHING
        self._forget()
        return RequestRefused(refusal.status, refusal.detail)

    def _heard(self, events: list[Event]) -> None:  # noqa: ARG002  # The client's end has something to tell.
        self._has_heard = True
        self._next_exchange()

    def inform(self, stream: int, status: int, headers: Headers = ()) -> None:
        if stream != self._stream or self._over or self._asked is None or self._has_answered:
            return
        if not 100 <= status <= 199 or status == 101:
            raise ValueError(f"status {status} is not before an answer")
        if not self._asked.is_old:
            self._out.append(_head(_status_line(status), 1, headers))
            self._awaits_continue = self._awaits_continue and status != 100

    def respond(self, stream: int, head: ResponseHead, *, ended: bool = False) -> None:
        asked = self._asked
        if stream != self._stream or self._over or asked is None or self._has_answered:
            return
        if head.status == 101:
            self._respond_upgraded(asked, head)
            if ended:
                self.finish(stream)
            return
        if head.status < 200:
            raise ValueError(f"status {head.status} is no answer")
        length = head.length
        is_empty = head.status in (204, 304) or asked.head.method == "HEAD"
        if ended and length is None and not is_empty:
            length = 0
        closes = self._leaving or self._awaits_continue or not asked.keeps or bool(asked.head.upgrade)
        framing, lines = "", 1
        if head.status == 204:
            saying = _Saying.EMPTY
        elif length is not None:
            framing, lines = f"content-length: {length}\r\n", 2
            saying = _Saying.EMPTY if is_empty else _Saying.COUNTED
        elif is_empty:
            saying = _Saying.EMPTY
        elif asked.is_old:
            saying, closes = _Saying.BYTES, True
        else:
            framing, lines = "transfer-encoding: chunked\r\n", 2
            saying = _Saying.CHUNKED
        if closes:
            framing, lines = framing + "connection: close\r\n", lines + 1
        elif asked.is_old:
            framing, lines = framing + "connection: keep-alive\r\n", lines + 1
        self._out.append(_head(_status_line(head.status) + framing, lines, head.headers))
        self._has_answered = True
        self._closes = closes
        self._saying = saying
        self._left = length or 0
        self._says_trailers = asked.head.takes_trailers
        if asked.head.upgrade:
            # Its client may have gone on as if it had its way: nothing of that is a request.
            self._has_heard = True
            self._forget()
            self._due.append(MessageEnded(stream))
        if ended:
            self.finish(stream)

    def _respond_upgraded(self, asked: Asked, head: ResponseHead) -> None:
        if not asked.head.upgrade:
            raise ValueError("nobody asked for another protocol")
        first = f"{_status_line(101)}connection: upgrade\r\nupgrade: {asked.head.upgrade}\r\n"
        self._out.append(_head(first, 3, head.headers))
        self._has_answered = self._closes = self._tunnels = True
        self._saying = _Saying.BYTES
        self._body = Unbounded()
        self._again = self._keeps

    def _said(self) -> None:
        if not (self._has_heard or self._over or self._tunnels):
            self._over = self._closes
            self._unconsumed = 0
            self._left_over = LINGER
            if self._over:
                self._forget()
        self._next_exchange()

    def _next_exchange(self) -> None:
        """If both messages have ended."""
        if not (self._has_heard and self._has_answered and self._saying is _Saying.NOTHING):
            return
        self._asked = None
        self._unconsumed = 0
        self._over = self._over or self._closes or self._leaving
        if self._over:
            self._forget()
        elif self._keeps:
            self._again = True

    def leave(self) -> None:
        self._leaving = True
        if self._asked is None and not self._keeps:
            self._over = True

    @property
    def wants_more(self) -> bool:
        return super().wants_more and not (self._asked is not None and self._body is None and self._keeps)

    @property
    def _is_under_way(self) -> bool:
        return self._asked is not None

    @property
    def waiting(self) -> Waiting:
        if self._asked is not None:
            return Waiting.MESSAGE
        return Waiting.HEAD if self._keeps else Waiting.IDLE


class Http1Client(_Connection, ClientMachine):
    """The end that asks.

    An answer that came before all of the request had been said is the last: what remains to be said is thrown away.
    So it is with whatever comes that no answer is due for.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(limits)
        self._scanner = heads.response_scanner(limits)
        self._request: RequestHead | None = None
        """What was asked, and has not been answered to the end."""
        self._informed = 0
        """Answers of 1xx that came."""
        self._keeps_open = True
        """The server would use the connection again."""
        self._awaits_upgrade = False
        self._early: list[bytes] = []
        """What is to be said when the server has agreed to another protocol."""
        self._leaving = False

    def request(self, head: RequestHead, *, ended: bool = False) -> int:
        if not self.has_room:
            raise ValueError("the connection has no room for another request")
        if ended and head.length:
            raise ValueError(f"a request of {head.length} bytes has not ended with its head")
        if " " in head.path or " " in head.method or not head.path:
            raise ValueError("the path or the method of a request is none")
        options: list[str] = []
        framing, lines = "", 2
        saying = _Saying.EMPTY
        if head.upgrade:
            options.append("upgrade")
            framing, lines = f"upgrade: {head.upgrade}\r\n", 3
            saying = _Saying.EMPTY if ended else _Saying.BYTES
        elif ended or head.length == 0:
            if head.method in _WITH_BODY:
                framing, lines = "content-length: 0\r\n", 3
        elif head.length is None:
            framing, lines = "transfer-encoding: chunked\r\n", 3
            saying = _Saying.CHUNKED
        else:
            framing, lines = f"content-length: {head.length}\r\n", 3
            saying = _Saying.COUNTED
        if head.expects_continue and saying in (_Saying.COUNTED, _Saying.CHUNKED):
            framing, lines = framing + "expect: 100-continue\r\n", lines + 1
        if head.takes_trailers:
            options.append("te")
            framing, lines = framing + "te: trailers\r\n", lines + 1
        if options:
            framing, lines = f"{framing}connection: {', '.join(options)}\r\n", lines + 1
        first = f"{head.method} {head.path} HTTP/1.1\r\nhost: {head.authority}\r\n{framing}"
        self._out.append(_head(first, lines, head.headers))
        self._stream += 1
        self._request = head
        self._informed = 0
        self._unconsumed = 0
        self._says_trailers = True
        self._left = head.length or 0
        self._saying = saying
        self._awaits_upgrade = saying is _Saying.BYTES
        if ended:
            self.finish(self._stream)
        return self._stream

    def send(self, stream: int, data: Buffer) -> None:
        if self._awaits_upgrade and stream == self._stream and not self._over:
            # Nothing is said in another protocol before the server has agreed to it.
            if self._saying is _Saying.BYTES:
                self._early.append(bytes(data))
        else:
            super().send(stream, data)

    def queued(self, stream: int) -> int:
        return sum(map(len, self._early)) if stream == self._stream else 0

    def finish(self, stream: int, trailers: Headers = ()) -> None:
        if self._awaits_upgrade and stream == self._stream:
            self._saying = _Saying.NOTHING
        else:
            super().finish(stream, trailers)

    def _said(self) -> None:
        self._over = self._tunnels and self._body is None

    def receive(self, data: Buffer) -> list[Event]:
        events: list[Event] = []
        self._again = False
        if self._over:
            return events
        if self._request is None:
            if len(data):
                self._end(events)
            return events
        self._take(data)
        if self._body is None:
            self._hear_heads(self._request, events)
        if self._body is not None:
            self._hear_body(self._body, events)
        self._keep()
        if self._ends and not (self._again or self._over):
            self._hear_end(events)
        return events

    def _hear_heads(self, request: RequestHead, events: list[Event]) -> None:
        data = self._searchable()
        while self._body is None and self._request is not None and self._at < len(data):
            end = self._scanner.find(data, self._at)
            if end is None:
                return
            if isinstance(end, Refusal):
                self._broken(end, events)
                return
            answered = heads.read_response(data[self._at : end], self._limits)
            if isinstance(answered, Refusal):
                self._broken(answered, events)
                return
            self._at = end
            self._answered(request, answered, events)

    def _answered(self, request: RequestHead, answered: Answered, events: list[Event]) -> None:
        head = answered.head
        if head.status == 101:
            self._upgraded(request, answered, events)
            return
        if head.status < 200:
            self._informed += 1
            if self._informed > MOST_INFORMATION:
                self._broken(Refusal(502, "there are too many answers before the answer"), events)
            else:
                events.append(InformationCame(self._stream, head.status, head.headers))
            return
        if self._awaits_upgrade:
            self._awaits_upgrade = False
            self._saying = _Saying.NOTHING
            self._early.clear()
        events.append(ResponseCame(self._stream, head))
        is_empty = request.method == "HEAD" or head.status in (204, 304) or head.length == 0
        ends_with_connection = not (is_empty or answered.is_chunked) and head.length is None
        if ends_with_connection or not answered.keeps:
            self._keeps_open = False
            events.append(PeerLeaving())
        if is_empty:
            events.append(MessageEnded(self._stream))
            self._heard(events)
        elif answered.is_chunked:
            self._body = Chunked(self._limits, of_request=False)
        else:
            self._body = Unbounded() if head.length is None else Counted(head.length)

    def _upgraded(self, request: RequestHead, answered: Answered, events: list[Event]) -> None:
        if not request.upgrade or answered.upgrade != request.upgrade:
            self._broken(Refusal(502, "the server goes on with a protocol that nobody asked for"), events)
            return
        events.append(ResponseCame(self._stream, answered.head))
        self._keeps_open = self._awaits_upgrade = False
        self._tunnels = True
        self._body = Unbounded()
        self._out += self._early
        self._early.clear()

    def _broken(self, refusal: Refusal, events: list[Event]) -> None:
        if not self._over:
            self._cut()
            events.append(MessageCut(self._stream, Fault.MALFORMED, refusal.detail))

    def _heard(self, events: list[Event]) -> None:
        has_said = self._saying in (_Saying.NOTHING, _Saying.EMPTY) or (
            self._saying is _Saying.COUNTED and not self._left
        )
        self._request = None
        self._saying = _Saying.NOTHING
        if not has_said or not self._keeps_open or self._keeps or self._leaving:
            self._end(events)
        else:
            events.append(RoomChanged())

    def _end(self, events: list[Event]) -> None:
        """Between two exchanges there is a reason for no other to begin."""
        self._over = True
        self._forget()
        if self._keeps_open:
            self._keeps_open = False
            events.append(PeerLeaving())

    def receive_end(self) -> list[Event]:
        events: list[Event] = []
        if self._again:
            self._ends = True
        elif not self._over:
            self._hear_end(events)
        return events

    def _hear_end(self, events: list[Event]) -> None:
        if self._request is None:
            self._end(events)
        elif isinstance(self._body, Unbounded):
            self._body = None
            events.append(MessageEnded(self._stream))
            self._over = not self._tunnels or self._saying is _Saying.NOTHING
        else:
            where = "before it had answered" if self._body is None else "in the middle of its answer"
            self._cut()
            events.append(MessageCut(self._stream, Fault.RESET, f"the server hung up {where}"))

    def leave(self) -> None:
        self._leaving = True
        self._over = self._over or self._request is None

    @property
    def _is_under_way(self) -> bool:
        return self._request is not None

    @property
    def waiting(self) -> Waiting:
        return Waiting.IDLE if self._request is None else Waiting.MESSAGE

    @property
    def has_room(self) -> bool:
        return self._request is None and not (self._over or self._leaving)

    @property
    def is_fresh(self) -> bool:
        return self._stream == 0


def _status_line(status: int) -> str:
    line = _STATUS_LINES.get(status)
    if line is None:
        if not 100 <= status <= 599:
            raise ValueError(f"{status} is no status")
        line = f"HTTP/1.1 {status} \r\n"
    return line


def _head(first: str, lines: int, headers: Headers) -> bytes:
    """``first``, which must be so many lines, ``headers``, and an empty line."""
    written = [f"{label}{value}\r\n" for name, value in headers if (label := _label(name))]
    head = f"{first}{''.join(written)}\r\n".encode("latin-1")
    lines += len(written) + 1
    if head.count(b"\r") != lines or head.count(b"\n") != lines or b"\0" in head:
        raise ValueError("a head cannot be written: there is a line break or a NUL in it")
    return head


@lru_cache(maxsize=4096)
def _label(name: str) -> str:
    """What stands before a header's value; nothing, if that header is the machine's business."""
    if not fields.is_token(name):
        raise ValueError(f"{name[:64]!r} is not the name of a header")
    lower = name.lower()
    return "" if lower in fields.OWN else f"{lower}: "
