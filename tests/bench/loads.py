"""A load of one of the C programs: what was done, how fast, and for how much CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from bench import accounting
from bench.case import Case, Figures, Round
from bench.histogram import percentile
from bench.peers import Peer
from topology import Process

Outcome: TypeAlias = Mapping[str, Any]
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}
RATE: Final = "rate"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a load's work, and so the CPU that it cost, is counted in."""

    name: str
    done: Callable[[Outcome], float]
    """How many of it a load did in all, warm-up included."""


GIGABYTE: Final = Unit("GB", lambda outcome: outcome["bytes_in_all"] / 1e9)
THOUSAND: Final = Unit("1,000 requests", lambda outcome: outcome["requests_in_all"] / 1e3)


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to use a program, and what to make of its outcome."""

    program: str
    mode: str
    unit: Unit
    figures: Callable[[Outcome], Figures]
    units: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Load(Case):
    """A program in the client's pod against a port of the server."""

    kind: Kind
    port: int
    options: Mapping[str, float]
    longer: float = 1
    """How many times as long as other rounds, where there are few events in a second."""

    @property
    def units(self) -> Mapping[str, str]:
        return self.kind.units

    @property
    def each(self) -> str:
        return f"CPU s per {self.kind.unit.name}"

    def run(self, peer: Peer, number: int, seconds: float, warmup: float) -> Round:
        processes = {**peer.processes(), accounting.SERVER: peer.site.servers[peer.server.short_name].pid}
        before = accounting.cpu(processes)
        outcome = self.start(peer, seconds, warmup).finished(self.longer * seconds + warmup + 60)[-1]
        used = accounting.between(before, accounting.cpu(processes))
        used[accounting.CLIENT] = outcome["cpu"]
        work = self.kind.unit.done(outcome)
        each = {name: value / work for name, value in used.items()}
        return Round(self.name, peer.name, number, self.kind.figures(outcome), each, outcome)

    def start(self, peer: Peer, seconds: float, warmup: float) -> Process:
        """Start the program."""
        options = {**self.options, "seconds": self.longer * seconds, "warmup": warmup}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return peer.site.start(
            peer.client, self.kind.program, self.kind.mode, *peer.target(self.port), *words
        )


def _bulk(outcome: Outcome) -> Figures:
    return {RATE: outcome["bytes"] * 8 / outcome["seconds"] / 1e9, "lost": outcome["lost"]}


def _requests(outcome: Outcome) -> Figures:
    return {RATE: outcome["requests"] / outcome["seconds"], **_latencies(outcome)}


def _schedule(outcome: Outcome) -> Figures:
    return {**_latencies(outcome), "over 10 ms": outcome["slow"], "stalls": outcome["stalls"]}


def _latencies(outcome: Outcome) -> Figures:
    figures: Figures = {name: percentile(outcome["latency"], share) for name, share in PERCENTILES.items()}
    figures["errors"] = outcome["errors"] + outcome["unanswered"]
    return figures


_LATENCY: Final = {**dict.fromkeys(PERCENTILES, "ms"), "errors": ""}
_PER_SECOND: Final = {RATE: "/s", **_LATENCY}
DOWN: Final = Kind("pour", "down", GIGABYTE, _bulk, {RATE: "Gbit/s", "lost": ""})
UP: Final = Kind("pour", "up", GIGABYTE, _bulk, {RATE: "Gbit/s", "lost": ""})
CLOSED: Final = Kind("load", "closed", THOUSAND, _requests, _PER_SECOND)
OPEN: Final = Kind("load", "open", THOUSAND, _schedule, {**_LATENCY, "over 10 ms": "requests", "stalls": ""})
NEW: Final = Kind("load", "new", THOUSAND, _requests, _PER_SECOND)
