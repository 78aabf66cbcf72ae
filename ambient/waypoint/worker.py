"""A worker of a waypoint: it carries what is sent to those whom the waypoint stands for."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial

from ambient.core.snapshot import Snapshot
from ambient.member import messages, worker
from ambient.member.accepting import Listener
from ambient.member.late import Recheck
from ambient.member.shares import Kind
from ambient.member.tunnels import Tunnels
from ambient.net.pool import Pool
from ambient.net.tls import Contexts
from ambient.telemetry.access import AccessLog
from ambient.waypoint import late
from ambient.waypoint.call import Call
from ambient.waypoint.dial import Dialer
from ambient.waypoint.guards import Guards
from ambient.waypoint.inbound import Inbound
from ambient.waypoint.ledger import Ledger
from ambient.waypoint.world import World


class Worker(worker.Worker[Call]):
    """Joins the parts of one worker; the sole writer of its ``World``."""

    def __init__(self, index: int, channel: str, access: AccessLog, waypoint: str, uid: str) -> None:
        self._world = World(waypoint, uid)
        super().__init__(index, channel, access, self._world.peers)
        self._recheck = Recheck(lambda carried: late.judge(self._world, carried), self.live, self.rechecked)
        dialer = Dialer(self._world)
        self.pool = Pool(dialer.tunnel, self.end_if_idle)
        tasks = self.accepting.setting_up
        self._inbound = Inbound(self._world, dialer, self.pool, self.live, tasks, None)
        self.served = Tunnels(self._inbound, tasks, self.tunnel_ended)
        self.guards: Guards | None = None
        """What is known together with the other workers; None: nothing has been accepted yet."""

    @property
    def snapshot(self) -> Snapshot:
        return self._world.snapshot

    def hear(self, message: messages.Message, descriptors: list[int]) -> None:
        match message:
            case messages.LedgerShared(workers):
                self._share(descriptors[0], workers)
            case messages.Listening():
                self._listen(descriptors)
            case messages.CredentialsForgotten():
                self._world.contexts = None
                self.pool.leave(lambda _: True)
            case _:
                raise TypeError(f"a worker does not take {message}")

    def credentials_changed(self, contexts: Contexts) -> None:
        self._world.contexts = contexts
        # Live tunnels finish with the certificate that they began with; new ones prove the new one.
        self.pool.leave(lambda _: True)

    def mesh_changed(self, after: Snapshot) -> None:
        before, self._world.snapshot = self._world.snapshot, after
        if before.routes is not after.routes:
            self._world.routers.keep(after.routes)
        self._recheck.ask(late.concerned(before, after, self._world, self.live))
        self._inbound.recheck()

    def leave_peers(self) -> None:
        super().leave_peers()
        self._inbound.leave()

    def _share(self, memory: int, workers: int) -> None:
        try:
            self.guards = Guards(Ledger.join(memory, workers), self._world.chance)
        finally:
            os.close(memory)

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


if __name__ == "__main__":
    worker.main(lambda index, channel, access, own: Worker(index, channel, access, *own), sys.argv[1:])
