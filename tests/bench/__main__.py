"""``./dev bench``: our mesh beside its peers, on this machine, in one run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

from bench import cases
from bench.peers import PEERS
from bench.report import Results, show
from bench.session import Round, rounds
from bench.site import Programs, Site
from rich.console import Console
from topology import Topology, leftovers, reap

WARMUP = 0.5


def main() -> int:
    arguments = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reap()
    console = Console(width=160 if not sys.stdout.isatty() else None)
    arguments.output.mkdir(parents=True, exist_ok=True)
    done: list[Round] = []
    try:
        with Topology() as topology:
            site = Site(topology, Programs(arguments.output / "bin"))
            peers = [kind(site) for name, kind in PEERS.items() if name in arguments.peers]
            for peer in peers:
                peer.start()
                told(f"{peer.name}: {peer.version()}")
            for one in rounds(
                peers, arguments.cases, count=arguments.rounds, seconds=arguments.seconds, warmup=WARMUP, told=told
            ):  # fmt: skip
                done.append(one)
    except KeyboardInterrupt:
        told("interrupted: what there is so far")
    (arguments.output / "rounds.json").write_text(json.dumps([one.as_json() for one in done]))
    show(Results(done), console)
    left = leftovers(os.getpid())
    if left:
        told("left behind: " + ", ".join(left))
    return 1 if left else 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help=f"a measure ({', '.join(cases.MEASURES)}) or a case ({', '.join(cases.CASES)}); all",
    )  # fmt: skip
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each case on each peer; default: %(default)s"
    )
    parser.add_argument("--seconds", type=float, default=3, help="of each round; default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path(".cache/bench"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        arguments.cases = cases.chosen(arguments.names)
    except KeyError as error:
        parser.error(f"no measure or case is called {error}")
    arguments.peers = arguments.peers.split(",")
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return arguments


def told(line: str) -> None:
    print(f"· {line}", file=sys.stderr)


sys.exit(main())
