"""Workloads that are healthy or not: by their operator's word, and by probes of real servers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from ipaddress import ip_address

import pytest

from ambient.core.errors import ConfigError
from ambient.core.model.pod import Pod, Probe
from ambient.node.pods import Local
from ambient.node.probes import Probes
from ambient.node.source import AtPath
from ambient.rpc import zds

LOOPBACK = (ip_address("127.0.0.1"),)


def told(proxy):
    return [order.info.healthy for order in proxy.orders if isinstance(order, zds.AddWorkload)]


def test_an_operators_word_reaches_the_proxy_and_survives_the_daemon(node):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        proxy = await world.proxy()
        await proxy.snapshot()
        await world.add()
        await world.health(healthy=False)
        await world.health(healthy=False)
        assert told(proxy) == [True, False]
        assert (await world.listed())["a"]["healthy"] is False
        assert world.table()["a"]["healthy"] is False
        await world.restart()
        assert (await world.listed())["a"]["healthy"] is False
        await world.health(healthy=True)
        assert (await world.listed())["a"]["healthy"] is True

    node(scenario)


def test_what_a_probe_finds_out_is_not_the_operators_to_say(node):
    async def scenario(world):
        world.machine.space("/ns/a", addresses=LOOPBACK)
        await world.start()
        await world.add(probe="tcp:1")
        assert (await world.listed())["a"]["healthy"] is False, "it has not answered yet"
        with pytest.raises(ConfigError, match="is found out by its probe tcp:1; add it anew without one"):
            await world.health(healthy=True)

    node(scenario)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"probe": "tcp:x"}, "probe 'tcp:x' is not tcp:PORT"),
        ({"probe": "tcp:1", "cgroup": None}, "has a probe and no cgroup"),
    ],
    ids=["bad-probe", "no-cgroup"],
)
def test_a_probe_that_cannot_be_is_refused(node, given, sentence):
    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        with pytest.raises(ConfigError, match=sentence):
            await world.add(**given)
        assert await world.listed() == {}

    node(scenario)


@contextlib.asynccontextmanager
async def serving(answer=b"HTTP/1.1 200 OK\r\n\r\n"):
    """A server on loopback that answers so; None: never."""

    ended = []

    async def serve(reader, writer):
        ended.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if answer is None:
                await reader.read()
            else:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*ended)


class Asked:
    """Probes of one workload, and what they tell."""

    def __init__(self, machine, probe, healthy):
        space = machine.space("/ns/a")
        pod = Pod(
            "u", "a", "shop", "sa", space.cookie, LOOPBACK, cgroup="/cg/a", probe=probe, healthy=healthy
        )
        self.local = Local(pod, AtPath("/ns/a"), 0, machine.netns_at("/ns/a"), None)
        self.news = []
        self.probes = Probes(lambda: {"u": self.local}, machine, self._found)

    async def _found(self, uid, *, healthy):
        self.news.append(healthy)
        self.local = replace(self.local, pod=replace(self.local.pod, healthy=healthy))

    async def ask(self, times):
        for _ in range(times):
            await self.probes.ask()
        return self.news


@pytest.mark.parametrize("path", [None, "/healthz"], ids=["tcp", "http"])
def test_a_server_that_comes_and_goes(machine, path):
    async def scenario():
        async with serving() as port:
            asked = Asked(machine, Probe(port, path), healthy=False)
            assert await asked.ask(2) == [True]
        assert await asked.ask(2) == [True]
        assert await asked.ask(2) == [True, False]

    asyncio.run(scenario())


def test_one_that_cannot_be_asked_is_as_it_was(machine, monkeypatch):
    def no_descriptors(_netns, _family):
        raise OSError(24, "Too many open files")

    async def scenario():
        asked = Asked(machine, Probe(1), healthy=True)
        monkeypatch.setattr(machine, "socket_in", no_descriptors)
        assert await asked.ask(5) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 503 no\r\n\r\n", b"nonsense", b"", None],
    ids=["503", "nonsense", "nothing", "silence"],
)
def test_an_answer_that_is_none(machine, monkeypatch, answer):
    monkeypatch.setattr("ambient.node.probes._ANSWER_SECONDS", 0.1)

    async def scenario():
        async with serving(answer) as port:
            asked = Asked(machine, Probe(port, "/"), healthy=True)
            assert await asked.ask(3) == [False]

    asyncio.run(scenario())
