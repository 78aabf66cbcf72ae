"""For how long a figure has not moved, as far as anyone looked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stillness:
    """A figure that was seen first at ``since``, and at every look after."""

    figure: int
    since: float

    @staticmethod
    def seen(before: Stillness | None, figure: int, now: float) -> Stillness:
        """What is known after one more look."""
        return before if before is not None and before.figure == figure else Stillness(figure, now)
