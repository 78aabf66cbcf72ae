"""Nodes that report their workloads, and the word on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ambient.core.errors import Unavailable
from ambient.rpc.errors import InvalidRequest, PermissionDenied
from ambient.rpc.registration import LocalWorkload, Order, Refused
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.control.index import Index
    from ambient.control.store import Store
    from ambient.core.delta import Delta
    from ambient.core.model.identity import NodeId
    from ambient.rpc.reporting import Report


_MOST_WORKLOADS: Final = 20_000
"""Of one node: far more than any runs, so that one that was taken over cannot fill everyone's memory."""


class Registry:
    """Passes reports to the index, keeps them, and tells each node what has become of them."""

    def __init__(self, index: Index, store: Store, publish: Callable[[Delta], None]) -> None:
        self._index, self._store, self._publish = index, store, publish
        self._reporters: dict[str, Reporter] = {}

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that are connected."""
        return frozenset(self._reporters)

    def restore(self) -> None:
        """Take up what nodes had reported before this process began."""
        by_node: dict[str, list[LocalWorkload]] = {}
        for node, workload in self._store.registrations():
            by_node.setdefault(node, []).append(workload)
        for node, workloads in by_node.items():
            self._publish(self._index.register(node, workloads, (), full=True))

    def connect(self, node: NodeId) -> Reporter:
        """A stream has begun; an older one of that node ends."""
        if node.trust_domain != self._index.settings.trust_domain:
            raise PermissionDenied(f"{node} is not of trust domain {self._index.settings.trust_domain}")
        older = self._reporters.pop(node.node, None)
        if older is not None:
            older.replace()
        reporter = self._reporters[node.node] = Reporter(node.node, self)
        return reporter

    def disconnected(self, reporter: Reporter) -> None:
        """A stream has ended; the workloads stay."""
        if self._reporters.get(reporter.node) is reporter:
            del self._reporters[reporter.node]

    def take(self, node: str, report: Report) -> None:
        """Take what a node said."""
        held = self._index.registered(node)
        if len(report.upserted) + (0 if report.full else len(held)) > _MOST_WORKLOADS:
            raise InvalidRequest(f"node {node} reports more than {_MOST_WORKLOADS} workloads")
        told = {workload.uid for workload in report.upserted}
        gone = {uid for uid in report.removed if uid in held and uid not in told}
        if report.full:
            gone |= held.keys() - told
        changed = tuple(workload for workload in report.upserted if held.get(workload.uid) != workload)
        # Kept before it is believed: what peers were told survives this process.
        self._store.save_registrations(node, changed, tuple(sorted(gone)))
        self.announce(self._index.register(node, report.upserted, tuple(sorted(gone)), full=report.full))

    def forget_node(self, node: str) -> int:
        """A node is gone for good; how many workloads it had."""
        held = tuple(self._index.registered(node))
        self._store.save_registrations(node, (), held)
        self.announce(self._index.forget_node(node))
        return len(held)

    def announce(self, change: Delta) -> None:
        """Publish a change, and wake every node whose orders it may change."""
        self._publish(change)
        for reporter in self._reporters.values():
            reporter.wake()

    def orders(self, node: str) -> dict[str, Order]:
        """The word on each workload of a node."""
        return dict(self._index.orders(node))


class Reporter:
    """One node's stream."""

    def __init__(self, node: str, registry: Registry) -> None:
        self.node = node
        self._registry = registry
        self._told: dict[str, Order] = {}
        self._wake = asyncio.Event()
        self._has_reported = False
        self._is_replaced = False
        self._is_first = True

    def receive(self, report: Report) -> None:
        """Take what the node said; each workload that it names is answered."""
        if self._is_replaced:
            return
        for workload in report.upserted:
            self._told.pop(workload.uid, None)
        self._has_reported = True
        self._registry.take(self.node, report)

    async def next(self) -> tuple[Order, ...]:
        """Wait for orders; the answer to the first report comes even if it is empty."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._is_replaced:
                raise Unavailable(
                    f"node {self.node} has opened a newer stream: do two machines have that name?"
                )
            if not self._has_reported:
                continue
            orders = self._registry.orders(self.node)
            changed = tuple(order for uid, order in orders.items() if self._told.get(uid) != order)
            is_first, self._is_first = self._is_first, False
            self._told = orders
            for order in changed:
                if isinstance(order, Refused):
                    log.warning("workload refused", node=self.node, uid=order.uid, why=order.why)
            if changed or is_first:
                return changed

    def wake(self) -> None:
        """The word on a workload may have changed."""
        self._wake.set()

    def replace(self) -> None:
        """A newer stream of the same node has come."""
        self._is_replaced = True
        self._wake.set()

    def close(self) -> None:
        """The stream has ended."""
        self._registry.disconnected(self)
