"""Which endpoint a connection goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from ambient.core.model.workload import Workload

Pick: TypeAlias = Callable[[Sequence[Workload]], Workload | None]
"""Chooses among endpoints, which come in uid order; None when none of them may be chosen."""


def by_capacity(chance: float) -> Pick:
    """A pick at random in proportion to capacity, decided by ``chance`` in [0, 1)."""

    def pick(endpoints: Sequence[Workload]) -> Workload | None:
        return weighted(endpoints, chance)

    return pick


def weighted(endpoints: Sequence[Workload], chance: float) -> Workload | None:
    """The endpoint whose share of the summed capacities holds ``chance``; None when all capacities are 0."""
    mark = chance * sum(endpoint.capacity for endpoint in endpoints)
    last = None
    for endpoint in endpoints:
        if endpoint.capacity == 0:
            continue
        mark -= endpoint.capacity
        if mark < 0:
            return endpoint
        last = endpoint
    return last
