import asyncio
import functools

import pytest

from ambient.aio.places import Places


def running(test):
    """In an event loop of its own."""

    @functools.wraps(test)
    def run(**arguments):
        asyncio.run(test(**arguments))

    return run


class Room:
    """Who came in, in order; each stays until the test lets it go."""

    def __init__(self, count):
        self.places = Places(count)
        self.entered = []
        self.inside = {}

    def send(self, name, *, urgent=False):
        async def visit():
            async with self.places.place(urgent=urgent):
                self.entered.append(name)
                self.inside[name] = asyncio.Event()
                await self.inside[name].wait()

        return asyncio.create_task(visit())

    async def leave(self, name):
        self.inside[name].set()
        await settled()


async def settled():
    for _ in range(5):
        await asyncio.sleep(0)


@running
async def test_no_more_are_inside_than_there_are_places():
    room = Room(2)
    tasks = [room.send(name) for name in "abc"]
    await settled()
    assert room.entered == ["a", "b"]
    await room.leave("a")
    assert room.entered == ["a", "b", "c"]
    for name in "bc":
        await room.leave(name)
    await asyncio.gather(*tasks)


@running
async def test_the_urgent_go_before_those_who_came_earlier():
    room = Room(1)
    tasks = [room.send("first")]
    await settled()
    tasks += [room.send("a"), room.send("b"), room.send("x", urgent=True), room.send("y", urgent=True)]
    await settled()
    for name in ("first", "x", "y", "a", "b"):
        await room.leave(name)
    await asyncio.gather(*tasks)
    assert room.entered == ["first", "x", "y", "a", "b"]


@pytest.mark.parametrize("when", ["waiting", "called"])
@running
async def test_who_gives_up_takes_no_place_with_it(when):
    room = Room(1)
    first = room.send("first")
    await settled()
    quitter, patient = room.send("quitter"), room.send("patient")
    await settled()
    if when == "called":
        room.inside["first"].set()
        await asyncio.sleep(0)  # Its place is passed on, and the next has not run yet.
    quitter.cancel()
    await room.leave("first")
    assert room.entered == ["first", "patient"]
    await room.leave("patient")
    await asyncio.gather(first, patient)
    late = room.send("late")
    await settled()
    await room.leave("late")
    await late
