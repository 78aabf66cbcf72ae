"""Who watches the configuration: each hears of every change that concerns it, or is told to read everything anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.rpc.configuration import Bookmark, Event, Gone, Put
from ambient.rpc.errors import Busy, Relist

if TYPE_CHECKING:
    from ambient.rpc.configuration import ObjectName, Wanted

MOST_BEHIND: Final = 10_000
"""Events that a watcher may have to take still; then it has fallen behind."""
_MOST_WATCHERS: Final = 1000
BOOKMARK_SECONDS: Final = 30.0

Change: TypeAlias = Put | Gone


class Watchers:
    """All watchers of one configuration."""

    def __init__(self) -> None:
        self._watchers: set[_Watcher] = set()

    def tell(self, changes: Iterable[Change], revision: int) -> None:
        """The configuration has come to ``revision``."""
        told = tuple(changes)
        for watcher in self._watchers:
            watcher.tell(told, revision)

    async def watch(
        self, wanted: Wanted, backlog: Callable[[], tuple[Iterable[Event], int]]
    ) -> AsyncIterator[Event]:
        """First what ``backlog`` says, with the revision that it leads to; then each change. Raises Relist."""
        if len(self._watchers) >= _MOST_WATCHERS:
            raise Busy(f"there are {_MOST_WATCHERS} watchers already")
        events, revision = backlog()
        watcher = _Watcher(wanted, revision)
        self._watchers.add(watcher)
        try:
            for event in events:
                yield event
            while True:
                yield await watcher.next()
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self, wanted: Wanted, revision: int) -> None:
        self._wanted = wanted
        self._told = self._revision = revision
        self._queue: deque[Event] = deque()
        self._is_behind = False
        self._wake = asyncio.Event()

    def tell(self, changes: tuple[Change, ...], revision: int) -> None:
        concerning = [change for change in changes if concerns(self._wanted, name_of(change))]
        # Until the last of them is told, whoever comes back must hear all of them again.
        self._queue.extend(replace(change, revision=self._revision) for change in concerning[:-1])
        self._queue.extend(concerning[-1:])
        self._revision = revision
        if len(self._queue) > MOST_BEHIND:
            self._is_behind = True
            self._queue.clear()
        if self._queue or self._is_behind:
            self._wake.set()

    async def next(self) -> Event:
        while True:
            if self._is_behind:
                raise Relist(
                    f"this watcher had more than {MOST_BEHIND} events to take still: list again and watch from there"
                )
            if self._queue:
                event = self._queue.popleft()
                self._told = event.revision
                return event
            self._wake.clear()
            try:
                async with asyncio.timeout(BOOKMARK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                if self._told != self._revision:
                    self._told = self._revision
                    return Bookmark(self._revision)


def name_of(change: Change) -> ObjectName:
    """What has changed."""
    match change:
        case Put(stored, _):
            return stored.name
        case Gone(name, _):
            return name


def concerns(wanted: Wanted, name: ObjectName) -> bool:
    """Whether an object of this name is meant."""
    return wanted.kind in {"", name.kind} and wanted.namespace in {"", name.namespace}
