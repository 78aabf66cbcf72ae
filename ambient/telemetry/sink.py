"""Where log lines go."""

from __future__ import annotations

import os


class Sink:
    """A file descriptor that gets whole lines, one write each. The caller owns the descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.lost = 0
        """Lines that were not written in full: nobody reads the other end, or the disk is full."""

    def write(self, line: bytes) -> None:
        """Write a line. One that cannot be written is counted and must not stop traffic."""
        try:
            written = os.write(self._fd, line)
        except OSError:
            written = -1
        if written != len(line):
            self.lost += 1
