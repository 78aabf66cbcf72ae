"""What a new snapshot or a revoked certificate means for connections that live: those that it forbids are cut."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ambient.core import inbound
from ambient.core.observation import ResponseFlag
from ambient.proxy.live import POLICY_CHANGE

if TYPE_CHECKING:
    from ambient.core.pki.revocation import Revocations
    from ambient.core.snapshot import Snapshot
    from ambient.net.tls import Peers
    from ambient.proxy.live import Carried, Live

SLICE_SECONDS: Final = 0.002
"""How long connections are asked at a stretch, while others wait for their bytes."""


class Recheck:
    """Asks live inbound connections again whether they may stay: some at once, the rest a slice in each turn of the
    loop, so that bytes flow meanwhile. Each is asked under the newest snapshot there is when its turn comes.

    ``done`` hears how many were cut, if any, when none is left to be asked.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], live: Live, done: Callable[[int], None]) -> None:
        self._snapshot, self._live, self._done = snapshot, live, done
        self._due: OrderedDict[Carried, None] = OrderedDict()
        """Who waits longest comes first: else changes without end could put some off for ever."""
        self._goes_on = False
        self._cut = 0

    def changed(self, before: Snapshot, after: Snapshot) -> None:
        """A new snapshot is in force: ask those of pods whose workload changed, or all if a policy did."""
        policies_changed = before.authorizations is not after.authorizations
        for uid in self._live.counts():
            if policies_changed or before.workloads.get(uid) is not after.workloads.get(uid):
                self._due.update((one, None) for one in self._live.of(uid) if one.inbound is not None)
        if not self._goes_on:
            self._go_on()

    def _go_on(self) -> None:
        self._goes_on = False  # Whatever happens below, the next change begins anew.
        until = time.monotonic() + SLICE_SECONDS
        while self._due:
            self._ask(self._due.popitem(last=False)[0])
            if time.monotonic() >= until:
                break
        self._goes_on = bool(self._due)
        if self._goes_on:
            asyncio.get_running_loop().call_soon(self._go_on)
        elif self._cut:
            cut, self._cut = self._cut, 0
            self._done(cut)

    def _ask(self, carried: Carried) -> None:
        snapshot = self._snapshot()
        workload = snapshot.workloads.get(carried.uid)
        if workload is None or carried.inbound is None or carried not in self._live:
            return
        rejection = inbound.recheck(snapshot, workload, carried.inbound)
        if rejection is not None:
            self._live.cut(carried, rejection.flag, f"{POLICY_CHANGE}: {rejection.detail}")
            self._cut += 1


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
