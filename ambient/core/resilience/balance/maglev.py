"""Consistent hashing by a table: one look for a key, and nearly even shares.

Each endpoint has its own order of all places of the table; in turns, each takes the first of its order that is free. A
table takes tens of milliseconds to fill. So a new one is filled beside the one in use, a few places with each choice, and
takes over when it is full; meanwhile who is gone is passed over. Source: Google's Maglev (NSDI 2016, §3.4).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.core.resilience.balance.ring import place

if TYPE_CHECKING:
    from ambient.core.endpoints import Candidates

_MOST: Final = 5_000_011
"""Places. Source: Envoy's largest table."""
_STEP: Final = 256
"""Turns for each choice."""


class Maglev:
    """Endpoints in a table of ``size`` places (a prime)."""

    def __init__(self, size: int) -> None:
        self._size = max(2, min(size, _MOST))
        self._table: list[str] = []
        self._filling: _Filling | None = None
        self._next: Candidates | None = None
        self._orders: _Orders = {}

    def change(self, members: Candidates) -> None:
        """Have these endpoints. The first table is filled at once."""
        if not self._table:
            self._filling = self._begin(members)
            self.settle()
        elif self._filling is None:
            self._filling = self._begin(members)
        else:
            self._next = members

    def advance(self) -> None:
        """Fill some more of the table to come."""
        if self._filling is None:
            return
        self._filling.turn(_STEP)
        self._take_over()

    def settle(self) -> None:
        """Fill all of it now: nobody who is in the table in use is there any more."""
        while self._filling is not None:
            self._filling.turn(self._size)
            self._take_over()

    @property
    def is_settled(self) -> bool:
        """Whether the table in use is of the newest endpoints."""
        return self._filling is None

    def walk(self, key: int) -> Iterator[str]:
        """Endpoints from a key's place on, by uid; the first is the key's, and the others stand in for it in order."""
        seen: set[str] = set()
        for number in range(len(self._table)):
            uid = self._table[(key + number) % len(self._table)]
            if uid not in seen:
                seen.add(uid)
                yield uid

    def _take_over(self) -> None:
        if self._filling is not None and self._filling.is_full:
            self._table = self._filling.table
            self._filling = None if self._next is None else self._begin(self._next)
            self._next = None

    def _begin(self, members: Candidates) -> _Filling:
        known = self._orders
        self._orders = {
            one.uid: known.get(one.uid) or _order(one.uid, self._size) for one in members if one.capacity
        }
        return _Filling(members, self._size, self._orders)


_Orders: TypeAlias = dict[str, tuple[int, int]]
"""By uid, where an endpoint's order of places begins and how far it skips."""


def _order(uid: str, size: int) -> tuple[int, int]:
    return place(f"{uid}#offset") % size, place(f"{uid}#skip") % (size - 1) + 1


class _Filling:
    def __init__(self, members: Candidates, size: int, orders: _Orders) -> None:
        heavy = [one for one in members if one.capacity]
        most = max((one.capacity for one in heavy), default=1)
        self._entrants = [_Entrant(one.uid, one.capacity / most, *orders[one.uid]) for one in heavy]
        self._size = size
        self._left = size if heavy else 0
        self._turn = 0
        self._taken = bytearray(size)
        self.table = [""] * self._left

    @property
    def is_full(self) -> bool:
        return not self._left

    def turn(self, turns: int) -> None:
        taken, table, size, entrants = self._taken, self.table, self._size, self._entrants
        while turns and self._left:
            turns -= 1
            entrant = entrants[self._turn]
            self._turn = (self._turn + 1) % len(entrants)
            entrant.due += entrant.share
            if entrant.due < 1:
                continue
            entrant.due -= 1
            at, skip = entrant.at, entrant.skip
            while taken[at]:
                at = (at + skip) % size
            taken[at] = 1
            table[at] = entrant.uid
            entrant.at = (at + skip) % size
            self._left -= 1


class _Entrant:
    __slots__ = ("at", "due", "share", "skip", "uid")

    def __init__(self, uid: str, share: float, at: int, skip: int) -> None:
        self.uid = uid
        self.share = share
        self.at = at
        self.skip = skip
        self.due = 0.0
