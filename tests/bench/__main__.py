"""``./dev bench``: our mesh beside its peers, on this machine, in one run."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from bench import archive, cases, debian, machine
from bench.archive import Run
from bench.case import Round
from bench.peers import PEERS
from bench.plot import svg
from bench.report import show
from bench.results import Results
from bench.session import rounds
from bench.site import Programs, Site
from bench.summary import markdown
from rich.console import Console
from topology import Topology, leftovers, reap


def main() -> int:
    arguments = parsed()
    if arguments.readme:
        print(markdown(Results(archive.read(arguments.output).rounds)))
        return 0
    if arguments.debian:
        debian.enter(arguments.debian, arguments.output / f"debian-{arguments.debian}", arguments.rest)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reap()
    arguments.output.mkdir(parents=True, exist_ok=True)
    run = measured(arguments)
    results = Results(run.rounds)
    path = archive.write(run, arguments.output)
    plot = arguments.output / "bench.svg"
    plot.write_text(
        svg(
            results,
            f"{run.machine['processor']}, {run.machine['processors']} processors, {run.machine['system']}, Linux {run.machine['kernel']}",
        )
    )
    show(results, Console(width=None if sys.stdout.isatty() else 170))
    told(f"every round is in {path}, the picture in {plot}")
    left = leftovers(os.getpid())
    if left:
        told("left behind: " + ", ".join(left))
    return 1 if left else 0


def measured(arguments: argparse.Namespace) -> Run:
    """Whatever was measured until the end, or until Ctrl-C."""
    done: list[Round] = []
    versions: dict[str, str] = {}
    here = machine.described()
    try:
        with Topology() as topology:
            site = Site(topology, Programs(arguments.output / "bin"))
            peers = [kind(site) for name, kind in PEERS.items() if name in arguments.peers]
            for peer in peers:
                peer.start()
                versions[peer.name] = peer.version()
                told(f"{peer.name}: {versions[peer.name]}")
            for one in rounds(peers, arguments.cases, arguments.rounds, arguments.seconds, told):
                done.append(one)
    except KeyboardInterrupt:
        told("interrupted: this is what there is so far")
    return Run(here, versions, {"rounds": arguments.rounds, "seconds": arguments.seconds}, done)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME",
        help=f"a measure or a part of one ({', '.join(cases.CASES)}); all if none is named",
    )  # fmt: skip
    parser.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each case on each peer; default: %(default)s"
    )
    parser.add_argument("--seconds", type=float, default=2.5, help="of each round; default: %(default)s")
    parser.add_argument(
        "--output", type=Path, default=Path(".cache/bench"), help="folder; default: %(default)s"
    )
    parser.add_argument(
        "--readme", action="store_true", help="measure nothing; print the last run as Markdown"
    )
    parser.add_argument(
        "--debian",
        type=int,
        choices=debian.SUITES,
        help="in a root of this Debian, made in the output folder",
    )
    arguments = parser.parse_args()
    try:
        arguments.cases = cases.chosen(arguments.names)
    except KeyError as error:
        parser.error(f"no measure or case is called {error}; there are {', '.join(cases.CASES)}")
    arguments.rest = [
        *arguments.names, "--peers", arguments.peers,
        "--rounds", str(arguments.rounds), "--seconds", str(arguments.seconds),
    ]  # fmt: skip
    arguments.peers = arguments.peers.split(",")
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return arguments


def told(line: str) -> None:
    print(f"· {line}", file=sys.stderr)


sys.exit(main())
