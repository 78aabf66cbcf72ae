"""What is known of how busy and how quick endpoints are.

How long an endpoint takes is a peak-sensitive moving average: what was slower than it counts at once, what was quicker
counts as time goes by, and an endpoint that nobody asks is forgotten. Source: Finagle's and Tower's Peak EWMA.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload

_DECAY: Final = 10.0
"""Seconds after which a third is left. Source: Linkerd's."""
_NOTHING: Final = 1e-4
"""Seconds below which an average says nothing."""
_SLOWER: Final = 2.0
"""An endpoint that is so many times slower loses against one with more under way."""


class Load:
    """Of one endpoint."""

    __slots__ = ("_at", "_took", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._took = 0.0
        self._at = 0.0

    def note(self, took: float, now: float) -> None:
        """A response took so many seconds to begin."""
        share = exp(-max(0.0, now - self._at) / _DECAY)
        self._took = took if took >= self._took else self._took * share + took * (1 - share)
        self._at = max(self._at, now)

    def took(self, now: float) -> float:
        """How many seconds a response takes; 0: that is unknown."""
        took = self._took
        if now > self._at and took:
            took *= exp((self._at - now) / _DECAY)
        return took if took >= _NOTHING else 0.0


_IDLE: Final = Load()
"""Of endpoints that nothing is known of; never changed."""


class Loads:
    """Of the endpoints of one balancer."""

    def __init__(self) -> None:
        self._of: dict[str, Load] = {}
        self._gone: set[str] = set()

    def __len__(self) -> int:
        return len(self._of)

    def of(self, uid: str) -> Load:
        """What is known of an endpoint; not to be changed."""
        return self._of.get(uid, _IDLE)

    def begin(self, uid: str) -> None:
        """A request goes to an endpoint."""
        load = self._of.get(uid)
        if load is None:
            load = self._of[uid] = Load()
        self._gone.discard(uid)
        load.under_way += 1

    def ended(self, uid: str, took: float | None, now: float, *, failed: bool = False) -> None:
        """It is over; its response began after ``took`` seconds, None if none did.

        What fails is often quick: it never makes an endpoint look quicker.
        """
        load = self._of.get(uid)
        if load is None or not load.under_way:
            return  # It began with another balancer.
        load.under_way -= 1
        if uid in self._gone:
            self.forget(uid)
        elif took is not None and not (failed and took < load.took(now)):
            load.note(took, now)

    def forget(self, uid: str) -> None:
        """An endpoint is gone, and what is known of it when nothing is under way there any more."""
        load = self._of.get(uid)
        if load is None:
            return
        if load.under_way:
            self._gone.add(uid)
        else:
            del self._of[uid]
            self._gone.discard(uid)

    def better(self, one: Workload, other: Workload, now: float) -> Workload:
        """The one of two that has less to do for its capacity; ``one`` if they are even.

        If one of them would take more than twice as long with what it has to do, the other is; below that, it is whoever
        has less under way, so that endpoints of about the same speed get the same.
        """
        held = self._of
        first, second = held.get(one.uid, _IDLE), held.get(other.uid, _IDLE)
        load = first.under_way / (one.capacity or 1)
        rival = second.under_way / (other.capacity or 1)
        if (took := first.took(now)) and (rivals := second.took(now)):
            wait, rivals_wait = took * (load + 1), rivals * (rival + 1)
            if wait > _SLOWER * rivals_wait:
                return other
            if rivals_wait > _SLOWER * wait:
                return one
        return one if load <= rival else other
