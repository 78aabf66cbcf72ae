"""A run: the chosen cases on the chosen peers, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import accounting
from bench.cases import Case, Figures
from bench.peers import Peer

CLIENT, SERVER = "client program", "server program"


@dataclass(frozen=True, slots=True)
class Round:
    """What one load saw of one peer."""

    case: str
    peer: str
    number: int
    figures: Figures
    cpu: dict[str, float]
    """CPU seconds of each process for one unit of the case's work."""
    work: float
    outcome: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def rounds(
    peers: Sequence[Peer],
    cases: Sequence[Case],
    *,
    count: int,
    seconds: float,
    warmup: float,
    told: Callable[[str], None],
) -> Iterator[Round]:
    """Each case's peers one right after the other, beginning with another one in each round."""
    for number in range(count):
        for case in cases:
            first = number % len(peers)
            for peer in [*peers[first:], *peers[:first]]:
                told(f"round {number + 1} of {count}: {case.name} {peer.name}")
                yield one(peer, case, number, seconds, warmup)


def one(peer: Peer, case: Case, number: int, seconds: float, warmup: float) -> Round:
    """Put one load on one peer."""
    server = peer.site.servers[peer.server.short_name]
    processes = {**peer.processes(), SERVER: server.pid}
    options = {**case.options, "seconds": seconds, "warmup": warmup}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    before = accounting.cpu(processes)
    load = peer.site.start(peer.client, case.program, case.mode, *peer.target(case.port), *words)
    outcome = load.finished(seconds + warmup + 60)[-1]
    used = accounting.between(before, accounting.cpu(processes))
    used[CLIENT] = outcome["cpu"]
    work = case.unit.done(outcome)
    return Round(
        case.name,
        peer.name,
        number,
        case.figures(outcome),
        {name: value / work for name, value in used.items()},
        work,
        outcome,
    )
