"""``./dev bench``: our mesh beside its peers, on this machine, in one run."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import archive, cases, debian, machine
from bench.archive import Run
from bench.case import Case, Round
from bench.peers import PEERS, Peer
from bench.plot import svg
from bench.profile import Profiler
from bench.report import show
from bench.results import Results
from bench.session import rounds
from bench.site import Programs, Site
from bench.summary import markdown
from rich.console import Console
from topology import Topology, leftovers, reap


def main() -> int:
    arguments = parsed()
    if arguments.debian:
        arguments.output /= f"debian-{arguments.debian}"
    if arguments.readme:
        print(markdown(Results(archive.read(arguments.output).rounds)))
        return 0
    if arguments.debian:
        debian.enter(arguments.debian, arguments.output, arguments.rest)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reap()
    arguments.output.mkdir(parents=True, exist_ok=True)
    profiler = Profiler(arguments.output / "profile") if arguments.profile else None
    run = measured(arguments, profiler)
    results = Results(run.rounds)
    path = archive.write(run, arguments.output)
    plot = arguments.output / "bench.svg"
    plot.write_text(
        svg(results, "{processor}, {processors} processors, {system}, Linux {kernel}".format(**run.machine))
    )
    show(results, Console(width=None if sys.stdout.isatty() else 170))
    if profiler is not None:
        print("\n".join(profiler.summary()))
    told(f"every round is in {path}, the picture in {plot}")
    for failure in run.failures:
        told(f"FAILED: round {failure.number + 1} of {failure.case} {failure.peer}: {failure.why}")
    left = leftovers(os.getpid())
    if left:
        told("left behind: " + ", ".join(left))
    return 1 if left or run.failures else 0


def measured(arguments: argparse.Namespace, profiler: Profiler | None) -> Run:
    """Whatever was measured until the end, or until Ctrl-C."""
    options = {"rounds": arguments.rounds, "seconds": arguments.seconds, "profiled": profiler is not None}
    run = Run(machine.described(), {}, options, [], [])

    @contextlib.contextmanager
    def around(peer: Peer, case: Case, number: int) -> Iterator[None]:
        told(f"round {number + 1} of {arguments.rounds}: {case.name} {peer.name}")
        with profiler.around(peer, case, number) if profiler is not None else contextlib.nullcontext():
            yield

    try:
        with Topology() as topology:
            site = Site(topology, Programs(arguments.output / "bin"))
            peers = [kind(site) for name, kind in PEERS.items() if name in arguments.peers]
            for peer in peers:
                peer.start()
                run.peers[peer.name] = peer.version()
                told(f"{peer.name}: {peer.version()}")
            for one in rounds(peers, arguments.cases, arguments.rounds, arguments.seconds, around=around):
                if isinstance(one, Round):
                    run.rounds.append(one)
                else:
                    run.failures.append(one)
    except KeyboardInterrupt:
        told("interrupted: this is what there is so far")
    return run


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
        "--profile", action="store_true", help="sample our workers with py-spy (to be installed by hand)"
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
        *(["--profile"] if arguments.profile else []),
    ]  # fmt: skip
    arguments.peers = arguments.peers.split(",")
    if unknown := set(arguments.peers) - set(PEERS):
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return arguments


def told(line: str) -> None:
    print(f"· {line}", file=sys.stderr)


sys.exit(main())
