"""Connections that pods open: carried over HBONE, passed on as they are, or refused. Every choice is made in core."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Final

from ambient.core import baggage, balance, outbound
from ambient.core.errors import PeerError, Unavailable
from ambient.core.model.address import SocketAddress
from ambient.core.observation import Observation, Party, Reporter, ResponseFlag, Security
from ambient.member import failure
from ambient.net import sockets
from ambient.net.pool import PoolKey
from ambient.net.relay import End, Relay
from ambient.net.tcp import SocketEnd
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.core.authorize import Connection
    from ambient.core.model.address import IpAddress
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload
    from ambient.member.live import Live
    from ambient.net.pool import Pool
    from ambient.proxy.dial import Dialer
    from ambient.proxy.world import LocalPod, World


LEFT: Final = "it was cut before it was connected"


class Outbound:
    """Carries out outbound decisions, for one worker."""

    def __init__(self, world: World, dialer: Dialer, pool: Pool, live: Live[Connection]) -> None:
        self._world, self._dialer, self._pool, self._live = world, dialer, pool, live

    async def carry(self, pod: LocalPod, sock: socket.socket) -> None:
        """Bring a connection that was accepted on the outbound listener to where it meant to go."""
        try:
            near = SocketAddress.of(sock.getpeername())
            listener = SocketAddress.of(sock.getsockname())
        except OSError:
            sock.close()  # The client has gone before we looked: there is nobody to tell.
            return
        originals = self._world.originals
        target = None if originals is None else originals.take(pod.netns_cookie, near, listener)
        workload = self._world.workload(pod)
        if target is None or workload is None:
            why = "it was dialled directly" if target is None else "the mesh does not know the pod yet"
            log.warning("outbound refused", pod=pod.uid, client=str(near), why=why)
            sockets.reset(sock)
            return
        source = SocketAddress(_own_ip(workload, near, target), near.port)
        decision = outbound.resolve(self._world.snapshot, workload, target, self._world.pick())
        match decision:
            case outbound.Tunnel():
                await self._through(pod, workload, sock, source, target, decision)
            case outbound.Direct(to, destination, service):
                seen = _observation(workload, source, target, destination, service)
                await self._direct(pod, sock, to, seen)
            case outbound.Refuse(refusal, detail, destination, service):
                seen = _observation(workload, source, target, destination, service)
                self._live.failed(seen, ResponseFlag.CONNECT, refusal.value, detail)
                sockets.reset(sock)

    async def _through(
        self,
        pod: LocalPod,
        workload: Workload,
        sock: socket.socket,
        source: SocketAddress,
        target: SocketAddress,
        way: outbound.Tunnel,
    ) -> None:
        """Carry it to one endpoint, or to another where that one cannot be reached: no byte has been sent then."""
        began = time.monotonic()
        avoided: set[str] = set()
        while (error := await self._tunnel(pod, workload, sock, source, target, way)) is not None:
            if way.destination is not None:
                avoided.add(way.destination.uid)
            pick = balance.avoiding(self._world.pick(), avoided)
            other = outbound.resolve(self._world.snapshot, workload, target, pick)
            is_late = time.monotonic() - began >= balance.TRY_SECONDS or len(avoided) == balance.TRIES
            if is_late or not isinstance(other, outbound.Tunnel) or other.hop == way.hop:
                flag, why = failure.of(error)
                self._live.failed(_tunnelled(workload, source, target, way), flag, error.reason, why)
                sockets.reset(sock)
                return
            log.debug("endpoint not reached; another is tried", hop=way.hop, why=error)
            way = other

    async def _tunnel(
        self,
        pod: LocalPod,
        workload: Workload,
        sock: socket.socket,
        source: SocketAddress,
        target: SocketAddress,
        way: outbound.Tunnel,
    ) -> Unavailable | None:
        """Carry it; or why nothing of it has reached the other side."""
        seen = _tunnelled(workload, source, target, way)
        key = PoolKey(pod.uid, str(workload.identity), source.ip, way.hop, way.expect)
        headers = [
            ("baggage", baggage.build_baggage(baggage.baggage_of(workload))),
            ("forwarded", baggage.build_forwarded(source, way.service.hostname if way.service else "")),
            ("traceparent", baggage.build_traceparent(os.urandom(16), os.urandom(8))),
        ]
        try:
            far = await self._pool.open(key, way.authority, headers)
        except (PeerError, Unavailable) as error:
            if failure.is_untouched(error):
                return error
            flag, why = failure.of(error)
            self._live.failed(seen, flag, error.reason, why)
            sockets.reset(sock)
        except BaseException:
            self._live.failed(seen, ResponseFlag.CONNECT, "cut", LEFT)
            sockets.reset(sock)
            raise
        else:
            await self._join(pod, sock, far, seen)
        return None

    async def _direct(self, pod: LocalPod, sock: socket.socket, to: SocketAddress, seen: Observation) -> None:
        try:
            far = SocketEnd(await self._dialer.outside(pod, to))
        except Unavailable as error:
            self._live.failed(seen, ResponseFlag.CONNECT, error.reason, str(error))
            sockets.reset(sock)
        except BaseException:
            self._live.failed(seen, ResponseFlag.CONNECT, "cut", LEFT)
            sockets.reset(sock)
            raise
        else:
            await self._join(pod, sock, far, seen)

    async def _join(self, pod: LocalPod, sock: socket.socket, far: End, seen: Observation) -> None:
        try:
            near = SocketEnd(sock)
        except BaseException:
            self._live.failed(seen, ResponseFlag.CONNECT, "cut", LEFT)
            sockets.reset_on_close(sock)
            far.reset()
            raise
        uid = pod.uid
        relay = Relay(near, far, lambda relay: self._live.ended(uid, relay))
        self._live.opened(pod.uid, seen, relay, None, None)
        relay.start()


def _tunnelled(
    workload: Workload, source: SocketAddress, target: SocketAddress, way: outbound.Tunnel
) -> Observation:
    return Observation(
        reporter=Reporter.SOURCE,
        source=Party.of(workload, workload.identity),
        destination=Party.of(way.destination, None if way.destination is None else way.destination.identity),
        source_address=source,
        destination_address=target,
        hbone_address=way.hop,
        service=way.service,
        security=Security.MUTUAL_TLS,
    )


def _observation(
    workload: Workload,
    source: SocketAddress,
    target: SocketAddress,
    destination: Workload | None,
    service: Service | None,
) -> Observation:
    return Observation(
        reporter=Reporter.SOURCE,
        source=Party.of(workload, workload.identity),
        destination=Party.of(destination),
        source_address=source,
        destination_address=target,
        service=service,
    )


def _own_ip(workload: Workload, near: SocketAddress, target: SocketAddress) -> IpAddress:
    """The address that the pod speaks from: the one it bound, or its own of the target's family."""
    if not near.ip.is_loopback:
        return near.ip
    own = [ip for ip in workload.addresses if ip.version == target.ip.version]
    return (own or list(workload.addresses) or [near.ip])[0]
