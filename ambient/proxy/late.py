"""What a new snapshot means for connections that live: which are asked again, and what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.core import inbound
from ambient.core.authorize import Connection
from ambient.core.gateways import identities

if TYPE_CHECKING:
    from ambient.core.snapshot import Snapshot
    from ambient.member.live import Carried, Live


def concerned(before: Snapshot, after: Snapshot, live: Live[Connection]) -> Iterator[Carried[Connection]]:
    """Inbound ones of pods whose workload or waypoint changed, or all if a policy did."""
    all_may = before.authorizations is not after.authorizations or before.settings != after.settings
    for uid in live.counts():
        if all_may or _changed(before, after, uid):
            yield from (one for one in live.of(uid) if one.question is not None)


def _changed(before: Snapshot, after: Snapshot, uid: str) -> bool:
    workload = after.workloads.get(uid)
    if before.workloads.get(uid) is not workload:
        return True
    if workload is None:
        return False
    gateways = [workload.waypoint]
    for key in workload.services:
        service = after.services.get(key)
        if before.services.get(key) is not service:
            return True
        gateways.append(None if service is None else service.waypoint)
    return any(
        identities(before, waypoint) != identities(after, waypoint)
        for waypoint in dict.fromkeys(gateways)
        if waypoint is not None
    )


def judge(snapshot: Snapshot, carried: Carried[Connection]) -> inbound.Reject | None:
    """Why one must be cut; None: it may stay."""
    workload = snapshot.workloads.get(carried.uid)
    if workload is None or carried.question is None:
        return None
    return inbound.recheck(snapshot, workload, carried.question, carried.observation.service)
