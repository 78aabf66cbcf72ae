"""Answers each unary call of gRPC with what it sees of it, in JSON. For an interpreter that has grpcio."""

from __future__ import annotations

import argparse
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from common import say


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.name = name

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            metadata = [[name, str(value)] for name, value in context.invocation_metadata()]
            return json.dumps({"server": self.name, "method": details.method, "headers": metadata}).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--name", default="grpc")
    arguments = parser.parse_args()
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([Echo(arguments.name)])
    if server.add_insecure_port(f"0.0.0.0:{arguments.port}") != arguments.port:
        raise SystemExit(f"port {arguments.port} cannot be had")
    server.start()
    say(event="listening", port=arguments.port)
    threading.Event().wait()


main()
