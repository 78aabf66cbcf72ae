"""Rate limits: a bucket of tokens, as the one moment at which it will be full again.

Source: the generic cell rate algorithm (ITU-T I.371); over any stretch of time no more is let in than the burst and what
flows in meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

from ambient.core.http.message import Headers
from ambient.core.model.limit import LimitScope, RateLimit
from ambient.core.resilience.state import State


class Taken(NamedTuple):
    """A request is within the limit."""

    remaining: int
    """How many more are, at once."""
    reset: float
    """The seconds until the bucket is full again."""


class TooMany(NamedTuple):
    """A request is beyond the limit."""

    retry_after: float
    """The seconds until one is within it; ``math.inf``: none ever is."""
    reset: float


Verdict: TypeAlias = Taken | TooMany


def take(limit: RateLimit, state: State, now: float) -> tuple[State, Verdict]:
    """Take one token, if there is one. A dry run is the caller's."""
    if not limit.requests or not limit.burst:
        return (), TooMany(math.inf, math.inf)
    interval = limit.period.total_seconds() / limit.requests
    full_at = max(state[0], now) if state else now
    spare = interval * limit.burst - (full_at + interval - now)
    if spare < -interval * _TOLERANCE:
        return (full_at,), TooMany(-spare, full_at - now)
    full_at += interval
    return (full_at,), Taken(math.floor(spare / interval + _TOLERANCE), full_at - now)


def share(limit: RateLimit, replicas: int) -> RateLimit:
    """What one of so many replicas lets in of a limit that they have together: an equal part.

    No message passes between them for it, so what one leaves over is not another's. All together they let in no more than
    the limit; where it has fewer tokens at once than there are replicas, one each.
    """
    match limit.scope:
        case LimitScope.LOCAL:
            return limit
        case LimitScope.MESH:
            many = max(1, replicas)
            return replace(limit, period=limit.period * many, burst=max(1, limit.burst // many))


_TOLERANCE: Final = 1e-3
"""Of a token: what a long row of sums may be off by."""


def headers(limit: RateLimit, verdict: Verdict) -> Headers:
    """What a client is told. Source: draft-ietf-httpapi-ratelimit-headers-10, RFC 9110 §10.2.3."""
    name = limit.name.replace("\\", "\\\\").replace('"', '\\"')
    policy = f'"{name}";q={limit.burst};w={math.ceil(_seconds(limit))}'
    match verdict:
        case Taken(remaining, reset):
            return (
                ("ratelimit-policy", policy),
                ("ratelimit", f'"{name}";r={remaining};t={math.ceil(reset)}'),
            )
        case TooMany(retry_after) if math.isinf(retry_after):
            return (("ratelimit-policy", policy), ("ratelimit", f'"{name}";r=0'))
        case TooMany(retry_after):
            wait = max(1, math.ceil(retry_after))
            return (
                ("ratelimit-policy", policy),
                ("ratelimit", f'"{name}";r=0;t={wait}'),
                ("retry-after", str(wait)),
            )


def _seconds(limit: RateLimit) -> float:
    """How long an empty bucket takes to fill."""
    return limit.period.total_seconds() * limit.burst / limit.requests if limit.requests else 0.0
