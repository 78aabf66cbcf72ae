"""What is under way for each service, in memory that all workers see.

A service has a row of cells, in which each worker counts its own; a worker that holds a row has a mark in it, and a row that
nobody holds is free for another service. Where there is no row, a worker keeps to its part of the limits.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b
from typing import Final

from ambient.core.resilience.gauge import KINDS, Cells, Kind
from ambient.waypoint.locks import Locks

DIGEST: Final = 16
_NOBODY: Final = bytes(DIGEST)


def size(rows: int, slots: int) -> int:
    """The bytes of so many rows."""
    return rows * (DIGEST + _stride(slots) * 8)


def _stride(slots: int) -> int:
    """The words of a row: cells, and marks."""
    return slots * (KINDS + 1)


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
        own: int = 0,
        parts: int = 1,
    ) -> None:
        """``own`` is this worker's slot; ``parts`` is how many workers there are, for limits that each keeps alone."""
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
                if row is not None:
                    self._words[self._mark(row, self.own)] = 0

    def leave(self, slot: int) -> None:
        """A worker is gone, and with it all that it held."""
        for row in range(self._rows):
            mark = self._mark(row, slot)
            if self._words[mark]:
                self._cells(row, slot).leave(slot)
                self._words[mark] = 0

    def _open(self, key: str) -> tuple[Gauge, int | None]:
        digest = blake2b(
            key.encode("utf-8", "surrogateescape"), digest_size=DIGEST, key=self._secret
        ).digest()
        row = None
        if self._locks.take(self._start):
            try:
                row = self._row(digest)
                if row is not None:
                    self._words[self._mark(row, self.own)] = 1
            finally:
                self._locks.give(self._start)
        if row is None:
            self.homeless += 1
            return Gauge(None, self._locks, 0, self._parts), None
        at = self._start + row * DIGEST + 1
        return Gauge(self._cells(row, self.own), self._locks, at, self._parts), row

    def _row(self, digest: bytes) -> int | None:
        """The row of a digest, or one that nobody holds; the lock is held."""
        digests = bytes(self._memory[self._start : self._start + self._rows * DIGEST])
        at = digests.find(digest)
        while at != -1 and at % DIGEST:
            at = digests.find(digest, at + 1)
        if at != -1:
            return at // DIGEST
        row = self._free(digests)
        if row is not None:
            cells = self._cells(row, 0)
            for worker in range(self._slots):
                cells.leave(worker)
            at = self._start + row * DIGEST
            self._memory[at : at + DIGEST] = digest
        return row

    def _free(self, digests: bytes) -> int | None:
        for row in range(self._rows):
            if digests[row * DIGEST : (row + 1) * DIGEST] == _NOBODY or not any(
                self._words[self._mark(row, worker)] for worker in range(self._slots)
            ):
                return row
        return None

    def _cells(self, row: int, own: int) -> Cells:
        return Cells(self._words, self._first(row), self._slots, own)

    def _mark(self, row: int, worker: int) -> int:
        return self._first(row) + self._slots * KINDS + worker

    def _first(self, row: int) -> int:
        return (self._start + self._rows * DIGEST) // 8 + row * _stride(self._slots)
