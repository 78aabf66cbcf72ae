"""A worker of the proxy: it carries what pods of the node send, and what is sent to them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from functools import partial

from ambient.core.authorize import Connection
from ambient.core.snapshot import Snapshot
from ambient.kernel.handover import Clients, OriginalDestinations
from ambient.member import messages, worker
from ambient.member.accepting import Carry, Listener
from ambient.member.late import Recheck
from ambient.member.shares import Kind
from ambient.member.tunnels import Tunnels
from ambient.net.pool import Pool
from ambient.net.tls import Contexts
from ambient.proxy import late
from ambient.proxy.dial import Dialer
from ambient.proxy.inbound import Inbound
from ambient.proxy.outbound import Outbound
from ambient.proxy.world import LocalPod, World
from ambient.telemetry.access import AccessLog


class Worker(worker.Worker[Connection]):
    """Joins the parts of one worker; the sole writer of its ``World``."""

    def __init__(self, index: int, channel: str, access: AccessLog) -> None:
        self._world = World()
        super().__init__(index, channel, access, self._world.peers)
        self._recheck = Recheck(
            lambda carried: late.judge(self._world.snapshot, carried), self.live, self.rechecked
        )
        dialer = Dialer(self._world)
        self.pool = Pool(dialer.tunnel, self.end_if_idle)
        self._outbound = Outbound(self._world, dialer, self.pool, self.live)
        self._inbound = Inbound(self._world, dialer, self.live)
        self.served = Tunnels(self._inbound, self.accepting.setting_up, self.tunnel_ended)

    @property
    def snapshot(self) -> Snapshot:
        return self._world.snapshot

    def hear(self, message: messages.Message, payload: bytes, descriptors: list[int]) -> None:  # noqa: ARG002  # No message of its own has one.
        match message:
            case messages.Welcome(_, maps):
                self._welcomed(dict(zip(maps, descriptors, strict=True)))
            case messages.PodAdded(uid, cookie):
                self._pod_added(uid, cookie, descriptors)
            case messages.PodRemoved(uid, now):
                self._pod_removed(uid, now=now)
            case messages.CredentialsForgotten(identity):
                self._world.contexts = {
                    key: contexts for key, contexts in self._world.contexts.items() if key != identity
                }
                self.pool.leave(lambda key: key.source_identity == identity)
            case _:
                raise TypeError(f"a worker does not take {message}")

    def credentials_changed(self, contexts: Contexts) -> None:
        identity = str(contexts.identity)
        self._world.contexts = {**self._world.contexts, identity: contexts}
        # Live tunnels finish with the certificate that they began with; new ones prove the new one.
        self.pool.leave(lambda key: key.source_identity == identity)

    def mesh_changed(self, after: Snapshot) -> None:
        before, self._world.snapshot = self._world.snapshot, after
        self._recheck.ask(late.concerned(before, after, self.live))

    def _welcomed(self, maps: Mapping[str, int]) -> None:
        self._world.originals = OriginalDestinations(maps["original_destinations"])
        self._world.clients = Clients(maps["clients"])

    def _pod_added(self, uid: str, cookie: int, descriptors: list[int]) -> None:
        netns_fd, *listener_fds = descriptors
        listeners = [socket.socket(fileno=fd) for fd in listener_fds]
        pod = LocalPod(uid, cookie, netns_fd)
        self._world.pods = {**self._world.pods, uid: pod}
        if self.retired:
            self.accepting.stop(uid)
            for listener in listeners:
                listener.close()
            return
        roles: tuple[tuple[str, Kind, Carry], ...] = (
            ("outbound", Kind.CONNECTION, partial(self._outbound.carry, pod)),
            ("plaintext", Kind.CONNECTION, partial(self._inbound.plaintext, pod)),
            ("hbone", Kind.TUNNEL, partial(self.served.serve, pod)),
        )
        self.accepting.listen(
            uid,
            [
                Listener(sock, kind, name, carry)
                for sock, (name, kind, carry) in zip(listeners, roles, strict=True)
            ],
        )

    def _pod_removed(self, uid: str, *, now: bool) -> None:
        self.tell_count(uid)
        self.accepting.stop(uid)
        self.served.leave(uid)
        self.pool.leave(lambda key: key.source_uid == uid)
        if now:
            self.cut(uid, "the workload left the mesh")
        self._world.pods = {key: pod for key, pod in self._world.pods.items() if key != uid}


if __name__ == "__main__":
    worker.main(lambda index, channel, access, _: Worker(index, channel, access), sys.argv[1:])
