"""The delta ADS server: what subscribers say and are told, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError

from ambient.core.checksum import digest
from ambient.rpc.pb.ambient.mesh.v1 import discovery_pb2 as mesh_pb2
from ambient.rpc.server import service
from ambient.rpc.sessions import stream_handler

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ambient.rpc.server import Service
    from ambient.rpc.sessions import Host
    from ambient.rpc.wire import RawResource

CHECKSUMS: Final = "dev.ambient.checksums"
"""The client feature of a subscriber that wants checksums stated."""
_CHECKSUM: Final = "ambient-checksum:"
"""Before a checksum in a response's ``system_version_info``, which is free text that other clients ignore."""
LONGEST_COMPLAINT: Final = 4096
"""Characters of a refusal that are sent: it travels in one message and ends in a log."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A resource that a subscriber did not take."""

    name: str
    why: str


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
    refusals: tuple[Refusal, ...] = ()
    """What ``error`` says, resource by resource; only our own proxies say it."""
    wants_checksums: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A resource as it stands in any response, encoded once for all subscribers."""

    name: str
    version: str
    digest: int
    encoded: bytes

    @classmethod
    def of(cls, raw: RawResource, aliases: Iterable[str] = ()) -> Self:
        resource = discovery_pb2.Resource(
            name=raw.name,
            version=raw.version,
            aliases=aliases,
            resource=AnyMessage(type_url=raw.type_url, value=raw.body),
        )
        response = discovery_pb2.DeltaDiscoveryResponse(resources=[resource])
        return cls(raw.name, raw.version, digest(raw.name, raw.body), response.SerializeToString())


@dataclass(frozen=True, slots=True)
class Response:
    """What a subscriber is told, of one type."""

    type_url: str
    nonce: str
    upserted: tuple[Entry, ...]
    removed: tuple[str, ...]
    checksum: int | None = None
    """Of all that the subscriber holds of the type once it has taken this."""


def discovery_service(publisher: Host[Request, Response]) -> Service:
    """``AggregatedDiscoveryService``, delta only."""
    handler = stream_handler(publisher, discovery_pb2.DeltaDiscoveryRequest, _request, response_bytes)
    return service(
        "envoy.service.discovery.v3.AggregatedDiscoveryService", {"DeltaAggregatedResources": handler}
    )


def response_bytes(response: Response) -> bytes:
    """A ``DeltaDiscoveryResponse``. In protobuf, messages one after another are one message with the fields of all."""
    head = discovery_pb2.DeltaDiscoveryResponse(
        system_version_info="" if response.checksum is None else checksum_text(response.checksum),
        type_url=response.type_url,
        nonce=response.nonce,
        removed_resources=response.removed,
    )
    return b"".join((head.SerializeToString(), *(entry.encoded for entry in response.upserted)))


def checksum_text(checksum: int) -> str:
    """A checksum as a response states it."""
    return f"{_CHECKSUM}{checksum:032x}"


def read_checksum(text: str) -> int | None:
    """What ``checksum_text`` made; None: it is something else."""
    if not text.startswith(_CHECKSUM):
        return None
    try:
        return int(text.removeprefix(_CHECKSUM), 16)
    except ValueError:
        return None


def _request(message: discovery_pb2.DeltaDiscoveryRequest) -> Request:
    is_refused = message.HasField("error_detail")
    return Request(
        message.type_url,
        message.response_nonce,
        (message.error_detail.message or "it does not say why") if is_refused else "",
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        tuple(_refusals(message)) if is_refused else (),
        CHECKSUMS in message.node.client_features,
    )


def _refusals(message: discovery_pb2.DeltaDiscoveryRequest) -> Iterable[Refusal]:
    for detail in message.error_detail.details:
        refusals = mesh_pb2.Refusals()
        try:
            if detail.Unpack(refusals):
                yield from (Refusal(one.name, one.why[:LONGEST_COMPLAINT]) for one in refusals.refusals)
        except DecodeError:
            continue
