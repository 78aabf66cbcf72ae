"""What both long-lived streams of a node have in common: they end, and are opened again."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import grpc.aio

from ambient.aio.backoff import Backoff
from ambient.aio.watch import Watch
from ambient.core.errors import AmbientError, Unavailable
from ambient.rpc.errors import from_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Link:
    """Whether a stream to the control plane is up, and if not, why."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff(0.01, 15.0, random.random)
        self.connected: Watch[bool] = Watch(False)
        self.trouble: Watch[str] = Watch("")
        """Why it is down; empty while it is up, and before the first try has failed."""

    def answered(self) -> None:
        """The other side spoke: the stream is up."""
        self._backoff.reset()
        self.connected.set(True)
        self.trouble.set("")

    async def keep_open(self, stream: Callable[[], Awaitable[None]]) -> None:
        """Run ``stream`` again whenever it ends, for ever."""
        while True:
            try:
                await _once(stream)
                why = "the control plane closed the stream"
            except AmbientError as error:
                why = str(error)
            self.connected.set(False)
            self.trouble.set(why)
            await asyncio.sleep(self._backoff.next_delay())


async def _once(stream: Callable[[], Awaitable[None]]) -> None:
    try:
        await stream()
    except grpc.aio.AioRpcError as error:
        raise from_status(error) from error
    except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
        raise Unavailable("the channel was closed") from error
    except asyncio.CancelledError as error:
        # grpc.aio also says so when the channel was closed under the stream.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable("the channel was closed") from error
