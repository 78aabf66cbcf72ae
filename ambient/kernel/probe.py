"""What this machine's kernel can do for us, found out by trying it, and who else is there. Nothing is left of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
import threading
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from ambient.core.errors import AmbientError
from ambient.core.model.address import IpAddress
from ambient.kernel import bpf, cgroup, loader, netns, process, redirector
from ambient.kernel.netns import Netns

_SECONDS: Final = 1.0
_STA_UNSYNC: Final = 0x40
"""Source: include/uapi/linux/timex.h."""
_HOOKS: Final = {
    **redirector.SOCKET_HOOKS, **redirector.CAPTURE_HOOK, **redirector.PROBER_HOOK, **redirector.PROXY_HOOK,
}  # fmt: skip
_WATCHED: Final = (bpf.Attach.CONNECT4, bpf.Attach.CONNECT6, bpf.Attach.SOCK_OPS)
"""Where others' programs change what ours see."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The head of struct timex. ``modes`` 0: nothing is set."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("largest_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def release() -> str:
    """Of the kernel, such as ``6.12.1-cloud-amd64``."""
    return platform.release()


def lacking(*capabilities: str) -> str:
    """What this process lacks of root's privileges; empty: nothing."""
    try:
        process.check_privileges("this", *capabilities)
    except AmbientError as error:
        return str(error)
    return ""


def why_no_cgroup() -> str:
    """Why no cgroup of version 2 can be made; empty: one can."""
    try:
        with _scratch_cgroup():
            return ""
    except (AmbientError, OSError) as error:
        return str(error)


def has_bpffs() -> bool:
    """Whether a BPF file system is mounted; one is mounted when it is needed."""
    return loader.has_bpffs()


def why_not_loaded() -> Mapping[str, str]:
    """Compile and load every program, and attach each to something of ours: what is refused, by program, and why.

    What hinders all of them, a missing package say, is there under the empty name.
    """
    try:
        with loader.bpffs():
            pass
        folder = loader.node_folder(f"check-{os.getpid()}")
        folder.mkdir(mode=0o700, parents=True)
    except (AmbientError, OSError) as error:
        return {"": str(error)}
    try:
        programs = loader.load(folder) / "progs"
        with _scratch_cgroup() as group, _scratch_netns() as space:
            return {
                name: why
                for name in sorted(path.name for path in programs.iterdir())
                if (why := _why_not_attached(programs / name, name, group, space))
            }
    except (AmbientError, OSError) as error:
        return {"": str(error)}
    finally:
        loader.remove(folder)
        loader.leave()


def programs_of_others() -> tuple[tuple[str, str], ...]:
    """Hook and name of each program that somebody else has put on the root of the cgroup hierarchy."""
    root = process.cgroup_root()
    if root is None:
        return ()
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return tuple(
            (attach.name.lower(), name)
            for attach in _WATCHED
            for name in bpf.attached(folder, attach)
            if name not in {ours[:15] for ours in _HOOKS}
        )
    except OSError:
        return ()  # Not root: it was said already.
    finally:
        os.close(folder)


def why_not_bound(port: int) -> str:
    """Why nobody can listen on this TCP port; empty: one can."""
    try:
        with socket.create_server(("", port)):
            return ""
    except OSError as error:
        return os.strerror(error.errno or 0)


def is_clock_synchronised() -> bool | None:
    """Whether something keeps the kernel's clock right; None: it cannot be told."""
    asked = _Timex()
    if _libc.adjtimex(ctypes.byref(asked)) < 0:
        return None
    return not asked.status & _STA_UNSYNC


def seen_source(source: str, destination: str, address: IpAddress) -> IpAddress | None:
    """Whom ``address`` in the namespace at ``destination`` sees when the one at ``source`` sends it a datagram.

    None: it did not arrive. Datagrams are not captured; networks translate them as they do connections.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with _opened(destination) as there, _opened(source) as here:
        with netns.inside(there.fd):
            receiver = socket.socket(family, socket.SOCK_DGRAM)
        with receiver:
            receiver.bind((str(address), 0))
            receiver.settimeout(_SECONDS)
            with netns.inside(here.fd):
                sender = socket.socket(family, socket.SOCK_DGRAM)
            with sender:
                try:
                    sender.sendto(b"ambient check", (str(address), receiver.getsockname()[1]))
                    _, (seen, *_) = receiver.recvfrom(64)
                except OSError:
                    return None
    return ip_address(seen)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Netns]:
    opened = Netns.open(path)
    try:
        yield opened
    finally:
        opened.close()


def _why_not_attached(pin: Path, name: str, group: int, space: int) -> str:
    attach = _HOOKS[name]
    program = bpf.get(pin)
    try:
        os.close(bpf.link(program, space if attach is bpf.Attach.SK_LOOKUP else group, attach))
    except OSError as error:
        return str(error)
    finally:
        os.close(program)
    return ""


@contextlib.contextmanager
def _scratch_cgroup() -> Iterator[int]:
    folder = cgroup.make(f"ambient-check-{os.getpid()}")
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield opened
        finally:
            os.close(opened)
    finally:
        cgroup.remove(folder)


@contextlib.contextmanager
def _scratch_netns() -> Iterator[int]:
    made: list[int | OSError] = []

    def make() -> None:
        # Only this thread moves there, and the namespace lives as long as the descriptor.
        if _libc.unshare(netns.CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            made.append(OSError(number, f"a network namespace cannot be made: {os.strerror(number)}"))
        else:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    (result,) = made
    if isinstance(result, OSError):
        raise result
    try:
        yield result
    finally:
        os.close(result)
