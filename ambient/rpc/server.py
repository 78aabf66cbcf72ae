"""The gRPC servers that a control plane runs, and the handlers that it gives them.

Three doors: nodes and operators with a certificate (mutual TLS), those with only a token (server TLS), and root (a unix
socket). A handler knows nothing of gRPC; an error of ours that it raises becomes a status.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from ambient.core.errors import AmbientError, ConfigError
from ambient.core.model.identity import NodeId, OperatorId
from ambient.core.pki import verify
from ambient.rpc.errors import Unauthenticated, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ambient.core.model.identity import ClientId
    from ambient.core.pki.issue import ServerCertificate

Context: TypeAlias = grpc.aio.ServicerContext
Service: TypeAlias = grpc.GenericRpcHandler

_LARGEST_FROM_KNOWN: Final = 32 << 20
"""Bytes: the versions of 200,000 resources, named on reconnect; a folder of manifests."""
_LARGEST_FROM_STRANGER: Final = 64 << 10
_LARGEST_TO_NODE: Final = 200 << 20
_LONGEST_UNIX_PATH: Final = 107

_OPTIONS: Final = (
    # With it, a second control plane would take half of the connections instead of failing to start.
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", 64),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.max_send_message_length", _LARGEST_TO_NODE),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class Server:
    """A server that listens."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server = server
        self.port = port
        """The TCP port it listens on, also where port 0 was asked for; 1 for a unix socket."""

    async def stop(self, grace_seconds: float = 0.2) -> None:
        """Refuse new calls and end what is left after a while."""
        await self._server.stop(grace_seconds)


async def serve_known(
    listen: str,
    shown: Callable[[], ServerCertificate],
    roots: Callable[[], bytes],
    services: Sequence[Service],
) -> Server:
    """Serve callers whose certificate leads to one of ``roots`` (PEM). Raises ConfigError if ``listen`` cannot be used."""
    credentials = _tls(shown, roots, require_client=True)
    return await _serve(listen, services, credentials, _LARGEST_FROM_KNOWN, most_calls=8192)


async def serve_strangers(
    listen: str,
    shown: Callable[[], ServerCertificate],
    roots: Callable[[], bytes],
    services: Sequence[Service],
) -> Server:
    """Serve callers without a certificate. Raises ConfigError if ``listen`` cannot be used."""
    credentials = _tls(shown, roots, require_client=False)
    return await _serve(listen, services, credentials, _LARGEST_FROM_STRANGER, most_calls=256)


async def serve_operator(path: Path, services: Sequence[Service]) -> Server:
    """Serve root on a unix socket, replacing one that nobody listens on. Raises ConfigError."""
    if len(os.fsencode(path)) > _LONGEST_UNIX_PATH:
        raise ConfigError(
            f"{path} is longer than the {_LONGEST_UNIX_PATH} bytes of a unix socket: take a shorter --state-dir"
        )
    _remove_socket(path)
    mask = os.umask(0o177)
    try:
        return await _serve(f"unix:{path}", services, None, _LARGEST_FROM_KNOWN, most_calls=64)
    finally:
        os.umask(mask)


def service(name: str, methods: Mapping[str, grpc.RpcMethodHandler]) -> Service:
    """The methods of one gRPC service; any other is UNIMPLEMENTED."""
    return grpc.method_handlers_generic_handler(name, dict(methods))


def unary(method: Callable[[Any], Awaitable[Message]], request: type[Message]) -> grpc.RpcMethodHandler:
    """A method of one request and one answer."""

    async def handle(message: Message, context: Context) -> Message:
        answer: Message = await refusing(context, method(message))
        return answer

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request.FromString, response_serializer=_bytes
    )


def stream_from(
    method: Callable[[Any], AsyncIterator[Message]], request: type[Message]
) -> grpc.RpcMethodHandler:
    """A method of one request and many answers."""

    async def send(message: Message, context: Context) -> None:
        async for answer in method(message):
            await context.write(answer)

    async def handle(message: Message, context: Context) -> None:
        await refusing(context, send(message, context))

    return grpc.unary_stream_rpc_method_handler(
        handle, request_deserializer=request.FromString, response_serializer=_bytes
    )


async def refusing(context: Context, work: Awaitable[Any]) -> Any:  # noqa: ANN401
    """Await ``work``; an error of ours ends the call with its status and sentence."""
    try:
        return await work
    except AmbientError as error:
        await context.abort(status_of(error), str(error))


def calling_client(context: Context, is_revoked: Callable[[str], bool] = lambda _: False) -> ClientId:
    """Who calls, by the certificate that TLS has checked. Raises Unauthenticated.

    ``is_revoked`` is asked about its serial number, in hexadecimal.
    """
    certificates = context.auth_context().get("x509_pem_cert")
    if not certificates:
        raise Unauthenticated("the caller shows no certificate")
    try:
        client, serial = verify.client_of(certificates[0]), verify.serial_of(certificates[0])
    except verify.BadCertificate as error:
        raise Unauthenticated(str(error)) from error
    if is_revoked(serial):
        raise Unauthenticated(f"the certificate {serial} of {client} is revoked; a new token gets another")
    return client


def calling_node(context: Context) -> NodeId:
    """Which node calls. Raises Unauthenticated."""
    match calling_client(context):
        case NodeId() as node:
            return node
        case OperatorId() as operator:
            raise Unauthenticated(f"{operator} is not a node")


def health_service() -> Service:
    """``grpc.health.v1.Health``: a door that is open serves."""
    return _adopted(health_pb2_grpc.add_HealthServicer_to_server, health.aio.HealthServicer())


def reflection_service(names: Sequence[str]) -> Service:
    """``grpc.reflection.v1alpha.ServerReflection`` of the services of these names."""
    servicer = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME))
    return _adopted(reflection_pb2_grpc.add_ServerReflectionServicer_to_server, servicer)


class _Adopter:
    """Stands where generated code expects a server, and keeps the handler that it is given."""

    def __init__(self) -> None:
        self.handlers: list[Service] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Service]) -> None:
        self.handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """The same once more, for servers that look methods up by themselves."""


def _adopted(add: Callable[[Any, Any], None], servicer: object) -> Service:
    adopter = _Adopter()
    add(servicer, adopter)
    (handler,) = adopter.handlers
    return handler


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _remove_socket(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()


async def _serve(
    listen: str,
    services: Sequence[Service],
    credentials: grpc.ServerCredentials | None,
    largest: int,
    *,
    most_calls: int,
) -> Server:
    options = (*_OPTIONS, ("grpc.max_receive_message_length", largest))
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=most_calls)
    server.add_generic_rpc_handlers(tuple(services))
    try:
        port = (
            server.add_insecure_port(listen)
            if credentials is None
            else server.add_secure_port(listen, credentials)
        )
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen on {listen}: is it in use, or not an address of this machine?"
        ) from error
    if port == 0:
        raise ConfigError(f"cannot listen on {listen}: is it in use, or not an address of this machine?")
    await server.start()
    return Server(server, port)


def _tls(
    shown: Callable[[], ServerCertificate], roots: Callable[[], bytes], *, require_client: bool
) -> grpc.ServerCredentials:
    in_force: tuple[ServerCertificate, bytes] | None = None

    def configuration() -> grpc.ServerCertificateConfiguration | None:
        """None: as it was. Called at each handshake, on a thread of gRPC's."""
        nonlocal in_force
        current = shown(), roots()
        if current == in_force:
            return None
        in_force = certificate, roots_pem = current
        return grpc.ssl_server_certificate_configuration(
            [(certificate.key_pem, certificate.chain_pem)], root_certificates=roots_pem
        )

    return grpc.dynamic_ssl_server_credentials(
        configuration(), configuration, require_client_authentication=require_client
    )
