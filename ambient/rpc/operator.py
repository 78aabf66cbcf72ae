"""The operator's door to the control plane: both ends of its unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
import grpc.aio

from ambient.core.errors import ConfigError
from ambient.rpc.errors import from_status
from ambient.rpc.pb.ambient.control.v1 import control_pb2, control_pb2_grpc
from ambient.rpc.server import refusing, service

if TYPE_CHECKING:
    from pathlib import Path

    from ambient.rpc.server import Context, Service

SOCKET: Final = "control.sock"
"""In the control plane's state folder."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is configured, and what was refused."""

    trust_domain: str
    version: int
    namespaces: int
    services: int
    workloads: int
    authorizations: int
    connected_nodes: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


class Operations(Protocol):
    """What an operator can ask for."""

    def create_token(self, node: str, ttl_seconds: int) -> str:
        """A new bootstrap token. Raises ConfigError."""

    def status(self) -> Status:
        """How it stands."""

    def forget_node(self, node: str) -> int:
        """Take a dead node's workloads out of the mesh; how many it had. Raises ConfigError."""


def operator_service(operations: Operations) -> Service:
    """``ambient.control.v1.Control``."""

    async def create_token(message: control_pb2.CreateTokenRequest) -> control_pb2.CreateTokenResponse:
        token = operations.create_token(message.node, message.ttl_seconds)
        return control_pb2.CreateTokenResponse(token=token)

    async def status(_: control_pb2.StatusRequest) -> control_pb2.StatusResponse:
        now = operations.status()
        return control_pb2.StatusResponse(
            trust_domain=now.trust_domain,
            version=now.version,
            namespaces=now.namespaces,
            services=now.services,
            workloads=now.workloads,
            authorizations=now.authorizations,
            connected_nodes=now.connected_nodes,
            errors=now.errors,
            warnings=now.warnings,
        )

    async def forget_node(message: control_pb2.ForgetNodeRequest) -> control_pb2.ForgetNodeResponse:
        return control_pb2.ForgetNodeResponse(workloads=operations.forget_node(message.node))

    return service(
        "ambient.control.v1.Control",
        {
            "CreateToken": _unary(
                create_token, control_pb2.CreateTokenRequest, control_pb2.CreateTokenResponse
            ),
            "Status": _unary(status, control_pb2.StatusRequest, control_pb2.StatusResponse),
            "ForgetNode": _unary(forget_node, control_pb2.ForgetNodeRequest, control_pb2.ForgetNodeResponse),
        },
    )


async def create_token(socket: Path, node: str, ttl_seconds: int) -> str:
    """Ask the control plane behind ``socket`` for a token. Raises ConfigError or what it answered."""
    async with _stub(socket) as stub:
        response = await stub.CreateToken(
            control_pb2.CreateTokenRequest(node=node, ttl_seconds=ttl_seconds), timeout=10
        )
        return str(response.token)


async def status(socket: Path) -> Status:
    """How the control plane behind ``socket`` stands."""
    async with _stub(socket) as stub:
        now = await stub.Status(control_pb2.StatusRequest(), timeout=10)
        return Status(
            now.trust_domain,
            now.version,
            now.namespaces,
            now.services,
            now.workloads,
            now.authorizations,
            tuple(now.connected_nodes),
            tuple(now.errors),
            tuple(now.warnings),
        )


async def forget_node(socket: Path, node: str) -> int:
    """Take a dead node's workloads out of the mesh; how many it had."""
    async with _stub(socket) as stub:
        response = await stub.ForgetNode(control_pb2.ForgetNodeRequest(node=node), timeout=10)
        return int(response.workloads)


@asynccontextmanager
async def _stub(socket: Path) -> AsyncIterator[control_pb2_grpc.ControlStub]:
    options = (("grpc.enable_http_proxy", 0),)
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        try:
            yield control_pb2_grpc.ControlStub(channel)  # type: ignore[no-untyped-call]
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise ConfigError(
                    f"no control plane answers on {socket}: is `ambient control` running, with this --state-dir, and are you root?"
                ) from error
            raise from_status(error) from error


def _unary(method: Any, request: Any, response: Any) -> grpc.RpcMethodHandler:  # noqa: ANN401
    async def handle(message: object, context: Context) -> object:
        return await refusing(context, method(message))

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request.FromString, response_serializer=response.SerializeToString
    )
