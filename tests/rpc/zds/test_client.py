"""A client in conversation with a scripted daemon."""

from __future__ import annotations

import asyncio
import os

import pytest
from descriptors import open_fds
from rpc.zds.samples import INFO, OLDER, UID

from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.pod import Capture
from ambient.rpc import zds
from ambient.rpc.pb.istio.zds import zds_pb2 as pb


class Daemon:
    """The other end of a ZdsClient, played by the test."""

    def __init__(self, tmp_path):
        self.path = str(tmp_path / "zds.sock")
        self.failures = []
        self._met = asyncio.Queue()
        self._listener = zds.serve(self.path, self._handle, lambda name, error: self.failures.append(error))

    async def _handle(self, connection):
        done = asyncio.Event()
        await self._met.put((connection, done))
        await done.wait()

    async def meet(self, returning=None):
        client = await zds.ZdsClient.connect(self.path, returning)
        connection, self._done = await self._met.get()
        hello, _ = await connection.recv(zds.decode_hello)
        return client, connection, hello

    async def close(self):
        await self._listener.close()


def conversation(scenario):
    def test(tmp_path):
        async def run():
            daemon = Daemon(tmp_path)
            try:
                await asyncio.wait_for(scenario(daemon), 10)
            finally:
                await daemon.close()

        before = open_fds()
        asyncio.run(run())
        assert not open_fds() - before

    return test


async def welcomed(daemon, returning=None):
    client, connection, _ = await daemon.meet(returning)
    await connection.send(zds.Welcome("n"), (0, 0))
    orders = client.orders()
    welcome = await anext(orders)
    zds.close_fds(welcome.fds)
    await welcome.acknowledge()
    return client, connection, orders


@conversation
async def test_orders_are_acknowledged_in_turn(daemon):
    client, connection, orders = await welcomed(daemon)
    for order, fds, error in (
        (zds.AddWorkload(UID, INFO), (0, 0, 0, 0), ""),
        (zds.DelWorkload(UID), (), "never heard of it"),
        (zds.SnapshotSent(), (), ""),
    ):
        await connection.send(order, fds)
        received = await anext(orders)
        assert received.message == order
        zds.close_fds(received.fds)
        await received.acknowledge(error)
        assert await connection.recv(zds.decode_response) == (zds.Ack(error), ())
    await client.close()


@conversation
async def test_questions_are_answered_by_number_also_while_an_order_waits(daemon):
    client, connection, orders = await welcomed(daemon)
    await connection.send(zds.AddWorkload(UID, INFO), (0,))
    received = await anext(orders)
    first = asyncio.create_task(client.set_capture(UID, Capture.ON))
    second = asyncio.create_task(client.list_connections(UID))
    asked = [(await connection.recv(zds.decode_response))[0] for _ in range(2)]
    assert asked == [zds.SetCapture(UID, Capture.ON, asked[0].id), zds.ListConnections(UID, asked[1].id)]
    for part in zds.results(asked[1].id, (OLDER,) * 1300):
        await connection.send(part)
    await connection.send(zds.Result(asked[0].id, "the proxy runs in no cgroup of its own"))
    assert await second == (OLDER,) * 1300
    with pytest.raises(ConfigError, match="no cgroup of its own"):
        await first
    zds.close_fds(received.fds)
    await received.acknowledge()
    await client.close()


@conversation
async def test_listeners_are_given_back_when_the_daemon_says_welcome(daemon):
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    client, connection, hello = await daemon.meet({UID: fds})
    assert hello == zds.Hello(frozenset({zds.AMBIENT_V1}), (UID,))
    await connection.send(zds.Welcome("n"), (0, 0))
    returned, received = await connection.recv(zds.decode_response)
    assert (returned.uid, len(received)) == (UID, 3)
    await connection.send(zds.Result(returned.id))
    zds.close_fds((*fds, *received))
    await asyncio.sleep(0.01)
    await client.close()


@conversation
async def test_an_order_that_cannot_be_followed_is_refused_and_the_connection_lives(daemon):
    client, connection, orders = await welcomed(daemon)
    raw = pb.WorkloadRequest(add=pb.AddWorkload(uid=UID)).SerializeToString()
    await connection._packets.send(raw)
    refusal, _ = await connection.recv(zds.decode_response)
    assert "workload_info" in refusal.error
    await connection.send(zds.SnapshotSent())
    assert (await anext(orders)).message == zds.SnapshotSent()
    await client.close()


@conversation
async def test_a_plain_daemon_is_not_asked(daemon):
    client, _, _ = await daemon.meet()
    with pytest.raises(Unavailable, match=r"ambient\.v1"):
        await client.set_capture(UID, Capture.ON)
    await client.close()


@conversation
async def test_the_end_of_the_connection_reaches_orders_and_questions(daemon):
    client, connection, orders = await welcomed(daemon)
    asked = asyncio.create_task(client.list_connections(UID))
    waiting = asyncio.create_task(anext(orders))
    await connection.recv(zds.decode_response)
    await connection.send(zds.AddWorkload(UID, INFO), (0,))
    zds.close_fds((await waiting).fds)
    connection.close()
    with pytest.raises(Unavailable, match="did not answer"):
        await asked
    with pytest.raises(Unavailable, match="closed"):
        await anext(orders)
    with pytest.raises(Unavailable, match="no daemon to ask"):
        await client.list_connections(UID)
    await client.close()


@conversation
async def test_garbage_from_the_daemon_ends_the_connection(daemon):
    client, connection, orders = await welcomed(daemon)
    await connection._packets.send(b"\xff\xff\xff")
    with pytest.raises(PeerError, match="no WorkloadRequest"):
        await anext(orders)
    await client.close()


async def flood(connection):
    for _ in range(zds.UNANSWERED_LIMIT + 500):
        await connection.send(zds.Deposited("n"), (0,))
        await asyncio.sleep(0)


@conversation
async def test_orders_that_nobody_takes_are_bounded(daemon):
    client, connection, orders = await welcomed(daemon)
    with pytest.raises(Unavailable):
        await flood(connection)
    with pytest.raises(PeerError, match="without waiting"):
        await anext(orders)
    await client.close()
