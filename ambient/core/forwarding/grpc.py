"""gRPC as a proxy sees it: which requests are of it, how long they may take, and how they are told of an error.

Source: gRPC's PROTOCOL-HTTP2.md and http-grpc-status-mapping.md; 429 is RESOURCE_EXHAUSTED, as in Linkerd.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_TYPE: Final = "application/grpc"
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MOST_DIGITS: Final = 8
_PLAIN: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Status(IntEnum):
    """Statuses of a call."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_STATUSES: Final = {int(status): status for status in Status}
FAILURES: Final = frozenset(
    (
        Status.DEADLINE_EXCEEDED,
        Status.PERMISSION_DENIED,
        Status.INTERNAL,
        Status.UNAVAILABLE,
        Status.DATA_LOSS,
    )
)
"""What counts as a failure of the application. Source: Linkerd."""
_OF_HTTP: Final = {
    200: Status.OK,
    400: Status.INTERNAL,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.UNIMPLEMENTED,
    408: Status.DEADLINE_EXCEEDED,
    429: Status.RESOURCE_EXHAUSTED,
    500: Status.UNAVAILABLE,
    502: Status.UNAVAILABLE,
    503: Status.UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED,
}
"""Of what we answer. 500 is what the Gateway API has for a backend that is none, and UNAVAILABLE for a GRPCRoute."""


def is_grpc(content_type: str | None) -> bool:
    """Whether a message of this type is of a call; gRPC-Web is not, which is plain HTTP."""
    if content_type is None or not content_type.startswith(CONTENT_TYPE):
        return False
    return content_type[len(CONTENT_TYPE) : len(CONTENT_TYPE) + 1] in {"", "+", ";"}


def status_of(http_status: int) -> Status:
    """What a call is told where HTTP would be answered with this status."""
    return _OF_HTTP.get(http_status, Status.UNKNOWN)


def named(status: str) -> Status | None:
    """The status of a name such as ``UNAVAILABLE``, or of its number."""
    if status.isascii() and status.isdigit():
        return _STATUSES.get(int(status[:3]))
    return Status.__members__.get(status.upper())


def status_in(fields: Iterable[tuple[str, str]]) -> int | None:
    """What headers or trailers say of the call; None: nothing. What is no number is UNKNOWN."""
    for name, value in fields:
        if name == "grpc-status":
            return int(value) if value.isascii() and value.isdigit() and len(value) <= 3 else Status.UNKNOWN
    return None


def timeout_seconds(text: str | None) -> float | None:
    """What ``grpc-timeout`` says; None where it says nothing that can be read."""
    if not text or len(text) > _MOST_DIGITS + 1:
        return None
    unit, digits = _UNITS.get(text[-1]), text[:-1]
    if unit is None or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits) * unit


def message(text: str) -> str:
    """A text as ``grpc-message`` carries it."""
    return quote(text, safe=_PLAIN)
