"""What a new snapshot means for connections that live: which are asked again, and what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.waypoint import call as calls
from ambient.waypoint.call import Call

if TYPE_CHECKING:
    from ambient.core.inbound import Reject
    from ambient.core.snapshot import Snapshot
    from ambient.member.live import Carried, Live
    from ambient.waypoint.world import World


def concerned(before: Snapshot, after: Snapshot, world: World, live: Live[Call]) -> Iterator[Carried[Call]]:
    """Those to what has changed itself, or whose policies have; all if this waypoint or its own policies did."""

    def changed(key: str) -> bool:
        return any(
            getattr(before, part).get(key) is not getattr(after, part).get(key)
            for part in ("services", "workloads", "policies")
        )

    everything = changed(world.uid) or changed(world.waypoint)
    for key in live.counts():
        if everything or changed(key):
            yield from live.of(key)


def judge(world: World, carried: Carried[Call]) -> Reject | None:
    """Why one must be cut; None: it may stay."""
    return None if carried.question is None else calls.forbidden(world, carried.question)
