"""What the tests of ZDS send, and what they count."""

from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

from immutables import Map

from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Exclusions, OlderConnection
from ambient.rpc import zds

UID = "local/ambient.dev/Workload/shop/cart"
OLDER = OlderConnection(
    SocketAddress(ip_address("10.0.0.1"), 8080),
    SocketAddress(ip_address("fd00::2"), 41000),
    inbound=True,
    cookie=77,
)
INFO = zds.WorkloadInfo(
    "cart",
    "shop",
    "cart",
    Map({"app": "cart"}),
    (ip_address("10.0.0.1"), ip_address("fd00::1")),
    1 << 60,
    exclusions=Exclusions(frozenset({25}), frozenset({9100}), frozenset({ip_network("10.9.0.0/16")})),
)


def kind(message: zds.Message) -> str:
    return type(message).__name__


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
