"""A proxy that shares no line with ours: plain grpcio, bytes written and read by hand, certificates by ``cryptography``.

It speaks as ztunnel does. Source of what it says: Envoy's xDS protocol and the field numbers of Istio's files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rpc.by_hand import data, fields, messages, number, text, texts

ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"
_STREAM = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_SIGN = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


@dataclass(frozen=True)
class Certificate:
    """A key and what was issued for it, PEM."""

    key: bytes
    chain: tuple[bytes, ...]

    @property
    def leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.chain[0])


def certify(
    channel: grpc.Channel, uri: str, *, token: str = "", impersonate: str = "", seconds: int = 3600
) -> Certificate:
    """``CreateCertificate`` for a key that is made here; a ztunnel names its cluster with every call."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    said = {"ClusterID": "Kubernetes"} | ({"ImpersonatedIdentity": impersonate} if impersonate else {})
    struct = b"".join(data(1, data(1, name), data(2, data(3, value))) for name, value in said.items())
    body = data(1, request.public_bytes(serialization.Encoding.PEM)) + number(3, seconds) + data(4, struct)
    metadata = [("clusterid", "Kubernetes")] + ([("authorization", f"Bearer {token}")] if token else [])
    answer = channel.unary_unary(_SIGN)(body, timeout=10, metadata=metadata)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(pem, tuple(one.encode() for one in texts(answer, 1)))


@dataclass(frozen=True)
class Resource:
    """One resource of a response."""

    name: str
    version: str
    aliases: list[str]
    type_url: str
    body: bytes

    @property
    def workload(self) -> dict[int, list[int | bytes]]:
        (workload,) = messages(self.body, 1)
        return fields(workload)


@dataclass(frozen=True)
class Response:
    """What came on the stream."""

    type_url: str
    nonce: str
    resources: dict[str, Resource]
    removed: list[str]
    system_version: str
    size: int


class Stream:
    """One delta stream. ``name`` is what a ztunnel says of itself, once."""

    def __init__(self, channel: grpc.Channel, name: str) -> None:
        self._said: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = channel.stream_stream(_STREAM)(
            iter(self._said.get, None), metadata=[("clusterid", "Kubernetes")], timeout=60
        )
        self._node = node(name)

    def subscribe(
        self,
        type_url: str,
        names: tuple[str, ...] = (),
        *,
        without: tuple[str, ...] = (),
        held: dict[str, str] | None = None,
    ) -> None:
        """Ask for names, or for everything; ``held`` are versions of an earlier stream."""
        versions = (data(5, data(1, name), data(2, version)) for name, version in (held or {}).items())
        self._say(
            type_url, *(data(3, name) for name in names), *(data(4, name) for name in without), *versions
        )

    def acknowledge(self, response: Response) -> None:
        self._say(response.type_url, data(6, response.nonce))

    def refuse(self, response: Response, why: str) -> None:
        """As ztunnel does: one sentence; what is good in the response is applied all the same."""
        self._say(response.type_url, data(6, response.nonce), data(7, number(1, 3), data(2, why)))

    def next(self) -> Response:
        """The next response; waits for it, at most a minute after the stream began."""
        return read(next(self._call))

    def close(self) -> None:
        self._said.put(None)
        self._call.cancel()

    def _say(self, type_url: str, *parts: bytes) -> None:
        first, self._node = self._node, b""
        self._said.put(b"".join((first, data(2, type_url), *parts)))


def node(name: str) -> bytes:
    """Field 1 of the first request: id, cluster, metadata."""
    said = {
        "NAME": f"ztunnel-{name}",
        "NAMESPACE": "istio-system",
        "NODE_NAME": name,
        "INSTANCE_IPS": "10.0.0.9",
    }
    struct = b"".join(data(1, data(1, key), data(2, data(3, value))) for key, value in said.items())
    identity = f"ztunnel~10.0.0.9~ztunnel-{name}.istio-system~istio-system.svc.cluster.local"
    return data(1, data(1, identity), data(2, ""), data(3, struct))


def read(message: bytes) -> Response:
    def resources() -> Iterator[Resource]:
        for one in messages(message, 2):
            (content,) = messages(one, 2)
            (body,) = messages(content, 2) or [b""]
            yield Resource(text(one, 3), text(one, 1), texts(one, 4), text(content, 1), body)

    return Response(
        text(message, 4),
        text(message, 5),
        {one.name: one for one in resources()},
        texts(message, 6),
        text(message, 1),
        len(message),
    )
