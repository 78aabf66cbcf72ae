"""Namespaces, and sockets made inside them."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address
from pathlib import Path

import pytest
from kernel.pods import OUTSIDE4, POD4, POD6, folder_of_cgroup, namespace, socket_of
from topology.namespace import Namespace, entered

from ambient.core.errors import ConfigError
from ambient.core.redirection import Role
from ambient.kernel.netns import SO_NETNS_COOKIE, Netns, listen_in, socket_in

pytestmark = pytest.mark.usefixtures("needs_root")


def cookie_of(made: socket.socket) -> int:
    return struct.unpack("=Q", made.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]


def test_a_namespace_by_path_and_by_descriptor_is_the_same() -> None:
    with namespace("x") as made:
        opened = Netns.open(str(made.path))
        adopted = Netns.adopt(os.open(made.path, os.O_RDONLY))
        assert (opened.cookie, opened.inode) == (adopted.cookie, adopted.inode)
        assert opened.inode == made.path.stat().st_ino
        assert not opened.is_own()
        with socket_in(opened.fd, socket.AF_INET6) as inside:
            assert cookie_of(inside) == opened.cookie
            assert not inside.getblocking()
            assert not inside.get_inheritable()
        opened.close()
        opened.close()
        adopted.close()


def test_the_namespace_of_this_process_is_its_own() -> None:
    own = Netns.of_pid(os.getpid())
    assert own.is_own()
    with socket.socket() as here:
        assert cookie_of(here) == own.cookie
    own.close()


def test_a_thread_comes_back_whatever_happens() -> None:
    before = Path("/proc/thread-self/ns/net").stat().st_ino
    with namespace("x") as made:
        opened = Netns.open(str(made.path))
        with pytest.raises(OSError, match="not supported"):
            socket_in(opened.fd, 12345)
        opened.close()
    assert Path("/proc/thread-self/ns/net").stat().st_ino == before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/run/netns/amb-nowhere", "'/run/netns/amb-nowhere': No such file or directory"),
        ("/dev/null", "/dev/null is not a network namespace"),
        ("/proc/self/ns/mnt", "/proc/self/ns/mnt is not a network namespace"),
        ("/tmp", "/tmp is not a network namespace"),
    ],
)
def test_what_is_no_namespace_is_refused_by_name(path: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Netns.open(path)


def test_a_process_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="pid 4194304: there is no such process"):
        Netns.of_pid(4194304)


def test_addresses_are_the_global_ones_that_are_up(namespaces: tuple[Namespace, Namespace]) -> None:
    pod, _ = namespaces
    netns = Netns.open(str(pod.path))
    assert set(netns.addresses()) == {ip_address(POD4), ip_address(POD6)}
    pod.ip("link set eth0 down")
    try:
        assert netns.addresses() == ()
    finally:
        pod.ip(
            "link set eth0 up",
            f"addr replace {POD6}/64 dev eth0 nodad",
            f"route replace default via {OUTSIDE4}",
        )
        netns.close()


def test_listeners_are_dual_stack_where_there_is_ipv6() -> None:
    with namespace("x") as made:
        netns = Netns.open(str(made.path))
        listeners = listen_in(netns)
        assert {role: listener.getsockname()[1] for role, listener in listeners.items()} == {
            role: role.value for role in Role
        }
        with entered(made.path):
            for address in ("127.0.0.1", "::1"):
                socket.create_connection((address, 15008), 1).close()
        for listener in listeners.values():
            listener.close()
        netns.close()


def test_a_port_in_use_is_named_and_nothing_is_kept() -> None:
    with namespace("x") as made, folder_of_cgroup("x") as group:
        netns = Netns.open(str(made.path))
        with socket_of(group, made.path, socket.AF_INET) as taken:
            taken.bind(("127.0.0.1", 15006))
            taken.listen(1)
            with pytest.raises(ConfigError, match=r"port 15006 \(plaintext\) is in use"):
                listen_in(netns)
        for listener in listen_in(netns).values():
            listener.close()
        netns.close()
