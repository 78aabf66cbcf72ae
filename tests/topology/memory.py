"""A process that the kernel ends because its memory cgroup is full: by cgroup v2 where it has the controller, else by v1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from topology import cgroup
from topology.process import until

V1 = Path("/sys/fs/cgroup/memory")
LIMIT = 0
"""Bytes. What a process has is charged to where it was; from here on it may take no more than this."""


def starve(pid: int, name: str, gone: Callable[[], bool], poke: Callable[[], object]) -> str:
    """Move a process to a cgroup of no memory and ``poke`` it until the kernel has killed it; which version did it.

    ``name`` is a cgroup of the topology. What is done to the process must make it, or the kernel for it, allocate.
    """

    def killed() -> bool:
        if not gone():
            poke()
        return gone()

    if "memory" in (cgroup.mount() / name / "cgroup.controllers").read_text().split():
        return _starve_v2(pid, cgroup.mount() / name, killed)
    own = next(
        line.split(":", 2)[2]
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.split(":")[1] == "memory"
    )
    folder = V1 / own.lstrip("/") / name
    folder.mkdir()
    try:
        (folder / "memory.limit_in_bytes").write_text(str(LIMIT))
        (folder / "cgroup.procs").write_text(str(pid))
        until(killed, 20, f"process {pid} to be killed for want of memory")
        assert _killed(folder / "memory.oom_control") >= 1
    finally:
        if not gone():
            (V1 / own.lstrip("/") / "cgroup.procs").write_text(str(pid))
        until(lambda: not (folder / "cgroup.procs").read_text(), 5, "the cgroup to be empty")
        folder.rmdir()
    return "memory.limit_in_bytes of cgroup v1"


def _starve_v2(pid: int, topology: Path, killed: Callable[[], bool]) -> str:
    (topology / "cgroup.subtree_control").write_text("+memory")
    folder = topology / f"starved-{pid}"
    folder.mkdir()
    (folder / "memory.max").write_text(str(LIMIT))
    (folder / "cgroup.procs").write_text(str(pid))
    until(killed, 20, f"process {pid} to be killed for want of memory")
    assert _killed(folder / "memory.events") >= 1
    return "memory.max of cgroup v2"


def _killed(counters: Path) -> int:
    words = dict(line.split() for line in counters.read_text().splitlines())
    return int(words["oom_kill"])
