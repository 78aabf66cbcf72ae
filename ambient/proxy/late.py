"""What a new snapshot means for connections that live: which are asked again, and what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.core import inbound
from ambient.core.authorize import Connection

if TYPE_CHECKING:
    from ambient.core.snapshot import Snapshot
    from ambient.member.live import Carried, Live


def concerned(before: Snapshot, after: Snapshot, live: Live[Connection]) -> Iterator[Carried[Connection]]:
    """Inbound ones of pods whose workload changed, or all if a policy did."""
    policies_changed = before.authorizations is not after.authorizations
    for uid in live.counts():
        if policies_changed or before.workloads.get(uid) is not after.workloads.get(uid):
            yield from (one for one in live.of(uid) if one.question is not None)


def judge(snapshot: Snapshot, carried: Carried[Connection]) -> inbound.Reject | None:
    """Why one must be cut; None: it may stay."""
    workload = snapshot.workloads.get(carried.uid)
    if workload is None or carried.question is None:
        return None
    return inbound.recheck(snapshot, workload, carried.question)
