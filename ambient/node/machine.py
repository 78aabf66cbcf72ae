"""What the daemon needs of the machine and its kernel, and where it gets it."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ambient.core.errors import ConfigError, PeerError
from ambient.core.model.address import IpAddress
from ambient.core.model.pod import OlderConnection
from ambient.core.redirection import Redirection, Role
from ambient.kernel import connections, netns as kernel_netns, process, redirector as kernel_redirector
from ambient.kernel.netns import SO_NETNS_COOKIE


class Netns(Protocol):
    """A network namespace, kept alive until it is closed."""

    fd: int
    cookie: int
    inode: int

    def addresses(self) -> tuple[IpAddress, ...]:
        """Those that others can reach."""

    def is_own(self) -> bool:
        """Whether the daemon itself is in it."""

    def close(self) -> None:
        """Let go of it."""


class Redirector(Protocol):
    """The kernel part of this node."""

    shared_maps: Mapping[str, int]
    """Descriptors of the maps that the proxy shares with the kernel, by name."""

    def set(
        self,
        desired: Collection[Redirection],
        netns: Mapping[str, Netns],
        listeners: Mapping[str, Mapping[Role, socket.socket]],
    ) -> int:
        """Bring it about; how many writes that took. Raises NotAttached for workloads that it cannot do it for."""

    def mark_proxy(self, cgroup: str | None) -> None:
        """Where workloads have no cgroup: tell sockets made in the proxy's from theirs."""

    def counters(self) -> dict[str, int]:
        """How often each reason was met."""


class Machine(Protocol):
    """Namespaces, processes, cgroups and connections of this machine. ConfigError for what is not there."""

    def netns_at(self, path: str) -> Netns:
        """The namespace at a path."""

    def netns_of(self, pid: int) -> Netns:
        """The namespace of a process."""

    def inode_at(self, path: str) -> int | None:
        """What is at a path; None: nothing."""

    def started(self, pid: int) -> int | None:
        """When a process was started, in ticks since boot; None: it is gone."""

    def boot(self) -> str:
        """Which boot this is."""

    def listen_in(self, netns: Netns) -> dict[Role, socket.socket]:
        """A pod's three listeners."""

    def socket_in(self, netns: Netns, family: int) -> socket.socket:
        """A TCP socket of a namespace that does not block. Raises OSError."""

    def adopt_listeners(self, netns: Netns, fds: Sequence[int]) -> dict[Role, socket.socket]:
        """A pod's listeners as a proxy gave them back, in the order of ``Role``; the descriptors are taken over.

        Raises PeerError, with none left open, if they are anything else.
        """

    def cgroup_of(self, pid: int) -> str | None:
        """The v2 folder of a process; None: the root of the hierarchy."""

    def own_cgroup(self) -> str | None:
        """The v2 folder of this process; None: the root of the hierarchy."""

    def cgroup_of_witness(self, fd: int) -> str | None:
        """The v2 folder of the process that made a witness; None: the root, or out of sight.

        Raises PeerError if it is none. The descriptor is taken over.
        """

    def check_cgroup(self, path: str) -> None:
        """Raises ConfigError if it is no folder of cgroup v2 that a pod could have."""

    def established(self, netns: Netns, outside: Collection[str | None]) -> tuple[OlderConnection, ...]:
        """Open connections of a namespace, save those of sockets made in the cgroups ``outside``; None: the root."""

    def destroy(self, netns: Netns, doomed: Iterable[OlderConnection]) -> int:
        """Reset them; how many there were."""


class Linux:
    """The machine that this process runs on."""

    def netns_at(self, path: str) -> Netns:
        return kernel_netns.Netns.open(path)

    def netns_of(self, pid: int) -> Netns:
        return kernel_netns.Netns.of_pid(pid)

    def inode_at(self, path: str) -> int | None:
        try:
            return os.stat(path).st_ino  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    def started(self, pid: int) -> int | None:
        try:
            status = Path(f"/proc/{pid}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, *fields = status.rpartition(b")")[2].split()
        return None if state in {b"Z", b"X"} else int(fields[18])  # Field 22 of proc(5).

    def boot(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def listen_in(self, netns: Netns) -> dict[Role, socket.socket]:
        return kernel_netns.listen_in(_kernels(netns))

    def socket_in(self, netns: Netns, family: int) -> socket.socket:
        return kernel_netns.socket_in(_kernels(netns).fd, family)

    def adopt_listeners(self, netns: Netns, fds: Sequence[int]) -> dict[Role, socket.socket]:
        sockets = [socket.socket(fileno=fd) for fd in fds]
        listeners = dict(zip(Role, sockets, strict=True))
        try:
            for role, listener in listeners.items():
                _check_listener(role, listener, netns.cookie)
        except BaseException:
            for listener in sockets:
                listener.close()
            raise
        return listeners

    def cgroup_of(self, pid: int) -> str | None:
        return process.cgroup_of(pid)

    def own_cgroup(self) -> str | None:
        return self.cgroup_of_witness(connections.witness().detach())

    def cgroup_of_witness(self, fd: int) -> str | None:
        with socket.socket(fileno=fd) as witness:
            try:
                cgroup = connections.cgroup_of(witness)
            except OSError as error:
                raise PeerError(
                    f"the socket that was to tell the proxy's cgroup does not: {error}"
                ) from error
        return None if cgroup is None else process.cgroup_folder(cgroup)

    def check_cgroup(self, path: str) -> None:
        root = _cgroup_root()
        folder = Path(path).resolve()
        if not folder.is_dir():
            raise ConfigError(
                f"cgroup {path!r}: there is no such folder; give the workload's cgroup v2 folder"
            )
        if folder == root:
            raise ConfigError(
                f"cgroup {path!r} is the root of the hierarchy; give the workload's own folder in it"
            )
        if root not in folder.parents:
            raise ConfigError(f"cgroup {path!r} is not of cgroup v2; that is mounted at {root}")

    def established(self, netns: Netns, outside: Collection[str | None]) -> tuple[OlderConnection, ...]:
        ids = {process.cgroup_id(folder or str(_cgroup_root())) for folder in outside} or {0}
        seen = [connections.established(netns.fd, except_cgroup=cgroup) for cgroup in sorted(ids)]
        kept = set.intersection(*({connection.cookie for connection in found} for found in seen))
        return tuple(connection for connection in seen[0] if connection.cookie in kept)

    def destroy(self, netns: Netns, doomed: Iterable[OlderConnection]) -> int:
        return connections.destroy(netns.fd, doomed)


class LinuxRedirector:
    """The kernel part of this node, for namespaces that were opened by ``Linux``."""

    def __init__(self, redirector: kernel_redirector.Redirector) -> None:
        self._redirector = redirector
        self.shared_maps: Mapping[str, int] = redirector.shared_maps

    def set(
        self,
        desired: Collection[Redirection],
        netns: Mapping[str, Netns],
        listeners: Mapping[str, Mapping[Role, socket.socket]],
    ) -> int:
        return self._redirector.set(desired, {uid: _kernels(one) for uid, one in netns.items()}, listeners)

    def mark_proxy(self, cgroup: str | None) -> None:
        self._redirector.mark_proxy(cgroup)

    def counters(self) -> dict[str, int]:
        return self._redirector.counters()


def check_sealed(fd: int) -> None:
    """Raises PeerError unless it is a memfd that nobody can change, its sender included."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise PeerError("a deposit came as a descriptor that is not a memfd") from error
    if seals & process.SEALS != process.SEALS:
        raise PeerError("a deposit came as a memfd that its sender can still change")


def _check_listener(role: Role, listener: socket.socket, netns_cookie: int) -> None:
    listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    cookie = int.from_bytes(listener.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
    if not listening or cookie != netns_cookie or listener.getsockname()[1] != role.value:
        raise PeerError(f"what came back as the {role.name.lower()} listener is not one of that workload")


def _cgroup_root() -> Path:
    root = process.cgroup_root()
    if root is None:
        raise ConfigError("cgroup v2 is not mounted; mount it: mount -t cgroup2 none /sys/fs/cgroup")
    return Path(root)


def _kernels(netns: Netns) -> kernel_netns.Netns:
    if not isinstance(netns, kernel_netns.Netns):
        raise TypeError(f"{netns!r} was not opened here")
    return netns
