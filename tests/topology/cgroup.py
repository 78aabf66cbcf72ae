"""Cgroup v2 folders."""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path

from topology.process import until


@cache
def mount() -> Path:
    """Where cgroup v2 is mounted: beside v1 on a hybrid machine."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise RuntimeError("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")


def members(folder: Path) -> list[int]:
    """Processes of the folder and of all below it."""
    return [int(pid) for file in folder.rglob("cgroup.procs") for pid in file.read_text().split()]


def remove(folder: Path) -> None:
    """End what runs in the folder and below, and remove it."""
    if not folder.exists():
        return
    (folder / "cgroup.kill").write_text("1")
    until(lambda: not members(folder), 5, f"processes of {folder} to end")
    for path, _, _ in os.walk(folder, topdown=False):
        until(partial(_removed, path), 5, f"{path} to be removable")


def _removed(path: str) -> bool:
    try:
        Path(path).rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
