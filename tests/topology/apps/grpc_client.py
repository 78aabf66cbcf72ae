"""Calls ``grpc_server`` in every way, and says in one line what came of each."""

from __future__ import annotations

import argparse
import queue
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from common import say


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    channel = grpc.insecure_channel(f"{arguments.host}:{arguments.port}")
    found = {}
    for name, call in (
        ("unary", unary),
        ("error", error),
        ("deadline", deadline),
        ("cancelled", cancelled),
        ("server_stream", server_stream),
        ("client_stream", client_stream),
        ("conversation", conversation),
    ):
        found[name] = outcome(partial(call, channel))
    say(event="called", **found)


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except grpc.RpcError as failed:
        return {"code": failed.code().name, "details": failed.details()}


def unary(channel: Any) -> Any:
    answer, call = channel.unary_unary("/test.Bytes/Echo").with_call(b"x" * 100_000, timeout=10)
    return {"size": len(answer), "trailers": [list(pair) for pair in call.trailing_metadata()]}


def error(channel: Any) -> Any:
    return channel.unary_unary("/test.Bytes/Fail")(b"DATA_LOSS", timeout=10)


def deadline(channel: Any) -> Any:
    began = time.monotonic()
    try:
        channel.unary_unary("/test.Bytes/Hold")(b"", timeout=0.5)
    except grpc.RpcError as failed:
        return {"code": failed.code().name, "seconds": time.monotonic() - began}
    return None


def cancelled(channel: Any) -> Any:
    call = channel.unary_unary("/test.Bytes/Hold").future(b"", timeout=10)
    time.sleep(0.3)
    call.cancel()
    return call.cancelled()


def server_stream(channel: Any) -> Any:
    return len(list(channel.unary_stream("/test.Bytes/Count")(b"500", timeout=10)))


def client_stream(channel: Any) -> Any:
    return channel.stream_unary("/test.Bytes/Sum")(iter([b"x" * 1000] * 300), timeout=10).decode()


def conversation(channel: Any) -> Any:
    """Each message waits for the answer to the one before it."""
    said: queue.Queue[bytes | None] = queue.Queue()
    answers = channel.stream_stream("/test.Bytes/Talk")(iter(said.get, None), timeout=10)
    heard = []
    for word in (b"one", b"two", b"three"):
        said.put(word)
        heard.append(next(answers).decode())
    said.put(None)
    return [*heard, *(answer.decode() for answer in answers)]


main()
