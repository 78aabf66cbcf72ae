"""Requests through the real chain: client pod, its node's proxy, a waypoint, the server's node's proxy, server pod."""

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
    """Two nodes; a client on the first, a server of each version on each; behind a waypoint of two workers."""

    mesh: Mesh
    client: Workload
    servers: dict[str, Workload]
    waypoint: Waypoint

    def ask(self, path: str = "/", *arguments: object, timeout: float = 30) -> dict[str, Any]:
        process = self.client.pod.start("ask", VIP, 80, "--path", path, *arguments)
        return process.finished(timeout)[-1]


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
        for node, version in ((one, "v1"), (two, "v2")):
            pod = node.node.pod(f"server-{version}")
            pod.serve("web", 8080, "--name", version)
            servers[version] = node.add(pod, "shop", "server", labels={"app": "server", "version": version})
        waypoint = mesh.waypoint("shop", on=[two])
        mesh.settle(client, *servers.values())
        for node in mesh.nodes:
            for replica in waypoint.replicas:
                node.wait_for_dump("workloads", partial(speaks_hbone, replica.uid), replica.uid)
        yield World(mesh, client, servers, waypoint)


def test_requests_reach_both_servers_and_tell_who_asks(world: World) -> None:
    seen = world.ask("/a//b/../c?d=1", "--count", 40, "--header", "x-forwarded-for: 1.2.3.4")
    assert seen["statuses"] == {"200": 40}
    assert set(seen["servers"]) == {"v1", "v2"}
    answer = seen["answers"][0]["seen"]
    assert answer["path"] == "/a/c?d=1"
    headers = dict(answer["headers"])
    assert headers["x-forwarded-for"] == str(world.client.pod.v4)
    assert headers["host"] == VIP
    (replica,) = world.waypoint.replicas
    line = replica.wait_for_access(message="request complete", dst__service=SERVICE)
    assert line["src.identity"] == world.client.identity
    assert line["status"] == 200
    counted = replica.metric(
        "istio_requests_total", reporter="waypoint", destination_service=SERVICE, response_code="200"
    )
    assert counted == 40


def speaks_hbone(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")
