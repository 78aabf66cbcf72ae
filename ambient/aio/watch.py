"""A value that changes, and those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Watch(Generic[T]):
    """The latest value of something, with one writer and any number of readers in one event loop.

    A slow reader sees the newest value, not each one.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = asyncio.Event()

    @property
    def value(self) -> T:
        """What it is now."""
        return self._value

    def set(self, value: T) -> None:
        """Change it and wake every reader; an equal value wakes nobody."""
        if value == self._value:
            return
        self._value = value
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changes(self) -> AsyncIterator[T]:
        """The value now, then each newer one."""
        while True:
            changed = self._changed
            yield self._value
            await changed.wait()
