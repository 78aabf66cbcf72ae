"""What is behind a waypoint is reached through it, or not at all: who goes past it is refused at the other end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from topology import Mesh, Topology, Workload, objects
from topology.nodes import Pod
from topology.waypoint import Waypoint

VIP = "203.0.113.10"
BEHIND = {"app": "server", "ambient.dev/use-waypoint": "waypoint"}


@dataclass
class World:
    """A client, a pod that no node captures, and a server behind a waypoint; its service is behind it as well."""

    mesh: Mesh
    client: Workload
    outsider: Pod
    server: Workload
    waypoint: Waypoint

    def let_pass(self, permission: str) -> None:
        self.mesh.apply("mesh", objects.mesh_config(waypointBypass=permission))
        node = self.server.node
        node.wait(lambda: node.dump()["settings"]["waypointBypass"] == permission, "the setting")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "namespaces",
            objects.namespace("shop"),
            *(objects.service_account("shop", name) for name in ("client", "server", "waypoint")),
            objects.waypoint("shop", waypoint_for="all"),
        )
        server = objects.service("shop", "server", [VIP], {80: 8080}, {"app": "server"})
        mesh.apply("services", objects.behind(server, "waypoint"))
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        client = one.add(one.node.pod("client"), "shop", "client")
        pod = two.node.pod("server")
        pod.serve("echo", 8080, "--name", "server")
        serving = two.add(pod, "shop", "server", labels=BEHIND)
        waypoint = mesh.waypoint("shop", on=[one])
        mesh.settle(client, serving)
        for node in mesh.nodes:
            for replica in waypoint.replicas:
                node.wait_for_dump(
                    "workloads",
                    lambda found, uid=replica.uid: found["uid"] == uid and found["protocol"] == "HBONE",  # type: ignore[misc]
                    replica.uid,
                )
        yield World(mesh, client, one.node.pod("outsider"), serving, waypoint)


def test_a_captured_caller_comes_through_the_waypoint_by_either_address(world: World) -> None:
    (replica,) = world.waypoint.replicas
    for address, port in ((VIP, 80), (world.server.pod.v4, 8080)):
        seen = world.client.pod.call(address, port)
        assert (seen["error"], seen["echoed"]) == (None, "hello")
        replica.wait_for_access(dst__addr=f"{address}:{port}")
    line = world.server.node.wait_for_access(direction="inbound", message="connection complete")
    assert line["src.identity"] == replica.identity


def test_who_goes_past_it_is_refused_and_told_which_waypoint(world: World) -> None:
    assert world.outsider.call(world.server.pod.v4, 8080)["error"] == "ConnectionResetError"
    node = world.server.node
    line = node.wait_for_access(direction="inbound", response_flags="DENY")
    assert line["error"].startswith("waypoint bypass: workload ")
    assert "is behind waypoint shop/waypoint.shop.svc.cluster.local, " in line["error"]
    assert node.metric("ambient_connections_refused_total", reason="waypoint_bypass") >= 1


def test_the_mesh_may_let_it_in_and_cuts_it_when_it_no_longer_does(world: World) -> None:
    world.let_pass("allow")
    try:
        assert world.outsider.call(world.server.pod.v4, 8080)["echoed"] == "hello"
        steady = world.outsider.start("steady", world.server.pod.v4, 8080, "--every", 0.05)
        steady.wait_for_line(event="request", kind="held", ok=True)
    finally:
        world.let_pass("refuse")
    steady.wait_for_line(event="request", kind="held", lost=True)
    steady.stop()
    assert world.client.pod.call(VIP, 80)["echoed"] == "hello"
