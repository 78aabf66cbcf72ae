"""The delta ADS client: everything the mesh is, and each change of it.

A response is delivered first and answered then: acknowledged, or refused by the names of what could not be used, the
rest being applied all the same. On reconnect the versions that are held are named, so that only differences come.
Source: Envoy's xDS protocol, "Incremental xDS".

Our control plane states a checksum of all that should be held now. Where what is held has another, it is asked for anew,
as if every version were an old one: what is missing or other comes, what should not be there is named as gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf.struct_pb2 import Struct

from ambient.aio.watch import Watch
from ambient.core.checksum import digest, moved
from ambient.core.errors import PeerError, Unavailable
from ambient.rpc import trust
from ambient.rpc.discovery import CHECKSUMS, LONGEST_COMPLAINT, read_checksum
from ambient.rpc.pb.ambient.mesh.v1 import discovery_pb2 as mesh_pb2
from ambient.rpc.streams import Link
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, SETTINGS, Name, RawResource, Update

if TYPE_CHECKING:
    from ambient.aio.backoff import Backoff
    from ambient.rpc.channel import Dialer
    from ambient.rpc.holdings import Holdings

Deliver: TypeAlias = Callable[[Update], Mapping[str, str]]
"""Applies an update, and returns by name why any resource in it could not be; the others were applied."""

Settle: TypeAlias = Callable[[], Awaitable[None]]
"""Waits until what was delivered is in force everywhere: roots are acknowledged only then."""

_MESH: Final = (AUTHORIZATION, ADDRESS)
"""What every control plane that a proxy may have serves."""
TYPES: Final = (*trust.TYPES, SETTINGS, *_MESH)

HEAL_SECONDS: Final = 60.0
"""A type that was asked for anew is not asked for again sooner: that it diverges still is then for people to find out."""


class Diverged(Unavailable):
    """What is held is not what the control plane says it should be."""

    reason = "diverged"


class Subscription:
    """One node's subscription to ``types``.

    ``holdings`` is what it has, at first from the deposit, say; whoever is delivered to keeps it.
    """

    def __init__(
        self,
        dialer: Dialer,
        node: str,
        holdings: Holdings,
        *,
        types: tuple[str, ...] = TYPES,
        backoff: Backoff | None = None,
    ) -> None:
        self._dialer = dialer
        self._node = _node(node)
        self._holdings = holdings
        self._types = tuple(sorted(types, key=lambda one: one == ADDRESS))
        """What holds for a workload or service is asked for before it is."""
        self._answered: set[str] = set()
        self._refused: dict[Name, int] = {}
        """Digests of what was sent last and not taken: the control plane counts that, not what is held instead."""
        self._doubted: set[str] = set()
        """Types that diverged, until their checksum is right: they are asked for anew."""
        self._asked_anew: dict[str, float] = {}
        """When, by the loop's clock."""
        self._link = Link(backoff)
        self.connected = self._link.connected
        """Whether the stream is up."""
        self.trouble = self._link.trouble
        """Why it is down, for a log."""
        self.synced: Watch[bool] = Watch(False)
        """Whether every type of the mesh was answered and applied once; stays true when the stream is lost."""
        self.divergences = 0
        """How often what is held was not what the control plane said it should be."""

    async def run(self, deliver: Deliver, settle: Settle | None = None) -> None:
        """For ever: keep the stream open and deliver what it brings."""
        await self._link.keep_open(lambda: self._stream(deliver, settle))

    async def _stream(self, deliver: Deliver, settle: Settle | None) -> None:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(await self._dialer.channel())
        call = stub.DeltaAggregatedResources()
        self._refused.clear()
        try:
            for type_url in self._types:
                await call.write(self._subscribe(type_url))
            async for response in call:
                self._link.answered()
                answer = self._take(response, deliver)
                if settle is not None and response.type_url == trust.BUNDLE:
                    await settle()
                await call.write(answer)
                self._compare(response)
                self.synced.set(self._answered.issuperset(_MESH))
        finally:
            call.cancel()

    def _subscribe(self, type_url: str) -> discovery_pb2.DeltaDiscoveryRequest:
        held = self._holdings.versions(type_url)
        if type_url in self._doubted:
            held = dict.fromkeys(held, "")
        return discovery_pb2.DeltaDiscoveryRequest(
            node=self._node, type_url=type_url, initial_resource_versions=held
        )

    def _take(
        self, response: discovery_pb2.DeltaDiscoveryResponse, deliver: Deliver
    ) -> discovery_pb2.DeltaDiscoveryRequest:
        update, errors = _read(response, self._types)
        errors |= deliver(update)
        for name in update.removed:
            self._refused.pop(name, None)
        for resource in response.resources:
            name = (response.type_url, resource.name)
            self._refused.pop(name, None)
            if resource.name in errors:
                self._refused[name] = digest(resource.name, resource.resource.value)
        self._answered.add(response.type_url)
        answer = discovery_pb2.DeltaDiscoveryRequest(
            type_url=response.type_url, response_nonce=response.nonce
        )
        if errors:
            answer.error_detail.code = 3  # INVALID_ARGUMENT
            complaint = "; ".join(f"{name}: {error}" for name, error in sorted(errors.items()))
            answer.error_detail.message = complaint[:LONGEST_COMPLAINT]
            refusals = [mesh_pb2.Refusal(name=name, why=error) for name, error in sorted(errors.items())]
            answer.error_detail.details.add().Pack(mesh_pb2.Refusals(refusals=refusals))
        return answer

    def _compare(self, response: discovery_pb2.DeltaDiscoveryResponse) -> None:
        """Raise Diverged if what is held is not what it should be; the stream is then opened anew."""
        stated = read_checksum(response.system_version_info)
        if stated is None:
            return
        type_url = response.type_url
        is_reminder = not (response.resources or response.removed_resources)
        held = self._holdings.recount(type_url) if is_reminder else self._holdings.checksum(type_url)
        for (of, name), refused in self._refused.items():
            if of == type_url:
                held = moved(held, came=refused, went=self._holdings.digest(type_url, name))
        if held == stated:
            self._doubted.discard(type_url)
            return
        self.divergences += 1
        now = asyncio.get_running_loop().time()
        if now - self._asked_anew.get(type_url, -HEAL_SECONDS) < HEAL_SECONDS:
            return
        self._asked_anew[type_url] = now
        self._doubted.add(type_url)
        raise Diverged(
            f"what is held of {type_url} is not what the control plane has: {held:032x} is not {stated:032x}; "
            "all of it is asked for anew"
        )


def _read(
    response: discovery_pb2.DeltaDiscoveryResponse, types: tuple[str, ...]
) -> tuple[Update, dict[str, str]]:
    if response.type_url not in types:
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
        id=f"ztunnel~127.0.0.1~{name}.ambient-system~ambient-system.svc.cluster.local",
        metadata=metadata,
        client_features=[CHECKSUMS],
    )
