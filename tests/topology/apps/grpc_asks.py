"""Makes unary calls of gRPC, each some times at once, on connections of its own. For an interpreter that has grpcio.

The argument is JSON: a list of calls, each with ``to`` (address and port), ``host``, ``method`` and ``headers``.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import grpc
from common import say

CONNECTIONS = 4
"""Among which the calls of one kind are divided."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("calls", type=json.loads)
    parser.add_argument("--times", type=int, default=1)
    arguments = parser.parse_args()
    say(event="asked", answers=[answers(one, arguments.times) for one in arguments.calls])


def answers(asked: dict[str, Any], times: int) -> list[dict[str, Any]]:
    address, port = asked["to"]
    options = [
        ("grpc.default_authority", asked["host"]),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]
    channels = [grpc.insecure_channel(f"{address}:{port}", options) for _ in range(min(CONNECTIONS, times))]
    try:
        calls = [channel.unary_unary(asked["method"]) for channel in channels]
        metadata = list(asked["headers"].items())
        made = [
            calls[number % len(calls)].future(b"", metadata=metadata, timeout=20) for number in range(times)
        ]
        return [answer(call) for call in made]
    finally:
        for channel in channels:
            channel.close()


def answer(call: grpc.Future) -> dict[str, Any]:
    try:
        content = call.result()
    except grpc.RpcError as error:
        return {"status": error.code().value[0], "error": error.details()}
    seen = json.loads(content)
    joined: dict[str, str] = {}
    for name, value in seen["headers"]:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    seen["headers"] = joined
    return {"status": 0, "headers": {}, "seen": seen}


main()
