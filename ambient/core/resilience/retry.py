"""Whether a request is sent again.

Two questions are apart: whether the rule wants it (``RetryOn``, codes, attempts), and whether it is safe. A request may
be acted on twice only when it is idempotent or the rule says so of any; one that certainly never reached the
application is always safe. What has been passed on to the client, or cannot be said again, is never retried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.core.model.route import DEFAULT_RETRY, Retry, RetryOn

if TYPE_CHECKING:
    from ambient.core.http.message import RequestHead

# What became of a try


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """There was no connection: nothing was sent."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side said that it did not act on it (REFUSED_STREAM, or GOAWAY before it)."""


@dataclass(frozen=True, slots=True)
class Reset:
    """It was cut before anything of a response came."""

    was_sent: bool
    """Whether any of the request may have left; False when the connection was over before."""
    was_reused: bool = False
    """Whether the connection had served a request before: then it was perhaps given up as idle, just as this one left."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """It took longer than one try may take, and nothing of a response was passed on."""

    was_sent: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """A response came, of which nothing was passed on yet."""

    status: int
    grpc_status: int | None = None
    """Of a gRPC response that says it in its head, or whose trailers are at hand; None otherwise."""
    is_rate_limited: bool = False
    """Whether it has ``x-envoy-ratelimited``: the other side takes less than it is asked."""


Outcome: TypeAlias = ConnectFailed | Refused | Reset | TimedOut | Answered


# What is known of the request


@dataclass(frozen=True, slots=True)
class Asked:
    """Of one request, what decides whether it can be sent again."""

    is_idempotent: bool
    can_replay: bool
    """Whether all of its body that was sent is still at hand."""


def is_idempotent(head: RequestHead) -> bool:
    """Whether acting on it twice is as good as once: by its method, or since the client says so.

    Source: RFC 9110 §9.2.2; draft-ietf-httpapi-idempotency-key-header.
    """
    return head.method in _IDEMPOTENT or any(name in _KEYS for name, _ in head.headers)


_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_KEYS: Final = frozenset({"idempotency-key", "x-idempotency-key"})


# What follows


@dataclass(frozen=True, slots=True)
class Again:
    """Send it again after ``delay`` seconds, if there is budget for it."""

    delay: float


class Why(Enum):
    """Why what came is delivered; values are metric labels."""

    FINE = "fine"
    """The rule wants no other try of this."""
    UNSAFE = "unsafe"
    """The application may have acted on it, and it is not idempotent."""
    UNREPLAYABLE = "unreplayable"
    """Its body is not at hand any more."""
    ATTEMPTS = "attempts"
    """There were as many tries as the rule allows."""
    TIME = "time"
    """Another try would begin after the request's time is over."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Pass on what came, or say what went wrong."""

    why: Why


Decision: TypeAlias = Again | Deliver


def after(
    retry: Retry | None,
    asked: Asked,
    tries: int,
    outcome: Outcome,
    left: float | None,
    chance: float,
) -> Decision:
    """What follows a try.

    ``tries`` counts this one too; ``left`` is how many seconds the request may still take (None: without end); ``chance``
    in [0, 1) is for the jitter. A budget is asked, and charged, only after ``Again``.
    """
    rule = DEFAULT_RETRY if retry is None else retry
    if not rule.attempts or not _is_wanted(rule, outcome):
        return Deliver(Why.FINE)
    if not (asked.is_idempotent or rule.any_method or not _may_have_acted(outcome)):
        return Deliver(Why.UNSAFE)
    if not asked.can_replay:
        return Deliver(Why.UNREPLAYABLE)
    if tries > rule.attempts:
        return Deliver(Why.ATTEMPTS)
    delay = backoff(rule, tries, chance)
    if left is not None and delay >= left:
        return Deliver(Why.TIME)
    return Again(delay)


def backoff(retry: Retry, tries: int, chance: float) -> float:
    """The seconds before the next try, after so many.

    A time that the rule names is the least, and jitter only lengthens it (Gateway API): up to twice as long, then four
    times, and ten at most. Where it names none, jitter is all there is of 25 ms, then 50, and at most 250 (Envoy). Zero is
    none at all (Linkerd).
    """
    if retry.backoff is None:
        return chance * _grown(_BASE, tries - 1)
    least = retry.backoff.total_seconds()
    return least + chance * (_grown(least, tries) - least)


_BASE: Final = 0.025
_MOST: Final = 10
"""Times the base. Source: Envoy."""


def _grown(base: float, doublings: int) -> float:
    return base * (2.0**doublings if doublings < 4 else _MOST)


def _may_have_acted(outcome: Outcome) -> bool:
    match outcome:
        case ConnectFailed() | Refused():
            return False
        case Reset(was_sent=was_sent) | TimedOut(was_sent):
            return was_sent
        case Answered():
            return True


def _is_wanted(rule: Retry, outcome: Outcome) -> bool:
    match outcome:
        case ConnectFailed():
            return not rule.on.isdisjoint(_AFTER_CONNECT_FAILURE)
        case Refused():
            return not rule.on.isdisjoint(_AFTER_REFUSAL)
        case Reset(was_sent=False):
            return not rule.on.isdisjoint(_AFTER_EARLY_RESET)
        case Reset(was_reused=True):
            return not rule.on.isdisjoint(_AFTER_CONNECT_FAILURE)
        case Reset():
            return not rule.on.isdisjoint(_AFTER_RESET)
        case TimedOut():
            return rule.after_timeout or not rule.on.isdisjoint(_AFTER_RESET)
        case Answered():
            return _is_wanted_of(rule, outcome)


_AFTER_RESET: Final = frozenset({RetryOn.RESET, RetryOn.SERVER_ERROR, RetryOn.GATEWAY_ERROR})
"""Nothing came, of which a proxy would make 502, 503 or 504. Source: Envoy."""
_AFTER_CONNECT_FAILURE: Final = _AFTER_RESET | {RetryOn.CONNECT_FAILURE}
"""There was no connection, or none any more."""
_AFTER_EARLY_RESET: Final = _AFTER_CONNECT_FAILURE | {RetryOn.RESET_BEFORE_REQUEST}
_AFTER_REFUSAL: Final = _AFTER_RESET | {RetryOn.REFUSED_STREAM}


def _is_wanted_of(rule: Retry, answer: Answered) -> bool:
    if answer.is_rate_limited:
        return RetryOn.RATE_LIMITED in rule.on
    word = None if answer.grpc_status is None else _GRPC.get(answer.grpc_status)
    return (
        word in rule.on
        or _is_among(answer.status, rule.codes)
        or any(_is_among(answer.status, ranges) for one, ranges in _STATUSES.items() if one in rule.on)
    )


def _is_among(status: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(first <= status <= last for first, last in ranges)


_STATUSES: Final[Mapping[RetryOn, tuple[tuple[int, int], ...]]] = {
    RetryOn.GATEWAY_ERROR: ((502, 504),),
    RetryOn.SERVER_ERROR: ((500, 599),),
    RetryOn.RETRIABLE_4XX: ((409, 409),),
}
_GRPC: Final[Mapping[int, RetryOn]] = {
    1: RetryOn.CANCELLED,
    4: RetryOn.DEADLINE_EXCEEDED,
    8: RetryOn.RESOURCE_EXHAUSTED,
    13: RetryOn.INTERNAL,
    14: RetryOn.UNAVAILABLE,
}
