"""When an endpoint that fails is left out for a while. Source: Envoy's outlier detection, by Istio's fields.

What is remembered of an endpoint is how often in a row it failed, and how often it was left out: each time for longer, and
each interval without makes one less of them. Whether it may be left out is a question of how many are: ``most``.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Final

from ambient.core.model.traffic import Outlier
from ambient.core.resilience.retry import Answered, ConnectFailed, Outcome, Refused, Reset, TimedOut
from ambient.core.resilience.state import State

DEFAULT_CONSECUTIVE_5XX: Final = 5
DEFAULT_CONSECUTIVE_LOCAL_FAILURES: Final = 5
DEFAULT_INTERVAL: Final = timedelta(seconds=10)
DEFAULT_BASE_EJECTION: Final = timedelta(seconds=30)
DEFAULT_MOST_EJECTED_PERCENT: Final = 10
LONGEST_EJECTION: Final = timedelta(seconds=300)
"""Unless one alone is longer. Source of all six: Envoy."""
_REMEMBERED: Final = 3600.0
"""Seconds after which failures in a row say nothing, if nobody asked since."""


class Result(Enum):
    """What an exchange says of its endpoint."""

    FINE = "fine"
    SERVER_ERROR = "server_error"
    """A 5xx that is no gateway error."""
    GATEWAY_ERROR = "gateway_error"
    """502, 503 or 504."""
    LOCAL_FAILURE = "local_failure"
    """There was no answer: it could not be reached, or cut the exchange, or took too long."""


def result_of(outcome: Outcome) -> Result | None:
    """What a try says of its endpoint; None: nothing, as when an idle connection was given up."""
    match outcome:
        case ConnectFailed() | Refused() | TimedOut():
            return Result.LOCAL_FAILURE
        case Reset(was_sent=False) | Reset(was_reused=True):
            return None
        case Reset():
            return Result.LOCAL_FAILURE
        case Answered(status, grpc_status):
            return _of_status(_GRPC.get(grpc_status, 200) if grpc_status else status)


def _of_status(status: int) -> Result:
    if status in {502, 503, 504}:
        return Result.GATEWAY_ERROR
    return Result.SERVER_ERROR if status >= 500 else Result.FINE


_GRPC: Final = {2: 500, 4: 504, 12: 501, 13: 500, 14: 503, 15: 500}
"""gRPC's statuses that are errors of servers, as those of HTTP. Source: Envoy's ``grpcToHttpStatus``."""

_TIMES, _ERRORS, _GATEWAY_ERRORS, _LOCAL_FAILURES, _BACK_AT = range(1, 6)
_NEW: Final[State] = (0.0,) * 6


def seen(rule: Outlier, state: State, result: Result, now: float) -> tuple[State, bool]:
    """After an exchange with an endpoint; whether it should be left out, and then its failures are counted anew.

    What comes from one that is left out says nothing of it.
    """
    _, times, errors, gateway_errors, local_failures, back_at = state or _NEW
    if now < back_at:
        return state, False
    match result:
        case Result.FINE:
            errors = gateway_errors = local_failures = 0
        case Result.SERVER_ERROR:
            errors, gateway_errors, local_failures = errors + 1, 0, 0
        case Result.GATEWAY_ERROR:
            errors, gateway_errors, local_failures = errors + 1, gateway_errors + 1, 0
        case Result.LOCAL_FAILURE if rule.splits_local_failures:
            local_failures += 1
        case Result.LOCAL_FAILURE:
            errors, gateway_errors = errors + 1, gateway_errors + 1
    goes = (
        _reaches(errors, rule.consecutive_5xx, DEFAULT_CONSECUTIVE_5XX)
        or _reaches(gateway_errors, rule.consecutive_gateway_errors, 0)
        or (
            rule.splits_local_failures
            and _reaches(local_failures, rule.consecutive_local_failures, DEFAULT_CONSECUTIVE_LOCAL_FAILURES)
        )
    )
    if goes:
        errors = gateway_errors = local_failures = 0
    return _state(rule, (times, errors, gateway_errors, local_failures, back_at), now), goes


def ejected(rule: Outlier, state: State, now: float) -> tuple[State, float]:
    """After an endpoint was left out; until when it is."""
    base = _seconds(rule.base_ejection, DEFAULT_BASE_EJECTION)
    times = _times(rule, state, now) + 1
    back_at = now + min(base * times, max(base, LONGEST_EJECTION.total_seconds()))
    return _state(rule, (times, 0, 0, 0, back_at), now), back_at


def most(rule: Outlier, endpoints: int) -> int:
    """How many of so many endpoints may be left out at once.

    Where no share is configured: a tenth, and one of a few, but never the last.
    """
    if rule.most_ejected_percent is not None:
        return endpoints * rule.most_ejected_percent // 100
    return max(endpoints * DEFAULT_MOST_EJECTED_PERCENT // 100, 1 if endpoints > 1 else 0)


def _reaches(count: float, limit: int | None, default: int) -> bool:
    limit = default if limit is None else limit
    return bool(limit) and count >= limit


def _times(rule: Outlier, state: State, now: float) -> float:
    """How often it was left out, less one for each interval since."""
    if not state:
        return 0
    interval = max(_seconds(rule.interval, DEFAULT_INTERVAL), 0.001)
    return max(0, state[_TIMES] - max(0.0, now - state[_BACK_AT]) // interval)


def _state(rule: Outlier, fields: tuple[float, ...], now: float) -> State:
    times, *failures, back_at = fields
    interval = _seconds(rule.interval, DEFAULT_INTERVAL)
    until = back_at + times * interval
    if any(failures):
        until = max(until, now + _REMEMBERED)
    return (until, *fields) if until > now else ()


def _seconds(told: timedelta | None, default: timedelta) -> float:
    return (default if told is None else told).total_seconds()
