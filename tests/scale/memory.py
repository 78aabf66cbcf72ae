"""What a process holds, read from outside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Size:
    """One process at one moment."""

    anonymous: int
    """Bytes of its own memory that are resident: no files, nothing shared."""
    resident: int
    most: int
    """That was ever resident."""
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Size:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        return cls(
            anonymous=_bytes(status["RssAnon"]),
            resident=_bytes(status["VmRSS"]),
            most=_bytes(status["VmHWM"]),
            descriptors=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        )


def cpu_seconds(pid: int) -> float:
    """What the process has used since it began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def kernel_slab() -> int:
    """Bytes of kernel objects of the whole machine: sockets, inodes, epoll items and much that is not ours."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return _bytes(fields["Slab"])


def _bytes(field: str) -> int:
    number, unit = field.split()
    assert unit == "kB"
    return int(number) * 1024
