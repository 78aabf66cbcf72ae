"""A small disk that can be full: a tmpfs in a mount namespace of its own, reached through the process that holds it.

The namespace is gone when its holder ends; nothing is ever mounted where other processes look.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from topology.process import Process

HOLD = 'mount -t tmpfs -o "size=$1" ambient-test "$0" && echo \'{"event": "mounted"}\' && exec sleep infinity'


class Disk:
    """``path`` is the folder as any process of this machine may name it."""

    def __init__(self, holder: Process, folder: Path) -> None:
        self.path = Path(f"/proc/{holder.pid}/root{folder}")
        self.inside = ("nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wd={Path.cwd()}", "--")
        """Before a command: the folder is the disk by its own name there."""

    def fill(self) -> None:
        """Leave no byte and no page."""
        filler = os.open(self.path / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        try:
            for size in (1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(filler, b"x" * size)
            assert self.is_full()
        finally:
            os.close(filler)

    def free(self) -> None:
        """There is room again."""
        (self.path / "filler").unlink(missing_ok=True)

    def is_full(self) -> bool:
        probe = self.path / "probe"
        try:
            probe.write_bytes(b"x" * 4096)
        except OSError as error:
            return error.errno == errno.ENOSPC
        else:
            return False
        finally:
            probe.unlink(missing_ok=True)
