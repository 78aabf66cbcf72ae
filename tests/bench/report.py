"""Rounds as a table for people: medians, spread, ratios, and a verdict for each target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.accounting import MACHINE
from bench.cases import CASES, Case
from bench.session import Round
from rich.console import Console
from rich.table import Table


class Results:
    """Rounds, to be asked by case, peer and figure."""

    def __init__(self, rounds: Iterable[Round]) -> None:
        self.rounds = list(rounds)
        self.peers = list(dict.fromkeys(one.peer for one in sorted(self.rounds, key=lambda one: one.number)))
        self.cases = [case for case in CASES.values() if any(one.case == case.name for one in self.rounds)]

    def values(self, case: str, peer: str, figure: str) -> dict[int, float]:
        """By round."""
        found = {}
        for one in self.rounds:
            if one.case == case and one.peer == peer and (value := one.figures.get(figure)) is not None:
                found[one.number] = value
        return found

    def cpu(self, case: str, peer: str, process: str) -> dict[int, float]:
        """CPU seconds for a unit of work, by round."""
        return {
            one.number: one.cpu[process]
            for one in self.rounds
            if one.case == case and one.peer == peer and process in one.cpu
        }

    def mesh_cpu(self, case: str, peer: str) -> dict[int, float]:
        """CPU seconds of all the peer's processes together for a unit of work, by round."""
        return {
            one.number: sum(value for name, value in one.cpu.items() if name not in _NOT_THE_PEERS)
            for one in self.rounds
            if one.case == case and one.peer == peer
        }

    def processes(self, case: str, peer: str) -> list[str]:
        for one in self.rounds:
            if one.case == case and one.peer == peer:
                return list(one.cpu)
        return []


_NOT_THE_PEERS = {MACHINE, "client program", "server program"}


def ratio(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """The median over rounds of ours by theirs in the same round."""
    both = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
    return median(both) if both else None


def show(results: Results, console: Console) -> None:
    """Print every case."""
    for case in results.cases:
        console.print(_case(results, case))


def _case(results: Results, case: Case) -> Table:
    peers = [peer for peer in _ORDER if peer in results.peers]
    table = Table(title=case.title, title_justify="left", title_style="bold")
    table.add_column("")
    for peer in peers:
        table.add_column(peer, justify="right")
    against = [peer for peer in ("envoy", "none") if peer in peers and "ambient" in peers]
    for peer in against:
        table.add_column(f"ambient : {peer}", justify="right")
    for figure in _figures(results, case):
        values = {peer: results.values(case.name, peer, figure) for peer in peers}
        label = f"{figure} {case.units.get(figure, '')}".strip()
        if figure in ("errors", "lost") and not any(any(found.values()) for found in values.values()):
            continue
        table.add_row(label, *(_cell(found.values()) for found in values.values()), *_ratios(values, against))
    used = {peer: results.mesh_cpu(case.name, peer) for peer in peers}
    table.add_row(
        f"CPU s per {case.unit.name}",
        *(_cell(found.values()) for found in used.values()),
        *_ratios(used, against),
        style="cyan",
    )
    names = dict.fromkeys(name for peer in peers for name in results.processes(case.name, peer))
    for name in names:
        each = {peer: results.cpu(case.name, peer, name) for peer in peers}
        if any(max(found.values(), default=0) >= 0.001 for found in each.values()):
            table.add_row(
                f"  {name}", *(_cell(found.values(), spread=False) for found in each.values()), style="dim"
            )
    return table


_ORDER = ("none", "ambient", "envoy", "haproxy")


def _figures(results: Results, case: Case) -> list[str]:
    return list(
        dict.fromkeys(name for one in results.rounds if one.case == case.name for name in one.figures)
    )


def _ratios(values: dict[str, dict[int, float]], against: Sequence[str]) -> list[str]:
    found = (ratio(values["ambient"], values[peer]) for peer in against)
    return ["" if value is None else f"{value:.2f}" for value in found]


def _cell(values: Iterable[float], *, spread: bool = True) -> str:
    found = list(values)
    if not found:
        return ""
    middle = number(median(found))
    return f"{middle} [{number(min(found))}…{number(max(found))}]" if spread and len(found) > 1 else middle


def number(value: float) -> str:
    """Three digits that matter."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 or value == 0 else f"{value:.1e}"
