"""Packets with descriptors: order, sizes, slow peers, and ends."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest
from descriptors import open_fds

from ambient.aio import packets
from ambient.aio.packets import MOST_BYTES, MOST_DESCRIPTORS, Oversized, PacketSocket
from ambient.core.errors import ConfigError


def run(scenario):
    def test():
        async def limited():
            async with asyncio.timeout(10), both() as (left, right):
                await scenario(left, right)

        before = open_fds()
        asyncio.run(limited())
        assert not open_fds() - before

    test.__name__ = scenario.__name__
    return test


@contextlib.asynccontextmanager
async def both() -> AsyncIterator[tuple[PacketSocket, PacketSocket]]:
    left, right = map(PacketSocket, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    try:
        yield left, right
    finally:
        left.close()
        right.close()


@run
async def test_descriptors_travel_in_order_and_close_on_exec(left, right):
    fds = [fd for _ in range(MOST_DESCRIPTORS // 2) for fd in os.pipe()]
    await left.send(b"x", fds)
    data, received = await right.receive()
    assert data == b"x"
    assert [os.fstat(fd).st_ino for fd in received] == [os.fstat(fd).st_ino for fd in fds]
    assert not any(os.get_inheritable(fd) for fd in received)
    packets.close_fds((*fds, *received))


@run
async def test_packets_leave_in_the_order_of_the_calls_however_slow_the_peer_is(left, right):
    sent = [number.to_bytes(2, "big") + bytes(60000) for number in range(200)]
    senders = [asyncio.create_task(left.send(packet)) for packet in sent]
    await asyncio.sleep(0.02)
    assert any(sender.done() for sender in senders)
    assert not all(sender.done() for sender in senders)
    assert [(await right.receive())[0] for _ in sent] == sent
    await asyncio.gather(*senders)


@run
async def test_a_sender_that_gives_up_sends_nothing_and_holds_up_nobody(left, right):
    full = [asyncio.create_task(left.send(bytes(60000))) for _ in range(200)]
    await asyncio.sleep(0.02)
    waiting = [sender for sender in full if not sender.done()]
    last = asyncio.create_task(left.send(b"last"))
    for sender in waiting:
        sender.cancel()
    for _ in range(200 - len(waiting)):
        assert (await right.receive())[0] == bytes(60000)
    assert (await right.receive())[0] == b"last"
    await last


@run
async def test_each_packet_goes_to_one_of_many_receivers_in_their_order(left, right):
    receivers = [asyncio.create_task(right.receive()) for _ in range(3)]
    await asyncio.sleep(0)
    receivers.pop(1).cancel()
    for content in (b"a", b"b"):
        await left.send(content)
    assert [data for data, _ in await asyncio.gather(*receivers)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("size", "count"), [(MOST_BYTES + 1, 2), (1, MOST_DESCRIPTORS + 1)], ids=["bytes", "descriptors"]
)
def test_a_packet_that_is_too_large_leaves_nothing_open_and_the_next_one_comes(size, count):
    @run
    async def scenario(left, right):
        left._sock.sendmsg(
            [bytes(size)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * count))]
        )
        await left.send(b"next")
        with pytest.raises(Oversized, match="131072 bytes or 16 descriptors"):
            await right.receive()
        assert await right.receive() == (b"next", [])

    scenario()


@run
async def test_the_largest_packet_comes_whole(left, right):
    await left.send(bytes(MOST_BYTES))
    assert await right.receive() == (bytes(MOST_BYTES), [])


@run
async def test_an_empty_packet_is_the_end_and_its_descriptors_are_closed(left, right):
    await left.send(b"", [0, 0])
    assert await right.receive() == (b"", [])


@run
async def test_closing_wakes_every_receiver_and_sender(left, right):
    receivers = [asyncio.create_task(left.receive()) for _ in range(3)]
    senders = [asyncio.create_task(left.send(bytes(60000))) for _ in range(200)]
    await asyncio.sleep(0.02)
    waiting = [sender for sender in senders if not sender.done()]
    left.close()
    left.close()
    assert left.closed
    assert await asyncio.gather(*receivers) == [(b"", [])] * 3
    assert waiting
    for sender in waiting:
        with pytest.raises(OSError):
            await sender
    assert await left.receive() == (b"", [])
    with pytest.raises(OSError):
        await left.send(b"late")
    await asyncio.gather(*(sender for sender in senders if sender not in waiting))


@run
async def test_what_was_sent_before_the_end_still_comes(left, right):
    await left.send(b"bye")
    left.close()
    assert [await right.receive() for _ in range(2)] == [(b"bye", []), (b"", [])]
    with pytest.raises(BrokenPipeError):
        await right.send(b"hello?")


def test_a_server_knows_who_connects_and_a_second_one_is_refused(tmp_path):
    async def scenario():
        path = str(tmp_path / "sock")
        with packets.listen(path) as listener:
            with pytest.raises(ConfigError, match="another process does"):
                packets.listen(path)
            client = await PacketSocket.connect(path)
            server = PacketSocket(listener.accept()[0])
            assert (server.peer.pid, server.peer.uid) == (os.getpid(), os.geteuid())
            await client.send(b"hello")
            assert await server.receive() == (b"hello", [])
            client.close()
            server.close()
        with pytest.raises(ConnectionRefusedError):
            await PacketSocket.connect(path)

    asyncio.run(scenario())
