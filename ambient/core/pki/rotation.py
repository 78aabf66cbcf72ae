"""When to renew a certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def next_renewal(not_before: datetime, not_after: datetime, jitter: float) -> datetime:
    """When to ask for a new certificate: half its life, moved by ``jitter``.

    ``jitter`` is in [-1, 1] and moves the moment by at most a tenth of the lifetime, so that
    a node's certificates do not all expire together. Source: ztunnel renews at half-life too.
    """
    if not -1 <= jitter <= 1:
        raise ValueError(f"jitter {jitter} is not in [-1, 1]")
    lifetime = not_after - not_before
    return not_before + lifetime * (0.5 + jitter / 10)
