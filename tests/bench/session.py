"""A run: the chosen cases on the chosen peers, interleaved."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from bench.case import Case, Failure, Round
from bench.peers import Peer

WARMUP_SECONDS = 0.5


def rounds(
    peers: Sequence[Peer],
    cases: Sequence[Case],
    count: int,
    seconds: float,
    *,
    around: Callable[[Peer, Case, int], AbstractContextManager[None]],
) -> Iterator[Round | Failure]:
    """Each case's peers one right after the other, beginning with another one in each round.

    ``around`` is entered for each round. What suits one peer alone has nothing to be interleaved with and comes last: it may change the site.
    """
    suiting = [(case, [peer for peer in peers if case.suits(peer)]) for case in cases]
    for alone in (False, True):
        for number in range(count):
            for case, found in suiting:
                if (len(found) == 1 < len(peers)) is not alone or not found:
                    continue
                first = number % len(found)
                for peer in [*found[first:], *found[:first]]:
                    case.prepare(peer)
                    with around(peer, case, number):
                        one = attempted(peer, case, number, seconds)
                    yield one


def attempted(peer: Peer, case: Case, number: int, seconds: float) -> Round | Failure:
    """A load that fails costs its round, and not the run."""
    try:
        return case.run(peer, number, seconds, WARMUP_SECONDS)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return Failure(case.name, peer.name, number, str(error))
