"""What keys are called in shared memory: short, of one length, and not to be chosen from outside."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

DIGEST: Final = 16
NOBODY: Final = bytes(DIGEST)


def digest_of(key: str, secret: bytes) -> bytes:
    """The digest of any text."""
    return blake2b(key.encode("utf-8", "surrogateescape"), digest_size=DIGEST, key=secret).digest()


def find(digests: bytes, digest: bytes) -> int | None:
    """Which of many digests in a row it is."""
    at = digests.find(digest)
    while at != -1 and at % DIGEST:
        at = digests.find(digest, at + 1)
    return None if at == -1 else at // DIGEST
