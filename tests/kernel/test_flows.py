"""Direct connections are told to the byte, whoever ends them and however full the ring is."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from kernel.pods import MAPPED_OUTSIDE, MAPPED_POD, OUTSIDE4, OUTSIDE6, POD4, POD6, World, unique
from topology.namespace import Namespace

from ambient.core.model.address import SocketAddress
from ambient.core.model.flow import End, Ending, Flow
from ambient.core.model.pod import Capture
from ambient.kernel import abi, bpf, connections, loader
from ambient.kernel.flows import FlowRecords, Flows
from ambient.kernel.redirector import Redirector, uninstall

CONNECTIONS: Final = 20
"""More than a ring of one page can tell: it holds 32 records, and each connection has two."""
TCP_USER_TIMEOUT: Final = 18
"""In milliseconds. Source: include/uapi/linux/tcp.h."""
ROOM: Final = 64
"""Of the map of live ones, in these tests."""
SECONDS: Final = 20.0

EVERYTHING_IS_DIRECT: Final = """
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB ||
	    ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		struct socket_state *direct = new_state_of(socket);
		struct ends ends = ends_of(ctx);

		if (direct) {
			direct->peer.ip = ends.remote;
			direct->peer.port_be = ends.remote_port_be;
			direct->flags = SOCKET_DIRECT;
		}
		return 1;
	}
"""  # noqa: E101
AFTER: Final = """	struct bpf_sock *socket = ctx->sk;

	if (!socket)
		return 1;
"""


@pytest.fixture(scope="module")
def direct_redirector(
    tmp_path_factory: pytest.TempPathFactory, prober_group: Path, proxy_group: Path
) -> Iterator[Redirector]:
    """Programs that take every connection of a pod for a direct one, and a ring of a page."""
    source = tmp_path_factory.mktemp("bpf") / "bpf"
    shutil.copytree(loader.source_folder(), source)
    follow, maps = source / "sockops.c", source / "include" / "maps.h"
    text = follow.read_text()
    head, tail = text.rsplit(AFTER, 1)
    follow.write_text(head + AFTER + EVERYTHING_IS_DIRECT + tail)
    smaller = maps.read_text().replace("#define FLOW_RING_PAGES 256", "#define FLOW_RING_PAGES 1")
    maps.write_text(smaller.replace("#define MAX_FLOWS (2 * MAX_CONNECTIONS)", f"#define MAX_FLOWS {ROOM}"))
    name = unique("node")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "source_folder", lambda: source)
        opened = Redirector.open(name, prober_cgroup=str(prober_group), proxy_cgroup=str(proxy_group))
    yield opened
    opened.close()
    uninstall(name)


class Direct:
    """A pod whose connections all go direct, and what is told of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        maps = world.redirector.shared_maps
        self.records = FlowRecords(maps["flow_records"])
        self.flows = Flows(maps["flows"], maps["flow_losses"])

    def told(self, count: int) -> list[Flow]:
        """So many records."""
        found: list[Flow] = []
        until = time.monotonic() + SECONDS
        while len(found) < count:
            if not (taken := self.records.take()):
                left = until - time.monotonic()
                assert left > 0, found
                select.select([self.records.fd], [], [], left)
            found += taken
        assert len(found) == count
        return found

    def live(self) -> list[Flow]:
        return [flow for flow in self.flows.walk() if flow.netns_cookie == self.world.netns.cookie]

    def from_pod(self, family: int, address: str) -> tuple[socket.socket, socket.socket]:
        """The pod's end and the other one of a connection that the pod makes."""
        server = self.world.outside_socket(family)
        server.bind((address, 0))
        server.listen(8)
        client = self.world.socket(family)
        client.connect(server.getsockname()[:2])
        return client, self._accepted(server)

    def to_pod(self, family: int, address: str) -> tuple[socket.socket, socket.socket]:
        """The pod's end and the other one of a connection that is made to the pod."""
        server, port = self.world.listen(family, address)
        client = self.world.outside_socket(family)
        client.connect((address, port))
        return self._accepted(server), client

    def _accepted(self, server: socket.socket) -> socket.socket:
        accepted, _ = server.accept()
        accepted.settimeout(5)
        return self.world._stack.enter_context(accepted)


@pytest.fixture
def direct(
    direct_redirector: Redirector, namespaces: tuple[Namespace, Namespace], proxy_group: Path
) -> Iterator[Direct]:
    world = World(direct_redirector, *namespaces, proxy_group, root=False)
    world.capture(Capture.OFF)
    made = Direct(world)
    try:
        yield made
    finally:
        world.close()
        while made.records.take():
            pass
        # Its hooks went before its sockets, as those of a pod that leaves.
        made.flows.forget(world.netns.cookie)
        made.records.close()


def drain(end: socket.socket) -> int:
    """Read to the end; how much came."""
    total = 0
    while content := end.recv(1 << 20):
        total += len(content)
    return total


def exchange(ours: socket.socket, theirs: socket.socket, sent: int, received: int) -> None:
    """Move so many bytes each way, one way after the other, and end well."""
    for source, sink, count in ((ours, theirs, sent), (theirs, ours, received)):
        source.setblocking(False)
        pending, got = memoryview(bytes(count)), 0
        while got < count:
            if pending:
                with contextlib.suppress(BlockingIOError):
                    pending = pending[source.send(pending[: 1 << 18]) :]
            got += len(sink.recv(1 << 20))
        source.settimeout(5)


MAKERS: Final = [
    pytest.param(Direct.from_pod, End.CLIENT, id="client"),
    pytest.param(Direct.to_pod, End.SERVER, id="server"),
]
Maker = Callable[[Direct, int, str], tuple[socket.socket, socket.socket]]


@pytest.mark.parametrize(("make", "end"), MAKERS)
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours-first", "theirs-first"])
@pytest.mark.parametrize(("sent", "received"), [(0, 0), (1, 0), (0, 10_000_000), (10_000_000, 3)])
def test_bytes_are_told_exactly(
    direct: Direct, make: Maker, end: End, ours_first: bool, sent: int, received: int
) -> None:
    address = OUTSIDE4 if end is End.CLIENT else POD4
    ours, theirs = make(direct, socket.AF_INET, address)
    (opened,) = direct.told(1)
    assert (opened.end, opened.ending, opened.sent, opened.received) == (end, None, 0, 0)
    assert [flow.cookie for flow in direct.live()] == [opened.cookie]
    exchange(ours, theirs, sent, received)
    first, second = (ours, theirs) if ours_first else (theirs, ours)
    first.close()
    assert drain(second) == 0
    second.close()
    (closed,) = direct.told(1)
    assert (closed.cookie, closed.end, closed.sent, closed.received) == (opened.cookie, end, sent, received)
    assert closed.ending is Ending.FINISHED
    assert closed.lasted_seconds > 0
    assert 0 < closed.rtt_seconds < SECONDS
    assert not direct.live()


@pytest.mark.parametrize(("make", "end"), MAKERS)
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours-first", "theirs-first"])
def test_what_comes_after_a_half_close_counts(
    direct: Direct, make: Maker, end: End, ours_first: bool
) -> None:
    ours, theirs = make(direct, socket.AF_INET, OUTSIDE4 if end is End.CLIENT else POD4)
    first, second = (ours, theirs) if ours_first else (theirs, ours)
    first.sendall(b"question")
    first.shutdown(socket.SHUT_WR)
    assert drain(second) == 8
    second.sendall(bytes(100_000))
    second.close()
    assert drain(first) == 100_000
    first.close()
    opened, closed = direct.told(2)
    assert opened.cookie == closed.cookie
    assert (closed.sent, closed.received) == ((8, 100_000) if ours_first else (100_000, 8))
    assert closed.ending is Ending.FINISHED


@pytest.mark.parametrize(("make", "end"), MAKERS)
@pytest.mark.parametrize("by_us", [True, False], ids=["by-us", "by-them"])
def test_a_reset_is_told_as_a_cut(direct: Direct, make: Maker, end: End, by_us: bool) -> None:
    ours, theirs = make(direct, socket.AF_INET, OUTSIDE4 if end is End.CLIENT else POD4)
    exchange(ours, theirs, 7, 5)
    breaker = ours if by_us else theirs
    breaker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    breaker.close()
    _, closed = direct.told(2)
    assert (closed.sent, closed.received, closed.ending) == (7, 5, Ending.CUT)


@pytest.mark.parametrize(("make", "end"), MAKERS)
def test_a_destroyed_connection_is_told_as_a_cut(direct: Direct, make: Maker, end: End) -> None:
    ours, theirs = make(direct, socket.AF_INET, OUTSIDE4 if end is End.CLIENT else POD4)
    exchange(ours, theirs, 7, 5)
    netns = direct.world.netns
    (opened,) = direct.live()
    older = connections.established(netns.fd, except_cgroup=0)
    found = [one for one in older if one.cookie == opened.cookie]
    assert connections.destroy(netns.fd, found) == 1
    with pytest.raises(ConnectionError):
        ours.recv(1)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    _, closed = direct.told(2)
    assert (closed.sent, closed.received, closed.ending) == (7, 5, Ending.CUT)


def test_a_peer_that_is_gone_is_told_as_a_timeout(
    direct: Direct, namespaces: tuple[Namespace, Namespace]
) -> None:
    _, outside = namespaces
    ours, theirs = direct.from_pod(socket.AF_INET, OUTSIDE4)
    ours.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 500)
    exchange(ours, theirs, 3, 0)
    outside.ip(f"addr del {OUTSIDE4}/24 dev pod0")
    try:
        ours.sendall(b"lost")
        ours.settimeout(SECONDS)
        with pytest.raises(TimeoutError) as failed:
            ours.recv(1)
        assert failed.value.errno == errno.ETIMEDOUT
    finally:
        outside.ip(f"addr add {OUTSIDE4}/24 dev pod0")
    _, closed = direct.told(2)
    assert (closed.sent, closed.received, closed.ending) == (3, 0, Ending.TIMED_OUT)


@pytest.mark.parametrize(
    ("family", "outside", "pod"),
    [
        pytest.param(socket.AF_INET, OUTSIDE4, POD4, id="v4"),
        pytest.param(socket.AF_INET6, OUTSIDE6, POD6, id="v6"),
        pytest.param(socket.AF_INET6, MAPPED_OUTSIDE, MAPPED_POD, id="v4-mapped"),
    ],
)
def test_both_ends_are_named(direct: Direct, family: int, outside: str, pod: str) -> None:
    for make, address in ((direct.from_pod, outside), (direct.to_pod, pod)):
        ours, theirs = make(family, address)
        (opened,) = direct.told(1)
        assert opened.netns_cookie == direct.world.netns.cookie
        assert opened.own == SocketAddress.of(ours.getsockname())
        assert opened.peer == opened.meant == SocketAddress.of(theirs.getsockname())
        ours.close()
        theirs.close()
        direct.told(1)


def test_what_is_not_direct_is_not_told(redirector: Redirector, world: World) -> None:
    world.capture(Capture.OFF)
    records = FlowRecords(redirector.shared_maps["flow_records"])
    server, port = world.listen(socket.AF_INET, POD4)
    client = world.outside_socket(socket.AF_INET)
    client.connect((POD4, port))
    server.accept()[0].close()
    client.close()
    assert records.take() == ()
    records.close()


def test_a_full_ring_loses_nothing(direct: Direct) -> None:
    """What did not fit waits in the map, with its end and its bytes; and the ring goes on once it is read."""
    since = direct.world.counted()
    for number in range(CONNECTIONS):
        ours, theirs = direct.from_pod(socket.AF_INET, OUTSIDE4)
        exchange(ours, theirs, number, 0)
        theirs.close()
        drain(ours)
        ours.close()
    until = time.monotonic() + SECONDS
    told: dict[int, int] = {}
    while len(told) < CONNECTIONS and time.monotonic() < until:
        for flow in (*direct.records.take(), *direct.flows.walk()):
            if flow.ending is not None:
                assert flow.cookie not in told
                told[flow.cookie] = flow.sent
    assert sorted(told.values()) == list(range(CONNECTIONS))
    assert since("flow_kept") > 0
    assert since("flow_lost") == 0
    assert not direct.live()
    direct.from_pod(socket.AF_INET, OUTSIDE4)
    direct.told(1)


def test_a_pod_that_leaves_takes_its_connections_along(direct: Direct) -> None:
    direct.from_pod(socket.AF_INET, OUTSIDE4)
    (opened,) = direct.told(1)
    assert direct.flows.forget(direct.world.netns.cookie) == (opened,)
    assert direct.flows.walk() == ()


def test_the_next_reader_goes_on_where_the_last_one_was(direct: Direct) -> None:
    for _ in range(3):
        direct.from_pod(socket.AF_INET, OUTSIDE4)
    (first,) = direct.records.take(1)
    direct.records.close()
    direct.records = FlowRecords(direct.world.redirector.shared_maps["flow_records"])
    rest = direct.told(2)
    assert len({first.cookie, *(flow.cookie for flow in rest)}) == 3
    assert {flow.cookie for flow in direct.live()} == {first.cookie, *(flow.cookie for flow in rest)}


def test_what_finds_no_room_at_all_is_in_the_sums(direct: Direct) -> None:
    """A map without room, and a ring that nobody reads."""
    maps = direct.world.redirector.shared_maps
    table = bpf.Map(maps["flows"], 8, ctypes.sizeof(abi.Flow))
    for number in range(ROOM):
        table.update(struct.pack("=Q", 1 << 63 | number), bytes(ctypes.sizeof(abi.Flow)))
    try:
        since = direct.world.counted()
        for _ in range(CONNECTIONS):
            ours, theirs = direct.from_pod(socket.AF_INET, OUTSIDE4)
            exchange(ours, theirs, 10, 3)
            theirs.close()
            drain(ours)
            ours.close()
        told = [flow for flow in direct.records.take() if flow.ending is not None]
        loss = direct.flows.losses()[direct.world.netns.cookie]
        assert loss.connections == CONNECTIONS - len(told) > 0
        assert (loss.sent, loss.received) == (10 * loss.connections, 3 * loss.connections)
        assert since("flow_not_listed") == CONNECTIONS
        assert since("flow_lost") == loss.connections
    finally:
        for number in range(ROOM):
            table.delete(struct.pack("=Q", 1 << 63 | number))
