"""When a replica takes nothing more on, so that what it has can end.

Of memory, nothing is taken from 85 % of the limit on, and something again below 80 %: a replica at the edge would else
take and refuse in turn. Source: Envoy's overload manager stops requests from 0.92 or so of a heap; ours is no heap of
C++, and needs more room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHED_FROM: Final = 0.85
SHED_UNTIL: Final = 0.80


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much a replica may have, all of its workers together; None: as much as there is."""

    memory: int | None = None
    """Bytes."""
    connections: int | None = None


class Overload:
    """Whether a replica has enough."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._memory_is_short = False
        self._used = 0

    def weigh(self, used: int) -> bool:
        """So many bytes are used; whether that makes a difference to before."""
        before, limit = self._memory_is_short, self._capacity.memory
        self._used = used
        if limit is not None:
            self._memory_is_short = used >= (SHED_UNTIL if before else SHED_FROM) * limit
        return self._memory_is_short is not before

    @property
    def why_no_request(self) -> str | None:
        """Why nothing more is taken on at all, or None."""
        if not self._memory_is_short:
            return None
        limit = (self._capacity.memory or 0) >> 20
        return f"the waypoint is overloaded: {self._used >> 20} of {limit} MiB of memory are used"

    def why_no_connection(self, connections: int) -> str | None:
        """Why there may be no connection more than so many, or None."""
        limit = self._capacity.connections
        if limit is not None and connections >= limit:
            return f"the waypoint is overloaded: it carries {connections} connections of {limit}"
        return self.why_no_request
