"""What is under way for each service, in memory that all workers see.

A service has a row of cells, in which each worker counts its own; a worker that holds a row has a mark in it, and a row that
nobody holds is free for another service. Where there is no row, a worker keeps to its part of the limits.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ambient.core.resilience.gauge import KINDS, Cells, Kind
from ambient.waypoint.digests import DIGEST, NOBODY, digest_of, find
from ambient.waypoint.locks import Locks

_HELD: Final = b"\1"


def size(rows: int, slots: int) -> int:
    """The bytes of so many rows."""
    return rows * (DIGEST + slots * (KINDS * 8 + 1))


class Gauge:
    """Of one service, as one worker sees it."""

    def __init__(self, cells: Cells | None, locks: Locks, at: int, parts: int) -> None:
        """``at``: what to lock. Without cells, the worker has one in ``parts`` of the limits for itself."""
        self._apart = cells is None
        self._cells = Cells([0] * KINDS, 0, 1, 0) if cells is None else cells
        self._locks, self._at, self._parts = locks, at, parts

    def detach(self) -> None:
        """Count on without the others: the row is another service's from now on."""
        self._cells, self._apart = Cells([0] * KINDS, 0, 1, 0), True

    @property
    def is_idle(self) -> bool:
        """Whether this worker has nothing under way."""
        return not any(self._cells.own(kind) for kind in Kind)

    def total(self, kind: Kind) -> int:
        """All workers together."""
        return self._cells.total(kind)

    def add(self, kind: Kind) -> None:
        """One more, whatever the limit."""
        self._cells.add(kind)

    def take(self, kind: Kind, limit: int | None) -> bool:
        """One more, if all workers together are below the limit."""
        if limit is None:
            self._cells.add(kind)
            return True
        if self._apart:
            return self._cells.take(kind, max(1, limit // self._parts) if limit else 0)
        if self._cells.total(kind) >= limit:
            return False
        held = self._locks.take(self._at)
        try:
            return self._cells.take(kind, limit)
        finally:
            if held:
                self._locks.give(self._at)

    def give(self, kind: Kind) -> None:
        """One less; it must have been taken."""
        self._cells.give(kind)


class Gauges:
    """``rows`` rows of shared ``memory`` from ``start`` on, each with a place for ``slots`` workers, as one worker sees them."""

    def __init__(
        self,
        memory: memoryview,
        start: int,
        rows: int,
        slots: int,
        locks: Locks,
        secret: bytes,
        *,
        own: int | None = 0,
        parts: int = 1,
    ) -> None:
        """``own`` is this worker's slot (None: it has none); ``parts`` is how many workers there are, for limits that each keeps alone."""
        self._memory = memory
        self._words = memory.cast("q")
        self._start, self._rows, self._slots, self._parts = start, rows, slots, parts
        self.own = own
        self._locks, self._secret = locks, secret
        self._held: dict[str, tuple[Gauge, int | None]] = {}
        self.homeless = 0
        """How many services got no row."""

    def of(self, key: str) -> Gauge:
        """The gauge of a service."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = self._open(key)
        return held[0]

    def keep(self, keys: Collection[str]) -> None:
        """Forget all others, as soon as this worker has nothing under way there."""
        for key in self._held.keys() - set(keys):
            gauge, row = self._held[key]
            if gauge.is_idle:
                del self._held[key]
                gauge.detach()
                if row is not None and self.own is not None:
                    self._memory[self._marks(self.own) + row] = 0

    def leave(self, slot: int) -> None:
        """A worker is gone, and with it all that it held."""
        first = self._marks(slot)
        marks = bytes(self._memory[first : first + self._rows])
        row = marks.find(_HELD)
        while row != -1:
            self._cells(row, slot).leave(slot)
            self._memory[first + row] = 0
            row = marks.find(_HELD, row + 1)

    def _open(self, key: str) -> tuple[Gauge, int | None]:
        digest = digest_of(key, self._secret)
        row = None
        if self.own is not None and self._locks.take(self._start):
            try:
                row = self._row(digest)
                if row is not None:
                    self._memory[self._marks(self.own) + row] = _HELD[0]
            finally:
                self._locks.give(self._start)
        if row is None or self.own is None:
            self.homeless += 1
            return Gauge(None, self._locks, 0, self._parts), None
        at = self._start + row * DIGEST + 1
        return Gauge(self._cells(row, self.own), self._locks, at, self._parts), row

    def _row(self, digest: bytes) -> int | None:
        """The row of a digest, or one that nobody holds; the lock is held."""
        digests = bytes(self._memory[self._start : self._start + self._rows * DIGEST])
        row = find(digests, digest)
        if row is None:
            row = find(digests, NOBODY)
            if row is None:
                row = self._given_up()
            if row is not None:
                cells = self._cells(row, 0)
                for slot in range(self._slots):
                    cells.leave(slot)
                at = self._start + row * DIGEST
                self._memory[at : at + DIGEST] = digest
        return row

    def _given_up(self) -> int | None:
        held = bytearray(self._rows)
        for slot in range(self._slots):
            first = self._marks(slot)
            for row, mark in enumerate(self._memory[first : first + self._rows]):
                held[row] |= mark
        row = held.find(0)
        return None if row == -1 else row

    def _cells(self, row: int, own: int) -> Cells:
        first = (self._start + self._rows * DIGEST) // 8 + row * self._slots * KINDS
        return Cells(self._words, first, self._slots, own)

    def _marks(self, slot: int) -> int:
        """Where the marks of a slot begin: a byte for each row."""
        return self._start + self._rows * (DIGEST + self._slots * KINDS * 8) + slot * self._rows
