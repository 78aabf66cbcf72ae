"""The TCP connections of a namespace that never met the mesh: name them, reset them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterable
from ipaddress import ip_address

from ambient.core.model.address import SocketAddress, unmapped
from ambient.core.model.pod import OlderConnection
from ambient.kernel import netlink
from ambient.kernel.netns import inside

SIOCGSKNS = 0x894C
SO_COOKIE = 57
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21
INET_DIAG_CGROUP_ID = 21
TCP_ESTABLISHED, TCP_CLOSE_WAIT, TCP_LISTEN = 1, 8, 10
# Connections of which an application still holds the socket: not those that only wait to be forgotten.
OPEN_STATES = 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT | 1 << 4 | 1 << 5
ANY_COOKIE = 0xFFFFFFFF

_REQUEST = struct.Struct("=BBBxI")
_SOCKET_ID = struct.Struct("=2s2s16s16sIII")
_MESSAGE = struct.Struct("=BBBB")


def established(netns_fd: int, *, except_cgroup: int) -> tuple[OlderConnection, ...]:
    """The open TCP connections of a namespace that leave it, save those of sockets made in ``except_cgroup``.

    Called before a pod's first capture, so that none of them is one that the mesh carries.
    """
    with inside(netns_fd):
        listening = {local.port for local, _, _, _ in _dump(1 << TCP_LISTEN)}
        found = list(_dump(OPEN_STATES))
    return tuple(
        OlderConnection(local, remote, inbound=local.port in listening, cookie=cookie)
        for local, remote, cookie, cgroup in found
        if cgroup != except_cgroup and local.ip != remote.ip and not remote.ip.is_loopback
    )


def destroy(netns_fd: int, connections: Iterable[OlderConnection]) -> int:
    """Reset these connections at both ends; how many were still there."""
    destroyed = 0
    with inside(netns_fd):
        for connection in connections:
            family = socket.AF_INET if connection.local.ip.version == 4 else socket.AF_INET6
            request = _request(family, 0) + _SOCKET_ID.pack(
                struct.pack("!H", connection.local.port),
                struct.pack("!H", connection.remote.port),
                connection.local.ip.packed.ljust(16, b"\0"),
                connection.remote.ip.packed.ljust(16, b"\0"),
                0,
                connection.cookie & 0xFFFFFFFF,
                connection.cookie >> 32,
            )
            try:
                list(netlink.ask(netlink.NETLINK_SOCK_DIAG, SOCK_DESTROY, netlink.NLM_F_ACK, request))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
            else:
                destroyed += 1
    return destroyed


def witness() -> socket.socket:
    """A socket that tells who receives it which cgroup this process is in: see ``cgroup_of``. It serves nobody."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    return listener


def cgroup_of(witness: socket.socket) -> int | None:
    """The id of the cgroup v2 folder that a ``witness`` was made in; None: it is no listening TCP socket.

    The kernel's word, which pid, cgroup and mount namespaces do not bend.
    """
    cookie = int.from_bytes(witness.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)
    netns_fd = fcntl.ioctl(witness, SIOCGSKNS)
    try:
        with inside(netns_fd):
            return next((cgroup for _, _, found, cgroup in _dump(1 << TCP_LISTEN) if found == cookie), None)
    finally:
        os.close(netns_fd)


def _dump(states: int) -> Iterable[tuple[SocketAddress, SocketAddress, int, int]]:
    """Local name, remote name, cookie and cgroup id of each TCP socket in one of ``states``."""
    nobody = _SOCKET_ID.pack(bytes(2), bytes(2), bytes(16), bytes(16), 0, ANY_COOKIE, ANY_COOKIE)
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _request(family, states) + nobody
        for _, body in netlink.ask(
            netlink.NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, netlink.NLM_F_DUMP, request
        ):
            sport, dport, source, destination, _, low, high = _SOCKET_ID.unpack_from(body, _MESSAGE.size)
            width = 4 if body[0] == socket.AF_INET else 16
            given = netlink.attributes(body[_MESSAGE.size + _SOCKET_ID.size + 20 :])
            yield (
                _name(source[:width], sport),
                _name(destination[:width], dport),
                low | high << 32,
                int.from_bytes(given.get(INET_DIAG_CGROUP_ID, b""), sys.byteorder),
            )


def _request(family: int, states: int) -> bytes:
    return _REQUEST.pack(family, socket.IPPROTO_TCP, 0, states)


def _name(ip: bytes, port: bytes) -> SocketAddress:
    return SocketAddress(unmapped(ip_address(ip)), int.from_bytes(port, "big"))
