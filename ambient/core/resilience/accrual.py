"""A breaker for each endpoint. Source: Linkerd's failure accrual.

Closed, it counts failures in a row, and the share of successes in a window. When either is too bad it opens, and nobody is
let through for a penalty. Then it lets exactly one request through, as a probe: what comes of that closes it, or opens it
again for twice as long. What comes of other requests meanwhile says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from ambient.core.model.traffic import Accrual, SuccessRate
from ambient.core.resilience import window
from ambient.core.resilience.retry import Answered, ConnectFailed, Outcome, Refused, Reset, TimedOut
from ambient.core.resilience.state import State

PROBE: Final = 60.0
"""Seconds after which a probe of which nothing was heard is given up: who sent it is gone."""
_REMEMBERED: Final = 600.0
"""Seconds after its penalty, or after failures in a row, when a breaker that nobody asks is as good as a new one."""


class Result(NamedTuple):
    """What an exchange says of its endpoint."""

    failed: bool
    """It counts for failures in a row."""
    degraded: bool
    """It counts against the share of successes: failures, and being asked to come later."""


def result_of(outcome: Outcome) -> Result | None:
    """What a try says of its endpoint; None: nothing, as when an idle connection was given up."""
    match outcome:
        case ConnectFailed() | Refused() | TimedOut():
            return _FAILED
        case Reset(was_sent=False) | Reset(was_reused=True):
            return None
        case Reset():
            return _FAILED
        case Answered(status, grpc_status):
            if status >= 500 or grpc_status in _GRPC_FAILURES:
                return _FAILED
            return Result(failed=False, degraded=status == 429 or grpc_status == 8)


_FAILED: Final = Result(failed=True, degraded=True)
_GRPC_FAILURES: Final = frozenset({4, 7, 13, 14, 15})
"""DEADLINE_EXCEEDED, PERMISSION_DENIED, INTERNAL, UNAVAILABLE, DATA_LOSS. Source: Linkerd."""


class Phase(IntEnum):
    """Of a breaker."""

    CLOSED = 0
    OPEN = 1
    PROBING = 2


@dataclass(frozen=True, slots=True)
class Allowed:
    """The breaker is closed."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The request is the one that is let through; tell ``seen``, or ``abandoned``, of it with this mark."""

    mark: float


@dataclass(frozen=True, slots=True)
class Barred:
    """Ask another endpoint."""

    until: float
    """At the earliest."""


Admission: TypeAlias = Allowed | Probe | Barred


@dataclass(frozen=True, slots=True)
class Tripped:
    """The breaker has opened."""

    until: float
    """Then it lets a probe through."""
    forgotten_at: float
    """Then it is closed again, if nobody asked."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The breaker has closed."""


Change: TypeAlias = Tripped | Recovered | None


def phase_of(state: State) -> Phase:
    """Where a breaker stands."""
    return Phase(int(state[1])) if state else Phase.CLOSED


def admit(state: State, now: float) -> tuple[State, Admission]:
    """Whether a request may go to the endpoint."""
    if not state:
        return state, Allowed()
    match phase_of(state):
        case Phase.CLOSED:
            return state, Allowed()
        case Phase.OPEN | Phase.PROBING if now < state[2]:
            return state, Barred(state[2])
        case Phase.OPEN | Phase.PROBING:
            mark = now + PROBE
            return (mark + _REMEMBERED, Phase.PROBING, mark, state[3]), Probe(mark)


def seen(
    rule: Accrual, state: State, result: Result, now: float, chance: float, probe: Probe | None = None
) -> tuple[State, Change]:
    """After an exchange; ``chance`` in [0, 1) is for the jitter."""
    match phase_of(state):
        case Phase.CLOSED:
            return _counted(rule, state, result, now, chance)
        case Phase.OPEN:
            return state, None
        case Phase.PROBING:
            if probe is None or probe.mark != state[2]:
                return state, None
            if result.failed or (result.degraded and rule.success_rate is not None):
                return _tripped(rule, state[3] + 1, now, chance)
            return (), Recovered()


def abandoned(state: State, probe: Probe, now: float) -> State:
    """After a probe of which nothing came that says anything: another may go at once."""
    if phase_of(state) is Phase.PROBING and state[2] == probe.mark:
        return (now + _REMEMBERED, Phase.OPEN, now, state[3])
    return state


def penalty(rule: Accrual, trips: float, chance: float) -> float:
    """For how long it is open when it opens for the ``trips``-th time in a row."""
    most = rule.most_penalty.total_seconds()
    base = min(most, math.ldexp(rule.least_penalty.total_seconds(), int(min(trips - 1, 62))))
    return min(most, base * (1 + rule.jitter_ratio * chance))


def _counted(rule: Accrual, state: State, result: Result, now: float, chance: float) -> tuple[State, Change]:
    failures = (state[4] if state else 0) + 1 if result.failed else 0
    if rule.consecutive_failures and failures >= rule.consecutive_failures:
        return _tripped(rule, 1, now, chance)
    until = now + _REMEMBERED if failures else 0.0
    ring: State = ()
    if rule.success_rate is not None:
        width = _width(rule.success_rate)
        number = math.floor(now / width)
        ring = window.rolled(state[5:], number)
        ring = window.added(ring, number, int(result.degraded), 1)
        degraded, total = window.totals(ring)
        healthy = 1 - degraded / total if total else 1.0
        if total >= rule.success_rate.least_requests and healthy < rule.success_rate.threshold:
            return _tripped(rule, 1, now, chance)
        until = max(until, (ring[0] + window.SLICES) * width)
    return ((until, Phase.CLOSED, 0.0, 0.0, failures, *ring) if until > now else ()), None


def _tripped(rule: Accrual, trips: float, now: float, chance: float) -> tuple[State, Tripped]:
    until = now + penalty(rule, trips, chance)
    forgotten_at = until + _REMEMBERED
    return (forgotten_at, Phase.OPEN, until, trips), Tripped(until, forgotten_at)


def _width(rate: SuccessRate) -> float:
    return max(rate.window.total_seconds(), 0.01) / window.SLICES
