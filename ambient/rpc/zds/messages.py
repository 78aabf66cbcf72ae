"""What a daemon and its proxy say to each other, as values, and how many descriptors go with each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from immutables import Map

from ambient.core.errors import PeerError
from ambient.core.model.address import IpAddress
from ambient.core.model.pod import Capture, Exclusions, OlderConnection

AMBIENT_V1: Final = "ambient.v1"
CONNECTIONS_PER_PACKET: Final = 512
"""At most 73 bytes each."""
FIRST_MAPS: Final = ("original_destinations", "clients")
"""What a Welcome brings that names none."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The proxy's first packet."""

    extensions: frozenset[str] = frozenset()
    returning: tuple[str, ...] = ()
    """Workloads whose listeners the proxy holds from an earlier daemon."""


@dataclass(frozen=True, slots=True)
class WorkloadInfo:
    """Who a workload is; from ``labels`` on only with ambient.v1."""

    name: str
    namespace: str
    service_account: str
    labels: Map[str, str] = Map()  # noqa: RUF009
    addresses: tuple[IpAddress, ...] = ()
    netns_cookie: int = 0
    capture: Capture = Capture.OFF
    """How far the kernel captures its traffic now."""
    exclusions: Exclusions = Exclusions()  # noqa: RUF009
    """What of it the kernel leaves outside the mesh."""
    healthy: bool = True
    """Others may be sent to it."""


@dataclass(frozen=True, slots=True)
class AddWorkload:
    """A workload of this node, or what is new of one: netns, and with ambient.v1 outbound, plaintext, hbone."""

    uid: str
    info: WorkloadInfo


@dataclass(frozen=True, slots=True)
class KeepWorkload:
    """A workload whose namespace the daemon cannot find, but that is to be kept."""

    uid: str


@dataclass(frozen=True, slots=True)
class DelWorkload:
    """A workload is gone."""

    uid: str
    now: bool = False
    """Cut its connections instead of letting them end."""


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """Every workload was sent: any other is to be forgotten."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """To an ambient.v1 proxy, first of all: maps that it shares with the kernel."""

    node: str
    maps: tuple[str, ...] = FIRST_MAPS
    """The name of each, in the order of the descriptors."""


@dataclass(frozen=True, slots=True)
class Deposited:
    """To an ambient.v1 proxy: a sealed memfd that an earlier one left."""

    name: str


@dataclass(frozen=True, slots=True)
class Result:
    """The daemon's answer to what the proxy asked."""

    id: int
    error: str = ""
    connections: tuple[OlderConnection, ...] = ()
    more: bool = False
    """Another Result of the same question follows."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The proxy's answer to an order; an empty error is success."""

    error: str = ""


@dataclass(frozen=True, slots=True)
class SetCapture:
    """How far a workload's traffic is to be captured."""

    uid: str
    mode: Capture
    id: int = 0


@dataclass(frozen=True, slots=True)
class Deposit:
    """Keep this sealed memfd; without one: forget what was kept under the name."""

    name: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class Returned:
    """A workload's listeners, for a daemon that was started anew: outbound, plaintext, hbone."""

    uid: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class ListConnections:
    """Name the connections of a workload that never met the mesh."""

    uid: str
    id: int = 0


@dataclass(frozen=True, slots=True)
class DestroyConnections:
    """Reset these connections of a workload."""

    uid: str
    connections: tuple[OlderConnection, ...]
    id: int = 0


Order: TypeAlias = AddWorkload | KeepWorkload | DelWorkload | SnapshotSent
"""What the daemon tells and the proxy acknowledges."""
Request: TypeAlias = Order | Welcome | Deposited | Result
"""What the daemon sends."""
Question: TypeAlias = SetCapture | Deposit | Returned | ListConnections | DestroyConnections
"""What the proxy asks and the daemon answers with a Result."""
Response: TypeAlias = Ack | Question
"""What the proxy sends after its hello."""
Message: TypeAlias = Hello | Request | Response


class UnusableOrder(PeerError):
    """An order that can be read but not followed: it is answered by an Ack with this error."""


def expected_fds(message: Message) -> frozenset[int]:
    """How many descriptors may travel with a message."""
    match message:
        case AddWorkload():
            return frozenset({1, 4})
        case Welcome(_, maps):
            return frozenset({len(maps)})
        case Deposited():
            return frozenset({1})
        case Hello() | Deposit():
            return frozenset({0, 1})
        case Returned():
            return frozenset({3})
        case _:
            return frozenset({0})


def results(question_id: int, connections: Sequence[OlderConnection]) -> Iterator[Result]:
    """A list of connections as Results that fit in packets."""
    for start in range(0, max(len(connections), 1), CONNECTIONS_PER_PACKET):
        end = start + CONNECTIONS_PER_PACKET
        yield Result(question_id, "", tuple(connections[start:end]), more=end < len(connections))
