"""Memory as a ledger has it, but small."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap

from ambient.waypoint.locks import Locks

SECRET = b"not one"


@contextmanager
def memory(size: int) -> Iterator[tuple[memoryview, Locks]]:
    descriptor = os.memfd_create("small", os.MFD_CLOEXEC)
    size = -(-size // 8) * 8
    os.ftruncate(descriptor, size)
    locks = Locks(descriptor)
    yield memoryview(mmap(descriptor, size)), locks
    locks.close()
    os.close(descriptor)
