"""Where our workers spend their time under a load: py-spy beside every round."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.case import Case
from bench.peers import Ambient, Peer

RATE = 200
_TOP = 15


class Profiler:
    """Figures of profiled rounds are not for comparison: a sample stops the worker for a moment."""

    def __init__(self, folder: Path) -> None:
        beside = Path(sys.executable).with_name("py-spy")
        program = str(beside) if beside.exists() else shutil.which("py-spy")
        if program is None:
            raise SystemExit(f"--profile needs py-spy: {beside.with_name('pip')} install py-spy")
        self._program = program
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._stacks: dict[tuple[str, str], Counter[str]] = {}

    @contextlib.contextmanager
    def around(self, peer: Peer, case: Case, number: int) -> Iterator[None]:
        """Sample the workers of ambient inside the block."""
        if not isinstance(peer, Ambient):
            yield
            return
        spies = {}
        for name, pid in {**peer.processes(), **peer.waypoint()}.items():
            if "worker" in name:
                path = self._folder / f"{case.name}-{number}-{name.replace(': ', '-').replace(' ', '-')}.txt"
                spies[name, path] = subprocess.Popen(
                    [
                        self._program, "record", "--pid", str(pid), "--native", "--rate", str(RATE),
                        "--duration", "unlimited", "--format", "raw", "--output", path,
                    ],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
        try:
            yield
        finally:
            for (name, path), spy in spies.items():
                spy.send_signal(signal.SIGINT)
                spy.wait(30)
                self._read(case.name, name.partition(":")[0], path)

    def summary(self) -> Iterator[str]:
        """For each case and node: the functions that ran, without what they called and without waiting."""
        for (case, node), stacks in self._stacks.items():
            own: Counter[str] = Counter()
            for stack, count in stacks.items():
                function = stack.rpartition(";")[2]
                if not function.startswith("epoll_"):
                    own[function] += count
            yield f"{case}, workers of node {node}, {own.total()} samples:"
            for function, count in own.most_common(_TOP):
                yield f"  {100 * count / own.total():5.1f} %  {function}"

    def _read(self, case: str, node: str, path: Path) -> None:
        stacks = self._stacks.setdefault((case, node), Counter())
        if path.exists():
            for line in path.read_text(errors="replace").splitlines():
                stack, _, count = line.rpartition(" ")
                stacks[stack] += int(count)
