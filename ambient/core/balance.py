"""Which endpoint a connection goes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ambient.core.endpoints import Candidates
from ambient.core.model.workload import Workload

Pick: TypeAlias = Callable[[Candidates], Workload | None]
"""Chooses among endpoints; None when none of them may be chosen."""


def by_capacity(chance: float) -> Pick:
    """A pick at random in proportion to capacity, decided by ``chance`` in [0, 1)."""

    def pick(candidates: Candidates) -> Workload | None:
        return candidates.at(chance * candidates.capacity)

    return pick
