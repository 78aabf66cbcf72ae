"""Every program of the mesh is struck in every way, under a load on one node and across two: who notices, what is lost,
that nothing leaks, and that all of it works afterwards.

The figures of a run are in ``tests/README.md``; ``./dev faults`` measures them anew.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from netns import faults
from netns.faults import (
    ECHO,
    NO_DESCRIPTORS,
    ONE_WORKER,
    RESTARTED,
    STOPPED,
    UNTOUCHED,
    Bound,
    Load,
    Scene,
    Victim,
    check,
)
from netns.world import MARKER
from topology import MeshNode, objects, until


@dataclass(frozen=True)
class Case:
    victim: str
    fault: str
    side: str
    """Whose node: the client's, where both paths pass, or the server's."""
    seconds: float
    near: Bound
    """On one node."""
    far: Bound
    """Across nodes."""
    long: bool = True

    @property
    def id(self) -> str:
        return f"{self.victim}-{self.fault}-{self.side}"


def cases() -> list[Case]:
    made = [
        Case("worker", "kill", "client", 0, ONE_WORKER, ONE_WORKER, long=False),
        Case("worker", "kill", "server", 0, UNTOUCHED, ONE_WORKER, long=False),
        Case("parent", "kill", "client", 0, RESTARTED, RESTARTED, long=False),
        Case("parent", "kill", "server", 0, UNTOUCHED, RESTARTED, long=False),
        Case("worker", "oom", "client", 0, ONE_WORKER, ONE_WORKER, long=False),
        Case("worker", "oom", "server", 0, UNTOUCHED, ONE_WORKER),
        Case("parent", "oom", "client", 0, RESTARTED, RESTARTED),
        Case("parent", "oom", "server", 0, UNTOUCHED, RESTARTED),
        Case("worker", "stop", "client", 30, STOPPED, STOPPED),
        Case("worker", "stop", "server", 30, UNTOUCHED, STOPPED),
        Case("worker", "fds", "client", 4, NO_DESCRIPTORS, NO_DESCRIPTORS, long=False),
        Case("worker", "fds", "server", 4, UNTOUCHED, NO_DESCRIPTORS),
    ]
    for victim in ("daemon", "control"):
        made += [
            Case(victim, "kill", side, 0, UNTOUCHED, UNTOUCHED, long=victim == "control" and side == "server")
            for side in ("client", "server")
        ]
        made += [Case(victim, "oom", "client", 0, UNTOUCHED, UNTOUCHED)]
    for victim in ("parent", "daemon", "control"):
        made += [
            Case(victim, "stop", "client", 30, UNTOUCHED, UNTOUCHED),
            Case(victim, "fds", "client", 5, UNTOUCHED, UNTOUCHED, long=victim == "control"),
        ]
    for victim in ("worker", "parent", "daemon", "control"):
        made += [Case(victim, "disk", "client", 3, UNTOUCHED, UNTOUCHED, long=victim != "worker")]
    return made


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with faults.scene() as made:
        yield made


@pytest.fixture
def no_control(scene: Scene) -> Iterator[None]:
    """The control plane is gone while the test runs."""
    assert scene.mesh.control is not None
    scene.mesh.control.kill()
    yield
    scene.mesh.start_control()
    for node in scene.mesh.nodes:
        node.wait_ready()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id, marks=[pytest.mark.long] * case.long) for case in cases()]
)
def test_what_a_fault_costs_is_bounded_and_all_of_it_heals(scene: Scene, case: Case) -> None:
    node = scene.mesh.nodes[0 if case.side == "client" else 1]
    victim = Victim(case.victim, scene, node)
    before = faults.sizes(scene)
    with faults.nothing_leaks(scene) as wire:
        load = Load(scene)
        faults.STRIKES[case.fault](victim, case.seconds, lambda: meanwhile(victim, case.fault))
        load.more()
        seen = load.end()
        healed = faults.heal(scene, node)
    for path, figures in seen.items():
        faults.record(
            victim=case.victim, fault=case.fault, seconds=case.seconds, side=case.side, path=path,
            leaks=len(wire.leaks()), healed_seconds=round(healed, 1), **faults.figures(figures),
        )  # fmt: skip
    check(case.near, seen["one node"])
    check(case.far, seen["across nodes"])
    after = faults.sizes(scene)
    for what, count in after.items():
        assert count <= before[what] + faults.SLACK, (what, before, after)


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("name", ["worker", "parent", "daemon"])
def test_it_costs_no_more_while_the_control_plane_is_gone(
    scene: Scene, no_control: None, name: str, side: str
) -> None:
    victim = Victim(name, scene, scene.mesh.nodes[0 if side == "client" else 1])
    with faults.nothing_leaks(scene) as wire:
        load = Load(scene)
        faults.kill(victim, 0, lambda: None)
        load.more()
        seen = load.end()
    bound = {"worker": ONE_WORKER, "parent": RESTARTED, "daemon": UNTOUCHED}[name]
    for path, figures in seen.items():
        faults.record(
            victim=name, fault="kill", seconds=0, side=side, path=path, leaks=len(wire.leaks()), control="gone",
            **faults.figures(figures),
        )  # fmt: skip
        check(bound, figures)


def test_both_programs_killed_refuse_at_once_and_a_new_token_brings_them_back(scene: Scene) -> None:
    node = scene.mesh.nodes[0]
    with faults.nothing_leaks(scene):
        assert node.proxy is not None
        assert node.daemon is not None
        kill_proxy(node)
        node.daemon.kill()
        assert faults.call(scene, scene.far) == "ConnectionRefusedError"
        node.start_daemon()
        # The node's own key was in the memory of the two that died, and nowhere else.
        node.token_file.unlink()
        node.start_proxy()
        node.wait_ready()
        node.wait_captured(scene.client)
        assert faults.call(scene, scene.far) is None


def test_without_a_proxy_connections_wait_and_are_then_refused(scene: Scene) -> None:
    node = scene.mesh.nodes[0]
    with faults.nothing_leaks(scene):
        kill_proxy(node)
        seen = scene.client.pod.call(
            scene.far.pod.v4, ECHO, "--send", MARKER.decode(), "--timeout", 30, timeout=40
        )
        assert seen["error"] in {"ConnectionResetError", "ConnectionRefusedError"}
        assert 5_000 < seen["ms"] < 20_000
        node.start_proxy()
        node.wait_ready()
        assert faults.call(scene, scene.far) is None


def kill_proxy(node: MeshNode) -> None:
    """The parent and every worker."""
    assert node.proxy is not None
    for pid in [node.proxy.pid, *node.worker_pids()]:
        os.kill(pid, signal.SIGKILL)
    node.proxy.wait(5)


def meanwhile(victim: Victim, fault: str) -> None:
    """While the fault lasts: what is asked of the struck program is refused with a word, or waits; nothing hangs."""
    node, mesh = victim.node, victim.scene.mesh
    # A change of configuration is everywhere or waits, whoever is struck.
    name = f"{victim.name}-{fault}"
    mesh.apply("meanwhile", objects.service("shop", name, ["203.0.113.99"], {80: ECHO}, {"app": "none"}))
    match victim.name, fault:
        case "daemon", "disk":
            said = join(victim)
            assert "No space left on device; make room" in said, said
            victim.process.kill()
            victim.start()
        case "control", "disk":
            token = mesh.operate("token", "create", "--node", "three")
            assert "make room" in token.stderr, token
            victim.process.kill()
            victim.start()
        case "worker", "disk":
            node.wait_for_metric(1, "ambient_access_log_lines_lost_total")
        case "parent", "disk":
            until(lambda: any(
                line.get("message") == "snapshot cannot be kept on disk" for line in victim.process.lines()
            ), 10, "the proxy to say that it cannot keep its snapshot")  # fmt: skip
        case "parent", "stop" | "fds":
            # The daemon gives the proxy up, and must not refuse what its workers still accept.
            assert "waiting" in join(victim)
        case "worker", "fds" | "stop":
            join(victim)
        case _:
            pass


def join(victim: Victim) -> str:
    """What an operator is told who adds a workload; it is out again after that."""
    guest = victim.scene.guest(victim.node)
    names = guest.short_name, "--namespace", "shop"
    ran = victim.node.workload(
        "add", *names, "--service-account", "guest", "--netns", guest.netns, "--cgroup", guest.cgroup
    )
    if ran.returncode == 0:
        left = victim.node.workload("remove", *names, "--now")
        assert left.returncode == 0, left
    return ran.stdout + ran.stderr
