"""Every workload that a call may reach: what ``outbound.resolve`` answers for each choice that it offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambient.core.model.address import SocketAddress
from ambient.core.outbound import Direct, Refuse, Tunnel, resolve

if TYPE_CHECKING:
    from ambient.core.endpoints import Candidates
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class End:
    """A workload, and where of it the call ends."""

    workload: Workload
    address: SocketAddress

    def __str__(self) -> str:
        return f"{self.workload.namespace}/{self.workload.name} ({self.address})"


def ends_of(
    snapshot: Snapshot, source: Workload, target: SocketAddress
) -> tuple[Tunnel | Direct | Refuse, tuple[End, ...]]:
    """One decision that may come about, and every end that the call may have; none: an address that nobody knows."""
    offered: list[Workload] = []

    def note(candidates: Candidates) -> Workload | None:
        offered.extend(one for one in candidates if one.capacity)
        return offered[0] if offered else None

    decision = resolve(snapshot, source, target, note)
    ends: list[End] = []
    for workload in offered:
        ends += _end(resolve(snapshot, source, target, lambda _, one=workload: one))  # type: ignore[misc]
    return decision, tuple(ends or _end(decision))


def _end(decision: Tunnel | Direct | Refuse) -> tuple[End, ...]:
    match decision:
        case Tunnel(_, authority, _, destination, _) if destination is not None:
            return (End(destination, SocketAddress.parse(authority)),)
        case Direct(to, destination, _) if destination is not None:
            return (End(destination, to),)
        case _:
            return ()
