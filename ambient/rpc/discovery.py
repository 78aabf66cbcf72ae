"""The delta ADS server: streams ↔ a session that knows no gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from ambient.rpc.server import calling_node, converse, refusing, service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ambient.core.model.identity import NodeId
    from ambient.rpc.server import Context, Service
    from ambient.rpc.wire import RawResource


@dataclass(frozen=True, slots=True)
class Request:
    """What a subscriber said."""

    type_url: str
    nonce: str
    """Of the response that it answers; empty: it answers none."""
    error: str
    """Why it refuses that response, naming resources; empty: it does not."""
    subscribe: tuple[str, ...]
    """Names, or ``*``. Nothing at all in a type's first request means ``*``."""
    unsubscribe: tuple[str, ...]
    held: Mapping[str, str]
    """In a type's first request: versions by name that it has from an earlier stream."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a subscriber is told, of one type."""

    type_url: str
    nonce: str
    upserted: tuple[RawResource, ...]
    removed: tuple[str, ...]


class Session(Protocol):
    """One subscriber's stream."""

    def receive(self, request: Request) -> None:
        """Take what it said. Raises PeerError."""

    async def next(self) -> Response:
        """Wait for something to tell it."""

    def close(self) -> None:
        """The stream has ended."""


class Publisher(Protocol):
    """Where subscribers come."""

    def connect(self, node: NodeId) -> Session:
        """A stream has begun. Raises PermissionDenied."""


def discovery_service(publisher: Publisher) -> Service:
    """``AggregatedDiscoveryService``, delta only."""

    async def stream(context: Context) -> None:
        session = publisher.connect(calling_node(context))
        try:
            await converse(_listen(context, session), _speak(context, session))
        finally:
            session.close()

    async def handle(_requests: object, context: Context) -> None:
        await refusing(context, stream(context))

    handler = grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
        response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
    )
    return service(
        "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": handler}
    )


async def _listen(context: Context, session: Session) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        session.receive(
            Request(
                message.type_url,
                message.response_nonce,
                message.error_detail.message if message.HasField("error_detail") else "",
                tuple(message.resource_names_subscribe),
                tuple(message.resource_names_unsubscribe),
                dict(message.initial_resource_versions),
            )
        )


async def _speak(context: Context, session: Session) -> None:
    while True:
        response = await session.next()
        await context.write(
            discovery_pb2.DeltaDiscoveryResponse(
                type_url=response.type_url,
                nonce=response.nonce,
                removed_resources=response.removed,
                resources=[
                    discovery_pb2.Resource(
                        name=raw.name,
                        version=raw.version,
                        resource=AnyMessage(type_url=raw.type_url, value=raw.body),
                    )
                    for raw in response.upserted
                ],
            )
        )
