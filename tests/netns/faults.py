"""What befalls a program of the mesh, what a steady load saw of it, and whether the mesh healed.

A run is written to the file that ``AMBIENT_FAULTS`` names, one JSON line each, from which ``faults_table.py`` makes the table
of ``tests/README.md``: ``./dev faults`` does both.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from netns.world import MARKER
from topology import Mesh, MeshNode, Pod, Topology, Wire, Workload, memory, objects, until
from topology.disk import Disk
from topology.process import Process

from ambient.node.refuse import PATIENCE_SECONDS

ECHO = 8080
RESTART_SECONDS = 0.2
"""What a supervisor waits before it starts a program again."""
SLACK = 12
"""Descriptors that a program may have more afterwards: tunnels to the control plane, pages that are being read."""


@dataclass
class Scene:
    """Two nodes, STRICT: ``client`` on the first calls ``far`` on the second and ``near`` on its own."""

    mesh: Mesh
    client: Workload
    near: Workload
    far: Workload
    guests: dict[str, Pod]
    """A pod of each node that joins and leaves again."""

    @property
    def paths(self) -> dict[str, Workload]:
        return {"one node": self.near, "across nodes": self.far}

    def guest(self, node: MeshNode) -> Pod:
        return self.guests[node.node.name]


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    with Topology() as topology:
        mesh = Mesh(topology, on_disks=True)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            *(objects.service_account("shop", name) for name in ("client", "server", "guest")),
            objects.peer_authentication("shop", "STRICT"),
        )
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        servers = []
        for node, name in ((one, "near"), (two, "far")):
            pod = node.node.pod(name)
            pod.serve("echo", ECHO)
            servers.append(node.add(pod, "shop", "server"))
        client = one.add(one.node.pod("client"), "shop", "client")
        mesh.settle(client, *servers)
        guests = {node.node.name: node.node.pod(f"guest-{node.node.name}") for node in (one, two)}
        near, far = servers
        yield Scene(mesh, client, near, far, guests)


# ---- who is struck


@dataclass(frozen=True)
class Victim:
    """A program of a node, or the control plane; ``pids`` are the processes that the fault is for."""

    name: str
    scene: Scene
    node: MeshNode

    @property
    def process(self) -> Process:
        process = {"daemon": self.node.daemon, "control": self.scene.mesh.control}.get(
            self.name, self.node.proxy
        )
        assert process is not None
        return process

    def pid(self) -> int:
        return max(self.node.worker_pids()) if self.name == "worker" else self.process.pid

    def pids(self) -> list[int]:
        """Of the worker's kind all: nobody else has room where it has none."""
        return self.node.worker_pids() if self.name == "worker" else [self.process.pid]

    @property
    def disks(self) -> list[Disk]:
        control = self.scene.mesh.disks
        assert control is not None
        of = self.node.disks
        return {
            "worker": [of["log"]],
            "parent": [of["proxy"], of["run"]],
            "daemon": [of["state"], of["run"]],
            "control": [control["state"]],
        }[self.name]

    def restart(self) -> None:
        """What a supervisor does; a worker's is its parent."""
        if self.name == "worker":
            return
        self.process.wait(5)
        time.sleep(RESTART_SECONDS)
        self.start()

    def start(self) -> None:
        match self.name:
            case "daemon":
                self.node.start_daemon()
            case "parent":
                self.node.start_proxy()
            case _:
                self.scene.mesh.start_control()

    def poke(self) -> None:
        """Ask it for something, so that it needs memory."""
        match self.name:
            case "daemon":
                self.node.workload("list")
            case "control":
                self.scene.mesh.operate("status")
            case _:
                self.node.get("/config_dump")

    def gone(self, pid: int) -> bool:
        if self.name != "worker" and self.process.pid == pid:
            return not self.process.running
        return not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {b"Z", b"X"}


# ---- what strikes


Meanwhile = Callable[[], None]


def kill(victim: Victim, seconds: float, meanwhile: Meanwhile) -> None:
    del seconds, meanwhile
    os.kill(victim.pid(), signal.SIGKILL)
    victim.restart()


def stop(victim: Victim, seconds: float, meanwhile: Meanwhile) -> None:
    pid = victim.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        pass_time(seconds, meanwhile)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def starve(victim: Victim, seconds: float, meanwhile: Meanwhile) -> None:
    """Have the kernel's OOM killer end it."""
    del seconds, meanwhile
    pid = victim.pid()
    memory.starve(pid, victim.scene.mesh.topology.cgroup.name, lambda: victim.gone(pid), victim.poke)
    victim.restart()


def exhaust(victim: Victim, seconds: float, meanwhile: Meanwhile) -> None:
    """No descriptor is to be had: ``accept``, ``connect`` and ``open`` get EMFILE."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in victim.pids()}
    started = {pid: cpu_seconds(pid) for pid in before}
    try:
        for pid, (_, most) in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest_free(pid), most))
        pass_time(seconds, meanwhile)
        for pid in before:
            if not is_alive(pid):
                assert victim.name == "worker", f"{victim.name} died for want of descriptors"
                continue  # It retired and had nothing left to carry.
            used = cpu_seconds(pid) - started[pid]
            assert used < 0.7 * max(seconds, 1), f"{victim.name} {pid} spins: {used} s of {seconds} s"
    finally:
        for pid, limits in before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def fill(victim: Victim, seconds: float, meanwhile: Meanwhile) -> None:
    """Its disks are full."""
    disks = victim.disks
    try:
        for disk in disks:
            disk.fill()
        pass_time(seconds, meanwhile)
        assert all(disk.is_full() for disk in disks)
    finally:
        for disk in disks:
            disk.free()
    assert victim.process.running, f"{victim.name} died of a full disk"


STRIKES: dict[str, Callable[[Victim, float, Meanwhile], None]] = {
    "kill": kill,
    "stop": stop,
    "oom": starve,
    "fds": exhaust,
    "disk": fill,
}


def pass_time(seconds: float, meanwhile: Meanwhile) -> None:
    over = time.monotonic() + seconds
    meanwhile()
    time.sleep(max(0.0, over - time.monotonic()))


def highest_free(pid: int) -> int:
    """The lowest descriptor that a process has not open: a limit there leaves none below it."""
    taken = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- what is measured


@dataclass
class Seen:
    """What one load saw."""

    ok: int
    refused: int
    """New connections that failed."""
    slowest_ms: int
    """Of those that did not."""
    gap_ms: int
    """The longest time in which no request on a new connection was answered."""
    held: int
    held_lost: int
    held_stall_ms: int
    errors: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """What a fault may cost the load on one path."""

    refused: int = 0
    """New connections."""
    slowest_seconds: float = 8
    """Of a new connection: what a noisy machine takes, and a fault that costs nothing."""
    held_lost: int = 0
    stall_seconds: float = 8
    """Of a held connection that lived."""


UNTOUCHED = Bound()
RESTARTED = Bound(slowest_seconds=15)
"""New connections wait for the next parent in their listeners' backlogs."""
ONE_WORKER = Bound(refused=12, held_lost=8)
"""What it carried is lost; what it had in its hands may be."""

STOPPED = Bound(refused=12, slowest_seconds=25, held_lost=8, stall_seconds=25)
"""What it has in its hands waits until it is replaced after 20 s; nobody else does."""
NO_DESCRIPTORS = Bound(refused=600, slowest_seconds=12)
"""Where it accepts, connections wait; where it dials, they are refused. What is carried goes on."""


def check(bound: Bound, seen: Seen) -> None:
    """A restart that takes longer than connections are kept waiting, on a machine that is busy, refuses them."""
    late = bound is RESTARTED and seen.slowest_ms >= PATIENCE_SECONDS * 1000
    assert seen.refused <= bound.refused or late, seen
    assert seen.slowest_ms <= bound.slowest_seconds * 1000, seen
    assert seen.held_lost <= bound.held_lost, seen
    assert "lost ConnectionAbortedError" not in seen.errors, f"it looked like an orderly end: {seen}"
    assert seen.held_stall_ms <= bound.stall_seconds * 1000, seen


class Load:
    """A load from the client to each server, measured from here on until ``end``."""

    def __init__(self, scene: Scene, *, lanes: int = 6, held: int = 8) -> None:
        self._held = held
        self._running = {
            path: scene.client.pod.start(
                "load", server.pod.v4, ECHO, "--lanes", lanes, "--held", held, "--marker", MARKER.decode()
            )
            for path, server in scene.paths.items()
        }
        self.more(10)

    def counted(self, process: Process) -> tuple[int, int]:
        told = [line for line in process.lines() if line["event"] == "progress"]
        return (told[-1]["new_ok"], told[-1]["held_ok"]) if told else (0, 0)

    def more(self, count: int = 20, within_seconds: float = 40) -> None:
        """Wait until so many more requests have gone well on every path, of either kind where some are held."""
        before = {path: self.counted(process)[0] for path, process in self._running.items()}
        for path, process in self._running.items():
            until(
                lambda process=process, path=path: self.counted(process)[0] >= before[path] + count,  # type: ignore[misc]
                within_seconds,
                f"{count} more requests of {path}: {process.tail(5)}",
            )

    def progress(self) -> list[dict[str, Any]]:
        """What each path told last."""
        return [
            [line for line in process.lines() if line["event"] == "progress"][-1]
            for process in self._running.values()
        ]

    def end(self) -> dict[str, Seen]:
        return {path: self._ended(process) for path, process in self._running.items()}

    def _ended(self, process: Process) -> Seen:
        process.stop()
        lines = process.lines()
        (summary,) = [line for line in lines if line["event"] == "summary"]
        wrong = [line for line in lines if line["event"] in {"failed", "lost"}]
        errors: dict[str, int] = {}
        for line in wrong:
            key = f"{line['event']} {line['error']}"
            errors[key] = errors.get(key, 0) + 1
        new, held = summary["new"], summary["held"]
        return Seen(
            ok=new["ok"],
            refused=new["failed"],
            slowest_ms=max([new["slowest_ms"], *(line["ms"] for line in wrong if line["event"] == "failed")]),
            gap_ms=new["gap_ms"],
            held=self._held,
            held_lost=held["failed"],
            held_stall_ms=held["slowest_ms"],
            errors=errors,
        )


@contextlib.contextmanager
def nothing_leaks(scene: Scene) -> Iterator[Wire]:
    """No marker crosses the wire in the clear."""
    wire = scene.mesh.topology.wire(MARKER)
    yield wire
    wire.drain()
    assert wire.leaks() == []
    wire.close()
    assert wire.dropped == 0


def sizes(scene: Scene) -> dict[str, int]:
    """Open descriptors of each program that is not a worker, and the number of workers."""
    found: dict[str, int] = {}
    for node in scene.mesh.nodes:
        assert node.daemon is not None
        assert node.proxy is not None
        found[f"daemon of {node.node.name}"] = descriptors(node.daemon.pid)
        found[f"proxy of {node.node.name}"] = descriptors(node.proxy.pid)
        found[f"workers of {node.node.name}"] = len(node.worker_pids())
    return found


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def namespaces(pid: int) -> int:
    """How many network namespaces a process holds open."""
    links = (str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return len({link for link in links if "/netns/" in link or link.startswith("net:")})


def heal(scene: Scene, node: MeshNode) -> float:
    """Wait until all works again and say after how many seconds: programs, policies, and a new pod."""
    began = time.monotonic()
    for one in scene.mesh.nodes:
        one.wait_ready()
        one.wait(lambda one=one: one.metric("ambient_workers") == 2, "two workers to serve")  # type: ignore[misc]
        one.wait(lambda one=one: all(pod["proxied"] for pod in one.listed()), "the daemon to have all back")  # type: ignore[misc]
    seconds = time.monotonic() - began
    deny = objects.authorization_policy(
        "shop", "nobody", "DENY", principals=["cluster.local/ns/shop/sa/client"]
    )
    scene.mesh.apply("nobody", deny)
    for server in scene.paths.values():
        until(lambda server=server: call(scene, server) is not None, 20, "a new policy to refuse the client")  # type: ignore[misc]
    scene.mesh.delete("nobody")
    for server in scene.paths.values():
        until(lambda server=server: call(scene, server) is None, 20, "the client to be let in again")  # type: ignore[misc]
    guest = node.add(scene.guest(node), "shop", "guest")
    node.wait_captured(guest)
    until(lambda: visit(guest, scene.far) is None, 20, "a new pod to call")
    ran = node.workload("remove", guest.name, "--namespace", "shop", "--now")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return seconds


def call(scene: Scene, server: Workload) -> object:
    return visit(scene.client, server)


def visit(client: Workload, server: Workload) -> object:
    return client.pod.call(server.pod.v4, ECHO, "--send", MARKER.decode(), "--timeout", 5)["error"]


def record(**figures: Any) -> None:
    """Add a line to the file of figures, if there is to be one."""
    if file := os.environ.get("AMBIENT_FAULTS"):
        with Path(file).open("a") as lines:
            lines.write(json.dumps(figures) + "\n")


def figures(seen: Seen) -> dict[str, object]:
    return asdict(seen)
