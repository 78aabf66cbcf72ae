"""How evenly the workers of a node carry a few long tunnels."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.case import Case, Figures, Round
from bench.peers import Ambient, Peer
from bench.site import SOURCE
from topology import Pod

TUNNELS: Final = 8
HBONE: Final = 15008
_SOCKET: Final = re.compile(r"users:\(\(\"[^\"]*\",pid=(\d+),fd=\d+\)\).*? bytes_acked:(\d+)")
_RECEIVED: Final = re.compile(r" bytes_received:(\d+)")


@dataclass(frozen=True, slots=True)
class Spread(Case):
    """A tunnel belongs to one workload: eight pods with one bulk connection each make eight.

    The kernel is asked whose socket carried how much, not we ourselves. Every round begins without tunnels, so that
    each is another throw of the dice.
    """

    @property
    def units(self) -> Mapping[str, str]:
        return {"rate": "Gbit/s", "busiest of one": "%", "busiest of two": "%", "busiest": "%"}

    @property
    def each(self) -> str:
        return "% of its node's bytes"

    @property
    def adds_up(self) -> bool:
        return False

    def suits(self, peer: Peer) -> bool:
        return isinstance(peer, Ambient)

    def run(self, peer: Peer, number: int, seconds: float, warmup: float) -> Round:
        assert isinstance(peer, Ambient)
        clients = peer.crowd(TUNNELS)
        before = {"one": carried(clients), "two": carried([peer.server])}
        loads = [
            peer.site.start(
                client, "pour", "down", *peer.target(SOURCE), "--seconds", seconds, "--warmup", warmup
            )
            for client in clients
        ]
        time.sleep(warmup + 0.8 * seconds)
        during = {"one": carried(clients), "two": carried([peer.server])}
        outcomes = [load.finished(seconds + warmup + 60)[-1] for load in loads]
        figures: Figures = {"rate": sum(found["bytes"] * 8 / found["seconds"] for found in outcomes) / 1e9}
        each: dict[str, float] = {}
        for node in peer.nodes:
            name = node.node.name
            share = shares(during[name] - before[name], peer.workers(node))
            each.update({f"{name}: worker {number}": part for number, part in enumerate(share, 1)})
            figures[f"busiest of {name}"] = max(share)
        figures["busiest"] = max(figures["busiest of one"] or 0, figures["busiest of two"] or 0)
        return Round(self.name, peer.name, number, figures, each, {"loads": outcomes})


def carried(pods: Iterable[Pod]) -> Counter[int]:
    """Bytes of HBONE by the process that holds the sockets."""
    found: Counter[int] = Counter()
    for pod in pods:
        said = pod.run("ss", "-HOtinp", f"( sport = :{HBONE} or dport = :{HBONE} )").stdout
        for line in said.splitlines():
            if (socket := _SOCKET.search(line)) is not None:
                received = _RECEIVED.search(line)
                found[int(socket[1])] += int(socket[2]) + (int(received[1]) if received else 0)
    return found


def shares(found: Counter[int], workers: Iterable[int]) -> list[float]:
    """Each worker's part in percent."""
    return [100 * found[worker] / max(found.total(), 1) for worker in workers]
