"""One supervisor for each run folder, and how others find it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ambient.core.errors import ConfigError, Unavailable

FILE: Final = "up.json"
"""In the run folder; locked as long as its supervisor lives."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The supervisor that has the folder, or had it last."""

    pid: int
    node: str
    state_dir: Path
    lives: bool


def find(run_dir: Path) -> Owner | None:
    """None: nothing was ever up there, or it was ended."""
    try:
        opened = os.open(run_dir / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"--run-dir {run_dir}: {error.strerror}; are you root?") from error
    try:
        content = json.loads(Path(f"/proc/self/fd/{opened}").read_bytes())
        lives = not _try(opened)
        return Owner(int(content["pid"]), str(content["node"]), Path(content["state_dir"]), lives)
    except (ValueError, KeyError, TypeError):
        return None  # Its supervisor died before it had anything to say.
    finally:
        os.close(opened)


@contextlib.contextmanager
def held(run_dir: Path, node: str, state_dir: Path) -> Iterator[None]:
    """Be the folder's supervisor. Raises ConfigError if there is one."""
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = os.open(run_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"--run-dir {run_dir}: {error.strerror}; give a folder that can be written to"
        ) from error
    try:
        if not _try(opened):
            raise ConfigError(f"--run-dir {run_dir}: ambient is up there already; end it with `ambient down`")
        content = json.dumps({"pid": os.getpid(), "node": node, "state_dir": str(state_dir)}).encode()
        os.pwrite(opened, content, 0)
        os.ftruncate(opened, len(content))
        yield
    finally:
        os.close(opened)


def forget(run_dir: Path) -> None:
    """Nothing is up any more: what its programs have left in the folder goes too, and the folder if it is empty then."""
    for path in run_dir.iterdir():
        if path.is_socket() or path.suffix == ".lock" or path.name == FILE:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # Others have files there too.
        run_dir.rmdir()


def end(owner: Owner, seconds: float) -> None:
    """Have the supervisor end all that it has, and itself. Raises Unavailable if it does not in time."""
    try:
        descriptor = os.pidfd_open(owner.pid)
    except OSError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        if not ended.poll(seconds * 1000):
            raise Unavailable(
                f"the supervisor, pid {owner.pid}, has not ended within {seconds:.0f} s; kill -9 it, then `ambient down` again"
            )
    finally:
        os.close(descriptor)


def _try(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
