"""What is said of direct connections: as of those that a proxy carries, but for their security, which is their kernel's.

The kernel tells each end when it begins and when it is over, and has a list of those that live; what it could not tell
it keeps in the list. So the same end may be heard of several times, from both, and counts once: a ``Ledger`` knows which
have been counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ambient.core.model.flow import End, Ending
from ambient.core.observation import Observation, Party, Reporter, Security

if TYPE_CHECKING:
    from ambient.core.model.flow import Flow
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Told:
    """What one word of the kernel adds to the counters."""

    opened: bool = False
    closed: bool = False
    sent: int = 0
    """By this end, in bytes."""
    received: int = 0


NOTHING: Final = Told()
"""It was known."""


class Ledger:
    """Which ends have been counted.

    Records are heard in the kernel's order. A list is heard after every record that was there when it was made, and
    before any later one: an end that the list says is over may still have its beginning among those.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        """Cookies of sockets that live."""
        self._over: set[int] = set()
        """Of those that were over before their beginning may have been heard."""

    def __len__(self) -> int:
        """How many ends live."""
        return len(self._open)

    def record(self, flow: Flow) -> Told:
        """Hear a record."""
        return NOTHING if flow.cookie in self._over else self._hear(flow)

    def listed(self, flow: Flow) -> Told:
        """Hear of an end in the list."""
        if flow.ending is not None:
            self._over.add(flow.cookie)
        return self._hear(flow)

    def caught_up(self) -> None:
        """Every record was heard that was there when the last list was made."""
        self._over.clear()

    def _hear(self, flow: Flow) -> Told:
        is_new = flow.cookie not in self._open
        if flow.ending is None:
            self._open.add(flow.cookie)
            return Told(opened=is_new)
        self._open.discard(flow.cookie)
        return Told(is_new, closed=True, sent=flow.sent, received=flow.received)


def observe(snapshot: Snapshot, uid: str, flow: Flow) -> Observation:
    """The connection as the end that belongs to the workload ``uid`` of this node saw it."""
    own = snapshot.workloads.get(uid)
    network = "" if own is None else own.network
    match flow.end:
        case End.CLIENT:
            server = snapshot.workload_at(flow.peer.ip, network)
            return Observation(
                reporter=Reporter.SOURCE,
                source=_party(own),
                destination=_party(server) if _is_vouched_for(own, server) else Party.of(server),
                source_address=flow.own,
                destination_address=flow.meant,
                service=snapshot.service_at(flow.meant.ip, network),
                security=_security(own, server),
            )
        case End.SERVER:
            client = snapshot.workload_at(flow.meant.ip, network)
            return Observation(
                reporter=Reporter.DESTINATION,
                source=_party(client) if _is_vouched_for(own, client) else Party.of(client),
                destination=_party(own),
                source_address=flow.meant,
                destination_address=flow.own,
                security=_security(own, client),
            )


def error_of(ending: Ending) -> str | None:
    """How the access log says that a connection ended; None: well."""
    match ending:
        case Ending.FINISHED:
            return None
        case Ending.CUT:
            return "connection reset"
        case Ending.TIMED_OUT:
            return "connection timed out"


def _is_vouched_for(own: Workload | None, other: Workload | None) -> bool:
    """Whether both ends are in the kernel of one node, which then knows who they are."""
    return own is not None and other is not None and own.node != "" and own.node == other.node


def _security(own: Workload | None, other: Workload | None) -> Security:
    return Security.SAME_NODE if _is_vouched_for(own, other) else Security.UNKNOWN


def _party(workload: Workload | None) -> Party:
    return Party.of(workload, None if workload is None else workload.identity)
