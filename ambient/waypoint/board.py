"""Which endpoints are left out, told to all workers.

A board is a log in shared memory: who leaves an endpoint out, or takes it back, adds a line, and each worker reads what it
has not read yet. The log is a ring. A line that still says something is written again before its place is taken; if all
do, nobody more is left out. So each worker comes to the same view, and how many are left out of a service is counted
while nobody else adds a line.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from ambient.waypoint.digests import DIGEST, digest_of
from ambient.waypoint.locks import Locks

LINE: Final = 384
_LINE: Final = struct.Struct(f"<{DIGEST}sddH")
_LONGEST: Final = LINE - _LINE.size
_HEADER: Final = 64


def size(lines: int) -> int:
    """The bytes of a board of so many lines."""
    return _HEADER + lines * LINE


class Out(NamedTuple):
    """An endpoint that is left out."""

    until: float
    """Then it may be asked again, perhaps by one request alone."""
    forgotten_at: float
    """Then it is as any other."""
    line: int


class Board:
    """``lines`` lines of shared ``memory`` from ``start`` on, as one worker reads them."""

    def __init__(self, memory: memoryview, start: int, lines: int, locks: Locks, secret: bytes) -> None:
        self._memory = memory
        self._words = memory.cast("Q")
        self._start, self._lines = start, lines
        self._locks, self._secret = locks, secret
        self._read = 0
        self._out: dict[bytes, dict[str, Out]] = {}
        self.full = 0
        """How often an endpoint was not left out since the board was full or locked, or its uid too long."""

    def scope(self, key: str) -> bytes:
        """What a service is called on the board."""
        return digest_of(key, self._secret)

    @property
    def version(self) -> int:
        """Another number whenever there is something to read."""
        return self._words[self._start // 8]

    def out(self, scope: bytes) -> dict[str, Out]:
        """By uid, the endpoints of a service that are, or were, left out; not to be changed."""
        if self._read != self.version:
            # Without the lock, a line might be seen later than the number that counts it.
            held = self._locks.take(self._start)
            self._catch_up()
            if held:
                self._locks.give(self._start)
        return self._out.get(scope, {})

    def add(
        self,
        scope: bytes,
        uid: str,
        now: float,
        lasts: Callable[[], tuple[float, float]],
        most: int | None = None,
    ) -> Out | None:
        """Leave an endpoint out: ``lasts`` says until when, and when that is forgotten.

        None, and ``lasts`` is not asked, if ``most`` of its service are left out already, or it is itself, or there is no room.
        """
        name = uid.encode()
        if len(name) > _LONGEST or not self._locks.take(self._start):
            self.full += 1
            return None
        try:
            self._catch_up()
            out = self._out.get(scope, {})
            if uid in out and now < out[uid].until:
                return None
            if most is not None and sum(now < one.until for one in out.values()) >= most:
                return None
            self.forget(now)
            if sum(map(len, self._out.values())) >= self._lines - 1:
                self.full += 1
                return None
            until, forgotten_at = lasts()
            self._write(scope, name, until, forgotten_at, now)
            return self._out[scope][uid]
        finally:
            self._locks.give(self._start)

    def remove(self, scope: bytes, uid: str, now: float) -> None:
        """Take an endpoint back."""
        if uid not in self.out(scope):
            return
        if not self._locks.take(self._start):
            self.full += 1
            return
        try:
            self._catch_up()
            self._write(scope, uid.encode(), 0.0, 0.0, now)
        finally:
            self._locks.give(self._start)

    def forget(self, now: float) -> None:
        """Drop from this worker's view what says nothing any more."""
        for scope, out in list(self._out.items()):
            for uid, one in list(out.items()):
                if one.forgotten_at <= now:
                    del out[uid]
            if not out:
                del self._out[scope]

    def _write(self, scope: bytes, name: bytes, until: float, forgotten_at: float, now: float) -> None:
        """Add a line. The lock is held, everything is read, and one line at least says nothing any more."""
        while self.version >= self._lines:
            number = self.version - self._lines
            its_scope, its_until, ends_at, its_name = self._line(number)
            held = self._out.get(its_scope, {}).get(_text(its_name))
            if held is None or held.line != number or ends_at <= now:
                break
            self._put(its_scope, its_name, its_until, ends_at)
        self._put(scope, name, until, forgotten_at)

    def _put(self, scope: bytes, name: bytes, until: float, forgotten_at: float) -> None:
        number = self.version
        at = self._at(number)
        _LINE.pack_into(self._memory, at, scope, until, forgotten_at, len(name))
        self._memory[at + _LINE.size : at + _LINE.size + len(name)] = name
        self._words[self._start // 8] = number + 1
        self._catch_up()

    def _catch_up(self) -> None:
        version = self.version
        if version - self._read > self._lines:
            self._out.clear()
            self._read = version - self._lines
        for number in range(self._read, version):
            scope, until, forgotten_at, name = self._line(number)
            uid = _text(name)
            if forgotten_at:
                self._out.setdefault(scope, {})[uid] = Out(until, forgotten_at, number)
            else:
                self._out.get(scope, {}).pop(uid, None)
        self._read = version

    def _line(self, number: int) -> tuple[bytes, float, float, bytes]:
        at = self._at(number)
        scope, until, forgotten_at, length = _LINE.unpack_from(self._memory, at)
        return scope, until, forgotten_at, bytes(self._memory[at + _LINE.size : at + _LINE.size + length])

    def _at(self, number: int) -> int:
        return self._start + _HEADER + number % self._lines * LINE


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
