"""The Gateway API's conformance tests for meshes, through the real chain.

They are re-implemented: the same routes, requests and expectations under the same ShortNames, with namespaces, services and
echo servers as the suite's. This is not the official run, which needs a cluster.

Each passes client pod, its node's proxy, a waypoint of two workers, the server's node's proxy and the server pod. As there,
routes come and go with their test, and what is expected may take a moment to come, but must then stay.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from netns.gateway_api_cases import CASES, CONSUMER, ECHO, NAMESPACE, Ask
from topology import Mesh, Topology, Workload, objects, until
from topology.nodes import APPS
from topology.waypoint import Waypoint

VIPS = {"echo": "203.0.113.10", "echo-v1": "203.0.113.11", "echo-v2": "203.0.113.12"}
PORTS = (
    ("http", 80, 8080, "http"),
    ("http-alt", 8080, 8080, "http"),
    ("https", 443, 8443, "https"),
    ("tcp", 9090, 9090, None),
    ("grpc", 7070, 7070, "grpc"),
    ("h2c", 8081, 8081, "kubernetes.io/h2c"),
)
"""The suite's, and the last one ours."""
TIMES, MORE_TIMES = 3, 8
REQUESTS = 500
SIGMAS = 5


@dataclass
class World:
    """Two nodes with an echo server each, a client of another namespace, and a waypoint."""

    mesh: Mesh
    workloads: Mapping[str, Workload]
    waypoint: Waypoint

    @contextlib.contextmanager
    def applied(self, routes: Sequence[objects.Object]) -> Iterator[None]:
        if not routes:
            yield
            return
        self._apply(*routes)
        try:
            yield
        finally:
            self._apply()

    def _apply(self, *routes: objects.Object) -> None:
        (replica,) = self.waypoint.replicas
        before = replica.dump()["snapshotVersion"]
        self.mesh.apply("case", *routes)
        replica.wait(lambda: replica.dump()["snapshotVersion"] != before, "the waypoint to hear of routes")

    def answers(self, client: str, *asks: Ask, times: int) -> list[list[dict[str, Any]]]:
        """What is answered, of all requests together; all are HTTP/1.1 or all are gRPC."""
        pod = self.workloads[client].pod
        if asks[0].grpc:
            said = [{**self._addressed(ask), "method": ask.path} for ask in asks]
            process = pod.popen(
                sys.executable, "-u", APPS / "grpc_asks.py", json.dumps(said), "--times", str(times)
            )
        else:
            said = [{**self._addressed(ask), "path": ask.path} for ask in asks]
            process = pod.start("asks", json.dumps(said), "--times", times)
        answers: list[list[dict[str, Any]]] = process.finished(60)[-1]["answers"]
        return answers

    def _addressed(self, ask: Ask) -> dict[str, Any]:
        kind, _, name = ask.to.rpartition(":")
        address = str(self.workloads[name].pod.v4) if kind == "pod" else VIPS[name]
        host = ask.host or (f"{address}:{ask.port}" if kind == "pod" else name)
        return {"to": [address, ask.port], "host": host, "headers": dict(ask.headers)}

    def misfits(self, asks: Sequence[Ask], times: int) -> list[str]:
        """Which of the answers are not as they must be."""
        found = []
        for client in dict.fromkeys(ask.client for ask in asks):
            own = [ask for ask in asks if ask.client == client]
            for ask, answers in zip(own, self.answers(client, *own, times=times), strict=True):
                found += [
                    f"{wrong} of {ask.to}{ask.path}: {answer}"
                    for answer in answers
                    if (wrong := ask.misfit(answer)) is not None
                ]
        return found

    def shares(self, ask: Ask) -> Mapping[str, int]:
        """How many of many requests each server answers."""
        if ask.grpc:
            (answers,) = self.answers(ask.client, ask, times=REQUESTS)
            assert [answer for answer in answers if ask.misfit(answer)] == []
            return Counter(answer["seen"]["server"] for answer in answers)
        said = ("--count", REQUESTS, "--at-once", 4, "--header", f"host: {ask.to}")
        (asked,) = self.workloads[ask.client].pod.start("ask", VIPS[ask.to], ask.port, *said).finished(60)
        assert asked["statuses"] == {"200": REQUESTS}
        counted: dict[str, int] = asked["servers"]
        return counted

    def expect(self, asks: Sequence[Ask]) -> None:
        """Ask until all is as it must be, and then more often: chance may give the expected answer, and not that often."""
        last: list[str] = []

        def fits() -> bool:
            last[:] = self.misfits(asks, TIMES)
            return not last

        try:
            until(fits, 15, "the expected answers")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *last])) from None
        assert self.misfits(asks, MORE_TIMES) == []


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "namespaces",
            objects.namespace(NAMESPACE),
            objects.namespace(CONSUMER),
            *(objects.service_account(NAMESPACE, name) for name in ("echo-v1", "echo-v2", "waypoint")),
            objects.service_account(CONSUMER, "echo-v1"),
            objects.waypoint(NAMESPACE),
        )
        mesh.apply("services", *map(service, VIPS))
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        workloads = {"consumer": one.add(one.node.pod("consumer"), CONSUMER, "echo-v1")}
        for node, version in ((one, "v1"), (two, "v2")):
            name = f"echo-{version}"
            pod = node.node.pod(name)
            # Only our own interpreter knows the libraries of the other two.
            started = [
                pod.start("web", 8080, "--name", name),
                *(
                    pod.popen(sys.executable, "-u", APPS / f"{app}.py", port, "--name", name)
                    for app, port in (("web2", "8081"), ("grpc_echo", "7070"))
                ),
            ]
            workloads[name] = node.add(pod, NAMESPACE, name, labels={"app": "echo", "version": version})
            for process in started:
                process.wait_for_line(event="listening")
        waypoint = mesh.waypoint(NAMESPACE, on=[two], workers=2)
        mesh.settle(*workloads.values())
        for replica in waypoint.replicas:
            mesh.wait_everywhere("workloads", partial(speaks_hbone, replica.uid), replica.uid)
        yield World(mesh, workloads, waypoint)


def service(name: str) -> objects.Object:
    selector = {"app": "echo"}
    if name != "echo":
        selector["version"] = name.removeprefix("echo-")
    made = objects.service(NAMESPACE, name, [VIPS[name]], {}, selector)
    for port_name, port, target, spoken in PORTS:
        listed: dict[str, object] = {"name": port_name, "port": port, "targetPort": target}
        if spoken is not None:
            listed["appProtocol"] = spoken
        made["spec"]["ports"].append(listed)
    return objects.behind(made, "waypoint")


def speaks_hbone(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")


def test_the_suites_tests_are_all_here() -> None:
    assert len(CASES) == 23


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.shares])
def test_requests(world: World, name: str) -> None:
    case = CASES[name]
    with world.applied(case.routes):
        world.expect(case.asks)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.shares])
def test_shares(world: World, name: str) -> None:
    """Of so many requests a share that is further off than this comes once in a million runs."""
    case = CASES[name]
    (ask,) = case.asks
    with world.applied(case.routes):
        world.expect(case.asks)
        counted = world.shares(ask)
    assert set(counted) == set(case.shares)
    for server, share in case.shares.items():
        off = SIGMAS * math.sqrt(REQUESTS * share * (1 - share))
        assert abs(counted[server] - REQUESTS * share) <= off, counted


def test_the_echo_servers_are_reached_in_http2_as_well(world: World) -> None:
    for name in ("echo-v1", "echo-v2"):
        done = world.workloads["echo-v1"].pod.run(
            "curl", "-s", "-i", "-m", "20", "--http2-prior-knowledge", f"http://{VIPS[name]}:8081/x"
        )
        assert done.stdout.startswith("HTTP/2 200"), done
        assert json.loads(done.stdout.splitlines()[-1])["server"] == name


def test_what_no_rule_of_a_grpc_route_is_for_is_unimplemented(world: World) -> None:
    case = CASES["MeshGRPCRouteRequestHeaderModifier"]
    with world.applied(case.routes):
        world.expect(case.asks)
        world.expect([Ask(ECHO, port=7070, grpc=True, status=12)])
