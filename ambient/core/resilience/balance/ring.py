"""Consistent hashing on a ring: an endpoint that comes or goes moves only the keys next to its places.

Source: ketama, and Envoy's ring hash.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload

_MOST: Final = 8 * 1024 * 1024
"""Places. Source: Envoy's largest ring."""


def place(text: str) -> int:
    """Where a text stands on any ring: of 64 bits, and the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest())


class Ring:
    """Endpoints on a ring, each at as many places as its capacity has it."""

    def __init__(self, size: int) -> None:
        self._size = max(1, min(size, _MOST))
        self._capacity_of: dict[str, int] = {}
        self._total = 0
        self._scale = 0.0
        self._places: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._places)

    def change(self, gone: Iterable[Workload], come: Iterable[Workload]) -> None:
        """Take some off and put some on."""
        for one in gone:
            self._total -= self._capacity_of.pop(one.uid, 0)
            for spot in self._spots(one):
                at = bisect_left(self._places, spot)
                if at < len(self._places) and self._places[at] == spot:
                    del self._places[at]
        come = [one for one in come if one.capacity]
        for one in come:
            self._capacity_of[one.uid] = one.capacity
            self._total += one.capacity
        scale = self._fitting_scale()
        if scale != self._scale or len(come) > len(self._capacity_of) // 8:
            self._scale = scale
            self._places = sorted(
                spot for uid, capacity in self._capacity_of.items() for spot in self._spots_of(uid, capacity)
            )
            return
        for one in come:
            for spot in self._spots(one):
                insort(self._places, spot)

    def walk(self, key: int) -> Iterator[str]:
        """Endpoints from a key's place on, by uid; the first is the key's, and the others stand in for it in order."""
        if not self._places:
            return
        at = bisect_right(self._places, (key, "\U0010ffff"))
        seen: set[str] = set()
        for number in range(at, at + len(self._places)):
            uid = self._places[number % len(self._places)][1]
            if uid not in seen:
                seen.add(uid)
                yield uid

    def _fitting_scale(self) -> float:
        """Places for one of capacity: a power of two, so that it seldom changes."""
        scale = 1.0
        while scale * self._total < self._size and self._total:
            scale *= 2
        while scale * self._total >= 2 * self._size and scale * self._total >= 2 * len(self._capacity_of):
            scale /= 2
        return scale

    def _spots(self, one: Workload) -> Iterator[tuple[int, str]]:
        return self._spots_of(one.uid, one.capacity)

    def _spots_of(self, uid: str, capacity: int) -> Iterator[tuple[int, str]]:
        for number in range(max(1, int(capacity * self._scale)) if capacity else 0):
            yield place(f"{uid}#{number}"), uid
