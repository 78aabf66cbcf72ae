"""Background tasks and their owner."""

from __future__ import annotations

import asyncio

from ambient.aio.tasks import Tasks


def test_the_owner_hears_of_a_crash_by_name_and_of_nothing_else():
    async def scenario():
        crashes = []
        tasks = Tasks(lambda name, error: crashes.append((name, str(error))))

        async def fail():
            raise RuntimeError("out of luck")

        async def succeed():
            pass

        tasks.start(fail(), "unlucky")
        tasks.start(succeed(), "lucky")
        tasks.start(asyncio.sleep(60), "cancelled").cancel()
        assert len(tasks) == 3
        await asyncio.sleep(0.01)
        assert crashes == [("unlucky", "out of luck")]
        assert len(tasks) == 0

    asyncio.run(scenario())


def test_stopping_waits_for_what_tasks_do_at_their_end_and_for_what_they_start_then():
    async def scenario():
        ended = []
        tasks = Tasks(lambda name, error: ended.append(error))

        async def last_words():
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                ended.append("said")

        async def heir():
            try:
                await asyncio.sleep(60)
            finally:
                tasks.start(last_words(), "late")
                await asyncio.sleep(0)
                ended.append("left")

        tasks.start(heir(), "heir")
        await asyncio.sleep(0)
        await tasks.stop()
        assert len(tasks) == 0
        assert sorted(ended) == ["left", "said"]

    asyncio.run(scenario())


def test_idle_is_told_when_the_last_task_has_ended():
    async def scenario():
        idle = []
        tasks = Tasks(lambda *_: None, lambda: idle.append(len(tasks)))
        gates = [asyncio.Event() for _ in range(2)]
        for gate in gates:
            tasks.start(gate.wait(), "waiting")
        for gate in gates:
            assert idle == []
            gate.set()
            await asyncio.sleep(0.01)
        assert idle == [0]

    asyncio.run(scenario())
