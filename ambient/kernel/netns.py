"""Network namespaces: what is in them, and sockets made inside them.

A thread enters a namespace only for the length of one system call or a few, with no await and no other thread
involved, and leaves it again.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ambient.core.errors import ConfigError
from ambient.core.model.address import IpAddress
from ambient.core.redirection import Role
from ambient.kernel import netlink

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703
SO_NETNS_COOKIE = 71
BACKLOG = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class Netns:
    """A network namespace. Owns one file descriptor, which keeps it alive."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        try:
            self.cookie = _cookie(fd, name)
        except BaseException:
            os.close(fd)
            raise
        self.inode = os.fstat(fd).st_ino

    @classmethod
    def open(cls, path: str) -> Netns:
        """The namespace at ``path`` (``/run/netns/NAME``, ``/proc/PID/ns/net``)."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"network namespace {path!r}: {error.strerror}; give the path of one that exists"
            ) from error
        return cls(fd, path)

    @classmethod
    def of_pid(cls, pid: int) -> Netns:
        """The namespace that process ``pid`` is in."""
        path = f"/proc/{pid}/ns/net"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"pid {pid}: there is no such process; give the pid of one that runs"
            ) from error
        return cls(fd, path)

    @classmethod
    def adopt(cls, fd: int) -> Netns:
        """The namespace behind a descriptor that came from elsewhere; it is closed with this object."""
        return cls(fd, f"descriptor {fd}")

    def addresses(self) -> tuple[IpAddress, ...]:
        """Its global addresses on interfaces that are up; none of loopback or link scope."""
        with inside(self.fd):
            return netlink.global_addresses()

    def is_own(self) -> bool:
        """Whether it is the namespace of this process."""
        own, this = Path("/proc/thread-self/ns/net").stat(), os.fstat(self.fd)
        return (own.st_dev, own.st_ino) == (this.st_dev, this.st_ino)

    def close(self) -> None:
        """Let go of it. May be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextmanager
def inside(netns_fd: int) -> Iterator[None]:
    """The body runs in that namespace, on this thread. It must not await and should be short."""
    home = _home()
    _enter(netns_fd)
    try:
        yield
    finally:
        _enter(home)


def socket_in(netns_fd: int, family: int) -> socket.socket:
    """A TCP socket of that namespace: non-blocking, closed on exec."""
    home = _home()
    _enter(netns_fd)
    try:
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    finally:
        _enter(home)
    made.setblocking(False)
    return made


def listen_in(netns: Netns) -> dict[Role, socket.socket]:
    """The three listeners of a pod, on every address of both families (IPv4 alone where there is no IPv6)."""
    listeners: dict[Role, socket.socket] = {}
    try:
        for role in Role:
            listeners[role] = _listen(netns, role)
    except BaseException:
        for listener in listeners.values():
            listener.close()
        raise
    return listeners


def _listen(netns: Netns, role: Role) -> socket.socket:
    try:
        listener = socket_in(netns.fd, socket.AF_INET6)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        listener = socket_in(netns.fd, socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("", role.value))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigError(
            f"port {role.value} ({role.name.lower()}) is in use in the workload's network namespace; "
            "the mesh needs it: let the program that has it listen on another port"
        ) from error
    return listener


@cache
def _home() -> int:
    """The namespace that this process lives in; open as long as it lives."""
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _enter(netns_fd: int) -> None:
    if _libc.setns(netns_fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _cookie(fd: int, name: str) -> int:
    try:
        kind = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        raise ConfigError(f"{name} is not a network namespace; give the path of one, such as /run/netns/NAME")
    with inside(fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        (cookie,) = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))
    return int(cookie)
