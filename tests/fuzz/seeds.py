"""Good input for each target, for a fuzzer to bend."""

from __future__ import annotations

from datetime import UTC, datetime

from ambient.core.hbone import Hbone, Role
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
    return {
        "authority": [b"10.0.0.1:80", b"[fd00::1]:80", b"web.shop.svc:80"],
        "baggage": [b"k8s.pod.name=a,service.name=b%20c;x=y"],
        "certificates": list(chain),
        "forwarded": [b'for="10.0.0.1:80";host=web', b'for="[::1]:80", for=x'],
        "hbone-client": [b"\xff" + server.take(), b"\x05" + server.take()],
        "hbone-server": [b"\xff" + asked[24:], b"\x05" + asked[24:]],
        "identity": [str(IDENTITY).encode(), b"spiffe://cluster.local/node/one"],
        "requests-to-sign": [request.csr_pem],
        "snapshot-messages": [],
        "traceparent": [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
        "xds-resources": [],
        "zds-packets": [zds.encode(zds.Hello()), zds.encode(zds.KeepWorkload("u")), zds.encode(zds.Ack())],
    }
