"""Traffic policies: how the endpoints of a service are chosen, and how much is asked of them.

None leaves a figure to the program that enforces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TypeAlias

from immutables import Map


@dataclass(frozen=True, slots=True)
class HashHeader:
    """Requests with the same value of a header go together."""

    name: str


@dataclass(frozen=True, slots=True)
class HashCookie:
    """Requests with the same cookie go together; ``ttl``: one is made where there is none."""

    name: str
    path: str = ""
    ttl: timedelta | None = None


@dataclass(frozen=True, slots=True)
class HashQuery:
    """Requests with the same value of a query parameter go together."""

    name: str


@dataclass(frozen=True, slots=True)
class HashSource:
    """Requests from one address go together."""


HashKey: TypeAlias = HashHeader | HashCookie | HashQuery | HashSource


class Simple(Enum):
    """A way of choosing that remembers nothing of a request."""

    LEAST_REQUEST = "least_request"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    PASSTHROUGH = "passthrough"
    """To the address that was called."""


@dataclass(frozen=True, slots=True)
class RingHash:
    """Consistent hashing on a ring of at least ``size`` places."""

    key: HashKey
    size: int = 1024


@dataclass(frozen=True, slots=True)
class Maglev:
    """Consistent hashing by a table of ``size`` (a prime)."""

    key: HashKey
    size: int = 65537


Balancer: TypeAlias = Simple | RingHash | Maglev


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How much is open to all endpoints of a service together."""

    connections: int | None = None
    pending_requests: int | None = None
    requests: int | None = None
    requests_per_connection: int | None = None
    """0: without end."""
    retries: int | None = None
    streams_per_connection: int | None = None
    connect_timeout: timedelta | None = None
    idle_timeout: timedelta | None = None
    longest_connection: timedelta | None = None
    upgrade_to_http2: bool | None = None


@dataclass(frozen=True, slots=True)
class Outlier:
    """When an endpoint is left out for a while. Source: Envoy's outlier detection, by Istio's fields."""

    consecutive_5xx: int | None = None
    """0: not looked at."""
    consecutive_gateway_errors: int | None = None
    consecutive_local_failures: int | None = None
    splits_local_failures: bool = False
    """Whether failures to connect are counted apart from answers."""
    interval: timedelta | None = None
    base_ejection: timedelta | None = None
    """Times the number of ejections so far."""
    most_ejected_percent: int | None = None
    least_healthy_percent: int | None = None


@dataclass(frozen=True, slots=True)
class SuccessRate:
    """An endpoint trips below a share of successes (0 to 1), of at least so many requests in a window."""

    threshold: float = 0.8
    window: timedelta = timedelta(seconds=10)
    least_requests: int = 5


@dataclass(frozen=True, slots=True)
class Accrual:
    """A breaker for each endpoint, with one request as a probe. Source: Linkerd's failure accrual."""

    consecutive_failures: int | None = None
    success_rate: SuccessRate | None = None
    least_penalty: timedelta = timedelta(seconds=1)
    most_penalty: timedelta = timedelta(minutes=1)
    jitter_ratio: float = 0.5


@dataclass(frozen=True, slots=True)
class RatioBudget:
    """Retries up to a share of requests in a window, and so many a second whatever the share."""

    ratio: float
    least_per_second: float
    window: timedelta


@dataclass(frozen=True, slots=True)
class ConcurrencyBudget:
    """Retries under way up to a share of the requests under way, and so many whatever the share."""

    ratio: float
    least: int


RetryBudget: TypeAlias = RatioBudget | ConcurrencyBudget


@dataclass(frozen=True, slots=True)
class LocalityWeights:
    """Of callers in a locality (``region/zone/subzone``, ``*`` for all below), the shares of others, in percent."""

    source: str
    to: Map[str, int]


@dataclass(frozen=True, slots=True)
class LocalityPolicy:
    """Whether, and how, near endpoints come first."""

    is_on: bool = True
    weights: tuple[LocalityWeights, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    """Regions, each with the one that takes over."""
    priorities: tuple[str, ...] = ()
    """Labels whose values caller and endpoint should share, the first most."""


class PersistenceKind(Enum):
    """What carries a session."""

    COOKIE = "cookie"
    HEADER = "header"


@dataclass(frozen=True, slots=True)
class Persistence:
    """A client stays with the endpoint that it was given, while that can serve. Source: GEP-1619."""

    kind: PersistenceKind = PersistenceKind.COOKIE
    name: str = ""
    """Of the cookie or the header; empty: one of the program's own."""
    lifetime: timedelta | None = None
    """After so long another may be given; None: never."""
    is_permanent: bool = False
    """Whether the cookie outlives the client's own session, for ``lifetime``."""


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """One set of settings; what is None is not set."""

    balancer: Balancer | None = None
    limits: ConnectionLimits = ConnectionLimits()
    outlier: Outlier | None = None
    accrual: Accrual | None = None
    budget: RetryBudget | None = None
    warmup: timedelta | None = None
    """How long a new endpoint gets less than its share."""
    locality: LocalityPolicy | None = None
    persistence: Persistence | None = None


@dataclass(frozen=True, slots=True)
class Subset:
    """Some endpoints of a service: those that carry all of these labels."""

    name: str
    labels: Map[str, str]
    policy: TrafficPolicy | None = None
    """In place of the service's; None: the service's."""
    ports: Map[int, TrafficPolicy] = Map()  # noqa: RUF009
    """By service port, each in place of ``policy`` and sharing nothing with it."""


@dataclass(frozen=True, slots=True)
class TrafficPolicies:
    """What holds for a service, its ports and its subsets; a subset's before a port's before the service's."""

    policy: TrafficPolicy = TrafficPolicy()
    ports: Map[int, TrafficPolicy] = Map()  # noqa: RUF009
    """By service port, each in place of ``policy`` and sharing nothing with it."""
    subsets: Map[str, Subset] = Map()  # noqa: RUF009
    """By name."""
    opaque_ports: frozenset[int] = frozenset()
    """Service ports whose bytes nobody looks at."""
