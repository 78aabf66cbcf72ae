"""Routes: what is done with the requests for a service, whichever dialect said so.

All questions of precedence are settled: of a service's tables, the first that is for the caller, the port and the
protocol counts; of its rules, the first with a match that holds (``ambient.core.routing``). Durations of zero switch a
limit off; None leaves it to the program that enforces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from immutables import Map

from ambient.core.model.authorization import IpNetwork
from ambient.core.model.traffic import Persistence, RetryBudget, TrafficPolicies


class Origin(NamedTuple):
    """The object and the field of it that something was read from."""

    kind: str
    namespace: str
    name: str
    field: str = ""
    """Such as ``spec.http[1]``."""

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name} {self.field}".rstrip()


# What a request must be


class TextMatchKind(Enum):
    """How a text is compared. REGEX: RE2 syntax, and the whole text must fit."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    REGEX = "regex"
    PRESENT = "present"


class TextMatch(NamedTuple):
    """One pattern; ``value`` is empty for PRESENT."""

    kind: TextMatchKind
    value: str
    ignore_case: bool = False


class PathMatchKind(Enum):
    """How a path (without its query) is compared.

    PREFIX is one of characters (Istio's), SEGMENTS one of whole elements (Gateway API's): ``/a`` is for ``/a`` and
    ``/a/b`` and not for ``/ab``. REGEX: RE2 syntax, and the whole path must fit.

    Of gRPC, a method of a service is EXACT ``/package.Service/Method``, a service SEGMENTS ``/package.Service``, and a
    method of any service REGEX ``/[^/]+/Method``.
    """

    EXACT = "exact"
    PREFIX = "prefix"
    SEGMENTS = "segments"
    REGEX = "regex"


class PathMatch(NamedTuple):
    """One pattern of paths."""

    kind: PathMatchKind
    value: str
    ignore_case: bool = False


class HeaderMatch(NamedTuple):
    """A header must fit, or with ``inverted`` must not; one that is missing fits nothing."""

    name: str
    """In lower case."""
    match: TextMatch
    inverted: bool = False


class QueryMatch(NamedTuple):
    """A query parameter must fit; its first value counts."""

    name: str
    match: TextMatch


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Everything that is given must hold. Nothing given: every request."""

    path: PathMatch | None = None
    method: TextMatch | None = None
    scheme: TextMatch | None = None
    authority: TextMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    queries: tuple[QueryMatch, ...] = ()
    ports: frozenset[int] = frozenset()
    """Of the service."""
    source_namespace: str = ""
    source_labels: Map[str, str] = Map()  # noqa: RUF009
    server_names: tuple[str, ...] = ()
    """SNI, with ``*.`` for any subdomain; for TLS that nobody terminates."""
    destinations: tuple[IpNetwork, ...] = ()
    """Networks that the address that was called is in; for TCP and TLS."""


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each of these; none given: holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these; none given: does not hold."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    condition: Condition


Condition: TypeAlias = RouteMatch | AllOf | AnyOf | Not


# What is done with it


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """Changes to headers, in this order: set, add, remove. Names in lower case."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


class PathRewriteKind(Enum):
    """What of the path is replaced: all of it, the prefix that matched, or what a regex finds."""

    FULL = "full"
    PREFIX = "prefix"
    REGEX = "regex"


class PathRewrite(NamedTuple):
    """A new path."""

    kind: PathRewriteKind
    value: str
    """For REGEX with ``\\1`` for a group."""
    pattern: str = ""
    """For REGEX alone: RE2 syntax."""


class Rewrite(NamedTuple):
    """Another path or authority for the backend."""

    path: PathRewrite | None = None
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Cors:
    """Source: Gateway API's HTTPCORSFilter and Istio's CorsPolicy."""

    allow_origins: tuple[TextMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: timedelta | None = None
    allow_credentials: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A share of requests is held up, or answered with an error; shares are of 0 to 1."""

    delay: timedelta = timedelta()
    delayed_share: float = 0.0
    abort_status: int = 0
    """HTTP status; 0: none."""
    abort_grpc_status: str = ""
    """Such as ``UNAVAILABLE``; empty: none."""
    aborted_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Filters:
    """What is done to a request and its response on the way."""

    request_headers: HeaderEdits = HeaderEdits()
    response_headers: HeaderEdits = HeaderEdits()
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """Where requests may go, and how many of them in proportion to its siblings."""

    service: str
    """``namespace/hostname``."""
    port: int | None = None
    """Of that service; None: the one that was called."""
    subset: str = ""
    """By name, of that service's ``TrafficPolicies``; empty: all of its endpoints."""
    weight: int = 1
    filters: Filters = Filters()
    trouble: str = ""
    """Why it can serve nothing, with a remedy: its share of requests fails with 500. Empty: it can."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A share (0 to 1) of requests is also sent there, and the answer thrown away."""

    backend: Backend
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to one of these, drawn by weight. None, or all of weight 0: 500."""

    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with a redirection; what is empty stays as the request has it."""

    status: int = 302
    scheme: str = ""
    authority: str = ""
    port: int | None = None
    path: PathRewrite | None = None


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer without asking anyone."""

    status: int
    body: str = ""


Action: TypeAlias = Forward | Redirect | Respond


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long things may take."""

    request: timedelta | None = None
    """All of it, retries included."""
    attempt: timedelta | None = None
    """One try."""
    response: timedelta | None = None
    """From the end of the request to the end of the response."""
    idle: timedelta | None = None
    """Without a byte in either direction."""
    last_attempt_unlimited: bool = False
    """Whether ``attempt`` does not count for the last try. Source: Linkerd's ``retry.linkerd.io/timeout``."""


class RetryOn(Enum):
    """What is tried again. Source: Envoy's ``retry_on`` words, and gRPC's statuses."""

    CONNECT_FAILURE = "connect-failure"
    REFUSED_STREAM = "refused-stream"
    RESET = "reset"
    RESET_BEFORE_REQUEST = "reset-before-request"
    GATEWAY_ERROR = "gateway-error"
    SERVER_ERROR = "5xx"
    RETRIABLE_4XX = "retriable-4xx"
    RATE_LIMITED = "envoy-ratelimited"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline-exceeded"
    INTERNAL = "internal"
    RESOURCE_EXHAUSTED = "resource-exhausted"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request is sent again."""

    attempts: int
    """Tries after the first one; 0: never again."""
    on: frozenset[RetryOn] = frozenset()
    codes: tuple[tuple[int, int], ...] = ()
    """Ranges of HTTP statuses, both ends included, of real responses."""
    backoff: timedelta | None = None
    """The least time before another try, which may grow with each."""
    after_timeout: bool = False
    """Whether a try that took longer than ``Timeouts.attempt`` is followed by another."""
    any_method: bool = False
    """Whether a request that is not idempotent and may have reached the application is sent again as well."""


DEFAULT_RETRY: Final = Retry(
    attempts=2,
    on=frozenset({RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM, RetryOn.UNAVAILABLE, RetryOn.CANCELLED}),
)
"""What a rule has that says nothing of retries. Source: Istio; not 503, which pays orders twice (istio#50506)."""


@dataclass(frozen=True, slots=True)
class ResponseClass:
    """What a range of HTTP statuses (both ends included) is counted as."""

    first: int
    last: int
    is_failure: bool
    inverted: bool = False
    """Whether it is of the statuses outside the range."""


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One rule."""

    origin: Origin
    action: Action
    matches: tuple[RouteMatch, ...] = (RouteMatch(),)
    """One of these must hold; never empty."""
    name: str = ""
    filters: Filters = Filters()
    timeouts: Timeouts = Timeouts()
    retry: Retry | None = None
    """None: DEFAULT_RETRY."""
    persistence: Persistence | None = None
    """None: as the traffic policy has it."""


class Protocol(Enum):
    """What a table's rules look at."""

    HTTP = "http"
    GRPC = "grpc"
    TLS = "tls"
    TCP = "tcp"


class Unmatched(Enum):
    """What becomes of a request that no rule is for."""

    NOT_FOUND = "not_found"
    """404, or UNIMPLEMENTED for gRPC."""
    SERVICE = "service"
    """It goes to the service that was called."""


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Rules that count together."""

    protocol: Protocol
    rules: tuple[RouteRule, ...]
    unmatched: Unmatched
    ports: frozenset[int] = frozenset()
    """Of the service; empty: every port."""
    consumer: str = ""
    """A namespace whose callers alone it is for; empty: every caller."""


@dataclass(frozen=True, slots=True)
class ProfileRoute:
    """A kind of request, and what is set for it where the rule that carries it sets nothing.

    Source: Linkerd's ServiceProfile, and its annotations.
    """

    origin: Origin
    name: str
    condition: Condition
    timeouts: Timeouts = Timeouts()
    retry: Retry | None = None
    responses: tuple[ResponseClass, ...] = ()
    """The first that fits says whether a response is a failure; if none does, 5xx is."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Kinds of requests, of which the first that fits a request counts, whichever rule carries it."""

    routes: tuple[ProfileRoute, ...] = ()
    budget: RetryBudget | None = None
    """Shared by all of its routes; None: as the traffic policy has it."""


@dataclass(frozen=True, slots=True)
class ServiceRoutes:
    """All that is said of the requests for one service.

    What is set for the callers of one namespace stands in place of what is set for all.
    """

    service: str
    """``namespace/hostname``, its name in the mesh."""
    tables: tuple[RouteTable, ...] = ()
    """In the order of asking; if none is for a caller and port, requests go to the service."""
    profile: Profile = Profile()
    profile_consumers: Map[str, Profile] = Map()  # noqa: RUF009
    """By the callers' namespace."""
    traffic: TrafficPolicies = TrafficPolicies()  # noqa: RUF009
    traffic_consumers: Map[str, TrafficPolicies] = Map()  # noqa: RUF009
    """By the callers' namespace."""
