"""Nodes that report their workloads, and the word on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ambient.control.index import NO_NODE
from ambient.control.leases import Leases
from ambient.core.errors import AmbientError, ConfigError, Unavailable
from ambient.rpc.errors import Busy, InvalidRequest, NotFound, PermissionDenied
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


_LONGEST_LEASE: Final = 86_400
_GONE_FACTOR: Final = 10
"""A workload of the API that nobody has renewed for so many leases is forgotten."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long nodes may be silent."""

    lapse_seconds: float = 30.0
    """Then nobody is sent to their workloads. Longer than any node that lives takes to connect again."""
    gone_seconds: float = 86_400.0
    """Then their workloads are forgotten, and their names and addresses free."""


class Registry:
    """Passes reports to the index, keeps them, and tells each node what has become of them."""

    def __init__(
        self,
        index: Index,
        store: Store,
        publish: Callable[[Delta], None],
        patience: Patience,
        clock: Callable[[], float],
    ) -> None:
        self._index, self._store, self._publish = index, store, publish
        self._patience, self._clock = patience, clock
        self._reporters: dict[str, Reporter] = {}
        self._nodes: Leases[str] = Leases()
        """Of nodes that are not connected and have workloads."""
        self._workloads: Leases[str] = Leases()
        """Of workloads that the API has registered, by uid."""
        self._lease_changed = asyncio.Event()
        self._since: dict[str, float] = {}

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that are connected."""
        return frozenset(self._reporters)

    def since(self, node: str) -> float | None:
        """Since when a node is connected or silent, by the clock of leases; None: not seen yet."""
        return self._since.get(node)

    def restore(self) -> None:
        """Take up what nodes had reported before this process began."""
        by_node: dict[str, list[LocalWorkload]] = {}
        for node, workload in self._store.registrations():
            by_node.setdefault(node, []).append(workload)
        for node, workloads in by_node.items():
            self._publish(self._index.register(node, workloads, (), full=True))
            if node != NO_NODE:
                self._await(node)
        for uid, seconds in self._store.leases().items():
            self._workloads.begin(uid, self._clock(), seconds, seconds * _GONE_FACTOR)

    async def watch_leases(self) -> None:
        """For ever: act on those that end."""
        while True:
            self._lease_changed.clear()
            nodes = self._nodes.next() if self._reporters else None
            due = [moment for moment in (nodes, self._workloads.next()) if moment is not None]
            try:
                async with asyncio.timeout(max(0.0, min(due) - self._clock()) if due else None):
                    await self._lease_changed.wait()
            except TimeoutError:
                self.end_leases()

    def end_leases(self) -> None:
        """Act on the leases that have ended by now."""
        now = self._clock()
        if self._reporters:
            nodes = self._nodes.due(now)
            for node in nodes.lapsed:
                log.warning("node is silent: nobody is sent to its workloads", node=node)
                self.announce(self._lapse(node, self._index.registered(node)))
            for node in nodes.gone:
                log.warning("node forgotten: it was silent for too long", node=node)
                try:
                    self.forget_node(node)
                except Busy as error:
                    log.error("node not forgotten", node=node, error=str(error))
                    self._await(node)
        workloads = self._workloads.due(now)
        for uid in workloads.lapsed:
            log.warning("lease of a workload ended: nobody is sent to it", uid=uid)
            held = self._index.registered(NO_NODE)[uid]
            self.announce(self._lapse(NO_NODE, {uid: held}))
        for uid in workloads.gone:
            log.warning("workload forgotten: its lease was not renewed", uid=uid)
            try:
                self._forget(uid)
            except Busy as error:
                log.error("workload not forgotten", uid=uid, error=str(error))
                self._workloads.begin(uid, now, 0, self._patience.lapse_seconds)

    def connect(self, node: NodeId) -> Reporter:
        """A stream has begun; an older one of that node ends."""
        if node.trust_domain != self._index.settings.trust_domain:
            raise PermissionDenied(f"{node} is not of trust domain {self._index.settings.trust_domain}")
        older = self._reporters.pop(node.node, None)
        if older is not None:
            older.replace()
        elif not self._reporters:
            # Nobody could be heard: it was this end that was cut off.
            for silent in self._index.nodes:
                self._await(silent)
        reporter = self._reporters[node.node] = Reporter(node.node, self)
        self._since[node.node] = self._clock()
        return reporter

    def disconnected(self, reporter: Reporter) -> None:
        """A stream has ended; the workloads stay."""
        if self._reporters.get(reporter.node) is reporter:
            del self._reporters[reporter.node]
            self._since[reporter.node] = self._clock()
            self._await(reporter.node)

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
        self._nodes.stop(node)
        self.announce(self._index.register(node, report.upserted, tuple(sorted(gone)), full=report.full))

    def forget_node(self, node: str) -> int:
        """A node is gone for good; how many workloads it had."""
        held = tuple(self._index.registered(node))
        self._store.save_registrations(node, (), held)
        self._nodes.stop(node)
        self._since.pop(node, None)
        self.announce(self._index.forget_node(node))
        return len(held)

    def register(self, workload: LocalWorkload, lease_seconds: int) -> Order:
        """Take a workload that no node runs, and keep it if it may be in the mesh. Raises ConfigError."""
        if not 0 <= lease_seconds <= _LONGEST_LEASE:
            raise ConfigError(f"lease_seconds is {lease_seconds}; it is 0 (none) to {_LONGEST_LEASE}")
        before = self._index.registered(NO_NODE).get(workload.uid)
        self.announce(self._index.register(NO_NODE, (workload,), (), full=False))
        order = self._index.orders(NO_NODE)[workload.uid]
        try:
            if isinstance(order, Refused):
                raise ConfigError(order.why)
            self._store.save_registrations(NO_NODE, (workload,), (), {workload.uid: lease_seconds})
        except AmbientError:
            restored = (() if before is None else (before,), (workload.uid,) if before is None else ())
            self.announce(self._index.register(NO_NODE, *restored, full=False))
            raise
        self._workloads.stop(workload.uid)
        if lease_seconds:
            self._workloads.begin(workload.uid, self._clock(), lease_seconds, lease_seconds * _GONE_FACTOR)
            self._lease_changed.set()
        return order

    def withdraw(self, uid: str) -> None:
        """A workload that no node runs is no more. Raises NotFound."""
        if uid not in self._index.registered(NO_NODE):
            raise NotFound(f"no workload {uid} was registered with the API")
        self._workloads.stop(uid)
        self._forget(uid)

    def lease_end(self, node: str, uid: str) -> float | None:
        """When a workload's lease ends if nobody renews it, by the clock of leases."""
        return self._workloads.end_of(uid) if node == NO_NODE else self._nodes.end_of(node)

    def _await(self, node: str) -> None:
        if node != NO_NODE and self._index.registered(node):
            patience = self._patience
            self._nodes.begin(node, self._clock(), patience.lapse_seconds, patience.gone_seconds)
            self._lease_changed.set()

    def _lapse(self, node: str, held: Mapping[str, LocalWorkload]) -> Delta:
        """Nobody is sent to these any more, until they are heard of. It is not kept: a restart begins anew."""
        silent = [replace(workload, healthy=False) for workload in held.values()]
        return self._index.register(node, silent, (), full=False)

    def _forget(self, uid: str) -> None:
        self._store.save_registrations(NO_NODE, (), (uid,))
        self.announce(self._index.register(NO_NODE, (), (uid,), full=False))

    def announce(self, change: Delta) -> None:
        """Publish a change, and wake every node with other orders."""
        self._publish(change)
        for node in self._index.take_reordered() & self._reporters.keys():
            self._reporters[node].wake()

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
        self.wake()

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
