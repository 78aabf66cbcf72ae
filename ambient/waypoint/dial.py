"""Sockets towards where a decision points."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ambient.core.errors import Unavailable
from ambient.net import sockets
from ambient.net.pool import PoolKey

if TYPE_CHECKING:
    from ambient.core.model.address import SocketAddress
    from ambient.net.tunnel import ClientTunnel
    from ambient.waypoint.world import World


class Dialer:
    """Connects, for one worker."""

    def __init__(self, world: World) -> None:
        self._world = world

    def key(self, hop: SocketAddress, expect: frozenset[str]) -> PoolKey:
        """Whose tunnels may be shared to ``hop``: they all belong to this waypoint. Raises Unavailable."""
        contexts = self._world.contexts
        if contexts is None:
            raise Unavailable("identity error: the waypoint has no certificate yet")
        return PoolKey(self._world.uid, str(contexts.identity), None, hop, expect)

    async def plain(self, to: SocketAddress) -> socket.socket:
        """Plain TCP. Raises Unavailable."""
        try:
            sock = socket.socket(socket.AF_INET if to.ip.version == 4 else socket.AF_INET6)
        except OSError as error:
            raise Unavailable(f"cannot make a socket: {error.strerror or error}") from error
        sock.setblocking(False)
        await sockets.connect(sock, to)
        return sock

    async def tunnel(self, key: PoolKey, make: Callable[[], ClientTunnel]) -> ClientTunnel:
        """A tunnel for a pool. Raises PeerError or Unavailable."""
        contexts = self._world.contexts
        if contexts is None or str(contexts.identity) != key.source_identity:
            raise Unavailable(f"identity error: no certificate for {key.source_identity} any more")
        sock = await self.plain(key.hop)
        sockets.prepare(sock)
        return await contexts.dial(sock, key.expect, make)
