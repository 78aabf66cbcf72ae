"""Good input for each target, for a fuzzer to bend."""

from __future__ import annotations

from datetime import UTC, datetime

from ambient.core.hbone import Hbone, Role
from ambient.core.http.http2 import Http2Client, Http2Server
from ambient.core.http.message import RequestHead, ResponseHead
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import csr, issue
from ambient.rpc import zds

IDENTITY = SpiffeId("cluster.local", "shop", "web")


def seeds() -> dict[str, list[bytes]]:
    now = datetime.now(UTC)
    authority = issue.new_authority("cluster.local", now)
    request = csr.new_request(IDENTITY)
    chain = issue.issue(authority, issue.requested_key(request.csr_pem), IDENTITY, now)
    client, server = Hbone(Role.CLIENT), Hbone(Role.SERVER)
    stream = client.open("10.0.0.1:80", [("baggage", "service.name=a")])
    asked = client.take()
    server.receive(asked)
    server.accept(stream)
    server.send(stream, b"hello")
    server.finish(stream)
    asking, answering = _http2_conversation()
    return {
        "authority": [b"10.0.0.1:80", b"[fd00::1]:80", b"web.shop.svc:80"],
        "baggage": [b"k8s.pod.name=a,service.name=b%20c;x=y"],
        "certificates": list(chain),
        "forwarded": [b'for="10.0.0.1:80";host=web', b'for="[::1]:80", for=x'],
        "hbone-client": [b"\xff" + server.take(), b"\x05" + server.take()],
        "hbone-server": [b"\xff" + asked[24:], b"\x05" + asked[24:]],
        "http1-client": [
            b"\xffHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"\x03HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            b"\xffHTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
            b"\x10HTTP/1.0 200 OK\r\nSet-Cookie: a=b\r\n\r\nuntil the end",
        ],
        "http1-server": [
            b"\xffGET /a?b HTTP/1.1\r\nHost: web:80\r\nTE: trailers\r\nAccept: */*\r\n\r\nGET / HTTP/1.1\r\nHost: web\r\n\r\n",
            b"\x03POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
            b"\xffPUT / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nX: 1\r\n\r\n",
            b"\x10GET http://web/ HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, x-a\r\nUpgrade: h2c, spdy/3.1\r\nX-A: b\r\n\r\n",
            b"\xffOPTIONS * HTTP/1.0\r\nHost: [fd00::1]:80\r\nConnection: keep-alive\r\n\r\n",
        ],
        "http2-client": [b"\xff" + answering, b"\x05" + answering],
        "http2-server": [b"\xff" + asking, b"\x05" + asking],
        "identity": [str(IDENTITY).encode(), b"spiffe://cluster.local/node/one"],
        "requests-to-sign": [request.csr_pem],
        "snapshot-messages": [],
        "traceparent": [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        "xds-resources": [],
        "zds-packets": [zds.encode(zds.Hello()), zds.encode(zds.KeepWorkload("u")), zds.encode(zds.Ack())],
    }


def _http2_conversation() -> tuple[bytes, bytes]:
    """What each end says after its preface."""
    client, server = Http2Client(), Http2Server()
    hello = b"".join(client.gather())
    server.receive(hello)
    client.receive(b"".join(server.gather()))
    asked = [
        client.request(RequestHead("GET", "web", "/a?b", (("cookie", "a=b"),)), ended=True),
        client.request(RequestHead("POST", "web:80", "/", length=5, takes_trailers=True)),
        client.request(RequestHead("GET", "web", "/", upgrade="websocket")),
    ]
    client.send(asked[1], b"hello")
    client.finish(asked[1])
    said = b"".join(client.gather())
    server.receive(said)
    server.inform(asked[1], 103, (("link", "x"),))
    for stream in asked[:2]:
        server.respond(stream, ResponseHead(200, (("server", "web"),), 5))
        server.send(stream, b"hello")
        server.finish(stream, (("grpc-status", "0"),))
    server.respond(asked[2], ResponseHead(101))
    server.send(asked[2], b"hello")
    answered = b"".join(server.gather())
    client.leave()
    return said + b"".join(client.gather()), answered
