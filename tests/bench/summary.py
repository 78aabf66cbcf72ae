"""The figures that tell most, for a plot and for a table in a README."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.loads import RATE
from bench.report import number
from bench.results import Results, Values
from bench.targets import ENVOY, OURS, judged


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of every peer."""

    title: str
    unit: str
    values: Callable[[Results, str], Values]
    more_is_better: bool


def rows(results: Results) -> list[tuple[Row, dict[str, Values]]]:
    """Rows that the run measured, each with the peers that have a value."""
    found = ((row, {peer: row.values(results, peer) for peer in results.peers}) for row in ROWS)
    return [
        (row, {peer: value for peer, value in values.items() if value})
        for row, values in found
        if any(values.values())
    ]


def markdown(results: Results) -> str:
    """Two tables: the figures, and the targets."""
    heading = ["", *results.peers, f"{OURS} : {ENVOY}"]
    lines = [_line(heading), _line(["---", *["---:"] * (len(heading) - 1)])]
    for row, values in rows(results):
        cells = [number(values[peer].median) if peer in values else "" for peer in results.peers]
        ratio = values[OURS].over(values[ENVOY]) if {OURS, ENVOY} <= values.keys() else None
        lines.append(_line([f"{row.title}, {row.unit}", *cells, "" if ratio is None else f"{ratio:.2f}"]))
    lines += ["", _line(["target", "wanted", "found", ""]), _line(["---", "---", "---:", "---"])]
    for verdict in judged(results):
        target = verdict.target
        found = f"{number(verdict.value)} {target.unit}"
        lines.append(_line([target.what, target.wanted, found, "reached" if verdict.reached else "**lost**"]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(case: str, figure: str) -> Callable[[Results, str], Values]:
    return lambda results, peer: results.figure(case, peer, figure)


def _cost(case: str) -> Callable[[Results, str], Values]:
    return lambda results, peer: results.together(case, peer)


ROWS: Final = (
    *(
        Row(f"bulk, {count} connection{'s' * (count > 1)}, {way}", "Gbit/s", _figure(f"bulk-{count}-{way}", RATE), True)
        for way in ("down", "up")
        for count in (1, 8)
    ),
    *(
        Row(f"requests, {count} connection{'s' * (count > 1)}", "1/s", _figure(f"rps-{count}", RATE), True)
        for count in (1, 32, 256)
    ),
    *(
        Row(f"{figure}, {count} connection{'s' * (count > 1)}", "ms", _figure(f"rps-{count}", figure), False)
        for count, figure in ((1, "p50"), (1, "p99"), (32, "p50"), (32, "p99"), (256, "p99"))
    ),
    *(
        Row(f"{figure} at {rate:,} requests/s", "ms", _figure(f"open-{rate}", figure), False)
        for rate in (500, 1000, 2000)
        for figure in ("p50", "p99", "p99.9")
    ),
    *(Row(f"new connections, {count} at a time", "1/s", _figure(f"new-{count}", RATE), True) for count in (1, 32)),
    *(Row(f"new connection, {count} at a time, p99", "ms", _figure(f"new-{count}", "p99"), False) for count in (1, 32)),
    Row("CPU per GB, 1 connection, down", "s", _cost("bulk-1-down"), False),
    Row("CPU per GB, 8 connections, down", "s", _cost("bulk-8-down"), False),
    Row("CPU per 1,000 requests, 32 connections", "s", _cost("rps-32"), False),
    Row("CPU per 1,000 new connections, 32 at a time", "s", _cost("new-32"), False),
    *(
        Row(f"waypoint, {what}, {count} connection{'s' * (count > 1)}{name}", unit, value, more)
        for what, case in (
            ("HTTP/1.1, 128 B", "h1-small"),
            ("HTTP/1.1, 64 KB", "h1-large"),
            ("HTTP/2, 128 B", "h2-small"),
            ("HTTP/2, 64 KB", "h2-large"),
            ("unary gRPC", "grpc"),
        )
        for count in (1, 32, 256)
        for name, unit, value, more in (
            ("", "1/s", _figure(f"waypoint-{case}-{count}", RATE), True),
            (", p50", "ms", _figure(f"waypoint-{case}-{count}", "p50"), False),
            (", p99", "ms", _figure(f"waypoint-{case}-{count}", "p99"), False),
            (", CPU per request", "µs", _cost(f"waypoint-{case}-{count}"), False),
        )
    ),
    Row("waypoint's memory (PSS), 256 connections", "MB", _figure("waypoint-h1-small-256", "waypoint's memory"), False),
    Row("memory (PSS), idle", "MB", _figure("memory", "PSS, idle"), False),
    Row("memory (PSS), 256 connections", "MB", _figure("memory", "PSS, 256 connections"), False),
)  # fmt: skip
