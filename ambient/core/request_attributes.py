"""What expressions of telemetry may ask of a request. Source: Envoy's list of attributes, as far as a waypoint knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ambient.core.expressions import Expression, read
from ambient.core.forwarding.plan import joined

if TYPE_CHECKING:
    from ambient.core.request_observation import RequestObservation

_KNOWN: Final[Mapping[str, Callable[[RequestObservation], object]]] = {
    "request.path": lambda seen: seen.path,
    "request.url_path": lambda seen: seen.path.partition("?")[0],
    "request.query": lambda seen: seen.path.partition("?")[2],
    "request.host": lambda seen: seen.authority,
    "request.scheme": lambda _: "http",
    "request.method": lambda seen: seen.method,
    "request.headers": lambda seen: joined(seen.headers),
    "request.useragent": lambda seen: joined(seen.headers).get("user-agent", ""),
    "request.referer": lambda seen: joined(seen.headers).get("referer", ""),
    "request.id": lambda seen: seen.notes.request_id,
    "request.protocol": lambda seen: seen.version.value,
    "request.size": lambda seen: seen.received,
    "response.code": lambda seen: seen.status,
    "response.code_details": lambda seen: "via_upstream" if seen.reason is None else seen.reason.value,
    "response.grpc_status": lambda seen: _there(seen.grpc_status, "response.grpc_status"),
    "response.size": lambda seen: seen.sent,
    "source.address": lambda seen: str(seen.source),
    "source.port": lambda seen: seen.source.port,
    "destination.address": lambda seen: str(seen.target),
    "destination.port": lambda seen: seen.target.port,
    "connection.mtls": lambda _: True,
    "connection.uri_san_peer_certificate": lambda seen: str(seen.identity),
    "upstream.address": lambda seen: str(seen.attempts[-1].address) if seen.attempts else "",
    "upstream.request_attempt_count": lambda seen: len(seen.attempts),
    "route_name": lambda seen: seen.notes.rule,
}
KNOWN: Final = frozenset(_KNOWN)
"""Names of attributes."""


def of_request(text: str) -> Expression:
    """An expression about requests. Raises ExpressionError."""
    return read(text, KNOWN)


def attributes_of(seen: RequestObservation) -> Callable[[str], object]:
    """Attributes of one request, each looked up when it is asked for."""
    return lambda name: _KNOWN[name](seen)


def _there(value: object, name: str) -> object:
    if value is None:
        raise KeyError(name)
    return value
