"""Tasks that someone answers for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

Crash = Callable[[str, BaseException], None]


class Tasks:
    """Background tasks with an owner: none is lost, and none fails in silence.

    ``crashed(name, error)`` is called for a task that ended with an error; the owner decides what that means.
    ``idle()`` is called when none is left.
    """

    def __init__(self, crashed: Crash, idle: Callable[[], None] | None = None) -> None:
        self._crashed = crashed
        self._idle = idle
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` until it ends or ``stop`` is called."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self) -> None:
        """Cancel what is left and wait for it."""
        while self._running:
            running = tuple(self._running)
            for task in running:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(task.get_name(), error)
        if self._idle is not None and not self._running:
            self._idle()
