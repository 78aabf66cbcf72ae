"""Frames that mean harm, inside of a tunnel: what a real waypoint makes of them, spends, and lets its server see.

It has one worker, whose loop honest callers share. What is asserted of time is no benchmark: a worker that carried out all
that it was asked would miss these bounds by far.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from core.http.http2_peers import ENDED, GET
from core.http.test_http2_floods import ENDLESS
from hostile.caller import Caller, Speaker, true_context
from hostile.certificates import CLIENT_URI
from hostile.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    Fields,
    Plain,
    frame,
    request,
    reset,
    settings,
    window_update,
)
from hostile.measure import Cost
from hostile.waypoint import Scene, asked, everything
from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame
from topology.namespace import entered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")


@pytest.fixture
def scene(behind_a_waypoint: Scene) -> Scene:
    return behind_a_waypoint


CRLF = "\r\n"


def fields(path: str = "/MARK", **changed: str | None) -> list[tuple[str, str]]:
    """Of a GET for ``path``; ``method``, ``scheme`` and ``authority`` may be others, or not there."""
    known: dict[str, str | None] = {
        "method": "GET",
        "scheme": "http",
        "authority": "server",
        "path": path,
        **changed,
    }
    return [(f":{name}", value) for name, value in known.items() if value is not None]


SMUGGLED = "\r\n\r\nGET /MARK-smuggled HTTP/1.1\r\nhost: server\r\n\r\n"
MALFORMED: dict[str, Fields] = {
    "line-breaks-in-a-value": [*fields(), ("x", f"y{SMUGGLED}")],
    "line-feed-in-a-value": [*fields(), ("x", "y\nz: 1")],
    "nul-in-a-value": [*fields(), ("x", "y\0")],
    "line-breaks-in-a-name": [*fields(), (f"x: y{CRLF}z", "1")],
    "colon-in-a-name": [*fields(), ("transfer-encoding: chunked", "1")],
    "space-in-a-name": [*fields(), ("x y", "1")],
    "no-name": [*fields(), ("", "1")],
    "upper-case": [*fields(), ("X", "1")],
    "underscore": [*fields(), ("content_length", "1")],
    "line-breaks-in-the-path": fields(f"/MARK HTTP/1.1{SMUGGLED}"),
    "space-in-the-path": fields("/MARK x"),
    "fragment-in-the-path": fields("/MARK#x"),
    "nul-in-the-path": fields("/MARK\0"),
    "path-without-a-slash": fields("MARK"),
    "absolute-path": fields("http://other/MARK"),
    "no-path": [*fields(path="", scheme="http")[:3], ("x", "MARK")],
    "empty-path": [*fields(path=""), ("x", "MARK")],
    "line-breaks-in-the-method": fields(method=f"GET /MARK HTTP/1.1{SMUGGLED}"),
    "space-in-the-method": fields(method="GET /x"),
    "empty-method": fields(method=""),
    "no-method": fields(method=None),
    "no-scheme": fields(scheme=None),
    "another-scheme": fields(scheme=f"http{CRLF}x"),
    "line-breaks-in-the-authority": fields(authority=f"server{SMUGGLED}"),
    "authority-with-user": fields(authority="a@server"),
    "authority-with-path": fields(authority="server/x"),
    "authority-with-space": fields(authority="ser ver"),
    "no-authority": fields(authority=None),
    "another-host": [*fields(), ("host", "other")],
    "two-hosts": [*fields(authority=None), ("host", "server"), ("host", "other")],
    "two-paths": [*fields(), (":path", "/MARK-other")],
    "pseudo-header-behind-a-header": [*fields()[:3], ("x", "y"), (":path", "/MARK")],
    "unknown-pseudo-header": [*fields(), (":other", "x")],
    "status": [*fields(), (":status", "200")],
    "connection": [*fields(), ("connection", "close")],
    "transfer-encoding": [*fields(method="POST"), ("transfer-encoding", "chunked")],
    "keep-alive": [*fields(), ("keep-alive", "5")],
    "upgrade": [*fields(), ("upgrade", "h2c")],
    "te": [*fields(), ("te", "gzip")],
    "two-lengths": [*fields(), ("content-length", "0"), ("content-length", "5")],
    "length-that-is-none": [*fields(), ("content-length", "-1")],
    "length-of-nothing": [*fields(), ("content-length", "5")],
    "many-fields": [*fields(), *[("x", "y")] * 101],
    "large-fields": [*fields(), *[("x", "y" * 6000)] * 11],
}


def whole(stream: int, fields: Fields) -> bytes:
    """A request without body, in as many frames as its head takes."""
    block = Plain().encode(list(fields))
    pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)] or [b""]
    kinds = (HEADERS, *[CONTINUATION] * (len(pieces) - 1))
    return b"".join(
        frame(kind, stream, piece, (END_STREAM if kind == HEADERS else 0) | (END_HEADERS if last else 0))
        for kind, piece, last in zip(kinds, pieces, [*[False] * (len(pieces) - 1), True], strict=True)
    )


class Heard:
    """What a server said on a connection, stream by stream."""

    def __init__(self) -> None:
        self.statuses: dict[int, list[int]] = {}
        self.resets: dict[int, int] = {}
        self.goodbye: int | None = None
        self.bodies: dict[int, int] = {}
        self._decoder = Decoder()

    def add(self, frames: list[Frame]) -> None:
        for one in frames:
            match one:
                case HeadersFrame():
                    head = dict(self._decoder.decode(one.data))
                    if ":status" in head:
                        self.statuses.setdefault(one.stream_id, []).append(int(head[":status"]))
                case DataFrame():
                    self.bodies[one.stream_id] = self.bodies.get(one.stream_id, 0) + len(one.data)
                case RstStreamFrame():
                    self.resets[one.stream_id] = one.error_code
                case GoAwayFrame():
                    self.goodbye = one.error_code
                case _:
                    pass


def hear(speaker: Speaker, enough: Callable[[Heard], object], heard: Heard | None = None) -> Heard:
    """Until there is enough of it."""
    heard = heard or Heard()
    until = time.monotonic() + 20
    while not enough(heard):
        assert time.monotonic() < until, vars(heard)
        heard.add(speaker.hear(0.05))
    return heard


@pytest.mark.parametrize("bad", list(MALFORMED.values()), ids=MALFORMED)
def test_a_request_that_would_be_read_otherwise_in_http1_never_gets_there(scene: Scene, bad: Fields) -> None:
    mark = scene.mark()
    marked = [
        (name.replace("MARK", mark.decode()), value.replace("MARK", mark.decode())) for name, value in bad
    ]
    speaker = scene.speak()
    speaker.say(whole(1, marked))
    heard = hear(speaker, lambda it: 1 in it.resets or it.statuses or it.goodbye is not None)
    assert 1 in heard.resets or heard.statuses[1][0] in {400, 413, 431}, vars(heard)
    if heard.goodbye is None:
        speaker.say(request(3, GET, flags=ENDED))
        assert hear(speaker, lambda it: 3 in it.statuses, heard).statuses[3] == [200]
    speaker.close()
    assert scene.heard(mark) == ""


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(frame(DATA, 1, b"abc", END_STREAM), id="less"),
        pytest.param(frame(DATA, 1, b"abcdef", END_STREAM), id="more"),
        pytest.param(frame(HEADERS, 1, Encoder().encode([("host", "x")]), ENDED), id="host-in-trailers"),
    ],
)
def test_a_body_of_another_length_than_announced_never_ends(scene: Scene, body: bytes) -> None:
    mark = scene.mark()
    speaker = scene.speak()
    speaker.say(request(1, [*fields(f"/{mark.decode()}", method="POST"), ("content-length", "5")]) + body)
    heard = hear(speaker, lambda it: 1 in it.resets or it.statuses)
    speaker.close()
    assert heard.statuses.get(1, [400])[0] in {400, 502}
    assert scene.requests(mark) == []


def test_what_is_fine_in_http2_is_fine_in_http1(scene: Scene) -> None:
    mark = scene.mark()
    speaker = scene.speak()
    good = [
        *fields(f"/{mark.decode()}", method="POST"),
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ]
    speaker.say(request(1, good) + frame(DATA, 1, SMUGGLED.encode()) + frame(DATA, 1, b"", END_STREAM))
    assert hear(speaker, lambda it: it.statuses).statuses == {1: [200]}
    speaker.close()
    (seen,) = scene.requests(mark)
    assert "\r\nhost: server\r\n" in seen["head"]
    assert "\r\ncookie: a=1; b=2\r\n" in seen["head"]
    assert SMUGGLED in seen["body"]


# ---- floods


@contextmanager
def bounded(scene: Scene, mebibytes: int, seconds: float) -> Iterator[None]:
    """What happens inside costs the waypoint no more, and honest callers are served all the while."""
    pids = scene.replica.worker_pids()
    stop, slowest, failed = threading.Event(), [0.0], list[object]()

    def ask() -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                answer = scene.say(
                    asked(b"host: server", b"connection: close", first=b"GET /honest HTTP/1.1")
                )
                if answer.statuses != [200]:
                    failed.append(answer)
            except OSError as error:
                failed.append(error)
            slowest[0] = max(slowest[0], time.monotonic() - began)
            stop.wait(0.05)

    honest = threading.Thread(target=ask)
    honest.start()
    cost = Cost(pids)
    try:
        yield
    finally:
        grown, spent = cost.kib, cost.seconds
        stop.set()
        honest.join()
    print(f"{grown} KiB, {spent:.2f} s, slowest honest request {slowest[0] * 1000:.0f} ms")
    assert failed == []
    assert slowest[0] < 5
    assert grown < mebibytes * 1024
    assert spent < seconds
    assert scene.replica.worker_pids() == pids, "a worker died"


QUICK = (
    "rapid-reset",
    "rapid-reset-in-big-writes",
    "made-you-reset-by-malformed-requests",
    "continuations",
    "hpack-bomb",
    "streams-beyond-the-limit",
    "settings-in-one-write",
    "pings",
    "empty-data",
    "headers-on-a-closed-stream",
)
"""The others differ only for the machine, which the tests of core see to."""


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in ENDLESS]
)
def test_a_flood_is_sent_away_and_costs_little(scene: Scene, name: str) -> None:
    scene.heard(b"")
    before = len(scene.record.lines())
    with bounded(scene, 32, 10):
        speaker = scene.speak()
        heard = Heard()
        for piece in ENDLESS[name]():
            if not speaker.say(piece):
                break
            heard.add(speaker.hear(0))
        assert speaker.outcome() == "ended"
        speaker.close()
    scene.heard(b"")
    lines = scene.record.lines()[before:]
    asked_for = [line for line in lines if line.get("event") == "request" and line["line"].split()[1] == "/"]
    assert len(asked_for) <= 250


def test_readers_with_a_window_of_one_hold_little_and_hold_their_servers_up(scene: Scene) -> None:
    """Thirty answers that nobody takes, each larger than all that sockets on the way hold."""
    before = len(scene.record.lines())
    streams = range(1, 61, 2)
    with bounded(scene, 48, 15):
        speaker = scene.speak(first=settings((4, 1)))
        speaker.say(
            b"".join(request(one, [*GET, ("x-size", str(32 * 1024 * 1024))], flags=ENDED) for one in streams)
        )
        heard = hear(speaker, lambda it: len(it.bodies) == len(streams))
        for _ in range(20):
            speaker.say(b"".join(window_update(stream, 1) for stream in streams))
            heard.add(speaker.hear(0.02))
        assert speaker.outcome() == "alive"
        sent = [line for line in scene.record.lines()[before:] if line.get("event") == "sent"]
        speaker.close()
    assert max(heard.bodies.values()) <= 21
    assert sent == []


def test_rapid_resets_of_tunnels_cost_little(scene: Scene) -> None:
    """By a peer with a true certificate, past every node proxy; each might dial the server, whose port says nothing of itself."""
    caller = Caller(scene.attacker, scene.replica.pod.v4, true_context(scene.mesh, CLIENT_URI))
    connect = [(":method", "CONNECT"), (":authority", f"{scene.addresses['undeclared']}:80")]
    encoder = Encoder()
    with bounded(scene, 32, 20):
        for first in range(1, 10_000, 400):
            pieces = [
                request(stream, connect, encoder=encoder) + reset(stream)
                for stream in range(first, first + 400, 2)
            ]
            if not caller.say(b"".join(pieces)):
                break
            caller.hear(0)
        caller.outcome()
        caller.close()


# ---- callers of the waypoint itself, past every node proxy

TUNNELS: dict[str, tuple[str, bool]] = {
    # what is asked for, and whether there is such a tunnel
    "service": ("SERVICE:80", True),
    "service-by-name": ("server.shop.svc.cluster.local:80", True),
    "another-port-of-it": ("SERVICE:8081", True),
    "the-server-itself": ("SERVER:8080", False),
    "the-server-s-node": ("SERVER:15008", False),
    "the-caller-itself": ("ATTACKER:80", False),
    "itself": ("WAYPOINT:80", False),
    "its-own-tunnels": ("WAYPOINT:15008", False),
    "its-admin-page": ("WAYPOINT:15020", False),
    "its-admin-page-from-inside": ("127.0.0.1:15020", False),
    "its-admin-page-from-inside-by-ipv6": ("[::1]:15020", False),
    "its-admin-page-in-ipv6-of-ipv4": ("[::ffff:127.0.0.1]:15020", False),
    "any-address": ("0.0.0.0:15020", False),
    "localhost": ("localhost:15020", False),
    "control-plane": ("CONTROL:15012", False),
    "metadata-of-a-cloud": ("169.254.169.254:80", False),
    "outside": ("203.0.113.99:80", False),
    "nowhere": ("nowhere.shop.svc.cluster.local:80", False),
    "no-port": ("SERVICE", False),
    "port-0": ("SERVICE:0", False),
    "user": ("a@SERVICE:80", False),
    "path": ("SERVICE:80/x", False),
}


@pytest.mark.parametrize(("asked_for", "is_there"), list(TUNNELS.values()), ids=TUNNELS)
def test_a_waypoint_is_the_way_to_what_is_behind_it_alone(
    scene: Scene, asked_for: str, is_there: bool
) -> None:
    for name, address in (
        ("SERVICE", scene.addresses["server"]),
        ("SERVER", scene.server.pod.v4),
        ("ATTACKER", scene.attacker.v4),
        ("WAYPOINT", scene.replica.pod.v4),
        ("CONTROL", scene.mesh.host.v4),
    ):
        asked_for = asked_for.replace(name, str(address))
    caller = Caller(scene.attacker, scene.replica.pod.v4, true_context(scene.mesh, CLIENT_URI))
    caller.say(request(1, [(":method", "CONNECT"), (":authority", asked_for)]))
    heard = hear(caller, lambda it: 1 in it.statuses or 1 in it.resets)
    caller.close()
    if is_there:
        assert heard.statuses == {1: [200]}
    else:
        assert 1 in heard.resets or heard.statuses[1][0] >= 400


@pytest.mark.parametrize(
    "identity",
    [
        pytest.param("spiffe://cluster.local/node/one", id="node"),
        pytest.param("spiffe://other.domain/ns/shop/sa/client", id="other-trust-domain"),
        pytest.param("spiffe://cluster.local/ns/shop", id="half-a-name"),
    ],
)
def test_a_caller_without_an_identity_of_the_mesh_is_not_heard(scene: Scene, identity: str) -> None:
    mark = scene.mark().decode()
    authority = f"{scene.addresses['server']}:80"
    try:
        caller = Caller(scene.attacker, scene.replica.pod.v4, true_context(scene.mesh, identity))
    except OSError:
        return
    caller.say(request(1, [(":method", "CONNECT"), (":authority", authority)]))
    caller.say(frame(DATA, 1, f"GET /{mark} HTTP/1.1\r\nhost: server\r\n\r\n".encode()))
    assert caller.outcome() == "ended"
    caller.close()
    assert scene.heard(mark.encode()) == ""


def test_a_caller_without_a_certificate_is_not_heard(scene: Scene) -> None:
    with entered(scene.attacker.netns):
        plain = socket.create_connection((str(scene.replica.pod.v4), 15008), timeout=10)
    with plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: server\r\n\r\n")
        assert everything(plain).data[:4] != b"HTTP"
