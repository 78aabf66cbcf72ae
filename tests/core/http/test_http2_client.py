"""What an HTTP/2 client says, and what it makes of servers that keep the rules and that do not."""

from __future__ import annotations

import struct

import pytest
from core.http.http2_peers import ENDED, Fed, answer, client, trailers
from hostile import breaches
from hostile.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    SETTINGS,
    frame,
    reset,
    settings,
    window_update,
)
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, SettingsFrame

from ambient.core.http.http2 import MOST_INFORMATION, Http2Client
from ambient.core.http.machine import Limits, Waiting
from ambient.core.http.message import (
    BodyCame,
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

GET = RequestHead("GET", "shop", "/a?b")
POST = RequestHead("POST", "shop", "/", length=None)
CANCEL = 8
NO_ERROR = 0


def asking(*heads: RequestHead, first: bytes = frame(SETTINGS)) -> Fed[Http2Client]:
    """A client whose requests have left: those of GET have ended."""
    it = client(first=first)
    for head in heads or (GET,):
        it.machine.request(head, ended=head is GET)
    it.listen()
    return it


def goodbye(last: int, code: int = NO_ERROR) -> bytes:
    return frame(GOAWAY, 0, struct.pack("!II", last, code))


# ---- what it says


def test_a_request_is_said_with_all_that_its_head_has() -> None:
    it = client()
    head = RequestHead(
        "POST", "shop:80", "/x", (("a", "é"),), scheme="https", length=2, expects_continue=True, takes_trailers=True
    )  # fmt: skip
    stream = it.machine.request(head)
    it.machine.send(stream, b"ab")
    it.machine.finish(stream, (("x", "y"),))
    it.listen()
    assert it.heads[0][1][:4] == [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "shop:80"),
        (":path", "/x"),
    ]
    assert sorted(it.heads[0][1][4:]) == [
        ("a", "é"),
        ("content-length", "2"),
        ("expect", "100-continue"),
        ("te", "trailers"),
    ]
    assert [type(one) for one in it.sent[it.start :]] == [HeadersFrame, DataFrame, HeadersFrame]
    assert it.body(stream) == b"ab"
    assert it.heads[1] == (stream, [("x", "y")])


def test_a_request_without_body_ends_with_its_head() -> None:
    it = asking(GET)
    [said] = it.sent[it.start :]
    assert "END_STREAM" in said.flags


def test_it_wants_no_pushes_and_announces_its_limits() -> None:
    it = client(Limits(stream_window=1000, header_bytes=2000))
    [said] = [one for one in it.sent if isinstance(one, SettingsFrame) and "ACK" not in one.flags]
    assert said.settings == {2: 0, 3: 0, 4: 1000, 6: 2000, 9: 1}


def test_the_first_request_may_leave_before_the_server_has_said_a_word() -> None:
    machine = Http2Client()
    assert machine.has_room
    assert machine.is_fresh
    machine.request(GET, ended=True)
    assert not machine.is_fresh
    said = b"".join(machine.gather())
    assert said.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert len(said) > 60
    assert machine.waiting is Waiting.MESSAGE


def test_a_body_of_another_length_than_was_announced_is_cut() -> None:
    for body in (b"a", b"abcd"):
        it = client()
        stream = it.machine.request(RequestHead("POST", "shop", "/", length=3))
        it.machine.send(stream, body)
        it.machine.finish(stream)
        assert [type(event) for event in it.feed()] == [MessageCut]
        assert it.resets in ([], [(stream, 2)])
        assert it.body(stream) == b""


# ---- what it hears


def test_an_answer_comes_with_what_precedes_and_follows_it() -> None:
    it = asking()
    said = answer(1, ("link", "</x>"), status="103") + answer(1, ("server", "s"), ("content-length", "2"))
    said += frame(DATA, 1, b"ab") + trailers(1, ("x_y", "z"))
    assert it.feed(said) == [
        InformationCame(1, 103, (("link", "</x>"),)),
        ResponseCame(1, ResponseHead(200, (("server", "s"),), 2)),
        BodyCame(1, b"ab"),
        MessageEnded(1, (("x_y", "z"),)),
    ]
    assert it.machine.waiting is Waiting.IDLE


@pytest.mark.parametrize(
    ("method", "status", "fields", "length"),
    [
        pytest.param("GET", "200", (), 0, id="nothing"),
        pytest.param("GET", "304", (), None, id="304"),
        pytest.param("GET", "304", (("content-length", "7"),), 7, id="304-that-says"),
        pytest.param("HEAD", "200", (("content-length", "7"),), 7, id="head"),
        pytest.param("HEAD", "200", (), None, id="head-that-does-not-say"),
        pytest.param("GET", "204", (), 0, id="204"),
    ],
)
def test_an_answer_that_ends_with_its_head(
    method: str, status: str, fields: tuple[tuple[str, str], ...], length: int | None
) -> None:
    it = client()
    stream = it.machine.request(RequestHead(method, "shop", "/"), ended=True)
    it.listen()
    assert it.feed(answer(stream, *fields, status=status, flags=ENDED)) == [
        ResponseCame(stream, ResponseHead(int(status), (), length)),
        MessageEnded(stream),
    ]


def test_an_answer_before_all_was_asked_lets_the_rest_be_said_or_left() -> None:
    it = asking(POST)
    assert [type(event) for event in it.feed(answer(1, flags=ENDED))] == [ResponseCame, MessageEnded]
    it.machine.send(1, b"rest")
    it.machine.finish(1)
    it.listen()
    assert it.body(1) == b"rest"
    assert it.machine.waiting is Waiting.IDLE


def test_a_server_that_has_answered_may_stop_the_request() -> None:
    it = asking(POST)
    events = it.feed(answer(1, flags=ENDED) + reset(1, NO_ERROR))
    assert [type(event) for event in events] == [ResponseCame, MessageEnded, MessageCut]
    assert it.cuts[0].fault is Fault.CANCELLED
    it.machine.send(1, b"rest")
    it.listen()
    assert it.body(1) == b""


@pytest.mark.parametrize(
    ("code", "fault"),
    [(7, Fault.REFUSED), (CANCEL, Fault.CANCELLED), (NO_ERROR, Fault.CANCELLED), (2, Fault.RESET), (13, Fault.RESET)],
)  # fmt: skip
def test_a_reset_says_why(code: int, fault: Fault) -> None:
    it = asking()
    it.feed(reset(1, code))
    assert [(cut.stream, cut.fault) for cut in it.cuts] == [(1, fault)]


def test_a_request_that_is_given_up_before_it_has_left_never_leaves() -> None:
    it = client()
    stream = it.machine.request(GET, ended=True)
    it.machine.reset(stream)
    assert it.feed() == []
    assert it.sent[it.start :] == []
    assert it.machine.waiting is Waiting.IDLE


def test_a_request_that_is_given_up_is_reset_and_never_heard_of() -> None:
    it = asking(GET, POST)
    it.machine.reset(1, Fault.TIMED_OUT)
    it.machine.reset(3, Fault.OVERLOADED)
    it.listen()
    assert it.resets == [(1, CANCEL), (3, 11)]
    assert it.feed(answer(1) + frame(DATA, 1, b"late", END_STREAM) + answer(3)) == []


# ---- websockets


TUNNEL = RequestHead("GET", "shop", "/chat", upgrade="websocket")
TAKES_UPGRADES = settings((8, 1))


def test_a_websocket_is_asked_for_as_rfc_8441_has_it() -> None:
    it = asking(TUNNEL, first=TAKES_UPGRADES)
    assert it.machine.takes_upgrades
    assert it.heads[0][1] == [
        (":method", "CONNECT"),
        (":scheme", "http"),
        (":authority", "shop"),
        (":path", "/chat"),
        (":protocol", "websocket"),
    ]
    assert it.feed(answer(1)) == [ResponseCame(1, ResponseHead(101))]
    it.machine.send(1, b"up")
    assert it.feed(frame(DATA, 1, b"down", END_STREAM)) == [BodyCame(1, b"down"), MessageEnded(1)]
    it.machine.finish(1)
    it.listen()
    assert it.body(1) == b"up"
    assert it.machine.waiting is Waiting.IDLE


def test_a_websocket_that_is_refused_has_an_ordinary_answer() -> None:
    it = asking(TUNNEL, first=TAKES_UPGRADES)
    assert it.feed(answer(1, status="403", flags=ENDED)) == [
        ResponseCame(1, ResponseHead(403, (), 0)),
        MessageEnded(1),
    ]


def test_a_server_that_takes_no_websockets_is_not_asked() -> None:
    it = client()
    stream = it.machine.request(TUNNEL)
    assert not it.machine.takes_upgrades
    [cut] = it.feed()
    assert isinstance(cut, MessageCut)
    assert (cut.stream, cut.fault) == (stream, Fault.REFUSED)
    assert it.sent[it.start :] == []
    assert it.machine.request(GET, ended=True) == 1


# ---- room and goodbyes


def test_there_is_room_for_as_many_as_the_server_takes() -> None:
    it = client(first=settings((3, 2)))
    it.events.clear()
    it.machine.request(GET, ended=True)
    assert it.machine.has_room
    it.machine.request(GET, ended=True)
    assert not it.machine.has_room
    with pytest.raises(ValueError, match="no room"):
        it.machine.request(GET)
    it.listen()
    events = it.feed(answer(1, flags=ENDED))
    assert events[-1] == RoomChanged()
    assert it.machine.has_room


def test_a_server_may_take_more_or_fewer_later() -> None:
    it = client()
    assert it.feed(settings((3, 0))) == [RoomChanged()]
    assert not it.machine.has_room
    assert it.feed(settings((3, 1))) == [RoomChanged()]
    assert it.machine.has_room


def test_what_a_leaving_server_did_not_hear_may_be_sent_again() -> None:
    it = asking(GET, GET, POST)
    events = it.feed(goodbye(1))
    assert events[0] == PeerLeaving()
    assert sorted(cut.stream for cut in it.cuts) == [3, 5]
    assert {cut.fault for cut in it.cuts} == {Fault.REFUSED}
    assert not it.machine.has_room
    assert not it.machine.is_over
    assert [type(event) for event in it.feed(answer(1, flags=ENDED))] == [ResponseCame, MessageEnded]
    assert it.machine.is_over


def test_a_server_that_leaves_twice_is_heard_once() -> None:
    it = asking(GET, GET)
    assert it.feed(goodbye(2**31 - 1)) == [PeerLeaving(), RoomChanged()]
    assert [type(event) for event in it.feed(goodbye(1))] == [MessageCut]
    assert not it.machine.is_over


def test_who_leaves_asks_nothing_more_and_hears_all() -> None:
    it = client()
    it.machine.request(GET, ended=True)
    it.machine.leave()
    it.listen()
    assert [type(one) for one in it.sent[it.start :]] == [HeadersFrame, GoAwayFrame]
    assert not it.machine.has_room
    it.feed(answer(1) + frame(DATA, 1, b"x", END_STREAM))
    assert isinstance(it.events[-1], MessageEnded)
    assert it.machine.is_over


def test_nothing_under_way_and_leaving_is_over() -> None:
    it = client()
    it.machine.leave()
    assert it.machine.is_over
    it.listen()
    assert it.goodbye == NO_ERROR


def test_what_never_left_may_be_sent_again_when_the_connection_breaks() -> None:
    it = asking(GET)
    unsaid = it.machine.request(GET, ended=True)
    cuts = it.machine.receive_end()
    assert [(cut.stream, cut.fault) for cut in cuts if isinstance(cut, MessageCut)] == [
        (1, Fault.RESET),
        (unsaid, Fault.REFUSED),
    ]
    assert it.machine.is_over


# ---- servers that break the rules


@pytest.mark.parametrize(
    ("script", "code"), list(breaches.FROM_A_SERVER.values()), ids=breaches.FROM_A_SERVER
)
def test_a_server_that_breaks_the_protocol_is_left_or_its_stream_is_reset(script: bytes, code: int) -> None:
    it = asking()
    it.feed(script)
    assert it.goodbye == code or it.resets == [(1, code)]
    assert [(cut.stream, cut.fault) for cut in it.cuts] == [(1, Fault.MALFORMED)]
    assert not any(isinstance(event, MessageEnded) for event in it.events)


BAD_ANSWERS = {
    "no-status": trailers(1, ("x", "y")),
    "status-that-is-none": answer(1, status="2oo"),
    "status-of-two-digits": answer(1, status="20"),
    "switch-of-protocol": answer(1, status="101"),
    "line-break": answer(1, ("x", "a\r\nb: c")),
    "upper-case": answer(1, ("X", "y")),
    "connection": answer(1, ("connection", "close")),
    "transfer-encoding": answer(1, ("transfer-encoding", "chunked")),
    "pseudo-field-of-a-request": answer(1, (":path", "/")),
    "two-lengths": answer(1, ("content-length", "1"), ("content-length", "2")),
    "less-than-announced": answer(1, ("content-length", "5")) + frame(DATA, 1, b"abc", END_STREAM),
    "more-than-announced": answer(1, ("content-length", "5")) + frame(DATA, 1, b"abcdef", END_STREAM),
    "body-of-204": answer(1, status="204") + frame(DATA, 1, b"x", END_STREAM),
    "body-of-304": answer(1, status="304") + frame(DATA, 1, b"x", END_STREAM),
    "two-answers": answer(1) + answer(1, flags=ENDED),
    "trailers-that-do-not-end": answer(1) + frame(HEADERS, 1, trailers(1, ("x", "y"))[9:], END_HEADERS),
    "length-among-trailers": answer(1) + trailers(1, ("content-length", "5")),
    "many-headers": answer(1, *[("x", "y")] * 101),
    "many-headers-before-the-answer": answer(1, *[("x", "y")] * 101, status="103"),
    "wait-for-ever": answer(1, status="100") * (MOST_INFORMATION + 1),
    "end-before-the-answer": answer(1, status="103", flags=ENDED),
}


@pytest.mark.parametrize("script", list(BAD_ANSWERS.values()), ids=BAD_ANSWERS)
def test_an_answer_that_breaks_http_is_cut_and_never_ends(script: bytes) -> None:
    it = asking(GET, GET)
    it.feed(script)
    assert [(cut.stream, cut.fault) for cut in it.cuts] == [(1, Fault.MALFORMED)]
    assert not any(isinstance(event, MessageEnded) for event in it.events)
    assert it.resets[0] == (1, PROTOCOL_ERROR)
    assert [event.stream for event in it.feed(answer(3)) if isinstance(event, ResponseCame)] == [3]


def test_a_push_is_refused_also_before_the_server_has_heard_that_there_are_none() -> None:
    it = Fed(Http2Client(), frame(SETTINGS))
    it.machine.request(GET, ended=True)
    it.listen()
    promised = struct.pack("!I", 2) + answer(2)[9:]
    it.feed(frame(PUSH_PROMISE, 1, promised, 4))
    assert it.events == []
    assert it.machine.is_over or it.resets


def test_a_server_that_pings_and_pings_is_left() -> None:
    it = asking()
    taken = it.feed_all([frame(PING, 0, bytes(8)) * 100] * 1000)
    assert taken < 200
    assert it.machine.is_over
    assert [(cut.stream, cut.fault) for cut in it.cuts] == [(1, Fault.OVERLOADED)]


def test_what_answers_to_a_given_up_request_still_sends_uses_up_nothing() -> None:
    it = asking(GET)
    it.machine.reset(1)
    it.listen()
    for _ in range(2000):
        it.feed(frame(DATA, 1, bytes(16_000)))
    assert not it.machine.is_over


def test_settings_of_a_server_are_acknowledged_and_windows_heeded() -> None:
    it = client(first=settings((4, 2)))
    stream = it.machine.request(POST)
    it.machine.send(stream, b"hello")
    it.listen()
    assert it.machine.queued(stream) == 3
    it.feed(settings((4, 4)) + window_update(stream, 1))
    assert it.body(stream) == b"hello"
    assert it.machine.queued(stream) == 0
    assert [one for one in it.sent if isinstance(one, SettingsFrame) and one.flags == {"ACK"}]
    assert it.feed(frame(SETTINGS, flags=ACK)) is not None
