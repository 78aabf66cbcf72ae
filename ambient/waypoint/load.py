"""What a replica carries and needs, as each of its workers sees it: looked at now and then, and weighed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from ambient.core.overload import Capacity, Overload
from ambient.kernel import process
from ambient.member.shares import Kind
from ambient.telemetry import log

LOOK_SECONDS: Final = 0.25


class Together(Protocol):
    """What all workers have told of themselves."""

    def others(self, kind: Kind) -> int:
        """The sum of a kind over all workers but this one."""
        ...

    def tell(self, kind: Kind, count: int) -> None:
        """What this one has."""
        ...


class Load:
    """Says why nothing more is to be taken on."""

    def __init__(
        self,
        capacity: Capacity,
        together: Together,
        connections: Callable[[], int],
        memory: Callable[[], int] = process.memory_used,
    ) -> None:
        """``connections`` are those of this worker; ``memory`` is what its process uses, in bytes."""
        self._overload = Overload(capacity)
        self._together, self._connections, self._memory = together, connections, memory

    async def watch(self) -> None:
        """For ever: look."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look once."""
        own = self._memory()
        self._together.tell(Kind.MEMORY, own >> 10)
        self._together.tell(Kind.CONNECTION, self._connections())
        if self._overload.weigh(own + (self._together.others(Kind.MEMORY) << 10)):
            why = self._overload.why_no_request
            log.warning("overload has ended" if why is None else "overload", why=why)

    def why_no_request(self) -> str | None:
        """Why nothing more is taken on at all, or None."""
        return self._overload.why_no_request

    def why_no_connection(self) -> str | None:
        """Why no connection more is, or None."""
        carried = self._connections() + self._together.others(Kind.CONNECTION)
        return self._overload.why_no_connection(carried)
