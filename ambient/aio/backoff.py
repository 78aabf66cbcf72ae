"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Doubling delays with full jitter in their upper half.

    ``first`` and ``most`` are seconds; ``chance`` returns numbers in [0, 1).
    """

    def __init__(self, first: float, most: float, chance: Callable[[], float]) -> None:
        self._first, self._most, self._chance = first, most, chance
        self._next = first

    def next_delay(self) -> float:
        """Seconds to wait before the next try."""
        delay, self._next = self._next, min(self._next * 2, self._most)
        return delay * (0.5 + self._chance() / 2)

    def reset(self) -> None:
        """A try succeeded: the next failure waits ``first`` again."""
        self._next = self._first
