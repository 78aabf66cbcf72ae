"""A waypoint for minutes under every kind of load, while everything about it changes: it loses nothing else, and grows no more.

Ten minutes, or ``AMBIENT_SOAK_SECONDS`` seconds. ``AMBIENT_SOAK`` names a file that the figures are
written to, as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from netns import mixed
from netns.mixed import HARMLESS, ROUGH_VIP, Load, Scene
from topology.nodes import APPS
from topology.process import Process
from topology.waypoint import Replica

SECONDS = float(os.environ.get("AMBIENT_SOAK_SECONDS", "600"))
FIGURES = os.environ.get("AMBIENT_SOAK")
EVERY_SECONDS = 0.06
"""A route changes so often: 1,000 times a minute."""
KILL_SECONDS = 60.0
"""A worker dies so often, by turns with a whole replica that is stopped in order."""
DIED = frozenset({"503 reset", "grpc 14 reset", "lost", "cut", "unconnected"})
"""What was under way at a server or a worker that died."""
RETRIED = frozenset({"503 not_connected", "grpc 14 not_connected"})
"""Asked of several that had just died, before it was known of any."""
SLACK_FDS = 16
"""Tunnels that rest in a pool, and connections with endpoints, come and go."""
SLACK_TASKS = 16
GROWTH_KIB = 24 * 1024
"""By which a process may be larger at the end than when it was warm: allocators keep what they once had."""
AT_REST = {"requests": 0, "clients": 0, "dials": 0, "connections": 0}
"""Of what workers have, when nobody asks anything."""


@pytest.fixture
def scene() -> Iterator[Scene]:
    with mixed.scene() as made:
        yield made


@dataclass(frozen=True)
class Size:
    """What a process has at rest."""

    rss: int
    """KiB."""
    fds: int

    @classmethod
    def of(cls, pid: int) -> Size:
        status = Path(f"/proc/{pid}/status").read_text()
        return cls(int(status.split("VmRSS:")[1].split()[0]), len(list(Path(f"/proc/{pid}/fd").iterdir())))


@dataclass
class Rest:
    """What everything has while nothing happens."""

    sizes: dict[int, Size]
    holding: dict[str, float]
    """Of the replica that nobody strikes."""
    ledger: int
    """Bytes that its workers' common memory takes."""


@dataclass
class Figures:
    """What is written down of a run."""

    seconds: float = SECONDS
    changes: int = 0
    joined: int = 0
    killed_endpoints: int = 0
    killed_workers: int = 0
    stopped_replicas: int = 0
    renewals: int = 0
    asked: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    rough: dict[str, dict[str, int]] = field(default_factory=dict)
    lines: int = 0
    growth_kib: dict[str, int] = field(default_factory=dict)
    slope_kib_a_minute: dict[str, float] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


class Soak:
    """Loads and changes, until it has lasted long enough. Its first replica is never struck, so that it may grow."""

    def __init__(self, scene: Scene, figures: Figures) -> None:
        self.scene, self.figures = scene, figures
        self.chance = random.Random(5)
        self.versions = itertools.count(mixed.ROUTES)
        self.samples: dict[int, list[tuple[float, int]]] = {}

    @property
    def steady(self) -> Replica:
        return self.scene.waypoint.replicas[0]

    @property
    def struck(self) -> Replica:
        return self.scene.waypoint.replicas[1]

    # ---- a time under load

    def last(self, seconds: float) -> None:
        """Load and change for so long, then let it come to rest."""
        scene, figures = self.scene, self.figures
        load = Load(scene)
        rough = {
            "impatient": Load(scene, "--timeout", 0.05, "--wait", 0.1, vip=ROUGH_VIP),
            "big": Load(scene, *BIG, vip=ROUGH_VIP),
            "broken off": Load(scene, *BROKEN, vip=ROUGH_VIP),
        }
        unruly = scene.client.pod.popen(sys.executable, "-u", APPS / "unruly.py", ROUGH_VIP, "80")
        deaths = figures.killed_endpoints + figures.killed_workers
        self.change_until(time.monotonic() + seconds)
        load.more()
        seen = load.end()
        deaths = figures.killed_endpoints + figures.killed_workers - deaths
        figures.asked += seen.asked
        figures.verdicts = dict(Counter(figures.verdicts) + seen.verdicts)
        self.judge_rough({name: one.end().verdicts for name, one in rough.items()}, unruly)
        assert seen.but(DIED | HARMLESS | RETRIED) == {}, load.unwell()
        assert seen.count(DIED | RETRIED) <= deaths * Load.lanes, load.unwell()
        assert scene.twice() == []

    def judge_rough(self, verdicts: dict[str, Counter[str]], unruly: Process) -> None:
        unruly.signal(signal.SIGTERM)
        verdicts["unruly"] = Counter(unruly.finished(60)[-1]["seen"])
        for name, counts in verdicts.items():
            known = Counter(self.figures.rough.get(name, {}))
            self.figures.rough[name] = dict(known + counts)
            assert not [verdict for verdict in counts if "wrong" in verdict], verdicts
        assert verdicts["broken off"]["fine"] == 0, verdicts
        assert verdicts["big"]["fine"] > 0, verdicts
        for kind in ("reader", "writer", "socket"):
            assert verdicts["unruly"][f"{kind} fine"] > 0, verdicts

    def change_until(self, end: float) -> None:
        over = threading.Event()
        changing = threading.Thread(target=self.change_routes, args=(over,))
        changing.start()
        due = time.monotonic() + KILL_SECONDS / 2
        try:
            for number in itertools.count():
                if time.monotonic() >= end:
                    break
                if time.monotonic() >= due:
                    due += KILL_SECONDS / 2
                    self.strike()
                self.chance.choice((self.come_and_go, self.come_and_die, self.renew))(number)
                self.sample()
        finally:
            over.set()
            changing.join()

    def change_routes(self, over: threading.Event) -> None:
        due = time.monotonic()
        while not over.is_set():
            mixed.change(self.scene.mesh, next(self.versions))
            self.figures.changes += 1
            due = max(due + EVERY_SECONDS, time.monotonic() - 1)
            over.wait(max(0.0, due - time.monotonic()))

    # ---- what is done to it

    def come_and_go(self, number: int) -> None:
        guest = self.scene.guest(*self.place(number))
        guest.join()
        guest.wait_asked()
        guest.leave()
        self.figures.joined += 1

    def come_and_die(self, number: int) -> None:
        guest = self.scene.guest(*self.place(number))
        guest.join()
        guest.wait_asked()
        assert guest.process is not None
        guest.process.kill()
        guest.leave("--now")
        self.figures.killed_endpoints += 1

    def place(self, number: int) -> tuple[str, Any]:
        node = self.scene.mesh.nodes[number % 2]
        return f"guest-{node.node.name}", node

    def renew(self, number: int) -> None:
        del number
        for teller in (*self.scene.mesh.nodes, *self.scene.waypoint.replicas):
            assert teller.get("/certificates/renew", "POST")[0] == 200
        self.figures.renewals += 1
        time.sleep(1)

    def strike(self) -> None:
        replica, figures = self.struck, self.figures
        if figures.killed_workers <= figures.stopped_replicas:
            os.kill(self.chance.choice(replica.worker_pids()), signal.SIGKILL)
            figures.killed_workers += 1
            replica.wait(lambda: replica.metric("ambient_workers") == 2, "two workers to serve again")
        else:
            assert replica.process is not None
            replica.process.signal(signal.SIGTERM)
            assert replica.process.wait(60) == 0
            figures.stopped_replicas += 1
            self.scene.replace(replica)

    # ---- what it has

    def programs(self) -> dict[str, int]:
        """Those that live through all of it, by name."""
        mesh, steady = self.scene.mesh, self.steady
        assert mesh.control is not None
        assert steady.process is not None
        found = {"control": mesh.control.pid, "waypoint": steady.process.pid}
        for number, pid in enumerate(sorted(steady.worker_pids())):
            found[f"waypoint's worker {number}"] = pid
        for node in mesh.nodes:
            assert node.proxy is not None
            assert node.daemon is not None
            found |= {f"proxy {node.node.name}": node.proxy.pid, f"daemon {node.node.name}": node.daemon.pid}
            for number, pid in enumerate(sorted(node.worker_pids())):
                found[f"worker {number} of proxy {node.node.name}"] = pid
        return found

    def sample(self) -> None:
        now = time.monotonic()
        for pid in self.programs().values():
            self.samples.setdefault(pid, []).append((now, Size.of(pid).rss))

    def rest(self) -> Rest:
        """Wait until nothing is under way, and look."""
        for replica in self.scene.waypoint.replicas:
            replica.wait(lambda replica=replica: is_at_rest(replica), "nothing to be under way")  # type: ignore[misc]
        for node in self.scene.mesh.nodes:
            node.wait(
                lambda node=node: not node.metric("istio_tcp_sockets_open", reporter="source"),  # type: ignore[misc]
                "every connection of a client to be closed",
            )
        steady = self.steady
        assert steady.process is not None
        return Rest(
            {pid: Size.of(pid) for pid in self.programs().values()},
            holding(steady),
            ledger(steady.process.pid),
        )


BIG = ("--size", 400_000, "--body", 200_000, "--every", 0.5, "--h1", 1, "--h2", 1)
BROKEN = (
    "--cut", "length", "--cut", "chunks", "--cut", "stream", "--cut", "connection",
    "--every", 0.5, "--h1", 1, "--h2", 1, "--size", 50_000,
)  # fmt: skip


def holding(replica: Replica) -> dict[str, float]:
    samples = replica.samples()
    found = {one.labels["kind"]: one.value for one in samples if one.name == "ambient_workers_holding"}
    return found | {one.name: one.value for one in samples if one.name == "ambient_tasks"}


def is_at_rest(replica: Replica) -> bool:
    found = holding(replica)
    return all(found.get(kind) == count for kind, count in AT_REST.items())


def ledger(pid: int) -> int:
    """The bytes that it takes; each descriptor of it says the same."""
    folder = Path(f"/proc/{pid}/fd")
    return next(
        entry.stat().st_blocks * 512 for entry in folder.iterdir() if "memfd:ledger" in str(entry.readlink())
    )


def slope(samples: list[tuple[float, int]]) -> float:
    """By least squares, in KiB a minute."""
    return 60 * statistics.linear_regression(*zip(*samples, strict=True)).slope


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 420)
def test_a_waypoint_lasts(scene: Scene) -> None:
    figures = Figures()
    soak = Soak(scene, figures)
    soak.last(SECONDS / 4)
    before = soak.rest()
    soak.samples.clear()
    soak.last(SECONDS * 3 / 4)
    after = soak.rest()
    names = {pid: name for name, pid in soak.programs().items()}
    figures.growth_kib = {names[pid]: size.rss - before.sizes[pid].rss for pid, size in after.sizes.items()}
    figures.slope_kib_a_minute = {
        names[pid]: round(slope(samples)) for pid, samples in soak.samples.items() if len(samples) > 1
    }
    figures.before, figures.after = asdict(before), asdict(after)
    lines = {replica: told(replica) for replica in scene.waypoint.replicas}
    figures.lines = sum(lines.values())
    if FIGURES:
        Path(FIGURES).write_text(json.dumps(asdict(figures), indent=2))
    assert before.sizes.keys() == after.sizes.keys()  # None of those that were not struck has died.
    for pid, size in after.sizes.items():
        assert size.fds <= before.sizes[pid].fds + SLACK_FDS, (names[pid], figures)
        assert size.rss <= before.sizes[pid].rss + GROWTH_KIB, (names[pid], figures)
    for kind, count in after.holding.items():
        assert count <= before.holding.get(kind, 0) + SLACK_TASKS, (kind, figures)
    assert after.ledger <= before.ledger + 64 * 1024, figures
    # Whatever was answered has its line, and its count: nothing is told of what nobody asked.
    verdicts = Counter(figures.verdicts)
    unanswered = sum(verdicts[one] for one in DIED | HARMLESS)
    assert figures.asked - unanswered <= figures.lines <= figures.asked, figures
    counted = soak.steady.metric("istio_requests_total", destination_service=mixed.HOST)
    assert counted == lines[soak.steady], figures


def told(replica: Replica) -> int:
    """Requests of the access log, whatever became of them."""
    lines = replica.access_lines(dst__service=mixed.HOST)
    return sum(str(line["message"]).startswith("request ") for line in lines)
