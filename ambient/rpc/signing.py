"""The certificate authority's server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import grpc

from ambient.core.errors import InvalidIdentity
from ambient.core.model.identity import SpiffeId
from ambient.rpc.errors import InvalidRequest, Unauthenticated
from ambient.rpc.pb.istio.v1.auth import ca_pb2
from ambient.rpc.server import calling_client, refusing, service

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ambient.core.model.identity import ClientId
    from ambient.rpc.server import Context, Service


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What is to be certified."""

    csr_pem: bytes
    impersonate: SpiffeId | None
    """The workload that a node asks for; None: the caller itself."""
    lifetime: timedelta | None


class Signer(Protocol):
    """Who decides, and signs."""

    def sign_for_client(self, caller: ClientId, request: SigningRequest) -> tuple[bytes, ...]:
        """PEM each, leaf first, root last. Raises PermissionDenied or another PeerError."""

    def sign_for_token(self, token: str, request: SigningRequest) -> tuple[bytes, ...]:
        """The same for whom a bootstrap token was made for. Raises Unauthenticated."""


def signing_service(signer: Signer, *, by_token: bool) -> Service:
    """``istio.v1.auth.IstioCertificateService``, for callers with a certificate or for those with a token."""

    async def sign(message: ca_pb2.IstioCertificateRequest, context: Context) -> tuple[bytes, ...]:
        if by_token:
            return signer.sign_for_token(_bearer(context), _request(message))
        return signer.sign_for_client(calling_client(context), _request(message))

    async def handle(message: ca_pb2.IstioCertificateRequest, context: Context) -> bytes:
        return signing_response(await refusing(context, sign(message, context)))

    handler = grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=ca_pb2.IstioCertificateRequest.FromString,
        response_serializer=None,
    )
    return service("istio.v1.auth.IstioCertificateService", {"CreateCertificate": handler})


def signing_response(chain: Iterable[bytes]) -> bytes:
    """An ``IstioCertificateResponse``: PEM each, leaf first."""
    response = ca_pb2.IstioCertificateResponse(cert_chain=[certificate.decode() for certificate in chain])
    return response.SerializeToString()


def _request(message: ca_pb2.IstioCertificateRequest) -> SigningRequest:
    impersonate = None
    if "ImpersonatedIdentity" in message.metadata.fields:
        uri = message.metadata.fields["ImpersonatedIdentity"].string_value
        try:
            impersonate = SpiffeId.parse(uri)
        except InvalidIdentity as error:
            raise InvalidRequest(f"ImpersonatedIdentity {error}") from error
    seconds = message.validity_duration
    if not 0 <= seconds <= 10 * 365 * 86400:
        raise InvalidRequest(f"validity_duration is {seconds} seconds; it is at most ten years")
    return SigningRequest(message.csr.encode(), impersonate, timedelta(seconds=seconds) if seconds else None)


def _bearer(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token:
                return token
    raise Unauthenticated("there is no bootstrap token; make one with `ambient token create --node NAME`")
