"""Which file systems are mounted where, and the one that keeps BPF objects."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OURS = "ambient"
"""The source of mounts that we made ourselves."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    point: Path
    kind: str
    source: str


def mounts() -> tuple[Mount, ...]:
    """What this process sees mounted, later ones above earlier ones."""
    return tuple(_read())


def at(point: Path) -> Mount | None:
    """The uppermost mount at exactly ``point``."""
    return next((mount for mount in reversed(mounts()) if mount.point == point), None)


def first_of(kind: str) -> Path | None:
    """Where the first file system of this kind is mounted."""
    return next((mount.point for mount in _read(kind)), None)


def mount_bpffs(point: Path) -> None:
    """Mount a BPF file system, so marked that ``unmount_if_ours`` knows it again."""
    _checked(
        _libc.mount(OURS.encode(), os.fsencode(point), b"bpf", 0, None), f"mount a BPF file system at {point}"
    )


def unmount_if_ours(point: Path) -> None:
    """Unmount what ``mount_bpffs`` mounted, unless somebody keeps something there."""
    mount = at(point)
    if mount is None or (mount.kind, mount.source) != ("bpf", OURS):
        return
    if all(entry.name.endswith(".debug") for entry in point.iterdir()):
        _checked(_libc.umount2(os.fsencode(point), 0), f"unmount {point}")


def _read(wanted: str | None = None) -> Iterator[Mount]:
    """Mounts of this kind, or all. Read no further than is asked: each namespace that has a name is a mount."""
    with Path("/proc/self/mountinfo").open(encoding="utf-8") as lines:
        for line in lines:
            left, _, right = line.rstrip("\n").partition(" - ")
            kind, source, *_ = right.split(" ")
            if wanted in {None, kind}:
                yield Mount(Path(_unescaped(left.split(" ")[4])), kind, _unescaped(source))


def _unescaped(text: str) -> str:
    return text.encode().decode("unicode_escape")


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
