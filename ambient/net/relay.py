"""Two byte streams joined back to back.

An ``End`` is one of the two: a TCP socket or a stream of a tunnel. Whatever one end reads the other writes, its
half-close becomes a half-close, its reset a reset; an end whose writes pile up holds the reading of the other.
No task runs for a relay: it lives on the callbacks of its ends.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, cast

import aiofastnet

from ambient.net import sockets

LOOK_SECONDS: Final = 10.0
"""How often a socket is asked for its fault. One that is held does not read, and one that reads is told of its fault
but once, when more may be queued than is read at once: uvloop does not watch it any longer then."""
_HIGH_WATER: Final = 64 * 1024
"""Bytes that may wait in an end before the other is held."""


class End(ABC):
    """One side of a relay. The methods below are called by its relay alone."""

    relay: Relay | None = None
    finished_reading = False
    """It said in order that no more bytes will come, and its relay has passed that on."""

    @abstractmethod
    def start(self) -> None:
        """Begin to read; ``relay`` is set."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Pass bytes on to it."""

    @abstractmethod
    def finish(self) -> None:
        """Half-close it, after what was written."""

    @abstractmethod
    def close(self) -> None:
        """Both directions have finished: let go of it, after what was written."""

    @abstractmethod
    def reset(self) -> None:
        """Cut it at once."""

    @abstractmethod
    def hold(self) -> None:
        """Stop reading: the other end is full."""

    @abstractmethod
    def release(self) -> None:
        """Read on."""


class Relay:
    """``near`` is the side that asked, ``far`` the side that was asked.

    ``ended`` is called once, when nothing of either end is left: what was written has left, or was cut.
    """

    __slots__ = ("_ended", "_gone", "error", "far", "near", "over", "received", "sent")

    def __init__(self, near: End, far: End, ended: Callable[[Relay], None]) -> None:
        self.near, self.far = near, far
        self.sent = 0
        """Bytes from near to far."""
        self.received = 0
        """Bytes from far to near."""
        self.error: str | None = None
        """Why it was cut; None: it ended in order."""
        self.over = False
        """No more bytes will be taken from either end."""
        self._ended = ended
        self._gone: set[End] = set()
        near.relay = far.relay = self

    def start(self) -> None:
        """Let bytes flow."""
        self.far.start()
        self.near.start()

    def cut(self, why: str) -> None:
        """Reset both ends, for a reason; also if they have finished and only flush."""
        if not self.over or self.error is None:
            self._end(why)
        for end in (self.near, self.far):
            if end not in self._gone:
                end.reset()

    # What ends report:

    def arrived(self, end: End, data: bytes) -> None:
        """``end`` read bytes."""
        if end is self.near:
            self.sent += len(data)
            self.far.write(data)
        else:
            self.received += len(data)
            self.near.write(data)

    def finished(self, end: End) -> None:
        """``end`` will send no more."""
        other = self._other(end)
        end.finished_reading = True
        other.finish()
        if other.finished_reading and not self.over:
            self._end(None)
            self.near.close()
            self.far.close()

    def broken(self, end: End, why: str) -> None:
        """``end`` was cut by its peer or its network; it needs no more closing."""
        if not self.over:
            self._end(why)
            self._other(end).reset()

    def gone(self, end: End, why: str | None) -> None:
        """Nothing of ``end`` is left; ``why``: it was cut before all that was written to it had left."""
        if why is not None and self.error is None:
            self.error = why
        self._gone.add(end)
        if len(self._gone) == 2:
            # What they hold, a pod's namespace among it, must not wait for the cyclic collector of an idle process.
            self.near.relay = self.far.relay = None
            self._ended(self)

    def full(self, end: End) -> None:
        """``end`` has more to write than it should."""
        self._other(end).hold()

    def drained(self, end: End) -> None:
        """``end`` has room again."""
        self._other(end).release()

    def _other(self, end: End) -> End:
        return self.far if end is self.near else self.near

    def _end(self, why: str | None) -> None:
        self.over = True
        self.error = why


class SocketEnd(End, asyncio.Protocol):
    """A TCP socket as an end. What it reads before its relay starts waits here."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._transport: asyncio.Transport | None = None
        self._held = False
        self._started = False
        self._waiting: list[bytes] = []
        self._finished_early = False
        self._looking: asyncio.TimerHandle | None = None
        self._fault: OSError | None = None
        self._gone: str | None = None

    @classmethod
    async def of(cls, sock: socket.socket) -> SocketEnd:
        """Take over a connected socket."""
        sockets.prepare(sock)
        end = cls(sock)
        await aiofastnet.connect_accepted_socket(asyncio.get_running_loop(), lambda: end, sock)
        return end

    def start(self) -> None:
        self._started = True
        if self.relay is None:
            return
        self._look_later()
        for data in self._waiting:
            self.relay.arrived(self, data)
        self._waiting = []
        if self._gone is not None:
            self.relay.broken(self, self._gone)
            self.relay.gone(self, None)
        elif self._finished_early:
            self.relay.finished(self)
        elif not (self._held or self._open.is_closing()):
            self._open.resume_reading()

    def write(self, data: bytes) -> None:
        self._open.write(data)

    def finish(self) -> None:
        if not self._open.is_closing():
            self._open.write_eof()

    def close(self) -> None:
        self._open.close()

    def reset(self) -> None:
        if self._gone is None:
            sockets.reset_on_close(self._sock)
            self._open.abort()

    def hold(self) -> None:
        self._held = True
        if not (self.finished_reading or self._open.is_closing()):
            self._open.pause_reading()

    def release(self) -> None:
        self._held = False
        if not (self.finished_reading or self._open.is_closing()):
            self._open.resume_reading()

    def _look_later(self) -> None:
        if self._gone is None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._fault = sockets.fault_of(self._sock)
        if self._fault is None:
            self._look_later()
        else:
            self._open.abort()

    @property
    def _open(self) -> asyncio.Transport:
        return cast("asyncio.Transport", self._transport)

    # asyncio.Protocol:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER, low=_HIGH_WATER // 4)

    def data_received(self, data: bytes) -> None:
        if self._started and self.relay is not None:
            self.relay.arrived(self, data)
        else:
            # Not sooner, in ``connection_made``: the transport begins to watch its socket after that, and one that
            # was told to pause would watch on, and leave its descriptor watched when it is closed.
            self._waiting.append(data)
            self._open.pause_reading()

    def eof_received(self) -> bool:
        if self._started and self.relay is not None:
            self.relay.finished(self)
        else:
            self._finished_early = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        error = error or self._fault
        self._gone = _sentence(error)
        if self._looking is not None:
            self._looking.cancel()
        if self.relay is not None and self._started:
            self.relay.broken(self, self._gone)
            self.relay.gone(self, None if error is None else self._gone)

    def pause_writing(self) -> None:
        if self.relay is not None:
            self.relay.full(self)

    def resume_writing(self) -> None:
        if self.relay is not None:
            self.relay.drained(self)


def _sentence(error: Exception | None) -> str:
    match error:
        case ConnectionResetError():
            return "connection reset by peer"
        case BrokenPipeError():
            return "the peer closed before it had read everything"
        case None:
            return "connection closed"
        case _:
            return str(error) or type(error).__name__
