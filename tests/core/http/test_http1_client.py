"""HTTP/1.1 at the end that asks: scripts of bytes, events and requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core.http.http1_scripts import body, singly, told, written

from ambient.core.http import bodies, http1
from ambient.core.http.http1 import Http1Client
from ambient.core.http.machine import Limits, Waiting
from ambient.core.http.message import (
    BodyCame,
    Event,
    Fault,
    InformationCame,
    MessageCut,
    MessageEnded,
    PeerLeaving,
    RequestHead,
    ResponseCame,
    ResponseHead,
    RoomChanged,
)

GET = RequestHead("GET", "web:80", "/a?b")
POST = RequestHead("POST", "web", "/", length=None)
WEBSOCKET = RequestHead("GET", "web", "/chat", length=None, upgrade="websocket")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
WHOLE = [ResponseCame(1, ResponseHead(200, length=2)), BodyCame(1, b"ok"), MessageEnded(1)]


def asking(head: RequestHead = GET, limits: Limits | None = None) -> Http1Client:
    machine = Http1Client(limits) if limits else Http1Client()
    machine.request(head, ended=not (head.upgrade or head.length is None or head.length))
    written(machine)
    return machine


# Requests


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(GET, b"GET /a?b HTTP/1.1|host: web:80||", id="get"),
        pytest.param(
            replace(GET, headers=(("x-a", "b"), ("x-a", "c"))),
            b"GET /a?b HTTP/1.1|host: web:80|x-a: b|x-a: c||",
            id="headers",
        ),
        pytest.param(
            replace(GET, method="POST"),
            b"POST /a?b HTTP/1.1|host: web:80|content-length: 0||",
            id="post-without-body",
        ),
        pytest.param(replace(GET, length=None), b"GET /a?b HTTP/1.1|host: web:80||", id="get-that-has-ended"),
        pytest.param(
            replace(GET, takes_trailers=True),
            b"GET /a?b HTTP/1.1|host: web:80|te: trailers|connection: te||",
            id="te",
        ),
        pytest.param(
            replace(GET, expects_continue=True),
            b"GET /a?b HTTP/1.1|host: web:80||",
            id="nothing-to-wait-with",
        ),
        pytest.param(
            replace(
                GET,
                headers=(
                    ("Connection", "close"),
                    ("host", "x"),
                    ("transfer-encoding", "chunked"),
                    ("content-length", "5"),
                    ("X-B", "1"),
                ),
            ),
            b"GET /a?b HTTP/1.1|host: web:80|x-b: 1||",
            id="the-machines-business-is-left-out",
        ),
        pytest.param(RequestHead("OPTIONS", "web", "*"), b"OPTIONS * HTTP/1.1|host: web||", id="options"),
    ],
)
def test_how_a_request_without_a_body_is_written(head: RequestHead, expected: bytes) -> None:
    machine = Http1Client()
    assert machine.is_fresh
    assert machine.request(head, ended=True) == 1
    assert written(machine) == expected.replace(b"|", b"\r\n")
    assert not machine.is_fresh
    assert not machine.has_room
    assert machine.waiting is Waiting.MESSAGE


@pytest.mark.parametrize(
    ("head", "trailers", "expected"),
    [
        (replace(POST, length=2), (("x", "dropped"),), b"content-length: 2||ok"),
        (POST, (), b"transfer-encoding: chunked||2|ok|0||"),
        (POST, (("x-sum", "1"), ("host", "dropped")), b"transfer-encoding: chunked||2|ok|0|x-sum: 1||"),
        (
            replace(POST, expects_continue=True),
            (),
            b"transfer-encoding: chunked|expect: 100-continue||2|ok|0||",
        ),
    ],
    ids=["length", "chunks", "trailers", "expect"],
)
def test_how_a_request_with_a_body_is_written(
    head: RequestHead, trailers: tuple[tuple[str, str], ...], expected: bytes
) -> None:
    machine = Http1Client()
    machine.request(head)
    machine.send(1, b"ok")
    machine.finish(1, trailers)
    assert written(machine) == b"POST / HTTP/1.1\r\nhost: web\r\n" + expected.replace(b"|", b"\r\n")
    assert told(machine, [OK])[-1] == RoomChanged()


@pytest.mark.parametrize(
    "head",
    [
        replace(GET, path="/a b"),
        replace(GET, path=""),
        replace(GET, path="/ HTTP/1.1\r\nx: y\r\n\r\n"),
        replace(GET, method="GET /"),
        replace(GET, authority="web\r\nx: y"),
        replace(GET, headers=(("x", "a\r\nb: c"),)),
        replace(GET, headers=(("x\r\nb", "a"),)),
        replace(GET, length=5),
    ],
    ids=repr,
)
def test_a_request_that_would_be_read_as_something_else_is_not_written(head: RequestHead) -> None:
    machine = Http1Client()
    with pytest.raises(ValueError):
        machine.request(head, ended=True)
    assert written(machine) == b""
    assert machine.has_room
    assert machine.is_fresh


@pytest.mark.parametrize("content", [b"much too much", b"o"])
def test_a_request_is_never_longer_than_it_said_and_a_shorter_one_ends_the_connection(content: bytes) -> None:
    machine = Http1Client()
    machine.request(replace(POST, length=2))
    machine.send(1, content)
    machine.finish(1)
    assert len(written(machine).partition(b"\r\n\r\n")[2]) < 2
    assert machine.is_over
    with pytest.raises(ValueError):
        machine.request(GET, ended=True)


def test_a_second_request_has_no_room_beside_the_first() -> None:
    machine = asking()
    with pytest.raises(ValueError):
        machine.request(GET, ended=True)
    told(machine, [OK])
    assert machine.has_room
    assert machine.request(GET, ended=True) == 2
    assert written(machine).startswith(b"GET /a?b ")


# Answers


@pytest.mark.parametrize(
    ("answer", "head", "content", "trailers"),
    [
        pytest.param(OK, ResponseHead(200, length=2), b"ok", (), id="length"),
        pytest.param(
            b"HTTP/1.1 200\r\nTransfer-Encoding: Chunked\r\nX-A: b\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a\r\n\r\n",
            ResponseHead(200, (("x-a", "b"),)),
            b"ok",
            (("grpc-status", "0"),),
            id="chunks",
        ),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", ResponseHead(204, length=0), b"", (), id="204"),
        pytest.param(
            b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            ResponseHead(204, length=0),
            b"",
            (),
            id="204-length-0",
        ),
        pytest.param(
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            ResponseHead(304, length=9),
            b"",
            (),
            id="304-length",
        ),
        pytest.param(
            b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            ResponseHead(304),
            b"",
            (),
            id="304-chunked",
        ),
        pytest.param(
            b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n", ResponseHead(500, length=0), b"", (), id="empty"
        ),
        pytest.param(
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            ResponseHead(200, length=2),
            b"ok",
            (),
            id="1.0-keep-alive",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nConnection: x-a, set-cookie\r\nX-A: 1\r\nX_B: 2\r\nSet-Cookie: c\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n",
            ResponseHead(200, (("x_b", "2"), ("set-cookie", "c")), 0),
            b"",
            (),
            id="of-one-hop",
        ),
    ],
)
def test_an_answer_after_which_the_connection_can_be_used_again(
    answer: bytes, head: ResponseHead, content: bytes, trailers: tuple[tuple[str, str], ...]
) -> None:
    expected: list[Event] = [
        ResponseCame(1, head),
        BodyCame(1, content),
        MessageEnded(1, trailers),
        RoomChanged(),
    ]
    if not content:
        del expected[1]
    for pieces in ([answer], singly(answer)):
        machine = asking()
        assert told(machine, pieces) == expected
        assert machine.has_room
        assert not machine.is_over
        assert machine.waiting is Waiting.IDLE


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        (b"Content-Length: 5\r\n", ResponseHead(200, length=5)),
        (b"Transfer-Encoding: chunked\r\n", ResponseHead(200)),
        (b"", ResponseHead(200)),
    ],
    ids=["length", "chunked", "neither"],
)
def test_an_answer_to_head_has_no_body(fields: bytes, head: ResponseHead) -> None:
    machine = asking(replace(GET, method="HEAD"))
    assert told(machine, [b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n"]) == [
        ResponseCame(1, head),
        MessageEnded(1),
        RoomChanged(),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_server_may_say_that_an_answer_is_its_last(answer: bytes) -> None:
    machine = asking()
    assert told(machine, [answer]) == [WHOLE[0], PeerLeaving(), *WHOLE[1:]]
    assert not machine.has_room
    assert machine.is_over


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"]
)
def test_an_answer_without_a_length_ends_with_its_connection(first: bytes) -> None:
    machine = asking()
    assert told(machine, [first + b"he", b"llo"]) == [
        ResponseCame(1, ResponseHead(200)),
        PeerLeaving(),
        BodyCame(1, b"hello"),
    ]
    assert not machine.is_over
    assert machine.receive_end() == [MessageEnded(1)]
    assert machine.is_over


def test_what_is_said_before_the_answer_is_told() -> None:
    machine = asking(replace(POST, expects_continue=True))
    assert told(machine, [b"HTTP/1.1 100 Continue\r\n\r\n"]) == [InformationCame(1, 100, ())]
    machine.send(1, b"ok")
    machine.finish(1)
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert told(machine, [hints + OK]) == [
        InformationCame(1, 103, (("link", "</a>"),)),
        *WHOLE,
        RoomChanged(),
    ]


# 9: servers that break HTTP


MALFORMED = [
    pytest.param(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", id="cl-and-te"
    ),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", id="te-and-cl"
    ),
    pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="te-list"),
    pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", id="te-gzip"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", id="te-twice"
    ),
    pytest.param(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="te-http-1.0"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", id="cl-twice"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", id="cl-list"),
    pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", id="cl-minus"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\nContent-Length: 2\r\n\r\nok", id="bare-lf"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nok", id="bare-cr"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 2\r\n\r\nok", id="nul"),
    pytest.param(b"HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok", id="nul-in-reason"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", id="obs-fold"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok", id="space-before-colon"),
    pytest.param(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", id="204-with-length"),
    pytest.param(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="204-chunked"),
    pytest.param(b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok", id="100-with-length"),
    pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="status-of-two-digits"),
    pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", id="status-of-four-digits"),
    pytest.param(b"HTTP/1.1 099 OK\r\n\r\n", id="status-too-low"),
    pytest.param(b"HTTP/1.1 600 OK\r\n\r\n", id="status-too-high"),
    pytest.param(b"HTTP/1.1  200 OK\r\n\r\n", id="two-spaces"),
    pytest.param(b"HTTP/1.1 200OK\r\n\r\n", id="no-space"),
    pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="version"),
    pytest.param(b"ICY 200 OK\r\n\r\n", id="icy"),
    pytest.param(b"<html>hello</html>\r\n", id="http-0.9"),
    pytest.param(b"\r\nHTTP/1.1 200 OK\r\n\r\n", id="empty-line"),
    pytest.param(b"\0\0\x12\x04\0\0\0\0\0", id="http-2"),
    pytest.param(UPGRADED, id="upgrade-that-nobody-asked-for"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 61440 + b"\r\n\r\n", id="long-head"),
    pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 61440, id="long-head-without-end"),
    pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 101 + b"\r\n", id="many-fields"),
]


@pytest.mark.parametrize("answer", MALFORMED)
def test_what_is_no_answer_cuts_the_request_and_the_connection_is_not_used_again(answer: bytes) -> None:
    seen = []
    for pieces in ([answer], singly(answer)):
        machine = asking()
        events = told(machine, pieces)
        (cut,) = events
        assert isinstance(cut, MessageCut)
        assert cut.fault is Fault.MALFORMED
        assert machine.is_over
        assert not machine.has_room
        assert told(machine, [OK]) == []
        seen.append(events)
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "content",
    [b"x\r\n", b"5\r\nhelloX\r\n", b"5\nhello\r\n", b"0\r\nContent-Length: 2\r\n\r\n", b"5 \r\nhello\r\n"],
)
def test_chunks_that_are_none_cut_the_answer(content: bytes) -> None:
    machine = asking()
    events = told(machine, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + content])
    assert events[0] == ResponseCame(1, ResponseHead(200))
    assert body(events[:2]).startswith(b"ok")
    assert isinstance(events[-1], MessageCut)
    assert machine.is_over


def test_answers_before_the_answer_are_few() -> None:
    machine = asking()
    events = told(machine, [b"HTTP/1.1 102 Processing\r\n\r\n" * 1000])
    assert len(events) == http1.MOST_INFORMATION + 1
    assert isinstance(events[-1], MessageCut)
    assert events[-1].fault is Fault.MALFORMED
    assert machine.is_over


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_bytes_behind_an_answer_are_of_no_other(answer: bytes) -> None:
    machine = asking()
    events = told(machine, [answer + OK])
    assert events[-2:] == [MessageEnded(1), PeerLeaving()]
    assert sum(isinstance(event, ResponseCame) for event in events) == 1
    assert machine.is_over


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    machine = asking()
    told(machine, [OK])
    assert told(machine, [b"HTTP/1.1 408 Request Timeout\r\n\r\n"]) == [PeerLeaving()]
    assert machine.is_over
    assert not machine.has_room


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "before it had answered"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "before it had answered"),
        (b"HTTP/1.1 200 OK\r\n", "before it had answered"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "in the middle"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "in the middle"),
    ],
)
def test_a_server_that_hangs_up_cuts_its_answer(data: bytes, says: str) -> None:
    machine = asking()
    told(machine, [data])
    (cut,) = machine.receive_end()
    assert isinstance(cut, MessageCut)
    assert cut.fault is Fault.RESET
    assert says in cut.detail
    assert machine.is_over


def test_a_server_that_hangs_up_between_two_exchanges_leaves() -> None:
    machine = asking()
    told(machine, [OK])
    assert machine.receive_end() == [PeerLeaving()]
    assert machine.is_over


def test_a_crowd_of_chunks_is_heard_in_turns_and_the_end_behind_it() -> None:
    machine = asking()
    count = 2 * bodies.MOST_CHUNKS + 1
    machine.receive(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    )
    assert not machine.heard_all
    assert machine.receive_end() == []
    events = told(machine, [b""])
    assert events == [
        BodyCame(1, b"x" * (count - bodies.MOST_CHUNKS)),
        MessageEnded(1),
        RoomChanged(),
        PeerLeaving(),
    ]
    assert machine.is_over


def test_an_answer_that_comes_early_is_the_last() -> None:
    machine = Http1Client()
    machine.request(POST)
    machine.send(1, b"hello")
    assert told(machine, [OK]) == [*WHOLE, PeerLeaving()]
    written(machine)
    machine.send(1, b"more")
    machine.finish(1)
    assert written(machine) == b""
    assert machine.is_over


def test_a_request_goes_on_while_its_answer_has_begun() -> None:
    machine = Http1Client()
    machine.request(POST)
    written(machine)
    assert told(machine, [OK[:-1]])[0] == WHOLE[0]
    machine.send(1, b"hello")
    machine.finish(1)
    assert written(machine) == b"5\r\nhello\r\n0\r\n\r\n"
    assert told(machine, [OK[-1:]])[-1] == RoomChanged()


def test_an_answer_that_nobody_consumes_stops_the_reading() -> None:
    machine = asking(limits=Limits(stream_window=2))
    told(machine, [OK[:-1]], consume=False)
    assert machine.wants_more
    told(machine, [OK[-1:]], consume=False)
    assert not machine.wants_more
    machine.consumed(1, 2)
    assert machine.wants_more


def test_to_reset_is_to_end_the_connection() -> None:
    machine = asking()
    machine.reset(1)
    assert machine.is_over
    assert told(machine, [OK]) == []


def test_a_stream_that_is_over_resets_nothing() -> None:
    machine = asking()
    told(machine, [OK])
    machine.reset(1)
    assert machine.has_room


def test_a_machine_that_leaves_hears_its_answer_first() -> None:
    machine = asking()
    machine.leave()
    assert not machine.is_over
    assert told(machine, [OK])[: len(WHOLE)] == WHOLE
    assert machine.is_over
    idle = Http1Client()
    idle.leave()
    assert idle.is_over
    assert not idle.has_room


# Upgrades


def test_an_upgrade_is_asked_for_and_bytes_go_both_ways() -> None:
    machine = Http1Client()
    machine.request(WEBSOCKET)
    assert (
        written(machine)
        == b"GET /chat HTTP/1.1\r\nhost: web\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    )
    machine.send(1, b"early")
    assert written(machine) == b""
    assert machine.queued(1) == 5
    assert told(machine, [UPGRADED + b"HTTP/1.1"]) == [
        ResponseCame(1, ResponseHead(101)),
        BodyCame(1, b"HTTP/1.1"),
    ]
    assert machine.queued(1) == 0
    machine.send(1, b"later")
    assert written(machine) == b"earlylater"
    assert machine.receive_end() == [MessageEnded(1)]
    assert not machine.is_over
    machine.finish(1)
    assert machine.is_over


def test_either_end_of_an_upgraded_connection_may_finish_first() -> None:
    machine = Http1Client()
    machine.request(WEBSOCKET)
    machine.send(1, b"early")
    machine.finish(1)
    machine.send(1, b"too late")
    assert not machine.has_finished
    told(machine, [UPGRADED])
    assert written(machine).endswith(b"\r\n\r\nearly")
    assert machine.has_finished
    assert told(machine, [b"hello"]) == [BodyCame(1, b"hello")]
    assert machine.receive_end() == [MessageEnded(1)]
    assert machine.is_over


def test_an_upgrade_may_be_refused() -> None:
    machine = Http1Client()
    machine.request(WEBSOCKET)
    machine.send(1, b"early")
    assert told(machine, [OK]) == [*WHOLE, RoomChanged()]
    assert b"early" not in written(machine)
    assert machine.has_room


@pytest.mark.parametrize(
    "answer",
    [
        UPGRADED.replace(b"WebSocket", b"spdy/3.1"),
        UPGRADED.replace(b"Connection: Upgrade\r\n", b""),
        UPGRADED.replace(b"Upgrade: WebSocket\r\n", b""),
    ],
)
def test_no_other_protocol_is_taken_than_the_one_that_was_asked_for(answer: bytes) -> None:
    machine = Http1Client()
    machine.request(WEBSOCKET)
    (cut,) = told(machine, [answer])
    assert isinstance(cut, MessageCut)
    assert cut.fault is Fault.MALFORMED
