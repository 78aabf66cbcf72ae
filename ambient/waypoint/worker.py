"""A worker of a waypoint: it carries what is sent to those whom the waypoint stands for."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from ambient.core.forwarding.client import Introductions
from ambient.core.forwarding.token_checks import TokenChecks
from ambient.core.overload import Capacity
from ambient.core.snapshot import Snapshot
from ambient.member import messages, worker
from ambient.member.accepting import Listener
from ambient.member.late import Recheck
from ambient.member.shares import Kind
from ambient.member.tunnels import Tunnels
from ambient.net.pool import Pool
from ambient.net.tls import Contexts
from ambient.telemetry.access import AccessLog
from ambient.telemetry.request_metrics import RequestCounts
from ambient.telemetry.requests import Requests
from ambient.telemetry.spans import SpanQueue
from ambient.waypoint import late
from ambient.waypoint.call import Call
from ambient.waypoint.dial import Dialer
from ambient.waypoint.exchange import Exchanges
from ambient.waypoint.guards import Guards
from ambient.waypoint.inbound import Inbound
from ambient.waypoint.keys import KeyRings
from ambient.waypoint.ledger import Ledger
from ambient.waypoint.load import Load
from ambient.waypoint.serving import Serving
from ambient.waypoint.settings import TELLING, TRACED
from ambient.waypoint.upstream import Upstreams
from ambient.waypoint.world import World

if TYPE_CHECKING:
    from ambient.core.detect import Spoken
    from ambient.net.relay import End


_KEEP_SECONDS: Final = 1.0
"""After a change, and so often at most, it looks for what is gone: one endpoint's change must not cost a look at all."""


class Worker(worker.Worker[Call]):
    """Joins the parts of one worker; the sole writer of its ``World``."""

    def __init__(
        self,
        index: int,
        channel: str,
        access: AccessLog,
        waypoint: str,
        uid: str,
        capacity: Capacity,
        introductions: Introductions,
        *,
        traced: bool,
    ) -> None:
        """``traced``: the parent has a collector for spans."""
        self._world = World(waypoint, uid)
        super().__init__(index, channel, access, self._world.peers)
        self._recheck = Recheck(lambda carried: late.judge(self._world, carried), self.live, self.rechecked)
        dialer = Dialer(self._world)
        self.pool = Pool(dialer.tunnel, self.end_if_idle)
        tasks = self.accepting.setting_up
        self._load = Load(capacity, self.accepting, lambda: self.connections)
        self._inbound = Inbound(self._world, dialer, self.pool, self.live, tasks, self._serve, self._load)
        self.served = Tunnels(self._inbound, tasks, self.tunnel_ended)
        self._counts = RequestCounts()
        self._keys = KeyRings()
        self._spans = SpanQueue()
        self._told_dropped = 0
        self._requests = Requests(self._counts, access, self._spans if traced else None)
        self._dialer, self._introductions = dialer, introductions
        self._upstreams: Upstreams | None = None
        self._serving: Serving | None = None
        """None before it knows what its siblings know."""
        self._keep_due = False

    async def run(self) -> None:
        self.tasks.start(self._load.watch(), "load")
        await super().run()

    @property
    def connections(self) -> int:
        served = 0 if self._serving is None else len(self._serving)
        return len(self.live) + served + len(self._inbound.undecided)

    @property
    def snapshot(self) -> Snapshot:
        return self._world.snapshot

    def hear(self, message: messages.Message, payload: bytes, descriptors: list[int]) -> None:
        match message:
            case messages.LedgerShared(workers):
                self._share(descriptors[0], workers)
            case messages.Listening():
                self._listen(descriptors)
            case messages.KeysChanged(place):
                self._keys.changed(place, payload)
            case messages.CredentialsForgotten():
                self._world.contexts = None
                self.pool.leave(lambda _: True)
            case _:
                raise TypeError(f"a worker does not take {message}")

    def credentials_changed(self, contexts: Contexts) -> None:
        self._world.contexts = contexts
        # Live tunnels finish with the certificate that they began with; new ones prove the new one.
        self.pool.leave(lambda _: True)
        if self._upstreams is not None:
            self._upstreams.leave()

    def mesh_changed(self, after: Snapshot) -> None:
        before, self._world.snapshot = self._world.snapshot, after
        if before.routes is not after.routes:
            self._world.routers.keep(after.routes)
        self._recheck.ask(late.concerned(before, after, self._world, self.live))
        self._inbound.recheck()
        if self._serving is not None:
            self._serving.recheck(before, after)
        if self._serving is not None and not self._keep_due:
            self._keep_due = True
            asyncio.get_running_loop().call_later(_KEEP_SECONDS, self._keep)

    def leave_peers(self) -> None:
        super().leave_peers()
        self._inbound.leave()
        if self._serving is not None:
            self._serving.leave()

    def end_if_idle(self) -> None:
        if self._serving is not None and len(self._serving):
            return
        if self.retired and self._upstreams is not None:
            # Connections that wait for the next request would keep their tunnels.
            self._upstreams.leave()
        super().end_if_idle()

    def reports(self) -> Iterable[tuple[messages.Message, bytes]]:
        yield messages.RequestsCounted(), self._counts.report()
        batch, dropped = self._spans.take(), self._spans.dropped
        if batch or dropped > self._told_dropped:
            yield messages.SpansEnded(dropped - self._told_dropped), batch
            self._told_dropped = dropped

    def holding(self) -> dict[str, int]:
        held = super().holding()
        if self._serving is not None:
            held |= self._serving.holding()
        return held

    def parent_found(self) -> None:
        self._counts.tell_all()

    def _share(self, memory: int, workers: int) -> None:
        """Know from here on what all workers know together, and serve HTTP by it."""
        world = self._world
        try:
            guards = Guards(Ledger.join(memory, workers), world.chance)
        finally:
            os.close(memory)
        self._upstreams = Upstreams(world, self._dialer, self.pool, guards)
        caused = self._requests.caused
        tokens = TokenChecks(self._keys.of, time.time, lambda fault: caused("token_refused", fault.value))
        exchanges = Exchanges(
            world,
            self._upstreams,
            guards,
            self._requests,
            tokens.check,
            introductions=self._introductions,
            overloaded=self._load.why_no_request,
        )
        self._serving = Serving(exchanges, self.end_if_idle)

    def _serve(self, call: Call, near: End, spoken: Spoken) -> None:
        if self._serving is None:
            raise RuntimeError("a worker accepts nothing before it knows what its siblings know")
        self._serving.serve(call, near, spoken)

    def _keep(self) -> None:
        """Forget what snapshots do not have any more."""
        self._keep_due = False
        if self._serving is not None:
            self._serving.keep()

    def _listen(self, descriptors: list[int]) -> None:
        listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        if self.retired:
            for listener in listeners:
                listener.close()
            return
        carry = partial(self.served.serve, self._world.uid)
        self.accepting.listen(
            self._world.uid, [Listener(sock, Kind.TUNNEL, "hbone", carry) for sock in listeners]
        )


def _made(index: int, channel: str, access: AccessLog, own: list[str]) -> Worker:
    waypoint, uid, memory, connections, traced, telling, *trusted = own
    capacity = Capacity(int(memory) if memory else None, int(connections) if connections else None)
    introductions = Introductions(telling == TELLING, frozenset(trusted))
    return Worker(index, channel, access, waypoint, uid, capacity, introductions, traced=traced == TRACED)


if __name__ == "__main__":
    worker.main(_made, sys.argv[1:])
