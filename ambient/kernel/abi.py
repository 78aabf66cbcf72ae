"""The structs of ``bpf/include/abi.h``, byte for byte.

``tests/kernel/test_abi.py`` compiles the header and compares the two. Addresses are 16 bytes in network order, IPv4 as
``::ffff:a.b.c.d``; ports in network order too.
"""

from __future__ import annotations

import ctypes
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, ClassVar, Self

from ambient.core.model.address import IpAddress, SocketAddress, unmapped

if TYPE_CHECKING:
    from collections.abc import Iterable

Ip = ctypes.c_uint8 * 16

MAX_PODS = 1024
SLOTS_PER_POD = 4

POD_OUTBOUND = 1 << 0
POD_INBOUND = 1 << 1
POD_HBONE = 1 << 2

DIRECTION_OUTBOUND = 0
DIRECTION_INBOUND = 1

FLOW_OF_CLIENT = 0
FLOW_OF_SERVER = 1

FLOW_LIVES = 0
FLOW_FINISHED = 1
FLOW_CUT = 2
FLOW_TIMED_OUT = 3


def pack_ip(ip: IpAddress) -> ctypes.Array[ctypes.c_uint8]:
    """An address as the programs keep it."""
    mapped = bytes(10) + b"\xff\xff" + ip.packed if isinstance(ip, IPv4Address) else ip.packed
    return Ip.from_buffer_copy(mapped)


def unpack_ip(packed: Iterable[int]) -> IpAddress:
    """The reverse of ``pack_ip``."""
    return unmapped(IPv6Address(bytes(packed)))


class Struct(ctypes.Structure):
    """A struct that compares and travels by its bytes."""

    def pack(self) -> bytes:
        """Its bytes, padding included."""
        return bytes(self)

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """The reverse of ``pack``."""
        return cls.from_buffer_copy(content)


class Endpoint(Struct):
    """``struct endpoint``: an address and a port."""

    ip: ctypes.Array[ctypes.c_uint8]
    port_be: int
    _fields_: ClassVar = [("ip", Ip), ("port_be", ctypes.c_uint16), ("pad", ctypes.c_uint16)]

    @classmethod
    def of(cls, address: SocketAddress) -> Self:
        """From what the rest of the mesh calls an address."""
        return cls(ip=pack_ip(address.ip), port_be=socket.htons(address.port))

    def address(self) -> SocketAddress:
        """What the rest of the mesh calls it."""
        return SocketAddress(unpack_ip(self.ip), socket.ntohs(self.port_be))


class Tuple(Struct):
    """``struct tuple``: a connection's two ends, in one network namespace (0 where no program can tell which)."""

    _fields_: ClassVar = [
        ("netns_cookie", ctypes.c_uint64),
        ("source", Ip),
        ("destination", Ip),
        ("source_port_be", ctypes.c_uint16),
        ("destination_port_be", ctypes.c_uint16),
        ("pad", ctypes.c_uint32),
    ]

    @classmethod
    def of(cls, netns_cookie: int, source: SocketAddress, destination: SocketAddress) -> Self:
        """The key of a connection from ``source`` to ``destination``."""
        return cls(
            netns_cookie=netns_cookie,
            source=pack_ip(source.ip),
            destination=pack_ip(destination.ip),
            source_port_be=socket.htons(source.port),
            destination_port_be=socket.htons(destination.port),
        )


class Pod(Struct):
    """``struct pod``: value of ``pods``."""

    index: int
    flags: int
    _fields_: ClassVar = [
        ("index", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("own_v4", Ip),
        ("own_v6", Ip),
    ]


class Local(Struct):
    """``struct local``: value of ``addresses``."""

    index: int
    flags: int
    _fields_: ClassVar = [("index", ctypes.c_uint32), ("flags", ctypes.c_uint32)]


class ExcludedPort(Struct):
    """``struct excluded_port``: key of ``excluded_ports``."""

    _fields_: ClassVar = [
        ("index", ctypes.c_uint32),
        ("port_be", ctypes.c_uint16),
        ("direction", ctypes.c_uint8),
        ("pad", ctypes.c_uint8),
    ]


class ExcludedNetwork(Struct):
    """``struct excluded_network``: key of ``excluded_networks``. ``prefix_bits`` counts the index too."""

    _fields_: ClassVar = [("prefix_bits", ctypes.c_uint32), ("index_be", ctypes.c_uint32), ("ip", Ip)]


class SocketState(Struct):
    """``struct socket_state``: what is remembered of a socket, in its storage."""

    _fields_: ClassVar = [("peer", Endpoint), ("own", Ip), ("flags", ctypes.c_uint32)]


class Flow(Struct):
    """``struct flow``: one end of a direct connection."""

    cookie: int
    netns_cookie: int
    began_ns: int
    ended_ns: int
    sent: int
    received: int
    own: Endpoint
    peer: Endpoint
    meant: Endpoint
    rtt_us: int
    side: int
    ending: int
    _fields_: ClassVar = [
        ("cookie", ctypes.c_uint64),
        ("netns_cookie", ctypes.c_uint64),
        ("began_ns", ctypes.c_uint64),
        ("ended_ns", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
        ("received", ctypes.c_uint64),
        ("own", Endpoint),
        ("peer", Endpoint),
        ("meant", Endpoint),
        ("rtt_us", ctypes.c_uint32),
        ("side", ctypes.c_uint8),
        ("ending", ctypes.c_uint8),
        ("has_got_fin", ctypes.c_uint8),
        ("pad", ctypes.c_uint8),
        ("pad2", ctypes.c_uint32),
    ]


class FlowLoss(Struct):
    """``struct flow_loss``: value of ``flow_losses``."""

    connections: int
    sent: int
    received: int
    _fields_: ClassVar = [
        ("connections", ctypes.c_uint64),
        ("sent", ctypes.c_uint64),
        ("received", ctypes.c_uint64),
    ]


STRUCTS: dict[str, type[Struct]] = {
    "endpoint": Endpoint,
    "tuple": Tuple,
    "pod": Pod,
    "local": Local,
    "excluded_port": ExcludedPort,
    "excluded_network": ExcludedNetwork,
    "socket_state": SocketState,
    "flow": Flow,
    "flow_loss": FlowLoss,
}
