"""Into the mesh and out of it while everything runs; what is left out; what goes on without a control plane."""

from __future__ import annotations

import time

import pytest
from netns.world import MARKER
from topology import Mesh, MeshNode, Process, Topology, Workload, objects, until


class Pair:
    """A client and a server on two nodes, in a namespace that is not enrolled yet, talking."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.mesh = Mesh(topology)
        self.enrol(enrolled=False)
        self.mesh.apply(
            "accounts", objects.service_account("shop", "client"), objects.service_account("shop", "server")
        )
        self.mesh.start_control()
        self.one, self.two = self.mesh.node("one"), self.mesh.node("two")
        self.client = self.added(self.one, "client")
        self.server = self.added(self.two, "server")
        self.echo = self.server.pod.serve("echo", 8080)

    def added(self, node: MeshNode, name: str) -> Workload:
        return node.add(node.node.pod(name), "shop", name, labels={"app": name})

    def enrol(self, *, enrolled: bool = True) -> None:
        self.mesh.apply("shop", objects.namespace("shop", enrolled=enrolled))

    def steady(self) -> Process:
        process = self.client.pod.start(
            "steady", self.server.pod.v4, 8080, "--every", 0.02, "--marker", MARKER.decode()
        )
        process.wait_for_line(event="request", kind="held", ok=True)
        return process

    def off(self) -> None:
        for workload in (self.client, self.server):
            workload.node.wait_captured(workload, "off")


@pytest.fixture
def pair(topology: Topology) -> Pair:
    return Pair(topology)


def failures(client: Process) -> list[object]:
    return [line for line in client.lines() if line.get("ok") is False]


def test_running_pods_enter_and_leave_and_no_request_fails(pair: Pair) -> None:
    steady = pair.steady()
    pair.enrol()
    pair.mesh.settle(pair.client, pair.server)
    started = time.time()
    wire = pair.topology.wire(MARKER)
    until(lambda: len([line for line in steady.lines() if line["at"] > started]) > 20, 10, "more requests")
    wire.drain()
    assert [flow for flow in wire.leaks() if flow.opened] == []
    assert [flow for flow in wire.to_port(15008) if flow.opened and not flow.is_tls] == []
    assert pair.one.get_json("/pods")[0]["olderConnections"] == 1

    pair.enrol(enrolled=False)
    pair.off()
    started = time.time()
    until(lambda: len([line for line in steady.lines() if line["at"] > started]) > 20, 10, "more requests")
    wire.drain()
    assert [flow for flow in wire.leaks(started) if flow.first_seen > started] != []
    assert failures(steady) == []
    assert steady.running


def test_a_removed_workload_leaves_nothing_in_the_kernel(pair: Pair) -> None:
    pair.enrol()
    pair.mesh.settle(pair.client, pair.server)
    assert pair.client.pod.call(pair.server.pod.v4, 8080)["echoed"] == "hello"
    ran = pair.two.workload("remove", "server", "--namespace", "shop")
    assert ran.returncode == 0, ran.stderr
    listening = pair.server.pod.run("ss", "-Hltn").stdout
    assert not any(f":{port} " in listening for port in (15001, 15006, 15008))
    assert pair.two.listed() == []
    until(lambda: pair.client.pod.call(pair.server.pod.v4, 8080)["error"] is None, 10, "plain traffic again")


def test_remove_now_cuts_what_the_proxy_carries(pair: Pair) -> None:
    pair.enrol()
    pair.mesh.settle(pair.client, pair.server)
    steady = pair.steady()
    ran = pair.two.workload("remove", "server", "--namespace", "shop", "--now")
    assert ran.returncode == 0, ran.stderr
    steady.wait_for_line(event="request", kind="held", lost=True)


def test_the_control_plane_gone_changes_nothing(pair: Pair) -> None:
    pair.enrol()
    pair.mesh.settle(pair.client, pair.server)
    steady = pair.steady()
    assert pair.mesh.control is not None
    pair.mesh.control.kill()
    for node in pair.mesh.nodes:
        node.wait(lambda node=node: node.metric("ambient_control_connected") == 0, "the loss to be noticed")  # type: ignore[misc]
    assert pair.client.pod.call(pair.server.pod.v6, 8080)["echoed"] == "hello"
    pair.mesh.start_control()
    for node in pair.mesh.nodes:
        node.wait(lambda node=node: node.metric("ambient_control_connected") == 1, "control to be back")  # type: ignore[misc]
    assert {workload["uid"] for workload in pair.one.dump()["workloads"]} >= {
        pair.client.uid,
        pair.server.uid,
    }
    pair.mesh.apply("deny", objects.authorization_policy("shop", "nobody", "DENY", ports=[8080]))
    steady.wait_for_line(event="request", kind="held", lost=True)


def test_excluded_ports_and_networks_are_not_captured(pair: Pair) -> None:
    pair.enrol()
    pair.mesh.settle(pair.client, pair.server)
    pair.server.pod.serve("echo", 9000)
    apart = pair.one.node.pod("apart")
    out = pair.one.add(
        apart, "shop", "client", "--exclude-outbound-port", 9000, "--exclude-cidr", f"{pair.server.pod.v6}/128"
    )  # fmt: skip
    inbound = pair.two.node.pod("inbound")
    inbound.serve("echo", 8080)
    added = pair.two.add(inbound, "shop", "server", "--exclude-inbound-port", 8080)
    pair.mesh.settle(out, added)
    wire = pair.topology.wire(MARKER)
    marker = ("--send", MARKER.decode())
    assert apart.call(pair.server.pod.v4, 9000, *marker)["echoed"] == MARKER.decode()
    assert apart.call(pair.server.pod.v6, 8080, *marker)["echoed"] == MARKER.decode()
    stranger = pair.one.node.pod("stranger")
    assert stranger.call(inbound.v4, 8080, *marker)["echoed"] == MARKER.decode()
    wire.drain()
    plain = {flow.destination for flow in wire.leaks() if flow.destination[1] in (8080, 9000)}
    assert plain == {(pair.server.pod.v4, 9000), (pair.server.pod.v6, 8080), (inbound.v4, 8080)}
    assert apart.call(pair.server.pod.v4, 8080, *marker)["echoed"] == MARKER.decode()
    wire.drain()
    assert {flow.destination for flow in wire.leaks() if flow.destination[1] in (8080, 9000)} == plain
