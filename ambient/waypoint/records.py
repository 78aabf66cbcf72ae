"""What the machines of ``core.resilience`` remember, in memory that all workers see.

A record belongs to a key, and lies in the page that the key's digest falls on; a page is changed by whoever holds its lock.
A page has room for ``RECORDS`` of them. A record that says nothing any more makes room for another; where there is none,
the state is the worker's own, or that of a key that many share (``spill``), and it is counted.

A worker may be killed at any instruction. So a new state is written beside the one that stands, and one store of eight
bytes makes it count: it has the number of the version and how many numbers the state has. That word also tells a
reader, without a lock, that what it read before still stands.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from ambient.core.resilience.state import LARGEST, State
from ambient.waypoint.digests import DIGEST, digest_of, find
from ambient.waypoint.locks import Locks

T = TypeVar("T")

PAGE: Final = 4096
RECORDS: Final = 14
_STATES: Final = tuple(struct.Struct(f"<{length}d") for length in range(LARGEST + 1))
_STATE: Final = LARGEST * 8
_RECORD: Final = 8 + 2 * _STATE
_FIRST: Final = RECORDS * DIGEST
_GENERATION: Final = PAGE - 8
"""Where a page counts the keys that have come."""
_LENGTH_BITS: Final = 5
_LENGTH: Final = 2**_LENGTH_BITS - 1
_KNOWN: Final = 65_536
_OWN: Final = 4_096


@dataclass(slots=True)
class _Known:
    """What was read of a key: it stands while the word ``at`` is ``word``."""

    digest: bytes
    page: int
    at: int
    word: int
    state: State


class Records:
    """``pages`` pages of shared ``memory`` from ``start`` on, as one worker sees them."""

    def __init__(
        self,
        memory: memoryview,
        start: int,
        pages: int,
        locks: Locks,
        secret: bytes,
        overflow: Records | None = None,
    ) -> None:
        """``overflow`` has the states that keys without room share."""
        self._memory = memory
        self._words = memory.cast("Q")
        self._start, self._pages = start, pages
        self._locks, self._secret, self._overflow = locks, secret, overflow
        self._known: dict[str, _Known] = {}
        self._own: dict[str, State] = {}
        self.homeless = 0
        """How often a state was kept apart, because there was no room for it or its page's lock was not to be had."""

    def look(self, key: str, now: float) -> State:
        """What is remembered of a key; a glance, while that does not change."""
        known = self._known.get(key)
        if known is None or self._words[known.at] != known.word:
            known = self._read(key)
        state = known.state or (self._own.get(key, ()) if self._own else ())
        return state if state and state[0] > now else ()

    def step(
        self, key: str, machine: Callable[[State], tuple[State, T]], now: float, spill: str | None = None
    ) -> T:
        """Have a machine do one step on what is remembered of a key, and nobody else meanwhile.

        ``machine`` may be asked again, with another state. Where there is no room for ``key``, it is a step on what the
        overflow remembers of ``spill``.
        """
        known = self._known.get(key) or self._forgotten(key)
        if not self._locks.take(known.page):
            return self._alone(key, machine, now)
        try:
            done = self._together(key, known, machine, now)
        finally:
            self._locks.give(known.page)
        if done is not None:
            return done[0]
        if spill is None or self._overflow is None:
            return self._alone(key, machine, now)
        self.homeless += 1
        return self._overflow.step(spill, machine, now)

    def _together(
        self, key: str, known: _Known, machine: Callable[[State], tuple[State, T]], now: float
    ) -> tuple[T] | None:
        """A step on the shared state; the lock is held. None: there is no room for it."""
        number = self._number(known)
        held = (
            (self._own.get(key, ()) if self._own else ())
            if number is None
            else self._state(known.page, number)
        )
        before = held if held and held[0] > now else ()
        after, result = machine(before)
        if number is None:
            if not after:
                return (result,)
            number = self._room(known, now)
            if number is None:
                return None
            held = ()
        if self._own:
            self._own.pop(key, None)
        if after != held:
            self._put(known.page, number, after)
        known.at = (known.page + _FIRST + number * _RECORD) // 8
        known.word = self._words[known.at]
        known.state = after
        return (result,)

    def _alone(self, key: str, machine: Callable[[State], tuple[State, T]], now: float) -> T:
        """A step on a state of this worker's own."""
        self.homeless += 1
        before = self._own.get(key) or (self._known[key].state if key in self._known else ())
        after, result = machine(before if before and before[0] > now else ())
        self._keep_own(key, after)
        return result

    def _keep_own(self, key: str, state: State) -> None:
        self._own.pop(key, None)
        if state:
            self._own[key] = state
            if len(self._own) > _OWN:
                del self._own[next(iter(self._own))]

    def _forgotten(self, key: str) -> _Known:
        """Where a key belongs, with nothing known of it."""
        if len(self._known) >= _KNOWN:
            self._known.clear()
        digest = digest_of(key, self._secret)
        page = self._start + int.from_bytes(digest[:8], "little") % self._pages * PAGE
        known = self._known[key] = _Known(digest, page, (page + _GENERATION) // 8, -1, ())
        return known

    def _read(self, key: str) -> _Known:
        known = self._known.get(key) or self._forgotten(key)
        if self._locks.take(known.page):
            try:
                number = self._number(known)
                if number is None:
                    known.at, known.state = (known.page + _GENERATION) // 8, ()
                else:
                    known.at = (known.page + _FIRST + number * _RECORD) // 8
                    known.state = self._state(known.page, number)
                known.word = self._words[known.at]
            finally:
                self._locks.give(known.page)
        return known

    def _number(self, known: _Known) -> int | None:
        """Which record of its page is of a key; the lock is held."""
        if known.word != -1 and known.at != (known.page + _GENERATION) // 8:
            number = (known.at * 8 - known.page - _FIRST) // _RECORD
            at = known.page + number * DIGEST
            if self._memory[at : at + DIGEST] == known.digest:
                return number
        return find(bytes(self._memory[known.page : known.page + _FIRST]), known.digest)

    def _state(self, page: int, number: int) -> State:
        at = page + _FIRST + number * _RECORD
        word = self._words[at // 8]
        slot = at + 8 + (word >> _LENGTH_BITS & 1) * _STATE
        return _STATES[word & _LENGTH].unpack_from(self._memory, slot)

    def _room(self, known: _Known, now: float) -> int | None:
        """A record for a new key: one that nobody has, or that says nothing any more."""
        for number in range(RECORDS):
            state = self._state(known.page, number)
            if not state or state[0] <= now:
                at = known.page + number * DIGEST
                self._put(known.page, number, ())
                self._memory[at : at + DIGEST] = known.digest
                self._words[(known.page + _GENERATION) // 8] += 1
                return number
        return None

    def _put(self, page: int, number: int, state: State) -> None:
        at = page + _FIRST + number * _RECORD
        version = (self._words[at // 8] >> _LENGTH_BITS) + 1
        _STATES[len(state)].pack_into(self._memory, at + 8 + (version & 1) * _STATE, *state)
        self._words[at // 8] = version << _LENGTH_BITS | len(state)
