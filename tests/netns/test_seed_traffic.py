"""What the YAML that people come with does to real traffic: the files of ``tests/seed`` as they are, through the real chain.

Every request passes client pod, its node's proxy, a waypoint of two workers, the server's node's proxy and the server pod; and
every limit holds for both workers together.
"""

from __future__ import annotations

import math
import signal
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from topology import Mesh, Topology, Workload, objects, until
from topology.process import Process
from topology.waypoint import Replica

SEED = Path(__file__).parents[1] / "seed"
NAMESPACE, SERVICE = "production", "order-service.production.svc.cluster.local"
VIP = "203.0.113.10"
CLIENTS = ("client-one", "client-two")
CONNECTIONS, PENDING = 100, 100
RATIO, LEAST_PER_SECOND, WINDOW = 0.2, 10, 10
"""The figures of the files."""
CANARY = ("--header", "x-canary: true")
SIGMAS = 5


@dataclass
class World:
    """Two nodes with a client and a version of the service each, and a waypoint."""

    mesh: Mesh
    workloads: Mapping[str, Workload]
    servers: Mapping[str, Process]
    replica: Replica

    def start(self, client: str, path: str, *arguments: object) -> Process:
        return self.workloads[client].pod.start("ask", VIP, 80, "--path", path, *arguments)

    def ask(
        self, path: str, *arguments: object, count: int, at_once: int = 4, timeout: float = 60
    ) -> dict[str, Any]:
        """What is answered to as many requests, half of them from either node."""
        said = (*arguments, "--count", count // 2, "--at-once", at_once)
        asking = [self.start(client, path, *said) for client in CLIENTS]
        statuses, servers, errors = Counter[str](), Counter[str](), Counter[str]()
        for process in asking:
            (asked,) = process.finished(timeout)
            statuses.update(asked["statuses"])
            servers.update(asked["servers"])
            errors.update(asked["errors"])
        return {"statuses": statuses, "servers": servers, "errors": errors}

    def asked(self, **fields: object) -> list[dict[str, Any]]:
        """What the servers were asked."""
        lines = [line for server in self.servers.values() for line in server.lines()]
        return [line for line in lines if {"event": "request", **fields}.items() <= line.items()]

    def access_lines(self, **fields: object) -> list[dict[str, Any]]:
        return self.replica.access_lines(dst__service=SERVICE, **fields)

    def wait_for_access(self, count: int, **fields: object) -> list[dict[str, Any]]:
        """The lines of the access log, when there are as many: a worker writes them a moment after the answer."""
        until(
            lambda: len(self.access_lines(**fields)) >= count, 20, f"{count} access-log lines with {fields}"
        )
        return self.access_lines(**fields)

    def workers_in_use(self) -> set[int]:
        """Of the waypoint, those which clients' nodes have tunnels to."""
        listed = self.replica.pod.run("ss", "-tnpH", "state", "established", "sport", "=", ":15008").stdout
        return {pid for pid in self.replica.worker_pids() if f"pid={pid}," in listed}

    def spread(self) -> None:
        """Have both workers carry tunnels: the few that there are may all have come to one, and are made anew then."""

        def are_both_in_use() -> bool:
            self.ask("/", count=16)
            if self.workers_in_use() == set(self.replica.worker_pids()):
                return True
            self.replica.pod.run("ss", "-K", "sport", "=", ":15008")
            return False

        until(are_both_in_use, 30, "both workers to have tunnels")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        for path in sorted(SEED.glob("*.yaml")):
            mesh.write(path.stem, path.read_text())
        mesh.apply(
            "around",
            *(objects.service_account(NAMESPACE, name) for name in ("client", "default", "waypoint")),
            objects.waypoint(NAMESPACE),
            objects.behind(
                objects.service(NAMESPACE, "order-service", [VIP], {80: 8080}, {"app": "order-service"}),
                "waypoint",
            ),
        )
        mesh.start_control()
        workloads, servers = {}, {}
        for node, version in ((mesh.node("one"), "v1"), (mesh.node("two"), "v2")):
            name = f"client-{node.node.name}"
            workloads[name] = node.add(node.node.pod(name), NAMESPACE, "client")
            pod = node.node.pod(f"order-service-{version}")
            servers[version] = pod.serve("web", 8080, "--name", version)
            workloads[version] = node.add(
                pod, NAMESPACE, "default", labels={"app": "order-service", "version": version}
            )
        (replica,) = mesh.waypoint(NAMESPACE, on=mesh.nodes[1:], workers=2).replicas
        mesh.settle(*workloads.values())
        mesh.wait_everywhere("workloads", partial(speaks_hbone, replica.uid), replica.uid)
        made = World(mesh, workloads, servers, replica)
        made.spread()
        yield made


def speaks_hbone(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")


def test_a_failure_is_made_good_by_another_try(world: World) -> None:
    """If the budget has room, which it has for so few at the latest when its window is over."""
    fails_once = ("/orders/NUMBER", "--header", "x-fail: 1")
    until(lambda: world.ask(*fails_once, count=40)["statuses"] == {"200": 40}, 30, "all to be made good")
    lines = world.wait_for_access(40, method="GET", profile_route="GET /orders/{id}", status=200)
    assert {line["attempts"] for line in lines} == {2}


def test_what_always_fails_is_tried_again_within_the_budget(world: World) -> None:
    fail(world, 800)
    retried = len(retries(world))
    # The least is there from the beginning, and one budget is for both workers.
    assert retried >= LEAST_PER_SECOND * WINDOW
    assert_within_budget(world)


def test_what_is_of_no_retryable_route_is_sent_once(world: World) -> None:
    assert world.ask("/other", "--header", "x-status: 503", count=20)["statuses"] == {"503": 20}
    assert len(world.asked(path="/other")) == 20


@pytest.mark.long
def test_the_budget_holds_for_longer_than_its_window(world: World) -> None:
    began = time.monotonic()
    while time.monotonic() < began + 2.5 * WINDOW:
        fail(world, 1000)
    assert_within_budget(world)


def fail(world: World, count: int) -> None:
    """Requests of a kind that is tried again, each of which is answered 503."""
    failed = {"method": "POST", "path": "/orders", "status": 503}
    before = len(world.access_lines(**failed))
    asked = world.ask("/orders", "--method", "POST", "--body", 100, "--header", "x-status: 503", count=count)
    assert (asked["statuses"], asked["errors"]) == ({"503": count}, {})
    assert len(world.wait_for_access(before + count, **failed)) == before + count


def retries(world: World) -> list[float]:
    """When servers were asked something again."""
    known: set[str] = set()
    found = []
    for line in sorted(world.asked(), key=lambda line: float(line["at"])):
        if line["id"] in known:
            found.append(float(line["at"]))
        known.add(line["id"])
    return found


def assert_within_budget(world: World) -> None:
    """In any stretch of the window's length, but for a second: a request takes a while from the waypoint to the server."""
    again = retries(world)
    began = sorted(
        datetime.fromisoformat(line["time"]).timestamp() - float(line["duration"].removesuffix("ms")) / 1000
        for line in world.access_lines()
    )
    for end in again:
        used = bisect_right(again, end) - bisect_right(again, end - (WINDOW - 1))
        requests = bisect_right(began, end + 1) - bisect_right(began, end - (WINDOW + 1))
        assert used <= RATIO * requests + LEAST_PER_SECOND * WINDOW, (used, requests)


def test_each_route_has_its_own_time(world: World) -> None:
    """Two seconds, five, and as long as it takes: what is asked of the list of orders is none of the profile's routes."""
    asking: Mapping[str, tuple[object, ...]] = {
        "get": ("/orders/7", "--header", "x-sleep: 30"),
        "post": ("/orders", "--method", "POST", "--body", 10, "--header", "x-sleep: 30"),
        "other": ("/orders", "--header", "x-sleep: 6"),
    }
    processes = {
        name: world.start("client-one", str(path), "--timeout", 60, *arguments)
        for name, (path, *arguments) in asking.items()
    }
    asked = {name: process.finished(60)[-1] for name, process in processes.items()}
    assert {name: list(one["statuses"]) for name, one in asked.items()} == {
        "get": ["504"], "post": ["504"], "other": ["200"],
    }  # fmt: skip
    assert 2.0 <= asked["get"]["seconds"] < asked["post"]["seconds"] < 30.0
    assert asked["post"]["seconds"] >= 5.0
    lines = {str(line["method"]): line for line in world.wait_for_access(2, status=504)}
    assert {method: line["profile_route"] for method, line in lines.items()} == {
        "GET": "GET /orders/{id}",
        "POST": "POST /orders",
    }
    assert {line["reason"] for line in lines.values()} == {"timed_out"}


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_nine_in_ten_requests_go_to_the_first_version(world: World, count: int) -> None:
    """Within five standard deviations: further off is one run in a million."""
    asked = world.ask("/", count=count, timeout=300)
    assert asked["statuses"] == {"200": count}
    assert set(asked["servers"]) == {"v1", "v2"}
    assert abs(asked["servers"]["v1"] - 0.9 * count) <= SIGMAS * math.sqrt(count * 0.9 * 0.1)


def test_a_header_leads_to_the_second_version(world: World) -> None:
    assert world.ask("/", *CANARY, count=100)["servers"] == {"v2": 100}
    servers = world.ask("/", "--header", "x-canary: false", count=100)["servers"]
    assert servers["v1"] > servers["v2"]


def test_connections_and_waiting_requests_are_limited(world: World) -> None:
    """A hundred connections, all in use; a hundred requests that wait for one; and whoever comes after them is told.

    A connection of HTTP/1.1 carries one request at once, so as many as the server holds are in use.
    """

    def hold(client: str, count: int) -> Process:
        return world.start(client, "/hold", *CANARY, "--count", count, "--at-once", count, "--timeout", 60)

    def are_held(count: int) -> bool:
        return len(world.asked(path="/hold")) == count

    # Half at a time: who waits for a connection that is being made waits as well.
    holding = []
    for client, held in zip(CLIENTS, (CONNECTIONS // 2, CONNECTIONS), strict=True):
        holding.append(hold(client, CONNECTIONS // 2))
        until(partial(are_held, held), 20, f"{held} to be held")
    waiting = [hold(client, 75) for client in CLIENTS]
    refused = world.wait_for_access(150 - PENDING, path="/hold", status=503)
    assert {line["reason"] for line in refused} == {"too_many_pending"}
    assert len(world.asked(path="/hold")) == CONNECTIONS
    world.servers["v2"].signal(signal.SIGUSR1)
    statuses = Counter[str]()
    for process in (*holding, *waiting):
        (asked,) = process.finished(60)
        assert asked["errors"] == {}
        statuses.update(asked["statuses"])
    assert statuses == {"200": CONNECTIONS + PENDING, "503": 150 - PENDING}
