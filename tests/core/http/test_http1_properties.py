"""HTTP/1.1 of any shape: what holds whatever is said and wherever it is cut."""

from __future__ import annotations

import contextlib
import itertools

import httptools
import pytest
from core.http.http1_scripts import all_told, joined, singly, told, written
from hypothesis import given, settings, strategies as st

from ambient.core.http.bodies import Chunked
from ambient.core.http.fields import OWN
from ambient.core.http.http1 import Http1Client, Http1Server
from ambient.core.http.machine import DEFAULT_LIMITS
from ambient.core.http.message import (
    BodyCame,
    Event,
    Headers,
    MessageCut,
    MessageEnded,
    RequestCame,
    RequestHead,
    RequestRefused,
    ResponseCame,
    ResponseHead,
)

LINES = [
    b"Host: web",
    b"Host: web",
    b"Host: web",
    b"Host: other",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 05",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Connection: close",
    b"Connection: keep-alive, x-a",
    b"X-A: b",
    b"X_A: b",
    b"Expect: 100-continue",
    b"TE: trailers",
    b" folded",
    b"",
]
CHUNKS = [
    b"5\r\nhello\r\n",
    b"1\r\nx\r\n",
    b"0005;a=b\r\n\r\n\r\n\r\r\n",
    b"5\r\nhello",
    b"0\r\n\r\n",
    b"0\r\nX: a\r\n\r\n",
    b"0\r\n",
    b"hello",
    b"\r\n",
    b"5",
    b";",
]
FIRST = [
    b"GET / HTTP/1.1",
    b"POST /a HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET http://web/ HTTP/1.1",
    b"GET /",
    b"",
]
STATUS = [
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 204 ",
    b"HTTP/1.0 200 OK",
    b"HTTP/1.1 100 Continue",
    b"HTTP/1.1 304 X",
    b"x",
]


def messages(first: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that are messages more often than not."""
    heads = st.builds(
        lambda line, fields: b"\r\n".join((line, *fields, b"", b"")),
        st.sampled_from(first),
        st.lists(st.sampled_from(LINES), max_size=4),
    )
    good = st.sampled_from(
        [
            first[0] + b"\r\nHost: web\r\n\r\n",
            first[0] + b"\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello",
            first[0] + b"\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: a\r\n\r\n",
        ]
    )
    bodies = st.lists(st.sampled_from(CHUNKS), max_size=5).map(b"".join)
    whole = st.lists(st.one_of(good, st.builds(bytes.__add__, heads, bodies)), min_size=1, max_size=4).map(
        b"".join
    )
    return st.one_of(
        whole,
        st.builds(
            _bent, whole, st.integers(0, 500), st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b":", b"0"])
        ),
    )


def _bent(data: bytes, at: int, by: bytes) -> bytes:
    at %= len(data)
    return data[:at] + by + data[at + 1 :]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


def served(pieces: list[bytes]) -> tuple[list[Event], bytes]:
    """All that a server tells of ``pieces``, when it answers each request that has ended, and what it says."""
    machine = Http1Server()
    events: list[Event] = []
    said = b""
    for piece in pieces:
        fresh = told(machine, [piece])
        while fresh:
            events += fresh
            for event in fresh:
                if isinstance(event, MessageEnded):
                    machine.respond(event.stream, ResponseHead(200, length=2))
                    machine.send(event.stream, b"ok")
                    machine.finish(event.stream)
            said += written(machine)
            fresh = all_told(machine)
    events += machine.receive_end()
    return joined(events), said


def answered(pieces: list[bytes]) -> list[Event]:
    machine = Http1Client()
    machine.request(RequestHead("GET", "web", "/"), ended=True)
    events = told(machine, pieces)
    return joined(events + machine.receive_end())


@given(messages(FIRST), st.lists(st.integers(0, 2000), max_size=6))
@settings(max_examples=300)
def test_a_server_tells_the_same_wherever_its_bytes_are_cut(data: bytes, places: list[int]) -> None:
    whole = served([data])
    assert served(cut(data, places)) == whole
    assert served(singly(data)) == whole


@given(messages(STATUS), st.lists(st.integers(0, 2000), max_size=6))
@settings(max_examples=300)
def test_a_client_tells_the_same_wherever_its_bytes_are_cut(data: bytes, places: list[int]) -> None:
    whole = answered([data])
    for pieces in (cut(data, places), singly(data)):
        events = answered(pieces)
        # Bytes behind an answer that has ended are noticed when they come.
        assert [event for event in events if _is_of_message(event)] == [
            event for event in whole if _is_of_message(event)
        ]


def _is_of_message(event: Event) -> bool:
    return isinstance(event, (ResponseCame, BodyCame, MessageEnded, MessageCut))


class Oracle:
    """What llhttp alone makes of the same bytes: targets and bodies of the requests that ended."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self._target = self._body = b""
        with contextlib.suppress(httptools.HttpParserError):
            httptools.HttpRequestParser(self).feed_data(data)

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.requests.append((self._target, self._body))


@given(messages(FIRST))
@settings(max_examples=500)
def test_no_request_is_told_that_another_parser_does_not_see(data: bytes) -> None:
    events, _ = served([data])
    seen: list[tuple[bytes, bytes]] = []
    content = target = b""
    for event in events:
        match event:
            case RequestCame(_, head):
                content, target = b"", head.path.encode()
            case BodyCame(_, part):
                content += bytes(part)
            case MessageEnded():
                seen.append((target, content))
            case _:
                assert isinstance(event, (RequestRefused, MessageCut))
    expected = [(target.removeprefix(b"http://web"), content) for target, content in Oracle(data).requests]
    assert seen == expected[: len(seen)]


def test_of_good_requests_both_see_all() -> None:
    data = b"".join(
        (
            b"GET / HTTP/1.1\r\nHost: web\r\n\r\n",
            b"POST /a HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nhello",
            b"POST /b HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: a\r\n\r\n",
            b"GET /c HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n",
        )
    )
    events, said = served([data])
    assert sum(isinstance(event, MessageEnded) for event in events) == 4
    assert Oracle(data).requests == [
        (b"/", b""),
        (b"/a", b"hello"),
        (b"/b", b"hello0123456789"),
        (b"/c", b""),
    ]
    assert said.count(b"HTTP/1.1 200 OK\r\n") == 4


# What one end says, the other hears


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=10).filter(
    lambda name: name not in OWN
)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=12
).map(lambda value: value.strip(" \t"))
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple)
TRAILERS = st.lists(st.tuples(st.sampled_from(["grpc-status", "x-sum"]), VALUES), max_size=2).map(tuple)
PARTS = st.lists(st.binary(min_size=1, max_size=9000), max_size=4)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    path=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=20),
    headers=HEADERS,
    parts=PARTS,
    trailers=TRAILERS,
    counted=st.booleans(),
    takes_trailers=st.booleans(),
)
@settings(max_examples=200)
def test_a_request_is_heard_as_it_was_said(
    *,
    method: str,
    path: str,
    headers: Headers,
    parts: list[bytes],
    trailers: Headers,
    counted: bool,
    takes_trailers: bool,
) -> None:
    length = sum(map(len, parts)) if counted else None
    head = RequestHead(method, "web:80", f"/{path}", headers, length=length, takes_trailers=takes_trailers)
    client, server = Http1Client(), Http1Server()
    stream = client.request(head)
    for part in parts:
        client.send(stream, part)
    client.finish(stream, trailers)
    events = told(server, [bytes(piece) for piece in client.gather()])
    expected: list[Event] = [RequestCame(1, head), MessageEnded(1, () if counted else trailers)]
    if any(parts):
        expected.insert(1, BodyCame(1, b"".join(parts)))
    assert events == expected


@given(
    status=st.integers(200, 599),
    method=st.sampled_from(["GET", "HEAD"]),
    headers=HEADERS,
    parts=PARTS,
    trailers=TRAILERS,
    counted=st.booleans(),
)
@settings(max_examples=200)
def test_an_answer_is_heard_as_it_was_said(
    *, status: int, method: str, headers: Headers, parts: list[bytes], trailers: Headers, counted: bool
) -> None:
    client, server = Http1Client(), Http1Server()
    client.request(RequestHead(method, "web", "/", takes_trailers=True), ended=True)
    told(server, [written(client)])
    has_body = method != "HEAD" and status not in (204, 304)
    length = sum(map(len, parts)) if counted and status != 204 else 0 if status == 204 else None
    head = ResponseHead(status, headers, length)
    server.respond(1, head)
    for part in parts:
        server.send(1, part)
    server.finish(1, trailers)
    events = told(client, [bytes(piece) for piece in server.gather()])
    expected: list[Event] = [ResponseCame(1, head)]
    if any(parts) and has_body:
        expected.append(BodyCame(1, b"".join(parts)))
    assert events[: len(expected)] == expected
    assert events[len(expected)] == MessageEnded(1, trailers if has_body and not counted else ())
    assert client.has_room
    assert not server.is_over


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.lists(st.integers(0, 2000), max_size=6))
def test_chunks_are_read_as_they_were_written(parts: list[bytes], places: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    body = Chunked(DEFAULT_LIMITS, of_request=True)
    rest = b""
    pieces: list[bytes] = []
    for piece in cut(data, places):
        found: list[bytes | memoryview] = []
        rest += piece
        rest = rest[body.feed(rest, 0, found) :]
        pieces += map(bytes, found)
    assert body.has_ended
    assert not rest
    assert b"".join(pieces) == b"".join(parts)


# Memory


@pytest.mark.parametrize(
    ("first", "more"),
    [
        pytest.param(b"", b"GET / HTTP/1.1\r\nHost: web\r\n\r\n", id="pipelined"),
        pytest.param(b"", b"a", id="request-line"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"X: a\r\n", id="fields"),
        pytest.param(b"GET / HTTP/1.1\r\nX:", b"a", id="value"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", id="chunk-size"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="chunks"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X: a\r\n",
            id="trailers",
        ),
        pytest.param(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 99999999\r\n\r\n", b"x", id="body"),
    ],
)
@pytest.mark.parametrize("size", [100, 16 * 1024])
def test_a_client_that_says_much_makes_nobody_keep_much(first: bytes, more: bytes, size: int) -> None:
    machine = Http1Server()
    piece = more * (size // len(more))
    fed = 0
    told(machine, [first], consume=False)
    while machine.wants_more and fed < 1024 * 1024:
        told(machine, [piece], consume=False)
        fed += len(piece)
        kept = len(machine._data) - machine._at + sum(map(len, machine._later))
        assert kept <= DEFAULT_LIMITS.header_bytes + size
    assert fed < 1024 * 1024


@pytest.mark.parametrize(
    ("first", "more"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n", id="fields"),
        pytest.param(b"", b"HTTP/1.1 102 Processing\r\n\r\n", id="information"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"a", id="extension"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x", id="body"),
    ],
)
def test_a_server_that_says_much_makes_nobody_keep_much(first: bytes, more: bytes) -> None:
    machine = Http1Client()
    machine.request(RequestHead("GET", "web", "/"), ended=True)
    piece = more * (16 * 1024 // len(more))
    fed = 0
    told(machine, [first], consume=False)
    while machine.wants_more and fed < 1024 * 1024:
        told(machine, [piece], consume=False)
        fed += len(piece)
        assert len(machine._data) - machine._at <= DEFAULT_LIMITS.header_bytes + len(piece)
    assert fed < 1024 * 1024
