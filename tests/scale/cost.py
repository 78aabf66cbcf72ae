"""What a call costs, on a machine that does other things as well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Self


def cost(call: Callable[[], object], rounds: int = 4, seconds: float = 0.01) -> float:
    """Processor seconds of one call: the best of some rounds, each of as many calls as fill ``seconds``."""
    count, best = 1, float("inf")
    while True:
        spent = _spent(call, count)
        if spent >= seconds or count >= 1_000_000:
            break
        count *= 4
    for _ in range(rounds):
        best = min(best, _spent(call, count) / count)
    return best


def once(call: Callable[[], object]) -> float:
    """Processor seconds of one call that cannot be repeated."""
    return _spent(call, 1)


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def mebi(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


class Pulse:
    """How long the loop of this thread was held up while the ``with`` block ran."""

    longest = 0.0
    """Seconds between two turns."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now


def _spent(call: Callable[[], object], count: int) -> float:
    began = time.thread_time()
    for _ in range(count):
        call()
    return time.thread_time() - began
