"""What an attack cost: memory and processor time of processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def resident(pid: int | str = "self") -> int:
    """KiB of memory that a process has resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def processor_seconds(pid: int | str = "self") -> float:
    """Seconds that a process has computed, in user and kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Cost:
    """What some processes used since this was made."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._began = {pid: (resident(pid), processor_seconds(pid)) for pid in pids}

    @property
    def kib(self) -> int:
        """By how much the one that grew most has grown."""
        return max(resident(pid) - before for pid, (before, _) in self._began.items())

    @property
    def seconds(self) -> float:
        """Processor time of all of them."""
        return sum(processor_seconds(pid) - before for pid, (_, before) in self._began.items())
