"""Without a proxy, connections are reset instead of left hanging; with one, never."""

from __future__ import annotations

import asyncio

import pytest

from ambient.core.redirection import Role


def test_connections_are_reset_when_no_proxy_came_for_long(node, monkeypatch):
    monkeypatch.setattr("ambient.node.refuse.PATIENCE_SECONDS", 0.6)
    monkeypatch.setattr("ambient.node.refuse.POLL_SECONDS", 0.05)

    async def scenario(world):
        world.machine.space("/ns/a")
        await world.start()
        await world.add()
        (local,) = world.daemon._pods
        address = local.listeners[Role.OUTBOUND].getsockname()
        waiting = [await asyncio.open_connection(*address) for _ in range(3)]
        reader, _ = waiting[0]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        for reader, writer in waiting:
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(1), 3)
            writer.close()
        assert (await world.call("status"))["refused_connections"] == 3
        proxy = await world.proxy()
        await proxy.snapshot()
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection(*address)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        writer.close()
        await writer.wait_closed()

    node(scenario)
