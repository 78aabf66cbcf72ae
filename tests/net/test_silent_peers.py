"""A peer that stands still is asked no more; one that is only slow to answer is waited for."""

from __future__ import annotations

import asyncio

import pytest
from net.harness import fabric

from ambient.net import tunnel


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(tunnel, "LIFE_SECONDS", 0.2)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def answered(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    reader, writer = connection
    writer.write(b"anybody?")
    return await asyncio.wait_for(reader.readexactly(8), 5) == b"anybody?"


def test_who_waits_for_a_peer_that_stands_still_asks_another_of_its_processes() -> None:
    async def scenario() -> None:
        async with fabric(echo) as world:
            held = await world.connect()
            assert await answered(held)
            stopped = world.tunnels[0]._transport
            assert stopped is not None
            stopped.pause_reading()
            waiting = await asyncio.wait_for(asyncio.gather(*(world.connect() for _ in range(5))), 10)
            assert all([await answered(one) for one in waiting])
            assert world.dials == 2
            # While it is silent nobody asks it, and what it holds is left alone.
            assert await answered(await asyncio.wait_for(world.connect(), 0.2))
            stopped.resume_reading()
            assert await answered(held)
            assert world.dials == 2

    asyncio.run(scenario())


def test_a_peer_that_lives_is_given_its_time_to_answer() -> None:
    async def scenario() -> None:
        async with fabric(echo) as world:
            relay = world.answer

            async def slowly(server: tunnel.ServerTunnel, stream: int) -> None:
                await asyncio.sleep(1.5)
                await relay(server, stream)

            world.answer = slowly
            assert await answered(await world.connect())
            assert world.dials == 1

    asyncio.run(scenario())


def test_a_peer_that_stood_still_once_is_asked_as_before_when_it_goes_on() -> None:
    async def scenario() -> None:
        async with fabric(echo) as world:
            held = await world.connect()
            assert await answered(held)
            ours = next(tunnel for tunnel in world.pool._keys if tunnel.streams)
            assert world.tunnels[0]._transport is not None
            world.tunnels[0]._transport.pause_reading()
            assert await answered(await asyncio.wait_for(world.connect(), 5))
            world.tunnels[0]._transport.resume_reading()
            assert await answered(held)
            crowd = await asyncio.gather(*(world.connect() for _ in range(20)))
            assert all([await answered(one) for one in crowd])
            assert ours.streams == 21

    asyncio.run(scenario())
