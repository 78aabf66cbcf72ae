"""Rounds, to be asked by case, peer and figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Self

from bench.accounting import NO_PART
from bench.case import Case, Round
from bench.cases import CASES
from bench.peers import PEERS


@dataclass(frozen=True, slots=True)
class Values:
    """One figure of one peer, by round."""

    by_round: Mapping[int, float]

    @property
    def median(self) -> float:
        return median(self.by_round.values())

    @property
    def least(self) -> float:
        return min(self.by_round.values())

    @property
    def most(self) -> float:
        return max(self.by_round.values())

    @property
    def total(self) -> float:
        return sum(self.by_round.values())

    def __bool__(self) -> bool:
        return bool(self.by_round)

    def __len__(self) -> int:
        return len(self.by_round)

    def over(self, other: Self) -> float | None:
        """The median of the quotients of rounds that stood next to each other: what slows both is out of it."""
        pairs = self.ratios(other)
        return median(pairs.by_round.values()) if pairs else None

    def ratios(self, other: Self) -> Values:
        """The quotients of rounds that stood next to each other."""
        return Values(
            {n: self.by_round[n] / other.by_round[n] for n in self.by_round if other.by_round.get(n)}
        )

    def beyond(self, other: Self) -> float | None:
        """As ``over``, for differences."""
        pairs = [self.by_round[n] - other.by_round[n] for n in self.by_round if n in other.by_round]
        return median(pairs) if pairs else None


class Results:
    """All rounds of a run."""

    def __init__(self, rounds: Iterable[Round]) -> None:
        self._rounds = list(rounds)
        present = {one.peer for one in self._rounds}
        self.peers = [name for name in PEERS if name in present]
        measured = {one.case for one in self._rounds}
        self.cases: list[Case] = [case for case in CASES.values() if case.name in measured]

    def figure(self, case: str, peer: str, figure: str) -> Values:
        """One of the case's own figures."""
        found = {one.number: one.figures.get(figure) for one in self._of(case, peer)}
        return Values({number: value for number, value in found.items() if value is not None})

    def process(self, case: str, peer: str, process: str) -> Values:
        """The case's figure of one process."""
        return Values({one.number: one.each[process] for one in self._of(case, peer) if process in one.each})

    def together(self, case: str, peer: str) -> Values:
        """The case's figure of all the peer's processes that carry bytes."""
        found = {}
        for one in self._of(case, peer):
            parts = [value for name, value in one.each.items() if name not in NO_PART]
            if parts:
                found[one.number] = sum(parts)
        return Values(found)

    def processes(self, case: str, peer: str) -> list[str]:
        return list(dict.fromkeys(name for one in self._of(case, peer) for name in one.each))

    def _of(self, case: str, peer: str) -> list[Round]:
        return [one for one in self._rounds if one.case == case and one.peer == peer]
