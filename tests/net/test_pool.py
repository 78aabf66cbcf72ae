"""Which connections share a tunnel, how many fit, and when one that nobody uses is let go; with real TLS."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
import uvloop
from net.harness import SERVER, Fabric, fabric

from ambient.core.hbone import TunnelRequested
from ambient.core.model.identity import SpiffeId
from ambient.net import pool
from ambient.net.pool import PoolKey
from ambient.net.relay import End
from ambient.net.tunnel import MOST_STREAMS, ServerTunnel, Tunnel

OTHER = SpiffeId("cluster.local", "shop", "other")


class Ward:
    """A server that says yes to everything and remembers what was asked for on which tunnel."""

    def __init__(self, mesh: Fabric) -> None:
        self.mesh = mesh
        self.asked: defaultdict[Tunnel, set[str]] = defaultdict(set)
        mesh._requested = self._accept  # type: ignore[method-assign]

    def _accept(self, tunnel: ServerTunnel, request: TunnelRequested) -> None:
        self.asked[tunnel].add(request.authority)
        tunnel.accept(request.stream)

    async def open(self, key: PoolKey | None = None, authority: str = "10.0.0.1:80") -> End:
        return await self.mesh.pool.open(key or self.mesh.key(), authority, [])

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.01)


def run(scenario: Callable[[Ward], Awaitable[None]]) -> None:
    async def main() -> None:
        async with fabric(lambda reader, writer: asyncio.sleep(0)) as mesh:
            await asyncio.wait_for(scenario(Ward(mesh)), 60)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_tunnel_is_used_again_after_its_last_stream_has_ended() -> None:
    async def scenario(ward: Ward) -> None:
        for _ in range(5):
            (await ward.open()).reset()
        assert (ward.mesh.dials, ward.mesh.pool.tunnels) == (1, 1)

    run(scenario)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"source_uid": "another"}, id="workload"),
        pytest.param({"source_identity": str(OTHER)}, id="identity"),
        pytest.param({"source_ip": ip_address("127.0.0.2")}, id="address"),
        pytest.param({"source_ip": None}, id="no-address"),
        pytest.param({"expect": frozenset({str(SERVER), str(OTHER)})}, id="wider-expectation"),
    ],
)
def test_who_differs_in_anything_gets_a_tunnel_of_its_own(change: dict[str, object]) -> None:
    async def scenario(ward: Ward) -> None:
        await ward.open()
        await ward.open(replace(ward.mesh.key(), **change))
        assert (ward.mesh.dials, ward.mesh.pool.tunnels) == (2, 2)

    run(scenario)


def test_keys_with_one_hash_are_still_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PoolKey, "__hash__", lambda _: 7)

    async def scenario(ward: Ward) -> None:
        for number in range(5):
            await ward.open(replace(ward.mesh.key(), source_uid=str(number)), f"10.0.0.{number}:80")
        assert ward.mesh.dials == 5
        assert sorted(map(len, ward.asked.values())) == [1] * 5

    run(scenario)


def test_a_burst_of_one_source_makes_as_many_tunnels_as_it_needs() -> None:
    async def scenario(ward: Ward) -> None:
        ends = await asyncio.gather(*(ward.open() for _ in range(2 * MOST_STREAMS + 1)))
        assert (ward.mesh.dials, ward.mesh.pool.tunnels) == (3, 3)
        assert sorted(tunnel.streams for tunnel in ward.mesh.pool._keys) == [1, MOST_STREAMS, MOST_STREAMS]
        ends[0].reset()
        await ward.open()
        assert ward.mesh.dials == 3

    run(scenario)


def test_many_sources_at_once_make_one_tunnel_each() -> None:
    async def scenario(ward: Ward) -> None:
        keys = [replace(ward.mesh.key(), source_uid=str(number)) for number in range(20)]
        random.seed(7)
        wanted = [(key, f"10.0.0.{key.source_uid}:80") for key in keys for _ in range(20)]
        random.shuffle(wanted)
        await asyncio.gather(*(ward.open(*one) for one in wanted))
        assert (ward.mesh.dials, ward.mesh.pool.tunnels) == (20, 20)
        assert all(len(authorities) == 1 for authorities in ward.asked.values())

    run(scenario)


def test_many_clients_of_many_sources_come_and_go_and_nothing_is_crossed_or_left() -> None:
    async def scenario(ward: Ward) -> None:
        keys = [replace(ward.mesh.key(), source_uid=str(number)) for number in range(5)]
        chance = random.Random(11)

        async def client() -> None:
            for _ in range(20):
                key = chance.choice(keys)
                opening = asyncio.ensure_future(ward.open(key, f"10.0.0.{key.source_uid}:80"))
                if chance.random() < 0.2:
                    await asyncio.sleep(chance.random() / 1000)
                    opening.cancel()
                try:
                    end = await opening
                except asyncio.CancelledError:
                    continue
                await asyncio.sleep(chance.random() / 1000)
                end.reset()

        await asyncio.gather(*(client() for _ in range(20)))
        assert ward.mesh.dials == len(keys)
        assert all(len(authorities) == 1 for authorities in ward.asked.values())
        await ward.until(lambda: ward.mesh.live() == 0)

    run(scenario)


def test_a_tunnel_whose_server_leaves_takes_no_more_and_keeps_what_it_has() -> None:
    async def scenario(ward: Ward) -> None:
        await ward.open()
        [first] = ward.mesh.pool._keys
        for tunnel in ward.mesh.tunnels:
            tunnel.leave()
        await ward.until(lambda: first.leaving)
        await ward.open()
        assert (ward.mesh.dials, ward.mesh.pool.tunnels, first.streams) == (2, 2, 1)

    run(scenario)


def test_a_tunnel_that_nobody_uses_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.3)

    async def scenario(ward: Ward) -> None:
        (await ward.open()).reset()
        assert ward.mesh.pool.tunnels == 1
        await ward.until(lambda: ward.mesh.pool.tunnels == 0)
        await ward.open()
        assert ward.mesh.dials == 2

    run(scenario)


def test_a_tunnel_with_one_lasting_stream_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.2)

    async def scenario(ward: Ward) -> None:
        lasting = await ward.open()
        for _ in range(3):
            (await ward.open()).reset()
            await asyncio.sleep(0.3)
        assert (ward.mesh.dials, ward.mesh.pool.tunnels, ward.mesh.live()) == (1, 1, 2)
        lasting.reset()
        await ward.until(lambda: ward.mesh.pool.tunnels == 0)

    run(scenario)


def test_a_dial_that_fails_fails_for_all_who_wait_and_is_tried_anew_by_the_next() -> None:
    async def scenario(ward: Ward) -> None:
        wrong = ward.mesh.key(OTHER)
        failed = await asyncio.gather(*(ward.open(wrong) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(one, Exception) and f"the server is {SERVER}" in str(one) for one in failed)
        assert (ward.mesh.dials, ward.mesh.pool.tunnels) == (1, 0)
        await asyncio.gather(ward.open(wrong), return_exceptions=True)
        assert ward.mesh.dials == 2

    run(scenario)


def test_bytes_that_come_before_anyone_reads_are_kept() -> None:
    async def greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        await reader.read()
        writer.close()

    async def main() -> None:
        async with fabric(greeting) as mesh:
            end = await mesh.pool.open(mesh.key(), "10.0.0.1:80", [])
            await asyncio.sleep(0.1)
            got: list[bytes] = []

            class Taker:
                def arrived(self, _: End, data: bytes) -> None:
                    got.append(bytes(data))

                def broken(self, _: End, why: str) -> None:
                    got.append(why.encode())

                gone = broken

            end.relay = Taker()  # type: ignore[assignment]
            end.start()
            await asyncio.sleep(0.1)
            assert b"".join(got) == b"welcome"

    asyncio.run(main())
