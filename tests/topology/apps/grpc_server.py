"""A gRPC service of bytes, of all four kinds: ``Echo`` answers each message, ``Count`` sends so many, ``Sum`` adds up lengths.

``Fail`` ends with the status that it is asked for, ``Hold`` with none before it is cancelled, which it then says.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from common import say


def echo(request: bytes, context: Any) -> bytes:
    said = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-caller", said.get("x-forwarded-for", "")),))
    return request


def fail(request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode[request.decode()], "as asked")
    return b""


def hold(_: bytes, context: Any) -> bytes:
    cancelled = threading.Event()
    context.add_callback(cancelled.set)
    say(event="held")
    cancelled.wait(20)
    say(event="cancelled", cancelled=cancelled.is_set())
    return b""


def count(request: bytes, _: Any) -> Iterator[bytes]:
    for number in range(int(request)):
        yield str(number).encode()


def add(requests: Iterator[bytes], _: Any) -> bytes:
    return str(sum(map(len, requests))).encode()


def talk(requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
    for request in requests:
        yield request.upper()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Hold": grpc.unary_unary_rpc_method_handler(hold),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Sum": grpc.stream_unary_rpc_method_handler(add),
        "Talk": grpc.stream_stream_rpc_method_handler(talk),
    }
    server = grpc.server(futures.ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Bytes", handlers),))
    server.add_insecure_port(f"0.0.0.0:{arguments.port}")
    server.start()
    say(event="listening", port=arguments.port)
    server.wait_for_termination()


main()
