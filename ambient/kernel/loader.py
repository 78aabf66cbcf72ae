"""Has the programs compiled and loaded by a short-lived process, and finds what it left pinned.

Pins of a node: ``/sys/fs/bpf/ambient/<node>/<layout>/{maps,progs,links/…}``. The layout is a hash of everything that
went into it, so that a newer ambient never writes to maps of an older one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ambient.core.check import KERNEL_FLOOR
from ambient.core.errors import ConfigError
from ambient.kernel import mounts

BPFFS = Path("/sys/fs/bpf")
PINS = BPFFS / "ambient"
COMPILER = Path(__file__).with_name("compiler.py")
DEBIAN_PYTHON = "/usr/bin/python3"
COMPILE_SECONDS = 120
BUILDING = "building"


def check_machine() -> None:
    """Whether the kernel part can run here; ConfigError says what is missing."""
    if os.geteuid() != 0:
        raise ConfigError("the node daemon must run as root: it loads BPF programs and enters namespaces")
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if version is None or (int(version[1]), int(version[2])) < KERNEL_FLOOR:
        raise ConfigError(f"the kernel is {platform.release()}; ambient needs 6.1 or later")
    if mounts.first_of("cgroup2") is None:
        raise ConfigError("cgroup v2 is not mounted; mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def node_folder(node: str) -> Path:
    """Where a node's pins are. The BPF file system allows no dots in names."""
    return PINS / quote(node, safe="").replace(".", "%2E")


def has_bpffs() -> bool:
    """Whether a BPF file system is mounted; if not, ``bpffs`` mounts one."""
    mount = mounts.at(BPFFS)
    return mount is not None and mount.kind == "bpf"


@contextmanager
def bpffs() -> Iterator[None]:
    """The body runs with the BPF file system mounted and nobody else making or removing folders of nodes."""
    lock = os.open(BPFFS.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not has_bpffs():
            mounts.mount_bpffs(BPFFS)
        yield
    finally:
        os.close(lock)


def lock_node(node: str) -> int:
    """Make the node's folder and lock it for as long as the returned descriptor is open.

    ConfigError: another daemon of this node has it.
    """
    folder = node_folder(node)
    with bpffs():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise ConfigError(
                f"node {node!r} already has a daemon on this machine (it holds {folder}); stop that one, "
                "or give this one another node name"
            ) from error
    return lock


def layout(source: Path) -> str:
    """A name for what ``source`` compiles to."""
    content = hashlib.sha256(COMPILER.read_bytes())
    for path in sorted((*source.glob("*.c"), *source.glob("include/*.h"))):
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:16]


def load(folder: Path) -> Path:
    """The current layout in a node's folder, built if it is not there. The caller holds the node's lock."""
    source = source_folder()
    ready = folder / layout(source)
    if ready.exists():
        return ready
    building = folder / BUILDING
    if building.exists():
        remove(building)
    building.mkdir(mode=0o700)
    try:
        _compile(source, building)
        (building / "links").mkdir()
    except BaseException:
        remove(building)
        raise
    building.rename(ready)
    return ready


def older_layouts(folder: Path, current: Path) -> tuple[Path, ...]:
    """Layouts that earlier versions of ambient left in a node's folder."""
    return tuple(path for path in folder.iterdir() if path.is_dir() and path != current)


def remove(folder: Path) -> None:
    """Unpin everything under ``folder``, links first: a program is detached before its maps go."""
    links = folder / "links"
    if links.exists():
        _remove_tree(links)
    _remove_tree(folder)


def leave() -> None:
    """Remove what no node uses any more: the folder of all nodes, and the file system if it was ours."""
    with bpffs():
        if PINS.exists() and not any(PINS.iterdir()):
            PINS.rmdir()
        mounts.unmount_if_ours(BPFFS)


def source_folder() -> Path:
    """The C sources: beside the package in a checkout, inside it in a wheel."""
    here = Path(__file__).resolve().parent
    for folder in (here / "bpf_source", here.parents[1] / "bpf"):
        if (folder / "include" / "abi.h").exists():
            return folder
    raise ConfigError("the BPF sources are not installed with ambient; install the package again")


def _remove_tree(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            _remove_tree(entry)
        else:
            entry.unlink()
    folder.rmdir()


def _compile(source: Path, target: Path) -> None:
    command = [DEBIAN_PYTHON, "-I", str(COMPILER), str(source), str(target)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(  # noqa: S603 - our own script, no shell
            command, env=environment, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise ConfigError(
            f"{DEBIAN_PYTHON} is not there; install Debian's python3, python3-bpfcc and linux-libc-dev"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"the BPF programs were not compiled within {COMPILE_SECONDS} seconds; the machine is overloaded"
        ) from error
    if done.returncode == 0:
        return
    said = done.stderr.strip()
    if "No module named 'bcc'" in said or "libbcc.so" in said:
        raise ConfigError(f"{DEBIAN_PYTHON} has no BCC; install Debian's python3-bpfcc")
    if "file not found" in said:
        raise ConfigError(f"BCC finds no C headers; install Debian's linux-libc-dev\n{said}")
    raise ConfigError(f"the BPF programs could not be loaded: {said[-4000:] or f'status {done.returncode}'}")
