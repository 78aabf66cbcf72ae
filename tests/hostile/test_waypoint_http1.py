"""Bytes that are no HTTP/1.1, or two kinds of it, at a real waypoint: what the client is told and what reaches the server."""

from __future__ import annotations

import http.client
import os
import socket
import time

import pytest
from hostile.measure import Cost
from hostile.waypoint import Answer, Scene, asked, everything

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")


@pytest.fixture
def scene(behind_a_waypoint: Scene) -> Scene:
    return behind_a_waypoint


HOST = b"host: server"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return asked(HOST, *lines, first=b"POST /MARK HTTP/1.1", body=body)


SMUGGLED = b"GET /MARK-smuggled HTTP/1.1\r\nhost: server\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked"
REFUSED: dict[str, tuple[bytes, int]] = {
    # Two ways to say where the body ends.
    "length-and-chunks": (post(b"content-length: 4", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED), 400),
    "chunks-and-length": (post(CHUNKED, b"content-length: 4", body=b"0\r\n\r\n" + SMUGGLED), 400),
    "chunks-twice": (post(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED), 400),
    "chunks-in-a-list": (post(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n" + SMUGGLED), 400),
    "chunks-by-another-name": (post(b"transfer-encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED), 400),
    "chunks-behind-a-tab": (post(b"transfer-encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED), 400),
    "chunks-in-http-1.0": (
        asked(HOST, CHUNKED, first=b"POST /MARK HTTP/1.0", body=b"0\r\n\r\n" + SMUGGLED),
        400,
    ),
    "two-lengths": (post(b"content-length: 0", b"content-length: 44", body=SMUGGLED), 400),
    "the-same-length-twice": (post(b"content-length: 4", b"content-length: 4", body=b"abcd"), 400),
    "lengths-in-a-list": (post(b"content-length: 4, 4", body=b"abcd"), 400),
    "signed-length": (post(b"content-length: +4", body=b"abcd"), 400),
    "negative-length": (post(b"content-length: -4", body=b"abcd"), 400),
    "hexadecimal-length": (post(b"content-length: 0x4", body=b"abcd"), 400),
    "length-with-a-space": (post(b"content-length: 4 4", body=b"abcd"), 400),
    "length-beyond-64-bits": (post(b"content-length: 18446744073709551620", body=b"abcd"), 400),
    # Lines.
    "bare-line-feed": (b"GET /MARK HTTP/1.1\nhost: server\n\n", 400),
    "bare-line-feed-in-the-head": (asked(HOST, b"a: b\nx: y", first=b"GET /MARK HTTP/1.1"), 400),
    "bare-carriage-return": (asked(HOST, b"a: b\rx: y", first=b"GET /MARK HTTP/1.1"), 400),
    "nul-in-a-value": (asked(HOST, b"a: b\0c", first=b"GET /MARK HTTP/1.1"), 400),
    "nul-in-a-name": (asked(HOST, b"a\0: b", first=b"GET /MARK HTTP/1.1"), 400),
    "control-byte-in-a-value": (asked(HOST, b"a: b\x01c", first=b"GET /MARK HTTP/1.1"), 400),
    "folded-line": (asked(HOST, b"a: b", b" c: d", first=b"GET /MARK HTTP/1.1"), 400),
    "space-before-the-colon": (asked(HOST, b"transfer-encoding : chunked", first=b"GET /MARK HTTP/1.1"), 400),
    "no-colon": (asked(HOST, b"a b", first=b"GET /MARK HTTP/1.1"), 400),
    "first-header-is-indented": (asked(b" a: b", HOST, first=b"GET /MARK HTTP/1.1"), 400),
    "underscore": (asked(HOST, b"content_length: 4", first=b"GET /MARK HTTP/1.1"), 400),
    # Chunks. The head may have gone on already; then what goes on has no end.
    "no-line-break-behind-a-chunk": (post(CHUNKED, body=b"1\r\nab0\r\n\r\n" + SMUGGLED), 400),
    "line-feed-in-an-extension": (post(CHUNKED, body=b"1;a\n\r\nb\r\n0\r\n\r\n" + SMUGGLED), 400),
    "carriage-return-in-an-extension": (post(CHUNKED, body=b"1;a\rb\r\nb\r\n0\r\n\r\n" + SMUGGLED), 400),
    "chunk-beyond-64-bits": (post(CHUNKED, body=b"10000000000000001\r\na\r\n0\r\n\r\n" + SMUGGLED), 400),
    "negative-chunk": (post(CHUNKED, body=b"-1\r\na\r\n0\r\n\r\n" + SMUGGLED), 400),
    "chunk-of-0x": (post(CHUNKED, body=b"0x1\r\na\r\n0\r\n\r\n" + SMUGGLED), 400),
    "chunk-with-a-space": (post(CHUNKED, body=b"1 \r\na\r\n0\r\n\r\n" + SMUGGLED), 400),
    "host-among-the-trailers": (post(CHUNKED, body=b"0\r\nhost: other\r\n\r\n" + SMUGGLED), 400),
    "length-among-the-trailers": (post(CHUNKED, body=b"0\r\ncontent-length: 9\r\n\r\n" + SMUGGLED), 400),
    "chunks-among-the-trailers": (
        post(CHUNKED, body=b"0\r\ntransfer-encoding: x\r\n\r\n" + SMUGGLED),
        400,
    ),
    # Hosts.
    "no-host": (asked(first=b"GET /MARK HTTP/1.1"), 400),
    "two-hosts": (asked(HOST, b"host: other", first=b"GET /MARK HTTP/1.1"), 400),
    "the-same-host-twice": (asked(HOST, HOST, first=b"GET /MARK HTTP/1.1"), 400),
    "host-with-user": (asked(b"host: a@server", first=b"GET /MARK HTTP/1.1"), 400),
    "host-with-path": (asked(b"host: server/x", first=b"GET /MARK HTTP/1.1"), 400),
    "host-with-query": (asked(b"host: server?x", first=b"GET /MARK HTTP/1.1"), 400),
    "host-with-fragment": (asked(b"host: server#x", first=b"GET /MARK HTTP/1.1"), 400),
    "host-with-space": (asked(b"host: ser ver", first=b"GET /MARK HTTP/1.1"), 400),
    "host-with-comma": (asked(b"host: server,other", first=b"GET /MARK HTTP/1.1"), 400),
    "empty-host": (asked(b"host:", first=b"GET /MARK HTTP/1.1"), 400),
    "another-host-in-the-target": (asked(HOST, first=b"GET http://other/MARK HTTP/1.1"), 400),
    # Versions.
    "http-0.9": (b"GET /MARK\r\n\r\n", 400),
    "http-2.0": (asked(HOST, first=b"GET /MARK HTTP/2.0"), 505),
    "http-1.2": (asked(HOST, first=b"GET /MARK HTTP/1.2"), 505),
    "a-preface-that-is-none": (b"PRI * HTTP/2.0\r\n\r\nMARK\r\n\r\n", 505),
    "space-in-the-target": (asked(HOST, first=b"GET /MARK x HTTP/1.1"), 400),
    "fragment": (asked(HOST, first=b"GET /MARK#x HTTP/1.1"), 400),
    "connect": (asked(HOST, first=b"CONNECT server:80 HTTP/1.1", body=b"MARK"), 405),
    # Sizes.
    "long-target": (asked(HOST, first=b"GET /MARK" + b"x" * 9000 + b" HTTP/1.1"), 414),
    "many-headers": (asked(HOST, *([b"a: b"] * 101), first=b"GET /MARK HTTP/1.1"), 431),
    "large-headers": (asked(HOST, *([b"a: " + b"b" * 6000] * 11), first=b"GET /MARK HTTP/1.1"), 431),
    "one-large-header": (asked(HOST, b"a: " + b"b" * 62_000, first=b"GET /MARK HTTP/1.1"), 431),
    # What is between two ends of one connection.
    "authorization-is-nominated": (
        asked(HOST, b"authorization: x", b"connection: authorization", first=b"GET /MARK HTTP/1.1"),
        400,
    ),
    "forwarded-is-nominated": (
        asked(HOST, b"connection: x-forwarded-for", first=b"GET /MARK HTTP/1.1"),
        400,
    ),
    "another-expectation": (asked(HOST, b"expect: 200-ok", first=b"GET /MARK HTTP/1.1"), 417),
}


@pytest.mark.parametrize(("data", "status"), list(REFUSED.values()), ids=REFUSED)
def test_what_may_be_read_in_two_ways_is_refused_and_ends_the_connection(
    scene: Scene, data: bytes, status: int
) -> None:
    mark = scene.mark()
    answer = scene.say(data.replace(b"MARK", mark))
    assert (answer.statuses, answer.how) == ([status], "closed"), answer
    heard = scene.heard(mark)
    assert "smuggled" not in heard
    assert scene.requests(mark) == []


def test_nothing_of_it_was_even_begun_where_the_head_is_wrong(scene: Scene) -> None:
    mark = scene.mark()
    with scene.connect() as connection:
        connection.sendall(post(b"content-length: 4", CHUNKED).replace(b"MARK", mark))
        assert everything(connection).statuses == [400]
    assert scene.heard(mark) == ""


# What goes on, and how


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
LAST = b"connection: close"
PASSED: dict[str, tuple[bytes, tuple[str, ...], tuple[str, ...]]] = {
    # what the server is sent of it, and what not
    "as-it-is": (
        asked(HOST, b"x-a: 1", LAST, first=b"GET /MARK HTTP/1.1"),
        ("GET /MARK HTTP/1.1\r\n", "host: server\r\n", "x-a: 1\r\n"),
        (),
    ),
    "body": (post(b"content-length: 4", LAST, body=b"abcd"), ("content-length: 4\r\n", "\r\n\r\nabcd"), ()),
    "request-in-a-body": (
        post(b"content-length: %d" % len(SMUGGLED), LAST, body=SMUGGLED),
        ("content-length: 45\r\n", "\r\n\r\nGET /MARK-smuggled"),
        (),
    ),
    "chunks": (
        post(CHUNKED, LAST, body=b"2;a=b\r\nab\r\n002\r\ncd\r\n0\r\n\r\n"),
        ("transfer-encoding: chunked\r\n",),
        (";a=b", "002"),
    ),
    "nominated-field": (
        asked(HOST, b"x-role: admin", b"connection: x-role, close", first=b"GET /MARK HTTP/1.1"),
        ("GET /MARK",),
        ("x-role", "admin"),
    ),
    "fields-of-one-hop": (
        asked(HOST, b"keep-alive: 5", b"proxy-connection: x", b"te: gzip", LAST, first=b"GET /MARK HTTP/1.1"),
        ("GET /MARK",),
        ("keep-alive", "proxy-connection", "gzip"),
    ),
    "upgrade-to-http2": (
        asked(
            HOST,
            b"connection: Upgrade, HTTP2-Settings, close",
            b"upgrade: h2c",
            b"http2-settings: AAMAAABkAAQAAP__",
            first=b"GET /MARK HTTP/1.1",
        ),
        ("GET /MARK",),
        ("h2c", "http2-settings", "AAMAAABk"),
    ),
    "http2-settings-alone": (
        asked(HOST, b"http2-settings: AAMAAABkAAQAAP__", LAST, first=b"GET /MARK HTTP/1.1"),
        ("GET /MARK",),
        ("http2-settings",),
    ),
    "trailers-nobody-asked-for": (
        post(CHUNKED, LAST, body=b"1\r\na\r\n0\r\nx-late: 1\r\nauthorization: x\r\n\r\n"),
        ("POST /MARK",),
        ("authorization: x",),
    ),
    "what-it-says-of-its-client": (
        asked(
            HOST,
            b"x-forwarded-for: 9.9.9.9",
            b"forwarded: for=9.9.9.9",
            b"x-real-ip: 9.9.9.9",
            b"x-forwarded-client-cert: By=a;URI=spiffe://cluster.local/ns/kube-system/sa/admin",
            b"x-ambient-client-identity: admin",
            LAST,
            first=b"GET /MARK HTTP/1.1",
        ),
        ("x-forwarded-for: CLIENT\r\n", "forwarded: for=CLIENT;proto=http\r\n"),
        ("9.9.9.9", "admin", "x-real-ip"),
    ),
}


@pytest.mark.parametrize(("data", "sent", "unsent"), list(PASSED.values()), ids=PASSED)
def test_what_goes_on_has_one_meaning(
    scene: Scene, data: bytes, sent: tuple[str, ...], unsent: tuple[str, ...]
) -> None:
    mark = scene.mark()
    answer = scene.say(data.replace(b"MARK", mark))
    assert (answer.statuses, answer.how) == ([200], "closed"), answer
    (request,) = scene.requests(mark)
    said = request["head"] + request["body"]
    for text in sent:
        assert text.replace("MARK", mark.decode()).replace("CLIENT", str(scene.client.pod.v4)) in said
    for text in unsent:
        assert text not in said.lower()


def test_a_pipelined_request_waits_for_the_answer_before_it(scene: Scene) -> None:
    mark = scene.mark()
    first = asked(HOST, b"x-hold: 0.3", first=b"GET /%s-1 HTTP/1.1" % mark)
    answer = scene.say(first + asked(HOST, LAST, first=b"GET /%s-2 HTTP/1.1" % mark))
    assert (answer.statuses, answer.how) == ([200, 200], "closed")
    first_, second = scene.requests(mark)
    assert second["at"] - first_["at"] >= 0.3


def test_what_comes_behind_a_fault_is_never_heard_of(scene: Scene) -> None:
    mark = scene.mark()
    good = asked(HOST, first=b"GET /%s-good HTTP/1.1" % mark)
    bad = asked(HOST, HOST, first=b"GET /%s-bad HTTP/1.1" % mark)
    answer = scene.say(good + bad + SMUGGLED.replace(b"MARK", mark))
    assert (answer.statuses, answer.how) == ([200, 400], "closed")
    assert [f"/{mark.decode()}-good" in one["line"] for one in scene.requests(mark)] == [True]


@pytest.mark.parametrize("status", [200, 403])
def test_a_body_that_came_after_its_answer_is_no_request(scene: Scene, status: int) -> None:
    mark = scene.mark()
    final = f"HTTP/1.1 {status} Early\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    smuggled = SMUGGLED.replace(b"MARK", mark)
    with scene.connect() as connection:
        connection.sendall(
            asked(
                HOST,
                b"expect: 100-continue",
                b"content-length: %d" % len(smuggled),
                b"x-then: early",
                b"x-answer: " + final.encode().hex().encode(),
                first=b"POST /%s HTTP/1.1" % mark,
            )
        )
        heard = b""
        while not heard.endswith(b"no"):
            heard += connection.recv(65536)
        connection.sendall(smuggled)
        connection.shutdown(socket.SHUT_WR)
        after = everything(connection)
    assert Answer(heard, "").statuses == [status]
    assert after.data == b""
    assert [mark.decode() in one["line"] for one in scene.requests(mark)] == [True]


# What servers say


def hexadecimal(answer: bytes) -> bytes:
    return b"x-answer: " + answer.hex().encode()


BROKEN_ANSWERS: dict[str, bytes] = {
    "length-and-chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nokx",
    "lengths-in-a-list": b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
    "signed-length": b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
    "chunks-by-another-name": b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "bare-line-feeds": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    "bare-carriage-return": b"HTTP/1.1 200 OK\r\na: b\rset-cookie: x\r\ncontent-length: 2\r\n\r\nok",
    "nul": b"HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 2\r\n\r\nok",
    "folded-line": b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 2\r\n\r\nok",
    "space-before-the-colon": b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
    "no-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "http-0.9": b"<html>ok</html>\r\n\r\n",
    "another-version": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "status-of-four-digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
    "switching-unasked": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "information-without-end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
    "large-head": b"HTTP/1.1 200 OK\r\n" + b"a: " + b"b" * 62_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    "many-headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"content-length: 2\r\n\r\nok",
}


def ask_for(scene: Scene, answer: bytes, *more: bytes) -> tuple[Answer, bytes]:
    """What the client hears when the server says that, and what the request was called."""
    mark = scene.mark()
    lines = (HOST, b"x-answer: body", b"content-length: %d" % len(answer), *more, LAST)
    return scene.say(asked(*lines, first=b"POST /%s HTTP/1.1" % mark, body=answer)), mark


def is_left(scene: Scene, mark: bytes) -> bool:
    """Whether nothing was asked on the connection after that. Five honest requests would have met it, and are answered."""
    for _ in range(5):
        answer = scene.say(asked(HOST, LAST, first=b"GET /honest HTTP/1.1"))
        assert answer.statuses == [200]
        assert answer.data.endswith(b"\r\n\r\nok")
    (bad,) = scene.requests(mark)
    lines = [line for line in scene.record.lines() if line.get("event") == "request"]
    return [line for line in lines if line["connection"] == bad["connection"]][-1] == bad


@pytest.mark.parametrize("broken", list(BROKEN_ANSWERS.values()), ids=BROKEN_ANSWERS)
def test_an_answer_that_may_be_read_in_two_ways_is_nobodys(scene: Scene, broken: bytes) -> None:
    answer, mark = ask_for(scene, broken)
    *before, status = answer.statuses
    assert (status, answer.how) == (502, "closed"), answer
    assert set(before) <= {103}
    assert len(before) <= 16
    assert b"\r\nx-ambient-error: malformed\r\n" in answer.data
    assert is_left(scene, mark)


POISON = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
WHOLE_ANSWERS: dict[str, tuple[bytes, int, bytes]] = {
    "more-than-its-length": (OK + b"more", 200, b"ok"),
    "another-answer-behind-it": (OK + POISON, 200, b"ok"),
    "another-answer-behind-chunks": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + POISON,
        200,
        b"ok",
    ),
    "no-content-with-a-body": (b"HTTP/1.1 204 No Content\r\ncontent-length: 6\r\n\r\npoison", 204, b""),
    "no-content-in-chunks": (
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n6\r\npoison\r\n0\r\n\r\n",
        204,
        b"",
    ),
    "not-modified-with-a-body": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\npoison", 304, b""),
}


@pytest.mark.parametrize(("whole", "status", "content"), list(WHOLE_ANSWERS.values()), ids=WHOLE_ANSWERS)
def test_what_comes_behind_an_answer_is_never_another_ones(
    scene: Scene, whole: bytes, status: int, content: bytes
) -> None:
    answer, mark = ask_for(scene, whole)
    assert answer.statuses in ([status], [502]), answer
    assert answer.how == "closed"
    assert b"poison" not in answer.data
    if answer.statuses == [status]:
        assert content in answer.data.partition(b"\r\n\r\n")[2]
    assert is_left(scene, mark)


@pytest.mark.parametrize(
    ("half", "then"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "close", id="of-its-length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "close",
            id="between-chunks",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf", "close", id="of-a-chunk"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nhalf", "reset", id="without-length-and-reset"),
    ],
)
def test_half_an_answer_is_never_whole(scene: Scene, half: bytes, then: str) -> None:
    answer, _ = ask_for(scene, half, b"x-then: " + then.encode())
    assert answer.how != "open", answer
    if answer.statuses != [502]:
        with pytest.raises((http.client.HTTPException, ConnectionResetError)):
            content_of(answer)


def test_what_reads_answers_here_knows_a_whole_one(scene: Scene) -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    for whole in (OK, chunked, b"HTTP/1.1 200 OK\r\n\r\nok"):
        answer, _ = ask_for(scene, whole, b"x-then: close")
        assert content_of(answer) == b"ok"


def content_of(answer: Answer) -> bytes:
    """As a client reads it that minds how it ends."""
    if answer.how == "reset":
        raise ConnectionResetError
    here, there = socket.socketpair()
    with here, there:
        there.sendall(answer.data)
        there.shutdown(socket.SHUT_WR)
        read = http.client.HTTPResponse(here)
        read.begin()
        return read.read()


@pytest.mark.parametrize("then", ["close", "reset"])
def test_no_answer_is_told_as_such(scene: Scene, then: str) -> None:
    answer, _ = ask_for(scene, b"", b"x-then: " + then.encode())
    assert answer.statuses in ([502], [503])


@pytest.mark.long
def test_a_head_that_does_not_end_is_waited_for_ten_seconds(scene: Scene) -> None:
    with scene.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: server\r\n")
        began, drips = time.monotonic(), 0
        connection.settimeout(1)
        answer = b""
        while time.monotonic() - began < 30:
            try:
                answer = connection.recv(65536)
                break
            except TimeoutError:
                drips += 1
                connection.sendall(b"x")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 9 <= time.monotonic() - began < 20
    assert drips >= 8


@pytest.mark.long
def test_connections_that_ask_nothing_cost_little(scene: Scene) -> None:
    cost = Cost(scene.replica.worker_pids())
    idle = [scene.connect() for _ in range(1000)]
    for connection in idle:
        connection.sendall(b"GET / HTTP/1.1\r\nho")
    assert scene.say(asked(HOST, LAST, first=b"GET / HTTP/1.1")).statuses == [200]
    assert cost.kib < 64 * 1024
    for connection in idle:
        connection.close()
