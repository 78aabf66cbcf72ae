"""The registry's server: what nodes report and are ordered, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambient.rpc.pb.ambient.registry.v1 import registry_pb2
from ambient.rpc.registration import order_message, read_workload
from ambient.rpc.server import service
from ambient.rpc.sessions import stream_handler

if TYPE_CHECKING:
    from ambient.rpc.registration import LocalWorkload, Order
    from ambient.rpc.server import Service
    from ambient.rpc.sessions import Host


@dataclass(frozen=True, slots=True)
class Report:
    """What a node said of its workloads."""

    full: bool
    """It is the whole set: what is not in it is gone."""
    upserted: tuple[LocalWorkload, ...]
    removed: tuple[str, ...]
    """Uids."""


def registry_service(registrar: Host[Report, tuple[Order, ...]]) -> Service:
    """``ambient.registry.v1.Registry``."""
    handler = stream_handler(registrar, registry_pb2.NodeReport, _report, _orders)
    return service("ambient.registry.v1.Registry", {"Report": handler})


def _report(message: registry_pb2.NodeReport) -> Report:
    upserted = tuple(read_workload(workload) for workload in message.upserted)
    return Report(message.full, upserted, tuple(message.removed_uids))


def _orders(orders: tuple[Order, ...]) -> bytes:
    return registry_pb2.NodeOrders(orders=[order_message(order) for order in orders]).SerializeToString()
