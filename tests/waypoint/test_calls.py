"""Calls of gRPC from head to tail, with another library's HTTP/2 at both ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from h2.events import (
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from waypoint.stage import API, Http2, Stage, settle, travels

from ambient.core.forwarding.reason import Reason
from ambient.core.model.route import (
    Backend,
    Forward,
    Origin,
    Protocol,
    Retry,
    RetryOn,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Timeouts,
    Unmatched,
)

GRPC = (("content-type", "application/grpc"), ("te", "trailers"))
HEAD = ((":status", "200"), ("content-type", "application/grpc"))
RULE = RouteRule(Origin("GRPCRoute", "shop", "r"), Forward((Backend(API.key, 80),)))
FINE = (("grpc-status", "0"),)
AWAY = (("grpc-status", "14"), ("grpc-message", "away"))


def routes(**fields: object) -> ServiceRoutes:
    rule = replace(RULE, matches=(RouteMatch(),), **fields)  # type: ignore[arg-type]
    return ServiceRoutes(API.key, (RouteTable(Protocol.GRPC, (rule,), Unmatched.NOT_FOUND),))


class Calls:
    """A client and the endpoints that it comes to."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client = Http2(stage.client(http2=True), asks=True)
        self.servers: list[Http2] = []

    async def settle(self) -> None:
        """Let everything be heard."""
        await settle()
        self.servers += [Http2(end, asks=False) for end in self.stage.ends[len(self.servers) :]]
        await settle()

    def asked(self, number: int = -1) -> RequestReceived:
        (request,) = [event for event in self.servers[number].heard() if isinstance(event, RequestReceived)]
        return request


@travels
async def test_a_call_goes_through_with_its_trailers():
    calls = Calls(Stage())
    stream = calls.client.ask(*GRPC)
    calls.client.say(stream, b"hello", ended=True)
    await calls.settle()
    events = calls.servers[0].heard()
    assert [type(event) for event in events] == [RequestReceived, DataReceived, StreamEnded]
    headers = dict(events[0].headers)
    assert (headers[":path"], headers["te"]) == ("/S/M", "trailers")
    server, there = calls.servers[0], events[0].stream_id
    server.tell(there, *HEAD)
    server.say(there, b"answer")
    server.tell(there, *FINE, ended=True)
    await calls.settle()
    answer = calls.client.heard()
    assert [type(event) for event in answer] == [
        ResponseReceived,
        DataReceived,
        TrailersReceived,
        StreamEnded,
    ]
    assert dict(answer[2].headers) == {"grpc-status": "0"}
    (record,) = calls.stage.records
    assert (record.status, record.grpc_status, record.notes.is_grpc) == (200, 0, True)


@travels
async def test_an_error_in_the_head_alone_stays_in_the_head():
    calls = Calls(Stage(routes(retry=Retry(0))))
    calls.client.ask(*GRPC, ended=True)
    await calls.settle()
    calls.servers[0].tell(calls.asked().stream_id, *HEAD, *AWAY, ended=True)
    await calls.settle()
    answer = calls.client.heard()
    assert [type(event) for event in answer] == [ResponseReceived, StreamEnded]
    assert answer[0].stream_ended is not None
    assert dict(answer[0].headers)["grpc-status"] == "14"
    assert calls.stage.records[0].grpc_status == 14


@pytest.mark.parametrize("in_trailers", [True, False])
@travels
async def test_a_call_that_is_unavailable_is_tried_again(in_trailers):
    calls = Calls(
        Stage(
            routes(retry=Retry(1, frozenset({RetryOn.UNAVAILABLE}), backoff=timedelta(), any_method=True)),
            endpoints=2,
        )
    )
    stream = calls.client.ask(*GRPC)
    calls.client.say(stream, b"hello", ended=True)
    await calls.settle()
    first, there = calls.servers[0], calls.asked().stream_id
    if in_trailers:
        first.machine.send_headers(there, HEAD)
        first.tell(there, *AWAY, ended=True)
    else:
        first.tell(there, *HEAD, *AWAY, ended=True)
    await calls.settle()
    assert calls.client.heard() == []
    second = calls.servers[1]
    events = second.heard()
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"hello"]
    second.tell(events[0].stream_id, *HEAD)
    second.tell(events[0].stream_id, *FINE, ended=True)
    await calls.settle()
    assert dict(calls.client.heard()[-2].headers) == {"grpc-status": "0"}
    (record,) = calls.stage.records
    assert [attempt.failure for attempt in record.attempts] == [True, False]


@travels
async def test_a_head_that_comes_before_its_messages_is_passed_on_at_once():
    calls = Calls(Stage())
    calls.client.ask(*GRPC)
    await calls.settle()
    calls.servers[0].tell(calls.asked().stream_id, *HEAD)
    await calls.settle()
    assert [type(event) for event in calls.client.heard()] == [ResponseReceived]


@travels
async def test_a_call_takes_no_longer_than_its_caller_waits():
    calls = Calls(Stage())
    calls.client.ask(*GRPC, ("grpc-timeout", "500m"), ended=True)
    await calls.settle()
    there = calls.asked().stream_id
    await asyncio.sleep(0.6)
    answer = calls.client.heard()
    assert [type(event) for event in answer] == [ResponseReceived, StreamEnded]
    assert dict(answer[0].headers)["grpc-status"] == "4"
    (reset,) = calls.servers[0].heard()
    assert isinstance(reset, StreamReset)
    assert (reset.stream_id, reset.error_code) == (there, 8)
    assert calls.stage.records[0].reason is Reason.TIMED_OUT


@travels
async def test_a_call_that_is_cancelled_is_cancelled_at_its_endpoint():
    calls = Calls(Stage())
    stream = calls.client.ask(*GRPC)
    await calls.settle()
    there = calls.asked().stream_id
    calls.client.reset(stream, 8)
    await calls.settle()
    (reset,) = calls.servers[0].heard()
    assert isinstance(reset, StreamReset)
    assert (reset.stream_id, reset.error_code) == (there, 8)
    assert calls.stage.records[0].reason is Reason.CLIENT_GONE


@travels
async def test_a_refused_stream_is_tried_again_whatever_it_was():
    calls = Calls(Stage(endpoints=2))
    calls.client.ask(*GRPC, ended=True)
    await calls.settle()
    calls.servers[0].reset(calls.asked().stream_id, 7)
    await asyncio.sleep(0.1)
    await calls.settle()
    assert len(calls.servers) == 2
    calls.servers[1].tell(calls.asked(1).stream_id, *HEAD, *FINE, ended=True)
    await calls.settle()
    assert dict(calls.client.heard()[0].headers)["grpc-status"] == "0"


@travels
async def test_a_call_without_an_endpoint_is_unavailable():
    calls = Calls(Stage(endpoints=0))
    calls.client.ask(*GRPC, ended=True)
    await calls.settle()
    answer = calls.client.heard()
    assert [type(event) for event in answer] == [ResponseReceived, StreamEnded]
    headers = dict(answer[0].headers)
    assert (headers[":status"], headers["grpc-status"]) == ("200", "14")
    assert headers["grpc-message"] == f"no endpoints for service: {API.key}"


@travels
async def test_a_response_that_breaks_off_after_a_message_is_reset():
    calls = Calls(Stage())
    calls.client.ask(*GRPC, ended=True)
    await calls.settle()
    there = calls.asked().stream_id
    calls.servers[0].tell(there, *HEAD)
    calls.servers[0].say(there, b"half")
    await calls.settle()
    calls.servers[0].reset(there, 2)
    await calls.settle()
    assert [type(event) for event in calls.client.heard()] == [ResponseReceived, DataReceived, StreamReset]


@travels
async def test_many_calls_share_a_connection():
    calls = Calls(Stage())
    streams = [calls.client.ask(*GRPC, ended=True) for _ in range(20)]
    await calls.settle()
    asked = [event.stream_id for event in calls.servers[0].heard() if isinstance(event, RequestReceived)]
    await calls.settle()
    asked += [event.stream_id for event in calls.servers[0].heard() if isinstance(event, RequestReceived)]
    assert len(asked) == len(streams)
    for there in asked:
        calls.servers[0].tell(there, *HEAD, *FINE, ended=True)
    await calls.settle()
    answered = [event.stream_id for event in calls.client.heard() if isinstance(event, ResponseReceived)]
    assert sorted(answered) == streams
    assert len(calls.stage.ends) == 1


@travels
async def test_requests_of_http2_reach_endpoints_of_http1_and_back():
    stage = Stage(routes(timeouts=Timeouts()), endpoints=1)
    client = stage.client()
    client.say(
        b"POST /S/M HTTP/1.1\r\nhost: api.shop\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n"
    )
    await settle()
    server = Http2(stage.ends[0], asks=False)
    await settle()
    (asked,) = [event for event in server.heard() if isinstance(event, RequestReceived)]
    server.tell(asked.stream_id, *HEAD, *FINE, ended=True)
    await settle()
    assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")
