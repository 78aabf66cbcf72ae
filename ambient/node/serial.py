"""One thing after another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Serial:
    """Pieces of work that must not overlap run in the order in which they were asked for.

    A piece that was begun is finished, also when who asked has been cancelled.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], Awaitable[None]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` returns, when its turn has come."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def step() -> None:
            if done.cancelled():
                return
            try:
                value = await work()
            except Exception as error:  # noqa: BLE001  # Raised again where it was asked for.
                if not done.cancelled():
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(value)

        self._waiting.append(step)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await done

    async def stop(self) -> None:
        """Wait for what was begun; what has not begun is dropped."""
        self._waiting.clear()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._waiting.popleft()()
        finally:
            self._running = None
