"""Connections that come for pods: HBONE and plaintext, let in or not. Every choice is made in core."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from ambient.core import baggage, inbound
from ambient.core.authorize import Connection
from ambient.core.errors import Unavailable
from ambient.core.model.address import SocketAddress
from ambient.core.observation import NOBODY, Observation, Party, Reporter, ResponseFlag, Security
from ambient.member.tunnels import Ends, Host
from ambient.net import sockets
from ambient.net.relay import Relay
from ambient.net.tcp import SocketEnd
from ambient.proxy.world import LocalPod

if TYPE_CHECKING:
    from ambient.core.hbone import TunnelRequested
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot
    from ambient.member.live import Live
    from ambient.net.tls import Contexts
    from ambient.net.tunnel import ServerTunnel
    from ambient.proxy.dial import Dialer
    from ambient.proxy.world import World


class Inbound(Host[LocalPod]):
    """Carries out inbound decisions, for one worker."""

    def __init__(self, world: World, dialer: Dialer, live: Live[Connection]) -> None:
        self.world, self.dialer, self.live = world, dialer, live

    def uid(self, at: LocalPod) -> str:
        return at.uid

    def contexts(self, at: LocalPod) -> Contexts | None:
        workload = self.world.workload(at)
        return None if workload is None else self.world.contexts_of(workload)

    async def plaintext(self, pod: LocalPod, sock: socket.socket) -> None:
        """Take a connection that was captured on its way to the application."""
        try:
            client = SocketAddress.of(sock.getpeername())
            destination = SocketAddress.of(sock.getsockname())
        except OSError:
            sock.close()  # The client has gone before we looked: there is nobody to tell.
            return
        snapshot, workload = self.world.snapshot, self.world.workload(pod)
        source = snapshot.workload_at(client.ip)
        seen = _observation(workload, client, destination, None, Party.of(source))
        decision = inbound.admit_plaintext(snapshot, workload, client, destination)
        seen = _with_dry_run(seen, decision)
        match decision:
            case inbound.Reject():
                self.live.failed(seen, decision.flag, decision.why.value, decision.detail, decision.policy)
                sockets.reset(sock)
            case inbound.Admit(target, policy):
                try:
                    far = SocketEnd(await self.dialer.application(pod, target, client))
                except Unavailable as error:
                    self.live.failed(seen, ResponseFlag.CONNECT, error.reason, str(error))
                    sockets.reset(sock)
                    return
                except BaseException:
                    why = "it was cut before it was connected"
                    self.live.failed(seen, ResponseFlag.CONNECT, "cut", why)
                    sockets.reset(sock)
                    raise
                near = SocketEnd(sock)
                connection = Connection(None, client, target)
                if (rejection := self.overtaken(snapshot, pod, connection)) is not None:
                    self.live.failed(
                        seen, rejection.flag, rejection.why.value, rejection.detail, rejection.policy
                    )
                    near.reset()
                    far.reset()
                    return
                uid = pod.uid
                relay = Relay(near, far, lambda relay: self.live.ended(uid, relay))
                self.live.opened(pod.uid, seen, relay, connection, policy)
                relay.start()

    def overtaken(
        self, snapshot: Snapshot, pod: LocalPod, connection: Connection, service: Service | None = None
    ) -> inbound.Reject | None:
        """Why what ``snapshot`` let in must not be carried under the one that came while it was dialled."""
        workload = self.world.workload(pod)
        if self.world.snapshot is snapshot or workload is None:
            return None
        return inbound.recheck(self.world.snapshot, workload, connection, service)

    def failed(
        self,
        at: LocalPod,
        ends: Ends,
        identity: SpiffeId | None,
        flag: ResponseFlag,
        reason: str,
        why: str,
        times: int = 1,
    ) -> None:
        caller = NOBODY if identity is None else self._caller(ends.peer, identity, "")
        seen = _observation(self.world.workload(at), ends.peer, ends.local, identity, caller)
        self.live.failed(seen, flag, reason, why, times=times)

    async def answer(
        self, at: LocalPod, ends: Ends, identity: SpiffeId, tunnel: ServerTunnel, asked: TunnelRequested
    ) -> None:
        live = self.live
        headers = dict(asked.headers)
        request = inbound.TunnelRequest(
            asked.method,
            asked.authority,
            ends.peer,
            identity,
            ends.local,
            headers.get("forwarded", ""),
        )
        snapshot, workload = self.world.snapshot, self.world.workload(at)
        client = _true_client(request)
        caller = self._caller(ends.peer, identity, headers.get("baggage", ""))
        decision = inbound.admit_tunnel(snapshot, workload, request)
        match decision:
            case inbound.Reject():
                seen = _observation(workload, client, ends.local, identity, caller)
                seen = _with_dry_run(seen, decision)
                tunnel.refuse(asked.stream, decision.status)
                live.failed(seen, decision.flag, decision.why.value, decision.detail, decision.policy)
            case inbound.Admit(target, policy, service):
                seen = _observation(workload, client, target, identity, caller, service, ends.local)
                seen = _with_dry_run(seen, decision)
                try:
                    far = SocketEnd(await self.dialer.application(at, target, client))
                except Unavailable as error:
                    tunnel.refuse(asked.stream, 503)
                    live.failed(seen, ResponseFlag.CONNECT, error.reason, str(error))
                    return
                near = tunnel.end_of(asked.stream)
                if near is None:
                    far.reset()
                    return
                connection = Connection(identity, ends.peer, target)
                if (rejection := self.overtaken(snapshot, at, connection, service)) is not None:
                    tunnel.refuse(asked.stream, rejection.status)
                    live.failed(seen, rejection.flag, rejection.why.value, rejection.detail, rejection.policy)
                    far.reset()
                    return
                tunnel.accept(asked.stream)
                uid = at.uid
                relay = Relay(near, far, lambda relay: live.ended(uid, relay))
                live.opened(at.uid, seen, relay, connection, policy)
                relay.start()

    def _caller(self, peer: SocketAddress, identity: SpiffeId, claims: str) -> Party:
        source = self.world.snapshot.workload_at(peer.ip)
        # An address may have changed hands since: only a workload of the proven identity is the caller.
        if source is not None and source.identity == identity:
            return Party.of(source, identity)
        return Party.claiming(baggage.parse_baggage(claims), identity)


def _with_dry_run(seen: Observation, decision: inbound.Admit | inbound.Reject) -> Observation:
    if decision.would_deny is None and decision.would_allow is None:
        return seen
    return replace(seen, would_deny=decision.would_deny, would_allow=decision.would_allow)


def _true_client(request: inbound.TunnelRequest) -> SocketAddress:
    """The application's own address and port: its node says which port, if it speaks of the TCP peer itself."""
    forwarded = baggage.parse_forwarded(request.forwarded)
    if forwarded is not None and forwarded.source is not None and forwarded.source.ip == request.source.ip:
        return forwarded.source
    return request.source


def _observation(
    workload: Workload | None,
    source: SocketAddress,
    destination: SocketAddress,
    identity: SpiffeId | None,
    caller: Party,
    service: Service | None = None,
    hbone: SocketAddress | None = None,
) -> Observation:
    return Observation(
        reporter=Reporter.DESTINATION,
        source=caller,
        destination=Party.of(workload, None if workload is None else workload.identity),
        source_address=source,
        destination_address=destination,
        hbone_address=hbone,
        service=service,
        security=Security.UNKNOWN if identity is None else Security.MUTUAL_TLS,
    )
