"""Cgroup v2 folders."""

from __future__ import annotations

import os
from contextlib import suppress
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
    """Processes of the folder and of all below it; what somebody removes meanwhile has none."""
    found: list[int] = []
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            found += map(int, Path(path, "cgroup.procs").read_text().split())
    return found


def remove(folder: Path) -> None:
    """End what runs in the folder and below, and remove it; another may be at it too."""
    with suppress(OSError):
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
