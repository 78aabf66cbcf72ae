"""Connections that come for pods: HBONE and plaintext, let in or not. Every choice is made in core."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from ambient.core import baggage, inbound
from ambient.core.authorize import Connection
from ambient.core.errors import PeerError, Unavailable
from ambient.core.model.address import SocketAddress
from ambient.core.observation import NOBODY, Observation, Party, Reporter, ResponseFlag, Security
from ambient.core.pki.revocation import Revoked
from ambient.net import sockets
from ambient.net.relay import Relay
from ambient.net.tcp import SocketEnd
from ambient.net.tunnel import ServerTunnel, Tunnel
from ambient.proxy.live import BEGAN

if TYPE_CHECKING:
    from ambient.aio.tasks import Tasks
    from ambient.core.hbone import TunnelRequested
    from ambient.core.model.address import IpAddress
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot
    from ambient.proxy.dial import Dialer
    from ambient.proxy.live import Live
    from ambient.proxy.world import LocalPod, World

IN_FLIGHT: Final = 200
"""Requests of one tunnel that may be undecided or being dialled at once; what is beyond is refused."""
IN_FLIGHT_OF_PEER: Final = 1000
"""The same for all tunnels from one address to one pod."""


class Inbound:
    """Carries out inbound decisions, for one worker. ``ended`` is called when a tunnel is gone."""

    def __init__(
        self, world: World, dialer: Dialer, live: Live, tasks: Tasks, ended: Callable[[], None]
    ) -> None:
        self.world, self.dialer, self.live, self.tasks = world, dialer, live, tasks
        self._ended = ended
        self._tunnels: dict[str, set[Tunnel]] = {}
        self.in_flight: Counter[tuple[str, IpAddress]] = Counter()
        """Requests that are undecided or being dialled, by pod and peer."""
        self._left = 0
        """How often ``leave`` was said."""

    async def serve(self, pod: LocalPod, sock: socket.socket) -> None:
        """Take a connection that was accepted on the HBONE listener, and the tunnels that come on it."""
        try:
            peer = SocketAddress.of(sock.getpeername())
            local = SocketAddress.of(sock.getsockname())
        except OSError:
            sock.close()  # The peer has gone before we looked: there is nobody to tell.
            return
        workload = self.world.workload(pod)
        contexts = None if workload is None else self.world.contexts_of(workload)
        seen = _observation(workload, peer, local, None, NOBODY)
        if contexts is None:
            why = "identity error: no certificate for the pod yet"
            self.live.failed(seen, ResponseFlag.IDENTITY_ERROR, "no_certificate", why)
            sockets.reset(sock)
            return
        sockets.prepare(sock)
        left = self._left

        def tunnel_of(identity: SpiffeId) -> Tunnel:
            session = _Session(self, pod, identity, peer, local)
            tunnel = ServerTunnel(
                lambda tunnel: self._forget(pod, tunnel), session.requested, session.withdrawn
            )
            self._tunnels.setdefault(pod.uid, set()).add(tunnel)
            if left != self._left:
                # It may have been meant for this one too, which was shaking hands.
                asyncio.get_running_loop().call_soon(tunnel.leave)
            return tunnel

        try:
            await contexts.serve(sock, tunnel_of)
        except Revoked as error:
            self.live.failed(seen, ResponseFlag.CERT_REVOKED, error.reason, f"connection closed: {error}")
        except (PeerError, Unavailable) as error:
            self.live.failed(seen, ResponseFlag.TLS_FAILURE, error.reason, str(error))

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

    def overtaken(self, snapshot: Snapshot, pod: LocalPod, connection: Connection) -> inbound.Reject | None:
        """Why what ``snapshot`` let in must not be carried under the one that came while it was dialled."""
        workload = self.world.workload(pod)
        if self.world.snapshot is snapshot or workload is None:
            return None
        return inbound.recheck(self.world.snapshot, workload, connection)

    @property
    def tunnels(self) -> int:
        """How many tunnels live."""
        return sum(len(tunnels) for tunnels in self._tunnels.values())

    def leave(self, uid: str | None = None) -> None:
        """Take no more tunnels for a pod (None: for any); those that live may end."""
        self._left += 1
        for of, tunnels in list(self._tunnels.items()):
            if uid in {None, of}:
                for tunnel in list(tunnels):
                    tunnel.leave()

    def cut(self, uid: str, why: str) -> None:
        """Cut a pod's tunnels, with what is still being decided on them."""
        for tunnel in list(self._tunnels.get(uid, ())):
            tunnel.abort(why)

    def _forget(self, pod: LocalPod, tunnel: Tunnel) -> None:
        tunnels = self._tunnels[pod.uid]
        tunnels.discard(tunnel)
        if not tunnels:
            del self._tunnels[pod.uid]
        self._ended()


class _Session:
    """One HBONE connection from a peer that proved its identity."""

    def __init__(
        self, owner: Inbound, pod: LocalPod, identity: SpiffeId, peer: SocketAddress, local: SocketAddress
    ) -> None:
        self._owner, self._pod, self._identity, self._peer, self._local = owner, pod, identity, peer, local
        self._who = (pod.uid, peer.ip)
        self._answering: dict[int, asyncio.Task[None]] = {}

    def requested(self, tunnel: ServerTunnel, event: TunnelRequested) -> None:
        """The peer asks for a tunnelled connection."""
        BEGAN.set(time.monotonic())
        in_flight = self._owner.in_flight
        if len(self._answering) >= IN_FLIGHT or in_flight[self._who] >= IN_FLIGHT_OF_PEER:
            tunnel.refuse(event.stream, 503)
            waiting = f"{len(self._answering)} requests of this tunnel, {in_flight[self._who]} of this peer"
            self._failed("in_flight", f"{waiting} are waiting already")
            return
        in_flight[self._who] += 1
        work = self._answer(tunnel, event)
        task = self._owner.tasks.start(work, f"inbound {self._pod.uid}")
        self._answering[event.stream] = task
        task.add_done_callback(lambda _: self._answered(event.stream))
        near = tunnel.end_of(event.stream)
        if near is not None:
            near.given_up = partial(copy_context().run, self._given_up, event.stream)

    def withdrawn(self, count: int) -> None:
        """The peer asked and took it back before anything was done."""
        BEGAN.set(time.monotonic())
        why = f"the client gave up {count} times before it was heard"
        self._failed("client_gone", why, times=count)

    def _answered(self, stream: int) -> None:
        self._answering.pop(stream, None)
        self._owner.in_flight[self._who] -= 1
        if not self._owner.in_flight[self._who]:
            del self._owner.in_flight[self._who]

    def _given_up(self, stream: int) -> None:
        task = self._answering.pop(stream, None)
        if task is not None and task.cancel():
            self._failed("client_gone", "the client gave up before it was connected")

    def _failed(self, reason: str, why: str, *, times: int = 1) -> None:
        workload = self._owner.world.workload(self._pod)
        seen = _observation(workload, self._peer, self._local, self._identity, self._caller(""))
        self._owner.live.failed(seen, ResponseFlag.CONNECT, reason, why, times=times)

    async def _answer(self, tunnel: ServerTunnel, event: TunnelRequested) -> None:
        pod, world, live = self._pod, self._owner.world, self._owner.live
        headers = dict(event.headers)
        request = inbound.TunnelRequest(
            event.method,
            event.authority,
            self._peer,
            self._identity,
            self._local,
            headers.get("forwarded", ""),
        )
        snapshot, workload = world.snapshot, world.workload(pod)
        client = _true_client(request)
        caller = self._caller(headers.get("baggage", ""))
        decision = inbound.admit_tunnel(snapshot, workload, request)
        match decision:
            case inbound.Reject():
                seen = _observation(workload, client, self._local, self._identity, caller)
                seen = _with_dry_run(seen, decision)
                tunnel.refuse(event.stream, decision.status)
                live.failed(seen, decision.flag, decision.why.value, decision.detail, decision.policy)
            case inbound.Admit(target, policy, service):
                seen = _observation(workload, client, target, self._identity, caller, service, self._local)
                seen = _with_dry_run(seen, decision)
                try:
                    far = SocketEnd(await self._owner.dialer.application(pod, target, client))
                except Unavailable as error:
                    tunnel.refuse(event.stream, 503)
                    live.failed(seen, ResponseFlag.CONNECT, error.reason, str(error))
                    return
                near = tunnel.end_of(event.stream)
                if near is None:
                    far.reset()
                    return
                connection = Connection(self._identity, self._peer, target)
                if (rejection := self._owner.overtaken(snapshot, pod, connection)) is not None:
                    tunnel.refuse(event.stream, rejection.status)
                    live.failed(seen, rejection.flag, rejection.why.value, rejection.detail, rejection.policy)
                    far.reset()
                    return
                tunnel.accept(event.stream)
                uid = pod.uid
                relay = Relay(near, far, lambda relay: live.ended(uid, relay))
                live.opened(pod.uid, seen, relay, connection, policy)
                relay.start()

    def _caller(self, claims: str) -> Party:
        source = self._owner.world.snapshot.workload_at(self._peer.ip)
        # An address may have changed hands since: only a workload of the proven identity is the caller.
        if source is not None and source.identity == self._identity:
            return Party.of(source, self._identity)
        return Party.claiming(baggage.parse_baggage(claims), self._identity)


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
