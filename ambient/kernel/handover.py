"""What the kernel tells the proxy of a connection, and what the proxy tells the kernel.

Used where the proxy accepts and dials. Each holds a map that came as a descriptor from the node daemon.
"""

from __future__ import annotations

import ctypes

from ambient.core.model.address import SocketAddress
from ambient.kernel import bpf
from ambient.kernel.abi import Endpoint, Tuple


class OriginalDestinations:
    """Where captured connections meant to go. ``map_fd`` stays the caller's."""

    def __init__(self, map_fd: int) -> None:
        self._map = bpf.Map(map_fd, key_size=ctypes.sizeof(Tuple), value_size=ctypes.sizeof(Endpoint))

    def take(self, netns_cookie: int, client: SocketAddress, listener: SocketAddress) -> SocketAddress | None:
        """Where the connection from ``client`` (peer name) to ``listener`` (own name) meant to go.

        It is told once. None: nothing redirected this connection, somebody dialled the listener itself.
        """
        found = self._map.take(Tuple.of(netns_cookie, client, listener).pack())
        return None if found is None else Endpoint.unpack(found).address()


class Clients:
    """Who really calls, for the connections that the proxy makes to applications. ``map_fd`` stays the caller's."""

    def __init__(self, map_fd: int) -> None:
        self._map = bpf.Map(map_fd, key_size=ctypes.sizeof(Tuple), value_size=ctypes.sizeof(Endpoint))

    def announce(
        self, netns_cookie: int, proxy: SocketAddress, application: SocketAddress, client: SocketAddress
    ) -> None:
        """The connection that is about to be made from ``proxy`` (bound, not yet connected) is ``client``'s."""
        self._map.update(Tuple.of(netns_cookie, proxy, application).pack(), Endpoint.of(client).pack())

    def withdraw(self, netns_cookie: int, proxy: SocketAddress, application: SocketAddress) -> None:
        """The connection failed or ended: forget it if the application's socket did not take it."""
        self._map.delete(Tuple.of(netns_cookie, proxy, application).pack())
