"""Takes spans by OTLP over gRPC, and says each of them."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from common import say
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(
            export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )


def export(request: Any, _: object) -> Any:
    for spoken in request.resource_spans:
        speaker = {one.key: one.value.string_value for one in spoken.resource.attributes}
        # Older versions of the library have another name for the same field.
        for scope in getattr(spoken, "scope_spans", None) or spoken.instrumentation_library_spans:
            for span in scope.spans:
                say(
                    event="span",
                    service=speaker["service.name"],
                    trace=span.trace_id.hex(),
                    span=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.kind,
                    error=span.status.message,
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                    attributes={
                        one.key: one.value.string_value or one.value.int_value for one in span.attributes
                    },
                )
    return ExportTraceServiceResponse()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Service(),))
    server.add_insecure_port(f"0.0.0.0:{arguments.port}")
    server.start()
    say(event="listening", port=arguments.port)
    server.wait_for_termination()


main()
