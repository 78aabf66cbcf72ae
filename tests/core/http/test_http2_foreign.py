"""Our ends of HTTP/2 with those of another library, which shares no code with ours."""

from __future__ import annotations

from typing import TypeVar

import h2.events
from core.http.http2_peers import body_of, trailers_of
from h2.config import H2Configuration
from h2.connection import H2Connection

from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.machine import Machine
from ambient.core.http.message import (
    BodyCame,
    Event,
    Fault,
    InformationCame,
    MessageCut,
    MessageEnded,
    PeerLeaving,
    RequestCame,
    RequestHead,
    ResponseCame,
    ResponseHead,
)

T = TypeVar("T", bound=h2.events.Event)
BODY = bytes(range(256)) * 1000
"""More than the windows of either end."""
HEADERS = (("user-agent", "h2"), ("cookie", "a=1; b=2"))


class Conversation:
    """One of our machines and one of theirs; what each hears is kept, and bodies are consumed as they come."""

    def __init__(self, machine: Machine, *, they_ask: bool) -> None:
        self.ours = machine
        self.theirs = H2Connection(H2Configuration(client_side=they_ask, header_encoding="latin-1"))
        self.we_heard: list[Event] = []
        self.they_heard: list[h2.events.Event] = []
        self.theirs.initiate_connection()
        self.exchange()

    def exchange(self) -> None:
        is_quiet = False
        while not is_quiet:
            said = self.theirs.data_to_send()
            events = self.ours.receive(said)
            while not self.ours.heard_all:
                events += self.ours.receive(b"")
            for event in events:
                if isinstance(event, BodyCame):
                    self.ours.consumed(event.stream, len(event.data))
            self.we_heard += events
            answered = b"".join(self.ours.gather())
            is_quiet = not (said or answered)
            if answered:
                for heard in self.theirs.receive_data(answered):
                    self.they_heard.append(heard)
                    if isinstance(heard, h2.events.DataReceived):
                        self.theirs.acknowledge_received_data(heard.flow_controlled_length, heard.stream_id)

    def they_send(self, stream: int, data: bytes) -> None:
        while data:
            room = min(self.theirs.local_flow_control_window(stream), 16_384)
            assert room, "our end does not give its window back"
            self.theirs.send_data(stream, data[:room])
            data = data[room:]
            self.exchange()

    def of_kind(self, kind: type[T]) -> list[T]:
        return [heard for heard in self.they_heard if isinstance(heard, kind)]


def test_their_client_is_served() -> None:
    talk = Conversation(Http2Server(), they_ask=True)
    asked = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "shop"), *HEADERS]
    talk.theirs.send_headers(1, asked)
    talk.they_send(1, BODY)
    talk.theirs.send_headers(1, [("x-sum", "1")], end_stream=True)
    talk.exchange()
    assert talk.we_heard[0] == RequestCame(1, RequestHead("POST", "shop", "/", HEADERS, length=None))
    assert body_of(talk.we_heard, 1) == BODY
    assert trailers_of(talk.we_heard, 1) == (("x-sum", "1"),)
    talk.ours.inform(1, 103, (("link", "</x>"),))
    talk.ours.respond(1, ResponseHead(200, (("server", "us"),), len(BODY)))
    talk.ours.send(1, BODY)
    talk.ours.finish(1, (("grpc-status", "0"),))
    talk.exchange()
    assert [heard.headers for heard in talk.of_kind(h2.events.InformationalResponseReceived)] == [
        [(":status", "103"), ("link", "</x>")]
    ]
    assert b"".join(heard.data for heard in talk.of_kind(h2.events.DataReceived)) == BODY
    assert [heard.headers for heard in talk.of_kind(h2.events.TrailersReceived)] == [[("grpc-status", "0")]]
    assert talk.of_kind(h2.events.StreamReset) == []


def test_their_client_that_is_answered_early_takes_the_answer_and_stops() -> None:
    talk = Conversation(Http2Server(), they_ask=True)
    talk.theirs.send_headers(
        1, [(":method", "PUT"), (":scheme", "http"), (":path", "/"), (":authority", "shop")]
    )
    talk.exchange()
    talk.ours.respond(1, ResponseHead(413, length=3))
    talk.ours.send(1, b"big")
    talk.ours.finish(1)
    talk.exchange()
    kinds = [type(heard) for heard in talk.they_heard if getattr(heard, "stream_id", 0) == 1]
    assert kinds == [
        h2.events.ResponseReceived,
        h2.events.DataReceived,
        h2.events.StreamEnded,
        h2.events.StreamReset,
    ]
    assert isinstance(talk.we_heard[-1], MessageCut)


def test_their_server_is_asked() -> None:
    talk = Conversation(Http2Client(), they_ask=False)
    stream = talk.ours.request(RequestHead("POST", "shop", "/a?b", HEADERS, length=len(BODY)))
    talk.ours.send(stream, BODY)
    talk.ours.finish(stream)
    talk.exchange()
    [asked] = talk.of_kind(h2.events.RequestReceived)
    assert sorted(asked.headers) == sorted(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "shop"),
            (":path", "/a?b"),
            ("content-length", str(len(BODY))),
            *HEADERS,
        ]
    )
    assert b"".join(heard.data for heard in talk.of_kind(h2.events.DataReceived)) == BODY
    talk.theirs.send_headers(stream, [(":status", "100")])
    talk.theirs.send_headers(stream, [(":status", "200"), ("server", "them")])
    talk.they_send(stream, BODY)
    talk.theirs.send_headers(stream, [("grpc-status", "0")], end_stream=True)
    talk.exchange()
    assert [event for event in talk.we_heard if not isinstance(event, BodyCame)] == [
        InformationCame(stream, 100, ()),
        ResponseCame(stream, ResponseHead(200, (("server", "them"),))),
        MessageEnded(stream, (("grpc-status", "0"),)),
    ]
    assert body_of(talk.we_heard, stream) == BODY


def test_their_server_that_leaves_is_told_nothing_more() -> None:
    talk = Conversation(Http2Client(), they_ask=False)
    for _ in range(2):
        talk.ours.request(RequestHead("GET", "shop", "/"), ended=True)
    talk.exchange()
    talk.theirs.reset_stream(3, 7)
    talk.theirs.close_connection()
    talk.exchange()
    assert not talk.ours.has_room
    assert [event for event in talk.we_heard if isinstance(event, PeerLeaving)] == [PeerLeaving()]
    cuts = [(event.stream, event.fault) for event in talk.we_heard if isinstance(event, MessageCut)]
    assert cuts[0] == (3, Fault.REFUSED)
