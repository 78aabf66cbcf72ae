"""What processes and the machine used: from /proc, read around a load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

_TICK = os.sysconf("SC_CLK_TCK")
Seconds: TypeAlias = dict[str, float]
MACHINE, CLIENT, SERVER, CONTROL = "whole machine", "client program", "server program", "control plane"
NODES = "both nodes"
"""All that is beside a waypoint."""
NO_PART = {MACHINE, CLIENT, SERVER, CONTROL, NODES}
"""Processes that are no part of what carries the bytes: they are shown, and not added up."""


def cpu(processes: Mapping[str, int]) -> Seconds:
    """Seconds of CPU that each process has used, all of its threads, and the whole machine."""
    used = {name: _of_process(pid) for name, pid in processes.items()}
    used[MACHINE] = _of_machine()
    return used


def between(before: Seconds, after: Seconds) -> Seconds:
    return {name: round(after[name] - before[name], 3) for name in before if name in after}


def memory(processes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Bytes of each process: ``rss``, and ``pss``, in which a shared page counts in parts."""
    found = {}
    for name, pid in processes.items():
        fields = {}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            key, value, *_ = line.split()
            fields[key.rstrip(":").lower()] = int(value) * 1024
        found[name] = {key: fields[key] for key in ("rss", "pss")}
    return found


def _of_process(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _of_machine() -> float:
    user, nice, system, _idle, _waiting, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / _TICK
