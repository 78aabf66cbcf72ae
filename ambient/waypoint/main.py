"""A waypoint's parent: a replica is a node of the mesh by itself, with one workload, which is the replica.

At a stop it is first said to be unhealthy, so that callers go to other replicas, and forgotten when what it carried has
ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

from ambient.core.errors import ConfigError
from ambient.core.model.address import SocketAddress
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.member import messages, parent
from ambient.rpc.subscription import TYPES
from ambient.rpc.wire import POLICIES, ROUTES, SETTINGS
from ambient.waypoint.ledger import Ledger
from ambient.waypoint.replica import Replica
from ambient.waypoint.settings import Settings
from ambient.waypoint.status import Status

if TYPE_CHECKING:
    from ambient.core.pki.bundle import Credentials
    from ambient.core.snapshot import Snapshot
    from ambient.member.workers import Post
    from ambient.rpc.registration import Order
    from ambient.telemetry.admin import Handler

HEARD_SECONDS: Final = 3.0
"""How long new connections are still taken at a stop, for callers that have not heard yet."""
_BACKLOG: Final = 4096
_SWEEP_SECONDS: Final = 1.0
"""What a worker that died had under way counts against limits for so long at most."""


class Parent(parent.Parent):
    """The composition root of a replica."""

    def __init__(self, settings: Settings, listeners: tuple[socket.socket, ...]) -> None:
        super().__init__(
            settings, "waypoint", (*TYPES, ROUTES, POLICIES, SETTINGS), settings.waypoint, settings.uid
        )
        self._own, self._listeners = settings, listeners
        self._ledger, self._ledger_memory = Ledger.make(settings.workers)
        self._replica = Replica(settings, self.registration, self.certificates, self.workers)
        self._bringing: asyncio.Task[None] | None = None
        self._status = Status(self, self._replica)

    def routes(self) -> dict[str, Handler]:
        return self._status.routes()

    def begin(self) -> None:
        self._replica.report(healthy=False)
        self.be(NodeId(self._own.trust_domain, self._own.node))
        self._bringing = self.tasks.start(self._replica.bring(), "own workload")
        self.tasks.start(self._sweep(), "ledger")

    def ordered(self, order: Order) -> None:
        if order.uid == self._own.uid:
            self._replica.ordered(order)

    def counts_changed(self, uid: str) -> None:
        """Nobody waits for that."""

    def mesh_changed(self, before: Snapshot, after: Snapshot) -> None:
        """Workers hear of it, and nobody else needs to."""

    def credentials_changed(self, identity: NodeId | SpiffeId, credentials: Credentials | None) -> None:  # noqa: ARG002  # It asks by itself.
        self._replica.look()

    def welcome_own(self, post: Post, *, retired: bool) -> None:
        if not retired:
            post(messages.LedgerShared(self._own.workers), b"", [self._ledger_memory])
            post(messages.Listening(), b"", [listener.fileno() for listener in self._listeners])

    async def retire(self, sole: contextlib.ExitStack) -> None:  # noqa: ARG002  # It is held until all has ended.
        if self._bringing is not None:
            self._bringing.cancel()
        if await self._replica.step_back():
            await asyncio.sleep(min(HEARD_SECONDS, self._own.drain_seconds / 2))

    async def left(self) -> None:
        await self._replica.leave()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._ledger.sweep()


def _listen(addresses: tuple[SocketAddress, ...]) -> tuple[socket.socket, ...]:
    listeners: list[socket.socket] = []
    for address in addresses:
        family = socket.AF_INET if address.ip.version == 4 else socket.AF_INET6
        try:
            listener = socket.create_server((str(address.ip), address.port), family=family, backlog=_BACKLOG)
        except OSError as error:
            for other in listeners:
                other.close()
            why = os.strerror(error.errno) if error.errno else error
            raise ConfigError(f"--listen {address}: {why}; choose another address or port") from error
        listeners.append(listener)
    return tuple(listeners)


async def serve(settings: Settings) -> None:
    """Run a replica. Raises ConfigError for what its operator must mend."""
    parent.prepare()
    with parent.alone(settings.run_dir, "waypoint", "give a folder of this replica's own") as sole:
        listeners = _listen(settings.listen)
        try:
            await Parent(settings, listeners).run(sole)
        finally:
            for listener in listeners:
                listener.close()
