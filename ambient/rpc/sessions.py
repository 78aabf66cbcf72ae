"""The control plane's end of a node's stream: gRPC on one side, a session that knows no gRPC on the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from ambient.rpc.server import calling_node, refusing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ambient.core.model.identity import NodeId
    from ambient.rpc.server import Context

Heard = TypeVar("Heard")
Said = TypeVar("Said")
Heard_contra = TypeVar("Heard_contra", contravariant=True)
Said_co = TypeVar("Said_co", covariant=True)


class Session(Protocol[Heard_contra, Said_co]):
    """One node's stream."""

    def receive(self, heard: Heard_contra, /) -> None:
        """Take what it said. Raises PeerError."""

    async def next(self) -> Said_co:
        """Wait for something to tell it."""

    def close(self) -> None:
        """The stream has ended."""


class Host(Protocol[Heard_contra, Said_co]):
    """Where nodes come."""

    def connect(self, node: NodeId) -> Session[Heard_contra, Said_co]:
        """A stream has begun. Raises PermissionDenied."""


def stream_handler(
    host: Host[Heard, Said],
    request: type[Message],
    read: Callable[[Any], Heard],
    write: Callable[[Said], bytes],
) -> grpc.RpcMethodHandler:
    """A method that gives ``host`` a session for each stream; ``read`` and ``write`` translate its messages."""

    async def listen(context: Context, session: Session[Heard, Said]) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            session.receive(read(message))

    async def speak(context: Context, session: Session[Heard, Said]) -> None:
        while True:
            await context.write(write(await session.next()))

    async def stream(context: Context) -> None:
        session = host.connect(calling_node(context))
        try:
            await _converse(listen(context, session), speak(context, session))
        finally:
            session.close()

    async def handle(_requests: object, context: Context) -> None:
        await refusing(context, stream(context))

    return grpc.stream_stream_rpc_method_handler(
        handle, request_deserializer=request.FromString, response_serializer=None
    )


async def _converse(listen: Awaitable[None], speak: Awaitable[None]) -> None:
    """Run both directions of a stream until the caller has ended its own, or either fails."""
    listening, speaking = asyncio.ensure_future(listen), asyncio.ensure_future(speak)
    try:
        await asyncio.wait((listening, speaking), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (listening, speaking):
            task.cancel()
        results = await asyncio.gather(listening, speaking, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
