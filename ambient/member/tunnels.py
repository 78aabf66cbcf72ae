"""HBONE connections that peers open to workloads, and what is asked for on them."""

from __future__ import annotations

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ambient.core.errors import PeerError, Unavailable
from ambient.core.model.address import SocketAddress
from ambient.core.observation import ResponseFlag
from ambient.core.pki.revocation import Revoked
from ambient.member.live import BEGAN
from ambient.net import sockets
from ambient.net.tunnel import ServerTunnel, Tunnel

if TYPE_CHECKING:
    from ambient.aio.tasks import Tasks
    from ambient.core.hbone import TunnelRequested
    from ambient.core.model.address import IpAddress
    from ambient.core.model.identity import SpiffeId
    from ambient.net.tls import Contexts

IN_FLIGHT: Final = 200
"""Requests of one tunnel that may be undecided or being dialled at once; what is beyond is refused."""
IN_FLIGHT_OF_PEER: Final = 1000
"""The same for all tunnels from one address to one workload."""
W = TypeVar("W")
"""What the program knows a workload of its own by."""


@dataclass(frozen=True, slots=True)
class Ends:
    """A TCP connection from a peer."""

    peer: SocketAddress
    local: SocketAddress
    """What was dialled."""


class Host(ABC, Generic[W]):
    """What a program does with what its workloads are asked for."""

    @abstractmethod
    def uid(self, at: W) -> str:
        """The workload's uid."""

    @abstractmethod
    def contexts(self, at: W) -> Contexts | None:
        """With what it answers handshakes; None: it has no certificate."""

    @abstractmethod
    def answer(
        self, at: W, ends: Ends, identity: SpiffeId, tunnel: ServerTunnel, asked: TunnelRequested
    ) -> Coroutine[Any, Any, None]:
        """Accept or refuse a request of a peer that has proved to be ``identity``. Cancelled when it gives up."""

    @abstractmethod
    def failed(
        self,
        at: W,
        ends: Ends,
        identity: SpiffeId | None,
        flag: ResponseFlag,
        reason: str,
        why: str,
        times: int = 1,
    ) -> None:
        """Nothing was carried, so many times; ``identity``: None if it was not proved."""


class Tunnels(Generic[W]):
    """Serves them, for one worker. ``ended`` is called when a tunnel is gone."""

    def __init__(self, host: Host[W], tasks: Tasks, ended: Callable[[], None]) -> None:
        self.host, self.tasks = host, tasks
        self._ended = ended
        self._tunnels: dict[str, set[Tunnel]] = {}
        self.in_flight: Counter[tuple[str, IpAddress]] = Counter()
        """Requests that are undecided or being dialled, by workload and peer."""
        self._left = 0
        """How often ``leave`` was said."""

    def __len__(self) -> int:
        return sum(len(tunnels) for tunnels in self._tunnels.values())

    async def serve(self, at: W, sock: socket.socket) -> None:
        """Take a connection that was accepted, and the tunnels that come on it."""
        try:
            ends = Ends(SocketAddress.of(sock.getpeername()), SocketAddress.of(sock.getsockname()))
        except OSError:
            sock.close()  # The peer has gone before we looked: there is nobody to tell.
            return
        host = self.host
        contexts = host.contexts(at)
        if contexts is None:
            why = "identity error: no certificate for the workload yet"
            host.failed(at, ends, None, ResponseFlag.IDENTITY_ERROR, "no_certificate", why)
            sockets.reset(sock)
            return
        sockets.prepare(sock)
        left, uid = self._left, host.uid(at)

        def tunnel_of(identity: SpiffeId) -> Tunnel:
            session = _Session(self, at, uid, ends, identity)
            tunnel = ServerTunnel(
                lambda tunnel: self._forget(uid, tunnel), session.requested, session.withdrawn
            )
            self._tunnels.setdefault(uid, set()).add(tunnel)
            if left != self._left:
                # It may have been meant for this one too, which was shaking hands.
                asyncio.get_running_loop().call_soon(tunnel.leave)
            return tunnel

        try:
            await contexts.serve(sock, tunnel_of)
        except Revoked as error:
            host.failed(
                at, ends, None, ResponseFlag.CERT_REVOKED, error.reason, f"connection closed: {error}"
            )
        except (PeerError, Unavailable) as error:
            host.failed(at, ends, None, ResponseFlag.TLS_FAILURE, error.reason, str(error))

    def leave(self, uid: str | None = None) -> None:
        """Take no more streams for a workload (None: for any); those that live may end."""
        self._left += 1
        for of, tunnels in list(self._tunnels.items()):
            if uid in {None, of}:
                for tunnel in list(tunnels):
                    tunnel.leave()

    def cut(self, uid: str, why: str) -> None:
        """Cut a workload's tunnels, with what is still being decided on them."""
        for tunnel in list(self._tunnels.get(uid, ())):
            tunnel.abort(why)

    def _forget(self, uid: str, tunnel: Tunnel) -> None:
        tunnels = self._tunnels[uid]
        tunnels.discard(tunnel)
        if not tunnels:
            del self._tunnels[uid]
        self._ended()


class _Session(Generic[W]):
    """One HBONE connection from a peer that proved its identity."""

    def __init__(self, owner: Tunnels[W], at: W, uid: str, ends: Ends, identity: SpiffeId) -> None:
        self._owner, self._at, self._uid, self._ends, self._identity = owner, at, uid, ends, identity
        self._who = (uid, ends.peer.ip)
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
        work = self._owner.host.answer(self._at, self._ends, self._identity, tunnel, event)
        task = self._owner.tasks.start(work, f"inbound {self._uid}")
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
        flag = ResponseFlag.CONNECT
        self._owner.host.failed(self._at, self._ends, self._identity, flag, reason, why, times)
