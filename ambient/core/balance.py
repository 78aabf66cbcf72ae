"""Which endpoint a connection goes to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, TypeAlias

from ambient.core.endpoints import Candidates
from ambient.core.model.workload import Workload

Pick: TypeAlias = Callable[[Candidates], Workload | None]
"""Chooses among endpoints; None when none of them may be chosen."""
TRIES: Final = 3
"""Endpoints that one connection is tried with: those that cannot be reached are soon known to be unhealthy."""
TRY_SECONDS: Final = 15.0
"""After so long no other is tried."""


def by_capacity(chance: float) -> Pick:
    """A pick at random in proportion to capacity, decided by ``chance`` in [0, 1)."""

    def pick(candidates: Candidates) -> Workload | None:
        return candidates.at(chance * candidates.capacity)

    return pick


def avoiding(pick: Pick, uids: Collection[str]) -> Pick:
    """``pick`` among the others."""
    if not uids:
        return pick

    def other(candidates: Candidates) -> Workload | None:
        return pick(Candidates.of(one for one in candidates if one.uid not in uids))

    return other
