"""What a case is, and what one round of it saw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from bench.peers import Peer

Figures: TypeAlias = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Round:
    """What one peer did once."""

    case: str
    peer: str
    number: int
    figures: Figures
    each: dict[str, float]
    """The case's figure of each process."""
    outcome: dict[str, Any]
    """All that was seen."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A round that came to nothing."""

    case: str
    peer: str
    number: int
    why: str


@dataclass(frozen=True, slots=True)
class Case(ABC):
    """One thing to measure: figures of a peer, and one figure of each of its processes."""

    name: str
    title: str

    @property
    @abstractmethod
    def units(self) -> Mapping[str, str]:
        """The figures that are shown, and what they are counted in."""

    @property
    @abstractmethod
    def each(self) -> str:
        """What is told of each process, with its unit."""

    @property
    def adds_up(self) -> bool:
        """Whether the sum over a peer's processes says something that its figures do not."""
        return True

    def prepare(self, peer: Peer) -> None:  # noqa: B027  # Most need nothing.
        """Have the peer be what the case measures."""

    @abstractmethod
    def run(self, peer: Peer, number: int, seconds: float, warmup: float) -> Round:
        """Measure once."""

    def suits(self, peer: Peer) -> bool:
        """Whether the peer can be measured so."""
        return True
