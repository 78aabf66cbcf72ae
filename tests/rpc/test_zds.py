"""ZDS: every message, every wrong number of descriptors, and a client in conversation with a scripted daemon."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import stat
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core.errors import ConfigError, PeerError, Unavailable
from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Capture, OlderConnection
from ambient.rpc import zds
from ambient.rpc.pb.istio.zds import zds_pb2 as pb

UID = "local/ambient.dev/Workload/shop/cart"
OLDER = OlderConnection(
    SocketAddress(ip_address("10.0.0.1"), 8080),
    SocketAddress(ip_address("fd00::2"), 41000),
    inbound=True,
    cookie=77,
)
INFO = zds.WorkloadInfo(
    "cart", "shop", "cart", Map({"app": "cart"}), (ip_address("10.0.0.1"), ip_address("fd00::1")), 1 << 60
)
REQUESTS = (
    zds.AddWorkload(UID, INFO),
    zds.AddWorkload(UID, zds.WorkloadInfo("cart", "shop", "cart")),
    *(zds.AddWorkload(UID, zds.WorkloadInfo("cart", "shop", "cart", capture=capture)) for capture in Capture),
    zds.KeepWorkload(UID),
    zds.DelWorkload(UID),
    zds.DelWorkload(UID, now=True),
    zds.SnapshotSent(),
    zds.Welcome("node-1"),
    zds.Deposited("snapshot"),
    zds.Result(7),
    zds.Result(7, "no such workload"),
    zds.Result(7, "", (OLDER,), more=True),
)
RESPONSES = (
    zds.Ack(),
    zds.Ack("the namespace does not exist"),
    *(zds.SetCapture(UID, mode, 3) for mode in Capture),
    zds.Deposit("snapshot", 4),
    zds.Returned(UID, 5),
    zds.ListConnections(UID, 6),
    zds.DestroyConnections(UID, (OLDER, OLDER), 8),
)


def kind(message: zds.Message) -> str:
    return type(message).__name__


@pytest.mark.parametrize("request_", REQUESTS, ids=kind)
def test_a_request_is_read_as_it_was_written(request_):
    assert zds.decode_request(zds.encode(request_)) == request_


@pytest.mark.parametrize("response", RESPONSES, ids=kind)
def test_a_response_is_read_as_it_was_written(response):
    assert zds.decode_response(zds.encode(response)) == response


def test_a_hello_is_read_as_it_was_written():
    hello = zds.Hello(frozenset({zds.AMBIENT_V1}), (UID,))
    assert zds.decode_hello(zds.encode(hello)) == hello


def test_the_hello_of_a_plain_ztunnel_names_no_extension():
    assert zds.decode_hello(b"\x08\x01") == zds.Hello()


def test_another_version_is_refused():
    with pytest.raises(PeerError, match="version 0"):
        zds.decode_hello(pb.ZdsHello().SerializeToString())


def test_a_plain_add_fits_the_kilobyte_that_ztunnel_reads():
    info = zds.WorkloadInfo("n" * 63, "s" * 63, "a" * 63)
    assert (
        len(zds.encode(zds.AddWorkload("local/ambient.dev/Workload/" + "s" * 63 + "/" + "n" * 63, info)))
        < 1024
    )


def test_no_workload_info_is_rejected_as_an_order_that_cannot_be_followed():
    packet = pb.WorkloadRequest(add=pb.AddWorkload(uid=UID)).SerializeToString()
    with pytest.raises(zds.UnusableOrder, match="no workload_info"):
        zds.decode_request(packet)


@pytest.mark.parametrize("length", [0, 3, 5, 15, 17])
def test_an_address_has_4_or_16_bytes(length):
    info = pb.WorkloadInfo(addresses=[bytes(length)])
    packet = pb.WorkloadRequest(add=pb.AddWorkload(uid=UID, workload_info=info)).SerializeToString()
    with pytest.raises(zds.UnusableOrder, match=f"{length} bytes"):
        zds.decode_request(packet)


def test_a_port_is_at_most_65535():
    doomed = pb.DestroyConnections(
        uid=UID, connections=[pb.Connection(local_ip=bytes(4), remote_ip=bytes(4), local_port=70000)]
    )
    with pytest.raises(PeerError, match="port 70000"):
        zds.decode_response(pb.WorkloadResponse(destroy_connections=doomed).SerializeToString())


def test_an_unknown_capture_mode_is_the_peers_fault():
    wish = pb.SetCapture(uid=UID)
    wish.MergeFromString(bytes([0x10, 9]))
    with pytest.raises(PeerError, match="capture mode 9"):
        zds.decode_response(pb.WorkloadResponse(set_capture=wish).SerializeToString())


def test_a_message_too_big_for_a_packet_is_refused_before_it_is_sent():
    with pytest.raises(ConfigError, match="packet holds 65536"):
        zds.encode(zds.Deposit("x" * 70000))


@given(st.binary(max_size=300))
def test_garbage_is_the_peers_fault(packet):
    for decode in (zds.decode_hello, zds.decode_request, zds.decode_response):
        with contextlib.suppress(PeerError):
            decode(packet)


ips = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(2**64, 2**128 - 1).map(IPv6Address),
)
sockets = st.builds(SocketAddress, ips, st.integers(0, 65535))
older = st.builds(OlderConnection, sockets, sockets, st.booleans(), st.integers(0, 2**64 - 1))


@given(st.integers(0, 2**64 - 1), st.text(max_size=50), st.lists(older, max_size=20), st.booleans())
def test_any_result_is_read_as_it_was_written(number, error, connections, more):
    result = zds.Result(number, error, tuple(connections), more)
    assert zds.decode_request(zds.encode(result)) == result


@given(
    st.text(min_size=1, max_size=50),
    st.dictionaries(st.text(max_size=20), st.text(max_size=20)),
    st.lists(ips, max_size=6),
    st.integers(0, 2**64 - 1),
)
def test_any_add_is_read_as_it_was_written(uid, labels, addresses, cookie):
    added = zds.AddWorkload(uid, zds.WorkloadInfo("n", "s", "a", Map(labels), tuple(addresses), cookie))
    assert zds.decode_request(zds.encode(added)) == added


@given(st.integers(0, 2000))
def test_results_fit_in_packets_and_only_the_last_says_no_more(count):
    parts = list(zds.results(9, (OLDER,) * count))
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert sum(len(part.connections) for part in parts) == count
    assert all(len(zds.encode(part)) <= zds.PACKET_LIMIT for part in parts)


# --- the socket


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


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
        assert open_fds() == before
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
        assert open_fds() == before
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


# --- the path


def test_only_its_owner_can_reach_the_socket_and_a_dead_ones_file_is_replaced(tmp_path):
    path = str(tmp_path / "zds.sock")
    dead = zds.bind(path, socket.SOCK_SEQPACKET)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="another process does"):
        zds.bind(path, socket.SOCK_SEQPACKET)
    dead.close()
    zds.bind(path, socket.SOCK_SEQPACKET).close()


def test_a_file_that_is_not_a_socket_is_left_alone(tmp_path):
    path = tmp_path / "zds.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        zds.bind(str(path), socket.SOCK_SEQPACKET)
    assert path.read_text() == "precious"


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


# --- the client


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
        assert open_fds() == before

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
    connection._socket.send(raw)
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
    connection._socket.send(b"\xff\xff\xff")
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
