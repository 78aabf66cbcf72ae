"""Connections with servers that are kept for the next request: those that are idle, and those that carry several.

Who asks ``take``s one and asks on it at once; if there is none it dials, and ``add``s what it has dialled. Nothing here
waits, dials, or knows what a key says: whoever may share a connection must have the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from ambient.net.http import HttpClient

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Keeping:
    """For how long a connection is used."""

    idle_seconds: float | None = 60.0
    """Without a request under way, no longer; None: without end. Servers close theirs after that time or a longer one."""
    longest_seconds: float | None = None
    """After that it takes no further requests."""
    requests: int = 0
    """It takes so many; 0: without end."""


DEFAULT_KEEPING: Final = Keeping()


class HttpPool(Generic[Key]):
    """Live connections by key. ``freed`` is told the key of each that has room again, and of each that is gone."""

    def __init__(self, freed: Callable[[Key], None] = lambda _: None) -> None:
        self._freed = freed
        self._kept: dict[HttpClient, _Kept[Key]] = {}
        self._counts: dict[Key, int] = {}
        self._ready: dict[Key, list[HttpClient]] = {}
        """Those that have room. The last to be used is the first to be used again, so that the others may grow old."""

    def take(self, key: Key) -> HttpClient | None:
        """A connection that has room, to be asked on before anything else happens; None: there is none."""
        ready = self._ready.get(key)
        if ready:
            for client in reversed(ready):
                if self._kept[client].is_old:
                    client.leave()
                elif client.has_room:
                    return client
        return None

    def add(self, key: Key, client: HttpClient, keeping: Keeping = DEFAULT_KEEPING) -> None:
        """Keep a connection that was just made, and nothing asked on it."""
        self._kept[client] = _Kept(key, client, keeping)
        self._counts[key] = self._counts.get(key, 0) + 1
        client.most_requests = keeping.requests
        client.keeper = self
        self.changed(client)

    def leave(self, chosen: Callable[[Key], bool], within: float | None = None) -> None:
        """Ask nothing more on the connections of the chosen keys; cut those that have not ended after ``within`` seconds."""
        for client, kept in tuple(self._kept.items()):
            if chosen(kept.key):
                client.leave(within)

    def end_idle(self, key: Key) -> bool:
        """End a connection that nothing is under way on; False: there is none."""
        for client in self._ready.get(key, ()):
            if not client.under_way:
                client.leave()
                return True
        return False

    def count(self, key: Key) -> int:
        """How many connections of a key live."""
        return self._counts.get(key, 0)

    def __len__(self) -> int:
        return len(self._kept)

    # What its clients report:

    def changed(self, client: HttpClient) -> None:
        """It has room, or is idle, and was not before; or the other way round."""
        kept = self._kept[client]
        kept.look()
        is_ready = client.has_room
        if is_ready is kept.is_ready:
            return
        if is_ready:
            kept.is_ready = True
            self._ready.setdefault(kept.key, []).append(client)
            self._freed(kept.key)
        else:
            self._not_ready(kept)

    def gone(self, client: HttpClient) -> None:
        """Nothing is left of it."""
        kept = self._kept.pop(client)
        kept.forget()
        if kept.is_ready:
            self._not_ready(kept)
        rest = self._counts.pop(kept.key) - 1
        if rest:
            self._counts[kept.key] = rest
        self._freed(kept.key)

    def _not_ready(self, kept: _Kept[Key]) -> None:
        kept.is_ready = False
        ready = self._ready[kept.key]
        if ready[-1] is kept.client:
            ready.pop()
        else:
            ready.remove(kept.client)
        if not ready:
            del self._ready[kept.key]


class _Kept(Generic[Key]):
    """One connection, and the clock that ends its idleness: set once, and looked at when it rings."""

    __slots__ = ("_clock", "_idle_since", "_keeping", "_loop", "_made", "client", "is_ready", "key")

    def __init__(self, key: Key, client: HttpClient, keeping: Keeping) -> None:
        self.key = key
        self.client = client
        self.is_ready = False
        self._keeping = keeping
        self._loop = asyncio.get_running_loop()
        self._made = self._loop.time()
        self._idle_since: float | None = None
        self._clock: asyncio.TimerHandle | None = None

    @property
    def is_old(self) -> bool:
        """Whether it is to take no further requests."""
        longest = self._keeping.longest_seconds
        return longest is not None and self._loop.time() - self._made >= longest

    def look(self) -> None:
        """Note whether it is idle."""
        if self.client.under_way:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._loop.time()
            if self._clock is None:
                self._ring()

    def forget(self) -> None:
        """It is gone."""
        if self._clock is not None:
            self._clock.cancel()

    def _ring(self) -> None:
        self._clock = None
        if self._idle_since is None or self._keeping.idle_seconds is None:
            return
        left = self._idle_since + self._keeping.idle_seconds - self._loop.time()
        if left > 0:
            self._clock = self._loop.call_later(left, self._ring)
        else:
            self.client.leave()
