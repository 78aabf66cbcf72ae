"""What a trace is told of one request: a span for the request, and one for each attempt within it.

Attributes are named as OpenTelemetry's semantic conventions have it, and after Istio's where an operator wants those too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ambient.core.model.telemetry import EnvironmentTag, FormattedTag, HeaderTag, LiteralTag
from ambient.core.observation import UNKNOWN, Party

if TYPE_CHECKING:
    from ambient.core.model.telemetry import Tag
    from ambient.core.model.workload import Workload
    from ambient.core.reporting import Spans
    from ambient.core.request_observation import Attempt, RequestObservation

Value: TypeAlias = str | int | bool
Attributes: TypeAlias = dict[str, Value]

LONGEST_VALUE: Final = 256
"""Source: Envoy's default for what a tag holds of a path."""
_METHODS: Final = frozenset(["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"])
_COMMAND: Final = re.compile(r"%([A-Z_]+)(?:\(([^)]*)\))?%")


class SpanKind(IntEnum):
    """On which end of a request a span is; numbers are OTLP's."""

    SERVER = 2
    CLIENT = 3


class Span(NamedTuple):
    """One piece of work."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty: the trace begins with it."""
    state: str
    name: str
    kind: SpanKind
    began: float
    """In seconds since 1970."""
    ended: float
    attributes: Mapping[str, Value]
    error: str | None
    """What went wrong; None: nothing did."""


def spans_of(
    seen: RequestObservation, spans: Spans, offset: float, environment: Mapping[str, str]
) -> Iterator[Span]:
    """Spans of one request, of which something is told. ``offset`` from its clock to seconds since 1970."""
    trace = seen.trace
    if trace is None or not trace.is_told:
        return
    context, common = trace.context, _common(seen)
    is_failed = seen.status >= 500 or seen.status == 0 or _is_failed_call(seen)
    yield Span(
        context.trace_id,
        context.span_id,
        trace.parent_id,
        context.state,
        _name(seen),
        SpanKind.SERVER,
        seen.began + offset,
        seen.ended + offset,
        common | _of_request(seen) | _of_istio(seen, spans) | _of_tags(seen, spans.tags, environment),
        (seen.detail or _error(seen)) if is_failed else None,
    )
    for number, attempt in enumerate(seen.attempts):
        if attempt.span:
            yield Span(
                context.trace_id,
                attempt.span,
                context.span_id,
                context.state,
                _name(seen),
                SpanKind.CLIENT,
                attempt.began + offset,
                attempt.ended + offset,
                common | _of_attempt(attempt, number),
                None if _is_good(attempt) else _error_of(attempt),
            )


def _name(seen: RequestObservation) -> str:
    """Of few values: the method and whom it is for."""
    method = seen.method if seen.method in _METHODS else "HTTP"
    return method if seen.service is None else f"{method} {seen.service.hostname}"


def _is_failed_call(seen: RequestObservation) -> bool:
    return seen.notes.is_grpc and seen.grpc_status not in {0, None}


def _is_good(attempt: Attempt) -> bool:
    return attempt.reason is None and attempt.status is not None and attempt.status < 500


def _error(seen: RequestObservation) -> str:
    if seen.reason is not None:
        return seen.reason.value
    return f"grpc {seen.grpc_status}" if _is_failed_call(seen) else str(seen.status)


def _error_of(attempt: Attempt) -> str:
    return str(attempt.status) if attempt.reason is None else attempt.reason.value


def _common(seen: RequestObservation) -> Attributes:
    known = seen.method in _METHODS
    found: Attributes = {
        "http.request.method": seen.method if known else "_OTHER",
        # A query may hold a token.
        "url.path": _cut(seen.path.partition("?")[0]),
        "url.scheme": "http",
    }
    if not known:
        found["http.request.method_original"] = _cut(seen.method)
    if seen.notes.is_grpc:
        service, _, method = seen.path.strip("/").partition("/")
        found |= {"rpc.system": "grpc", "rpc.service": _cut(service), "rpc.method": _cut(method)}
    return found


def _of_request(seen: RequestObservation) -> Attributes:
    notes = seen.notes
    found: Attributes = {
        "server.address": _cut(seen.authority),
        "client.address": str(seen.source.ip),
        "network.protocol.name": "http",
        "network.protocol.version": seen.version.value.partition("/")[2],
        "http.response.status_code": seen.status,
        "http.request.body.size": seen.received,
        "http.response.body.size": seen.sent,
        "response_flags": seen.flag.value,
        "ambient.attempts": len(seen.attempts),
    }
    if notes.request_id:
        found["guid:x-request-id"] = notes.request_id
    if notes.rule:
        found["http.route"] = notes.rule
    if seen.grpc_status is not None:
        found["rpc.grpc.status_code"] = seen.grpc_status
    if seen.reason is not None:
        found["error.type"] = seen.reason.value
    for name, value in seen.headers:
        if name == "user-agent":
            found["user_agent.original"] = _cut(value)
    return found


def _of_attempt(attempt: Attempt, number: int) -> Attributes:
    found: Attributes = {"network.peer.address": str(attempt.address.ip)}
    found["network.peer.port"] = attempt.address.port
    if number:
        found["http.request.resend_count"] = number
    if attempt.status is not None:
        found["http.response.status_code"] = attempt.status
    if attempt.reason is not None:
        found["error.type"] = attempt.reason.value
    if attempt.endpoint is not None:
        found["ambient.endpoint"] = f"{attempt.endpoint.namespace}/{attempt.endpoint.name}"
    return found


def _of_istio(seen: RequestObservation, spans: Spans) -> Attributes:
    if not spans.has_istio_tags:
        return {}
    return {
        **_of_workload("source", seen.caller),
        **_of_workload("destination", seen.endpoint),
        "istio.source_principal": str(seen.identity),
    }


def _of_workload(side: str, workload: Workload | None) -> Attributes:
    party = Party.of(workload)
    return {
        f"istio.{side}_workload": party.workload or UNKNOWN,
        f"istio.{side}_namespace": party.namespace or UNKNOWN,
        f"istio.{side}_canonical_service": party.app or UNKNOWN,
        f"istio.{side}_canonical_revision": party.version or UNKNOWN,
    }


# Tags of an operator's own


def _of_tags(seen: RequestObservation, tags: Mapping[str, Tag], environment: Mapping[str, str]) -> Attributes:
    found: Attributes = {}
    for name, tag in tags.items():
        value = _cut(_tagged(seen, tag, environment))
        if value:
            found[name] = value
    return found


def _tagged(seen: RequestObservation, tag: Tag, environment: Mapping[str, str]) -> str:
    match tag:
        case LiteralTag(value):
            return value
        case HeaderTag(name, default):
            return _header(seen, name, default)
        case EnvironmentTag(name, default):
            return environment.get(name, default)
        case FormattedTag(value):
            return _COMMAND.sub(lambda command: _command(seen, command[1], command[2]), value)


def _header(seen: RequestObservation, name: str, default: str) -> str:
    return next((value for key, value in seen.headers if key == name), default)


def _command(seen: RequestObservation, name: str, argument: str | None) -> str:
    """One of Envoy's; ``-`` where there is no such thing."""
    match name:
        case "REQ":
            return next((found for one in (argument or "").split("?") if (found := _request(seen, one))), "-")
        case "PROTOCOL":
            return seen.version.value
        case "RESPONSE_CODE":
            return str(seen.status)
        case "RESPONSE_CODE_DETAILS":
            return "-" if seen.reason is None else seen.reason.value
        case "RESPONSE_FLAGS":
            return seen.flag.value
        case "DURATION":
            return f"{(seen.ended - seen.began) * 1000:.0f}"
        case "BYTES_RECEIVED":
            return str(seen.received)
        case "BYTES_SENT":
            return str(seen.sent)
        case "UPSTREAM_HOST":
            return str(seen.attempts[-1].address) if seen.attempts else "-"
        case "DOWNSTREAM_REMOTE_ADDRESS":
            return str(seen.source)
        case "DOWNSTREAM_PEER_URI_SAN":
            return str(seen.identity)
        case _:
            return "-"


def _request(seen: RequestObservation, name: str) -> str:
    match name.lower():
        case ":method":
            return seen.method
        case ":path":
            return seen.path.partition("?")[0]
        case ":authority" | "host":
            return seen.authority
        case other:
            return _header(seen, other, "")


def _cut(text: str) -> str:
    return text[:LONGEST_VALUE]
