"""What a topology could leave behind, by the pid in its name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from topology import cgroup
from topology.process import OWNER

PINS = Path("/sys/fs/bpf/ambient")
NAMESPACES = Path("/run/netns")
_NAME = re.compile(r"^amb-(\d+)-")


def leftovers(owner: int) -> list[str]:
    """Everything that topologies of process ``owner`` left: empty when all was removed."""
    prefix = f"amb-{owner}-"
    folders = (NAMESPACES, cgroup.mount(), PINS, Path(tempfile.gettempdir()))
    paths = [str(path) for folder in folders if folder.is_dir() for path in folder.glob(f"{prefix}*")]
    return paths + [f"process {pid}: {command}" for pid, command in processes(owner)]


def processes(owner: int) -> list[tuple[int, str]]:
    """Processes that topologies of ``owner`` started, with their command lines."""
    mark = f"{OWNER}={owner}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(folder.name), command))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def reap() -> None:
    """Remove what topologies left whose process was killed before it could."""
    for group in cgroup.mount().glob("amb-*"):
        if _is_orphan(group.name):
            cgroup.remove(group)
    for namespace in NAMESPACES.glob("amb-*"):
        if _is_orphan(namespace.name):
            subprocess.run(["ip", "netns", "delete", namespace.name], check=False)
    for folder in [*PINS.glob("amb-*"), *Path(tempfile.gettempdir()).glob("amb-*")]:
        if _is_orphan(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _is_orphan(name: str) -> bool:
    match = _NAME.match(name)
    if match is None:
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    return False
