"""Thousands of connections through one pair of nodes: what each costs in every process, and that nothing stays of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from scale.cost import mebi
from scale.figures import Figures
from scale.memory import Size, cpu_seconds, kernel_slab
from topology import Mesh, MeshNode, Topology, Workload, objects
from topology.process import Process, until

PART = "10,000 tunnelled connections"
ECHO = 8080
PAIRS = 4
"""Pods on each node: connections that are captured in one share 28,000 ports of its loopback address."""
WORKERS = 2


class Scene:
    """A client on node one for each server on node two."""

    def __init__(self, mesh: Mesh, pairs: list[tuple[Workload, Workload]]) -> None:
        self.mesh, self._pairs = mesh, pairs
        self.programs = dict(_programs(mesh))

    def hold(self, count: int) -> Crowd:
        return Crowd(
            [
                client.pod.start("hold", "hold", server.pod.v4, ECHO, count // len(self._pairs))
                for client, server in self._pairs
            ]
        )

    def sizes(self) -> dict[str, Size]:
        return {name: Size.of(pid) for name, pid in self.programs.items()}

    def wait_until_closed(self) -> None:
        for node in self.mesh.nodes:
            node.wait(lambda node=node: _is_idle(node), "every connection to be closed")  # type: ignore[misc]


class Crowd:
    """Programs that hold connections together."""

    def __init__(self, programs: list[Process]) -> None:
        self._programs = programs

    def all(self, event: str) -> list[dict[str, float]]:
        said = [program.wait_for_line(240, event=event) for program in self._programs]
        assert not any(one["failed"] for one in said), said
        return said

    def say(self, number: signal.Signals) -> None:
        for program in self._programs:
            program.signal(number)

    def close(self) -> None:
        self.say(signal.SIGUSR2)
        for program in self._programs:
            program.finished(60)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.peer_authentication("shop", "STRICT"),
        )
        mesh.start_control()
        one, two = (mesh.node(name, workers=WORKERS) for name in ("one", "two"))
        pairs = []
        for number in range(PAIRS):
            pod = two.node.pod(f"server{number}")
            pod.serve("hold", "serve", ECHO)
            server = two.add(pod, "shop", "server")
            pairs.append((one.add(one.node.pod(f"client{number}"), "shop", "client"), server))
        mesh.settle(*(workload for pair in pairs for workload in pair))
        yield Scene(mesh, pairs)


@pytest.mark.timeout(480)
@pytest.mark.parametrize(
    "count", [pytest.param(400, id="smoke"), pytest.param(10_000, id="full", marks=pytest.mark.long)]
)
def test_connections_are_small_work_and_leave_nothing(scene: Scene, count: int, figures: Figures) -> None:
    warm = scene.hold(80)  # A tunnel of each pair is there, and what is made once is made.
    warm.all("opened")
    warm.close()
    scene.wait_until_closed()
    idle, slab = scene.sizes(), kernel_slab()

    began, used = time.monotonic(), _used(scene)
    crowd = scene.hold(count)
    crowd.all("opened")
    opened, spent = time.monotonic() - began, _used(scene)
    full, slab = scene.sizes(), kernel_slab() - slab

    began = time.monotonic()
    crowd.say(signal.SIGUSR1)
    assert sum(one["count"] for one in crowd.all("exchanged")) == count
    exchanged = time.monotonic() - began

    began = time.monotonic()
    crowd.close()
    scene.wait_until_closed()
    closed = time.monotonic() - began
    until(lambda: _descriptors_left(scene, idle) <= count // 50 + 8 * WORKERS, 15, "descriptors to be closed")
    after = scene.sizes()

    again = scene.hold(count)
    again.all("opened")
    second = scene.sizes()
    again.close()
    scene.wait_until_closed()

    workers = {name: full[name].descriptors - idle[name].descriptors for name in full if "worker" in name}
    assert sum(workers.values()) >= 2 * count
    each = {name: (full[name].anonymous - idle[name].anonymous) / held for name, held in workers.items()}
    others = {name: full[name].anonymous - idle[name].anonymous for name in full if name not in workers}
    if count == 10_000:
        assert max(each.values()) < 5 * 20 * 1024, each
        assert max(others.values()) < 20 * 1024 * 1024, others
        for name in workers:
            grown = second[name].anonymous - full[name].anonymous
            assert grown < 0.5 * (full[name].anonymous - idle[name].anonymous) + 2**22, (name, grown)
        note = figures.note
        for side, node in (("client's", "one"), ("server's", "two")):
            sizes = [size for name, size in each.items() if name.startswith(node)]
            note(PART, f"memory of each, {side} workers", f"{max(sizes) / 1024:.1f} KiB", "≤ 20 KiB")
        note(PART, "growth of parents, daemons, control plane, at most", mebi(max(others.values())))
        note(
            PART,
            "kernel objects of the machine for each (its four sockets and more)",
            f"{slab / count / 1024:.1f} KiB",
        )
        note(PART, "time until all had a byte back", f"{opened:.1f} s, {count / opened:,.0f} a second")
        cpu = sum(spent.values()) - sum(used.values())
        note(PART, "processor time of both proxies for each", f"{cpu / count * 1e3:.2f} ms")
        note(PART, "a byte there and back on all at once", f"{exchanged:.1f} s")
        note(PART, "closed, and counted as closed", f"{closed:.1f} s")
        kept = [after[name].anonymous - idle[name].anonymous for name in workers]
        more = [second[name].anonymous - full[name].anonymous for name in workers]
        note(PART, "memory that a worker keeps for the next ones (malloc gives none back)", mebi(max(kept)))
        note(PART, "growth of a worker when as many come again", mebi(max(more)))
        note(PART, "descriptors that stay (tunnels that rest in pools)", str(_descriptors_left(scene, idle)))


def _descriptors_left(scene: Scene, idle: dict[str, Size]) -> int:
    return sum(size.descriptors - idle[name].descriptors for name, size in scene.sizes().items())


def _used(scene: Scene) -> dict[str, float]:
    return {
        name: cpu_seconds(pid) for name, pid in scene.programs.items() if "worker" in name or "parent" in name
    }


def _is_idle(node: MeshNode) -> bool:
    return bool(node.samples()) and node.metric("istio_tcp_sockets_open") == 0


def _programs(mesh: Mesh) -> Iterator[tuple[str, int]]:
    assert mesh.control is not None
    yield "control", mesh.control.pid
    for name, node in zip(("one", "two"), mesh.nodes, strict=True):
        assert node.daemon is not None
        assert node.proxy is not None
        yield f"{name} daemon", node.daemon.pid
        yield f"{name} parent", node.proxy.pid
        for number, pid in enumerate(node.worker_pids()):
            yield f"{name} worker {number}", pid
