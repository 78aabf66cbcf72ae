"""What a node tells the control plane of its workloads, and what it is told to do with them: the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeAlias

from immutables import Map

from ambient.core.errors import InvalidIdentity, PeerError
from ambient.core.model.address import IpAddress, unmapped
from ambient.core.model.identity import SpiffeId
from ambient.core.model.pod import Exclusions
from ambient.rpc import exclusions
from ambient.rpc.pb.ambient.registry.v1 import registry_pb2, registry_pb2_grpc
from ambient.rpc.streams import Link

if TYPE_CHECKING:
    import grpc.aio

    from ambient.aio.backoff import Backoff
    from ambient.rpc.channel import Dialer


@dataclass(frozen=True, slots=True)
class LocalWorkload:
    """A workload as its node knows it."""

    uid: str
    name: str
    namespace: str
    service_account: str
    addresses: tuple[IpAddress, ...]
    labels: Map[str, str] = Map()  # noqa: RUF009
    captured: bool = False
    """Its node's kernel captures its traffic: peers may send it HBONE."""
    healthy: bool = True
    """Balancing may choose it."""
    exclusions: Exclusions = Exclusions()  # noqa: RUF009
    """What of its traffic its node leaves outside the mesh."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A workload may not be in the mesh; ``why`` names the object, the field and the remedy."""

    uid: str
    why: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A workload is in the mesh as ``identity``, its traffic captured if ``enrolled``."""

    uid: str
    identity: SpiffeId
    enrolled: bool


Order: TypeAlias = Refused | Accepted


class Registration:
    """One node's workloads, told to the control plane and again after each loss of it.

    Start ``run`` only when the whole set is known: what is not in it then is forgotten by the mesh.
    """

    def __init__(
        self, dialer: Dialer, deliver: Callable[[Order], None], *, backoff: Backoff | None = None
    ) -> None:
        self._dialer = dialer
        self._deliver = deliver
        self._workloads: dict[str, LocalWorkload] = {}
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._all_told = asyncio.Event()
        self._link = Link(backoff)
        self.connected = self._link.connected
        """Whether the stream is up."""
        self.trouble = self._link.trouble
        """Why it is down, for a log."""

    def set(self, workload: LocalWorkload) -> None:
        """Add a workload, or change what is known of it."""
        if self._workloads.get(workload.uid) != workload:
            self._workloads[workload.uid] = workload
            self._note(workload.uid)

    def forget(self, uid: str) -> None:
        """A workload is gone."""
        if self._workloads.pop(uid, None) is not None:
            self._note(uid)

    async def told(self) -> None:
        """Wait until all has been written that there is to tell."""
        await self._all_told.wait()

    async def run(self) -> None:
        """For ever: keep the stream open, report changes, deliver orders."""
        await self._link.keep_open(self._stream)

    def _note(self, uid: str) -> None:
        self._changed.add(uid)
        self._all_told.clear()
        self._wake.set()

    async def _stream(self) -> None:
        stub = registry_pb2_grpc.RegistryStub(await self._dialer.channel())  # type: ignore[no-untyped-call]
        call = stub.Report()
        self._changed.clear()
        reporting = asyncio.create_task(self._report(call))
        reporting.add_done_callback(lambda _: call.cancel())
        try:
            async for orders in call:
                self._link.answered()
                for order in orders.orders:
                    self._deliver(_order(order))
        finally:
            reporting.cancel()
            await asyncio.wait([reporting])
            call.cancel()
            if not reporting.cancelled():
                reporting.result()

    async def _report(self, call: grpc.aio.StreamStreamCall) -> None:
        await call.write(
            registry_pb2.NodeReport(full=True, upserted=[_message(w) for w in self._workloads.values()])
        )
        while True:
            if not self._changed:
                self._all_told.set()
            await self._wake.wait()
            self._wake.clear()
            changed, self._changed = self._changed, set()
            if changed:
                await call.write(
                    registry_pb2.NodeReport(
                        upserted=[
                            _message(self._workloads[uid]) for uid in changed if uid in self._workloads
                        ],
                        removed_uids=[uid for uid in changed if uid not in self._workloads],
                    )
                )


def _message(workload: LocalWorkload) -> registry_pb2.LocalWorkload:
    return registry_pb2.LocalWorkload(
        uid=workload.uid,
        name=workload.name,
        namespace=workload.namespace,
        service_account=workload.service_account,
        labels=dict(workload.labels),
        addresses=[ip.packed for ip in workload.addresses],
        captured=workload.captured,
        unhealthy=not workload.healthy,
        exclusions=exclusions.message(registry_pb2.Exclusions, workload.exclusions),
    )


def read_workload(message: registry_pb2.LocalWorkload) -> LocalWorkload:
    """The way back. Raises PeerError for an address that is none."""
    try:
        addresses = tuple(unmapped(ip_address(packed)) for packed in message.addresses)
    except ValueError as error:
        raise PeerError(f"workload {message.uid!r}: an address has 4 or 16 bytes") from error
    try:
        excluded = exclusions.read(message.exclusions)
    except ValueError as error:
        raise PeerError(f"workload {message.uid!r}: {error}") from error
    return LocalWorkload(
        message.uid,
        message.name,
        message.namespace,
        message.service_account,
        addresses,
        Map(dict(message.labels)),
        message.captured,
        not message.unhealthy,
        excluded,
    )


def _order(message: registry_pb2.WorkloadOrder) -> Order:
    if message.error:
        return Refused(message.uid, message.error)
    try:
        return Accepted(message.uid, SpiffeId.parse(message.identity), message.enrolled)
    except InvalidIdentity as error:
        raise PeerError(f"the order for workload {message.uid!r} has no identity: {error}") from error


def order_message(order: Order) -> registry_pb2.WorkloadOrder:
    """An order as it travels."""
    match order:
        case Refused(uid, why):
            return registry_pb2.WorkloadOrder(uid=uid, error=why)
        case Accepted(uid, identity, enrolled):
            return registry_pb2.WorkloadOrder(uid=uid, enrolled=enrolled, identity=str(identity))
