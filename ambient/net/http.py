"""HTTP on an end: one connection, the streams on it, and whoever hears of them.

``HttpServer`` and ``HttpClient`` own an ``End``, feed a machine of ``core.http`` with what it reads, write what the
machine has to say, and know neither version. Everything is a callback: no task runs for a connection or a request, and
nothing here waits.

Turns. What a read of the end brings is told event by event, and what the machine then has to say leaves once. Whatever
is said on a connection at another time leaves once in this turn of the loop, except that much of a body leaves at
once: it may be a view of a buffer that is about to be used again.

Back-pressure. A part of a body is its receiver's until that calls ``consumed``; what is not consumed keeps the window
of its stream closed, or in HTTP/1.1 the end from being read. Towards the peer a stream ``is_full`` when its window is
used up or the end has enough to write, and its receiver hears when it is ``drained``.

The end. A connection that has nothing more to say half-closes, and throws away what still comes until the peer has
closed as well: a socket that is closed with bytes unread sends a reset, which may overtake our last answer. Where a
message that was not ended would look whole in an orderly close, the connection is reset.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from ambient.core.frames import Buffer
from ambient.core.http.machine import ClientMachine, Machine, ServerMachine, Waiting
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
from ambient.core.stillness import Stillness
from ambient.net.relay import End

LINGER_SECONDS: Final = 5.0
"""How long a peer may take to close after us before it is cut."""
_QUEUE: Final = 32 * 1024
"""Bytes that a stream may have queued before its source is told to wait."""
_AT_ONCE: Final = 16 * 1024
"""So much of bodies leaves at once, the last part of it uncopied; less is copied, and leaves with what comes after."""
_NEVER: Final = float("inf")


class Receiver(Protocol):
    """Who hears of the peer's message on one stream.

    Nothing follows ``cut``. After ``ended`` there may be ``drained``, and ``cut`` if the peer wants no more of what we
    are still saying. None of these may raise: that is a fault of ours, and costs the connection.
    """

    def informed(self, status: int, headers: Headers, /) -> None:
        """A server said something before its answer."""

    def answered(self, head: ResponseHead, /) -> None:
        """A server answered."""

    def body(self, data: Buffer, /) -> None:
        """Part of the body: copy it or pass it on before this returns, and say when it is ``consumed``."""

    def ended(self, trailers: Headers, /) -> None:
        """The peer has said all."""

    def cut(self, fault: Fault, detail: str, /) -> None:
        """Nothing more is to be heard or said."""

    def drained(self) -> None:
        """There is room for our message again, after the stream was full."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a server waits, in seconds. Source: Envoy's guide for edges, and its stream idle timeout."""

    head: float = 10.0
    """For the rest of a head."""
    body: float = 60.0
    """For more of a request that has not been answered, unless it is gRPC, whose calls may be slow."""
    stalled: float = 300.0
    """For the peer to take any of what it is sent."""
    idle: float = 3600.0
    """For the next request."""


DEFAULT_TIMEOUTS: Final = Timeouts()


class Stream:
    """One exchange. What is asked of one that ``is_over`` is passed over in silence."""

    __slots__ = (
        "_connection",
        "has_heard_all",
        "has_said_all",
        "id",
        "is_over",
        "received",
        "receiver",
        "sent",
        "unconsumed",
    )

    def __init__(self, connection: Connection, stream: int, receiver: Receiver | None) -> None:
        self._connection = connection
        self.id = stream
        self.receiver = receiver
        """Who hears of the peer's message. What comes of its body while this is None is thrown away."""
        self.has_said_all = False
        """Our message has ended."""
        self.has_heard_all = False
        """The peer's message has ended."""
        self.is_over = False
        """Both have, or it was cut."""
        self.sent = 0
        """Bytes of our body, those that wait among them."""
        self.received = 0
        """Bytes of the peer's body."""
        self.unconsumed = 0
        """Those of them that the receiver still has."""

    def send(self, data: Buffer) -> None:
        """Part of our body, which may be overwritten when this returns. It is taken even if the stream ``is_full``."""
        if not (self.has_said_all or self.is_over):
            self.sent += len(data)
            self._connection.send(self.id, data)

    def finish(self, trailers: Headers = ()) -> None:
        """Our message has ended."""
        if not (self.has_said_all or self.is_over):
            self._connection.machine.finish(self.id, trailers)
            self._connection.said_all(self)

    def reset(self, fault: Fault = Fault.CANCELLED) -> None:
        """Say and hear nothing more; the receiver is not told."""
        if not self.is_over:
            self._connection.reset(self, fault)

    def consumed(self, size: int) -> None:
        """So many bytes of the peer's body have been passed on."""
        self.unconsumed -= size
        if not self.is_over:
            self._connection.machine.consumed(self.id, size)
            self._connection.flush_soon()

    @property
    def may_end_in_order(self) -> bool:
        """Whether its connection may be closed, and not reset, if it is given up now."""
        return False

    @property
    def is_full(self) -> bool:
        """Whether to wait before more is sent; if so, the receiver hears when it is ``drained``."""
        return not (self.has_said_all or self.is_over) and self._connection.is_full(self)


class ServerStream(Stream):
    """A request that came, and our answer to it. Its receiver is to be set while it is being told."""

    __slots__ = ("_answered", "_informed", "_quiet", "_stuck", "head")

    _connection: HttpServer

    def __init__(self, connection: HttpServer, stream: int, head: RequestHead) -> None:
        super().__init__(connection, stream, None)
        self.head = head
        self._answered = self._informed = False
        self._quiet: Stillness | None = None
        self._stuck: Stillness | None = None

    def inform(self, status: int, headers: Headers = ()) -> None:
        """A status of 1xx before the answer."""
        if not self.is_over:
            self._connection.machine.inform(self.id, status, headers)
            self._informed = True
            self._connection.flush_soon()

    def respond(self, head: ResponseHead, *, ended: bool = False) -> None:
        """The answer; ``ended``: it has no body."""
        if not self.is_over:
            self._connection.machine.respond(self.id, head, ended=ended)
            self._answered = True
            if ended:
                self._connection.said_all(self)
            else:
                self._connection.flush_soon()

    @property
    def may_end_in_order(self) -> bool:
        return self.has_said_all or not self._answered

    def time_out(self) -> None:
        """Give up: with 408 where nothing has been answered."""
        receiver = self.receiver
        if not self._answered:
            self.respond(ResponseHead(408, length=0), ended=True)
            self._connection.flush()
        self.reset(Fault.TIMED_OUT)
        if receiver is not None:
            receiver.cut(Fault.TIMED_OUT, "the client stood still")

    def stands_still(self, left: int | None, now: float, timeouts: Timeouts) -> bool:
        """Whether the client says nothing, or takes nothing, for too long.

        ``left``: of what was sent something waits, and so much has left. To be asked now and then.
        """
        owes = not (self.has_heard_all or self._answered or self.unconsumed or self._may_be_slow())
        self._quiet = Stillness.seen(self._quiet, self.received, now) if owes else None
        self._stuck = None if left is None else Stillness.seen(self._stuck, left, now)
        return (self._quiet is not None and now - self._quiet.since >= timeouts.body) or (
            self._stuck is not None and now - self._stuck.since >= timeouts.stalled
        )

    def _may_be_slow(self) -> bool:
        if self.head.expects_continue and not self._informed:
            return True
        return any(
            name == "content-type" and value.startswith("application/grpc")
            for name, value in self.head.headers
        )


class ClientStream(Stream):
    """A request of ours, and the answer to it."""

    # Given up, it may not end in order: who serves should learn that nobody waits, and a half-close does not say that.
    __slots__ = ()


class Connection(ABC):
    """What both sides of a connection have in common."""

    __slots__ = (
        "_bound",
        "_clock",
        "_crowded",
        "_end",
        "_flush_due",
        "_full",
        "_gone",
        "_half_closed",
        "_hearing_on",
        "_held",
        "_loop",
        "_parting",
        "_pending",
        "_stalled",
        "_still",
        "_streams",
        "_telling",
        "_written",
        "machine",
    )

    def __init__(self, end: End, machine: Machine, stalled_seconds: float) -> None:
        self.machine = machine
        """For its streams alone."""
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, Stream] = {}
        self._crowded: set[Stream] = set()
        """Those whose receivers wait to hear that they are drained."""
        self._telling = self._hearing_on = self._flush_due = False
        self._full = self._held = self._half_closed = False
        self._parting = False
        """Nothing more is said, and what comes is thrown away."""
        self._gone = False
        self._clock: asyncio.TimerHandle | None = None
        self._bound: asyncio.TimerHandle | None = None
        """When a connection that leaves is cut."""
        self._still: Stillness | None = None
        self._stalled = stalled_seconds
        self._pending = 0
        """Bytes of bodies that the machine was given and not asked for."""
        self._written = 0
        end.relay = self

    @property
    def under_way(self) -> int:
        """How many streams live."""
        return len(self._streams)

    def leave(self, within: float | None = None) -> None:
        """Begin nothing more, let what is under way end, then close; cut what has not ended ``within`` so many seconds."""
        if self._parting:
            return
        self.machine.leave()
        self.flush_soon()
        if within is not None and self._bound is None:
            self._bound = self._loop.call_later(within, self.cut, "it did not end in time")

    def cut(self, why: str, fault: Fault = Fault.RESET) -> None:
        """Reset it and, for ``fault``, every stream on it."""
        if not self._gone:
            self._parting = True
            self._cut_streams(fault, why)
            self._end.reset()
            self._leave()

    # What its streams ask for:

    def send(self, stream: int, data: Buffer) -> None:
        """Send or queue part of a body."""
        self._pending += len(data)
        if self._pending >= _AT_ONCE and not self._full:
            self.machine.send(stream, data)
            self._write_out()
        else:
            self.machine.send(stream, bytes(data))
        self.flush_soon()

    def said_all(self, stream: Stream) -> None:
        """Our message has ended."""
        stream.has_said_all = True
        self._crowded.discard(stream)
        if stream.has_heard_all:
            self._forget(stream)
        self.flush_soon()

    def reset(self, stream: Stream, fault: Fault) -> None:
        """Give a stream up."""
        self.machine.reset(stream.id, fault)
        self._forget(stream)
        if self.machine.is_over and not (stream.may_end_in_order or self._parting):
            self.flush()
            self.cut("reset")
        else:
            self.flush_soon()

    def is_full(self, stream: Stream) -> bool:
        """Whether enough is queued for a stream; if so, its receiver is told when there is room."""
        if self._full or self.machine.queued(stream.id) > _QUEUE:
            self._crowded.add(stream)
            return True
        return False

    def flush(self) -> None:
        """Let what the machine has to say leave at once."""
        if not (self._full or self._gone):
            self._write_out()

    def flush_soon(self) -> None:
        """Let what the machine has to say leave in this turn of the loop."""
        if not (self._flush_due or self._telling):
            self._flush_due = True
            self._loop.call_soon(self._settle_now)

    # What its end reports:

    def arrived(self, _end: End, data: Buffer) -> None:
        """Bytes for the machine."""
        if not self._parting:
            self._tell(self.machine.receive(data))
            self._settle()

    def finished(self, end: End) -> None:
        """The machine knows what that means for what is under way."""
        end.finished_reading = True
        if self._parting:
            end.close()
        else:
            self._tell(self.machine.receive_end())
            self._settle()

    def closed(self, end: End) -> None:
        """Whatever is still to be said, nobody hears it."""
        if not end.finished_reading:
            self.finished(end)
        self.broken(end, "the peer has left")
        self.gone(end, None)

    def broken(self, _end: End, why: str) -> None:
        """So is every stream."""
        self._parting = True
        self._cut_streams(Fault.RESET, why)

    def gone(self, _end: End, _why: str | None) -> None:
        """And so is the connection."""
        self._leave()

    def full(self, _end: End) -> None:
        """The machine keeps what it has to say."""
        self._full = True

    def drained(self, _end: End) -> None:
        """It may say it."""
        self._full = False
        self.flush_soon()

    # What its two kinds do differently:

    @abstractmethod
    def _happened(self, event: Event) -> None:
        """The machine tells something."""

    @abstractmethod
    def _settled(self) -> None:
        """All that came has been told, and all that can leave has left."""

    @abstractmethod
    def _over(self) -> None:
        """Nothing is left of it."""

    # Turns:

    def _tell(self, events: Iterable[Event]) -> None:
        self._telling = True
        try:
            for event in events:
                self._happened(event)
        except Exception as error:  # noqa: BLE001  # Others share the tunnel, and this turn of the loop.
            self._loop.call_exception_handler(
                {"message": "an exchange failed, and its connection is cut", "exception": error}
            )
            self.cut("a fault of our own")
        finally:
            self._telling = False

    def _settle_now(self) -> None:
        self._flush_due = False
        self._settle()

    def _settle(self) -> None:
        machine = self.machine
        if not (self._full or self._gone):
            self._write_out()
            if self._crowded and not self._full:
                self._relieve()
        if self._parting:
            return
        if machine.is_over:
            self._part()
        else:
            if not machine.heard_all and not self._hearing_on:
                self._hearing_on = True
                self._loop.call_soon(self._hear_on)
            if machine.wants_more is self._held:
                self._hold_or_release()
            if machine.has_finished and not (self._half_closed or self._full):
                self._half_closed = True
                self._end.finish()
        self._settled()

    def _write_out(self) -> None:
        self._pending = 0
        due = self.machine.gather()
        if not due:
            return
        if len(due) == 1:
            self._written += len(due[0])
            self._end.write(due[0])
        else:
            self._written += sum(map(len, due))
            self._end.write_all(due)

    def _hear_on(self) -> None:
        self._hearing_on = False
        if not self._parting:
            self._tell(self.machine.receive(b""))
            self._settle()

    def _hold_or_release(self) -> None:
        self._held = not self._held
        if self._held:
            self._end.hold()
        else:
            self._end.release()

    def _relieve(self) -> None:
        for stream in tuple(self._crowded):
            if self.machine.queued(stream.id) <= _QUEUE // 4:
                self._crowded.discard(stream)
                if stream.receiver is not None:
                    stream.receiver.drained()

    # Streams:

    def _body(self, number: int, data: Buffer) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.receiver is None:
            self.machine.consumed(number, len(data))
            return
        stream.received += len(data)
        stream.unconsumed += len(data)
        stream.receiver.body(data)

    def _ended(self, number: int, trailers: Headers) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        receiver = stream.receiver
        stream.has_heard_all = True
        if stream.has_said_all:
            self._forget(stream)
        if receiver is not None:
            receiver.ended(trailers)

    def _cut(self, number: int, fault: Fault, detail: str) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        receiver = stream.receiver
        self._forget(stream)
        if receiver is not None:
            receiver.cut(fault, detail)

    def _cut_streams(self, fault: Fault, why: str) -> None:
        for number in tuple(self._streams):
            self._cut(number, fault, why)

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.id, None)
        self._crowded.discard(stream)
        stream.is_over = True
        # Both know each other, and must not wait for the cyclic collector.
        stream.receiver = None

    # The end:

    def _part(self) -> None:
        self._parting = True
        self._still = None
        self._write_out()
        self._tell(self.machine.receive(b""))
        for stream in tuple(self._streams.values()):
            fault = Fault.CANCELLED if stream.has_heard_all else Fault.RESET
            self._cut(stream.id, fault, "the connection is over")
        if self._gone:
            return
        if not self._half_closed:
            self._end.finish()
        if self._end.finished_reading:
            self._end.close()
        elif self._held:
            self._end.release()
        self._wait_for_peer()

    def _wait_for_peer(self) -> None:
        if self._gone:
            return
        now, unsent = self._loop.time(), self._end.unsent
        self._still = still = Stillness.seen(self._still, unsent, now)
        patience = (self._stalled if unsent else LINGER_SECONDS) - (now - still.since)
        if patience > 0:
            self._ring_in(min(patience, LINGER_SECONDS), self._wait_for_peer)
        else:
            self.cut("the peer did not close")

    def _leave(self) -> None:
        if self._gone:
            return
        self._gone = self._parting = True
        self._cut_streams(Fault.RESET, "the connection is gone")
        self._end.relay = None
        for timer in (self._clock, self._bound):
            if timer is not None:
                timer.cancel()
        self._over()

    def _ring_in(self, seconds: float, what: Callable[[], None]) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._clock = self._loop.call_later(seconds, what)


class HttpServer(Connection):
    """A connection with a client. ``requested`` is told of each request, ``closed`` once, when nothing is left of it.

    Whoever is asked answers on the stream, then or later. What the machine refused by itself is told to ``refused``.
    """

    __slots__ = ("_closed", "_due", "_refused", "_requested", "_since", "_timeouts", "_waiting")

    machine: ServerMachine

    def __init__(
        self,
        end: End,
        machine: ServerMachine,
        requested: Callable[[ServerStream], None],
        refused: Callable[[RequestRefused], None],
        closed: Callable[[], None],
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        super().__init__(end, machine, timeouts.stalled)
        self._requested, self._refused, self._closed = requested, refused, closed
        self._timeouts = timeouts
        self._waiting: Waiting | None = None
        self._since = 0.0
        """When it began to wait for that."""
        self._due = _NEVER
        """When the clock rings. It may ring too early, and then looks again later: it is rarely set anew."""

    def start(self, first: bytes = b"") -> None:
        """Serve; ``first`` has been read already."""
        if first:
            self.arrived(self._end, first)
        if not self._gone:
            self._end.start()
            self._settle()

    def _happened(self, event: Event) -> None:
        match event:
            case RequestCame():
                if not self._parting:
                    self._streams[event.stream] = stream = ServerStream(self, event.stream, event.head)
                    self._requested(stream)
            case MessageEnded():
                self._ended(event.stream, event.trailers)
            case BodyCame():
                self._body(event.stream, event.data)
            case MessageCut():
                self._cut(event.stream, event.fault, event.detail)
            case RequestRefused():
                self._refused(event)
            case PeerLeaving() | RoomChanged() | InformationCame() | ResponseCame():
                pass

    def _settled(self) -> None:
        if self._parting or (waiting := self.machine.waiting) is self._waiting:
            return
        self._waiting = waiting
        self._since = self._loop.time()
        due = self._since + self._patience(waiting)
        if due < self._due:
            self._look_at(due)

    def _over(self) -> None:
        self._closed()

    def _patience(self, waiting: Waiting) -> float:
        match waiting:
            case Waiting.IDLE:
                return self._timeouts.idle
            case Waiting.HEAD:
                return self._timeouts.head
            case Waiting.MESSAGE:
                return min(self._timeouts.body, self._timeouts.stalled) / 4

    def _look_at(self, due: float) -> None:
        self._due = due
        self._ring_in(due - self._loop.time(), self._look)

    def _look(self) -> None:
        self._due = _NEVER
        if self._parting or self._waiting is None:
            return
        now = self._loop.time()
        due = self._since + self._patience(self._waiting)
        if self._waiting is Waiting.MESSAGE or self._end.unsent:
            self._inspect(now)
            due = min(due, now + self._patience(Waiting.MESSAGE))
        if due <= now:
            due = now + self._patience(Waiting.MESSAGE)
            match self._waiting:
                case Waiting.IDLE:
                    self.leave()
                case Waiting.HEAD:
                    self._tell(self.machine.expire())
                    self._settle()
                case Waiting.MESSAGE:
                    pass
        if due < self._due and not self._parting:
            self._look_at(due)

    def _inspect(self, now: float) -> None:
        unsent = self._end.unsent
        if not self._streams:
            # All is said, and what the peer has yet to take is the machine's.
            self._still = Stillness.seen(self._still, self._written - unsent, now)
            if now - self._still.since >= self._timeouts.stalled:
                self.cut("the client takes nothing")
        else:
            self._still = None
        for stream in tuple(self._streams.values()):
            queued = self.machine.queued(stream.id)
            left = stream.sent - queued if queued else self._written - unsent if unsent else None
            if isinstance(stream, ServerStream) and stream.stands_still(left, now, self._timeouts):
                stream.time_out()


class Keeper(Protocol):
    """Who keeps a client's connections for the next request."""

    def changed(self, client: HttpClient, /) -> None:
        """It has room, or is idle, and was not before; or the other way round."""

    def gone(self, client: HttpClient, /) -> None:
        """Nothing is left of it."""


class HttpClient(Connection):
    """A connection with a server. ``closed`` is told once, when nothing is left of it."""

    __slots__ = ("_closed", "_had_room", "_was_idle", "asked", "keeper", "most_requests")

    machine: ClientMachine

    def __init__(
        self, end: End, machine: ClientMachine, closed: Callable[[HttpClient], None] = lambda _: None
    ) -> None:
        super().__init__(end, machine, DEFAULT_TIMEOUTS.stalled)
        self._closed = closed
        self._had_room = self._was_idle = True
        self.keeper: Keeper | None = None
        self.asked = 0
        """Requests so far."""
        self.most_requests = 0
        """After so many it leaves; 0: no matter how many."""
        # Not at once: a socket's first read would overwrite what its maker may be about to pass on.
        self._loop.call_soon(self._start)
        self.flush_soon()

    @property
    def has_room(self) -> bool:
        """Whether another request may begin now."""
        return not self._parting and self.machine.has_room

    @property
    def is_fresh(self) -> bool:
        """Whether nothing was asked on it yet."""
        return self.machine.is_fresh

    def request(self, head: RequestHead, receiver: Receiver, *, ended: bool = False) -> ClientStream:
        """Ask; only while it ``has_room``. ``ended``: the request has no body."""
        number = self.machine.request(head, ended=ended)
        stream = ClientStream(self, number, receiver)
        self._streams[number] = stream
        stream.has_said_all = ended
        self.asked += 1
        if self.asked == self.most_requests:
            self.machine.leave()
        self.flush_soon()
        self._settled()
        return stream

    def _start(self) -> None:
        if not self._gone:
            self._end.start()

    def _happened(self, event: Event) -> None:
        match event:
            case ResponseCame():
                stream = self._streams.get(event.stream)
                if stream is not None and stream.receiver is not None:
                    stream.receiver.answered(event.head)
            case BodyCame():
                self._body(event.stream, event.data)
            case MessageEnded():
                self._ended(event.stream, event.trailers)
            case MessageCut():
                self._cut(event.stream, event.fault, event.detail)
            case InformationCame():
                stream = self._streams.get(event.stream)
                if stream is not None and stream.receiver is not None:
                    stream.receiver.informed(event.status, event.headers)
            case PeerLeaving() | RoomChanged() | RequestCame() | RequestRefused():
                pass

    def _settled(self) -> None:
        had_room, was_idle = self._had_room, self._was_idle
        self._had_room, self._was_idle = self.has_room, not self._streams
        if self.keeper is not None and (self._had_room is not had_room or self._was_idle is not was_idle):
            self.keeper.changed(self)

    def _over(self) -> None:
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            keeper.gone(self)
        self._closed(self)
