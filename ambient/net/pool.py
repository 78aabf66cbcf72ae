"""Tunnels that are shared: one pool for a proxy worker.

A tunnel belongs to one source workload (its identity and address) and one destination with the identities that it
may have; nothing is ever shared across those. Simultaneous requests for a new tunnel wait for one dial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ambient.core.errors import Unavailable
from ambient.core.hbone import Headers
from ambient.core.model.address import IpAddress, SocketAddress
from ambient.net.tunnel import ClientTunnel, Tunnel, TunnelEnd, TunnelLost

IDLE_SECONDS: Final = 300.0
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class PoolKey:
    """Who may share a tunnel."""

    source_uid: str
    source_identity: str
    source_ip: IpAddress | None
    hop: SocketAddress
    expect: frozenset[str]


Dial: TypeAlias = Callable[[PoolKey, Callable[[], ClientTunnel]], Awaitable[ClientTunnel]]
"""Connects, checks who answered, and returns the tunnel that the factory made. Raises PeerError or Unavailable."""


class Pool:
    """Live tunnels by key. ``emptied`` is called when the last of them is gone."""

    def __init__(self, dial: Dial, emptied: Callable[[], None] | None = None) -> None:
        self._dial = dial
        self._emptied = emptied
        self._tunnels: dict[PoolKey, list[ClientTunnel]] = {}
        self._dialling: dict[PoolKey, asyncio.Task[ClientTunnel]] = {}
        self._keys: dict[Tunnel, PoolKey] = {}
        self._idle: dict[Tunnel, asyncio.TimerHandle] = {}

    async def open(self, key: PoolKey, authority: str, headers: Headers) -> TunnelEnd:
        """A stream to ``authority`` on a tunnel of ``key``.

        Raises PeerError (the peer is not who it must be, or refused) or Unavailable.
        """
        lost = 0
        while True:
            tunnels = self._tunnels.get(key, ())
            tunnel = next((tunnel for tunnel in tunnels if tunnel.has_room), None)
            if tunnel is None:
                # Others that waited for the same may have taken all the room already: look again.
                await self._room(key)
                continue
            if (timer := self._idle.pop(tunnel, None)) is not None:
                timer.cancel()
            try:
                return await tunnel.open(authority, headers)
            except TunnelLost as error:
                lost += 1
                if not error.untouched or lost == _TRIES:
                    raise

    def leave(self, chosen: Callable[[PoolKey], bool]) -> None:
        """Open no more streams on the tunnels of the chosen keys; let what lives end.

        Tunnels that are being dialled are not used either: who waits for one dials anew.
        """
        for key in [key for key in self._dialling if chosen(key)]:
            del self._dialling[key]
        for key in [key for key in self._tunnels if chosen(key)]:
            for tunnel in list(self._tunnels[key]):
                tunnel.leave()

    @property
    def tunnels(self) -> int:
        """How many tunnels live."""
        return len(self._keys)

    async def _room(self, key: PoolKey) -> None:
        """Wait for more room: on a tunnel whose peer has yet to say how much there is, or on a new one."""
        for tunnel in self._tunnels.get(key, ()):
            if not (tunnel.leaving or tunnel.silent) and tunnel.peer_stream_limit is None:
                await tunnel.told_limit()
                break
        else:
            tunnel = await self._new(key)
        if tunnel.peer_stream_limit == 0:
            raise Unavailable(f"{key.hop} takes no streams")

    async def _new(self, key: PoolKey) -> ClientTunnel:
        task = self._dialling.get(key)
        if task is None:
            task = asyncio.create_task(self._dial_one(key), name=f"dial {key.hop}")
            self._dialling[key] = task
            task.add_done_callback(lambda done: self._dialled(key, done))
        # One caller's cancellation must not end the dial that others wait for.
        return await asyncio.shield(task)

    async def _dial_one(self, key: PoolKey) -> ClientTunnel:
        tunnel = await self._dial(key, lambda: ClientTunnel(self._closed, self._became_idle))
        if tunnel.leaving:
            raise Unavailable(f"{key.hop} closed the tunnel at once")
        if self._dialling.get(key) is not asyncio.current_task():
            tunnel.leave()
            return tunnel
        self._tunnels.setdefault(key, []).append(tunnel)
        self._keys[tunnel] = key
        # All who waited for it may have given up.
        self._became_idle(tunnel)
        return tunnel

    def _dialled(self, key: PoolKey, task: asyncio.Task[ClientTunnel]) -> None:
        if self._dialling.get(key) is task:
            del self._dialling[key]
        if not task.cancelled():
            task.exception()

    def _became_idle(self, tunnel: ClientTunnel) -> None:
        if not tunnel.leaving and tunnel not in self._idle:
            loop = asyncio.get_running_loop()
            self._idle[tunnel] = loop.call_later(IDLE_SECONDS, tunnel.leave)

    def _closed(self, tunnel: Tunnel) -> None:
        if (timer := self._idle.pop(tunnel, None)) is not None:
            timer.cancel()
        key = self._keys.pop(tunnel, None)
        if key is None:
            return
        rest = [other for other in self._tunnels[key] if other is not tunnel]
        if rest:
            self._tunnels[key] = rest
        else:
            del self._tunnels[key]
        if self._emptied is not None and not self._keys:
            self._emptied()
