"""The real chain of a connection: client pod, its node's proxy, a waypoint, the server's node's proxy, server pod."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from topology import Mesh, Topology, Workload, cgroup, objects, until
from topology.waypoint import Replica, Waypoint

VIP, NOWHERE_VIP, HELD_VIP = "203.0.113.10", "203.0.113.11", "203.0.113.12"
SERVICE = "server.shop.svc.cluster.local"
CLIENTS = ["client-one", "client-two"]


@dataclass
class World:
    """Two nodes with a client and a server each; what is behind the waypoint passes one of its two replicas."""

    mesh: Mesh
    workloads: dict[str, Workload]
    waypoint: Waypoint

    def call(self, client: str = "client-one", target: str = VIP) -> dict[str, Any]:
        return self.workloads[client].pod.call(target, 80)

    def wait_gone(self, replica: Replica) -> None:
        for node in self.mesh.nodes:
            node.wait(
                lambda node=node: all(one["uid"] != replica.uid for one in node.dump()["workloads"]),  # type: ignore[misc]
                f"{replica.uid} to be gone",
            )

    def wait_called(self, replica: Replica) -> None:
        for node in self.mesh.nodes:
            node.wait_for_dump("workloads", partial(is_called, replica.uid), f"{replica.uid} to be called")

    def replace(self, replica: Replica) -> None:
        """Start a replica anew that was ended."""
        replica.start()
        replica.wait_ready()
        self.wait_called(replica)


def is_called(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE" and found.get("status") != "Unhealthy")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
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
            objects.behind(objects.service("shop", "server", [VIP], {80: 8080}, {"app": "server"}), "waypoint"),
            objects.behind(objects.service("shop", "held", [HELD_VIP], {80: 8081}, {"app": "server"}), "waypoint"),
            objects.behind(objects.service("shop", "lost", [NOWHERE_VIP], {80: 8080}, {"app": "server"}), "nowhere"),
        )  # fmt: skip
        mesh.start_control()
        workloads = {}
        for node in (mesh.node("one"), mesh.node("two")):
            for account in ("client", "server"):
                name = f"{account}-{node.node.name}"
                pod = node.node.pod(name)
                if account == "server":
                    pod.serve("echo", 8080, "--name", name)
                    pod.start("hold", "serve", 8081).wait_for_line(event="listening")
                workloads[name] = node.add(pod, "shop", account, labels={"app": account})
        waypoint = mesh.waypoint("shop", replicas=2, join=True)
        mesh.settle(*workloads.values())
        made = World(mesh, workloads, waypoint)
        for replica in waypoint.replicas:
            made.wait_called(replica)
        yield made


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_talks_first_is_heard_at_once_on_a_port_of_which_nothing_is_said(
    world: World, client: str
) -> None:
    """From the waypoint's own node and from another, to servers on both, through replicas on both."""
    answers = [world.call(client) for _ in range(20)]
    assert [answer["error"] for answer in answers] == [None] * 20
    assert [answer["echoed"] for answer in answers] == ["hello"] * 20
    assert {answer["server"]["server"] for answer in answers} == {"server-one", "server-two"}
    assert {tuple(answer["peername"]) for answer in answers} == {(VIP, 80)}
    replicas = {str(replica.pod.v4) for replica in world.waypoint.replicas}
    seen = {answer["server"]["accepted_from"][0].removeprefix("::ffff:") for answer in answers}
    assert seen == replicas


def test_both_ends_and_the_waypoint_tell_of_it_who_called_whom(world: World) -> None:
    (replica, _), client = world.waypoint.replicas, world.workloads["client-one"]
    until(lambda: world.call() and replica.access_lines(src__workload="client-one"), 20, "a call through it")
    line = replica.wait_for_access(message="connection complete", src__workload="client-one")
    assert line["src.identity"] == client.identity
    assert line["src.addr"].partition(":")[0] == str(client.pod.v4)
    assert line["dst.service"] == SERVICE
    assert line["dst.workload"] in world.workloads
    assert line["bytes_recv"] == len("hello")
    opened = {"reporter": "waypoint", "source_workload": "client-one", "destination_service": SERVICE}
    replica.wait_for_metric(1, "istio_tcp_connections_opened_total", **opened)
    outbound = client.node.wait_for_access(direction="outbound", dst__service=SERVICE)
    assert outbound["dst.identity"] == replica.identity
    server = world.workloads[str(line["dst.workload"])]
    inbound = server.node.wait_for_access(
        direction="inbound", dst__workload=server.name, src__workload=replica.workload
    )
    assert inbound["src.identity"] == replica.identity


def test_what_is_behind_a_waypoint_that_is_not_there_is_refused_with_its_name(world: World) -> None:
    assert world.call(target=NOWHERE_VIP)["error"] == "ConnectionResetError"
    line = world.workloads["client-one"].node.wait_for_access(
        direction="outbound", dst__service="lost.shop.svc.cluster.local"
    )
    assert line["error"] == "unknown waypoint: shop/nowhere.shop.svc.cluster.local"


def test_a_service_that_leaves_the_waypoint_has_its_connections_through_it_cut(world: World) -> None:
    moved = objects.service("shop", "moved", ["203.0.113.13"], {80: 8081}, {"app": "server"})
    world.mesh.apply("moved", objects.behind(moved, "waypoint"))
    world.mesh.wait_everywhere("services", lambda one: one["hostname"].startswith("moved."), "the service")
    for replica in world.waypoint.replicas:
        replica.wait_for_dump("services", lambda one: one["hostname"].startswith("moved."), "the service")
    holder = world.workloads["client-one"].pod.start("hold", "hold", "203.0.113.13", 80, 4)
    holder.wait_for_line(event="opened", failed={})
    world.mesh.apply("moved", moved)
    until(
        lambda: carried(world, "moved.shop.svc.cluster.local", "connection complete") == 4,
        20,
        "all to be cut",
    )
    errors = {
        str(line["error"])
        for replica in world.waypoint.replicas
        for line in replica.access_lines(
            message="connection complete", dst__service="moved.shop.svc.cluster.local"
        )
    }
    assert len(errors) == 1
    assert "service shop/moved.shop.svc.cluster.local is not behind waypoint" in errors.pop()
    holder.stop()
    world.mesh.apply("moved")


def test_a_policy_of_the_service_is_enforced_before_its_server_hears_of_it(world: World) -> None:
    holder = world.workloads["client-one"].pod.start("hold", "hold", HELD_VIP, 80, 4)
    holder.wait_for_line(event="opened", failed={})
    policy = objects.authorization_policy(
        "shop", "no-clients", "DENY", principals=["cluster.local/ns/shop/sa/client"]
    )
    policy["spec"]["targetRefs"] = [{"kind": "Service", "group": "", "name": "held"}]
    world.mesh.apply("policy", policy)
    held = "held.shop.svc.cluster.local"
    until(lambda: carried(world, held, "connection complete") == 4, 20, "what lives to be cut")
    denied = world.workloads["client-two"].pod.start("hold", "hold", HELD_VIP, 80, 2)
    denied.wait_for_line(event="opened", failed={"Connection reset by peer": 2})
    (line, *_) = [
        line
        for replica in world.waypoint.replicas
        for line in replica.access_lines(message="connection failed", dst__service=held)
    ]
    assert (line["policy"], line["response_flags"]) == ("shop/no-clients", "DENY")
    assert world.call()["error"] is None
    world.mesh.delete("policy")
    for process in (holder, denied):
        process.stop()
    for replica in world.waypoint.replicas:
        replica.wait(lambda replica=replica: not guarded(replica), "the policy to be gone")  # type: ignore[misc]


def test_a_worker_that_dies_takes_only_its_own_connections_with_it(world: World) -> None:
    replica = world.waypoint.replicas[0]
    deaths = replica.metric("ambient_worker_deaths_total")
    os.kill(replica.worker_pids()[0], signal.SIGKILL)
    replica.wait_for_metric(deaths + 1, "ambient_worker_deaths_total")
    assert [world.call(client)["error"] for client in CLIENTS * 5] == [None] * 10
    replica.wait(lambda: replica.metric("ambient_workers") == 2, "another worker")


def test_what_a_parent_leaves_behind_goes_on_and_follows_the_next_one(world: World) -> None:
    replica = world.waypoint.replicas[0]
    assert replica.process is not None
    holder = world.workloads["client-one"].pod.start("hold", "hold", HELD_VIP, 80, 16)
    holder.wait_for_line(event="opened", failed={})
    replica.process.kill()
    holder.signal(signal.SIGUSR1)
    assert holder.wait_for_line(event="exchanged")["failed"] == {}
    world.replace(replica)
    assert replica.metric("ambient_workers_retired") >= 1
    assert [world.call(client)["error"] for client in CLIENTS * 5] == [None] * 10
    holder.signal(signal.SIGUSR2)
    holder.wait_for_line(event="closed")
    replica.wait(lambda: replica.metric("ambient_workers_retired") == 0, "the old workers to end")


def test_a_replica_that_dies_is_passed_over(world: World) -> None:
    """Before anybody has told the nodes: what was not answered at all is asked of another."""
    dead = world.waypoint.replicas[1]
    (dead.pod.cgroup / "cgroup.kill").write_text("1")
    until(lambda: not cgroup.members(dead.pod.cgroup), 5, "it to be dead")
    answers = [world.call(client) for client in CLIENTS * 10]
    assert [answer["error"] for answer in answers] == [None] * 20
    world.replace(dead)


def test_a_replica_that_is_stopped_loses_nobody(world: World) -> None:
    """It goes on with what it carries, callers go to the other, and when all has ended it is no more."""
    leaving = world.waypoint.replicas[1]
    process = leaving.process
    assert process is not None
    holder = world.workloads["client-one"].pod.start("hold", "hold", HELD_VIP, 80, 16)
    holder.wait_for_line(event="opened", failed={})
    process.signal(signal.SIGTERM)
    answers = [world.call(client) for client in CLIENTS * 10]
    assert [answer["error"] for answer in answers] == [None] * 20
    process.wait_for_line(message="waypoint stops")
    holder.signal(signal.SIGUSR1)
    assert holder.wait_for_line(event="exchanged")["count"] == 16
    assert process.running
    holder.signal(signal.SIGUSR2)
    assert process.wait(20) == 0
    world.wait_gone(leaving)
    world.replace(leaving)


def carried(world: World, service: str, message: str) -> int:
    return sum(
        len(replica.access_lines(message=message, dst__service=service))
        for replica in world.waypoint.replicas
    )


def guarded(replica: Replica) -> list[str]:
    """Services whose requests have policies, as a replica knows them."""
    return [one["service"] for one in replica.dump().get("requestPolicies", ()) if one.get("authorizations")]
