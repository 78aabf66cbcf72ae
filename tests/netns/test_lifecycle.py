"""Proxies that are stopped in order, servers that die, and certificates that come and go with their workloads."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from topology import Mesh, MeshNode, Process, Topology, Workload, objects, until


@dataclass
class Scene:
    """``client`` on node one calls ``server`` on node two."""

    mesh: Mesh
    client: Workload
    server: Workload


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Topology() as topology:
        mesh = Mesh(topology)
        accounts = [objects.service_account("shop", name) for name in ("client", "server", "brief")]
        mesh.apply("shop", objects.namespace("shop"), *accounts)
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        pod = two.node.pod("server")
        pod.serve("echo", 8080)
        server = two.add(pod, "shop", "server")
        client = one.add(one.node.pod("client"), "shop", "client")
        mesh.settle(client, server)
        yield Scene(mesh, client, server)


def held(process: Process) -> list[dict[str, Any]]:
    return [line for line in process.lines() if line.get("kind") == "held"]


def beats(process: Process, count: int = 5) -> None:
    """Wait until its held connection has exchanged something a few times more, and never broke."""
    before = len(held(process))
    until(lambda: len(held(process)) >= before + count, 20, f"{process.name} to go on")
    assert [line for line in held(process) if not line["ok"]] == []


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_proxy_that_stops_carries_what_it_has_and_new_connections_wait_for_the_next(
    scene: Scene, side: str
) -> None:
    client, server = scene.client, scene.server
    node = (client if side == "source" else server).node
    proxy = node.proxy
    assert proxy is not None
    steady = client.pod.start("steady", server.pod.v4, 8080, "--every", 0.05, "--no-new")
    steady.wait_for_line(kind="held", ok=True)
    proxy.signal(signal.SIGTERM)
    proxy.wait_for_line(message="worker retires")
    beats(steady)
    waiting = client.pod.start("call", server.pod.v4, 8080, "--timeout", 60)
    beats(steady)
    assert waiting.running
    steady.stop()
    assert proxy.wait(20) == 0
    node.start_proxy()
    assert waiting.finished(60)[-1]["echoed"] == "hello"
    node.wait_ready()


def test_what_does_not_end_in_time_is_ended(scene: Scene) -> None:
    client, server = scene.client, scene.server
    node = client.node
    assert node.proxy is not None
    node.proxy.stop(60)
    node.start_proxy("--drain-seconds", "3")
    node.wait_ready()
    node.wait_captured(client)
    steady = client.pod.start("steady", server.pod.v4, 8080, "--every", 0.05)
    steady.wait_for_line(kind="held", ok=True)
    began = time.time()
    assert node.proxy.stop(60) == 0
    lost = steady.wait_for_line(kind="held", lost=True)
    assert lost["at"] - began > 2.5
    node.proxy.wait_for_line(message="worker did not drain in time")
    node.start_proxy()
    node.wait_ready()
    until(lambda: held(steady)[-1]["ok"], 30, "the client to be carried again")
    steady.stop()


def test_a_server_that_dies_is_told_to_its_clients_at_once(scene: Scene) -> None:
    client, server = scene.client, scene.server
    dying = server.pod.serve("echo", 8090, "--name", "dying")
    steady = client.pod.start("steady", server.pod.v4, 8090, "--every", 0.05)
    steady.wait_for_line(kind="held", ok=True)
    dying.kill()
    lost = steady.wait_for_line(kind="held", lost=True)
    assert lost["error"] in ("ConnectionResetError", "ConnectionAbortedError")
    steady.wait_for_line(kind="new", error="ConnectionResetError")
    # A sibling on the same tunnel is not touched.
    assert client.pod.call(server.pod.v4, 8080)["echoed"] == "hello"
    steady.stop()


def test_a_certificate_lives_as_long_as_a_workload_that_needs_it(scene: Scene) -> None:
    node = scene.mesh.nodes[0]
    first, second = (node.add(node.node.pod(f"brief-{number}"), "shop", "brief") for number in (1, 2))
    node.wait_captured(first)
    node.wait_captured(second)
    # It was there before the first connection.
    serials = [one["serialNumber"] for one in certificates(node, first.identity)]
    assert len(serials) == 1
    assert node.workload("remove", "brief-1", "--namespace", "shop").returncode == 0
    node.wait(
        lambda: not any(pod["uid"] == first.uid for pod in node.get_json("/pods")), "the first to be gone"
    )
    assert [one["serialNumber"] for one in certificates(node, first.identity)] == serials
    assert node.workload("remove", "brief-2", "--namespace", "shop").returncode == 0
    node.wait(lambda: certificates(node, first.identity) == [], "the certificate to be gone")


def certificates(node: MeshNode, identity: str) -> list[dict[str, Any]]:
    return [
        one
        for one in node.dump()["certificates"]
        if one["identity"] == identity and one["state"] == "Available"
    ]
