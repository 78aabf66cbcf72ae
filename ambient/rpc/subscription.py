"""The delta ADS client: everything the mesh is, and each change of it.

A response is delivered first and answered then: acknowledged, or refused by the names of what could not be used, the
rest being applied all the same. On reconnect the versions that are held are named, so that only differences come.
Source: Envoy's xDS protocol, "Incremental xDS".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf.struct_pb2 import Struct

from ambient.aio.watch import Watch
from ambient.core.errors import PeerError
from ambient.rpc import trust
from ambient.rpc.streams import Link
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, Name, RawResource, Update

if TYPE_CHECKING:
    from ambient.aio.backoff import Backoff
    from ambient.rpc.channel import Dialer

Deliver: TypeAlias = Callable[[Update], Mapping[str, str]]
"""Applies an update, and returns by name why any resource in it could not be; the others were applied."""

Settle: TypeAlias = Callable[[], Awaitable[None]]
"""Waits until what was delivered is in force everywhere: roots are acknowledged only then."""

_MESH: Final = (AUTHORIZATION, ADDRESS)
"""What every control plane that a proxy may have serves."""
TYPES: Final = (*trust.TYPES, *_MESH)

_LONGEST_COMPLAINT: Final = 4096
"""Characters of a refusal that are sent: it travels in one message and ends in a log."""


class Subscription:
    """One node's subscription. ``held`` are the resources that it starts with, such as those from the deposit."""

    def __init__(
        self,
        dialer: Dialer,
        node: str,
        *,
        held: Iterable[RawResource] = (),
        backoff: Backoff | None = None,
    ) -> None:
        self._dialer = dialer
        self._node = _node(node)
        self._versions: dict[Name, str] = {(raw.type_url, raw.name): raw.version for raw in held}
        self._answered: set[str] = set()
        self._link = Link(backoff)
        self.connected = self._link.connected
        """Whether the stream is up."""
        self.trouble = self._link.trouble
        """Why it is down, for a log."""
        self.synced: Watch[bool] = Watch(False)
        """Whether every type of the mesh was answered and applied once; stays true when the stream is lost."""

    async def run(self, deliver: Deliver, settle: Settle | None = None) -> None:
        """For ever: keep the stream open and deliver what it brings."""
        await self._link.keep_open(lambda: self._stream(deliver, settle))

    async def _stream(self, deliver: Deliver, settle: Settle | None) -> None:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(await self._dialer.channel())
        call = stub.DeltaAggregatedResources()
        try:
            for type_url in TYPES:
                await call.write(self._subscribe(type_url))
            async for response in call:
                self._link.answered()
                answer = self._take(response, deliver)
                if settle is not None and response.type_url == trust.BUNDLE:
                    await settle()
                await call.write(answer)
                self.synced.set(self._answered.issuperset(_MESH))
        finally:
            call.cancel()

    def _subscribe(self, type_url: str) -> discovery_pb2.DeltaDiscoveryRequest:
        held = {name: version for (of, name), version in self._versions.items() if of == type_url}
        return discovery_pb2.DeltaDiscoveryRequest(
            node=self._node, type_url=type_url, initial_resource_versions=held
        )

    def _take(
        self, response: discovery_pb2.DeltaDiscoveryResponse, deliver: Deliver
    ) -> discovery_pb2.DeltaDiscoveryRequest:
        update, errors = _read(response)
        errors |= deliver(update)
        for name in update.removed:
            self._versions.pop(name, None)
        for raw in update.upserted:
            if raw.name not in errors:
                self._versions[raw.type_url, raw.name] = raw.version
        self._answered.add(response.type_url)
        answer = discovery_pb2.DeltaDiscoveryRequest(
            type_url=response.type_url, response_nonce=response.nonce
        )
        if errors:
            complaint = "; ".join(f"{name}: {error}" for name, error in sorted(errors.items()))
            answer.error_detail.code = 3  # INVALID_ARGUMENT
            answer.error_detail.message = complaint[:_LONGEST_COMPLAINT]
        return answer


def _read(response: discovery_pb2.DeltaDiscoveryResponse) -> tuple[Update, dict[str, str]]:
    if response.type_url not in TYPES:
        raise PeerError(f"the control plane sent {response.type_url!r}, which was not asked for")
    errors = {
        resource.name: f"its content is of type {resource.resource.type_url!r}"
        for resource in response.resources
        if resource.resource.type_url != response.type_url
    }
    upserted = tuple(
        RawResource(response.type_url, resource.name, resource.version, resource.resource.value)
        for resource in response.resources
        if resource.name not in errors
    )
    return Update(upserted, tuple((response.type_url, name) for name in response.removed_resources)), errors


def _node(name: str) -> base_pb2.Node:
    metadata = Struct()
    metadata.update({"NODE_NAME": name, "NAME": name, "NAMESPACE": "ambient-system"})
    return base_pb2.Node(
        id=f"ztunnel~127.0.0.1~{name}.ambient-system~ambient-system.svc.cluster.local", metadata=metadata
    )
