"""Who must be heard from, and who was not: a machine that knows no clock.

A holder whose lease ends is lapsed; one that stays silent for much longer has gone. While nobody can be heard at all
it is this control plane that is cut off, so its owner begins every lease anew when the first one is back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Holder = TypeVar("Holder")


@dataclass(frozen=True, slots=True)
class Ended(Generic[Holder]):
    """What time has brought."""

    lapsed: tuple[Holder, ...]
    gone: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class _Lease:
    lapses: float
    goes: float
    is_lapsed: bool = False


class Leases(Generic[Holder]):
    """Leases that run. ``now`` is in seconds and never goes back."""

    def __init__(self) -> None:
        self._running: dict[Holder, _Lease] = {}

    def begin(self, holder: Holder, now: float, lapse_seconds: float, gone_seconds: float) -> None:
        """From now on it has so long."""
        self._running[holder] = _Lease(now + lapse_seconds, now + gone_seconds)

    def stop(self, holder: Holder) -> None:
        """It is heard, or nobody waits for it."""
        self._running.pop(holder, None)

    def end_of(self, holder: Holder) -> float | None:
        """When its lease ends; None: none runs, or it has ended."""
        lease = self._running.get(holder)
        return None if lease is None or lease.is_lapsed else lease.lapses

    def due(self, now: float) -> Ended[Holder]:
        """Whose lease has ended since the last time, and who is gone: of those nothing is remembered."""
        gone = tuple(holder for holder, lease in self._running.items() if now >= lease.goes)
        for holder in gone:
            del self._running[holder]
        lapsed = tuple(
            holder for holder, lease in self._running.items() if now >= lease.lapses and not lease.is_lapsed
        )
        for holder in lapsed:
            lease = self._running[holder]
            self._running[holder] = _Lease(lease.lapses, lease.goes, is_lapsed=True)
        return Ended(lapsed, gone)

    def next(self) -> float | None:
        """When there is something due; None: never."""
        return min(
            (
                lease.goes if lease.is_lapsed else min(lease.lapses, lease.goes)
                for lease in self._running.values()
            ),
            default=None,
        )
