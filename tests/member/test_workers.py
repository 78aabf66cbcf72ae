"""The two ends of a worker's channel: what either does when the other dies, stalls, or has much to say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ambient.aio import packets
from ambient.aio.backoff import Backoff
from ambient.aio.packets import PacketSocket
from ambient.aio.tasks import Tasks
from ambient.core.model.authorization import Action, Authorization, Match, Scope, StringMatch, StringMatchKind
from ambient.core.observation import LABELS
from ambient.member import messages, workers
from ambient.member.mesh import in_packets
from ambient.member.workers import Post, Workers
from ambient.proxy.worker import Worker
from ambient.rpc import encoding
from ambient.rpc.wire import Update
from ambient.telemetry.access import AccessLog
from ambient.telemetry.metrics import Totals, Traffic

DESERTER = """
import os, socket, sys, time
channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
channel.connect(sys.argv[1])
head = b'["Hello",{"index":0,"pid":%d,"retired":false,"pods":{}}]' % os.getpid()
channel.send(b"%d\\n%b" % (len(head), head))
channel.recv(1)
channel.close()
time.sleep(30)
"""


class State:
    """Has one thing to tell whoever joins."""

    def welcome(self, post: Post, *, retired: bool) -> None:
        post(messages.CredentialsForgotten("nobody"), b"", ())

    def heard(self, message: messages.Message, payload: bytes) -> None:
        raise TypeError(f"nobody takes {message}")


class Parent:
    def __init__(self, path: Path, script: str = "import time; time.sleep(30)") -> None:
        self.path = str(path / "workers.sock")
        self.crashes: list[BaseException] = []
        self.tasks = Tasks(lambda _, error: self.crashes.append(error))
        self.workers = Workers(
            self.path,
            lambda _: [sys.executable, "-c", script, self.path],
            State(),
            self.tasks,
            lambda: Backoff(0.05, 0.1, lambda: 0.5),
            lambda _: None,
        )

    async def member(self) -> PacketSocket:
        """A worker that is played here."""
        channel = await PacketSocket.connect(self.path)
        await channel.send(messages.pack(messages.Hello(0, os.getpid(), retired=False)))
        await until(lambda: self.workers.serving == 1)
        return channel


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(main())


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


async def with_parent(parent: Parent, scenario: Awaitable[None], count: int = 0) -> None:
    parent.workers.start(count)
    try:
        await scenario
    finally:
        await parent.workers.stop(0.1)
        await parent.tasks.stop()
    assert parent.crashes == []


@pytest.mark.parametrize("first_words", [None, b"?", messages.pack(messages.Scrape(1))])
def test_who_connects_and_does_not_say_hello_harms_nobody(tmp_path: Path, first_words: bytes | None) -> None:
    async def scenario() -> None:
        parent = Parent(tmp_path)

        async def visit() -> None:
            visitor = await PacketSocket.connect(parent.path)
            if first_words is not None:
                await visitor.send(first_words)
                assert await visitor.receive() == (b"", [])
            visitor.close()
            (await parent.member()).close()

        await with_parent(parent, visit())

    run(scenario)


def test_counters_of_any_size_arrive(tmp_path: Path) -> None:
    async def scenario() -> None:
        parent, traffic = Parent(tmp_path), Traffic()
        for number in range(2000):
            traffic.counts(tuple(f"{name}-{number}" for name in LABELS)).opened += 1

        async def tell() -> None:
            channel = await parent.member()
            for packet in messages.packets(messages.Scraped(1, lines_lost=0), traffic.report()):
                assert len(packet) < packets.MOST_BYTES
                await channel.send(packet)
            await until(lambda: len(parent.workers.totals.table()) == 2000)
            channel.close()

        await with_parent(parent, tell())

    run(scenario)


def test_what_workers_have_is_added_up_and_goes_with_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        parent = Parent(tmp_path)

        async def tell() -> None:
            first = await parent.member()
            second = await PacketSocket.connect(parent.path)
            await second.send(messages.pack(messages.Hello(1, os.getpid(), retired=True)))
            for channel, holding in ((first, {"tasks": 4, "requests": 0}), (second, {"tasks": 3})):
                told = messages.Scraped(1, lines_lost=0, holding=holding)
                await channel.send(messages.pack(told, Traffic().report()))
            await until(lambda: parent.workers.holding() == {"tasks": 7, "requests": 0})
            second.close()
            await until(lambda: parent.workers.holding() == {"tasks": 4, "requests": 0})
            first.close()
            await until(lambda: parent.workers.holding() == {})

        await with_parent(parent, tell())

    run(scenario)


def test_a_worker_that_answers_no_more_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(workers, "SCRAPE_SECONDS", 0.01)
    monkeypatch.setattr(workers.os, "kill", lambda pid, _: killed.append(pid))

    async def scenario() -> None:
        parent = Parent(tmp_path)

        async def stall() -> None:
            channel = await parent.member()
            await until(lambda: bool(killed))
            assert set(killed) == {os.getpid()}
            channel.close()

        await with_parent(parent, stall())

    run(scenario)


def test_a_worker_that_lost_its_channel_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_END_SECONDS", 0.1)
    started: list[int] = []

    async def scenario() -> None:
        parent = Parent(tmp_path, DESERTER)
        command = parent.workers._command
        parent.workers._command = lambda index: (started.append(index), command(index))[1]
        deserters = set()

        def replaced() -> bool:
            deserters.update(parent.workers._processes.values())
            return len(started) >= 2

        await with_parent(parent, until(replaced), count=1)
        assert parent.workers.deaths == 0
        for deserter in deserters:
            with contextlib.suppress(ProcessLookupError):
                deserter.kill()
            await deserter.wait()

    run(scenario)


class Heir:
    """A parent that is played, and a real worker."""

    def __init__(self, path: Path) -> None:
        self.listener = packets.listen(str(path / "workers.sock"))
        self.listener.setblocking(False)
        self.worker = Worker(0, str(path / "workers.sock"), AccessLog(os.open(os.devnull, os.O_WRONLY)))
        self.running = asyncio.create_task(self.worker.run())

    async def meet(self) -> PacketSocket:
        accepted, _ = await asyncio.get_running_loop().sock_accept(self.listener)
        channel = PacketSocket(accepted)
        hello, _ = messages.unpack((await channel.receive())[0])
        assert isinstance(hello, messages.Hello)
        return channel

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self.worker.tasks.stop()
        self.listener.close()


def test_a_policy_larger_than_a_packet_reaches_a_worker(tmp_path: Path) -> None:
    names = tuple(StringMatch(StringMatchKind.EXACT, f"cluster.local/ns/shop/sa/{i:06}") for i in range(9000))
    large = Authorization("large", "shop", Scope.NAMESPACE, Action.ALLOW, (((Match(principals=names),),),))

    async def scenario() -> None:
        heir = Heir(tmp_path)
        channel = await heir.meet()
        for message, payload in in_packets(Update((encoding.encode_resource(large),))):
            assert len(payload) > packets.MOST_BYTES
            for packet in messages.packets(message, payload):
                await channel.send(packet)
        assert messages.unpack((await channel.receive())[0])[0] == messages.Synced()
        assert dict(heir.worker._world.snapshot.authorizations) == {large.key: large}
        channel.close()
        await heir.end()

    run(scenario)


def test_a_worker_that_cannot_follow_its_parent_ends(tmp_path: Path) -> None:
    async def scenario() -> None:
        heir = Heir(tmp_path)
        channel = await heir.meet()
        await channel.send(messages.pack(messages.MeshChanged(more=False), b"\xff\xff"))
        with pytest.raises(Exception, match=r".+"):
            await heir.running
        channel.close()
        await heir.end()

    run(scenario)


def test_connections_that_come_and_go_do_not_pile_up_before_a_parent_that_stalls(tmp_path: Path) -> None:
    async def scenario() -> None:
        heir = Heir(tmp_path)
        channel = await heir.meet()
        await until(lambda: heir.worker._outbox is not None)
        for number in range(10_000):
            heir.worker._count_changed("local/a", number % 2)
        assert heir.worker._outbox is not None
        assert heir.worker._outbox.qsize() <= 1
        last, _ = messages.unpack((await channel.receive())[0])
        assert last == messages.PodConnections("local/a", 0)
        channel.close()
        await heir.end()

    run(scenario)


def test_the_next_parent_hears_all_counters_and_a_leaving_worker_tells_its_last(tmp_path: Path) -> None:
    async def scenario() -> None:
        heir = Heir(tmp_path)
        labels = tuple(f"{name}-x" for name in LABELS)
        heir.worker.traffic.counts(labels).opened = 3
        totals = Totals()

        async def scraped(channel: PacketSocket, ask: bytes | None) -> None:
            if ask is not None:
                await channel.send(ask)
            message, payload = messages.unpack((await channel.receive())[0])
            assert isinstance(message, messages.Scraped)
            totals.update(1, payload)

        first = await heir.meet()
        await scraped(first, messages.pack(messages.Scrape(1)))
        heir.worker.retired = True  # As if it carried something: it follows the next parent.
        heir.worker.end_if_idle = lambda: None  # type: ignore[method-assign]
        first.close()
        second = await heir.meet()
        totals = Totals()
        await scraped(second, messages.pack(messages.Scrape(1)))
        assert totals.table()[labels][0] == 3
        heir.worker.traffic.counts(labels).closed = 3
        heir.worker._done.set()
        await scraped(second, None)
        assert totals.table()[labels][:2] == (3, 3)
        second.close()
        await heir.end()

    run(scenario)
