"""Telemetry: what an operator wants reported of the traffic of some workloads. Source: Istio's Telemetry.

What is None, or an empty tuple of providers, is not said, and is as a wider setting has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final, TypeAlias

from immutables import Map

ALL_METRICS: Final = (
    "REQUEST_COUNT",
    "REQUEST_DURATION",
    "REQUEST_SIZE",
    "RESPONSE_SIZE",
    "TCP_OPENED_CONNECTIONS",
    "TCP_CLOSED_CONNECTIONS",
    "TCP_SENT_BYTES",
    "TCP_RECEIVED_BYTES",
    "GRPC_REQUEST_MESSAGES",
    "GRPC_RESPONSE_MESSAGES",
)
"""Istio's standard metrics, by the names of its API."""


class Side(Enum):
    """Who reports: the workload that calls, or the one that is called."""

    CLIENT = "client"
    SERVER = "server"


BOTH: Final = frozenset(Side)


@dataclass(frozen=True, slots=True)
class LiteralTag:
    """Always this text."""

    value: str


@dataclass(frozen=True, slots=True)
class HeaderTag:
    """The value of a request's header."""

    name: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class EnvironmentTag:
    """A variable of the proxy's environment."""

    name: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class FormattedTag:
    """A text with Envoy's ``%…%`` commands."""

    value: str


Tag: TypeAlias = LiteralTag | HeaderTag | EnvironmentTag | FormattedTag


@dataclass(frozen=True, slots=True)
class Tracing:
    """What is said of spans."""

    sides: frozenset[Side] = BOTH
    providers: tuple[str, ...] = ()
    sampled_percent: float | None = None
    tags: Map[str, Tag] | None = None
    is_off: bool | None = None
    propagates: bool | None = None
    """Whether requests go on with the headers of their trace."""
    has_istio_tags: bool | None = None
    samples_by_request_id: bool | None = None


@dataclass(frozen=True, slots=True)
class MetricOverride:
    """What is said of one metric."""

    metric: str = ""
    """One of ALL_METRICS or a name of one's own; empty: all of ALL_METRICS."""
    sides: frozenset[Side] = BOTH
    is_off: bool | None = None
    tags: Map[str, str | None] = Map()  # noqa: RUF009
    """Expressions in CEL by label; None: without the label."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is said of metrics; later overrides count before earlier ones."""

    providers: tuple[str, ...] = ()
    overrides: tuple[MetricOverride, ...] = ()
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AccessLog:
    """What is said of the access log."""

    sides: frozenset[Side] = BOTH
    providers: tuple[str, ...] = ()
    is_off: bool | None = None
    filter: str = ""
    """An expression in CEL that holds for what is logged; empty: everything."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """All that one object says; of each list, later entries count before earlier ones."""

    tracing: tuple[Tracing, ...] = ()
    metrics: tuple[Metrics, ...] = ()
    access_log: tuple[AccessLog, ...] = ()
