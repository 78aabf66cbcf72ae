"""The delta ADS server: what subscribers say and are told, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage

from ambient.rpc.server import service
from ambient.rpc.sessions import stream_handler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ambient.rpc.server import Service
    from ambient.rpc.sessions import Host
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


def discovery_service(publisher: Host[Request, Response]) -> Service:
    """``AggregatedDiscoveryService``, delta only."""
    handler = stream_handler(publisher, discovery_pb2.DeltaDiscoveryRequest, _request, _response)
    return service(
        "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": handler}
    )


def _request(message: discovery_pb2.DeltaDiscoveryRequest) -> Request:
    return Request(
        message.type_url,
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else "",
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
    )


def _response(response: Response) -> discovery_pb2.DeltaDiscoveryResponse:
    return discovery_pb2.DeltaDiscoveryResponse(
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
