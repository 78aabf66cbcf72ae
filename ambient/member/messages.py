"""What the parent of a program and its workers say to each other: typed packets, with descriptors beside them.

Both ends are the same program of the same version on one machine, so a packet is JSON, plus raw bytes after it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeAlias

from ambient.core.errors import PeerError


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker → parent, first: who I am."""

    index: int
    pid: int
    retired: bool
    """It served an earlier parent: it carries what it has to its end, and accepts nothing."""
    pods: dict[str, int] = field(default_factory=dict)
    """Live connections by pod."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """Parent → worker of a proxy, before any pod. Descriptors: maps that it shares with the kernel."""

    node: str
    maps: list[str]
    """The name of each, in the order of the descriptors."""


@dataclass(frozen=True, slots=True)
class Company:
    """Parent → worker that accepts, first of all. Descriptor: the memory of ``member.shares``."""

    workers: int


@dataclass(frozen=True, slots=True)
class PodAdded:
    """Parent → worker. Descriptors: netns, and the listeners outbound, plaintext, hbone."""

    uid: str
    netns_cookie: int


@dataclass(frozen=True, slots=True)
class PodRemoved:
    """Parent → worker: accept nothing more for it; ``now``: cut what it has."""

    uid: str
    now: bool


@dataclass(frozen=True, slots=True)
class LedgerShared:
    """Parent → worker of a waypoint that accepts, before its listeners. Descriptor: the memory of ``waypoint.ledger``."""

    workers: int


@dataclass(frozen=True, slots=True)
class Listening:
    """Parent → worker of a waypoint. Descriptors: its listeners."""


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """Parent → worker of a waypoint; the payload is the key set of an issuer of tokens. Empty: it is not needed any more."""

    place: str
    """Where it was fetched."""


@dataclass(frozen=True, slots=True)
class CredentialsChanged:
    """Parent → worker. Descriptor: a sealed memfd with credentials."""

    identity: str


@dataclass(frozen=True, slots=True)
class CredentialsForgotten:
    """Parent → worker."""

    identity: str


@dataclass(frozen=True, slots=True)
class RevocationsChanged:
    """Parent → worker; the payload is all lists of revoked certificates, PEM."""


@dataclass(frozen=True, slots=True)
class MeshChanged:
    """Parent → worker; the payload is an encoded update. Applied when one with ``more`` unset has come."""

    more: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """Parent → worker: cut the connections of a pod."""

    uid: str
    why: str


@dataclass(frozen=True, slots=True)
class Scrape:
    """Parent → worker: your counters, please."""

    id: int


@dataclass(frozen=True, slots=True)
class Scraped:
    """Worker → parent; the payload is a traffic table."""

    id: int
    lines_lost: int
    """Of the access log, since the worker was started."""
    holding: dict[str, int] = field(default_factory=dict)
    """How many it has of what comes and goes, by kind."""


@dataclass(frozen=True, slots=True)
class RequestsCounted:
    """Worker → parent, before ``Scraped``; the payload is a report of ``telemetry.request_metrics``."""


@dataclass(frozen=True, slots=True)
class SpansEnded:
    """Worker of a waypoint → parent; the payload is a batch of ``telemetry.spans``."""

    dropped: int
    """There was no room for so many since the last one."""


@dataclass(frozen=True, slots=True)
class Synced:
    """Worker → parent: what you sent before this is in force."""


@dataclass(frozen=True, slots=True)
class PodConnections:
    """Worker → parent: how many connections of a pod live here; sent when it reaches zero or leaves it."""

    uid: str
    count: int


@dataclass(frozen=True, slots=True)
class Part:
    """Either way: the payload is the beginning of the next message's."""


Message: TypeAlias = (
    Hello
    | Company
    | Welcome
    | PodAdded
    | PodRemoved
    | LedgerShared
    | Listening
    | KeysChanged
    | CredentialsChanged
    | CredentialsForgotten
    | RevocationsChanged
    | MeshChanged
    | Cut
    | Scrape
    | RequestsCounted
    | Scraped
    | SpansEnded
    | Synced
    | PodConnections
    | Part
)
_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        Hello,
        Company,
        Welcome,
        PodAdded,
        PodRemoved,
        LedgerShared,
        Listening,
        KeysChanged,
        CredentialsChanged,
        CredentialsForgotten,
        RevocationsChanged,
        MeshChanged,
        Cut,
        Scrape,
        RequestsCounted,
        Scraped,
        SpansEnded,
        Synced,
        PodConnections,
        Part,
    )
}
_MOST_PAYLOAD: Final = 64 * 1024
"""Of one packet; well below what a packet socket takes."""


def pack(message: Message, payload: bytes = b"") -> bytes:
    """One packet."""
    head = json.dumps([type(message).__name__, asdict(message)], separators=(",", ":")).encode()
    return b"%d\n%b%b" % (len(head), head, payload)


def packets(message: Message, payload: bytes = b"") -> list[bytes]:
    """As many packets as it takes; descriptors belong to the last."""
    last = max(0, len(payload) - 1) // _MOST_PAYLOAD * _MOST_PAYLOAD
    parts = [pack(Part(), payload[at : at + _MOST_PAYLOAD]) for at in range(0, last, _MOST_PAYLOAD)]
    return [*parts, pack(message, payload[last:])]


class Assembly:
    """Puts together what ``packets`` took apart."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def take(self, packet: bytes) -> tuple[Message, bytes] | None:
        """A message and its whole payload, once the last of it has come. Raises PeerError as ``unpack`` does."""
        message, payload = unpack(packet)
        self._parts.append(payload)
        if isinstance(message, Part):
            return None
        parts, self._parts = self._parts, []
        return message, b"".join(parts)


def unpack(packet: bytes) -> tuple[Message, bytes]:
    """The message and its payload. Raises PeerError for what ``pack`` did not make."""
    length, separator, rest = packet.partition(b"\n")
    try:
        name, fields = json.loads(rest[: int(length)])
        message: Message = _KINDS[name](**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise PeerError(f"not a packet of this version of the program: {error}") from error
    if not separator:
        raise PeerError("not a packet of this version of the program")
    return message, rest[int(length) :]
