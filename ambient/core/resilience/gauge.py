"""How much is under way for one service, and whether more may begin.

Each worker counts what is its own, in a row of cells that only it writes; a limit holds for the sum. So what a dead
worker held is returned by emptying its row.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ambient.core.model.traffic import ConnectionLimits


class Kind(IntEnum):
    """What is counted apart."""

    CONNECTION = 0
    """Connections to endpoints, idle ones too."""
    PENDING = 1
    """Requests that wait for a connection."""
    REQUEST = 2
    """Requests that were sent and whose exchange is not over."""
    RETRY = 3
    """Of those, and of those that wait for their moment, the ones that are sent again."""


KINDS: Final = len(Kind)


def limit_of(limits: ConnectionLimits, kind: Kind) -> int | None:
    """The limit on a kind; None: there is none."""
    match kind:
        case Kind.CONNECTION:
            return limits.connections
        case Kind.PENDING:
            return limits.pending_requests
        case Kind.REQUEST:
            return limits.requests
        case Kind.RETRY:
            return limits.retries


class Cells:
    """The counts of ``workers`` workers in ``memory``, from ``start`` on: a row of ``KINDS`` for each."""

    __slots__ = ("_memory", "_own", "_start", "_workers")

    def __init__(self, memory: MutableSequence[int] | memoryview, start: int, workers: int, own: int) -> None:
        self._memory = memory
        self._start = start
        self._workers = workers
        self._own = start + own * KINDS

    def total(self, kind: Kind) -> int:
        """All workers together."""
        return sum(self._memory[self._start + kind : self._start + self._workers * KINDS : KINDS])

    def own(self, kind: Kind) -> int:
        """Of the worker whose cells they are here."""
        count: int = self._memory[self._own + kind]
        return count

    def add(self, kind: Kind) -> None:
        """One more, whatever the limit."""
        self._memory[self._own + kind] += 1

    def take(self, kind: Kind, limit: int | None) -> bool:
        """One more, if all workers together are below the limit.

        Two that ask at once may both be the last: whoever asks with a limit does it alone.
        """
        if limit is not None and self.total(kind) >= limit:
            return False
        self.add(kind)
        return True

    def give(self, kind: Kind) -> None:
        """One less; it must have been taken."""
        at = self._own + kind
        if self._memory[at] <= 0:
            raise ValueError(f"{kind.name} was given back more often than it was taken")
        self._memory[at] -= 1

    def leave(self, worker: int) -> None:
        """A worker is gone, and with it all that it held."""
        first = self._start + worker * KINDS
        for kind in Kind:
            self._memory[first + kind] = 0
