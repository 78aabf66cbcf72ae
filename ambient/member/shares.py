"""What each worker carries, in memory that all workers of a program see.

They listen on the same sockets, so whoever is first accepts; that is quick, and even for many short connections. But a
tunnel lives long, and of eight all may end up with one worker. So one that carries more than another leaves the next
to it, for a moment.
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum
from typing import Final, Self

_ABSENT: Final = -1
_BYTES: Final = 4


class Kind(IntEnum):
    """What is counted apart."""

    CONNECTION = 0
    TUNNEL = 1
    MEMORY = 2
    """KiB of it; nobody is spared anything for that."""


class Shares:
    """The counts of ``workers`` workers. Each writes its own; a parent takes out those that are gone."""

    def __init__(self, memory: int, workers: int) -> None:
        """``memory`` is a descriptor, which stays the caller's."""
        self._mapped = mmap.mmap(memory, _size(workers))
        self._counts = memoryview(self._mapped).cast("i")
        self._workers = range(workers)

    @classmethod
    def make(cls, workers: int) -> tuple[Self, int]:
        """New ones, of which no worker is there yet, and their memory to be passed on."""
        memory = os.memfd_create("shares", os.MFD_CLOEXEC)
        os.ftruncate(memory, _size(workers))
        made = cls(memory, workers)
        for worker in made._workers:
            made.leave(worker)
        return made, memory

    def tell(self, worker: int, kind: Kind, count: int) -> None:
        """A worker carries so many."""
        self._counts[worker * len(Kind) + kind] = count

    def others(self, worker: int, kind: Kind) -> int:
        """The sum of what all workers but one have told."""
        counts = (self._counts[other * len(Kind) + kind] for other in self._workers if other != worker)
        return sum(count for count in counts if count != _ABSENT)

    def leave(self, worker: int) -> None:
        """A worker is gone, or accepts no more."""
        for kind in Kind:
            self.tell(worker, kind, _ABSENT)

    def leads(self, worker: int, kind: Kind) -> bool:
        """Whether a worker carries more than another, so that the other should take the next.

        Of many, an eighth more is even enough.
        """
        counts = [self._counts[other * len(Kind) + kind] for other in self._workers if other != worker]
        least = min((count for count in counts if count != _ABSENT), default=None)
        return least is not None and self._counts[worker * len(Kind) + kind] > least + least // 8


def _size(workers: int) -> int:
    return max(1, workers) * len(Kind) * _BYTES
