"""What is measured: a table. A measure is one or more cases; a case is one load with its figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.histogram import percentile
from bench.site import HTTP, SINK, SOURCE

Outcome = Mapping[str, Any]
Figures = dict[str, float | None]
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9}


@dataclass(frozen=True, slots=True)
class Unit:
    """What a load's work, and so the CPU that it cost, is counted in."""

    name: str
    done: Callable[[Outcome], float]
    """How many of it a load did in all, warm-up included."""


GIGABYTE: Final = Unit("GB", lambda outcome: outcome["bytes_in_all"] / 1e9)
THOUSAND: Final = Unit("1,000 requests", lambda outcome: outcome["requests_in_all"] / 1e3)


@dataclass(frozen=True, slots=True)
class Case:
    """One load: a C program, its mode, the server's port and its options."""

    name: str
    measure: str
    title: str
    program: str
    mode: str
    port: int
    options: Mapping[str, float]
    unit: Unit
    figures: Callable[[Outcome], Figures]
    units: Mapping[str, str] = field(default_factory=dict)
    """Of each figure."""


def _bulk(outcome: Outcome) -> Figures:
    return {"rate": outcome["bytes"] * 8 / outcome["seconds"] / 1e9, "lost": outcome["lost"]}


def _latencies(outcome: Outcome) -> Figures:
    return {name: percentile(outcome["latency"], percent) for name, percent in PERCENTILES.items()}


def _requests(outcome: Outcome) -> Figures:
    rate = outcome["requests"] / outcome["seconds"]
    return {"rate": rate, **_latencies(outcome), "errors": outcome["errors"] + outcome["unanswered"]}


def _schedule(outcome: Outcome) -> Figures:
    return {
        **_latencies(outcome),
        "stalls": outcome["stalls"],
        "slow": outcome["slow"],
        "errors": outcome["errors"] + outcome["unanswered"],
    }


_MILLISECONDS: Final = dict.fromkeys(PERCENTILES, "ms")


def _pour(connections: int, mode: str) -> Case:
    port, arrow = (SOURCE, "server to client") if mode == "down" else (SINK, "client to server")
    return Case(
        f"bulk-{connections}-{mode}", "bulk", f"bulk, {connections} connections, {arrow}",
        "pour", mode, port, {"connections": connections}, GIGABYTE, _bulk, {"rate": "Gbit/s"},
    )  # fmt: skip


def _closed(connections: int) -> Case:
    return Case(
        f"rps-{connections}", "rps", f"requests, {connections} kept connections",
        "load", "closed", HTTP, {"connections": connections}, THOUSAND, _requests, {"rate": "/s", **_MILLISECONDS},
    )  # fmt: skip


def _open(rate: int) -> Case:
    return Case(
        f"open-{rate}", "open", f"{rate:,} requests per second on a schedule",
        "load", "open", HTTP, {"connections": 64, "rate": rate}, THOUSAND, _schedule, _MILLISECONDS,
    )  # fmt: skip


def _new(connections: int) -> Case:
    return Case(
        f"new-{connections}", "new", f"new connections, {connections} at a time",
        "load", "new", HTTP, {"connections": connections}, THOUSAND, _requests, {"rate": "/s", **_MILLISECONDS},
    )  # fmt: skip


CASES: Final = {
    case.name: case
    for case in (
        _pour(1, "down"),
        _pour(8, "down"),
        _pour(1, "up"),
        _pour(8, "up"),
        _closed(1),
        _closed(32),
        _closed(256),
        _open(500),
        _open(1000),
        _open(2000),
        _new(1),
        _new(32),
    )
}
MEASURES: Final = tuple(dict.fromkeys(case.measure for case in CASES.values()))


def chosen(names: list[str]) -> list[Case]:
    """Cases by their own or their measure's name; all for none. Raises KeyError with a name that is neither."""
    for name in names:
        if name not in MEASURES and name not in CASES:
            raise KeyError(name)
    return [case for case in CASES.values() if not names or case.name in names or case.measure in names]
