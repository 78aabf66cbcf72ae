"""HTTP/1.1 at the end that is asked: scripts of bytes, events and answers."""

from __future__ import annotations

import pytest
from core.http.http1_scripts import all_told, asked, body, singly, told, written

from ambient.core.http import bodies, http1
from ambient.core.http.http1 import Http1Server
from ambient.core.http.machine import Limits, Waiting
from ambient.core.http.message import (
    BodyCame,
    Fault,
    MessageCut,
    MessageEnded,
    RequestCame,
    RequestHead,
    RequestRefused,
    ResponseHead,
)

GET = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
OK = ResponseHead(200, length=2)
WEBSOCKET = (
    b"GET /chat HTTP/1.1\r\nHost: web\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
)


def answer(machine: Http1Server, stream: int, content: bytes = b"ok") -> bytes:
    machine.respond(stream, ResponseHead(200, length=len(content)))
    machine.send(stream, content)
    machine.finish(stream)
    return written(machine)


def with_lines(*lines: bytes, first: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join((first, *lines, b"", b""))


def chunked(content: bytes) -> bytes:
    return with_lines(b"Host: web", b"Transfer-Encoding: chunked") + content


# What is asked


def test_a_request_is_told_with_its_end() -> None:
    machine = Http1Server()
    assert machine.waiting is Waiting.IDLE
    events = told(
        machine, [with_lines(b"Host: web:80", b"Accept: */*", b"X-A:  b\t ", first=b"GET /a?b HTTP/1.1")]
    )
    head = RequestHead("GET", "web:80", "/a?b", (("accept", "*/*"), ("x-a", "b")))
    assert events == [RequestCame(1, head), MessageEnded(1)]
    assert machine.waiting is Waiting.MESSAGE


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            with_lines(b"Host: web", b"Content-Length: 0"), RequestHead("POST", "web", "/"), id="no-body"
        ),
        pytest.param(
            with_lines(b"host: WEB", first=b"GET http://web/a HTTP/1.1"),
            RequestHead("GET", "web", "/a"),
            id="absolute",
        ),
        pytest.param(
            with_lines(b"Host: web:8080", first=b"GET HTTP://web:8080?a HTTP/1.1"),
            RequestHead("GET", "web:8080", "/?a"),
            id="absolute-without-path",
        ),
        pytest.param(
            with_lines(b"Host: web", first=b"OPTIONS http://web HTTP/1.1"),
            RequestHead("OPTIONS", "web", "*"),
            id="absolute-options",
        ),
        pytest.param(
            with_lines(b"Host: web", first=b"OPTIONS * HTTP/1.1"),
            RequestHead("OPTIONS", "web", "*"),
            id="options",
        ),
        pytest.param(b"\r\n" + GET, RequestHead("GET", "web", "/"), id="one-empty-line-before"),
        pytest.param(
            with_lines(
                b"Host: web", b"TE: trailers, deflate;q=0.5", b"Connection: TE", first=b"GET / HTTP/1.1"
            ),
            RequestHead("GET", "web", "/", takes_trailers=True),
            id="te",
        ),
        pytest.param(
            with_lines(
                b"Host: web", b"Keep-Alive: 5", b"Proxy-Connection: x", b"Trailer: x", first=b"GET / HTTP/1.1"
            ),
            RequestHead("GET", "web", "/"),
            id="of-one-hop",
        ),
        pytest.param(
            with_lines(
                b"Host: web", b"X-A: 1", b"Connection: x-a, close", b"X-B: 2", first=b"GET / HTTP/1.1"
            ),
            RequestHead("GET", "web", "/", (("x-b", "2"),)),
            id="nominated",
        ),
        pytest.param(
            with_lines(
                b"Host: web",
                b"Connection: Upgrade, HTTP2-Settings",
                b"Upgrade: h2c",
                b"HTTP2-Settings: AAMAAABkAAQAAP__",
                first=b"GET / HTTP/1.1",
            ),
            RequestHead("GET", "web", "/"),
            id="h2c-is-not-offered",
        ),
        pytest.param(
            with_lines(b"Host: web", b"HTTP2-Settings: AAMA", b"Upgrade: websocket", first=b"GET / HTTP/1.1"),
            RequestHead("GET", "web", "/"),
            id="an-upgrade-that-the-connection-does-not-name",
        ),
        pytest.param(
            WEBSOCKET, RequestHead("GET", "web", "/chat", upgrade="websocket", length=None), id="websocket"
        ),
        pytest.param(
            with_lines(
                b"Host: web", b"Connection: upgrade", b"Upgrade: h2c, spdy/3.1", first=b"GET / HTTP/1.1"
            ),
            RequestHead("GET", "web", "/", upgrade="spdy/3.1", length=None),
            id="the-first-upgrade-that-is-possible",
        ),
        pytest.param(
            with_lines(b"Host: web", b"Connection: upgrade", b"Upgrade: websocket", first=b"GET / HTTP/1.0"),
            RequestHead("GET", "web", "/"),
            id="no-upgrade-of-http-1.0",
        ),
        pytest.param(
            with_lines(b"Host: web", b"Expect: 100-continue", first=b"GET / HTTP/1.1"),
            RequestHead("GET", "web", "/"),
            id="nothing-to-wait-with",
        ),
        pytest.param(
            with_lines(b"Host: web", "X-Name: é".encode(), first=b"GET / HTTP/1.1"),
            RequestHead("GET", "web", "/", (("x-name", "Ã©"),)),
            id="bytes-as-they-are",
        ),
    ],
)
def test_what_a_head_says(data: bytes, expected: RequestHead) -> None:
    for pieces in ([data], singly(data)):
        assert asked(told(Http1Server(), pieces)) == expected


def test_a_body_of_a_length() -> None:
    machine = Http1Server()
    events = told(machine, [with_lines(b"Host: web", b"Content-Length: 5"), b"he", b"llo"])
    head = RequestHead("POST", "web", "/", length=5)
    assert events == [RequestCame(1, head), BodyCame(1, b"hello"), MessageEnded(1)]


def test_a_body_in_chunks_and_its_trailers() -> None:
    machine = Http1Server()
    data = chunked(b"5\r\nhello\r\n00A;x=y\r\n, worldly!\r\n0\r\nX-Sum: 1\r\nAuthorization: x\r\n\r\n")
    for pieces in ([data], singly(data)):
        machine = Http1Server()
        assert told(machine, pieces) == [
            RequestCame(1, RequestHead("POST", "web", "/", length=None)),
            BodyCame(1, b"hello, worldly!"),
            MessageEnded(1, (("x-sum", "1"),)),
        ]


# What is refused: meshes checklist, items 1 to 8 and 10, 11


REFUSED = [
    # 1: Transfer-Encoding
    pytest.param(chunked(b"")[:-2] + b"Content-Length: 5\r\n\r\n", 400, id="1-te-and-cl"),
    pytest.param(
        with_lines(b"Host: web", b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400, id="1-cl-and-te"
    ),
    pytest.param(
        with_lines(b"Host: web", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        400,
        id="1-te-twice",
    ),
    pytest.param(
        with_lines(b"Host: web", b"Transfer-Encoding: chunked, chunked"), 400, id="1-te-list-of-one"
    ),
    pytest.param(with_lines(b"Host: web", b"Transfer-Encoding: gzip, chunked"), 400, id="1-te-list"),
    pytest.param(with_lines(b"Host: web", b"Transfer-Encoding: identity"), 400, id="1-te-identity"),
    pytest.param(with_lines(b"Host: web", b"Transfer-Encoding: xchunked"), 400, id="1-te-xchunked"),
    pytest.param(with_lines(b"Host: web", b"Transfer-Encoding:"), 400, id="1-te-empty"),
    pytest.param(with_lines(b"Host: web", b'Transfer-Encoding: "chunked"'), 400, id="1-te-quoted"),
    pytest.param(with_lines(b"Host: web", b"Transfer-Encoding: chunked;q=1"), 400, id="1-te-parameter"),
    pytest.param(with_lines(b"Host: web", b"Transfer-Encoding:\x0bchunked"), 400, id="1-te-vertical-tab"),
    pytest.param(
        with_lines(b"Host: web", b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"),
        400,
        id="1-te-http-1.0",
    ),
    pytest.param(with_lines(b"Host: web", b"Transfer-Encoding : chunked"), 400, id="1-te-space-before-colon"),
    pytest.param(with_lines(b"Host: web", b"Transfer_Encoding: chunked"), 400, id="1-te-underscore"),
    # 2: Content-Length
    pytest.param(with_lines(b"Host: web", b"Content-Length: 5", b"Content-Length: 5"), 400, id="2-cl-twice"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: 5", b"Content-Length: 6"), 400, id="2-cl-two"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: 5, 5"), 400, id="2-cl-list"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: +5"), 400, id="2-cl-plus"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: -5"), 400, id="2-cl-minus"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: 0x5"), 400, id="2-cl-hex"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: 5.0"), 400, id="2-cl-fraction"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: 5 5"), 400, id="2-cl-space"),
    pytest.param(with_lines(b"Host: web", b"Content-Length:"), 400, id="2-cl-empty"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: 18446744073709551621"), 400, id="2-cl-overflow"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: " + b"9" * 19), 400, id="2-cl-too-long"),
    # 3: lines
    pytest.param(b"GET / HTTP/1.1\nHost: web\n\n", 400, id="3-bare-lf"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\nY: b\r\n\r\n", 400, id="3-bare-lf-in-fields"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\rY: b\r\n\r\n", 400, id="3-bare-cr"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\r\r\n\r\n", 400, id="3-cr-cr-lf"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\0b\r\n\r\n", 400, id="3-nul"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\x1bb\r\n\r\n", 400, id="3-escape"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\x7f\r\n\r\n", 400, id="3-delete"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\r\n b\r\n\r\n", 400, id="3-obs-fold"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX: a\r\n\tb\r\n\r\n", 400, id="3-obs-fold-tab"),
    pytest.param(b"GET / HTTP/1.1\r\n Host: web\r\n\r\n", 400, id="3-space-first"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX : a\r\n\r\n", 400, id="3-space-before-colon"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX\r\n\r\n", 400, id="3-no-colon"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\n: a\r\n\r\n", 400, id="3-no-name"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX(: a\r\n\r\n", 400, id="3-no-token"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX\xe9: a\r\n\r\n", 400, id="3-name-not-ascii"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nX_Y: a\r\n\r\n", 400, id="23-underscore"),
    # 5: Host
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="5-no-host"),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", 400, id="5-no-host-http-1.0"),
    pytest.param(b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400, id="5-no-host-but-others"),
    pytest.param(b"GET http://web/ HTTP/1.1\r\n\r\n", 400, id="5-no-host-absolute"),
    pytest.param(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, id="5-empty-host"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nHost: web\r\n\r\n", 400, id="5-two-hosts"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web\r\nhost: other\r\n\r\n", 400, id="5-two-hosts-that-differ"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web, other\r\n\r\n", 400, id="5-list-of-hosts"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: u@web\r\n\r\n", 400, id="5-user"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web/a\r\n\r\n", 400, id="5-slash"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web?a\r\n\r\n", 400, id="5-question"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web#a\r\n\r\n", 400, id="5-fragment"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: we b\r\n\r\n", 400, id="5-space"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: web:80a\r\n\r\n", 400, id="5-port"),
    pytest.param(b"GET http://other/ HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="5-absolute-other"),
    pytest.param(b"GET http://web:81/ HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="5-absolute-other-port"),
    pytest.param(b"GET http://u@web/ HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="5-absolute-user"),
    pytest.param(b"GET http:/// HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="5-absolute-without-authority"),
    pytest.param(b"GET https://web/ HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="5-absolute-https"),
    pytest.param(b"GET file://web/ HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="5-absolute-file"),
    # 6: versions and first lines
    pytest.param(b"GET /\r\n\r\n", 400, id="6-http-0.9"),
    pytest.param(b"GET /\r\n", 400, id="6-http-0.9-alone"),
    pytest.param(b"GET / HTTP/2.0\r\nHost: web\r\n\r\n", 505, id="6-http-2-as-text"),
    pytest.param(b"GET / HTTP/1.2\r\nHost: web\r\n\r\n", 505, id="6-http-1.2"),
    pytest.param(b"GET / http/1.1\r\nHost: web\r\n\r\n", 400, id="6-version-in-small-letters"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="6-preface-of-http-2"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", 400, id="6-tls"),
    pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", 400, id="6-ssh"),
    pytest.param(b"\r\n\r\n" + GET, 400, id="6-two-empty-lines-before"),
    pytest.param(b"GET  / HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="6-two-spaces"),
    pytest.param(b" GET / HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="6-space-first"),
    pytest.param(b"GET / HTTP/1.1 \r\nHost: web\r\n\r\n", 400, id="6-space-last"),
    pytest.param(b"GET\t/\tHTTP/1.1\r\nHost: web\r\n\r\n", 400, id="6-tabs"),
    pytest.param(b"GET /a b HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="6-space-in-path"),
    pytest.param(b"GET a HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="6-relative"),
    pytest.param(b"GET * HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="6-asterisk"),
    pytest.param(b"GET /a#b HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="22-fragment"),
    pytest.param(b"GET /\xc3\xa9 HTTP/1.1\r\nHost: web\r\n\r\n", 400, id="6-path-not-ascii"),
    pytest.param(b"get / HTTP/1.1\r\nHost: web\r\n\r\n", 501, id="6-method-in-small-letters"),
    pytest.param(b"FOO / HTTP/1.1\r\nHost: web\r\n\r\n", 501, id="6-method-unknown"),
    pytest.param(b"G@T / HTTP/1.1\r\nHost: web\r\n\r\n", 501, id="6-method-no-token"),
    pytest.param(b"CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n", 405, id="6-connect"),
    # 7: limits
    pytest.param(b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: web\r\n\r\n", 414, id="7-request-line"),
    pytest.param(b"GET /" + b"a" * 9000, 414, id="7-request-line-without-end"),
    pytest.param(GET[:-2] + b"X: " + b"a" * 61440 + b"\r\n\r\n", 431, id="7-head"),
    pytest.param(GET[:-2] + b"X: " + b"a" * 61440, 431, id="7-head-without-end"),
    pytest.param(GET[:-2] + b"X: a\r\n" * 100 + b"\r\n", 431, id="7-fields"),
    # 10: what Connection may name, 11: expectations
    pytest.param(with_lines(b"Host: web", b"Connection: close, Authorization"), 400, id="10-authorization"),
    pytest.param(with_lines(b"Host: web", b"Connection: X-Forwarded-For"), 400, id="10-x-forwarded-for"),
    pytest.param(with_lines(b"Host: web", b"Connection: Host"), 400, id="10-host"),
    pytest.param(with_lines(b"Host: web", b"Connection: Cookie"), 400, id="10-cookie"),
    pytest.param(
        with_lines(b"Host: web", b"Connection: Content-Length", b"Content-Length: 5"), 400, id="10-length"
    ),
    pytest.param(
        with_lines(b"Host: web", b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked"),
        400,
        id="10-te",
    ),
    pytest.param(with_lines(b"Host: web", b"Connection: " + b"a," * 10 + b"a"), 400, id="10-many"),
    pytest.param(with_lines(b"Host: web", b"Content-Length: 1", b"Expect: 200-ok"), 417, id="11-expectation"),
    pytest.param(with_lines(b"Host: web", b"Expect: the unexpected"), 417, id="11-expectation-without-body"),
]


@pytest.mark.parametrize(("data", "status"), REFUSED)
def test_what_is_no_request_is_refused_and_nothing_of_it_told(data: bytes, status: int) -> None:
    for pieces in ([data], singly(data), [data + GET]):
        machine = Http1Server()
        (event,) = told(machine, pieces)
        assert isinstance(event, RequestRefused)
        assert event.status == status
        answer = written(machine)
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close" in head.split(b"\r\n")
        assert b"content-length: %d" % len(content) in head.split(b"\r\n")
        assert content == event.detail.encode("latin-1") + b"\n"
        assert machine.is_over
        assert not machine.wants_more
        assert told(machine, [GET]) == []


@pytest.mark.parametrize(
    ("data", "says"), [(with_lines(b"Host: web", b"X_Y: a"), "X_Y"), (b"GET /\r\n", "no version")]
)
def test_a_refusal_names_what_is_wrong(data: bytes, says: str) -> None:
    (event,) = told(Http1Server(), [data])
    assert isinstance(event, RequestRefused)
    assert says in event.detail


def test_what_is_just_within_the_limits_is_taken() -> None:
    limits = Limits(request_line=100, header_bytes=300, header_count=4)
    line = b"GET /" + b"a" * 86 + b" HTTP/1.1"
    assert len(line) == 100
    lines = [line, b"Host: web", b"A: 1", b"B: 2"]
    rest = 300 - len(b"\r\n".join([*lines, b"C: ", b"", b""]))
    data = b"\r\n".join([*lines, b"C: " + b"c" * rest, b"", b""])
    assert len(data) == 300
    for pieces in ([data], singly(data)):
        assert asked(told(Http1Server(limits), pieces)).authority == "web"
    for longer in (
        data.replace(b"/a", b"/aa"),
        data.replace(b"c\r", b"cc\r"),
        data.replace(b"C: cccccc", b"C: c\r\nD: "),
    ):
        assert isinstance(told(Http1Server(limits), [longer])[0], RequestRefused)


BROKEN = [
    pytest.param(b"5\r\nhelloX\r\n0\r\n\r\n", id="4-no-crlf-after-chunk"),
    pytest.param(b"5\r\nhello\n0\r\n\r\n", id="4-lf-after-chunk"),
    pytest.param(b"5\r\nhello0\r\n\r\n", id="4-missing-crlf"),
    pytest.param(b"5\nhello\r\n0\r\n\r\n", id="4-lf-after-size"),
    pytest.param(b"5;a\nb\r\nhello\r\n0\r\n\r\n", id="4-lf-in-extension"),
    pytest.param(b"5;a\rb\r\nhello\r\n0\r\n\r\n", id="4-cr-in-extension"),
    pytest.param(b"5;a\0b\r\nhello\r\n0\r\n\r\n", id="4-nul-in-extension"),
    pytest.param(b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n", id="4-long-extension"),
    pytest.param((b"1;" + b"a" * 250 + b"\r\nx\r\n") * 20 + b"0\r\n\r\n", id="4-many-extensions"),
    pytest.param(b"\r\nhello\r\n0\r\n\r\n", id="4-no-size"),
    pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="4-size-0x"),
    pytest.param(b"+5\r\nhello\r\n0\r\n\r\n", id="4-size-plus"),
    pytest.param(b"5 \r\nhello\r\n0\r\n\r\n", id="4-size-space"),
    pytest.param(b" 5\r\nhello\r\n0\r\n\r\n", id="4-space-size"),
    pytest.param(b"5_0\r\nhello\r\n0\r\n\r\n", id="4-size-underscore"),
    pytest.param(b"f" * 17 + b"\r\nhello\r\n0\r\n\r\n", id="4-size-overflow"),
    pytest.param(b"0" * 16 + b"5\r\nhello\r\n0\r\n\r\n", id="4-size-zeros"),
    pytest.param(b"0\r\nContent-Length: 5\r\n\r\n", id="4-trailer-length"),
    pytest.param(b"0\r\nTransfer-Encoding: chunked\r\n\r\n", id="4-trailer-te"),
    pytest.param(b"0\r\nHost: other\r\n\r\n", id="4-trailer-host"),
    pytest.param(b"0\r\nX: a\n\r\n\r\n", id="4-trailer-lf"),
    pytest.param(b"0\r\nX\r\n\r\n", id="4-trailer-no-colon"),
    pytest.param(b"0\r\nX_Y: a\r\n\r\n", id="4-trailer-underscore"),
    pytest.param(b"0\r\nX: a\r\n b\r\n\r\n", id="4-trailer-fold"),
    pytest.param(b"0\r\n" + b"X: a\r\n" * 101 + b"\r\n", id="4-many-trailers"),
    pytest.param(b"0\r\nX: " + b"a" * 9000 + b"\r\n\r\n", id="4-long-trailers"),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_body_that_is_none_cuts_its_request_and_the_client_hears_why(content: bytes) -> None:
    data = chunked(content)
    seen = []
    for pieces in ([data], singly(data)):
        machine = Http1Server()
        events = told(machine, pieces)
        assert isinstance(events[0], RequestCame)
        cut = events[-1]
        assert isinstance(cut, MessageCut)
        assert cut.fault is Fault.MALFORMED
        assert not any(isinstance(event, MessageEnded) for event in events)
        assert written(machine).startswith(b"HTTP/1.1 400 ")
        assert machine.is_over
        seen.append(events)
    assert seen[0] == seen[1]


def test_a_body_that_turns_out_to_be_none_after_the_answer_began_cuts_the_answer() -> None:
    machine = Http1Server()
    told(machine, [chunked(b"")])
    machine.respond(1, ResponseHead(200))
    machine.send(1, b"hello")
    before = written(machine)
    (cut,) = told(machine, [b"x" + b"\r\n"])
    assert isinstance(cut, MessageCut)
    machine.send(1, b"more")
    machine.finish(1)
    assert before.endswith(b"5\r\nhello\r\n")
    assert written(machine) == b""
    assert machine.is_over


# Answers


@pytest.mark.parametrize(
    ("request_head", "response", "content", "expected"),
    [
        pytest.param(
            GET,
            ResponseHead(200, (("x-a", "b"),), 2),
            b"ok",
            b"200 OK|content-length: 2|x-a: b||ok",
            id="length",
        ),
        pytest.param(
            GET, ResponseHead(200), b"ok", b"200 OK|transfer-encoding: chunked||2|ok|0||", id="chunks"
        ),
        pytest.param(GET, ResponseHead(204), b"", b"204 No Content||", id="204"),
        pytest.param(GET, ResponseHead(204, length=0), b"dropped", b"204 No Content||", id="204-with-body"),
        pytest.param(
            GET, ResponseHead(304, length=5), b"", b"304 Not Modified|content-length: 5||", id="304"
        ),
        pytest.param(GET, ResponseHead(304), b"dropped", b"304 Not Modified||", id="304-with-body"),
        pytest.param(
            GET.replace(b"GET", b"HEAD"),
            ResponseHead(200, length=5),
            b"hello",
            b"200 OK|content-length: 5||",
            id="head",
        ),
        pytest.param(GET.replace(b"GET", b"HEAD"), ResponseHead(200), b"", b"200 OK||", id="head-unknown"),
        pytest.param(
            GET,
            ResponseHead(299, (("Connection", "x"), ("content-length", "9"), ("X-B", "1")), 0),
            b"",
            b"299 |content-length: 0|x-b: 1||",
            id="the-machines-business-is-left-out",
        ),
    ],
)
def test_how_an_answer_is_written(
    request_head: bytes, response: ResponseHead, content: bytes, expected: bytes
) -> None:
    machine = Http1Server()
    told(machine, [request_head])
    machine.respond(1, response)
    if content:
        machine.send(1, content)
    machine.finish(1)
    assert written(machine) == b"HTTP/1.1 " + expected.replace(b"|", b"\r\n")
    assert not machine.is_over
    assert machine.waiting is Waiting.IDLE


def test_an_answer_that_has_ended_with_its_head_has_no_body() -> None:
    machine = Http1Server()
    told(machine, [GET])
    machine.respond(1, ResponseHead(503), ended=True)
    assert written(machine) == b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
    assert told(machine, [GET])[0] == RequestCame(2, RequestHead("GET", "web", "/"))


@pytest.mark.parametrize(
    ("lines", "takes"), [((b"TE: trailers",), True), ((b"TE: gzip",), False), ((), False)]
)
def test_trailers_go_to_a_client_that_takes_them(lines: tuple[bytes, ...], takes: bool) -> None:
    machine = Http1Server()
    told(machine, [with_lines(b"Host: web", *lines, first=b"GET / HTTP/1.1")])
    machine.respond(1, ResponseHead(200))
    machine.finish(1, (("grpc-status", "0"), ("content-length", "5")))
    last = b"0\r\ngrpc-status: 0\r\n\r\n" if takes else b"0\r\n\r\n"
    assert written(machine).endswith(b"\r\n\r\n" + last)


def test_large_chunks_are_not_copied() -> None:
    machine = Http1Server()
    told(machine, [GET])
    machine.respond(1, ResponseHead(200))
    written(machine)
    large = memoryview(bytes(100_000))
    machine.send(1, large)
    machine.finish(1)
    out = machine.gather()
    assert [bytes(out[0]), bytes(out[2]), bytes(out[3])] == [b"186a0\r\n", b"\r\n", b"0\r\n\r\n"]
    assert out[1] is large


@pytest.mark.parametrize("content", [b"much", b"o"])
def test_an_answer_is_never_longer_than_it_said_and_a_shorter_one_ends_the_connection(content: bytes) -> None:
    machine = Http1Server()
    told(machine, [GET])
    machine.respond(1, OK)
    machine.send(1, content)
    machine.finish(1)
    head, _, sent = written(machine).partition(b"\r\n\r\n")
    assert head.endswith(b"content-length: 2")
    assert len(sent) < 2
    assert machine.is_over


def test_what_is_asked_of_a_stream_that_is_over_is_passed_over() -> None:
    machine = Http1Server()
    told(machine, [GET])
    answer(machine, 1)
    told(machine, [GET])
    machine.respond(1, OK)
    machine.inform(1, 100)
    machine.send(1, b"stray")
    machine.finish(1)
    machine.reset(1)
    machine.consumed(1, 100)
    assert written(machine) == b""
    assert not machine.is_over
    assert answer(machine, 2).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize(
    "head",
    [
        ResponseHead(200, (("x", "a\r\nb: c"),)),
        ResponseHead(200, (("x", "a\nb"),)),
        ResponseHead(200, (("x", "a\rb"),)),
        ResponseHead(200, (("x", "a\0"),)),
        ResponseHead(200, (("x y", "a"),)),
        ResponseHead(200, (("", "a"),)),
        ResponseHead(200, (("x:", "a"),)),
        ResponseHead(200, (("x", "\u0100"),)),
        ResponseHead(150),
        ResponseHead(600),
        ResponseHead(101),
    ],
    ids=repr,
)
def test_a_head_that_would_be_read_as_something_else_is_not_written(head: ResponseHead) -> None:
    machine = Http1Server()
    told(machine, [GET])
    with pytest.raises(ValueError):
        machine.respond(1, head)
    assert written(machine) == b""
    assert answer(machine, 1).endswith(b"ok")


# Connections that are kept, and that are not


@pytest.mark.parametrize(
    ("data", "length", "line", "kept"),
    [
        (with_lines(b"Host: web", first=b"GET / HTTP/1.1"), 2, None, True),
        (
            with_lines(b"Host: web", b"Connection: close", first=b"GET / HTTP/1.1"),
            2,
            b"connection: close",
            False,
        ),
        (with_lines(b"Host: web", first=b"GET / HTTP/1.0"), 2, b"connection: close", False),
        (
            with_lines(b"Host: web", b"Connection: Keep-Alive", first=b"GET / HTTP/1.0"),
            2,
            b"connection: keep-alive",
            True,
        ),
        (
            with_lines(b"Host: web", b"Connection: keep-alive", first=b"GET / HTTP/1.0"),
            None,
            b"connection: close",
            False,
        ),
    ],
    ids=["1.1", "1.1-close", "1.0", "1.0-keep-alive", "1.0-unknown-length"],
)
def test_whether_a_connection_is_kept(
    data: bytes, length: int | None, line: bytes | None, kept: bool
) -> None:
    machine = Http1Server()
    told(machine, [data])
    machine.respond(1, ResponseHead(200, length=length))
    machine.send(1, b"ok")
    machine.finish(1)
    head, _, content = written(machine).partition(b"\r\n\r\n")
    options = [each for each in head.split(b"\r\n") if each.startswith(b"connection")]
    assert options == ([] if line is None else [line])
    assert content == b"ok"
    assert b"chunked" not in head
    assert machine.is_over is not kept


def test_a_machine_that_leaves_says_so_with_the_answer() -> None:
    machine = Http1Server()
    told(machine, [GET])
    machine.leave()
    assert not machine.is_over
    assert b"connection: close" in answer(machine, 1)
    assert machine.is_over


def test_a_machine_that_leaves_while_nothing_is_under_way_is_over() -> None:
    machine = Http1Server()
    machine.leave()
    assert machine.is_over


def test_a_machine_that_leaves_answers_whoever_has_begun_to_ask() -> None:
    machine = Http1Server()
    told(machine, [GET[:5]])
    assert machine.waiting is Waiting.HEAD
    machine.leave()
    assert not machine.is_over
    told(machine, [GET[5:]])
    answer(machine, 1)
    assert machine.is_over


def test_a_machine_that_leaves_when_the_answer_has_begun_is_over_behind_it() -> None:
    machine = Http1Server()
    told(machine, [GET])
    machine.respond(1, OK)
    machine.leave()
    machine.send(1, b"ok")
    machine.finish(1)
    assert machine.is_over


# 8: pipelining


def test_a_pipelined_request_is_told_when_the_exchange_before_is_over() -> None:
    machine = Http1Server()
    assert len(told(machine, [GET + GET + GET])) == 2
    assert not machine.wants_more
    assert machine.heard_all
    assert told(machine, [GET]) == []
    for stream in range(1, 4):
        machine.respond(stream, OK)
        machine.send(stream, b"ok")
        assert all_told(machine) == []
        machine.finish(stream)
        assert not machine.heard_all
        assert all_told(machine) == [
            RequestCame(stream + 1, RequestHead("GET", "web", "/")),
            MessageEnded(stream + 1),
        ]
    assert machine.wants_more
    answer(machine, 4)
    assert machine.heard_all


def test_nothing_that_follows_a_broken_request_is_told() -> None:
    machine = Http1Server()
    told(machine, [GET + b"BROKEN\r\n\r\n" + GET])
    answer(machine, 1)
    (event,) = all_told(machine)
    assert isinstance(event, RequestRefused)
    assert machine.is_over
    assert machine.heard_all


def test_nothing_that_follows_the_last_request_is_told_or_kept() -> None:
    machine = Http1Server()
    last = with_lines(b"Host: web", b"Connection: close", first=b"GET / HTTP/1.1")
    assert len(told(machine, [last, GET])) == 2
    assert machine.wants_more
    answer(machine, 1)
    assert machine.heard_all
    assert machine.is_over


def test_a_body_is_followed_by_the_next_request() -> None:
    machine = Http1Server()
    first = with_lines(b"Host: web", b"Content-Length: 5") + b"hello"
    assert body(told(machine, [first + chunked(b"3\r\nyou\r\n0\r\n\r\n") + GET])) == b"hello"
    answer(machine, 1)
    assert body(all_told(machine)) == b"you"
    answer(machine, 2)
    assert asked(all_told(machine)).method == "GET"


# Back-pressure and turns


def test_a_body_that_nobody_consumes_stops_the_reading() -> None:
    machine = Http1Server(Limits(stream_window=10))
    told(machine, [with_lines(b"Host: web", b"Content-Length: 50")], consume=False)
    assert machine.wants_more
    told(machine, [b"x" * 10], consume=False)
    assert not machine.wants_more
    machine.consumed(1, 1)
    assert machine.wants_more
    told(machine, [b"x" * 40], consume=False)
    assert not machine.wants_more
    answer(machine, 1)
    assert machine.wants_more


def test_a_crowd_of_chunks_is_heard_in_turns() -> None:
    machine = Http1Server()
    count = 3 * bodies.MOST_CHUNKS
    events = machine.receive(chunked(b"1\r\nx\r\n" * count + b"0\r\n\r\n"))
    assert body(events) == b"x" * bodies.MOST_CHUNKS
    assert not machine.heard_all
    assert not machine.wants_more
    assert machine.receive_end() == []
    assert all_told(machine) == [
        BodyCame(1, b"x" * (count - bodies.MOST_CHUNKS)),
        MessageEnded(1),
        MessageCut(1, Fault.CANCELLED, "the client hung up"),
    ]


def test_what_comes_within_a_crowd_of_chunks_has_its_turn_behind_it() -> None:
    machine = Http1Server()
    data = b"".join(b"1\r\n%c\r\n" % (0x20 + number % 64) for number in range(5000)) + b"0\r\n\r\n" + GET
    told(machine, [chunked(b"")])
    said = b""
    for at in range(0, len(data), 7001):
        events = machine.receive(data[at : at + 7001])
        said += body(events)
        assert len(body(events)) <= bodies.MOST_CHUNKS
    rest = all_told(machine)
    assert said + body(rest) == bytes(0x20 + number % 64 for number in range(5000))
    assert rest[-1] == MessageEnded(1)
    answer(machine, 1)
    assert asked(all_told(machine)).method == "GET"


def test_what_nobody_will_consume_stops_no_reading() -> None:
    machine = Http1Server(Limits(stream_window=10))
    told(machine, [with_lines(b"Host: web", b"Content-Length: 50") + bytes(20)], consume=False)
    assert not machine.wants_more
    answer(machine, 1)
    assert machine.wants_more
    assert told(machine, [bytes(30)]) == [MessageEnded(1)]


# 11: expectations and answers that come early


def test_a_client_that_waits_is_told_to_go_on() -> None:
    machine = Http1Server()
    head = asked(told(machine, [with_lines(b"Host: web", b"Content-Length: 2", b"Expect: 100-continue")]))
    assert head.expects_continue
    machine.inform(1, 100)
    assert written(machine) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert told(machine, [b"ok"]) == [BodyCame(1, b"ok"), MessageEnded(1)]
    assert b"close" not in answer(machine, 1)


def test_a_client_that_still_waits_is_answered_last() -> None:
    machine = Http1Server()
    told(machine, [with_lines(b"Host: web", b"Content-Length: 2", b"Expect: 100-continue")])
    machine.inform(1, 103, (("link", "</a>"),))
    assert written(machine) == b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    assert b"connection: close" in answer(machine, 1)
    assert machine.is_over
    assert told(machine, [b"ok" + GET]) == []


def test_a_client_that_did_not_wait_is_as_any_other() -> None:
    machine = Http1Server()
    told(machine, [with_lines(b"Host: web", b"Content-Length: 2", b"Expect: 100-continue"), b"o"])
    assert b"close" not in answer(machine, 1)
    assert told(machine, [b"k" + GET])[0] == MessageEnded(1)


def test_http_1_0_is_told_nothing_before_its_answer() -> None:
    machine = Http1Server()
    head = asked(
        told(
            machine,
            [
                with_lines(
                    b"Host: web", b"Content-Length: 2", b"Expect: 100-continue", first=b"PUT / HTTP/1.0"
                )
            ],
        )
    )
    assert not head.expects_continue
    machine.inform(1, 100)
    assert written(machine) == b""


@pytest.mark.parametrize("status", [101, 200, 99])
def test_only_a_status_of_1xx_is_before_an_answer(status: int) -> None:
    machine = Http1Server()
    told(machine, [GET])
    with pytest.raises(ValueError):
        machine.inform(1, status)


def test_what_comes_of_a_request_behind_its_answer_is_thrown_away() -> None:
    machine = Http1Server()
    told(machine, [with_lines(b"Host: web", b"Content-Length: 1000"), b"x" * 10])
    answer(machine, 1)
    assert not machine.is_over
    assert told(machine, [b"x" * 500]) == []
    assert told(machine, [b"x" * 490 + GET]) == [
        MessageEnded(1),
        RequestCame(2, RequestHead("GET", "web", "/")),
        MessageEnded(2),
    ]


@pytest.mark.parametrize("more", [b"x", bytes(1_000_000)], ids=["in-the-middle", "at-its-end"])
def test_no_more_is_thrown_away_than_is_worth_it(more: bytes) -> None:
    machine = Http1Server()
    told(machine, [with_lines(b"Host: web", b"Content-Length: 1000000")])
    answer(machine, 1)
    assert told(machine, [bytes(http1.LINGER)]) == []
    (cut,) = told(machine, [more])
    assert isinstance(cut, MessageCut)
    assert cut.fault is Fault.OVERLOADED
    assert machine.is_over


# Clients that go


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(with_lines(b"Host: web", b"Content-Length: 5") + b"hel", id="in-a-body"),
        pytest.param(chunked(b"5\r\nhel"), id="in-a-chunk"),
        pytest.param(chunked(b"5\r\nhello\r\n"), id="before-the-last-chunk"),
        pytest.param(GET, id="before-the-answer"),
        pytest.param(WEBSOCKET, id="before-the-upgrade"),
    ],
)
def test_a_client_that_hangs_up_wants_no_answer(data: bytes) -> None:
    machine = Http1Server()
    told(machine, [data])
    assert machine.receive_end() == [MessageCut(1, Fault.CANCELLED, "the client hung up")]
    machine.respond(1, OK)
    assert written(machine) == b""
    assert machine.is_over


@pytest.mark.parametrize("data", [b"", GET[:10]], ids=["idle", "in-a-head"])
def test_a_client_may_go_when_nothing_is_under_way(data: bytes) -> None:
    machine = Http1Server()
    told(machine, [data])
    assert machine.receive_end() == []
    assert machine.is_over


def test_to_reset_is_to_end_the_connection() -> None:
    machine = Http1Server()
    told(machine, [GET + GET])
    machine.reset(1)
    assert machine.is_over
    assert machine.heard_all
    assert told(machine, [GET]) == []


# Upgrades


def test_after_101_bytes_go_both_ways() -> None:
    machine = Http1Server()
    assert told(machine, [WEBSOCKET + b"early"]) == [
        RequestCame(1, RequestHead("GET", "web", "/chat", upgrade="websocket", length=None))
    ]
    assert machine.heard_all
    assert not machine.wants_more
    machine.respond(1, ResponseHead(101, (("sec-websocket-accept", "x"),)))
    assert written(machine) == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n"
    )
    assert all_told(machine) == [BodyCame(1, b"early")]
    assert machine.wants_more
    assert told(machine, [b"GET /", b" HTTP/1.1\r\n\r\n"]) == [BodyCame(1, b"GET / HTTP/1.1\r\n\r\n")]
    machine.send(1, b"hello")
    assert written(machine) == b"hello"
    assert machine.receive_end() == [MessageEnded(1)]
    assert not machine.is_over
    machine.send(1, b"bye")
    machine.finish(1)
    assert written(machine) == b"bye"
    assert machine.is_over


def test_either_end_of_an_upgraded_connection_may_finish_first() -> None:
    machine = Http1Server()
    told(machine, [WEBSOCKET])
    machine.respond(1, ResponseHead(101))
    assert not machine.has_finished
    machine.finish(1)
    assert machine.has_finished
    assert not machine.is_over
    assert told(machine, [bytes(http1.LINGER + 1)]) == [BodyCame(1, bytes(http1.LINGER + 1))]
    assert machine.receive_end() == [MessageEnded(1)]
    assert machine.is_over
    assert not machine.has_finished


def test_a_head_that_takes_too_long_is_refused() -> None:
    machine = Http1Server()
    assert machine.expire() == []
    told(machine, [GET[:-1]])
    (event,) = machine.expire()
    assert isinstance(event, RequestRefused)
    assert event.status == 408
    assert written(machine).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert machine.is_over
    assert machine.expire() == []


def test_a_request_that_is_answered_does_not_expire() -> None:
    machine = Http1Server()
    told(machine, [GET + GET])
    assert machine.expire() == []
    assert answer(machine, 1).endswith(b"ok")


def test_what_was_said_as_if_an_upgrade_was_taken_is_no_request() -> None:
    machine = Http1Server()
    told(machine, [WEBSOCKET + GET])
    assert not machine.wants_more
    machine.respond(1, ResponseHead(200))
    assert machine.wants_more
    machine.finish(1)
    assert b"connection: close" in written(machine)
    assert not machine.is_over
    assert all_told(machine) == [MessageEnded(1)]
    assert machine.is_over
    assert told(machine, [GET]) == []
