"""A value that changes, and its readers."""

from __future__ import annotations

import asyncio

from ambient.aio.watch import Watch


def test_a_reader_sees_the_value_now_then_each_newer_one():
    async def scenario():
        watch = Watch(1)
        changes = watch.changes()
        assert await anext(changes) == 1
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        assert not waiting.done()
        watch.set(2)
        assert (await waiting, watch.value) == (2, 2)
        await changes.aclose()

    asyncio.run(scenario())


def test_a_slow_reader_sees_the_newest_value_and_not_each_one():
    async def scenario():
        watch = Watch(1)
        slow = watch.changes()
        await anext(slow)
        for value in (2, 3, 4):
            watch.set(value)
        assert await anext(slow) == 4
        await slow.aclose()

    asyncio.run(scenario())


def test_an_equal_value_wakes_nobody_and_a_new_one_wakes_all():
    async def scenario():
        watch = Watch("a")
        readers = [watch.changes() for _ in range(3)]
        for reader in readers:
            await anext(reader)
        waiting = [asyncio.ensure_future(anext(reader)) for reader in readers]
        await asyncio.sleep(0)
        watch.set("a")
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        watch.set("b")
        assert await asyncio.gather(*waiting) == ["b"] * 3
        for reader in readers:
            await reader.aclose()

    asyncio.run(scenario())
