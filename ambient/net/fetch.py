"""A document from somewhere, by GET: an issuer's keys, say. The address is an operator's words, and so is guarded.

Whoever may write a policy could otherwise have us ask our own machine, or the one that gives out a cloud's credentials. So
every address that a name stands for is looked at, and the one that was looked at is dialled. No redirect is followed, no
proxy of the environment used, and all together is bounded in time and size.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.http.http1 import Http1Client
from ambient.core.http.message import (
    BodyCame,
    Event,
    InformationCame,
    MessageCut,
    MessageEnded,
    PeerLeaving,
    RequestCame,
    RequestHead,
    RequestRefused,
    ResponseCame,
    RoomChanged,
)

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress

LARGEST: Final = 1024 * 1024
SECONDS: Final = 5.0
_READ: Final = 64 * 1024
_PORTS: Final = {"http": 80, "https": 443}
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""Where networks without IPv4 put it. Source: RFC 6052, 8215."""
_NOWHERE: Final = IPv4Network("0.0.0.0/8")
_METADATA: Final = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"))
)
"""What clouds answer on besides link-local addresses: Alibaba, Azure, Oracle, AWS and Google."""
_LONGEST_URL: Final = 2048

Resolve: TypeAlias = Callable[[str, int], Awaitable[list["IpAddress"]]]


class Forbidden(ConfigError):
    """An address that is never asked."""

    reason = "forbidden_address"


@dataclass(frozen=True, slots=True)
class Fetching:
    """How documents are fetched."""

    seconds: float = SECONDS
    largest: int = LARGEST
    """Bytes."""
    roots: str | None = None
    """A file of trusted roots, PEM; None: those of the system."""
    allowed: frozenset[IpAddress] = frozenset()
    """Addresses that are asked although they are of those that never are."""


DEFAULT_FETCHING: Final = Fetching()


async def resolved(host: str, port: int) -> list[IpAddress]:
    """What a name stands for. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(address[0]).partition("%")[0]) for *_, address in found]


async def fetch(url: str, fetching: Fetching = DEFAULT_FETCHING, resolve: Resolve = resolved) -> bytes:
    """The document at ``url``, of scheme http or https.

    Raises ConfigError for what is no such address or may not be asked, PeerError for an answer that is no document, and
    Unavailable for none.
    """
    place = _place(url)
    try:
        async with asyncio.timeout(fetching.seconds):
            return await _asked(place, fetching, resolve)
    except TimeoutError as error:
        raise Unavailable(f"{url}: no answer within {fetching.seconds:g} s") from error
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{url}: {error}") from error


def is_forbidden(ip: IpAddress) -> bool:
    """Whether an address is one of a machine's own, of its link, or of nobody in particular."""
    inner = _inner(ip)
    if inner is not None and is_forbidden(inner):
        return True
    if ip in _METADATA or (isinstance(ip, IPv4Address) and (ip.is_reserved or ip in _NOWHERE)):
        return True
    return ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified


def _inner(ip: IpAddress) -> IPv4Address | None:
    """The IPv4 that an address stands for."""
    if isinstance(ip, IPv4Address):
        return None
    if any(ip in network for network in _TRANSLATED):
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    if int(ip) >> 32 == 0 and int(ip) > 1:
        return IPv4Address(int(ip))  # Compatible, which nobody should speak any more.
    return ip.ipv4_mapped or ip.sixtofour


def _place(url: str) -> SplitResult:
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("an address is of printable ASCII, and shorter than 2048 characters")
    try:
        place = urlsplit(url)
        port = place.port
    except ValueError as error:
        raise ConfigError(f"{url} is no address: {error}") from error
    if place.scheme not in _PORTS or not place.hostname or port == 0:
        raise ConfigError(f"{url} is no address of scheme http or https")
    if "@" in place.netloc or "\\" in url:
        raise ConfigError(f"{place.scheme}://{place.hostname}: an address with credentials is not asked")
    return place


async def _asked(place: SplitResult, fetching: Fetching, resolve: Resolve) -> bytes:
    host, port = place.hostname or "", place.port or _PORTS[place.scheme]
    addresses = await _addresses(host, port, fetching, resolve)
    reader, writer = await _connected(addresses, port, _tls(place.scheme, fetching), host)
    try:
        return await _read(place, reader, writer, fetching.largest)
    finally:
        writer.transport.abort()


async def _addresses(host: str, port: int, fetching: Fetching, resolve: Resolve) -> list[IpAddress]:
    found = await resolve(host, port)
    if not found:
        raise Unavailable(f"{host} has no address")
    for ip in found:
        if is_forbidden(ip) and ip not in fetching.allowed:
            raise Forbidden(
                f"{host} is {ip}: addresses of the machine, of its link and of clouds' metadata are not asked"
            )
    return found


async def _connected(
    addresses: list[IpAddress], port: int, tls: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    failure: OSError = OSError("no address")
    for ip in dict.fromkeys(addresses):
        try:
            return await asyncio.open_connection(
                str(ip), port, ssl=tls, server_hostname=None if tls is None else host, limit=_READ
            )
        except ssl.SSLCertVerificationError as error:
            raise PeerError(f"{host}: its certificate is not believed: {error.verify_message}") from error
        except OSError as error:
            failure = error
    raise failure


def _tls(scheme: str, fetching: Fetching) -> ssl.SSLContext | None:
    return _context(fetching.roots) if scheme == "https" else None


@lru_cache(4)
def _context(roots: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=roots)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _read(
    place: SplitResult, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, largest: int
) -> bytes:
    """Ask, and hear the answer to its end."""
    machine = Http1Client()
    path = (place.path or "/") + (f"?{place.query}" if place.query else "")
    headers = (("accept", "application/json"), ("user-agent", "ambient"))
    stream = machine.request(RequestHead("GET", place.netloc, path, headers, place.scheme), ended=True)
    writer.writelines(machine.gather())
    document = bytearray()
    while True:
        data = await reader.read(_READ)
        events = machine.receive(data) if data else machine.receive_end()
        while events or not machine.heard_all:
            for event in events:
                if _is_end(event, document, place.geturl()):
                    return bytes(document)
                if len(document) > largest:
                    raise PeerError(f"{place.geturl()}: the answer is larger than {largest} bytes")
                if isinstance(event, BodyCame):
                    machine.consumed(stream, len(event.data))
            events = [] if machine.heard_all else machine.receive(b"")
        writer.writelines(machine.gather())
        if not data:
            raise PeerError(f"{place.geturl()}: the connection ended before the answer")


def _is_end(event: Event, document: bytearray, url: str) -> bool:
    """Whether the answer is whole. Raises PeerError."""
    match event:
        case ResponseCame(_, head):
            if head.status != 200:
                raise PeerError(f"{url}: the answer is {head.status}, and not 200")
        case BodyCame(_, data):
            document += data
        case MessageEnded():
            return True
        case MessageCut(_, _, detail):
            raise PeerError(f"{url}: the answer is broken: {detail}")
        case InformationCame() | PeerLeaving() | RoomChanged() | RequestCame() | RequestRefused():
            pass
    return False
