"""What an HTTP/2 server makes of frames: of those that are in order, and of those that are not."""

from __future__ import annotations

import pytest
from core.http.http2_peers import ENDED, GET, POST, server, trailers
from hostile import breaches
from hostile.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    frame,
    request,
    reset,
    settings,
    window_update,
)
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from ambient.core.http.http2 import Http2Server
from ambient.core.http.machine import Limits, Waiting
from ambient.core.http.message import (
    BodyCame,
    Fault,
    MessageCut,
    MessageEnded,
    PeerLeaving,
    RequestCame,
    RequestHead,
    RequestRefused,
    ResponseHead,
)

NO_ERROR, INTERNAL_ERROR, CANCEL = 0, 2, 8
OK = ResponseHead(200)


# ---- requests that are in order


def test_a_request_without_body_has_ended_with_its_head() -> None:
    asked = request(1, (*GET, ("accept", "*/*"), ("te", "trailers")), flags=ENDED)
    head = RequestHead("GET", "shop", "/", (("accept", "*/*"),), length=0, takes_trailers=True)
    assert server().feed(asked) == [RequestCame(1, head), MessageEnded(1)]


def test_a_body_comes_in_parts_and_ends_with_trailers() -> None:
    said = request(1, POST) + frame(DATA, 1, b"ab") + frame(DATA, 1, b"\1cd\0", PADDED)
    came = server().feed(said + trailers(1, ("grpc-status", "0")))
    assert came == [
        RequestCame(1, RequestHead("POST", "shop", "/", length=None)),
        BodyCame(1, b"ab"),
        BodyCame(1, b"cd"),
        MessageEnded(1, (("grpc-status", "0"),)),
    ]


def test_a_body_that_is_announced_is_of_that_length() -> None:
    asked = request(1, (*POST, ("content-length", "2")))
    [came, *rest] = server().feed(asked + frame(DATA, 1, b"ab", END_STREAM))
    assert isinstance(came, RequestCame)
    assert came.head.length == 2
    assert came.head.headers == ()
    assert rest == [BodyCame(1, b"ab"), MessageEnded(1)]


def test_crumbs_of_a_cookie_are_one_again() -> None:
    fields = (*GET, ("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3"))
    [came, _] = server().feed(request(1, fields, flags=ENDED))
    assert isinstance(came, RequestCame)
    assert came.head.headers == (("cookie", "a=1; b=2; c=3"), ("x", "y"))


def test_host_may_stand_for_the_authority_and_say_the_same() -> None:
    for fields in ((*GET[:3], ("host", "shop")), (*GET, ("host", "shop"))):
        [came, _] = server().feed(request(1, fields, flags=ENDED))
        assert isinstance(came, RequestCame)
        assert (came.head.authority, came.head.headers) == ("shop", ())


def test_an_answer_with_trailers_is_said_in_order_after_what_comes_before_it() -> None:
    it = server()
    it.feed(request(1, (*POST, ("expect", "100-continue"))))
    assert it.requests[0].head.expects_continue
    it.machine.inform(1, 100)
    it.machine.respond(1, ResponseHead(200, (("a", "b"),)))
    it.machine.send(1, b"hello")
    it.feed(frame(DATA, 1, b"", END_STREAM))
    it.machine.finish(1, (("grpc-status", "0"),))
    it.listen()
    assert [type(one) for one in it.sent[it.start :]] == [HeadersFrame, HeadersFrame, DataFrame, HeadersFrame]
    assert "END_STREAM" in it.sent[-1].flags
    assert it.machine.waiting is Waiting.IDLE


def test_a_websocket_is_asked_for_and_taken_as_rfc_8441_has_it() -> None:
    it = server()
    asked = ((":method", "CONNECT"), (":protocol", "websocket"), *GET[1:])
    came = it.feed(request(1, asked))
    assert came == [RequestCame(1, RequestHead("GET", "shop", "/", length=0, upgrade="websocket"))]
    it.machine.respond(1, ResponseHead(101))
    it.machine.send(1, b"down")
    assert it.feed(frame(DATA, 1, b"up")) == [BodyCame(1, b"up")]
    assert it.heads == [(1, [(":status", "200")])]
    assert it.body(1) == b"down"
    it.machine.finish(1)
    assert it.feed(frame(DATA, 1, b"more", END_STREAM)) == [BodyCame(1, b"more"), MessageEnded(1)]
    assert it.resets == []


def test_a_websocket_that_is_not_taken_never_looks_as_if_it_were() -> None:
    it = server()
    it.feed(request(1, ((":method", "CONNECT"), (":protocol", "websocket"), *GET[1:])))
    it.machine.respond(1, ResponseHead(200, length=5))
    it.machine.send(1, b"hello")
    it.listen()
    assert it.heads == [(1, [(":status", "502")])]
    assert it.body(1) == b""


# ---- what the other machines see of it


@pytest.mark.parametrize("length", [3, 10])
def test_a_body_of_another_length_than_was_announced_is_never_passed_off(length: int) -> None:
    it = server()
    it.feed(request(1, GET, flags=ENDED))
    it.machine.respond(1, ResponseHead(200, length=length))
    it.machine.send(1, b"hello")
    it.machine.finish(1)
    [cut] = it.feed()
    assert isinstance(cut, MessageCut)
    assert cut.fault is Fault.RESET
    assert it.resets == [(1, INTERNAL_ERROR)]


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_what_has_no_body_says_how_long_it_would_be_and_no_more(method: str, status: int) -> None:
    it = server()
    it.feed(request(1, ((":method", method), *GET[1:]), flags=ENDED))
    it.machine.respond(1, ResponseHead(status, length=5))
    it.machine.send(1, b"hello")
    it.machine.finish(1, (("x", "y"),))
    it.listen()
    assert it.body(1) == b""
    assert it.resets == []
    [(_, fields)] = it.heads
    assert (("content-length", "5") in fields) is (status != 204)
    assert it.machine.waiting is Waiting.IDLE


def test_a_client_that_was_answered_before_it_had_said_all_is_told_to_stop() -> None:
    it = server()
    it.feed(request(1, POST) + frame(DATA, 1, b"x"))
    it.machine.respond(1, ResponseHead(413), ended=True)
    it.listen()
    assert [type(one) for one in it.sent[it.start :]] == [HeadersFrame, RstStreamFrame]
    assert it.resets == [(1, NO_ERROR)]
    [cut] = it.feed()
    assert isinstance(cut, MessageCut)
    assert cut.fault is Fault.CANCELLED
    assert it.feed(frame(DATA, 1, b"x", END_STREAM)) == []


def test_nobody_is_told_to_stop_before_the_answer_has_left() -> None:
    it = server(first=settings((4, 3)))
    it.feed(request(1, POST))
    it.machine.respond(1, OK)
    it.machine.send(1, b"hello")
    it.machine.finish(1)
    it.feed(frame(DATA, 1, b"x"))
    assert it.resets == []
    assert it.body(1) == b"hel"
    it.feed(window_update(1, 3))
    assert it.body(1) == b"hello"
    assert it.resets == [(1, NO_ERROR)]


# ---- h2spec


ERRORS = breaches.connection_errors(POST) | {
    "window-that-settings-overflow": (
        request(1, POST) + window_update(1, 2**30) + settings((4, 2**31 - 1)),
        FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize(("script", "code"), list(ERRORS.values()), ids=ERRORS)
def test_a_broken_connection_is_ended_with_its_reason(script: bytes, code: int) -> None:
    it = server()
    it.feed(script)
    it.feed(request(101, GET))
    assert it.machine.is_over
    assert it.goodbye == code
    assert 101 not in [came.stream for came in it.requests]
    assert {cut.stream for cut in it.cuts} == {came.stream for came in it.requests}
    assert {cut.fault for cut in it.cuts} <= {Fault.MALFORMED}
    assert it.refused == [400]


def block_of(*fields: tuple[str, str]) -> bytes:
    return request(1, (*GET, *fields))[9:]


LETS_PASS = {
    "unknown-frame": frame(0xEE, 1, b"x") + frame(0xEE, 0, b"x", 0xFF),
    "unknown-setting": settings((0x99, 1)),
    "undefined-flags": frame(PING, 0, bytes(8), 0xFE),
    "reserved-bit": frame(PING, 2**31, bytes(8)),
    "priority-of-an-idle-stream": frame(PRIORITY, 9, b"\0\0\0\0\1"),
    "priority-that-depends-on-itself": frame(PRIORITY, 9, b"\0\0\0\x09\1"),
    "ping-that-answers-nothing": frame(PING, 0, bytes(8), ACK),
    "windows-that-become-negative-and-large": settings((4, 0)) + settings((4, 2**31 - 1)),
    "window-update-of-the-most": window_update(0, 2**31 - 1 - 65_535),
    "a-smaller-table": settings((1, 0)),
    "frames-of-the-largest-size": settings((5, 2**24 - 1)),
}


@pytest.mark.parametrize("script", list(LETS_PASS.values()), ids=LETS_PASS)
def test_what_the_standard_lets_pass_changes_nothing(script: bytes) -> None:
    it = server()
    assert it.feed(script) == []
    it.feed(request(11, GET, flags=ENDED))
    it.machine.respond(11, OK, ended=True)
    it.listen()
    assert it.heads == [(11, [(":status", "200")])]


def test_a_head_may_come_in_pieces_with_padding_and_priority() -> None:
    block = block_of(("a", "b" * 300))
    pieces = frame(HEADERS, 1, b"\3" + b"\0\0\0\0\7" + block[:9] + bytes(3), 0x20 | PADDED | END_STREAM)
    pieces += frame(CONTINUATION, 1, block[9:20]) + frame(CONTINUATION, 1, block[20:], END_HEADERS)
    [came, _] = server().feed(pieces)
    assert isinstance(came, RequestCame)
    assert came.head.headers == (("a", "b" * 300),)


def test_settings_and_pings_are_answered() -> None:
    it = server()
    it.feed(settings((4, 7)) + frame(PING, 0, b"12345678"))
    assert [type(one) for one in it.sent[it.start :]] == [SettingsFrame, PingFrame]
    assert it.sent[-1].opaque_data == b"12345678"
    assert all("ACK" in one.flags for one in it.sent[it.start :])


def test_a_window_that_settings_made_negative_must_fill_up_first() -> None:
    it = server(first=settings((4, 5)))
    it.feed(request(1, GET, flags=ENDED))
    it.machine.respond(1, OK)
    it.machine.send(1, b"0123456789")
    it.listen()
    it.feed(settings((4, 2)))
    assert it.body(1) == b"01234"
    it.feed(window_update(1, 3))
    assert it.body(1) == b"01234"
    it.feed(window_update(1, 2))
    assert it.body(1) == b"0123456"


MALFORMED = breaches.malformed(POST) | {
    "no-authority-and-no-host": request(1, GET[:3]),
    "empty-path": request(1, (GET[0], GET[1], (":path", ""), GET[3])),
    "path-without-slash": request(1, (GET[0], GET[1], (":path", "x"), GET[3])),
    "request-line-in-the-path": request(1, (GET[0], GET[1], (":path", "/ HTTP/1.1\r\nx: y"), GET[3])),
    "request-line-in-the-method": request(1, ((":method", "GET / HTTP/1.1"), *GET[1:])),
    "space-in-a-name": request(1, (*GET, ("a b", "c"))),
    "colon-in-a-name": request(1, (*GET, ("a:b", "c"))),
    "colon-first-in-a-name": request(1, (*GET, (":b", "c"))),
    "proxy-connection": request(1, (*GET, ("proxy-connection", "close"))),
    "keep-alive": request(1, (*GET, ("keep-alive", "1"))),
    "upgrade": request(1, (*GET, ("upgrade", "h2c"))),
    "two-lengths": request(1, (*POST, ("content-length", "1"), ("content-length", "2"))),
    "length-that-is-no-number": request(1, (*POST, ("content-length", "+1"))),
    "two-hosts": request(1, (*GET, ("host", "shop"), ("host", "shop"))),
    "length-and-no-body": request(1, (*POST, ("content-length", "5")), flags=ENDED),
    "protocol-without-connect": request(1, (*GET, (":protocol", "websocket"))),
    "authority-with-user": request(1, (*GET[:3], (":authority", "me@shop"))),
    "authority-with-path": request(1, (*GET[:3], (":authority", "shop/x"))),
    "star-that-is-not-options": request(1, (*GET[:2], (":path", "*"), GET[3])),
    "url-in-the-scheme": request(1, (GET[0], (":scheme", "http://other/?"), *GET[2:])),
    "space-in-the-scheme": request(1, (GET[0], (":scheme", "ht tp"), *GET[2:])),
}


@pytest.mark.parametrize("script", list(MALFORMED.values()), ids=MALFORMED)
def test_a_malformed_request_is_reset_and_never_heard_of(script: bytes) -> None:
    it = server()
    it.feed(script)
    assert it.requests == []
    assert it.refused == [400]
    assert it.resets == [(1, PROTOCOL_ERROR)]
    it.feed(request(3, GET))
    assert [came.stream for came in it.requests] == [3]


def head_with(*fields: tuple[str, str]) -> bytes:
    return request(1, (*GET, *fields), flags=ENDED)


REFUSED = {
    "host-that-is-not-the-authority": (head_with(("host", "other")), 400),
    "host-that-is-none": (request(1, (*GET[:3], ("host", "shop:99999"))), 400),
    "fragment": (request(1, (*GET[:2], (":path", "/#x"), GET[3])), 400),
    "another-scheme": (request(1, (GET[0], (":scheme", "ftp"), *GET[2:])), 400),
    "underscore": (head_with(("x_user", "root")), 400),
    "http2-settings": (head_with(("http2-settings", "AAMAAABkAAQAAP__")), 400),
    "another-expectation": (head_with(("expect", "200-maybe")), 417),
    "long-path": (request(1, (*GET[:2], (":path", "/" + "x" * 9000), GET[3])), 414),
    "many-headers": (head_with(*[("x", "y")] * 101), 431),
    "crumbs-that-are-many": (head_with(*[("cookie", "a=b")] * 101), 431),
    "connect": (request(1, ((":method", "CONNECT"), (":authority", "shop:80"))), 405),
    "connect-for-datagrams": (
        request(1, ((":method", "CONNECT"), (":protocol", "connect-udp"), *GET[1:])),
        501,
    ),
}


@pytest.mark.parametrize(("script", "status"), list(REFUSED.values()), ids=REFUSED)
def test_a_request_that_nobody_may_pass_on_is_answered_by_the_machine(script: bytes, status: int) -> None:
    it = server()
    it.feed(script)
    assert it.requests == []
    assert it.refused == [status]
    [(_, fields)] = it.heads
    assert fields[0] == (":status", str(status))
    assert it.resets in ([], [(1, NO_ERROR)])
    assert it.machine.waiting is Waiting.IDLE
    it.feed(request(3, GET))
    assert [came.stream for came in it.requests] == [3]


def test_long_headers_are_refused_and_the_connection_lives() -> None:
    it = server()
    block = request(1, (*GET, *[(f"x{number}", "y" * 3000) for number in range(21)]))[9:]
    it.feed(frame(HEADERS, 1, block[:16000], END_STREAM) + b"".join(
        frame(9, 1, block[at : at + 16000], END_HEADERS if at + 16000 >= len(block) else 0)
        for at in range(16000, len(block), 16000)
    ))  # fmt: skip
    assert it.refused == [431]
    it.feed(request(3, GET))
    assert [came.stream for came in it.requests] == [3]


LIES = {
    "less-than-announced": frame(DATA, 1, b"abc", END_STREAM),
    "more-than-announced": frame(DATA, 1, b"abcdef"),
    "trailers-before-all-of-it": frame(DATA, 1, b"abc") + trailers(1, ("x", "y")),
    "nothing": frame(DATA, 1, b"", END_STREAM),
}


@pytest.mark.parametrize("script", list(LIES.values()), ids=LIES)
def test_a_body_of_another_length_is_cut_and_never_ends(script: bytes) -> None:
    it = server()
    it.feed(request(1, (*POST, ("content-length", "5"))) + script)
    assert not any(isinstance(event, MessageEnded) for event in it.events)
    assert [(cut.stream, cut.fault) for cut in it.cuts] == [(1, Fault.MALFORMED)]
    assert it.resets == [(1, PROTOCOL_ERROR)]


BAD_TRAILERS = {
    "pseudo-field": trailers(1, (":path", "/")),
    "length": trailers(1, ("content-length", "5")),
    "host": trailers(1, ("host", "other")),
    "upper-case": trailers(1, ("X", "y")),
    "underscore": trailers(1, ("x_y", "z")),
    "no-end-of-stream": frame(HEADERS, 1, trailers(1, ("x", "y"))[9:], END_HEADERS),
    "many": trailers(1, *[("x", "y")] * 101),
}


@pytest.mark.parametrize("script", list(BAD_TRAILERS.values()), ids=BAD_TRAILERS)
def test_trailers_that_say_what_they_may_not_cut_the_request(script: bytes) -> None:
    it = server()
    it.feed(request(1, POST) + script)
    assert not any(isinstance(event, MessageEnded) for event in it.events)
    assert [(cut.stream, cut.fault) for cut in it.cuts] == [(1, Fault.MALFORMED)]


# ---- streams


def test_streams_beyond_the_limit_are_refused_unheard() -> None:
    it = server(Limits(streams=3))
    it.feed(b"".join(request(stream, GET, flags=ENDED) for stream in (1, 3, 5, 7, 9)))
    assert [came.stream for came in it.requests] == [1, 3, 5]
    assert it.resets == [(7, REFUSED_STREAM), (9, REFUSED_STREAM)]
    assert it.refused == []
    it.machine.respond(3, OK, ended=True)
    it.listen()
    it.feed(request(11, GET))
    assert [came.stream for came in it.requests][3:] == [11]


def test_what_is_announced_is_what_holds() -> None:
    it = server(Limits(streams=7, stream_window=1000, header_bytes=2000))
    [said] = [one for one in it.sent if isinstance(one, SettingsFrame) and "ACK" not in one.flags]
    assert said.settings == {3: 7, 4: 1000, 6: 2000, 8: 1, 9: 1}


def test_work_whose_end_nobody_has_heard_of_counts_as_well() -> None:
    it = server(Limits(streams=3))
    opened = [request(stream, GET) + reset(stream) for stream in (1, 3, 5, 7)]
    it.feed(b"".join(opened), listens=False)
    assert [came.stream for came in it.requests] == [1, 3, 5]
    it.feed()
    it.feed(request(9, GET))
    assert [came.stream for came in it.requests][3:] == [9]


def test_a_stream_number_that_was_used_or_passed_over_is_not_heard_of() -> None:
    it = server()
    it.feed(request(5, GET, flags=ENDED))
    it.machine.respond(5, OK, ended=True)
    it.listen()
    it.feed(request(5, GET) + request(3, GET))
    assert [came.stream for came in it.requests] == [5]


@pytest.mark.parametrize(
    ("code", "fault"),
    [(CANCEL, Fault.CANCELLED), (NO_ERROR, Fault.CANCELLED), (11, Fault.OVERLOADED), (1, Fault.RESET), (0x99, Fault.RESET)],
)  # fmt: skip
def test_a_reset_says_why(code: int, fault: Fault) -> None:
    it = server()
    it.feed(request(1, POST) + reset(1, code))
    assert [(cut.stream, cut.fault) for cut in it.cuts] == [(1, fault)]


def test_what_comes_after_a_reset_is_of_no_stream() -> None:
    it = server()
    it.feed(request(1, POST) + reset(1) + frame(DATA, 1, b"late") + trailers(1, ("x", "y")) + reset(1))
    assert [type(event) for event in it.events] == [RequestCame, MessageCut]
    it.machine.respond(1, OK)
    it.machine.send(1, b"late")
    it.machine.finish(1)
    it.machine.reset(1)
    it.machine.consumed(1, 100)
    it.listen()
    assert it.machine.queued(1) == 0
    assert it.heads == []


def test_what_a_client_still_sends_on_a_stream_that_we_reset_uses_up_nothing() -> None:
    it = server(Limits(streams=1, stream_window=65_536, connection_window=65_536))
    it.feed(request(1, POST))
    it.machine.reset(1)
    it.listen()
    for _ in range(20):
        it.feed(frame(DATA, 1, bytes(16_000)))
    it.feed(request(3, POST) + frame(DATA, 3, bytes(16_000)))
    assert isinstance(it.events[-1], BodyCame)
    assert not it.machine.is_over


# ---- windows


def test_a_window_is_given_back_as_its_bytes_are_consumed() -> None:
    it = server()
    it.feed(request(1, POST) + frame(DATA, 1, bytes(16_000)) * 4)
    it.forget()
    it.listen()
    assert it.sent == []
    it.machine.consumed(1, 40_000)
    it.listen()
    assert [(one.stream_id, one.window_increment) for one in it.sent] == [(1, 40_000)]


def test_stalled_streams_never_use_up_what_others_need() -> None:
    it = server()
    for stream in range(1, 199, 2):
        it.feed(request(stream, POST) + frame(DATA, stream, bytes(16_384)) * 4)
    it.feed(request(199, POST))
    for _ in range(200):
        [came] = it.feed(frame(DATA, 199, bytes(16_384)))
        assert isinstance(came, BodyCame)
        it.machine.consumed(199, 16_384)
        it.listen()
    assert not it.machine.is_over


def test_what_was_not_consumed_of_an_ended_stream_is_given_back_to_the_connection() -> None:
    it = server(Limits(streams=2, stream_window=65_535, connection_window=65_535))
    granted = 131_070
    for stream in range(1, 401, 2):
        it.feed(request(stream, POST) + frame(DATA, stream, bytes(16_000), END_STREAM))
        granted -= 16_000
        assert granted >= 0, "an honest client would wait for ever"
        it.machine.respond(stream, OK, ended=True)
        it.listen()
        granted += sum(
            one.window_increment
            for one in it.sent
            if isinstance(one, WindowUpdateFrame) and not one.stream_id
        )
        it.sent.clear()


def test_a_slow_reader_gets_what_it_makes_room_for_and_nothing_grows() -> None:
    it = server(first=settings((4, 1)))
    it.feed(request(1, GET, flags=ENDED))
    it.machine.respond(1, OK)
    it.machine.send(1, bytes(range(200)))
    it.machine.finish(1)
    for left in range(199, 0, -1):
        it.listen()
        assert it.machine.queued(1) == left
        it.feed(window_update(1, 1))
    assert it.body(1) == bytes(range(200))
    assert it.machine.waiting is Waiting.IDLE


# ---- goodbyes


def test_who_leaves_takes_nothing_more_and_ends_what_lives() -> None:
    it = server()
    it.feed(request(1, POST))
    it.machine.leave()
    it.machine.leave()
    it.listen()
    [goodbye] = [one for one in it.sent if isinstance(one, GoAwayFrame)]
    assert (goodbye.last_stream_id, goodbye.error_code) == (1, NO_ERROR)
    assert not it.machine.is_over
    assert it.feed(request(3, GET) + frame(DATA, 1, b"x", END_STREAM)) == [BodyCame(1, b"x"), MessageEnded(1)]
    it.machine.respond(1, OK, ended=True)
    it.listen()
    assert it.machine.is_over
    assert it.feed(frame(6, 0, bytes(8)) + b"\0\0\0") == []


def test_what_a_client_asked_before_its_goodbye_is_answered() -> None:
    it = server()
    it.feed(request(1, GET, flags=ENDED))
    assert it.feed(frame(GOAWAY, 0, bytes(8)) * 2) == [PeerLeaving()]
    assert not it.machine.is_over
    it.machine.respond(1, OK, ended=True)
    it.listen()
    assert [type(one) for one in it.sent[it.start :]] == [HeadersFrame]
    assert it.machine.is_over


def test_a_client_that_hangs_up_wants_no_more_of_anything() -> None:
    it = server()
    it.feed(request(1, GET, flags=ENDED) + request(3, POST))
    assert [(cut.stream, cut.fault) for cut in it.machine.receive_end() if isinstance(cut, MessageCut)] == [
        (1, Fault.CANCELLED),
        (3, Fault.CANCELLED),
    ]
    assert it.machine.is_over
    assert it.machine.receive_end() == []
    assert it.feed(request(5, GET)) == []


def test_first_bytes_that_are_not_http2_end_the_connection() -> None:
    machine = Http2Server()
    [refused] = machine.receive(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
    assert isinstance(refused, RequestRefused)
    assert machine.is_over


# ---- waiting


def test_what_it_waits_for_is_a_head_only_while_nothing_else_is_under_way() -> None:
    it = server()
    assert Http2Server().waiting is Waiting.IDLE
    assert it.machine.waiting is Waiting.IDLE
    block = request(1, GET, flags=ENDED)
    for at in range(1, len(block)):
        it.feed(block[at - 1 : at])
        assert it.machine.waiting is Waiting.HEAD
    it.feed(block[-1:])
    assert it.machine.waiting is Waiting.MESSAGE
    it.feed(request(3, GET, flags=0))
    assert it.machine.waiting is Waiting.MESSAGE
    it.machine.respond(1, OK, ended=True)
    it.listen()
    assert it.machine.waiting is Waiting.HEAD


@pytest.mark.parametrize("begun", [request(1, GET)[:12], request(1, GET, flags=0)], ids=["frame", "block"])
def test_a_head_that_does_not_come_is_refused(begun: bytes) -> None:
    it = server()
    it.feed(begun)
    assert [event.status for event in it.machine.expire() if isinstance(event, RequestRefused)] == [408]
    it.listen()
    assert it.goodbye == ENHANCE_YOUR_CALM
    assert it.machine.is_over


def test_a_head_that_has_come_after_all_is_not_refused() -> None:
    it = server()
    assert it.machine.expire() == []
    it.feed(request(1, POST))
    assert it.machine.expire() == []
    assert not it.machine.is_over


def test_a_switch_of_protocol_that_nobody_asked_for_is_a_fault_of_ours() -> None:
    it = server()
    it.feed(request(1, GET))
    with pytest.raises(ValueError, match="protocol"):
        it.machine.respond(1, ResponseHead(101))
    with pytest.raises(ValueError, match="101"):
        it.machine.inform(1, 101)
