"""Connections that live are asked again whether they may, and whoever must not is cut."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Generic

from ambient.core.observation import ResponseFlag
from ambient.member.live import POLICY_CHANGE, Q

if TYPE_CHECKING:
    from ambient.core.inbound import Reject
    from ambient.core.pki.revocation import Revocations
    from ambient.member.live import Carried, Live
    from ambient.net.tls import Peers

SLICE_SECONDS: Final = 0.002
"""How long connections are asked at a stretch, while others wait for their bytes."""


class Recheck(Generic[Q]):
    """Asks some of them at once, the rest a slice in each turn of the loop, so that bytes flow meanwhile.

    ``judge`` says why one must be cut, or None, by the newest snapshot that there is when its turn comes. ``done`` hears
    how many were cut, if any, when none is left to be asked.
    """

    def __init__(
        self, judge: Callable[[Carried[Q]], Reject | None], live: Live[Q], done: Callable[[int], None]
    ) -> None:
        self._judge, self._live, self._done = judge, live, done
        self._due: OrderedDict[Carried[Q], None] = OrderedDict()
        """Who waits longest comes first: else changes without end could put some off for ever."""
        self._goes_on = False
        self._cut = 0

    def ask(self, carried: Iterable[Carried[Q]]) -> None:
        """What these were let in by may have changed."""
        self._due.update((one, None) for one in carried)
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

    def _ask(self, carried: Carried[Q]) -> None:
        if carried not in self._live:
            return
        rejection = self._judge(carried)
        if rejection is not None:
            self._live.cut(carried, rejection.flag, f"{POLICY_CHANGE}: {rejection.detail}")
            self._cut += 1


def cut_revoked(revocations: Revocations, peers: Peers, live: Live[Q]) -> int:
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
