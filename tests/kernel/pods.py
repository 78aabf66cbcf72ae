"""A pod and the world outside it, as the kernel tests see them: two namespaces, and sockets made in chosen cgroups."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import socket
import struct
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from topology import cgroup
from topology.namespace import Namespace, entered

from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Capture, Exclusions
from ambient.core.redirection import Redirection, Role
from ambient.kernel import abi, bpf
from ambient.kernel.handover import Clients, OriginalDestinations
from ambient.kernel.netns import Netns, listen_in
from ambient.kernel.redirector import Redirector

POD4, POD6 = "10.233.7.2", "fd53:7::2"
OUTSIDE4, OUTSIDE6 = "10.233.7.1", "fd53:7::1"
MAPPED_OUTSIDE = "::ffff:" + OUTSIDE4
MAPPED_POD = "::ffff:" + POD4
NOTHING = Exclusions()

_numbers = itertools.count()


def unique(name: str) -> str:
    """A name that nobody else on the machine has, and by which it is known to be this process's."""
    return f"amb-{os.getpid()}-{name}-{next(_numbers)}"


@contextmanager
def folder_of_cgroup(name: str) -> Iterator[Path]:
    folder = cgroup.mount() / unique(name)
    folder.mkdir()
    try:
        yield folder
    finally:
        cgroup.remove(folder)


@contextmanager
def nested(group: Path) -> Iterator[Path]:
    """A cgroup below another, as a container's is below its pod's."""
    folder = group / "container"
    folder.mkdir()
    try:
        yield folder
    finally:
        folder.rmdir()


@contextmanager
def namespace(name: str) -> Iterator[Namespace]:
    made = Namespace(unique(name))
    try:
        yield made
    finally:
        made.delete()


@contextmanager
def joined(inner: Namespace, outer: Namespace) -> Iterator[None]:
    """``inner`` has the pod's addresses on eth0, ``outer`` is its gateway."""
    outer.ip(f"link add pod0 type veth peer name eth0 netns {inner.name}")
    outer.ip(f"addr add {OUTSIDE4}/24 dev pod0", f"addr add {OUTSIDE6}/64 dev pod0 nodad", "link set pod0 up")
    inner.ip(f"addr add {POD4}/24 dev eth0", f"addr add {POD6}/64 dev eth0 nodad", "link set eth0 up")
    inner.ip(f"route add default via {OUTSIDE4}", f"route add default via inet6 {OUTSIDE6}")
    yield


def in_child(group: Path | None, netns: Path | None, work: Callable[[], Any]) -> None:
    """Run ``work`` in a process that is born in this cgroup and namespace; what it raises fails the test."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if group is not None:
                (group / "cgroup.procs").write_text("0")
            with entered(netns) if netns is not None else nullcontext():
                work()
            status = 0
        except BaseException:  # noqa: BLE001 - said here, judged by the parent
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"


def socket_of(
    group: Path | None,
    netns: Path,
    family: int,
    kind: int = socket.SOCK_STREAM,
    protocol: int = 0,
    prepare: Callable[[socket.socket], object] | None = None,
) -> socket.socket:
    """A socket that belongs to that cgroup and namespace for good, wherever it is used. OSError as the child met it."""
    ours, theirs = socket.socketpair()

    def make() -> None:
        try:
            made = socket.socket(family, kind, protocol)
            if prepare is not None:
                prepare(made)
        except OSError as error:
            theirs.send(struct.pack("=i", error.errno or errno.EIO))
        else:
            socket.send_fds(theirs, [struct.pack("=i", 0)], [made.fileno()])

    with ours, theirs:
        in_child(group, netns, make)
        answer, fds, _, _ = socket.recv_fds(ours, 4, 1)
    (number,) = struct.unpack("=i", answer)
    if number:
        raise OSError(number, os.strerror(number))
    made = socket.socket(fileno=fds[0])
    made.settimeout(5)
    return made


class World:
    """One pod in one of the two modes, with its proxy played by the test."""

    def __init__(
        self, redirector: Redirector, pod: Namespace, outside: Namespace, proxy: Path, *, root: bool
    ) -> None:
        self.redirector, self.root = redirector, root
        self._inner = pod
        self.pod, self.outside = pod.path, outside.path
        self.proxy_group = proxy
        self._stack = ExitStack()
        self.group = self._stack.enter_context(folder_of_cgroup("pod"))
        self.netns = Netns.open(str(pod.path))
        self._stack.callback(self.netns.close)
        self.relisten()
        self.destinations = OriginalDestinations(redirector.shared_maps["original_destinations"])
        self.clients = Clients(redirector.shared_maps["clients"])

    def relisten(self) -> None:
        """Listeners as the node daemon makes them."""
        self.listeners = listen_in(self.netns)
        for listener in self.listeners.values():
            listener.settimeout(5)
            self._stack.enter_context(listener)

    def add_address(self, address: str) -> None:
        """One more address for the pod, which the daemon has not seen yet."""
        self._inner.ip(f"addr add {address}/24 dev eth0")
        self._stack.callback(self._inner.ip, f"addr del {address}/24 dev eth0")

    def redirection(self, capture: Capture = Capture.ON, exclusions: Exclusions = NOTHING) -> Redirection:
        group = None if self.root else str(self.group)
        return Redirection("pod", self.netns.cookie, self.netns.addresses(), group, capture, exclusions)

    def capture(self, capture: Capture = Capture.ON, exclusions: Exclusions = NOTHING) -> int:
        return self.redirector.set(
            [self.redirection(capture, exclusions)], {"pod": self.netns}, {"pod": self.listeners}
        )

    def socket(self, family: int, **how: Any) -> socket.socket:
        """A socket of the pod's application."""
        return self._stack.enter_context(socket_of(self.group, self.pod, family, **how))

    def proxy_socket(self, family: int) -> socket.socket:
        """A socket of the proxy, inside the pod's namespace."""
        return self._stack.enter_context(socket_of(self.proxy_group, self.pod, family))

    def outside_socket(self, family: int, group: Path | None = None, **how: Any) -> socket.socket:
        """A socket of somebody who is not in the pod."""
        return self._stack.enter_context(socket_of(group, self.outside, family, **how))

    def listen(self, family: int, address: str, port: int = 0, **how: Any) -> tuple[socket.socket, int]:
        """An application of the pod that listens."""
        server = self.socket(family, **how)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen(16)
        return server, server.getsockname()[1]

    def accept(self, role: Role) -> tuple[socket.socket, SocketAddress, SocketAddress]:
        """The next connection that the proxy gets: itself, its peer and own names."""
        connection, peer = self.listeners[role].accept()
        self._stack.enter_context(connection)
        return connection, SocketAddress.of(peer), SocketAddress.of(connection.getsockname())

    def meant(self) -> SocketAddress | None:
        """Where the next captured outbound connection meant to go."""
        _, peer, own = self.accept(Role.OUTBOUND)
        return self.destinations.take(self.netns.cookie, peer, own)

    def unprivileged(self, work: Callable[[], Any]) -> None:
        """Run ``work`` as a user with no capability."""

        def demoted() -> None:
            os.setgid(65534)
            os.setuid(65534)
            work()

        in_child(None, None, demoted)

    def counted(self) -> Callable[[str], int]:
        """A function that says how often a reason was met since now."""
        before = self.redirector.counters()
        return lambda reason: self.redirector.counters()[reason] - before[reason]

    def announced(self) -> dict[bytes, bytes]:
        """Clients that no application's socket has taken."""
        fd = self.redirector.shared_maps["clients"]
        return bpf.Map(fd, ctypes.sizeof(abi.Tuple), ctypes.sizeof(abi.Endpoint)).items()

    def close(self) -> None:
        self.redirector.set([], {}, {})
        self._stack.close()
