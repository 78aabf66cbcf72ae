"""Spans to a collector, by OTLP over gRPC.

Batches are sent one after the other. What a collector cannot take now is sent again; while it does not answer, spans wait,
as many as there is room for, and the newest are dropped and counted. Source: OTLP 1.3, "Failures".
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import grpc
import grpc.aio

from ambient.aio.backoff import Backoff
from ambient.core.errors import ConfigError
from ambient.core.spans import SpanKind
from ambient.rpc.pb.ambient.otlp.v1 import trace_pb2 as pb

if TYPE_CHECKING:
    from ambient.core.spans import Span, Value

METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
MOST_WAITING: Final = 16_384
LARGEST_BATCH: Final = 512
PAUSE_SECONDS: Final = 1.0
"""How long spans may wait for others to go with them."""
_CALL_SECONDS: Final = 10.0
_PASSING: Final = frozenset(
    (
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)
"""After which a batch is sent again."""
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go."""

    target: str
    """``HOST:PORT``."""
    is_encrypted: bool = False
    """By TLS, under the roots of the system."""

    @classmethod
    def parse(cls, text: str) -> Collector:
        """``HOST:PORT``, or an address of scheme http or https. Raises ConfigError."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "http", text
        try:
            place = urlsplit(f"//{rest}")
            port = place.port
        except ValueError:
            port = None
        if scheme not in {"http", "https"} or not port or not place.hostname or place.path.strip("/"):
            raise ConfigError(f"--otlp {text}: write HOST:PORT, such as localhost:4317, or https://HOST:PORT")
        return cls(place.netloc, scheme == "https")


class Exporter:
    """Sends what it is given; the parent's."""

    def __init__(self, collector: Collector, resource: Mapping[str, str], version: str) -> None:
        """``resource``: attributes of whoever speaks, ``service.name`` among them."""
        self._collector = collector
        self._resource = pb.Resource(attributes=list(_attributes(resource)))
        self._scope = pb.InstrumentationScope(name="ambient", version=version)
        self._waiting: deque[Span] = deque()
        self._arrived, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self.sent = 0
        self.dropped = 0
        """Spans that there was no room for, or that the collector would not have."""
        self.trouble = ""
        """Why the last try failed; empty: it did not."""

    def add(self, spans: Iterable[Span]) -> None:
        """Have spans sent."""
        for span in spans:
            if len(self._waiting) >= MOST_WAITING:
                self.dropped += 1
            else:
                self._waiting.append(span)
        if self._waiting:
            self._arrived.set()
            self._idle.clear()

    async def run(self) -> None:
        """For ever: send what waits."""
        collector = self._collector
        options = list(_OPTIONS)
        if collector.is_encrypted:
            credentials = grpc.ssl_channel_credentials()
            channel = grpc.aio.secure_channel(collector.target, credentials, options)
        else:
            channel = grpc.aio.insecure_channel(collector.target, options)
        try:
            export = channel.unary_unary(
                METHOD,
                request_serializer=pb.ExportTraceServiceRequest.SerializeToString,
                response_deserializer=pb.ExportTraceServiceResponse.FromString,
            )
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    await self._send(export, self._batch())
                self._idle.set()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await channel.close()

    async def flush(self, seconds: float) -> None:
        """Wait until nothing is left to be sent, for so long at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    def _batch(self) -> list[Span]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_BATCH))]

    async def _send(self, export: grpc.aio.UnaryUnaryMultiCallable, batch: list[Span]) -> None:
        """Once it is sent, or cannot be, the batch is gone."""
        request = self._request(batch)
        backoff = Backoff(0.1, 10.0, random.random)
        while True:
            try:
                response = await export(request, timeout=_CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                self.trouble = f"{error.code().name}: {error.details() or 'no more is said'}"
                if error.code() not in _PASSING:
                    self.dropped += len(batch)
                    return
                await asyncio.sleep(backoff.next_delay())
                continue
            self.trouble = response.partial_success.error_message
            rejected = min(max(response.partial_success.rejected_spans, 0), len(batch))
            self.dropped += rejected
            self.sent += len(batch) - rejected
            return

    def _request(self, batch: list[Span]) -> pb.ExportTraceServiceRequest:
        spans = pb.ScopeSpans(scope=self._scope, spans=list(map(_span, batch)))
        return pb.ExportTraceServiceRequest(
            resource_spans=[pb.ResourceSpans(resource=self._resource, scope_spans=[spans])]
        )


_KINDS: Final = {
    SpanKind.SERVER: pb.Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: pb.Span.SPAN_KIND_CLIENT,
}


def _span(span: Span) -> pb.Span:
    status = pb.Status()
    if span.error is not None:
        status = pb.Status(code=pb.Status.STATUS_CODE_ERROR, message=span.error)
    return pb.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        trace_state=span.state,
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=_nanoseconds(span.began),
        end_time_unix_nano=_nanoseconds(span.ended),
        attributes=list(_attributes(span.attributes)),
        status=status,
    )


def _nanoseconds(moment: float) -> int:
    """Of whole microseconds: a float has no more."""
    return round(moment * 1e6) * 1000


def _attributes(attributes: Mapping[str, Value]) -> Iterator[pb.KeyValue]:
    for name, value in attributes.items():
        match value:
            case bool():
                yield pb.KeyValue(key=name, value=pb.AnyValue(bool_value=value))
            case int():
                yield pb.KeyValue(key=name, value=pb.AnyValue(int_value=value))
            case str():
                yield pb.KeyValue(key=name, value=pb.AnyValue(string_value=value))
