"""The real chain: client pod, its node's proxy, a waypoint, the server's node's proxy, server pod."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from topology import Mesh, Topology, Workload, objects
from topology.waypoint import Waypoint

VIP = "203.0.113.10"
SERVICE = "server.shop.svc.cluster.local"


@dataclass
class World:
    """Two nodes, a client on the first and a server on each; ``server`` is behind a waypoint on the second."""

    mesh: Mesh
    client: Workload
    servers: dict[str, Workload]
    waypoint: Waypoint


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "namespaces",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.service_account("shop", "waypoint"),
            objects.waypoint("shop"),
        )
        server = objects.service("shop", "server", [VIP], {80: 8080}, {"app": "server"})
        mesh.apply("services", objects.behind(server, "waypoint"))
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        client = one.add(one.node.pod("client"), "shop", "client")
        servers = {}
        for node in (one, two):
            name = f"server-{node.node.name}"
            pod = node.node.pod(name)
            pod.serve("echo", 8080, "--name", name)
            servers[name] = node.add(pod, "shop", "server", labels={"app": "server"})
        waypoint = mesh.waypoint("shop", on=[two])
        mesh.settle(client, *servers.values())
        for node in mesh.nodes:
            for replica in waypoint.replicas:
                node.wait_for_dump("workloads", partial(speaks_hbone, replica.uid), replica.uid)
        yield World(mesh, client, servers, waypoint)


def test_a_server_that_talks_first_is_heard_at_once_on_a_port_of_which_nothing_is_said(world: World) -> None:
    answers = [world.client.pod.call(VIP, 80) for _ in range(20)]
    assert [answer["error"] for answer in answers] == [None] * 20
    assert [answer["echoed"] for answer in answers] == ["hello"] * 20
    assert {answer["server"]["server"] for answer in answers} == {"server-one", "server-two"}
    assert {tuple(answer["peername"]) for answer in answers} == {(VIP, 80)}
    (replica,) = world.waypoint.replicas
    line = replica.wait_for_access(message="connection complete", dst__service=SERVICE)
    assert line["src.identity"] == world.client.identity
    assert line["src.workload"] == "client"
    assert line["dst.workload"] in world.servers
    assert line["bytes_recv"] == len("hello")


def speaks_hbone(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")
