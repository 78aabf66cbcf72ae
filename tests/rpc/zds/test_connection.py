"""The socket of ZDS: every wrong number of descriptors, bad packets, ends, and who may connect."""

from __future__ import annotations

import array
import asyncio
import os
import socket
from pathlib import Path

import pytest
from descriptors import open_fds
from rpc.zds.samples import INFO, UID, kind, pair

from ambient.core.errors import PeerError, Unavailable
from ambient.core.model.pod import Capture
from ambient.rpc import zds


def pass_raw(sock: socket.socket, packet: bytes, fds: list[int]) -> None:
    sock.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def test_descriptors_travel_in_order_and_close_on_exec():
    async def scenario():
        left, right = (zds.ZdsSocket(end) for end in pair())
        pipes = [os.pipe() for _ in range(2)]
        fds = [fd for pipe in pipes for fd in pipe]
        await left.send(zds.AddWorkload(UID, INFO), fds)
        message, received = await right.recv(zds.decode_request)
        assert message == zds.AddWorkload(UID, INFO)
        assert [os.fstat(fd).st_ino for fd in received] == [os.fstat(fd).st_ino for fd in fds]
        assert not any(os.get_inheritable(fd) for fd in received)
        zds.close_fds((*fds, *received))
        left.close()
        right.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("message", "decode", "counts"),
    [
        (zds.AddWorkload(UID, INFO), zds.decode_request, {1, 4}),
        (zds.DelWorkload(UID), zds.decode_request, {0}),
        (zds.Welcome("n"), zds.decode_request, {2}),
        (zds.Welcome("n", ("a", "b", "c")), zds.decode_request, {3}),
        (zds.Deposited("n"), zds.decode_request, {1}),
        (zds.Result(1), zds.decode_request, {0}),
        (zds.Ack(), zds.decode_response, {0}),
        (zds.Deposit("n"), zds.decode_response, {0, 1}),
        (zds.Returned(UID), zds.decode_response, {3}),
        (zds.SetCapture(UID, Capture.ON), zds.decode_response, {0}),
    ],
    ids=lambda value: kind(value) if isinstance(value, zds.Message) else "",
)
def test_the_wrong_number_of_descriptors_is_refused_and_none_is_kept(message, decode, counts):
    async def scenario():
        left, right = pair()
        right = zds.ZdsSocket(right)
        before = open_fds()
        for count in range(6):
            pass_raw(left, zds.encode(message), [0] * count)
            if count in counts:
                received, fds = await right.recv(decode)
                assert received == message
                zds.close_fds(fds)
            else:
                with pytest.raises(PeerError, match=f"{count} descriptors"):
                    await right.recv(decode)
        assert not open_fds() - before
        with pytest.raises(ValueError):
            await right.send(message, [0] * 5)
        left.close()
        right.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("packet", "fds"),
    [(b"\xff" * 10, 3), (bytes(70000), 0), (zds.encode(zds.Ack()), 40)],
    ids=["garbage", "long", "fds"],
)
def test_descriptors_of_a_bad_packet_are_closed(packet, fds):
    async def scenario():
        left, right = pair()
        right = zds.ZdsSocket(right)
        before = open_fds()
        pass_raw(left, packet, [0] * fds)
        with pytest.raises(PeerError):
            await right.recv(zds.decode_response)
        assert not open_fds() - before
        left.close()
        right.close()

    asyncio.run(scenario())


def test_a_full_socket_makes_the_sender_wait_and_nothing_is_lost():
    async def scenario():
        left, right = (zds.ZdsSocket(end) for end in pair())
        messages = [zds.Deposit("x" * 60000, number) for number in range(50)]
        senders = [asyncio.create_task(left.send(message)) for message in messages]
        await asyncio.sleep(0.05)
        assert not all(sender.done() for sender in senders)
        received = [(await right.recv(zds.decode_response))[0] for _ in messages]
        await asyncio.gather(*senders)
        assert sorted(message.id for message in received) == list(range(50))
        left.close()
        right.close()

    asyncio.run(scenario())


def test_a_closed_end_is_unavailable_to_who_waits():
    async def scenario():
        left, right = (zds.ZdsSocket(end) for end in pair())
        waiting = asyncio.create_task(right.recv(zds.decode_request))
        own = asyncio.create_task(left.recv(zds.decode_request))
        await asyncio.sleep(0)
        left.close()
        for task in (waiting, own):
            with pytest.raises(Unavailable):
                await task
        with pytest.raises(Unavailable):
            await left.send(zds.SnapshotSent())
        right.close()

    asyncio.run(scenario())


def test_no_daemon_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="no node daemon"):
        asyncio.run(zds.ZdsClient.connect(str(tmp_path / "zds.sock")))


@pytest.mark.skipif(os.geteuid() != 0, reason="turning a user away takes two of them")
def test_a_user_who_is_not_root_is_turned_away(tmp_path):
    async def scenario():
        path = str(tmp_path / "zds.sock")
        failures = []

        async def handler(connection):
            raise AssertionError("must not be reached")

        listener = zds.serve(path, handler, lambda name, error: failures.append(error))
        Path(path).chmod(0o666)  # noqa: ASYNC240
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
        child = await asyncio.create_subprocess_exec(
            "/usr/bin/python3", "-c",
            "import socket,sys; s=socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); sys.exit(len(s.recv(9)))",
            path, user=65534, group=65534,
        )  # fmt: skip
        assert await child.wait() == 0
        assert "user 65534" in str(failures[0])
        await listener.close()
        assert list(tmp_path.iterdir()) == []

    asyncio.run(scenario())
