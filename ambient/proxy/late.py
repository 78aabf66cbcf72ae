"""What a new snapshot or a revoked certificate means for connections that live: those that it forbids are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.core import inbound
from ambient.core.observation import ResponseFlag
from ambient.proxy.live import POLICY_CHANGE

if TYPE_CHECKING:
    from ambient.core.pki.revocation import Revocations
    from ambient.core.snapshot import Snapshot
    from ambient.net.tls import Peers
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


def cut_revoked(revocations: Revocations, peers: Peers, live: Live) -> int:
    """Cut every tunnel, of either direction, whose peer is revoked; how many connections that were."""
    doomed = dict(peers.revoke(revocations))
    cut = 0
    for carried, tunnel in live.tunnelled() if doomed else ():
        if (error := doomed.get(tunnel)) is not None:
            live.cut(carried, ResponseFlag.CERT_REVOKED, f"connection closed: {error}", error.reason)
            cut += 1
    for tunnel, error in doomed.items():
        tunnel.abort(f"connection closed: {error}")
    return cut
