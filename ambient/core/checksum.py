"""One number for a whole state, however it came about.

The sum of a digest of each resource: what comes is added, what goes is subtracted, and the order does not matter. Two
states have the same sum if they are the same, and, by chance of one in 2^128, if they are not.
"""

from __future__ import annotations

import hashlib
from typing import Final

_BYTES: Final = 16
_MODULUS: Final = 1 << (8 * _BYTES)


def digest(name: str, content: bytes) -> int:
    """One resource."""
    hashed = hashlib.blake2b(name.encode(), digest_size=_BYTES)
    hashed.update(b"\0")  # No name has it.
    hashed.update(content)
    return int.from_bytes(hashed.digest())


def moved(checksum: int, *, came: int = 0, went: int = 0) -> int:
    """The sum after something has come, gone, or replaced something."""
    return (checksum + came - went) % _MODULUS
