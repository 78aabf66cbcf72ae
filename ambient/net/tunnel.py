"""HBONE over mutual TLS on a socket: one connection, many tunnelled streams.

``Tunnel`` is both ends' common part: it feeds the machine of ``core.hbone`` with what TLS reads, writes what the
machine has to say, and hands each stream's bytes to its ``TunnelEnd``. ``ClientTunnel`` asks for streams,
``ServerTunnel`` is asked.
"""

from __future__ import annotations

import asyncio
import collections
import weakref
from collections.abc import Callable
from typing import Final, cast

from ambient.core import hbone
from ambient.core.errors import PeerError, Unavailable
from ambient.core.frames import Buffer
from ambient.core.hbone import Headers
from ambient.net import sockets
from ambient.net.relay import End

PING_SECONDS: Final = 10.0
PINGS: Final = 2
"""A peer that was silent for so many pings is gone. Source: the peers' figures, 10 s and 20 s. Pings are counted, and
not seconds, so that a process that was itself stopped for a while does not blame its peers."""
ANSWER_SECONDS: Final = sockets.CONNECT_TIMEOUT + 5.0
"""How long a request waits for its answer: what a peer gives its application to be connected to, and a margin."""
MOST_STREAMS: Final = 100
"""Streams of a client on one tunnel, if the peer takes as many. Source: the peers' default."""
LIFE_SECONDS: Final = 1.0
"""A request that waits so long for its answer has the peer pinged. If nothing at all has come after twice as long, the
peer, or the way there, stands still: whoever waits asks on another tunnel, where another of its processes may answer."""
_QUEUE: Final = 64 * 1024
"""Bytes that a stream may have queued before its source is held."""
_CLOSED: Final = "the peer closed the tunnel"
_AT_ONCE: Final = 16 * 1024
"""So many bytes leave at once; fewer wait, copied, for what other streams send in this turn of the loop."""
_SMALL: Final = 4 * 1024
"""Pieces of a smaller size, on average, are joined: a TLS record each would cost more than the copy."""
_read: Final = bytearray(256 * 1024)
"""What was read last, by any tunnel of this process: all of it is passed on or copied at once."""


class TunnelRefused(PeerError):
    """The peer answered a request for a tunnel with another status than 200."""

    reason = "http_status"

    def __init__(self, status: int) -> None:
        super().__init__(f"http status: {status}")
        self.status = status


class TunnelLost(Unavailable):
    """A stream ended before it was answered. ``untouched``: the peer did not act on it, so it may be tried again."""

    reason = "tunnel_lost"

    def __init__(self, why: str, *, untouched: bool) -> None:
        super().__init__(why)
        self.untouched = untouched


class TunnelEnd(End):
    """One stream of a tunnel as an end."""

    __slots__ = (
        "_congested",
        "_finished_early",
        "_gone",
        "_held",
        "_started",
        "_stopped",
        "_stream",
        "_tunnel",
        "_uncredited",
        "_waiting",
        "answer",
        "given_up",
        "heard",
    )

    def __init__(self, tunnel: Tunnel, stream: int) -> None:
        super().__init__()
        self._tunnel = tunnel
        self._stream = stream
        self._started = False
        self._held = False
        self._congested = False
        self._uncredited = 0
        self._waiting: list[bytes] = []
        self._finished_early = False
        self._stopped = False
        self._gone: str | None = None
        self.answer: asyncio.Future[None] | None = None
        self.given_up: Callable[[], None] | None = None
        """Called if the stream is cut before its relay starts."""
        self.heard: Callable[[], None] | None = None
        """Called when something has come before its relay starts."""

    @property
    def early(self) -> bytes:
        """What has come before its relay starts, which is told of it then."""
        if len(self._waiting) > 1:
            self._waiting = [b"".join(self._waiting)]
        return self._waiting[0] if self._waiting else b""

    @property
    def finished_early(self) -> bool:
        """The peer half-closed before its relay starts."""
        return self._finished_early

    def start(self) -> None:
        self._started = True
        if self.relay is None:
            return
        for data in self._waiting:
            self.relay.arrived(self, data)
        self._waiting = []
        if self._stopped:
            self.relay.finished(self)
            self.relay.closed(self)
        elif self._gone is not None:
            self.relay.broken(self, self._gone)
            self.relay.gone(self, None)
        elif self._finished_early:
            self.relay.finished(self)
        if not self._held:
            self._credit()

    def write(self, data: Buffer) -> None:
        if self._gone is not None:
            return
        self._tunnel.send(self._stream, data)
        if not self._congested and self._tunnel.queued(self._stream) > _QUEUE:
            self._congested = True
            self._tunnel.congested(self)
            if self.relay is not None:
                self.relay.full(self)

    @property
    def unsent(self) -> int:
        return self._tunnel.queued(self._stream) if self._gone is None else 0

    def finish(self) -> None:
        if self._gone is None:
            self._tunnel.finish(self._stream)

    def close(self) -> None:
        # Both END_STREAMs are sent or queued: the protocol closes the stream by itself, and ``closed`` is called.
        pass

    def reset(self) -> None:
        if self._gone is None:
            self._gone = "reset"
            self._tunnel.reset(self._stream)
            if self.relay is not None and self._started:
                self.relay.gone(self, None)

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False
        self._credit()

    @property
    def tunnel(self) -> Tunnel:
        """Whose stream it is."""
        return self._tunnel

    @property
    def gone(self) -> bool:
        """Whether the stream was cut."""
        return self._gone is not None

    # What the tunnel reports:

    def answered(self, status: int) -> None:
        """The peer said yes or no to our request."""
        if self.answer is not None and not self.answer.done():
            if status == 200:
                self.answer.set_result(None)
            else:
                self.answer.set_exception(TunnelRefused(status))

    def unanswered(self) -> None:
        """The peer has had all the time that it gets."""
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(TunnelLost(_silent(), untouched=False))
            self.reset()

    def arrived(self, data: Buffer) -> None:
        """Bytes from the peer, which may be overwritten when this returns; their credit is returned when the other side takes them."""
        self._uncredited += len(data)
        if self._started and self.relay is not None:
            self.relay.arrived(self, data)
            if not self._held:
                self._credit()
        else:
            self._waiting.append(bytes(data))
            if self.heard is not None:
                self.heard()

    def finished(self) -> None:
        """The peer half-closed."""
        if self._started and self.relay is not None:
            self.relay.finished(self)
        else:
            self._finished_early = True
            if self.heard is not None:
                self.heard()

    def lost(self, why: str, *, untouched: bool) -> None:
        """The stream was cut, by the peer or with the whole tunnel."""
        if self._gone is not None:
            return
        self._gone = why
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(TunnelLost(why, untouched=untouched))
        elif self._started and self.relay is not None:
            self.relay.broken(self, why)
            self.relay.gone(self, why)
        elif self.given_up is not None:
            self.given_up()

    def stopped(self) -> None:
        """The peer has finished, and will hear no more: what it said is still passed on."""
        if self._started and self.relay is not None:
            self._gone, self._stopped = "the peer stopped", True
            self.relay.closed(self)
        elif self.given_up is None and (self.answer is None or self.answer.done()):
            self._gone, self._stopped = "the peer stopped", True
        else:
            self.lost("the peer stopped", untouched=False)

    def closed(self) -> None:
        """Both ends have finished, and our last byte has left."""
        if self.relay is not None:
            self.relay.gone(self, None)

    def settle(self) -> None:
        """The stream is over: its credit belongs to the connection, whatever became of its bytes."""
        self._held = False
        self._credit()

    def flushed(self) -> bool:
        """Whether a congested stream has room again; its relay is told."""
        if self._gone is None and self._tunnel.queued(self._stream) > _QUEUE // 4:
            return False
        self._congested = False
        if self.relay is not None:
            self.relay.drained(self)
        return True

    def _credit(self) -> None:
        amount, self._uncredited = self._uncredited, 0
        if amount:
            self._tunnel.consumed(self._stream, amount)


class Tunnel(asyncio.BufferedProtocol):
    """One HBONE connection. ``closed`` is called once, when it is over."""

    def __init__(self, role: hbone.Role, closed: Callable[[Tunnel], None]) -> None:
        self._machine = hbone.Hbone(role)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._closed = closed
        self._ends: dict[int, TunnelEnd] = {}
        self._congested: set[TunnelEnd] = set()
        self._flush_due = False
        self._in_crowd = False
        self._writable = True
        self._pulse: asyncio.TimerHandle | None = None
        self._unanswered = 0
        self._heard = False
        self._why = _CLOSED
        self.leaving = False
        """No more streams are to be opened on it."""
        self.peer_stream_limit: int | None = None
        """How many streams the peer takes at once; None until it has said."""

    @property
    def streams(self) -> int:
        """How many streams live."""
        return len(self._ends)

    @property
    def over(self) -> bool:
        """Whether its connection is gone."""
        return self._transport is None or self._transport.is_closing()

    def leave(self) -> None:
        """Take no more streams, let those that live end, then close."""
        if self.over:
            return
        if not self.leaving:
            self.leaving = True
            self._machine.leave()
            self._flush_soon()
        self._close_if_idle()

    def abort(self, why: str) -> None:
        """Cut it and every stream."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    # What its ends ask for:

    def send(self, stream: int, data: Buffer) -> None:
        """Send or queue bytes of a stream, which may be overwritten when this returns."""
        if self._writable and (len(self._ends) == 1 or len(data) >= _AT_ONCE):
            self._machine.send(stream, data)
            self._flush()
        else:
            self._machine.send(stream, bytes(data))
            self._flush_soon()

    def queued(self, stream: int) -> int:
        """How many bytes of a stream wait to leave."""
        return self._machine.queued(stream)

    def congested(self, end: TunnelEnd) -> None:
        """Tell ``end`` when its queue is short again."""
        self._congested.add(end)

    def consumed(self, stream: int, amount: int) -> None:
        """Return credit for bytes that were passed on."""
        self._machine.consumed(stream, amount)
        if self._machine.due:
            self._flush_soon()

    def finish(self, stream: int) -> None:
        """Half-close a stream."""
        self._machine.finish(stream)
        self._flush_soon()

    def reset(self, stream: int) -> None:
        """Cut a stream."""
        self._machine.reset(stream)
        self._flush_soon()
        if self._forget(stream) is not None:
            self._stream_ended()

    # What its two kinds do differently:

    def _requested(self, request: hbone.TunnelRequested) -> None:
        """The peer asks for a stream; only servers are asked."""
        raise PeerError(f"a tunnel to {request.authority!r} was requested of a client")

    def _withdrawn(self, count: int) -> None:
        """Requests of the peer were taken back before they had their turn."""

    def _stream_ended(self) -> None:
        self._close_if_idle()

    def _limit_told(self) -> None:
        """The peer said how many streams it takes; only clients need to know."""

    # asyncio.Protocol:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=1024 * 1024, low=256 * 1024)
        self._pulse = self._loop.call_later(PING_SECONDS, self._beat)
        self._flush_soon()

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  # asyncio's name for it.
        return _read

    def buffer_updated(self, nbytes: int) -> None:
        self._hear(memoryview(_read)[:nbytes])

    def _hear(self, data: Buffer) -> None:
        self._unanswered = 0
        self._heard = True
        try:
            for event in self._machine.receive(data):
                self._happened(event)
        except PeerError as error:
            # What the machine still has to say names the fault to the peer.
            self._flush()
            self.abort(str(error))
            return
        if not (self._machine.heard_all or self._in_crowd):
            self._join_crowd()
        if self.leaving or self._machine.due:
            self._flush_soon()

    def have_turn(self) -> None:
        """Hear what waits, if the tunnel still lives."""
        self._in_crowd = False
        if self._transport is None or self._transport.is_closing():
            return
        self._hear(b"")
        if self._machine.heard_all and self._transport is not None:
            self._transport.resume_reading()

    def _join_crowd(self) -> None:
        if self._transport is None:
            return
        self._in_crowd = True
        self._transport.pause_reading()
        crowd = _crowds.setdefault(self._loop, collections.deque())
        crowd.append(self)
        if len(crowd) == 1:
            self._loop.call_soon(_next_turn, self._loop)

    def connection_lost(self, error: Exception | None) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        if error is not None and self._why == _CLOSED:
            self._why = f"the tunnel was lost: {error}"
        self._transport = None
        self.leaving = True
        ends, self._ends = self._ends, {}
        self._congested.clear()
        for end in ends.values():
            end.lost(self._why, untouched=False)
        self._closed(self)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._flush()

    def _happened(self, event: hbone.HboneEvent) -> None:
        match event:
            case hbone.TunnelData(stream, data):
                if (end := self._ends.get(stream)) is not None:
                    end.arrived(data)
                else:
                    self._machine.consumed(stream, len(data))
            case hbone.TunnelFinished(stream):
                if (end := self._ends.get(stream)) is not None:
                    end.finished()
            case hbone.TunnelReset(stream, untouched):
                if (end := self._forget(stream)) is not None:
                    end.lost("connection reset by peer", untouched=untouched)
                    self._stream_ended()
            case hbone.TunnelClosed(stream):
                if (end := self._forget(stream)) is not None:
                    end.closed()
                    self._stream_ended()
            case hbone.TunnelStopped(stream):
                if (end := self._forget(stream)) is not None:
                    end.stopped()
                    self._stream_ended()
            case hbone.TunnelAnswered(stream, status):
                if (end := self._ends.get(stream)) is not None:
                    end.answered(status)
            case hbone.TunnelRequested():
                self._requested(event)
            case hbone.RequestsWithdrawn(count):
                self._withdrawn(count)
            case hbone.StreamLimitChanged(streams):
                self.peer_stream_limit = streams
                self._limit_told()
            case hbone.PeerLeaving():
                self.leaving = True
                self._close_if_idle()
            case hbone.Ponged():
                pass

    def _forget(self, stream: int) -> TunnelEnd | None:
        end = self._ends.pop(stream, None)
        if end is not None:
            self._congested.discard(end)
            end.settle()
        return end

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._transport is None:
            return
        while self._writable and (due := self._machine.gather()):
            if len(due) > 1 and sum(map(len, due)) < _SMALL * len(due):
                self._transport.write(b"".join(due))
            else:
                self._transport.writelines(due)
        if self._machine.unsettled:
            for event in self._machine.settled():
                self._happened(event)
            if self._machine.wants_nothing and not self.over:
                self._why = "HTTP/2 ended the tunnel"
                self._transport.close()
        for end in tuple(self._congested) if self._congested else ():
            if end.flushed():
                self._congested.discard(end)
        if self.leaving:
            self._close_if_idle()

    def _beat(self) -> None:
        if self._unanswered == PINGS:
            self.abort(f"the peer was silent for {PINGS} pings")
            return
        self._unanswered += 1
        self._machine.ping()
        self._flush_soon()
        self._pulse = self._loop.call_later(PING_SECONDS, self._beat)

    def _close_if_idle(self) -> None:
        idle = not (self._ends or self._flush_due or self._machine.queued_in_all)
        if self.leaving and idle and self._transport is not None:
            self._transport.close()


_crowds: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, collections.deque[Tunnel]] = (
    weakref.WeakKeyDictionary()
)
"""Tunnels that wait to be heard further. One of them has a turn in each round of the loop, however many they are."""


def _next_turn(loop: asyncio.AbstractEventLoop) -> None:
    crowd = _crowds[loop]
    try:
        crowd[0].have_turn()
    finally:
        crowd.popleft()
        if crowd:
            loop.call_soon(_next_turn, loop)


class ClientTunnel(Tunnel):
    """The end that asks. ``idle`` is called when its last stream has ended."""

    def __init__(self, closed: Callable[[Tunnel], None], idle: Callable[[ClientTunnel], None]) -> None:
        super().__init__(hbone.Role.CLIENT, closed)
        self._idle = idle
        self._told = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._silent = False

    @property
    def silent(self) -> bool:
        """It was asked for a sign of life, and has given none yet: no place for new streams."""
        return self._silent and not self._heard

    @property
    def has_room(self) -> bool:
        """Whether it takes one more stream. Until the peer has said how many it takes, that is one."""
        limit = 1 if self.peer_stream_limit is None else min(MOST_STREAMS, self.peer_stream_limit)
        fits = len(self._ends) < limit and self._machine.has_room
        return fits and not (self.leaving or self.silent)

    async def told_limit(self) -> None:
        """Wait until the peer has said how many streams it takes, or is silent. Raises TunnelLost if it never will."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._told.wait()
        except TimeoutError as error:
            raise TunnelLost(_silent(), untouched=True) from error
        if self.peer_stream_limit is None and not self.silent:
            raise TunnelLost(self._why, untouched=True)

    async def open(self, authority: str, headers: Headers) -> TunnelEnd:
        """A stream to ``authority``, once the peer has said yes.

        Raises TunnelRefused or TunnelLost; the latter too if there is no answer within ``ANSWER_SECONDS``.
        """
        if self.leaving:
            raise TunnelLost("the tunnel is closing", untouched=True)
        try:
            stream = self._machine.open(authority, headers)
        except Unavailable as error:
            self.leave()
            raise TunnelLost(str(error), untouched=True) from error
        end = TunnelEnd(self, stream)
        end.answer = self._loop.create_future()
        self._ends[stream] = end
        if len(self._ends) == 1:
            self._flush()
        else:
            self._flush_soon()
        if self._watch is None:
            self._watch_for_life()
        late = self._loop.call_later(ANSWER_SECONDS, end.unanswered)
        try:
            await end.answer
        except TunnelRefused:
            # Our half is still open, and would count against the peer's limit of streams for ever.
            self.reset(stream)
            raise
        except asyncio.CancelledError:
            end.reset()
            raise
        finally:
            late.cancel()
            end.answer = None
        return end

    def connection_lost(self, error: Exception | None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(error)
        self._told.set()

    def _watch_for_life(self) -> None:
        self._heard = self._silent = False
        self._watch = self._loop.call_later(LIFE_SECONDS, self._doubt)

    def _doubt(self) -> None:
        self._watch = None
        if not self._asked():
            return
        if self._heard:
            self._watch_for_life()
            return
        self._machine.ping()
        self._flush_soon()
        self._watch = self._loop.call_later(2 * LIFE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._watch = None
        if self._heard:
            if self._asked():
                self._watch_for_life()
            return
        self._silent = True
        if self.peer_stream_limit is None:
            self.leave()
            self._told.set()
        for stream, end in self._asked():
            # It may have heard of it after all, and then connects to its application and leaves: no byte was sent.
            end.lost(f"the peer was silent for {3 * LIFE_SECONDS:.0f} s", untouched=True)
            self.reset(stream)

    def _asked(self) -> list[tuple[int, TunnelEnd]]:
        """Streams that wait for an answer."""
        return [
            (stream, end)
            for stream, end in self._ends.items()
            if end.answer is not None and not end.answer.done()
        ]

    def _stream_ended(self) -> None:
        super()._stream_ended()
        if not self._ends:
            self._idle(self)

    def _limit_told(self) -> None:
        self._told.set()
        if self.peer_stream_limit == 0:
            self.leave()


Requested = Callable[["ServerTunnel", hbone.TunnelRequested], None]
Withdrawn = Callable[[int], None]


class ServerTunnel(Tunnel):
    """The end that is asked. Each request must be answered by ``accept`` or ``refuse``.

    ``withdrawn`` hears how many were taken back, in a crowd, before anyone was asked.
    """

    def __init__(
        self, closed: Callable[[Tunnel], None], requested: Requested, withdrawn: Withdrawn = lambda _: None
    ) -> None:
        super().__init__(hbone.Role.SERVER, closed)
        self._on_request, self._on_withdrawal = requested, withdrawn

    def accept(self, stream: int, headers: Headers = ()) -> None:
        """Say yes; the bytes that follow go to the end from ``end_of``."""
        if stream in self._ends:
            self._machine.accept(stream, headers)
            self._flush_soon()

    def refuse(self, stream: int, status: int) -> None:
        """Say no."""
        if stream in self._ends:
            self._machine.refuse(stream, status)
            self._flush_soon()
            if self._forget(stream) is not None:
                self._stream_ended()

    def end_of(self, stream: int) -> TunnelEnd | None:
        """The stream as an end; None if the peer has given up on it meanwhile."""
        return self._ends.get(stream)

    def _requested(self, request: hbone.TunnelRequested) -> None:
        if self.leaving:
            # Our GOAWAY tells the peer that we did not act on it, and it asks elsewhere.
            self._machine.reset(request.stream, untouched=True)
            return
        self._ends[request.stream] = TunnelEnd(self, request.stream)
        self._on_request(self, request)

    def _withdrawn(self, count: int) -> None:
        self._on_withdrawal(count)


def _silent() -> str:
    return f"the peer did not answer within {ANSWER_SECONDS:.0f} s"
