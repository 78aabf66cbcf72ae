"""Which connection the next request takes, and when one is let go: by script, with a clock that jumps."""

from __future__ import annotations

import asyncio

from net.scripted import GET, OK, FakeEnd, Heard, ScriptedClient
from net.travel import travel

from ambient.core.http.machine import Waiting
from ambient.core.http.message import MessageEnded, ResponseCame
from ambient.net.http import HttpClient
from ambient.net.http_pool import HttpPool, Keeping


class Made:
    """A client that was dialled, and what a test needs to move it."""

    def __init__(self, pool: HttpPool[str], key: str, keeping: Keeping | None = None, most: int = 1) -> None:
        self.machine = ScriptedClient()
        self.machine.single = most == 1
        self.machine.state = Waiting.IDLE
        self.end = FakeEnd()
        self.client = HttpClient(self.end, self.machine)
        pool.add(key, self.client, keeping or Keeping())

    def ask(self) -> int:
        self.machine.state = Waiting.MESSAGE
        return self.client.request(GET, Heard(), ended=True).id

    def answer(self, stream: int) -> None:
        if self.client.under_way == 1:
            self.machine.state = Waiting.IDLE
        self.machine.room = not any(what == ("leave",) for what in self.machine.said)
        self.machine.over = not self.machine.room and self.client.under_way == 1
        self.machine.script.append([ResponseCame(stream, OK), MessageEnded(stream)])
        self.end.say(b"answer")

    def close(self) -> None:
        """The server does."""
        self.machine.over = True
        assert self.end.relay is not None
        self.end.relay.finished(self.end)
        self.end.relay.gone(self.end, None)


def test_a_connection_is_taken_again_when_it_has_answered() -> None:
    async def scenario() -> None:
        freed: list[str] = []
        pool = HttpPool(freed.append)
        assert pool.take("a") is None
        made = Made(pool, "a")
        assert freed == ["a"]
        assert pool.take("a") is made.client
        assert pool.take("b") is None
        stream = made.ask()
        assert pool.take("a") is None
        made.answer(stream)
        assert pool.take("a") is made.client
        assert freed == ["a", "a"]
        assert (pool.count("a"), pool.count("b"), len(pool)) == (1, 0, 1)

    travel(scenario())


def test_the_last_that_was_used_is_the_next() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        made = [Made(pool, "a") for _ in range(3)]
        streams = [one.ask() for one in made]
        for number in (1, 2, 0):
            made[number].answer(streams[number])
        for number in (0, 2, 1):
            assert pool.take("a") is made[number].client
            made[number].ask()
        assert pool.take("a") is None

    travel(scenario())


def test_one_that_has_room_for_more_is_shared() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        made = Made(pool, "a", most=100)
        first = made.ask()
        made.ask()
        assert pool.take("a") is made.client
        made.machine.room = False
        assert pool.take("a") is None
        made.answer(first)
        assert pool.take("a") is made.client

    travel(scenario())


def test_one_that_its_server_closes_is_not_taken() -> None:
    async def scenario() -> None:
        freed: list[str] = []
        pool = HttpPool(freed.append)
        kept, lost = Made(pool, "a"), Made(pool, "a")
        lost.close()
        assert pool.take("a") is kept.client
        assert (pool.count("a"), len(freed)) == (1, 3)
        kept.close()
        assert pool.take("a") is None
        assert (pool.count("a"), len(pool)) == (0, 0)
        assert (pool._ready, pool._counts, pool._kept) == ({}, {}, {})

    travel(scenario())


def test_one_that_breaks_under_a_request_is_forgotten() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        made = Made(pool, "a")
        made.ask()
        made.client.cut("connection reset by peer")
        assert pool.take("a") is None
        assert (pool._ready, pool._counts, pool._kept) == ({}, {}, {})

    travel(scenario())


def test_one_that_is_idle_is_let_go_after_its_time() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        unused, used = Made(pool, "a"), Made(pool, "a")
        for _ in range(10):
            await asyncio.sleep(20)
            assert pool.take("a") is used.client
            used.answer(used.ask())
        assert unused.end.done == ["start", "finish", "reset"]
        assert pool.count("a") == 1
        await asyncio.sleep(50)
        assert pool.take("a") is used.client
        await asyncio.sleep(20)
        assert pool.take("a") is None
        assert len(pool) == 0

    travel(scenario())


def test_one_that_is_busy_is_not_idle_however_long() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        made = Made(pool, "a", Keeping(idle_seconds=5))
        stream = made.ask()
        await asyncio.sleep(1000)
        assert pool.count("a") == 1
        made.answer(stream)
        await asyncio.sleep(4)
        assert pool.take("a") is made.client

    travel(scenario())


def test_one_may_be_idle_without_end() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        made = Made(pool, "a", Keeping(idle_seconds=None))
        await asyncio.sleep(1_000_000)
        assert pool.take("a") is made.client

    travel(scenario())


def test_one_takes_so_many_requests_and_then_leaves() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        made = Made(pool, "a", Keeping(requests=3), most=100)
        made.ask()
        made.answer(made.ask())
        assert pool.take("a") is made.client
        last = made.ask()
        assert ("leave",) in made.machine.said
        assert pool.take("a") is None
        made.answer(1)
        assert made.end.done == []
        made.answer(last)
        assert made.end.done == ["finish"]

    travel(scenario())


def test_one_that_is_old_takes_no_more_and_ends_what_it_has() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        old = Made(pool, "a", Keeping(longest_seconds=100), most=100)
        stream = old.ask()
        await asyncio.sleep(99)
        young = Made(pool, "a", Keeping(longest_seconds=100), most=100)
        old.answer(old.ask())
        await asyncio.sleep(2)
        young.machine.room = False
        assert pool.take("a") is None
        await asyncio.sleep(0)
        assert ("leave",) in old.machine.said
        assert pool.count("a") == 2
        old.answer(stream)
        await asyncio.sleep(20)
        assert pool.count("a") == 1

    travel(scenario())


def test_the_chosen_leave() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        idle, busy, other = Made(pool, "a"), Made(pool, "a"), Made(pool, "b")
        busy.ask()
        pool.leave(lambda key: key == "a", within=30)
        await asyncio.sleep(0)
        assert idle.end.done == ["start", "finish"]
        assert busy.end.done == ["start"]
        assert pool.take("a") is None
        assert pool.take("b") is other.client
        await asyncio.sleep(31)
        assert busy.end.done == ["start", "reset"]
        assert pool.count("a") == 0

    travel(scenario())


def test_what_is_used_in_quick_succession_sets_no_clocks() -> None:
    async def scenario() -> None:
        pool = HttpPool[str]()
        made = Made(pool, "a")
        loop = asyncio.get_running_loop()
        before = len(loop._scheduled)  # type: ignore[attr-defined]
        for _ in range(1000):
            made.answer(made.ask())
        assert len(loop._scheduled) == before  # type: ignore[attr-defined]

    travel(scenario())
