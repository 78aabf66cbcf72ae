"""A mesh with a waypoint of two replicas under a mixed load, and what may be done to it meanwhile."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from topology import Mesh, MeshNode, Pod, Topology, Workload, objects, until
from topology.nodes import APPS
from topology.process import Process
from topology.waypoint import Replica, Waypoint

VIP, ROUGH_VIP = "203.0.113.10", "203.0.113.11"
"""Of two services of the same servers: the routes of the first change, the second is for rough clients."""
HOST = "mixed.shop.svc.cluster.local"
APP = {"app": "mixed"}
ROUTES = 10
HARMLESS = frozenset({"stale", "refused"})
"""What a client of HTTP asks again by itself: its request was not acted on."""


@dataclass(frozen=True)
class Seen:
    """What became of a load."""

    asked: int
    """Requests that were sent, those that were sent again among them."""
    verdicts: Counter[str]
    kinds: dict[str, Counter[str]]
    """The same by kind."""
    versions: Counter[str]
    servers: Counter[str]

    def but(self, expected: Collection[str]) -> dict[str, dict[str, int]]:
        """What is neither fine nor expected, by kind."""
        left = {
            kind: {
                verdict: count
                for verdict, count in verdicts.items()
                if verdict != "fine" and verdict not in expected
            }
            for kind, verdicts in self.kinds.items()
        }
        return {kind: verdicts for kind, verdicts in left.items() if verdicts}

    def count(self, verdicts: Collection[str]) -> int:
        return sum(self.verdicts[verdict] for verdict in verdicts)


class Load:
    """Lanes of all kinds, from when it is made until it is ended."""

    lanes = 12

    def __init__(self, scene: Scene, *flags: object, vip: str = VIP) -> None:
        scene.loads += 1
        self._process = scene.client.pod.popen(
            sys.executable, "-u", APPS / "mixed_load.py", vip, "80",
            "--name", f"load{scene.loads}", *map(str, flags),
        )  # fmt: skip

    def progress(self, of: str = "fine") -> int:
        """Requests that went well so far, or that were asked."""
        told = [line[of] for line in self._process.lines() if line["event"] == "progress"]
        return int(told[-1]) if told else 0

    def more(self, count: int = 60, of: str = "fine") -> None:
        """Wait until so many more have gone well, or were asked."""
        wanted = self.progress(of) + count
        until(lambda: self.progress(of) >= wanted, 30, f"{count} more requests to be {of}")

    def wait_for_version(self, version: int) -> None:
        """Wait until a route is in force for some."""
        until(
            lambda: any(
                line["event"] == "progress" and line["newest"] >= version for line in self._process.lines()
            ),
            30,
            f"version {version} of the route",
        )

    def end(self) -> Seen:
        """Have each lane end what it has begun."""
        self._process.signal(signal.SIGTERM)
        said = self._process.finished(60)[-1]
        kinds = {kind: Counter(verdicts) for kind, verdicts in said["verdicts"].items()}
        return Seen(
            sum(said["asked"].values()),
            sum(kinds.values(), Counter()),
            kinds,
            Counter(said["versions"]),
            Counter(said["servers"]),
        )

    def unwell(self) -> list[dict[str, Any]]:
        return [line for line in self._process.lines() if line["event"] == "unwell"]


@dataclass
class Scene:
    """A client on node one, a server on each node, a replica of two workers on each."""

    mesh: Mesh
    client: Workload
    waypoint: Waypoint
    posted: Path
    """A line for each time that a server heard of a POST."""
    loads: int = 0
    guests: dict[str, Guest] = field(default_factory=dict)

    def counted(self) -> float:
        """Requests that the replicas have told of."""
        return sum(
            replica.metric("istio_requests_total", destination_service=HOST)
            for replica in self.waypoint.replicas
        )

    def twice(self) -> list[str]:
        """POSTs that servers heard more than once."""
        times = Counter(line.partition(" ")[0] for line in self.posted.read_text().splitlines())
        return [one for one, count in times.items() if count > 1]

    def serve(self, pod: Pod) -> Process:
        """Start a server in a pod."""
        process = pod.popen(
            sys.executable, "-u", APPS / "mixed_server.py", "8080",
            "--name", pod.short_name, "--seen", self.posted,
        )  # fmt: skip
        process.wait_for_line(event="listening")
        return process

    def guest(self, name: str, node: MeshNode) -> Guest:
        """An endpoint that comes and goes; asked for again it has the same pod."""
        made = self.guests.get(name)
        if made is None:
            made = self.guests[name] = Guest(self, node, node.node.pod(name))
        return made

    def wait_called(self, replica: Replica) -> None:
        for node in self.mesh.nodes:
            node.wait_for_dump("workloads", partial(is_called, replica.uid), f"{replica.uid} to be called")

    def replace(self, replica: Replica) -> None:
        """Start a replica anew that has ended."""
        replica.start()
        replica.wait_ready()
        self.wait_called(replica)


@dataclass
class Guest:
    """One endpoint more."""

    scene: Scene
    node: MeshNode
    pod: Pod
    process: Process | None = None

    @property
    def served(self) -> float:
        return sum(
            replica.metric("istio_requests_total", destination_workload=self.pod.short_name)
            for replica in self.scene.waypoint.replicas
        )

    def join(self) -> None:
        """Serve, and be asked."""
        self.process = self.scene.serve(self.pod)
        self.node.add(self.pod, "shop", "server", labels=APP)

    def wait_asked(self) -> None:
        before = self.served
        replica = self.scene.waypoint.replicas[0]
        replica.wait(lambda: self.served >= before + 5, f"{self.pod.short_name} to be asked")

    def leave(self, *flags: str) -> None:
        """Be an endpoint no more, and then stop."""
        ran = self.node.workload("remove", self.pod.short_name, "--namespace", "shop", *flags)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert self.process is not None
        if self.process.running:
            self.process.signal(signal.SIGTERM)
            assert self.process.wait(30) == 0, self.process.tail()


def is_called(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE" and found.get("status") != "Unhealthy")


def change(mesh: Mesh, version: int) -> None:
    """One route is another, and with every tenth change how all endpoints are chosen."""
    number = version % ROUTES
    mesh.apply(f"route-{number}", route(number, version))
    if number == 0:
        mesh.apply("traffic", traffic(version // ROUTES))


def route(number: int, version: int) -> objects.Object:
    """Requests that name it go to the same servers as all; the answer has the version, which differs in more than that."""
    rule = {
        "matches": [{"headers": [{"name": "x-route", "value": str(number)}]}],
        "filters": [
            {
                "type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"set": [{"name": "x-version", "value": str(version)}]},
            }
        ],
        "backendRefs": [{"name": "mixed", "port": 80, "weight": 1 + version % 3}],
        "timeouts": {"request": f"{20 + version % 5}s"},
    }
    never = {**rule, "matches": [{"headers": [{"name": "x-never", "value": str(version)}]}]}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": f"mixed-{number}", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "mixed"}],
            "rules": [never, rule] if version % 2 else [rule],
        },
    }


def traffic(version: int) -> objects.Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "mixed", "namespace": "shop"},
        "spec": {
            "host": "mixed",
            "trafficPolicy": {
                "loadBalancer": {"simple": ("LEAST_REQUEST", "ROUND_ROBIN", "RANDOM")[version % 3]},
                "outlierDetection": {
                    "consecutive5xxErrors": 3 + version % 2,
                    "interval": "1s",
                    "baseEjectionTime": "2s",
                },
            },
        },
    }


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "namespaces",
            objects.namespace("shop"),
            *(objects.service_account("shop", name) for name in ("client", "server", "waypoint")),
            objects.waypoint("shop"),
        )
        mesh.apply(
            "services",
            *(
                objects.behind(objects.service("shop", name, [vip], {80: 8080}, APP), "waypoint")
                for name, vip in (("mixed", VIP), ("rough", ROUGH_VIP))
            ),
        )
        for version in range(ROUTES):
            change(mesh, version)
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        client = one.add(one.node.pod("client"), "shop", "client")
        made = Scene(mesh, client, mesh.waypoint("shop", replicas=2), topology.folder / "posted")
        servers = []
        for node in (one, two):
            pod = node.node.pod(f"server-{node.node.name}")
            made.serve(pod)
            servers.append(node.add(pod, "shop", "server", labels=APP))
        mesh.settle(client, *servers)
        for replica in made.waypoint.replicas:
            made.wait_called(replica)
        yield made
