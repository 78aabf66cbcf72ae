"""``./dev demo``: the story, then nothing is left; exit code 0 only if all of it was seen."""

from __future__ import annotations

import argparse
import os
import signal
import sys

from demo.account import Account
from demo.story import Story
from topology import Topology, leftovers, reap


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running and say what to try")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reap()
    account = Account()
    print("ambient: two nodes, real traffic, mutual TLS, nothing restarted")
    try:
        with Topology() as topology:
            story = Story(topology, account)
            story.tell()
            if arguments.keep:
                story.invite()
                signal.pause()
            account.step("stop and remove everything")
    except KeyboardInterrupt:
        print("\nremoved.")
        return 0 if arguments.keep and account.kept else 130
    left = leftovers(os.getpid())
    account.claim(
        not left, "nothing is left: no namespace, cgroup, BPF pin, process or file", ", ".join(left)
    )
    verdict = "all was seen" if account.kept else "NOT all was seen"
    print(f"\n{verdict}: {account.claims} claims in {account.seconds:.0f} s")
    return 0 if account.kept else 1


sys.exit(main())
