"""A waypoint's parent: a replica is a node of the mesh by itself, with one workload, which is the replica.

At a stop it is first said to be unhealthy, so that callers go to other replicas, and forgotten when what it carried has
ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from importlib import metadata
from typing import TYPE_CHECKING, Final

from ambient.aio.backoff import Backoff
from ambient.core.errors import ConfigError
from ambient.core.model.address import SocketAddress
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.ports import HBONE_PORT
from ambient.member import messages, parent
from ambient.net.fetch import Fetching, fetch
from ambient.rpc.otlp import Exporter
from ambient.rpc.subscription import TYPES
from ambient.rpc.wire import POLICIES, ROUTES
from ambient.telemetry.spans import read_spans
from ambient.waypoint.keys import Keys
from ambient.waypoint.ledger import Ledger
from ambient.waypoint.replica import Replica
from ambient.waypoint.settings import TELLING, TRACED, Settings
from ambient.waypoint.status import Status

if TYPE_CHECKING:
    from ambient.core.pki.bundle import Credentials
    from ambient.core.snapshot import Snapshot
    from ambient.member.workers import Post
    from ambient.rpc.registration import Order
    from ambient.telemetry.admin import Handler

VERSION: Final = metadata.version("ambient")
HEARD_SECONDS: Final = 3.0
"""How long new connections are still taken at a stop, for callers that have not heard yet."""
_FLUSH_SECONDS: Final = 2.0
"""For the last spans to leave."""
_BACKLOG: Final = 4096
_SWEEP_SECONDS: Final = 1.0
"""What a worker that died had under way counts against limits for so long at most."""


class Parent(parent.Parent):
    """The composition root of a replica."""

    def __init__(self, settings: Settings, listeners: tuple[socket.socket, ...]) -> None:
        super().__init__(
            settings,
            "waypoint",
            (*TYPES, ROUTES, POLICIES),
            settings.waypoint,
            settings.uid,
            *(str(limit or "") for limit in (settings.capacity.memory, settings.capacity.connections)),
            TRACED if settings.otlp is not None else "",
            TELLING if settings.introductions.tells_identity else "",
            *sorted(settings.introductions.trusted),
        )
        self._own, self._listeners = settings, listeners
        self._ledger, self._ledger_memory = Ledger.make(settings.workers)
        self._replica = Replica(settings, self.registration, self.certificates, self.workers)
        self._bringing: asyncio.Task[None] | None = None
        self._keys = Keys(_fetched, self._keys_changed, self.tasks, lambda: Backoff(1.0, 60.0, random.random))
        self._exporter = (
            None if settings.otlp is None else Exporter(settings.otlp, _speaker(settings), VERSION)
        )
        self._status = Status(self, self._replica, self._keys, self._exporter)

    def routes(self) -> dict[str, Handler]:
        return self._status.routes()

    def begin(self) -> None:
        self._replica.report(healthy=False)
        self.be(NodeId(self._own.trust_domain, self._own.node))
        self._bringing = self.tasks.start(self._replica.bring(), "own workload")
        self.tasks.start(self._sweep(), "ledger")
        self._keys.want(self.mesh.snapshot.policies.values())
        if self._exporter is not None:
            self.tasks.start(self._exporter.run(), "spans")

    def ordered(self, order: Order) -> None:
        if order.uid == self._own.uid:
            self._replica.ordered(order)

    def counts_changed(self, uid: str) -> None:
        """Nobody waits for that."""

    def mesh_changed(self, before: Snapshot, after: Snapshot) -> None:
        if before.policies is not after.policies:
            self._keys.want(after.policies.values())

    def credentials_changed(self, identity: NodeId | SpiffeId, credentials: Credentials | None) -> None:  # noqa: ARG002  # It asks by itself.
        self._replica.look()

    def heard(self, message: messages.Message, payload: bytes) -> None:
        match message:
            case messages.SpansEnded(dropped):
                if self._exporter is not None:
                    self._exporter.dropped += dropped
                    self._exporter.add(read_spans(payload))
            case _:
                super().heard(message, payload)

    def welcome_own(self, post: Post, *, retired: bool) -> None:
        for place, document in self._keys.documents.items():
            post(messages.KeysChanged(place), document, ())
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
        if self._exporter is not None:
            await self._exporter.flush(_FLUSH_SECONDS)

    def _keys_changed(self, place: str, document: bytes) -> None:
        self.workers.tell(messages.KeysChanged(place), document)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            self._ledger.sweep()


async def _fetched(url: str, seconds: float) -> bytes:
    return await fetch(url, Fetching(seconds))


def _speaker(settings: Settings) -> dict[str, str]:
    """Who tells of spans."""
    return {
        "service.name": f"{settings.name}.{settings.namespace}",
        "service.namespace": settings.namespace,
        "service.instance.id": settings.workload,
        "service.version": VERSION,
    }


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
            raise ConfigError(
                f"--listen {address}: {why}; a waypoint is called at port {HBONE_PORT} of an address of its own: give "
                f"--address IP and --listen IP:{HBONE_PORT}"
            ) from error
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
