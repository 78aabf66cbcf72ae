"""Processes whose output is read while they run, and waiting for what must come true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")

OWNER = "AMBIENT_TEST_OWNER"
"""Every process of a topology carries this variable: the pid of the process that made the topology."""

PATIENCE = float(os.environ.get("AMBIENT_TEST_PATIENCE", "1"))
"""How many times as long as usual a test waits before it gives up: a machine in software is slow."""


def until(condition: Callable[[], T | Literal[False] | None], timeout_seconds: float, what: str) -> T:
    """The first truthy answer of ``condition``; AssertionError when there is none in time."""
    timeout_seconds *= PATIENCE
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_seconds:g} s in vain for {what}")
        time.sleep(0.01)


class Process:
    """A process started in a cgroup and a network namespace, its output in two files of ``folder``."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        folder: Path,
        cgroup: Path,
        netns: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.argv = [str(argument) for argument in argv]
        self.cgroup = cgroup
        self.output = folder / f"{name}.out"
        self.errors = folder / f"{name}.err"
        with self.output.open("ab") as out, self.errors.open("ab") as err:
            self._popen = subprocess.Popen(
                entering(cgroup, netns, self.argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(environment or {}), OWNER: str(os.getpid())},
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects that it printed and then those that it logged; a line still being written is left out."""
        texts = (path.read_text(errors="replace").rpartition("\n")[0] for path in (self.output, self.errors))
        return [json.loads(line) for text in texts for line in text.splitlines() if line.startswith("{")]

    def wait_for_line(self, timeout_seconds: float = 10, **fields: object) -> dict[str, Any]:
        """The first JSON line with these fields; AssertionError with what it said if it ends or never prints one."""

        def found() -> dict[str, Any] | None:
            ended = not self.running
            for line in self.lines():
                if fields.items() <= line.items():
                    return line
            assert not ended, f"{self.name} ended with {self._popen.returncode}: {self.tail()}"
            return None

        try:
            line = until(found, timeout_seconds, f"{self.name} to print {fields}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None
        assert line is not None
        return line

    def wait(self, timeout_seconds: float = 30) -> int:
        return self._popen.wait(timeout_seconds * PATIENCE)

    def finished(self, timeout_seconds: float = 30) -> list[dict[str, Any]]:
        """What it printed, once it has ended well."""
        status = self.wait(timeout_seconds)
        assert status == 0, f"{self.name} ended with {status}: {self.tail()}"
        return self.lines()

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            self._popen.send_signal(number)

    def stop(self, timeout_seconds: float = 10) -> int:
        """SIGTERM, and SIGKILL when that is not heard."""
        self.signal(signal.SIGTERM)
        try:
            return self._popen.wait(timeout_seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        self.signal(signal.SIGKILL)
        return self._popen.wait(10 * PATIENCE)

    def tail(self, lines: int = 30) -> str:
        """The end of what it said, for a message."""
        said = [
            *self.text().splitlines()[-lines:],
            *self.errors.read_text(errors="replace").splitlines()[-lines:],
        ]
        return f"$ {' '.join(self.argv)}\n" + "\n".join(said)


def entering(cgroup: Path, netns: Path, argv: Sequence[str]) -> list[str]:
    """A command that joins the cgroup and the namespace first, so that ``argv`` is born in both."""
    script = 'echo $$ >"$0/cgroup.procs" && netns=$1 && shift && exec nsenter --net="$netns" -- "$@"'
    return ["/bin/sh", "-c", script, str(cgroup), str(netns), *argv]
