"""Just enough netlink: addresses of a namespace, and its TCP sockets.

By hand rather than through pyroute2: see "Choices" in ``ARCHITECTURE.md``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

from ambient.core.model.address import IpAddress

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NETLINK_ROUTE, NETLINK_SOCK_DIAG = 0, 4

RTM_NEWLINK, RTM_GETLINK, RTM_GETADDR = 16, 18, 22
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_UP = 0x1
RT_SCOPE_UNIVERSE = 0

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")


def ask(protocol: int, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Send one request in the calling thread's namespace; its answers as (type, body).

    Raises OSError with the kernel's errno. With neither NLM_F_DUMP nor an answer, yields nothing.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as wire:
        wire.bind((0, 0))
        wire.send(_HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, 1, 0) + body)
        while True:
            packet = wire.recv(1 << 17)
            offset = 0
            while offset < len(packet):
                length, answer, _, _, _ = _HEADER.unpack_from(packet, offset)
                content = packet[offset + _HEADER.size : offset + length]
                offset += (length + 3) & ~3
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    (negative,) = struct.unpack_from("=i", content)
                    if negative:
                        raise OSError(-negative, os.strerror(-negative))
                    return
                yield answer, content


def attributes(content: bytes) -> dict[int, bytes]:
    """Type → value of the attributes in ``content``."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(content):
        length, kind = struct.unpack_from("=HH", content, offset)
        if length < 4:
            raise OSError(errno.EBADMSG, "a netlink attribute is shorter than its header")
        found[kind] = content[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def global_addresses() -> tuple[IpAddress, ...]:
    """Addresses of global scope on interfaces that are up, in the calling thread's namespace."""
    up = {
        index
        for kind, body in ask(NETLINK_ROUTE, RTM_GETLINK, NLM_F_DUMP, _LINK.pack(0, 0, 0, 0, 0))
        if kind == RTM_NEWLINK
        for _, _, index, flags, _ in [_LINK.unpack_from(body)]
        if flags & IFF_UP
    }
    found = []
    for _, body in ask(NETLINK_ROUTE, RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0)):
        _, _, _, scope, index = _ADDRESS.unpack_from(body)
        given = attributes(body[_ADDRESS.size :])
        packed = given.get(IFA_LOCAL) or given.get(IFA_ADDRESS)
        if packed is None or scope != RT_SCOPE_UNIVERSE or index not in up:
            continue
        ip = ip_address(packed)
        if not ip.is_loopback and not ip.is_link_local:
            found.append(ip)
    return tuple(found)
