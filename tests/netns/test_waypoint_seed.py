"""The routes that the mesh was asked for first, as they were written, through a waypoint of two workers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from topology import Mesh, Topology, Workload, objects
from topology.process import Process
from topology.waypoint import Waypoint

SEED = Path(__file__).parent.parent / "seed"
VIP = "203.0.113.10"
CANARY = ("--header", "x-canary: true")
pytestmark = pytest.mark.long


@dataclass
class World:
    """Two nodes; a client on the first, and of the service a pod of v1 and one of v2."""

    mesh: Mesh
    client: Workload
    servers: dict[str, Process]
    waypoint: Waypoint

    def ask(self, path: str, *arguments: object, timeout: float = 120) -> dict[str, Any]:
        process = self.client.pod.start("ask", VIP, 80, "--path", path, *arguments)
        return process.finished(timeout)[-1]

    def seen(self, version: str) -> list[dict[str, Any]]:
        """The requests that reached a server."""
        return [line for line in self.servers[version].lines() if line["event"] == "request"]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "namespaces",
            objects.namespace("production"),
            objects.service_account("production", "client"),
            objects.service_account("production", "order-service"),
            objects.service_account("production", "waypoint"),
            objects.waypoint("production"),
        )
        service = objects.service("production", "order-service", [VIP], {80: 8080}, {"app": "order-service"})
        mesh.apply("services", objects.behind(service, "waypoint"))
        for file in ("3-virtualservice-destinationrule", "4-serviceprofile"):
            mesh.write(file, (SEED / f"{file}.yaml").read_text())
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        client = one.add(one.node.pod("client"), "production", "client")
        servers, workloads = {}, []
        for node, version in ((one, "v1"), (two, "v2")):
            pod = node.node.pod(f"order-{version}")
            servers[version] = pod.serve("web", 8080, "--name", version)
            labels = {"app": "order-service", "version": version}
            workloads.append(node.add(pod, "production", "order-service", labels=labels))
        waypoint = mesh.waypoint("production", on=[two])
        mesh.settle(client, *workloads)
        for node in mesh.nodes:
            for replica in waypoint.replicas:
                node.wait_for_dump("workloads", partial(speaks_hbone, replica.uid), replica.uid)
        yield World(mesh, client, servers, waypoint)


def test_retries_are_within_the_budget(world: World) -> None:
    """0.2 of the requests, and ten each second, of any ten seconds. It comes first: requests of others count too."""
    before = len(world.seen("v2"))
    arguments = ("--count", 2000, "--at-once", 8, "--header", "x-status: 503", *CANARY)
    seen = world.ask("/orders/NUMBER", *arguments)
    assert seen["statuses"] == {"503": 2000}
    retries = len(world.seen("v2")) - before - 2000
    assert 0 < retries <= 0.2 * 2000 + 10 * (seen["seconds"] + 10)


def test_connections_and_waiting_requests_are_limited(world: World) -> None:
    """A hundred of each. A request that waits for a connection which is being made waits too, so fewer may be served."""
    before = len(world.seen("v2"))
    seen = world.ask(
        "/", "--count", 260, "--at-once", 260, "--header", "x-sleep: 4", "--timeout", 60, *CANARY
    )
    assert set(seen["statuses"]) == {"200", "503"}
    assert seen["statuses"]["503"] >= 60
    assert seen["statuses"]["200"] >= 100
    assert max(line["active"] for line in world.seen("v2")[before:]) <= 100


def test_one_in_ten_goes_to_v2(world: World) -> None:
    """Of 10,000 it is within five deviations: outside once in a million times."""
    seen = world.ask("/", "--count", 10_000, "--at-once", 16)
    assert seen["statuses"] == {"200": 10_000}
    assert abs(seen["servers"]["v2"] - 1000) <= 5 * math.sqrt(10_000 * 0.1 * 0.9)


def test_a_canary_goes_to_v2(world: World) -> None:
    assert world.ask("/", "--count", 200, "--at-once", 8, *CANARY)["servers"] == {"v2": 200}


def test_what_is_no_retryable_route_is_sent_once(world: World) -> None:
    before = len(world.seen("v2"))
    seen = world.ask("/other", "--count", 20, "--header", "x-status: 503", *CANARY)
    assert seen["statuses"] == {"503": 20}
    assert len(world.seen("v2")) - before == 20


@pytest.mark.parametrize(("method", "path", "seconds"), [("GET", "/orders/7", 2), ("POST", "/orders", 5)])
def test_routes_take_no_longer_than_they_may(world: World, method: str, path: str, seconds: int) -> None:
    seen = world.ask(path, "--method", method, "--header", "x-sleep: 15", *CANARY)
    assert seen["statuses"] == {"504": 1}
    assert seconds <= seen["seconds"] < 15


def speaks_hbone(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")
