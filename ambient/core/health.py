"""What a workload's probe makes of it, answer by answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FAILURES: Final = 3
"""So many in a row make a workload unhealthy; one answer makes it healthy again."""


@dataclass(frozen=True, slots=True)
class Health:
    """How it stands."""

    healthy: bool
    failures: int = 0
    """In a row, until now."""

    def after(self, *, answered: bool) -> Health:
        """How it stands when it was probed once more."""
        if answered:
            return Health(healthy=True)
        failures = min(self.failures + 1, FAILURES)
        return Health(self.healthy and failures < FAILURES, failures)


def is_answer(head: bytes) -> bool:
    """Whether the beginning of an HTTP/1 response says that all is well: a status of 200-399."""
    parts = head.split(b" ", 2)
    return (
        len(parts) > 1
        and parts[0].startswith(b"HTTP/1.")
        and parts[1][:1] in {b"2", b"3"}
        and len(parts[1]) >= 3
    )
