"""A loop whose clock jumps: nothing waits, and what is due in an hour happens next."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    loop: TravelLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.loop.now += timeout
        return super().select(0 if timeout is not None else 1)


class TravelLoop(asyncio.SelectorEventLoop):
    """For what touches no other process: its time passes only when nothing else is to be done."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def travel(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end."""
    with asyncio.Runner(loop_factory=TravelLoop) as runner:
        runner.run(work)
