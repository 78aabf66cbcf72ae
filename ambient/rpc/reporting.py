"""The registry's server: streams ↔ a session that knows no gRPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc
import grpc.aio

from ambient.rpc.pb.ambient.registry.v1 import registry_pb2
from ambient.rpc.registration import order_message, read_workload
from ambient.rpc.server import calling_node, converse, refusing, service

if TYPE_CHECKING:
    from ambient.core.model.identity import NodeId
    from ambient.rpc.registration import LocalWorkload, Order
    from ambient.rpc.server import Context, Service


@dataclass(frozen=True, slots=True)
class Report:
    """What a node said of its workloads."""

    full: bool
    """It is the whole set: what is not in it is gone."""
    upserted: tuple[LocalWorkload, ...]
    removed: tuple[str, ...]
    """Uids."""


class Session(Protocol):
    """One node's stream."""

    def receive(self, report: Report) -> None:
        """Take what it said. Raises PeerError."""

    async def next(self) -> tuple[Order, ...]:
        """Wait for orders."""

    def close(self) -> None:
        """The stream has ended."""


class Registrar(Protocol):
    """Where nodes come."""

    def connect(self, node: NodeId) -> Session:
        """A stream has begun. Raises PermissionDenied."""


def registry_service(registrar: Registrar) -> Service:
    """``ambient.registry.v1.Registry``."""

    async def stream(context: Context) -> None:
        session = registrar.connect(calling_node(context))
        try:
            await converse(_listen(context, session), _speak(context, session))
        finally:
            session.close()

    async def handle(_requests: object, context: Context) -> None:
        await refusing(context, stream(context))

    handler = grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=registry_pb2.NodeReport.FromString,
        response_serializer=registry_pb2.NodeOrders.SerializeToString,
    )
    return service("ambient.registry.v1.Registry", {"Report": handler})


async def _listen(context: Context, session: Session) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        upserted = tuple(read_workload(workload) for workload in message.upserted)
        session.receive(Report(message.full, upserted, tuple(message.removed_uids)))


async def _speak(context: Context, session: Session) -> None:
    while True:
        orders = await session.next()
        await context.write(registry_pb2.NodeOrders(orders=[order_message(order) for order in orders]))
