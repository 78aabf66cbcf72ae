"""What reads bytes of others, each as a function that may only succeed or blame the other side."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from ambient.core import authority as authorities, hbone
from ambient.core.baggage import parse_baggage, parse_forwarded, parse_traceparent
from ambient.core.errors import AmbientError, InvalidIdentity, PeerError
from ambient.core.hbone import Hbone, Role
from ambient.core.http.fields import OWN
from ambient.core.http.http1 import Http1Client, Http1Server
from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.machine import Machine
from ambient.core.http.message import (
    BodyCame,
    Event,
    MessageEnded,
    RequestCame,
    RequestHead,
    ResponseCame,
    ResponseHead,
)
from ambient.core.model.address import SocketAddress
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import issue, verify
from ambient.rpc import wire, zds

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def authority(data: bytes) -> None:
    text = data.decode("utf-8", "backslashreplace")
    asked = authorities.parse(text)
    if asked is None:
        return
    assert 0 < asked.port <= 0xFFFF
    if isinstance(asked, SocketAddress):
        assert SocketAddress.parse(str(asked)) == asked
    else:
        assert asked.host.isascii()
        assert asked.host.isprintable()


def baggage(data: bytes) -> None:
    found = parse_baggage(data)
    for value in (
        found.cluster,
        found.namespace,
        found.workload,
        found.service_name,
        found.region,
        found.zone,
    ):
        assert len(value) <= 253
        assert value.isprintable()


def forwarded(data: bytes) -> None:
    found = parse_forwarded(data)
    assert found is None or found.host.isprintable()


def traceparent(data: bytes) -> None:
    found = parse_traceparent(data)
    assert found is None or (len(found[0]), len(found[1])) == (16, 8)


def identity(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for kind in (SpiffeId, NodeId):
        with contextlib.suppress(InvalidIdentity):
            assert str(kind.parse(text)) == text


def hbone_server(data: bytes) -> None:
    machine = Hbone(Role.SERVER)
    machine.take()
    _converse(machine, PREFACE + b"\0\0\0\x04\0\0\0\0\0", data)


def hbone_client(data: bytes) -> None:
    machine = Hbone(Role.CLIENT)
    for port in range(1, 4):
        machine.open(f"10.0.0.1:{port}", [])
    machine.take()
    _converse(machine, b"\0\0\0\x04\0\0\0\0\0", data)


def _converse(machine: Hbone, first: bytes, data: bytes) -> None:
    """The first byte says how the rest is cut; what is asked is answered in turn."""
    size = 1 + (data[0] if data else 0)
    pieces = [first, *(data[at : at + size] for at in range(1, len(data), size))]
    try:
        for number, piece in enumerate(pieces):
            events = machine.receive(piece)
            while not machine.heard_all:
                events += machine.receive()
            for event in events:
                _answer(machine, event, number)
            machine.take()
            machine.settled()
    except PeerError:
        machine.take()
        return
    # A frame that is not whole has used credit for what has not come.
    assert (
        machine._broken
        or machine._frames._left
        or machine._credit + machine._uncredited == hbone._CONNECTION_WINDOW
    )
    assert machine.queued_in_all >= 0


def _answer(machine: Hbone, event: hbone.HboneEvent, number: int) -> None:
    match event:
        case hbone.TunnelRequested(stream) if number % 3 == 0:
            machine.refuse(stream, 503)
        case hbone.TunnelRequested(stream):
            machine.accept(stream)
            machine.send(stream, b"hello")
            machine.finish(stream)
        case hbone.TunnelData(stream, data):
            machine.consumed(stream, len(data))
        case _:
            pass


def http1_server(data: bytes) -> None:
    machine = Http1Server()
    for event in _told(machine, data):
        match event:
            case RequestCame(_, head):
                assert not OWN.intersection(dict(head.headers))
                Http1Client().request(head)  # Whatever is told can be passed on.
            case MessageEnded(stream):
                machine.respond(stream, ResponseHead(200))
                machine.send(stream, b"hello")
                machine.finish(stream)
            case _:
                pass


def http1_client(data: bytes) -> None:
    machine = Http1Client()
    machine.request(RequestHead("GET", "web", "/", upgrade="websocket", length=None))
    server = Http1Server()
    server.receive(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    for event in _told(machine, data):
        match event:
            case ResponseCame(_, head):
                assert not OWN.intersection(dict(head.headers))
                server.respond(1, head)
            case BodyCame(_, content):
                machine.send(1, content)
            case MessageEnded(stream):
                machine.finish(stream)
            case _:
                pass


def http2_server(data: bytes) -> None:
    machine = Http2Server()
    machine.receive(PREFACE + b"\0\0\0\x04\0\0\0\0\0")
    for number, event in enumerate(_told(machine, data)):
        match event:
            case RequestCame(stream, head):
                assert not OWN.intersection(dict(head.headers))
                for client in (Http1Client(), Http2Client()):
                    client.request(head)
                if number % 3 == 0:
                    machine.reset(stream)
                machine.respond(stream, ResponseHead(101 if head.upgrade else 200))
                machine.send(stream, b"hello")
            case BodyCame(stream, content):
                machine.send(stream, content)
                machine.consumed(stream, len(content))
            case MessageEnded(stream):
                machine.finish(stream, (("x", "y"),))
            case _:
                pass
    assert machine.is_over


def http2_client(data: bytes) -> None:
    machine = Http2Client()
    machine.receive(b"\0\0\x06\x04\0\0\0\0\0\0\x08\0\0\0\x01")
    machine.request(RequestHead("GET", "web", "/"), ended=True)
    machine.request(RequestHead("POST", "web", "/", length=None))
    machine.request(RequestHead("GET", "web", "/", upgrade="websocket"))
    machine.gather()
    ended: set[int] = set()
    for event in _told(machine, data):
        match event:
            case ResponseCame(_, head):
                assert not OWN.intersection(dict(head.headers))
                server = Http1Server()
                upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n" if head.status == 101 else ""
                server.receive(f"GET / HTTP/1.1\r\nHost: web\r\n{upgrade}\r\n".encode())
                server.respond(1, head)
            case BodyCame(stream, content):
                assert stream in {1, 3, 5} - ended
                machine.send(stream, content)
                machine.consumed(stream, len(content))
            case MessageEnded(stream):
                ended.add(stream)
                machine.finish(stream)
            case _:
                pass
    assert machine.is_over


def _told(machine: Machine, data: bytes) -> Iterator[Event]:
    """The first byte says how the rest is cut."""
    size = 1 + (data[0] if data else 0)
    for at in range(1, len(data), size):
        yield from machine.receive(data[at : at + size])
        machine.gather()
        while not machine.heard_all:
            yield from machine.receive(b"")
            machine.gather()
    yield from machine.receive_end()


def zds_packets(data: bytes) -> None:
    for decode in (zds.decode_hello, zds.decode_request, zds.decode_response):
        with contextlib.suppress(PeerError):
            decode(data)


def xds_resources(data: bytes) -> None:
    for type_url in (wire.ADDRESS, wire.AUTHORIZATION):
        update = wire.Update((wire.RawResource(type_url, "name", "1", data),), ())
        decoded, errors = wire.decode(update)
        assert errors or decoded.upserted or decoded.removed or not data


def snapshot_messages(data: bytes) -> None:
    with contextlib.suppress(AmbientError):
        wire.decode(wire.parse(data))


def certificates(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        verify.identity_of(data)
    with contextlib.suppress(PeerError):
        verify.node_of(data)
    with contextlib.suppress(AmbientError):
        verify.check_chain([data], data, datetime(2026, 1, 1, tzinfo=UTC))


def requests_to_sign(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        issue.requested_key(data)
        issue.requested_client(data)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "authority": authority,
    "baggage": baggage,
    "certificates": certificates,
    "forwarded": forwarded,
    "hbone-client": hbone_client,
    "hbone-server": hbone_server,
    "http1-client": http1_client,
    "http1-server": http1_server,
    "http2-client": http2_client,
    "http2-server": http2_server,
    "identity": identity,
    "requests-to-sign": requests_to_sign,
    "snapshot-messages": snapshot_messages,
    "traceparent": traceparent,
    "xds-resources": xds_resources,
    "zds-packets": zds_packets,
}
