"""While no proxy is there for long, connections of captured workloads are reset: an error is better than a silence."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final

from ambient.node.pods import Pods
from ambient.telemetry import log

PATIENCE_SECONDS: Final = 10.0
"""How long a connection waits for the next proxy: longer than a restart takes."""
POLL_SECONDS: Final = 0.2
"""Asked for, not waited for: a listener belongs to the proxies, and the daemon holds no watch on it."""
IGNORED_POLLS: Final = 5
"""A listener that had connections waiting at so many polls in a row has nobody who accepts them. Workers do for as long
as they live, also while their parent cannot speak to the daemon."""
BATCH: Final = 4096
"""A listener's backlog."""
_RESET: Final = struct.pack("ii", 1, 0)


class Refuser:
    """Accepts and resets what waits in the listeners, as long as nobody else does."""

    def __init__(self, pods: Pods, away_seconds: Callable[[], float]) -> None:
        self._pods, self._away_seconds = pods, away_seconds
        self._ignored: dict[socket.socket, int] = {}
        """At how many polls in a row connections waited."""
        self.refused = 0
        """Connections, since the daemon was started."""

    async def run(self) -> None:
        """Forever."""
        refusing = False
        while True:
            await asyncio.sleep(POLL_SECONDS)
            was, refusing = refusing, self._away_seconds() > PATIENCE_SECONDS
            if refusing and not was:
                log.warning(
                    "no proxy is connected: new connections are refused", after_seconds=PATIENCE_SECONDS
                )
            elif was and not refusing:
                log.info("a proxy is back: connections are carried again", refused=self.refused)
            if refusing:
                self.refuse()
            else:
                self._ignored.clear()

    def refuse(self) -> None:
        """Reset all that waits where nobody has accepted for a while."""
        listeners = [listener for local in self._pods for listener in (local.listeners or {}).values()]
        self._ignored = {
            listener: self._ignored.get(listener, 0) + 1 for listener in listeners if _waiting(listener)
        }
        for listener, polls in self._ignored.items():
            if polls >= IGNORED_POLLS:
                self.refused += _reset_waiting(listener)


def _waiting(listener: socket.socket) -> int:
    """How many connections wait to be accepted: the kernel tells it in the place of unacknowledged segments."""
    (waiting,) = struct.unpack_from("I", listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32), 24)
    return int(waiting)


def _reset_waiting(listener: socket.socket) -> int:
    for count in range(BATCH):
        try:
            waiting, _ = listener.accept()
        except BlockingIOError:
            return count
        except ConnectionAbortedError:
            continue
        except OSError:
            return count  # No descriptors are left: those that wait do so a little longer.
        with contextlib.suppress(OSError):  # It has gone by itself.
            waiting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        waiting.close()
    return BATCH
