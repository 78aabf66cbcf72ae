"""A program as a process that outlives whoever started it: started in a cgroup of its own, or found there again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ambient.core.errors import ConfigError
from ambient.kernel import cgroup

_LARGEST_LOG: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """What is to run."""

    name: str
    """Of its cgroup and its log too."""
    command: tuple[str, ...]


class Child:
    """A running process behind a descriptor, which is closed when its end was seen."""

    def __init__(self, pid: int, descriptor: int, popen: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self._descriptor, self._popen = descriptor, popen

    @classmethod
    def start(cls, program: Program, folder: Path | None, log: Path, environment: Mapping[str, str]) -> Child:
        """Run it in the cgroup ``folder``, or in that of this process, as leader of a session; what it says is added to ``log``.

        Raises ConfigError.
        """
        _rotate(log)
        try:
            with log.open("ab") as said:
                popen = subprocess.Popen(  # noqa: S603  # Our own programs, no shell of anybody's words.
                    program.command if folder is None else cgroup.entering(folder, program.command),
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    env={**os.environ, **environment},
                    start_new_session=True,
                )
            if folder is not None:
                cgroup.join(
                    folder, popen.pid
                )  # By itself it does so a moment later, when somebody may look already.
        except OSError as error:
            raise ConfigError(f"{program.name} cannot be started: {error}") from error
        return cls(popen.pid, os.pidfd_open(popen.pid), popen)

    @classmethod
    def find(cls, folder: Path) -> Child | None:
        """The program that somebody before us has started in this cgroup.

        It is the one that leads a session. Others are what it has started itself, or a program before it.
        """
        for pid in cgroup.members(folder):
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(pid) == pid:
                    return cls(pid, os.pidfd_open(pid), None)
        return None

    @property
    def command(self) -> tuple[str, ...]:
        """What it was started as; empty if it has ended."""
        try:
            line = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ()
        return tuple(map(os.fsdecode, line.split(b"\0")[:-1]))

    async def ended(self) -> str:
        """Wait for it, and say how it ended. To be awaited by one at a time."""
        if self._descriptor >= 0:
            loop = asyncio.get_running_loop()
            seen = asyncio.Event()
            loop.add_reader(self._descriptor, seen.set)
            try:
                await seen.wait()
            finally:
                loop.remove_reader(self._descriptor)
            self._close()
        if self._popen is None:
            return "ended"
        status = self._popen.wait()
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._descriptor >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def let_go(self) -> None:
        """Leave it running, and forget it."""
        self._close()
        if self._popen is not None:
            self._popen.returncode = 0  # It is not ours to wait for any more.

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def last_words(log: Path) -> str:
    """The last line of a log, which says why its program ended."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].removeprefix("error: ") if lines else ""


def _rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LARGEST_LOG:
            log.rename(log.with_suffix(".log.1"))
