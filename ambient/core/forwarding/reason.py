"""Why a request was answered by the waypoint itself, or not to its end."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Flag(Enum):
    """What went wrong, in Envoy's letters, which dashboards know."""

    NONE = "-"
    ABORTED = "FI"
    BROKEN_REQUEST = "DPE"
    BROKEN_RESPONSE = "UPE"
    CLIENT_GONE = "DC"
    DENIED = "UAEX"
    LATE = "UT"
    NO_ENDPOINT = "UH"
    NO_ROUTE = "NR"
    NO_SERVICE = "NC"
    OVERFLOW = "UO"
    OVERLOADED = "OM"
    RATE_LIMITED = "RL"
    RESET = "UR"
    SILENT = "SI"
    UNREACHABLE = "UF"


class Reason(Enum):
    """Why; values are metric labels."""

    AMBIGUOUS_PATH = "ambiguous_path"
    BAD_TOKEN = "bad_token"  # noqa: S105
    DENIED = "denied"
    RATE_LIMITED = "rate_limited"
    NO_ROUTE = "no_route"
    FAULT = "fault"
    BAD_BACKEND = "bad_backend"
    """A rule sends it to what can serve nothing."""
    NO_BACKEND = "no_backend"
    """A rule sends it to nobody."""
    UNKNOWN_SERVICE = "unknown_service"
    UNKNOWN_SUBSET = "unknown_subset"
    NO_ENDPOINTS = "no_endpoints"
    NO_HEALTHY_ENDPOINT = "no_healthy_endpoint"
    NO_TARGET_PORT = "no_target_port"
    NO_ADDRESS = "no_address"
    OTHER_NETWORK = "other_network"
    RECURSIVE = "recursive"
    """The endpoint is the waypoint itself."""
    TOO_MANY_REQUESTS = "too_many_requests"
    TOO_MANY_PENDING = "too_many_pending"
    NOT_CONNECTED = "not_connected"
    """No connection to the endpoint could be had."""
    REFUSED = "refused"
    """The endpoint would not act on it."""
    RESET = "reset"
    """The endpoint cut it, or its connection."""
    MALFORMED = "malformed"
    """The endpoint broke HTTP."""
    TIMED_OUT = "timed_out"
    ATTEMPT_TIMED_OUT = "attempt_timed_out"
    RESPONSE_TIMED_OUT = "response_timed_out"
    IDLE = "idle"
    """Nothing moved for too long."""
    CLIENT_GONE = "client_gone"
    BROKEN_REQUEST = "broken_request"
    """The client broke HTTP within the body of its request."""
    LEAVING = "leaving"
    """The waypoint ends."""
    OVERLOADED = "overloaded"

    @property
    def flag(self) -> Flag:
        """What logs and metrics call it."""
        return _FLAGS[self]

    @property
    def status(self) -> int:
        """What the client is answered, if it can be answered still."""
        return _STATUSES[self]


_TABLE: Final = (
    (Reason.AMBIGUOUS_PATH, 400, Flag.BROKEN_REQUEST),
    (Reason.BAD_TOKEN, 401, Flag.DENIED),
    (Reason.DENIED, 403, Flag.DENIED),
    (Reason.RATE_LIMITED, 429, Flag.RATE_LIMITED),
    (Reason.NO_ROUTE, 404, Flag.NO_ROUTE),
    (Reason.FAULT, 503, Flag.ABORTED),
    (Reason.BAD_BACKEND, 500, Flag.NO_SERVICE),
    (Reason.NO_BACKEND, 500, Flag.NO_SERVICE),
    (Reason.UNKNOWN_SERVICE, 500, Flag.NO_SERVICE),
    (Reason.UNKNOWN_SUBSET, 503, Flag.NO_SERVICE),
    (Reason.NO_ENDPOINTS, 503, Flag.NO_ENDPOINT),
    (Reason.NO_HEALTHY_ENDPOINT, 503, Flag.NO_ENDPOINT),
    (Reason.NO_TARGET_PORT, 503, Flag.NO_ENDPOINT),
    (Reason.NO_ADDRESS, 503, Flag.NO_ENDPOINT),
    (Reason.OTHER_NETWORK, 503, Flag.NO_ENDPOINT),
    (Reason.RECURSIVE, 503, Flag.NO_ENDPOINT),
    (Reason.TOO_MANY_REQUESTS, 503, Flag.OVERFLOW),
    (Reason.TOO_MANY_PENDING, 503, Flag.OVERFLOW),
    (Reason.NOT_CONNECTED, 503, Flag.UNREACHABLE),
    (Reason.REFUSED, 503, Flag.RESET),
    (Reason.RESET, 503, Flag.RESET),
    (Reason.MALFORMED, 502, Flag.BROKEN_RESPONSE),
    (Reason.TIMED_OUT, 504, Flag.LATE),
    (Reason.ATTEMPT_TIMED_OUT, 504, Flag.LATE),
    (Reason.RESPONSE_TIMED_OUT, 504, Flag.LATE),
    (Reason.IDLE, 504, Flag.SILENT),
    (Reason.CLIENT_GONE, 499, Flag.CLIENT_GONE),
    (Reason.BROKEN_REQUEST, 400, Flag.BROKEN_REQUEST),
    (Reason.LEAVING, 503, Flag.OVERLOADED),
    (Reason.OVERLOADED, 503, Flag.OVERLOADED),
)
"""Statuses as Envoy answers them, and 502 for what is not HTTP."""
_STATUSES: Final = {reason: status for reason, status, _ in _TABLE}
_FLAGS: Final = {reason: flag for reason, _, flag in _TABLE}
