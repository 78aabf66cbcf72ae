"""What a new snapshot means for connections that live: those that it forbids are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.core import inbound
from ambient.proxy.live import POLICY_CHANGE

if TYPE_CHECKING:
    from ambient.core.snapshot import Snapshot
    from ambient.proxy.live import Live


def cut_forbidden(before: Snapshot, after: Snapshot, live: Live) -> int:
    """Ask for each inbound connection whether ``after`` still admits it; how many were cut.

    A pod is only asked about if its workload or any policy changed.
    """
    policies_changed = before.authorizations is not after.authorizations
    cut = 0
    for carried in live.inbound():
        workload = after.workloads.get(carried.uid)
        if workload is None or carried.inbound is None:
            continue
        if not policies_changed and before.workloads.get(carried.uid) is workload:
            continue
        rejection = inbound.recheck(after, workload, carried.inbound)
        if rejection is not None:
            live.cut(carried, rejection.flag, f"{POLICY_CHANGE}: {rejection.detail}")
            cut += 1
    return cut
