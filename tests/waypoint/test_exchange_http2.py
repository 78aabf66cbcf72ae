"""Requests in HTTP/2 from head to tail: real machines at both ends and in between, no sockets, and a clock that jumps."""

from __future__ import annotations

from waypoint.stage import Client, Endpoint, Stage, settle, travels

from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.machine import Machine
from ambient.core.http.message import (
    BodyCame,
    Event,
    Fault,
    MessageCut,
    MessageEnded,
    RequestCame,
    RequestHead,
    ResponseCame,
    ResponseHead,
)

CALL = RequestHead(
    "POST", "api.shop", "/a.B/C", (("content-type", "application/grpc"),), length=None, takes_trailers=True
)


class Peer:
    """A machine of a client or an endpoint, which speaks through its end of the waypoint."""

    def __init__(self, machine: Machine, end: Client | Endpoint) -> None:
        self.machine = machine
        self.end = end
        self.heard: list[Event] = []

    def carry(self) -> bool:
        """Whether either had something to say."""
        said = b"".join(self.machine.gather())
        if said:
            self.end.say(said)
        came = self.end.take()
        if came:
            events = self.machine.receive(came)
            self.heard += events
            for event in events:
                if isinstance(event, BodyCame):
                    self.machine.consumed(event.stream, len(event.data))
        return bool(said or came)

    def of_kind(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.heard if isinstance(event, kind)]


async def talk(*peers: Peer) -> None:
    """Until nobody has anything more to say."""
    while True:
        await settle()
        carried = [peer.carry() for peer in peers]
        if not any(carried):
            return


async def call(stage: Stage) -> tuple[Peer, Peer, Http2Client, Http2Server]:
    """A call that has reached its endpoint, and has not ended."""
    asking, asked = Http2Client(), Http2Server()
    client = Peer(asking, stage.client(http2=True))
    stream = asking.request(CALL)
    asking.send(stream, b"one")
    await talk(client)
    (end,) = stage.ends
    server = Peer(asked, end)
    await talk(client, server)
    return client, server, asking, asked


@travels
async def test_a_call_goes_both_ways_and_ends_with_trailers():
    stage = Stage()
    client, server, asking, asked = await call(stage)
    (came,) = server.of_kind(RequestCame)
    assert isinstance(came, RequestCame)
    assert (came.head.method, came.head.path, came.head.takes_trailers) == ("POST", "/a.B/C", True)
    asked.respond(came.stream, ResponseHead(200, (("content-type", "application/grpc"),)))
    asked.send(came.stream, b"first")
    await talk(client, server)
    assert client.of_kind(BodyCame) == [BodyCame(1, b"first")]
    asking.send(1, b"two")
    asking.finish(1)
    await talk(client, server)
    asked.finish(came.stream, (("grpc-status", "0"),))
    await talk(client, server)
    assert b"".join(bytes(part.data) for part in server.heard if isinstance(part, BodyCame)) == b"onetwo"
    assert client.of_kind(MessageEnded) == [MessageEnded(1, (("grpc-status", "0"),))]
    (record,) = stage.records
    assert (record.status, record.reason) == (200, None)
    assert not stage.exchanges.under_way


@travels
async def test_calls_of_many_clients_share_a_connection():
    stage = Stage()
    client, server, _, asked = await call(stage)
    other = Peer(Http2Client(), stage.client(http2=True))
    assert isinstance(other.machine, Http2Client)
    other.machine.request(RequestHead("GET", "api.shop", "/b"), ended=True)
    await talk(client, other, server)
    assert len(stage.ends) == 1
    second = server.of_kind(RequestCame)[1]
    assert isinstance(second, RequestCame)
    asked.respond(second.stream, ResponseHead(204), ended=True)
    await talk(client, other, server)
    (answered,) = other.of_kind(ResponseCame)
    assert isinstance(answered, ResponseCame)
    assert answered.head.status == 204
    assert client.of_kind(ResponseCame) == []


@travels
async def test_a_call_that_is_given_up_is_given_up_for_its_endpoint():
    stage = Stage()
    client, server, asking, _ = await call(stage)
    asking.reset(1)
    await talk(client, server)
    (cut,) = server.of_kind(MessageCut)
    assert isinstance(cut, MessageCut)
    assert cut.fault is Fault.CANCELLED
    assert not stage.exchanges.under_way


@travels
async def test_a_call_that_an_endpoint_refuses_unheard_is_tried_again():
    stage = Stage()
    client, server, _, asked = await call(stage)
    asked.reset(1, Fault.REFUSED)
    await talk(client, server)
    assert [event.stream for event in server.of_kind(RequestCame) if isinstance(event, RequestCame)] == [1, 3]
    assert server.of_kind(BodyCame) == [BodyCame(1, b"one"), BodyCame(3, b"one")]
    assert client.heard == []
    asked.respond(3, ResponseHead(200), ended=True)
    await talk(client, server)
    assert isinstance(client.heard[0], ResponseCame)
