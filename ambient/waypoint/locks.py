"""Locks on places in memory that several processes share.

They are the kernel's locks on ranges of an open file (OFD locks), so those of a process that dies are let go at once. A
worker that stands still lets nothing go: nobody waits for it longer than a moment, and then does without.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from typing import Final

_FLOCK: Final = struct.Struct("@hhqqi")
_YIELDS: Final = 20
_NAP_SECONDS: Final = 0.0002
_WAIT_SECONDS: Final = 0.05
"""A holder works for microseconds, but may have lost its processor: on a busy machine for tens of milliseconds."""
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
"""For so long nobody naps again for what was waited for in vain; longer each time."""


class Locks:
    """Of one process, which has one at a time."""

    def __init__(self, memory: int) -> None:
        """``memory`` is a descriptor of a memfd, which stays the caller's."""
        # Locks belong to an open file, and descriptors that were passed on share theirs.
        self._file = os.open(f"/proc/self/fd/{memory}", os.O_RDWR | os.O_CLOEXEC)
        self._flocks: dict[int, tuple[bytes, bytes]] = {}
        self._stuck: dict[int, tuple[float, float]] = {}
        """When to wait again, and how long the pause was."""
        self.missed = 0
        """How often one was not had in time."""

    def close(self) -> None:
        """Let everything go."""
        os.close(self._file)

    def take(self, at: int) -> bool:
        """Have the place ``at`` alone; False: somebody has had it for too long."""
        flock, _ = self._flocks.get(at) or self._packed(at)
        if not self._try(flock) and not self._wait(at, flock):
            self.missed += 1
            return False
        if self._stuck:
            self._stuck.pop(at, None)
        return True

    def seize(self, at: int) -> bool:
        """Have the place ``at`` if nobody has."""
        flock, _ = self._flocks.get(at) or self._packed(at)
        return self._try(flock)

    def give(self, at: int) -> None:
        """Let it go."""
        _, flock = self._flocks[at]
        fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, flock)

    def _wait(self, at: int, flock: bytes) -> bool:
        for _ in range(_YIELDS):
            os.sched_yield()
            if self._try(flock):
                return True
        now = time.monotonic()
        again_at, pause = self._stuck.get(at, (now, 0.0))
        if now < again_at:
            return False
        deadline = now + _WAIT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(_NAP_SECONDS)
            if self._try(flock):
                return True
        pause = min(max(2 * pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self._stuck[at] = (time.monotonic() + pause, pause)
        return False

    def _packed(self, at: int) -> tuple[bytes, bytes]:
        packed = self._flocks[at] = (
            _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0),
            _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, at, 1, 0),
        )
        return packed

    def _try(self, flock: bytes) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, flock)
        except OSError as error:
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                return False
            raise
        return True
