"""What each process holds: at rest, and in the middle of two loads."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench import accounting
from bench.case import Case, Figures, Round
from bench.loads import Load
from bench.peers import Peer

IDLE: Final = "idle"
MEGABYTE: Final = 1e6


@dataclass(frozen=True, slots=True)
class Memory(Case):
    """The first round is of processes that have carried nothing yet."""

    states: Mapping[str, Load]
    """What a process is asked to do while it is looked at."""

    @property
    def units(self) -> Mapping[str, str]:
        return {f"{kind}, {state}": "MB" for state in (IDLE, *self.states) for kind in ("PSS", "RSS")}

    @property
    def each(self) -> str:
        return "PSS MB, the most"

    @property
    def adds_up(self) -> bool:
        return False

    def suits(self, peer: Peer) -> bool:
        return bool(peer.processes())

    def run(self, peer: Peer, number: int, seconds: float, warmup: float) -> Round:
        processes = peer.processes()
        seen = {IDLE: accounting.memory(processes)}
        for state, load in self.states.items():
            running = load.start(peer, seconds / 2, warmup)
            time.sleep(warmup + seconds / 4)
            seen[state] = accounting.memory(processes)
            running.finished(seconds + warmup + 60)
        figures: Figures = {}
        for state, found in seen.items():
            for kind in ("pss", "rss"):
                held = (of[kind] for name, of in found.items() if name not in accounting.NO_PART)
                figures[f"{kind.upper()}, {state}"] = sum(held) / MEGABYTE
        each = {name: max(found[name]["pss"] for found in seen.values()) / MEGABYTE for name in processes}
        return Round(self.name, peer.name, number, figures, each, dict(seen))
