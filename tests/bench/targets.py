"""What we set out to reach, and whether a run saw it reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.loads import RATE
from bench.results import Results

OURS, ENVOY, NONE = "ambient", "envoy", "none"


@dataclass(frozen=True, slots=True)
class Target:
    """A line of the table of targets."""

    what: str
    wanted: str
    found: Callable[[Results], float | None]
    """None if the run did not measure it."""
    is_reached: Callable[[float], bool]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what became of it."""

    target: Target
    value: float
    reached: bool


def judged(results: Results) -> list[Verdict]:
    """Verdicts on the targets that the run has figures for."""
    found = ((target, target.found(results)) for target in TARGETS)
    return [Verdict(target, value, target.is_reached(value)) for target, value in found if value is not None]


def _at_least(what: str, case: str, factor: float) -> Target:
    def found(results: Results) -> float | None:
        return results.figure(case, OURS, RATE).over(results.figure(case, ENVOY, RATE))

    return Target(what, f"≥ {factor} of Envoy's", found, lambda value: value >= factor)


def _latency(what: str, case: str, figure: str, factor: float) -> Target:
    def found(results: Results) -> float | None:
        return results.figure(case, OURS, figure).over(results.figure(case, ENVOY, figure))

    return Target(what, f"≤ {factor} of Envoy's", found, lambda value: value <= factor)


def _cost(what: str, case: str, factor: float) -> Target:
    def found(results: Results) -> float | None:
        return results.together(case, OURS).over(results.together(case, ENVOY))

    return Target(what, f"≤ {factor} of Envoy's", found, lambda value: value <= factor)


def _tail(what: str, case: str, milliseconds: float) -> Target:
    def found(results: Results) -> float | None:
        return results.figure(case, OURS, "p99").beyond(results.figure(case, NONE, "p99"))

    return Target(
        what, f"≤ no mesh + {milliseconds} ms", found, lambda value: value <= milliseconds, "ms more"
    )


def _stalls(what: str, case: str) -> Target:
    def found(results: Results) -> float | None:
        ours, theirs = (results.figure(case, peer, "stalls") for peer in (OURS, ENVOY))
        return ours.total - theirs.total if ours and theirs else None

    return Target(what, "none that Envoy has not", found, lambda value: value <= 0, "more")


def _share(what: str, most: float) -> Target:
    def found(results: Results) -> float | None:
        values = results.figure("spread", OURS, "busiest")
        return values.median if values else None

    return Target(what, f"≤ {most:g} %", found, lambda value: value <= most, "%")


TARGETS: Final = (
    _at_least("bulk, 1 connection, down", "bulk-1-down", 0.8),
    _at_least("bulk, 8 connections, down", "bulk-8-down", 0.8),
    _at_least("bulk, 1 connection, up", "bulk-1-up", 0.8),
    _at_least("bulk, 8 connections, up", "bulk-8-up", 0.8),
    _at_least("requests/s, 32 connections", "rps-32", 1.0),
    _at_least("new connections/s, 1 at a time", "new-1", 0.9),
    _at_least("new connections/s, 32 at a time", "new-32", 0.9),
    _latency("p50, 1 connection", "rps-1", "p50", 1.3),
    _tail("p99 at 1,000 requests/s", "open-1000", 0.5),
    _stalls("stalls over 10 ms at 500 requests/s", "open-500"),
    _stalls("stalls over 10 ms at 1,000 requests/s", "open-1000"),
    _stalls("stalls over 10 ms at 2,000 requests/s", "open-2000"),
    _cost("CPU per GB, 1 connection, down", "bulk-1-down", 1.3),
    _cost("CPU per GB, 8 connections, down", "bulk-8-down", 1.3),
    _cost("CPU per GB, 1 connection, up", "bulk-1-up", 1.3),
    _cost("CPU per GB, 8 connections, up", "bulk-8-up", 1.3),
    *(
        _cost(f"waypoint, CPU per request, {what}", f"waypoint-{case}-32", 1.5)
        for what, case in (
            ("HTTP/1.1, 128 B", "h1-small"),
            ("HTTP/1.1, 64 KB", "h1-large"),
            ("HTTP/2, 128 B", "h2-small"),
            ("HTTP/2, 64 KB", "h2-large"),
            ("unary gRPC", "grpc"),
        )
    ),
    _share("busiest of 2 workers, 8 tunnels", 65),
)
