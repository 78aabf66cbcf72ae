"""Sockets towards where a decision points: each is made inside the namespace of the pod it speaks for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ambient.core.errors import Unavailable
from ambient.core.model.address import SocketAddress
from ambient.kernel import netns
from ambient.net import sockets

if TYPE_CHECKING:
    from ambient.net.pool import PoolKey
    from ambient.net.tunnel import ClientTunnel
    from ambient.proxy.world import LocalPod, World


class Dialer:
    """Connects, for one worker."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def outside(self, pod: LocalPod, to: SocketAddress) -> socket.socket:
        """Plain TCP from a pod to anywhere. Raises Unavailable."""
        sock = _socket_for(pod, to)
        await sockets.connect(sock, to)
        return sock

    async def application(self, pod: LocalPod, to: SocketAddress, client: SocketAddress) -> socket.socket:
        """To the application of a pod, which will see ``client`` as its peer. Raises Unavailable."""
        clients = self._world.clients
        if clients is None:
            raise Unavailable("the node daemon has not spoken yet")
        sock = _socket_for(pod, to)
        try:
            # From the pod's own address: that is what tells the kernel's capture to let it through.
            sock.bind((str(to.ip), 0))
            proxy = SocketAddress.of(sock.getsockname())
            clients.announce(pod.netns_cookie, proxy, to, client)
        except OSError as error:
            sock.close()
            raise Unavailable(f"cannot connect to {to}: {error.strerror or error}") from error
        try:
            if proxy == to:
                # A port that was free has no listener, and TCP would connect the socket to itself.
                sock.close()
                raise Unavailable(f"cannot connect to {to}: nobody listens")  # noqa: TRY301
            await sockets.connect(sock, to)
        except BaseException:
            clients.withdraw(pod.netns_cookie, proxy, to)
            raise
        return sock

    async def tunnel(self, key: PoolKey, make: Callable[[], ClientTunnel]) -> ClientTunnel:
        """A tunnel for a pool. Raises PeerError or Unavailable."""
        pod = self._world.pods.get(key.source_uid)
        contexts = self._world.contexts.get(key.source_identity)
        if pod is None or contexts is None:
            raise Unavailable(f"identity error: no certificate for {key.source_identity} yet")
        sock = await self.outside(pod, key.hop)
        sockets.prepare(sock)
        return await contexts.dial(sock, key.expect, make)


def _socket_for(pod: LocalPod, to: SocketAddress) -> socket.socket:
    family = socket.AF_INET if to.ip.version == 4 else socket.AF_INET6
    try:
        return netns.socket_in(pod.netns_fd, family)
    except OSError as error:
        raise Unavailable(f"cannot make a socket for {pod.uid}: {error.strerror or error}") from error
