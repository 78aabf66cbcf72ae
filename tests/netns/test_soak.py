"""A mesh under mixed load while everything about it changes: afterwards it is as large as before."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from netns.world import MARKER
from topology import Mesh, MeshNode, Pod, Topology, Workload, objects
from topology.process import Process

ECHO, MUTE, MOVE = 8080, 8081, 8082
SLACK_FDS = 8
"""Tunnels that rest in a pool come and go."""
GROWTH_KIB = 24 * 1024
"""By which a process may be larger at the end than when it was warm: allocators keep what they once had."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds."""

    rss: int
    """KiB."""
    fds: int
    namespaces: int
    """Network namespaces that it keeps alive."""

    @classmethod
    def of(cls, pid: int) -> Size:
        links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        status = Path(f"/proc/{pid}/status").read_text()
        rss = int(status.split("VmRSS:")[1].split()[0])
        return cls(rss, len(links), sum("/netns/" in link or link.startswith("net:") for link in links))


@dataclass
class Scene:
    mesh: Mesh
    client: Workload
    server: Workload
    mute: Process

    @property
    def target(self) -> str:
        return str(self.server.pod.v4)

    def call(self) -> object:
        return self.client.pod.call(self.server.pod.v4, ECHO)["error"]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.service_account("shop", "guest"),
        )
        mesh.apply("mode", objects.peer_authentication("shop", "STRICT"))
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        pod = two.node.pod("server")
        pod.serve("echo", ECHO)
        mute = pod.serve("rude", "mute", MUTE)
        pod.serve("transfer", "serve", MOVE)
        server = two.add(pod, "shop", "server")
        client = one.add(one.node.pod("client"), "shop", "client")
        mesh.settle(client, server)
        yield Scene(mesh, client, server, mute)


@pytest.mark.parametrize(
    "rounds", [pytest.param(2, id="short"), pytest.param(12, id="long", marks=pytest.mark.long)]
)
@pytest.mark.timeout(420)
def test_after_all_kinds_of_load_and_change_nothing_has_stayed(scene: Scene, rounds: int) -> None:
    guests = [node.node.pod(f"guest{rounds}-{node.node.name}") for node in scene.mesh.nodes]
    warm = 1 + rounds // 4
    for number in range(warm):
        load_and_change(scene, guests, number)
    rest(scene)
    before = {pid: Size.of(pid) for pid in processes(scene)}
    for number in range(warm, rounds):
        load_and_change(scene, guests, number)
    rest(scene)
    after = {pid: Size.of(pid) for pid in processes(scene)}
    survivors = before.keys() & after.keys()
    assert len(survivors) >= 6  # Control, two daemons, two parents; and a worker at least.
    for pid in survivors:
        assert after[pid].fds <= before[pid].fds + SLACK_FDS, (pid, before, after)
        # Its own may be one more: it is opened by who first enters another.
        assert after[pid].namespaces <= before[pid].namespaces + 1, (pid, before, after)
        assert after[pid].rss <= before[pid].rss + GROWTH_KIB, (pid, before, after)
    assert scene.call() is None


def load_and_change(scene: Scene, guests: list[Pod], number: int) -> None:
    """Calls, aborts, transfers and stalls; pods, certificates, policies and workers that come and go meanwhile."""
    pod, target = scene.client.pod, scene.target
    steady = pod.start("steady", target, ECHO, "--every", 0.05, "--marker", MARKER.decode())
    moving = pod.start("transfer", "push", target, MOVE, 50_000_000)
    aborting = pod.start("crowd", "abort", target, ECHO, 500)
    stalling = pod.start("crowd", "stall", target, MUTE, 20)
    visits = []
    for node, guest in zip(scene.mesh.nodes, guests, strict=True):
        workload = node.add(guest, "shop", "guest")
        node.wait_captured(workload)
        visit = guest.start("steady", target, ECHO, "--every", 0.05, "--marker", MARKER.decode())
        visit.wait_for_line(event="request", kind="held", ok=True)
        visits.append((node, guest, visit))
    scene.mesh.apply("mode", objects.peer_authentication("shop", "PERMISSIVE"))
    for node in scene.mesh.nodes:
        assert node.get("/certificates/renew", "POST")[0] == 200
    assert moving.finished(60)[-1]["same"]
    assert aborting.finished(60)[-1]["refused"] == 0
    scene.mesh.apply("mode", objects.peer_authentication("shop", "STRICT"))
    # One pod is told to go at once, with calls under way; the other when they have ended.
    for (node, guest, visit), flags in zip(visits, (["--now"], []), strict=True):
        if not flags:
            visit.stop()
        ran = node.workload("remove", guest.short_name, "--namespace", "shop", *flags)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        if flags:
            visit.stop()
    stalling.stop()
    # What its clients sent is theirs no more, and it has not read: only it can end these connections.
    scene.mute.stop()
    scene.mute = scene.server.pod.serve("rude", "mute", MUTE)
    node = scene.mesh.nodes[number % 2]
    deaths = node.metric("ambient_worker_deaths_total")
    os.kill(max(node.worker_pids()), signal.SIGKILL)
    node.wait_for_metric(deaths + 1, "ambient_worker_deaths_total")
    node.wait(lambda: node.metric("ambient_workers") == 2, "two workers to serve again")
    steady.stop()


def rest(scene: Scene) -> None:
    """Wait until nothing is open any more."""
    for node in scene.mesh.nodes:
        node.wait(lambda node=node: open_connections(node) == 0, "every connection to be closed")  # type: ignore[misc]
    time.sleep(1)


def open_connections(node: MeshNode) -> float:
    return node.metric("istio_tcp_sockets_open") if node.samples() else -1


def processes(scene: Scene) -> list[int]:
    programs = [
        scene.mesh.control,
        *(program for node in scene.mesh.nodes for program in (node.daemon, node.proxy)),
    ]
    workers = [pid for node in scene.mesh.nodes for pid in node.worker_pids()]
    return [*(program.pid for program in programs if program is not None), *workers]
