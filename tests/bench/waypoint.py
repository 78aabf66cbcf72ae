"""Requests through a waypoint, and what it alone costs: h2load asks, and writes each answer down."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import accounting
from bench.applications import CALL, Application
from bench.case import Case, Figures, Round
from bench.histogram import percentile
from bench.loads import RATE
from bench.peers import Peer
from topology import Process

_SHARES: Final = {"p50": 50.0, "p99": 99.0}
_MICRO: Final = 1e6
_CONNECTED_A_SECOND: Final = 200
"""Connections that are made before anything is counted: so many take a second, on the slowest way."""
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Through(Case):
    """Each connection asks again when it was answered. CPU is of the waypoint; others are shown, and not added."""

    application: Application
    connections: int

    @property
    def units(self) -> Mapping[str, str]:
        return {RATE: "/s", **dict.fromkeys(_SHARES, "ms"), "waypoint's memory": "MB PSS", "errors": ""}

    @property
    def each(self) -> str:
        return "CPU µs per request"

    def suits(self, peer: Peer) -> bool:
        return peer.has_waypoint

    def prepare(self, peer: Peer) -> None:
        peer.stand_waypoint()

    def run(self, peer: Peer, number: int, seconds: float, warmup: float) -> Round:
        waypoint = peer.waypoint()
        beside = peer.processes()
        warmup += self.connections / _CONNECTED_A_SECOND
        log = peer.site.topology.folder / f"{self.name}-{peer.name}-{number}.log"
        load = self._start(peer, log, seconds + warmup)
        time.sleep(warmup)
        begun, before = time.time(), accounting.cpu({**waypoint, **beside})
        time.sleep(seconds / 2)
        held = accounting.memory(waypoint)
        time.sleep(seconds / 2)
        ended, after = time.time(), accounting.cpu({**waypoint, **beside})
        load.wait(seconds + warmup + 60)
        seen = Seen.of(log.read_text().splitlines(), begun, ended)
        assert seen.answered, load.tail()
        log.unlink()
        used = accounting.between(before, after)
        carried = {name: used.get(name, 0.0) for name in (*waypoint, accounting.MACHINE)}
        carried[accounting.NODES] = sum(used[name] for name in beside if name in used)
        each = {name: value * _MICRO / seen.answered for name, value in carried.items()}
        figures: Figures = {RATE: seen.answered / (ended - begun)}
        figures.update({name: percentile(seen.latency, share) for name, share in _SHARES.items()})
        figures["waypoint's memory"] = sum(one["pss"] for one in held.values()) / 1e6
        figures["errors"] = seen.errors
        outcome = {"latency": seen.latency, "answered": seen.answered, "memory": held}
        return Round(self.name, peer.name, number, figures, each, outcome)

    def _start(self, peer: Peer, log: Path, seconds: float) -> Process:
        host, port = peer.through(self.application)
        words = [
            "--clients", str(self.connections), "--max-concurrent-streams", "1",
            # It rounds this, and what is counted ends before.
            "--duration", f"{int(1000 * (seconds + 0.5))}ms", "--log-file", str(log),
        ]  # fmt: skip
        if not self.application.http2:
            words.append("--h1")
        if self.application.calls:
            message = log.with_suffix(".message")
            message.write_bytes(CALL)
            words += ["--data", str(message), "--header", "content-type: application/grpc"]
            words += ["--header", "te: trailers"]
        return peer.client.popen("h2load", *words, f"http://{host}:{port}{self.application.path}")


@dataclass(frozen=True, slots=True)
class Seen:
    """Requests that were asked and answered within a time."""

    latency: list[tuple[int, int]]
    """Nanoseconds, in microseconds of three digits, and how many."""
    answered: int
    errors: int

    @classmethod
    def of(cls, lines: Iterable[str], begun: float, ended: float) -> Seen:
        """``lines`` as h2load writes them: when, in µs of the epoch; the status; how many µs it took."""
        counts: Counter[int] = Counter()
        errors = 0
        for line in lines:
            at, status, took = map(int, line.split("\t")[:3])
            over = (at + took) / _MICRO
            if not begun <= over < ended:
                continue
            if status == _OK:
                counts[_rounded(took) * 1000] += 1
            else:
                errors += 1
        return cls(sorted(counts.items()), counts.total(), errors)


def _rounded(value: int) -> int:
    unit: int = 10 ** max(len(str(value)) - 3, 0)
    return value // unit * unit
