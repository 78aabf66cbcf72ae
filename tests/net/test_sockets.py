"""What every TCP socket of the data path is told."""

import asyncio
import socket

import pytest

from ambient.core.errors import Unavailable
from ambient.core.model.address import SocketAddress
from ambient.net import sockets


def test_a_socket_has_no_delay_and_notices_a_peer_that_is_gone():
    with socket.socket() as sock:
        sockets.prepare(sock)
        options = {
            name: sock.getsockopt(level, getattr(socket, name))
            for level, name in (
                (socket.IPPROTO_TCP, "TCP_NODELAY"),
                (socket.SOL_SOCKET, "SO_KEEPALIVE"),
                (socket.IPPROTO_TCP, "TCP_KEEPIDLE"),
                (socket.IPPROTO_TCP, "TCP_KEEPINTVL"),
                (socket.IPPROTO_TCP, "TCP_KEEPCNT"),
            )
        }
        assert not sock.getblocking()
    assert options == {
        "TCP_NODELAY": 1, "SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 180, "TCP_KEEPINTVL": 180, "TCP_KEEPCNT": 9,
    }  # fmt: skip


def test_nobody_there_is_unavailable_and_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = SocketAddress.of(listener.getsockname())

    async def dial():
        sock = socket.socket()
        sock.setblocking(False)
        with pytest.raises(Unavailable, match=f"cannot connect to {address}: Connection refused"):
            await sockets.connect(sock, address)
        assert sock.fileno() == -1

    asyncio.run(dial())
