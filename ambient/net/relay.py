"""Ends of byte streams, and two of them joined back to back.

An ``End`` is a TCP socket or a stream of a tunnel, and its owner hears of it. A ``Relay`` owns two: whatever one end
reads the other writes, its half-close becomes a half-close, its reset a reset; an end whose writes pile up holds the
reading of the other. No task runs for a relay: it lives on the callbacks of its ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ambient.core.frames import Buffer

_JOINED: Final = 64 * 1024
"""So many bytes are sooner copied together than sent apart."""


class Owner(Protocol):
    """Who reads and writes an end, and hears what becomes of it."""

    def arrived(self, end: End, data: Buffer, /) -> None:
        """``end`` read bytes, which may be overwritten when this returns."""

    def finished(self, end: End, /) -> None:
        """``end`` will send no more, and said so in order: set its ``finished_reading``."""

    def closed(self, end: End, /) -> None:
        """``end`` has finished, and its peer will hear no more; nothing else is said of it."""

    def broken(self, end: End, why: str, /) -> None:
        """``end`` was cut by its peer or its network; it needs no more closing. ``gone`` follows."""

    def gone(self, end: End, why: str | None, /) -> None:
        """Nothing of ``end`` is left; ``why``: it was cut before all that was written to it had left."""

    def full(self, end: End, /) -> None:
        """``end`` has more to write than it should."""

    def drained(self, end: End, /) -> None:
        """``end`` has room again."""


class End(ABC):
    """One byte stream. The methods below are called by its owner alone."""

    __slots__ = ("finished_reading", "relay")

    def __init__(self) -> None:
        self.relay: Owner | None = None
        """Its owner."""
        self.finished_reading = False
        """It said in order that no more bytes will come, and its owner has passed that on."""

    @abstractmethod
    def start(self) -> None:
        """Begin to read; ``relay`` is set."""

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Pass bytes on to it; they may be overwritten when it returns."""

    def write_all(self, pieces: Sequence[Buffer]) -> None:
        """``write`` of several pieces, in order."""
        if sum(map(len, pieces)) <= _JOINED:
            self.write(b"".join(pieces))
        else:
            for piece in pieces:
                self.write(piece)

    @property
    @abstractmethod
    def unsent(self) -> int:
        """How many bytes of what was written have not left."""

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
        """Stop reading."""

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

    def arrived(self, end: End, data: Buffer) -> None:
        """Bytes for the other end."""
        if end is self.near:
            self.sent += len(data)
            self.far.write(data)
        else:
            self.received += len(data)
            self.near.write(data)

    def finished(self, end: End) -> None:
        """A half-close for the other end."""
        other = self._other(end)
        end.finished_reading = True
        other.finish()
        if other.finished_reading and not self.over:
            self._end(None)
            self.near.close()
            self.far.close()

    def closed(self, end: End) -> None:
        """What the other end has yet to write still reaches it."""
        if not self.over:
            self._end(None)
            self._other(end).close()
        self.gone(end, None)

    def broken(self, end: End, why: str) -> None:
        """A reset for the other end."""
        if not self.over:
            self._end(why)
            self._other(end).reset()

    def gone(self, end: End, why: str | None) -> None:
        """When nothing of either is left, the relay has ended."""
        if why is not None and self.error is None:
            self.error = why
        self._gone.add(end)
        if len(self._gone) == 2:
            # What they hold, a pod's namespace among it, must not wait for the cyclic collector of an idle process.
            self.near.relay = self.far.relay = None
            self._ended(self)

    def full(self, end: End) -> None:
        """The other end reads no more for now."""
        self._other(end).hold()

    def drained(self, end: End) -> None:
        """The other end reads on."""
        self._other(end).release()

    def _other(self, end: End) -> End:
        return self.far if end is self.near else self.near

    def _end(self, why: str | None) -> None:
        self.over = True
        self.error = why
