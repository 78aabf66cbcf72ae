"""A run: the chosen cases on the chosen peers, interleaved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bench.case import Case, Round
from bench.peers import Peer

WARMUP_SECONDS = 0.5


def rounds(
    peers: Sequence[Peer], cases: Sequence[Case], count: int, seconds: float, told: Callable[[str], None]
) -> Iterator[Round]:
    """Each case's peers one right after the other, beginning with another one in each round.

    What suits one peer alone has nothing to be interleaved with and comes last: it may change the site.
    """
    suiting = [(case, [peer for peer in peers if case.suits(peer)]) for case in cases]
    for alone in (False, True):
        for number in range(count):
            for case, found in suiting:
                if (len(found) == 1 < len(peers)) is not alone or not found:
                    continue
                first = number % len(found)
                for peer in [*found[first:], *found[:first]]:
                    told(f"round {number + 1} of {count}: {case.name} {peer.name}")
                    yield case.run(peer, number, seconds, WARMUP_SECONDS)
