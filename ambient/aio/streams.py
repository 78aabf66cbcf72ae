"""Servers of streams that wait, and do not spin, while no descriptor is to be had.

asyncio's own tries a hundred times at once, says so each time, and doubles its tries (CPython before 3.13).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from ambient.aio.tasks import Crash, Tasks

PAUSE_SECONDS: Final = 0.5

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class StreamServer:
    """Runs ``serve`` for each connection to ``listeners``, which are its own.

    ``failed`` hears of a ``serve`` that ended with an error, and once of each time in which none can be accepted.
    """

    def __init__(self, listeners: Iterable[socket.socket], serve: Serve, failed: Crash, limit: int) -> None:
        self._listeners = tuple(listeners)
        self._serve, self._failed, self._limit = serve, failed, limit
        self._connections = Tasks(failed)

    async def run(self) -> None:
        """Until cancelled; what is being served then is cut."""
        try:
            await asyncio.gather(*(self._accept(listener) for listener in self._listeners))
        finally:
            for listener in self._listeners:
                listener.close()
            await self._connections.stop()

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        told = False
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if not told:
                    told = True
                    self._failed("accept", error)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            told = False
            self._connections.start(self._converse(accepted), "connection")

    async def _converse(self, accepted: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=accepted, limit=self._limit)
        except OSError:
            accepted.close()
            return
        try:
            await self._serve(reader, writer)
        finally:
            with contextlib.suppress(OSError):
                writer.close()
