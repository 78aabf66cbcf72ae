"""The certificate authority's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc.aio
from google.protobuf.struct_pb2 import Struct

from ambient.rpc.errors import InvalidRequest, from_status
from ambient.rpc.pb.istio.v1.auth import ca_pb2, ca_pb2_grpc

if TYPE_CHECKING:
    from datetime import timedelta

    from ambient.core.model.identity import SpiffeId
    from ambient.rpc.channel import Channel


async def sign(
    channel: Channel,
    csr_pem: bytes,
    *,
    impersonate: SpiffeId | None = None,
    token: str | None = None,
    lifetime: timedelta | None = None,
    timeout_seconds: float = 10.0,
) -> tuple[bytes, ...]:
    """A certificate for ``csr_pem``: PEM each, leaf first, root last. Check it with ``Credentials.of``.

    ``impersonate``: the workload that the calling node asks for; None: the node itself, known by its certificate or,
    on a bootstrap channel, by ``token``. Raises Unauthenticated, PermissionDenied or InvalidRequest (the sentence is
    the authority's), or Unavailable.
    """
    metadata = None
    if impersonate is not None:
        metadata = Struct()
        metadata.update({"ImpersonatedIdentity": str(impersonate)})
    request = ca_pb2.IstioCertificateRequest(
        csr=csr_pem.decode("ascii"),
        validity_duration=int(lifetime.total_seconds()) if lifetime is not None else 0,
        metadata=metadata,
    )
    stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)  # type: ignore[no-untyped-call]
    headers = (("authorization", f"Bearer {token}"),) if token is not None else ()
    try:
        response = await stub.CreateCertificate(request, metadata=headers, timeout=timeout_seconds)
    except grpc.aio.AioRpcError as error:
        raise from_status(error) from error
    if not response.cert_chain:
        raise InvalidRequest("the certificate authority answered with no certificate")
    return tuple(certificate.encode() for certificate in response.cert_chain)
