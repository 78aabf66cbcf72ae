"""What the workers of a waypoint remember together, in one piece of memory: limits hold for all of them.

The parent makes it and passes its descriptor to each worker that it starts. It outlives each of them; a waypoint that
starts anew remembers nothing.

What a worker has under way is counted in a slot of its own, which it holds by a lock for as long as it lives. A slot that
nobody has locked is of a worker that is gone: the next that joins, or the parent, empties it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Final, Self, TypeVar

from ambient.core.resilience.state import State
from ambient.waypoint import board, gauges, records
from ambient.waypoint.board import Board
from ambient.waypoint.gauges import Gauges
from ambient.waypoint.locks import Locks
from ambient.waypoint.records import Records

T = TypeVar("T")

_SECRET: Final = 32
"""Bytes at its beginning, so that nobody outside can choose texts that fall on one page."""
_SLOTS: Final = 1024
"""Where slots are locked: in the first page, of which nothing else is."""
_CONFIGURED_PAGES: Final = 2048
"""For what configuration and endpoints make: 28,672 states, 8 MiB at most."""
_CLIENT_PAGES: Final = 4096
"""For what clients make, apart from the others: 57,344 states, 16 MiB at most."""
_ROWS: Final = 4096
"""Services with gauges."""
_LINES: Final = 4096
"""Endpoints that are left out."""


class Ledger:
    """As one process sees it. Pages of memory are the kernel's to give when they are first written."""

    def __init__(self, memory: int, workers: int, slot: int = 0) -> None:
        """``memory`` is a descriptor, which stays the caller's. Workers ``join``; a slot that is named here is not held."""
        layout = _Layout(workers)
        self._slots = range(_slots(workers))
        self._mapped = mmap.mmap(memory, layout.size)
        view = memoryview(self._mapped)
        secret = bytes(view[:_SECRET])
        self._locks = Locks(memory)
        self._configured = Records(view, layout.configured, _CONFIGURED_PAGES, self._locks, secret)
        self._clients = Records(
            view, layout.clients, _CLIENT_PAGES, self._locks, secret, overflow=self._configured
        )
        self.gauges = Gauges(
            view, layout.gauges, _ROWS, len(self._slots), self._locks, secret, own=slot, parts=workers
        )
        self.board = Board(view, layout.board, _LINES, self._locks, secret)

    @classmethod
    def make(cls, workers: int) -> tuple[Self, int]:
        """A new one, and its memory to be passed on."""
        memory = os.memfd_create("ledger", os.MFD_CLOEXEC)
        os.ftruncate(memory, _Layout(workers).size)
        os.pwrite(memory, os.urandom(_SECRET), 0)
        return cls(memory, workers), memory

    @classmethod
    def join(cls, memory: int, workers: int) -> Self:
        """As a worker that begins has it. Where there are twice as many as there should be, it has gauges of its own."""
        joined = cls(memory, workers)
        joined.gauges.own = next(filter(joined._seize, joined._slots), None)
        return joined

    def step(
        self, key: str, machine: Callable[[State], tuple[State, T]], now: float, *, spill: str | None = None
    ) -> T:
        """Have a machine do one step on what is remembered of a key, and no other worker meanwhile.

        It must be a pure function: it may be asked more than once. ``now`` is of ``time.monotonic``, which all processes of a
        machine share. With ``spill``, the key is one that clients make up: those for which there is no room share what is
        remembered of ``spill``.
        """
        if spill is None:
            return self._configured.step(key, machine, now)
        return self._clients.step(key, machine, now, spill)

    def look(self, key: str, now: float) -> State:
        """What is remembered of a key that no client makes up."""
        return self._configured.look(key, now)

    def sweep(self) -> None:
        """Return what workers that are gone had under way."""
        for slot in filter(self._seize, self._slots):
            self._locks.give(_SLOTS + slot)

    @property
    def homeless(self) -> int:
        """How often something was kept apart, for want of room or since another worker stood still with a lock."""
        return self._configured.homeless + self._clients.homeless + self.gauges.homeless + self.board.full

    @property
    def missed_locks(self) -> int:
        """How often another worker kept a lock for longer than a moment."""
        return self._locks.missed

    def _seize(self, slot: int) -> bool:
        """Have a slot, emptied, if nobody has."""
        if not self._locks.seize(_SLOTS + slot):
            return False
        self.gauges.leave(slot)
        return True

    def close(self) -> None:
        """Be of no more use; for whoever makes many."""
        self._locks.close()


def _slots(workers: int) -> int:
    """Workers that retire live beside those that take their places."""
    return 2 * workers + 1


class _Layout:
    """Where everything is."""

    def __init__(self, workers: int) -> None:
        self.configured = records.PAGE
        self.clients = self.configured + _CONFIGURED_PAGES * records.PAGE
        self.gauges = self.clients + _CLIENT_PAGES * records.PAGE
        self.board = _aligned(self.gauges + gauges.size(_ROWS, _slots(workers)))
        self.size = _aligned(self.board + board.size(_LINES))


def _aligned(size: int) -> int:
    return -(-size // records.PAGE) * records.PAGE
