"""Linkerd's annotations on Services, HTTPRoutes and GRPCRoutes: retries, timeouts, breakers and opaque ports.

One that cannot be read makes a route wrong, and is only a warning on a Service: a slip in what one mesh says of it must
not take a service away. Source: Linkerd's reference of annotations, and its policy controller for what that leaves open.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from pydantic_core import PydanticCustomError

from ambient.control.objects import BackendPolicy, ServiceRef
from ambient.control.problem import Problem, Reason, no_effect
from ambient.control.schema.duration import gateway_duration
from ambient.control.schema.shape import Metadata, between, say, wrong
from ambient.control.translate.kind import Untranslatable
from ambient.core.model.route import (
    AllOf,
    HeaderMatch,
    Origin,
    ProfileRoute,
    Protocol,
    Retry,
    RetryOn,
    RouteMatch,
    TextMatch,
    TextMatchKind,
    Timeouts,
)
from ambient.core.model.traffic import Accrual, SuccessRate

T = TypeVar("T")

RETRY_HTTP: Final = "retry.linkerd.io/http"
RETRY_GRPC: Final = "retry.linkerd.io/grpc"
RETRY_LIMIT: Final = "retry.linkerd.io/limit"
RETRY_TIMEOUT: Final = "retry.linkerd.io/timeout"
TIMEOUT_REQUEST: Final = "timeout.linkerd.io/request"
TIMEOUT_RESPONSE: Final = "timeout.linkerd.io/response"
TIMEOUT_IDLE: Final = "timeout.linkerd.io/idle"
OPAQUE_PORTS: Final = "config.linkerd.io/opaque-ports"
ACCRUAL: Final = "balancer.linkerd.io/failure-accrual"
_CONSECUTIVE: Final = f"{ACCRUAL}-consecutive-"
_SUCCESS_RATE: Final = "balancer.alpha.linkerd.io/failure-accrual-success-rate-"

_OF_ROUTES: Final = (
    RETRY_HTTP,
    RETRY_GRPC,
    RETRY_LIMIT,
    RETRY_TIMEOUT,
    TIMEOUT_REQUEST,
    TIMEOUT_RESPONSE,
    TIMEOUT_IDLE,
)
_OF_BALANCERS: Final = (
    ACCRUAL,
    *(f"{_CONSECUTIVE}{name}" for name in ("max-failures", "min-penalty", "max-penalty", "jitter-ratio")),
    *(f"{_SUCCESS_RATE}{name}" for name in ("threshold", "window", "min-requests")),
)
_NOT_CARRIED_OUT: Final = (
    "balancer.alpha.linkerd.io/failure-accrual-honor-retry-after",
    "balancer.alpha.linkerd.io/penalize-failures",
    "balancer.alpha.linkerd.io/load-biaser-penalty",
    "balancer.alpha.linkerd.io/load-biaser-max-retry-after",
    "config.linkerd.io/skip-inbound-ports",
    "config.linkerd.io/skip-outbound-ports",
    "config.linkerd.io/default-inbound-policy",
    "config.linkerd.io/access-log",
    "config.linkerd.io/shutdown-grace-period",
)
_PREFIXES: Final = (
    "retry.linkerd.io/",
    "timeout.linkerd.io/",
    "balancer.linkerd.io/",
    "balancer.alpha.linkerd.io/",
)

_DAYS: Final = re.compile(r"[0-9]{1,5}d")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_DECIMAL: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10})?")
_GRPC: Final = {
    on.value: on
    for on in (
        RetryOn.CANCELLED,
        RetryOn.DEADLINE_EXCEEDED,
        RetryOn.INTERNAL,
        RetryOn.RESOURCE_EXHAUSTED,
        RetryOn.UNAVAILABLE,
    )
}
_IS_GRPC: Final = RouteMatch(
    headers=(HeaderMatch("content-type", TextMatch(TextMatchKind.PREFIX, "application/grpc")),)
)


@dataclass(frozen=True, slots=True)
class RouteSettings:
    """What annotations set for all rules of a route."""

    timeouts: Timeouts
    retry: Retry | None


def of_route(
    annotations: Mapping[str, str], protocol: Protocol
) -> tuple[RouteSettings | None, tuple[Problem, ...]]:
    """What is set for a route, and what has no effect; None: nothing is set. Raises Untranslatable."""
    reading = _Reading(annotations)
    settings = reading.settings(RETRY_GRPC if protocol is Protocol.GRPC else RETRY_HTTP)
    reading.refuse_unknown((*_OF_ROUTES, *_NOT_CARRIED_OUT))
    if reading.wrong:
        raise Untranslatable(tuple(reading.wrong))
    other = RETRY_HTTP if protocol is Protocol.GRPC else RETRY_GRPC
    if other in annotations:
        reading.warn(other, f"has no effect on a route of {protocol.name}")
    return settings, tuple(reading.warnings)


def of_service(
    metadata: Metadata, ports: Collection[int]
) -> tuple[BackendPolicy | None, tuple[Problem, ...]]:
    """What is set for requests for a service, and what has no effect; None: nothing is set."""
    annotations = metadata.annotations
    reading = _Reading(annotations)
    origin = Origin("Service", metadata.namespace, metadata.name, "metadata.annotations")
    profile = tuple(
        ProfileRoute(origin, "", condition, settings.timeouts, settings.retry)
        for conditions, condition in ((RETRY_GRPC, _IS_GRPC), (RETRY_HTTP, AllOf(())))
        if (conditions == RETRY_HTTP or conditions in annotations)
        and (settings := reading.settings(conditions)) is not None
    )
    accrual = reading.accrual()
    opaque = reading.take(OPAQUE_PORTS, _port_ranges) or ()
    reading.refuse_unknown((*_OF_ROUTES, *_OF_BALANCERS, *_NOT_CARRIED_OUT))
    opaque_ports = frozenset(port for port in ports for first, last in opaque if first <= port <= last)
    policy = BackendPolicy(
        kind="Service",
        namespace=metadata.namespace,
        name=metadata.name,
        created=metadata.creation_timestamp or "",
        targets=(ServiceRef(metadata.namespace, metadata.name),),
        accrual=accrual,
        profile=profile,
        opaque_ports=opaque_ports,
    )
    warnings = (*dict.fromkeys(reading.wrong), *dict.fromkeys(reading.warnings))
    return (policy if profile or accrual or opaque_ports else None), warnings


class _Reading:
    """Annotations as they are read, with what is wrong with them."""

    def __init__(self, annotations: Mapping[str, str]) -> None:
        self._annotations = annotations
        self.wrong: list[Problem] = []
        self.warnings: list[Problem] = []
        for name in _NOT_CARRIED_OUT:
            if name in annotations:
                self.warn(name, "has no effect; nothing here carries it out")

    def take(self, name: str, read: Callable[[str], T]) -> T | None:
        """An annotation's value; None if it is not there, or wrong."""
        text = self._annotations.get(name)
        if text is None:
            return None
        try:
            return read(text.strip())
        except PydanticCustomError as error:
            self._refuse(name, str(error))
            return None

    def settings(self, conditions: str) -> RouteSettings | None:
        """Timeouts and retries; ``conditions`` is the annotation that says when to try again."""
        if not any(name in self._annotations for name in (*_OF_ROUTES[2:], conditions)):
            return None
        limit = self.take(RETRY_LIMIT, _number(0, 65535))
        attempt = self.take(RETRY_TIMEOUT, _duration) or None
        codes: tuple[tuple[int, int], ...] | None = None
        on: frozenset[RetryOn] | None = None
        if conditions == RETRY_HTTP:
            codes = self.take(RETRY_HTTP, _statuses)
        else:
            on = self.take(RETRY_GRPC, _grpc_statuses)
        if limit == 0:
            self.warn(
                RETRY_LIMIT, f"is 0, which counts as 1, as it does for Linkerd; remove {conditions} instead"
            )
        retry = None
        if limit or attempt or codes or on:
            # Linkerd asks no method: whoever annotates a route knows what it does.
            retry = Retry(
                attempts=limit or 1,
                on=on or frozenset(),
                codes=codes or (),
                after_timeout=attempt is not None,
                any_method=True,
            )
        settings = RouteSettings(
            Timeouts(
                request=self.take(TIMEOUT_REQUEST, _duration),
                attempt=attempt,
                response=self.take(TIMEOUT_RESPONSE, _duration),
                idle=self.take(TIMEOUT_IDLE, _duration),
                last_attempt_unlimited=attempt is not None,
            ),
            retry,
        )
        return None if settings == RouteSettings(Timeouts(), None) else settings

    def accrual(self) -> Accrual | None:
        """The breaker for each endpoint."""
        mode = self.take(ACCRUAL, _accrual_mode)
        defaults, rates = Accrual(), SuccessRate()
        failures = self._or(f"{_CONSECUTIVE}max-failures", _number(1, 2**32 - 1), 7)
        least = self._or(f"{_CONSECUTIVE}min-penalty", _duration, defaults.least_penalty)
        most = self._or(f"{_CONSECUTIVE}max-penalty", _duration, defaults.most_penalty)
        jitter = self._or(f"{_CONSECUTIVE}jitter-ratio", _decimal(100), defaults.jitter_ratio)
        threshold = self._or(f"{_SUCCESS_RATE}threshold", _decimal(1), rates.threshold)
        window = self._or(f"{_SUCCESS_RATE}window", _duration, rates.window)
        requests = self._or(f"{_SUCCESS_RATE}min-requests", _number(0, 1_000_000), rates.least_requests)
        if mode is None:
            for name in _OF_BALANCERS[1:]:
                if name in self._annotations:
                    self.warn(name, f"has no effect without {ACCRUAL}")
            return None
        if not most or least > most:
            self._refuse(
                f"{_CONSECUTIVE}max-penalty" if not most else f"{_CONSECUTIVE}min-penalty",
                "is 0; a breaker that opens stays so for a while"
                if not most
                else "is longer than max-penalty",
            )
            return None
        success_rate = None
        if mode == "unified" and threshold:
            if window < timedelta(milliseconds=10):
                self._refuse(f"{_SUCCESS_RATE}window", "is too short; it is at least 10ms")
                return None
            success_rate = SuccessRate(threshold, window, requests)
        return Accrual(failures, success_rate, least, most, jitter)

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Names that look like Linkerd's and are not."""
        for name in self._annotations:
            if name.startswith(_PREFIXES) and name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
                self._refuse(name, f"is unknown here; {hint}", Reason.UNKNOWN)

    def warn(self, name: str, text: str) -> None:
        """Say that something has no effect."""
        self.warnings.append(no_effect(_field(name), text))

    def _refuse(self, name: str, text: str, reason: Reason = Reason.VALUE) -> None:
        self.wrong.append(Problem(_field(name), text, reason))

    def _or(self, name: str, read: Callable[[str], T], default: T) -> T:
        value = self.take(name, read)
        return default if value is None else value


def _field(name: str) -> str:
    return f'metadata.annotations["{name}"]'


def _duration(text: str) -> timedelta:
    """As GEP-2257 has it; Linkerd takes a bare 0 and days as well."""
    if text == "0":
        return timedelta()
    if _DAYS.fullmatch(text):
        return timedelta(days=int(text[:-1]))
    return gateway_duration(text)


def _number(least: int, most: int) -> Callable[[str], int]:
    check = between(least, most)

    def read(text: str) -> int:
        if _NUMBER.fullmatch(text) is None:
            raise wrong(f"is {say(text)}; it is a number, {least}-{most}")
        return check(int(text))

    return read


def _decimal(most: int) -> Callable[[str], float]:
    def read(text: str) -> float:
        if _DECIMAL.fullmatch(text) is None or float(text) > most:
            raise wrong(f"is {say(text)}; it is a number from 0 to {most}, such as 0.5")
        return float(text)

    return read


def _statuses(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_status_range(part) for part in text.split(","))


def _status_range(text: str) -> tuple[int, int]:
    word = text.strip().lower()
    if word == "5xx":
        return 500, 599
    if word == "gateway-error":
        return 502, 504
    first, dash, last = word.partition("-")
    if _is_status(first) and (not dash or _is_status(last)):
        found = int(first), int(last or first)
        if found[0] <= found[1]:
            return found
    raise wrong(
        f"has {say(text.strip())}; it is a list of 5xx, gateway-error, statuses and ranges such as 500-504"
    )


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit() and 100 <= int(text) <= 599


def _grpc_statuses(text: str) -> frozenset[RetryOn]:
    words = [part.strip().lower() for part in text.split(",")]
    for word in words:
        if word not in _GRPC:
            raise wrong(f"has {say(word)}; it is a list of {', '.join(_GRPC)}")
    return frozenset(_GRPC[word] for word in words)


def _accrual_mode(text: str) -> str:
    if text not in {"consecutive", "unified"}:
        raise wrong(f"is {say(text)}; it is consecutive or unified")
    return text


def _port_ranges(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(_port_range(part.strip()) for part in text.split(",") if part.strip())


def _port_range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if all(_NUMBER.fullmatch(part) for part in (first, last if dash else first)):
        found = int(first), int(last or first)
        if 1 <= found[0] <= found[1] <= 65535:
            return found
    raise wrong(f"has {say(text)}; it is a list of ports and ranges such as 3306,8000-8010")
