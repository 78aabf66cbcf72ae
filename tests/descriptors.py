"""Which descriptors this process has open."""

from __future__ import annotations

import gc
from pathlib import Path


def open_fds() -> frozenset[tuple[str, str]]:
    """Each with what it is open on.

    Read after a collection: what an earlier test left to the collector is not to go halfway through this one. What is
    gone at the end of a test and was there before may be another's, which a thread of a library closed in between; so
    a leak is what is there and was not.
    """
    gc.collect()
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found.add((descriptor.name, str(descriptor.readlink())))
        except FileNotFoundError:
            continue  # It was that of the listing itself.
    return frozenset(found)
