"""The cable is out, pods go while they are called, and addresses and namespaces come back as somebody else's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from netns import faults
from netns.faults import ECHO, Load, Scene, Victim
from netns.world import MARKER
from topology import MeshNode, Pod, Process, Workload, objects, until

HBONE = 15008


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with faults.scene() as made:
        yield made


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.long)])
@pytest.mark.timeout(180)
def test_a_cable_that_was_out_costs_what_was_under_way_and_no_more(scene: Scene, seconds: float) -> None:
    two = scene.mesh.nodes[1]
    with faults.nothing_leaks(scene) as wire:
        load = Load(scene)
        two.node.unplug()
        try:
            time.sleep(seconds)
        finally:
            two.node.plug()
        load.more()
        seen = load.end()
        healed = faults.heal(scene, two)
    for path, figures in seen.items():
        faults.record(
            victim="link", fault="down", seconds=seconds, side="server", path=path, leaks=len(wire.leaks()),
            healed_seconds=round(healed, 1), **faults.figures(figures),
        )  # fmt: skip
    near, far = seen["one node"], seen["across nodes"]
    assert (near.refused, near.held_lost) == (0, 0), near
    if seconds < 10:
        assert (far.refused, far.held_lost) == (0, 0), far
    else:
        # Tunnels are given up after two pings without an answer, new connections after the time to connect.
        assert far.refused <= 40, far
    assert far.slowest_ms <= 30_000, far


def test_generations_of_workers_carry_on_and_hear_of_policies(scene: Scene) -> None:
    node = scene.mesh.nodes[0]
    victim = Victim("parent", scene, node)
    with faults.nothing_leaks(scene):
        load = Load(scene)
        for generation in range(1, 5):
            faults.kill(victim, 0, lambda: None)
            load.more(5)
            node.wait(lambda: node.metric("ambient_workers") == 2, "two workers to serve")
            if generation == 1:
                more = Load(scene, lanes=1)
        for seen in load.end().values():
            faults.check(faults.RESTARTED, seen)
        forbid(scene, more)
        node.wait(lambda: len(node.worker_pids()) == 2, "the workers of earlier parents to end")
    assert faults.heal(scene, node) < 30


def forbid(scene: Scene, load: Load) -> None:
    """A policy forbids what a load holds: workers of earlier parents hear of it, too."""
    deny = objects.authorization_policy(
        "shop", "nobody", "DENY", principals=["cluster.local/ns/shop/sa/client"]
    )
    assert all(line["held_lost"] == 0 for line in load.progress())
    scene.mesh.apply("nobody", deny)
    until(
        lambda: all(line["held_lost"] == 8 for line in load.progress()), 20, "every held connection to be cut"
    )
    scene.mesh.delete("nobody")
    for server in scene.paths.values():
        until(lambda server=server: faults.call(scene, server) is None, 20, "the client to be let in again")  # type: ignore[misc]
    load.end()


def test_a_pod_that_goes_while_its_peer_shakes_hands_leaves_nothing(scene: Scene) -> None:
    two = scene.mesh.nodes[1]
    namespaces = held_namespaces(two)
    pod = two.node.pod("short-lived")
    pod.serve("echo", ECHO)
    workload = two.add(pod, "shop", "server")
    scene.mesh.settle(workload)
    # It has connected and says nothing: the other side waits for its ClientHello.
    waiting = scene.client.node.node.popen("silent", "/bin/bash", "-c", hold(pod.v4, HBONE))
    waiting.wait_for_line(event="connected")
    # Its interface goes at once, so that nobody hears a FIN or a reset.
    pod.delete()
    two.wait(lambda: all(one["uid"] != workload.uid for one in two.listed()), "it to be gone")
    two.wait(lambda: held_namespaces(two) == namespaces, "its namespace to be let go")
    waiting.kill()


def hold(host: object, port: int) -> str:
    """Say when a connection is there, and end when it is cut."""
    return f'exec 3<>/dev/tcp/{host}/{port}; echo \'{{"event": "connected"}}\'; cat <&3 >/dev/null; true'


def test_a_pod_that_goes_while_it_dials_leaves_nothing(scene: Scene) -> None:
    one, two = scene.mesh.nodes
    namespaces = held_namespaces(one)
    pod = one.node.pod("short-lived")
    workload = one.add(pod, "shop", "guest")
    one.wait_captured(workload)
    with faults.nothing_leaks(scene):
        two.node.unplug()
        try:
            call = pod.start("call", scene.far.pod.v4, ECHO, "--send", MARKER.decode(), "--timeout", 30)
            one.wait(lambda: is_dialling(one, pod), "its proxy to dial")
            pod.delete()
            one.wait(lambda: all(found["uid"] != workload.uid for found in one.listed()), "it to be gone")
        finally:
            two.node.plug()
        one.wait(lambda: held_namespaces(one) == namespaces, "its namespace to be let go")
        assert call.wait(5) != 0
    faults.heal(scene, two)


def is_dialling(node: MeshNode, pod: Pod) -> bool:
    """A SYN of its proxy waits for an answer."""
    ran = node.node.run(
        "nsenter", f"--net={pod.netns}", "--", "ss", "-Htn", "state", "syn-sent", f"dport = {HBONE}"
    )
    return bool(ran.stdout.strip())


def test_an_address_that_is_somebody_elses_gets_no_byte_and_is_called_when_the_mesh_knows(
    scene: Scene,
) -> None:
    one, two = scene.mesh.nodes
    first = two.node.pod("reborn")
    first.serve("echo", ECHO)
    scene.mesh.settle(two.add(first, "shop", "server"))
    assert visit(scene.client, first) is None
    assert one.proxy is not None
    with faults.nothing_leaks(scene):
        # The client's node does not hear of anything: neither of the end of its tunnel, nor from the control plane.
        os.kill(one.proxy.pid, signal.SIGSTOP)
        one.node.unplug()
        try:
            first.delete()
            left = two.workload("remove", "reborn", "--namespace", "shop", "--now")
            assert left.returncode == 0 or "is not registered" in left.stderr, left
            second, application = reborn(two, first)
        finally:
            one.node.plug()
        try:
            for _ in range(3):
                assert visit(scene.client, second) is not None
            lines = one.access_lines(message="connection failed")
            refused = [line["error"] for line in lines if f"{second.v4}:" in str(line["dst.addr"])]
        finally:
            os.kill(one.proxy.pid, signal.SIGCONT)
        assert not [line for line in application.lines() if line["event"] == "accepted"]
        assert any("sa/guest, not" in error for error in refused), refused
        until(lambda: visit(scene.client, second) is None, 40, "the client to know who has the address")
    two.wait_for_access(
        message="connection complete", dst__identity="spiffe://cluster.local/ns/shop/sa/guest"
    )
    second.delete()


def reborn(node: MeshNode, before: Pod) -> tuple[Pod, Process]:
    """A pod of the same name, path and addresses, of another identity."""
    pod = node.node.pod(before.short_name, number=before.number)
    assert (pod.v4, pod.netns) == (before.v4, before.netns)
    application = pod.serve("echo", ECHO)
    node.wait_captured(node.add(pod, "shop", "guest"))
    return pod, application


def test_a_namespace_that_has_its_path_from_another_speaks_for_itself(scene: Scene) -> None:
    one, two = scene.mesh.nodes
    first = one.node.pod("returning")
    before = one.add(first, "shop", "client")
    one.wait_captured(before)
    assert visit(before, scene.far.pod) is None
    first.delete()
    # At once: the daemon has not looked yet.
    second = one.node.pod("returning", number=first.number)
    after = one.add(second, "shop", "guest")
    one.wait_captured(after)
    until(lambda: visit(after, scene.far.pod) is None, 20, "it to call")
    line = two.wait_for_access(
        message="connection complete", src__workload="returning",
        src__identity="spiffe://cluster.local/ns/shop/sa/guest",
    )  # fmt: skip
    assert line["src.identity"].endswith("/sa/guest")
    second.delete()


def visit(client: Workload, pod: Pod) -> object:
    return client.pod.call(pod.v4, ECHO, "--send", MARKER.decode(), "--timeout", 20, timeout=30)["error"]


def held_namespaces(node: MeshNode) -> int:
    """How many network namespaces its programs keep alive."""
    assert node.daemon is not None
    assert node.proxy is not None
    return sum(faults.namespaces(pid) for pid in (node.daemon.pid, node.proxy.pid, *node.worker_pids()))
