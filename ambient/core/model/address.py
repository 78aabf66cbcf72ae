"""Addresses as the mesh compares them: v4-mapped IPv6 is IPv4, and an IP means something only in a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple, Self, TypeAlias

IpAddress: TypeAlias = IPv4Address | IPv6Address


def unmapped(ip: IpAddress) -> IpAddress:
    """``::ffff:a.b.c.d`` as ``a.b.c.d``, anything else as it is."""
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[IpAddress, int]:
    """An address and the version that it was written in. Each connection asks, mostly for the same few."""
    ip = ip_address(text)
    return unmapped(ip), ip.version


class SocketAddress(NamedTuple):
    """An IP address (never v4-mapped) and a TCP port (host byte order, 0-65535)."""

    ip: IpAddress
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``a.b.c.d:port`` or ``[v6]:port``. Raises ValueError for anything else."""
        host, _, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        ip, version = _read(host[1:-1] if bracketed else host)
        if (version == 6) != bracketed:
            raise ValueError(f"{text!r} is not an IP address and a port")
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 0xFFFF):
            raise ValueError(f"{text!r} has no port between 0 and 65535")
        return cls(ip, int(port))

    @classmethod
    def of(cls, name: tuple[str, int] | tuple[str, int, int, int]) -> Self:
        """From what ``getsockname`` and ``accept`` return."""
        return cls(_read(name[0].partition("%")[0])[0], name[1])

    def __str__(self) -> str:
        return f"[{self.ip!s}]:{self.port}" if self.ip.version == 6 else f"{self.ip!s}:{self.port}"


class NetworkAddress(NamedTuple):
    """An IP in one network; the empty network is the mesh's own."""

    network: str
    ip: IpAddress

    def __str__(self) -> str:
        return f"{self.network}/{self.ip}"


class NetworkRange(NamedTuple):
    """A range of IPs in one network."""

    network: str
    range: IPv4Network | IPv6Network

    def __str__(self) -> str:
        return f"{self.network}/{self.range}"


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Where a waypoint or network gateway is: a service (``namespace/hostname``) or an address."""

    destination: str | NetworkAddress
    port: int
    """Its HBONE port."""
