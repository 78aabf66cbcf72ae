"""What a process asks of the kernel about itself and others: secrets in memory, and cgroups."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
from pathlib import Path

from ambient.core.errors import ConfigError, PeerError
from ambient.kernel import mounts

PR_SET_DUMPABLE = 4
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
CGROUP_V2_MAGIC = 0x63677270
CAPABILITIES = {"NET_ADMIN": 12, "SYS_ADMIN": 21}
"""Source: include/uapi/linux/capability.h."""

_libc = ctypes.CDLL(None, use_errno=True)


def check_privileges(program: str, *capabilities: str) -> None:
    """Whether this process is root's and has these capabilities; ConfigError names those that it lacks."""
    if os.geteuid() != 0:
        raise ConfigError(
            f"{program} needs root, to enter the network namespaces of workloads; run it as root"
        )
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text("ascii").splitlines()
        if line.startswith("CapEff:")
    )
    effective = int(line.split()[1], 16)
    lacking = [name for name in capabilities if not effective >> CAPABILITIES[name] & 1]
    if lacking:
        raise ConfigError(
            f"{program} lacks the capability {' and '.join(lacking)}; give it {' and '.join(capabilities)}"
        )


def forbid_core_dumps() -> None:
    """Neither a crash nor a debugger of the same user gets at this process's memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_DUMPABLE): {os.strerror(number)}")


def allow_many_descriptors() -> None:
    """As many as the operator lets this process and its children have: each connection takes two, each workload four."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def memory_used() -> int:
    """Bytes of memory that this process alone needs."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_bytes().split()
    return (int(resident) - int(shared)) * resource.getpagesize()


def memory_limit() -> int | None:
    """Bytes that the cgroup of this process, or one above it, may have; None: nobody says."""
    root, own = cgroup_root(), cgroup_of(os.getpid())
    limits = []
    while root is not None and own is not None and own != root:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number.
            limits.append(int(Path(own, "memory.max").read_text("ascii")))
        own = str(Path(own).parent)
    return min(limits, default=None)


def seal(name: str, content: bytes) -> int:
    """A memfd with this content that nobody, its maker included, can change. The caller owns the descriptor."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        written = 0
        while written < len(content):
            written += os.write(fd, content[written:])
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def unseal(fd: int) -> bytes:
    """What is in a memfd made by ``seal``. The descriptor stays open and the caller's."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise PeerError("a deposit came as a descriptor that is not a memfd") from error
    if seals & SEALS != SEALS:
        raise PeerError("a deposit came as a memfd that its sender can still change")
    size = os.fstat(fd).st_size
    content = bytearray()
    while len(content) < size:
        content += os.pread(fd, size - len(content), len(content))
    return bytes(content)


def cgroup_root() -> str | None:
    """Where cgroup v2 is mounted; None if it is not."""
    root = mounts.first_of("cgroup2")
    return None if root is None else str(root)


def cgroup_of(pid: int) -> str | None:
    """The cgroup v2 folder of a process; None if it is in the root of the hierarchy or there is no v2."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ConfigError(f"pid {pid}: there is no such process; give the pid of one that runs") from error
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    root = cgroup_root()
    return None if root is None or path == "/" else f"{root}{path}"


def cgroup_folder(number: int) -> str | None:
    """The cgroup v2 folder that has this id; None if it is the root of the hierarchy, or out of this process's sight."""
    root = cgroup_root()
    if root is None:
        return None
    folders = (folder for folder, _, _ in os.walk(root) if folder != root)
    return next((folder for folder in folders if _inode(folder) == number), None)


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116
    except OSError:
        return 0  # Removed since it was listed.


def cgroup_id(path: str) -> int:
    """The kernel's id of a cgroup v2 folder, as sockets carry it."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise ConfigError(f"cgroup {path!r}: {error.strerror}; give a folder of cgroup v2") from error
    return status.st_ino
