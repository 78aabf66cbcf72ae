"""Cgroup v2 folders of our own, and processes that are born in them."""

from __future__ import annotations

import contextlib
import errno
import select
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ambient.core.errors import ConfigError, Unavailable
from ambient.kernel import process

_KILL_SECONDS: Final = 5.0


def make(name: str) -> Path:
    """A folder below the root of the hierarchy. Raises ConfigError if there is none that can be written to."""
    root = process.cgroup_root()
    if root is None:
        raise ConfigError("cgroup v2 is not mounted; mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    folder = Path(root, name)
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cgroup {folder}: {error.strerror}; be root, and let cgroup v2 be mounted so that it can be written to"
        ) from error
    return folder


def entering(folder: Path, command: Sequence[str]) -> list[str]:
    """A command that joins the folder first, so that everything of ``command`` is born there, its sockets too."""
    return ["/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(folder), *command]


def join(folder: Path, pid: int) -> None:
    """Have a process be in the folder from here on, if it has not ended."""
    with contextlib.suppress(ProcessLookupError):
        (folder / "cgroup.procs").write_text(str(pid), "ascii")


def members(folder: Path) -> tuple[int, ...]:
    """The processes in it."""
    try:
        return tuple(map(int, (folder / "cgroup.procs").read_text("ascii").split()))
    except FileNotFoundError:
        return ()


def remove(folder: Path) -> None:
    """Kill what is in the folder and its children, wait for that, and remove them all."""
    if not folder.is_dir():
        return
    (folder / "cgroup.kill").write_text("1", "ascii")
    deadline = time.monotonic() + _KILL_SECONDS
    _wait_until_empty(folder, deadline)
    for child in [path for path in folder.iterdir() if path.is_dir()]:
        _remove(child, deadline)
    _remove(folder, deadline)


def _wait_until_empty(folder: Path, deadline: float) -> None:
    with (folder / "cgroup.events").open("rb", buffering=0) as events:
        changed = select.poll()
        changed.register(events, select.POLLPRI)
        while b"populated 0" not in events.read():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(f"cgroup {folder} still has the processes {members(folder)} after SIGKILL")
            changed.poll(left * 1000)
            events.seek(0)


def _remove(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            # The kernel lets go of the last process a moment after it says that none is there.
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise Unavailable(f"cgroup {folder} cannot be removed: {error.strerror}") from error
            time.sleep(0.005)
        else:
            return
