"""How many requests may be sent again: never so many that a service that fails is asked ever more.

A ratio budget counts the requests and retries of a window. Retries are remembered for at least the window, and requests
for at most the window: of any stretch of that length, retries are no more than the share of its requests and the least
together. A concurrency budget looks at what is under way. One of them is always in force.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from ambient.core.model.traffic import ConcurrencyBudget, RatioBudget
from ambient.core.resilience import window
from ambient.core.resilience.state import State

DEFAULT_BUDGET: Final = RatioBudget(ratio=0.2, least_per_second=10, window=timedelta(seconds=10))
"""Where none is configured. Source: Linkerd's; Gateway API's GEP-3388 has the same share."""
_ALL: Final = window.SLICES
_WITHIN: Final = _ALL - 1
"""So many slices are the window; one more is held, so that a retry counts for all of it."""
_TOLERANCE: Final = 1e-9
"""A share of 0.1 of ten requests is one retry, whatever floats make of it."""


def seen(budget: RatioBudget, state: State, requests: int, at: float, now: float) -> State:
    """After so many requests (no retries) that began at the time ``at``, of which this is told now."""
    number = _number(budget, now)
    ring = window.rolled(state[1:], number)
    return _state(budget, window.added(ring, min(number, _number(budget, at)), requests, 0))


def take(budget: RatioBudget, state: State, now: float) -> tuple[State, bool]:
    """Whether one request may be sent again, which is charged then."""
    ring = window.rolled(state[1:], _number(budget, now))
    requests, _ = window.totals(ring, _WITHIN)
    _, retries = window.totals(ring)
    if retries + 1 > allowed(budget, requests) + _TOLERANCE:
        return _state(budget, ring), False
    return _state(budget, window.added(ring, int(ring[0]), 0, 1)), True


def allowed(budget: RatioBudget, requests: int) -> float:
    """The retries of a window with so many requests."""
    return budget.ratio * requests + budget.least_per_second * budget.window.total_seconds()


def most(budget: ConcurrencyBudget, requests: int) -> int:
    """How many retries may be under way; ``requests`` counts all that are, waiting ones and retries too."""
    return max(budget.least, math.floor(budget.ratio * requests + _TOLERANCE))


def admits(budget: ConcurrencyBudget, requests: int, retries: int) -> bool:
    """Whether a retry may join so many."""
    return retries < most(budget, requests)


def slice_of(budget: RatioBudget) -> float:
    """The seconds in which requests may be told of together without another answer to come of it."""
    return max(budget.window.total_seconds(), 0.001) / _WITHIN


def _number(budget: RatioBudget, at: float) -> int:
    return math.floor(at / slice_of(budget))


def _state(budget: RatioBudget, ring: State) -> State:
    return ((ring[0] + _ALL) * slice_of(budget), *ring)
