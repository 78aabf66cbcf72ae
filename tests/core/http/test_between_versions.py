"""A message that came in one version of HTTP goes on in the other, and means the same there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from core.http.http1_scripts import joined
from hypothesis import given, settings, strategies as st

from ambient.core.http.fields import OWN
from ambient.core.http.http1 import Http1Client, Http1Server
from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.machine import ClientMachine, Machine, ServerMachine
from ambient.core.http.message import (
    BodyCame,
    Event,
    Headers,
    InformationCame,
    MessageEnded,
    RequestCame,
    RequestHead,
    ResponseCame,
    ResponseHead,
)

Link = tuple[ClientMachine, ServerMachine]


def first_link() -> Link:
    return Http1Client(), Http1Server()


def second_link() -> Link:
    link = Http2Client(), Http2Server()
    heard(*link)
    heard(*reversed(link))
    heard(*link)
    return link


LINKS: dict[str, Callable[[], Link]] = {"http1": first_link, "http2": second_link}


def heard(speaker: Machine, hearer: Machine) -> list[Event]:
    """What ``hearer`` tells of all that ``speaker`` says, and consumes."""
    events: list[Event] = []
    said = b"".join(bytes(piece) for piece in speaker.gather())
    while said or not hearer.heard_all:
        for event in hearer.receive(said):
            if isinstance(event, BodyCame):
                hearer.consumed(event.stream, len(event.data))
                events.append(BodyCame(event.stream, bytes(event.data)))
            elif isinstance(event, RequestCame | ResponseCame | InformationCame | MessageEnded):
                events.append(event)
        said = b""
    return joined(events)


def pass_on(events: list[Event], link: Link) -> int:
    """Ask of the next link what came on the one before."""
    stream = 0
    for event in events:
        match event:
            case RequestCame(_, head):
                stream = link[0].request(head, ended=head.length == 0)
            case BodyCame(_, data):
                link[0].send(stream, data)
            case MessageEnded(_, trailers):
                link[0].finish(stream, trailers)
            case _:
                raise AssertionError(event)
    return stream


def pass_back(events: list[Event], link: Link, stream: int) -> None:
    """Answer on the link before what was answered on the next."""
    for event in events:
        match event:
            case InformationCame(_, status, headers):
                link[1].inform(stream, status, headers)
            case ResponseCame(_, head):
                link[1].respond(stream, head)
            case BodyCame(_, data):
                link[1].send(stream, data)
            case MessageEnded(_, trailers):
                link[1].finish(stream, trailers)
            case _:
                raise AssertionError(event)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8).filter(
    lambda name: name not in OWN and name != "cookie"
)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=8
).map(lambda value: value.strip(" \t"))
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple)
TRAILERS = st.lists(st.tuples(st.sampled_from(["grpc-status", "x-sum"]), VALUES), max_size=2).map(tuple)
BODIES = st.lists(st.binary(min_size=1, max_size=5000), max_size=3)
CHAINS = [("http1", "http2"), ("http2", "http1"), ("http1", "http1"), ("http2", "http2")]


@pytest.mark.parametrize("chain", CHAINS, ids=" to ".join)
@given(data=st.data())
@settings(max_examples=60)
def test_a_message_means_the_same_behind_two_links(chain: tuple[str, str], data: st.DataObject) -> None:
    near, far = (LINKS[name]() for name in chain)
    parts, is_counted = data.draw(BODIES), data.draw(st.booleans())
    length = sum(map(len, parts)) if is_counted else None
    path = "/" + data.draw(
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=10)
    )
    head = RequestHead(
        data.draw(st.sampled_from(["GET", "POST", "DELETE"])),
        "web:80",
        path,
        data.draw(HEADERS),
        length=length,
        takes_trailers=data.draw(st.booleans()),
    )
    stream = near[0].request(head, ended=length == 0)
    for part in parts:
        near[0].send(stream, part)
    near[0].finish(stream)
    came = heard(*near)
    asked_of_near = came[0]
    assert isinstance(asked_of_near, RequestCame)
    pass_on(came, far)
    arrived = heard(*far)
    asked = arrived[0]
    assert isinstance(asked, RequestCame)
    assert asked.head == head
    assert b"".join(bytes(event.data) for event in arrived if isinstance(event, BodyCame)) == b"".join(parts)
    assert isinstance(arrived[-1], MessageEnded)

    status = data.draw(st.sampled_from([200, 204, 304, 404, 503]))
    parts = data.draw(BODIES) if status in (200, 404, 503) else []
    is_counted = data.draw(st.booleans())
    length = sum(map(len, parts)) if is_counted else None
    trailers: Headers = () if is_counted or status in (204, 304) else data.draw(TRAILERS)
    answer = ResponseHead(status, data.draw(HEADERS), length)
    far[1].inform(asked.stream, 103, (("link", "</a>"),))
    far[1].respond(asked.stream, answer)
    for part in parts:
        far[1].send(asked.stream, part)
    far[1].finish(asked.stream, trailers)
    pass_back(heard(far[1], far[0]), near, asked_of_near.stream)
    answered = heard(near[1], near[0])
    assert answered[0] == InformationCame(stream, 103, (("link", "</a>"),))
    told = answered[1]
    assert isinstance(told, ResponseCame)
    assert (told.head.status, told.head.headers) == (status, answer.headers)
    assert told.head.length == length or status in (204, 304) or (length == 0 and told.head.length is None)
    assert b"".join(bytes(event.data) for event in answered if isinstance(event, BodyCame)) == b"".join(parts)
    assert answered[-1] == MessageEnded(
        stream, trailers if head.takes_trailers or "http1" not in chain else ()
    )
