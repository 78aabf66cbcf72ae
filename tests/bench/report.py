"""Results for people: a table for each case, and the targets."""

from __future__ import annotations

from bench.accounting import NO_PART
from bench.case import Case
from bench.results import Results, Values
from bench.targets import ENVOY, NONE, OURS, judged
from rich.console import Console
from rich.table import Table

_QUIET = {"errors", "lost"}
"""Figures that are told only if there are any."""
_TOO_LITTLE = 0.001


def show(results: Results, console: Console) -> None:
    """Print every case, then the targets."""
    console.print(
        "Medians of rounds [least…most]; a ratio is the median of the ratios of neighbouring rounds.",
        markup=False,
    )
    for case in results.cases:
        console.print(_case(results, case))
    verdicts = judged(results)
    if not verdicts:
        return
    table = Table("target", "wanted", "found", "", title="targets", title_justify="left", title_style="bold")
    for verdict in verdicts:
        found = f"{number(verdict.value)} {verdict.target.unit}"
        table.add_row(
            verdict.target.what, verdict.target.wanted, found, "reached" if verdict.reached else "[red]LOST"
        )
    console.print(table)


def _case(results: Results, case: Case) -> Table:
    peers = [peer for peer in results.peers if results.processes(case.name, peer)]
    against = [peer for peer in (ENVOY, NONE) if peer in peers and OURS in peers]
    table = Table(title=case.title, title_justify="left", title_style="bold")
    table.add_column("")
    for heading in (*peers, *(f"{OURS} : {peer}" for peer in against)):
        table.add_column(heading, justify="right")
    for figure, unit in case.units.items():
        values = {peer: results.figure(case.name, peer, figure) for peer in peers}
        if figure not in _QUIET or any(found.total for found in values.values()):
            table.add_row(f"{figure} {unit}".strip(), *map(_cell, values.values()), *_ratios(values, against))
    if case.adds_up:
        together = {peer: results.together(case.name, peer) for peer in peers}
        ratios = _ratios(together, against)
        table.add_row(f"{case.each}, in all", *map(_cell, together.values()), *ratios, style="cyan")
    else:
        table.add_row(case.each, style="cyan")
    for process in dict.fromkeys(name for peer in peers for name in results.processes(case.name, peer)):
        found = {peer: results.process(case.name, peer, process) for peer in peers}
        if max(value.most for value in found.values() if value) >= _TOO_LITTLE:
            name = f"({process})" if process in NO_PART else process
            table.add_row(f"  {name}", *(_cell(value, spread=False) for value in found.values()), style="dim")
    return table


def _ratios(values: dict[str, Values], against: list[str]) -> list[str]:
    return [_ratio(values[OURS].ratios(values[peer])) for peer in against]


def _ratio(found: Values) -> str:
    if not found:
        return ""
    ratio = f"{found.median:.2f}"
    return ratio if len(found) == 1 else f"{ratio} [{found.least:.2f}…{found.most:.2f}]"


def _cell(values: Values, *, spread: bool = True) -> str:
    if not values:
        return ""
    if not spread or len(values) == 1:
        return number(values.median)
    return f"{number(values.median)} [{number(values.least)}…{number(values.most)}]"


def number(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= _TOO_LITTLE or value == 0 else f"{value:.1e}"
