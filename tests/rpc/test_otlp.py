"""Spans reach a real server that speaks the service of OTLP."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ambient.core.errors import ConfigError
from ambient.core.spans import Span, SpanKind
from ambient.rpc import otlp
from ambient.rpc.otlp import LARGEST_BATCH, METHOD, Collector, Exporter
from ambient.rpc.pb.ambient.otlp.v1.trace_pb2 import ExportTracePartialSuccess, ExportTraceServiceResponse

SPAN = Span(
    "0af7651916cd43dd8448eb211c80319c",
    "b7ad6b7169203331",
    "",
    "a=1",
    "GET web",
    SpanKind.SERVER,
    1_800_000_000.25,
    1_800_000_000.5,
    {"text": "é", "number": -7, "truth": True},
    None,
)
OK = ExportTraceServiceResponse()


class Service(grpc.GenericRpcHandler):
    """A collector; each call has the first of ``answers`` that is left, and then OK."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked: list[ExportTraceServiceRequest] = []

    def service(self, handler_call_details):
        if handler_call_details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )

    async def _export(self, request, context):
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else OK
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "not now")
        return answer

    def spans(self):
        return [
            span
            for request in self.asked
            for resource in request.resource_spans
            for scope in scopes(resource)
            for span in scope.spans
        ]


def scopes(resource):
    """``scope_spans``, which older versions of the library have under another name, and where their scope has one too."""
    return getattr(resource, "scope_spans", None) or resource.instrumentation_library_spans


@asynccontextmanager
async def collecting(*answers):
    service, server = Service(*answers), grpc.aio.server()
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    exporter = Exporter(Collector.parse(f"127.0.0.1:{port}"), {"service.name": "waypoint.shop"}, "1.2.3")
    running = asyncio.create_task(exporter.run())
    try:
        yield service, exporter
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(0)


def run(body):
    asyncio.run(asyncio.wait_for(body(), 60))


def test_a_span_arrives_as_it_was():
    async def body():
        async with collecting() as (service, exporter):
            exporter.add(
                [SPAN, SPAN._replace(parent_id="00f067aa0ba902b7", kind=SpanKind.CLIENT, error="reset")]
            )
            await exporter.flush(30)
            assert (exporter.sent, exporter.dropped, exporter.trouble) == (2, 0, "")
            (resource,) = service.asked[0].resource_spans
            assert [(one.key, one.value.string_value) for one in resource.resource.attributes] == [
                ("service.name", "waypoint.shop")
            ]
            (spans,) = scopes(resource)
            scope = spans.scope if hasattr(spans, "scope") else spans.instrumentation_library
            assert (scope.name, scope.version) == ("ambient", "1.2.3")
            server, client = service.spans()
            assert (server.trace_id.hex(), server.span_id.hex()) == (SPAN.trace_id, SPAN.span_id)
            assert (server.parent_span_id, server.trace_state, server.name) == (b"", "a=1", "GET web")
            assert server.start_time_unix_nano == 1_800_000_000_250_000_000
            assert server.end_time_unix_nano - server.start_time_unix_nano == 250_000_000
            attributes = {one.key: one.value for one in server.attributes}
            assert attributes["text"].string_value == "é"
            assert attributes["number"].int_value == -7
            assert attributes["truth"].bool_value is True
            assert (server.kind, client.kind) == (2, 3)
            assert (server.status.code, client.status.code, client.status.message) == (0, 2, "reset")
            assert client.parent_span_id.hex() == "00f067aa0ba902b7"

    run(body)


def test_what_cannot_be_taken_now_is_sent_again_and_once():
    async def body():
        async with collecting(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED) as (
            service,
            exporter,
        ):
            exporter.add([SPAN])
            await exporter.flush(30)
            assert len(service.asked) == 3
            assert (exporter.sent, exporter.dropped, exporter.trouble) == (1, 0, "")

    run(body)


def test_what_the_collector_will_not_have_is_dropped():
    async def body():
        partial = ExportTraceServiceResponse(
            partial_success=ExportTracePartialSuccess(rejected_spans=1, error_message="too old")
        )
        async with collecting(grpc.StatusCode.INVALID_ARGUMENT, partial) as (service, exporter):
            exporter.add([SPAN])
            await exporter.flush(30)
            assert (exporter.sent, exporter.dropped) == (0, 1)
            assert exporter.trouble == "INVALID_ARGUMENT: not now"
            exporter.add([SPAN, SPAN])
            await exporter.flush(30)
            assert (exporter.sent, exporter.dropped, exporter.trouble) == (1, 2, "too old")
            assert len(service.asked) == 2

    run(body)


def test_many_go_in_batches():
    async def body():
        async with collecting() as (service, exporter):
            exporter.add([SPAN] * (2 * LARGEST_BATCH + 1))
            await exporter.flush(30)
            assert len(service.spans()) == exporter.sent == 2 * LARGEST_BATCH + 1
            assert len(service.asked) == 3

    run(body)


def test_while_nobody_answers_so_many_wait_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(otlp, "MOST_WAITING", 10)

    async def body():
        exporter = Exporter(Collector.parse("127.0.0.1:1"), {}, "")
        exporter.add([SPAN] * 25)
        assert exporter.dropped == 15
        running = asyncio.create_task(exporter.run())
        while not exporter.trouble:
            await asyncio.sleep(0.01)
        await exporter.flush(0.01)
        assert exporter.trouble.startswith("UNAVAILABLE")
        assert exporter.sent == 0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(body)


@pytest.mark.parametrize(
    ("text", "collector"),
    [
        ("localhost:4317", Collector("localhost:4317")),
        ("http://10.0.0.1:4317", Collector("10.0.0.1:4317")),
        ("[::1]:4317", Collector("[::1]:4317")),
        ("https://otel.example:443/", Collector("otel.example:443", is_encrypted=True)),
    ],
)
def test_where_a_collector_is(text, collector):
    assert Collector.parse(text) == collector


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", "ftp://a:1", "a:99999", "http://a:1/v1/traces"]
)
def test_what_is_no_such_place(text):
    with pytest.raises(ConfigError, match="--otlp"):
        Collector.parse(text)
