"""A network namespace by name, and doing something inside one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A named network namespace: made with loopback up, forwarding on, IPv6 without detection or routers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.sysctl("net.ipv6.conf.all.accept_dad", 0)
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)
        self.sysctl("net.ipv6.conf.all.accept_ra", 0)
        self.sysctl("net.ipv6.conf.default.accept_ra", 0)
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.ip("link set lo up")

    def ip(self, *commands: str) -> None:
        """Run ``ip`` commands inside."""
        batch = "\n".join(commands)
        ran = subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"], input=batch, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"ip in {self.name}: {ran.stderr}\n{batch}"

    def sysctl(self, name: str, value: int | str) -> None:
        """Set a setting that belongs to this namespace alone."""
        with entered(self.path):
            Path("/proc/sys", *name.split(".")).write_text(str(value))

    def delete(self) -> None:
        """Take the name away, if it is still there; the namespace goes with the last who holds it."""
        if self.path.exists():
            subprocess.run(["ip", "netns", "delete", self.name], check=True)


@contextlib.contextmanager
def entered(path: Path) -> Iterator[None]:
    """The calling thread is in the namespace inside the block; sockets made there stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(there)
        os.close(home)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
