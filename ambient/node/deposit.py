"""What a proxy leaves with the daemon for the next proxy: sealed memory, by name. The daemon never reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ambient.core.errors import PeerError
from ambient.node.machine import check_sealed

NAMES_LIMIT = 4096
NAME_LENGTH_LIMIT = 512
SIZE_LIMIT = 256 << 20
"""Bytes in one deposit: a snapshot of a very large mesh."""


class Deposit:
    """Sole owner of the descriptors."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}

    def put(self, name: str, fd: int) -> None:
        """Keep ``fd``, which is the deposit's from here on, in place of what the name had. Raises PeerError."""
        try:
            self._check(name, fd)
        except BaseException:
            os.close(fd)
            raise
        self.forget(name)
        self._kept[name] = fd

    def forget(self, name: str) -> None:
        """Let go of what the name has, if anything."""
        fd = self._kept.pop(name, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Let go of everything."""
        for name in tuple(self._kept):
            self.forget(name)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(sorted(self._kept.items()))

    def __len__(self) -> int:
        return len(self._kept)

    def _check(self, name: str, fd: int) -> None:
        check_sealed(fd)
        if not 0 < len(name) <= NAME_LENGTH_LIMIT:
            raise PeerError(f"a deposit's name has 1-{NAME_LENGTH_LIMIT} characters, this one {len(name)}")
        if name not in self._kept and len(self._kept) >= NAMES_LIMIT:
            raise PeerError(f"{NAMES_LIMIT} deposits are kept; forget one first")
        if (size := os.fstat(fd).st_size) > SIZE_LIMIT:
            raise PeerError(f"a deposit of {size} bytes; it has at most {SIZE_LIMIT}")
