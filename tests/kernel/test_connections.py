"""Connections that are older than their pod's capture: found, and reset at both ends."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from kernel.pods import MAPPED_OUTSIDE, MAPPED_POD, OUTSIDE4, OUTSIDE6, POD4, POD6, World
from topology.namespace import entered

from ambient.core.model.address import SocketAddress
from ambient.kernel.connections import destroy, established
from ambient.kernel.process import cgroup_id

PORT = 8080


def outward(world: World, family: int, outside: str) -> tuple[socket.socket, socket.socket]:
    server = world.outside_socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((outside, 0))
    server.listen(1)
    client = world.socket(family)
    client.connect((outside, server.getsockname()[1]))
    return client, server.accept()[0]


def inward(world: World, family: int, pod: str) -> tuple[socket.socket, socket.socket]:
    server, port = world.listen(family, pod)
    client = world.outside_socket(family)
    client.connect((pod, port))
    return server.accept()[0], client


FAMILIES = pytest.mark.parametrize(
    ("family", "pod", "outside"),
    [
        pytest.param(socket.AF_INET, POD4, OUTSIDE4, id="v4"),
        pytest.param(socket.AF_INET6, POD6, OUTSIDE6, id="v6"),
        pytest.param(socket.AF_INET6, MAPPED_POD, MAPPED_OUTSIDE, id="v4-mapped"),
    ],
)


@FAMILIES
@pytest.mark.parametrize("inbound", [True, False], ids=["inbound", "outbound"])
def test_an_older_connection_is_named_and_can_be_reset(
    world: World, family: int, pod: str, outside: str, inbound: bool
) -> None:
    ours, theirs = inward(world, family, pod) if inbound else outward(world, family, outside)
    with ours, theirs:
        (found,) = established(world.netns.fd, except_cgroup=cgroup_id(str(world.proxy_group)))
        assert (found.local, found.remote) == (
            SocketAddress.of(ours.getsockname()),
            SocketAddress.of(ours.getpeername()),
        )
        assert found.inbound == inbound
        assert destroy(world.netns.fd, [found]) == 1
        assert destroy(world.netns.fd, [found]) == 0
        for end in (ours, theirs):
            with pytest.raises(ConnectionError):
                end.recv(1)


def test_what_stays_in_the_pod_or_is_the_proxys_is_not_named(world: World) -> None:
    server, port = world.listen(socket.AF_INET6, "::")
    opened = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, POD4), (socket.AF_INET6, "::1")):
        client = world.socket(family)
        client.connect((address, port))
        opened.append(server.accept()[0])
    outside = world.outside_socket(socket.AF_INET)
    outside.bind((OUTSIDE4, 0))
    outside.listen(1)
    world.proxy_socket(socket.AF_INET).connect(outside.getsockname())
    opened.append(outside.accept()[0])
    assert established(world.netns.fd, except_cgroup=cgroup_id(str(world.proxy_group))) == ()
    for connection in opened:
        connection.close()


def test_a_connection_that_the_pod_still_reads_is_named_after_its_peer_closed(world: World) -> None:
    ours, theirs = outward(world, socket.AF_INET, OUTSIDE4)
    theirs.close()
    assert ours.recv(1) == b""
    assert len(established(world.netns.fd, except_cgroup=0)) == 1
    ours.close()


def test_many_connections_are_named(world: World) -> None:
    server, port = world.listen(socket.AF_INET, POD4)
    server.listen(600)
    with ExitStack() as stack:
        clients = []
        with entered(world.outside):
            for _ in range(500):
                clients.append(stack.enter_context(socket.create_connection((POD4, port), 5)))
        found = established(world.netns.fd, except_cgroup=0)
        assert {connection.remote for connection in found} == {
            SocketAddress.of(client.getsockname()) for client in clients
        }
        assert destroy(world.netns.fd, found) == 500
