"""Who is captured and who is not, in both directions, on one node and across, over both families."""

from __future__ import annotations

import time
from typing import Any

import pytest
from netns.world import MARKER, VIP4, VIP6, World
from topology import MeshNode, Workload

CASES = [
    pytest.param(source, destination, where, family, id=f"{source}-to-{destination}-{where}-{family}")
    for source in ("captured", "uncaptured")
    for destination in ("captured", "uncaptured")
    for where in ("same-node", "across")
    for family in ("v4", "v6", "mapped")
]
PREFIX = {"captured": "", "uncaptured": "old-"}


@pytest.mark.parametrize(("source", "destination", "where", "family"), CASES)
def test_a_call_arrives_and_both_sides_tell_the_same(
    world: World, source: str, destination: str, where: str, family: str
) -> None:
    client = world.named(f"{PREFIX[source]}client-one")
    server = world.named(f"{PREFIX[destination]}server-{'one' if where == 'same-node' else 'two'}")
    mutual = source == destination == "captured"
    wire = world.mesh.topology.wire(MARKER)
    before = {node.name: opened(node, client, server) for node in world.mesh.nodes}

    seen = call(client, server, family)

    assert_names_are_true(seen, client, server, family)
    security = "mutual_tls" if mutual else "unknown"
    if source == "captured":
        told(client.node, before, client, server, "source", "outbound", security)
    if destination == "captured":
        told(server.node, before, client, server, "destination", "inbound", security)
    wire.drain()
    wire.close()
    assert wire.dropped == 0
    if where == "across":
        assert bool(wire.leaks()) == (not mutual)
    if mutual and where == "across":
        assert [flow for flow in wire.to_port(15008) if flow.opened and not flow.is_tls] == []


@pytest.mark.parametrize("port", [80, 81], ids=["numeric-target", "named-target"])
@pytest.mark.parametrize("address", [VIP4, VIP6])
def test_a_service_is_balanced_over_its_endpoints(world: World, address: str, port: int) -> None:
    client = world.named("client-one")
    answers = [client.pod.call(address, port) for _ in range(20)]
    assert [answer["error"] for answer in answers] == [None] * 20
    assert {answer["server"]["server"] for answer in answers} == {"server-one", "server-two"}
    assert {tuple(answer["peername"]) for answer in answers} == {(address, port)}
    client.node.wait_for_access(direction="outbound", dst__service="server.shop.svc.cluster.local")


def test_a_service_entry_leads_outside_the_mesh_and_into_it(world: World) -> None:
    """One endpoint is nobody's workload and hears plaintext; the other is a pod of the mesh and hears mutual TLS."""
    client, inside = world.named("client-one"), world.named("server-two")
    world.stranger.serve("echo", 9000, "--name", "outside")
    world.mesh.apply(
        "entry",
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "outside", "namespace": "shop"},
            "spec": {
                "hosts": ["outside.example.com"],
                "resolution": "STATIC",
                "addresses": ["203.0.113.40", "203.0.113.64/27"],
                "ports": [{"number": 90, "name": "web", "protocol": "TCP", "targetPort": 9000}],
                "endpoints": [
                    {"address": str(world.stranger.v4)},
                    {"address": str(inside.pod.v4), "ports": {"web": 8080}},
                ],
            },
        },
    )
    client.node.wait_for_dump("services", lambda one: one["hostname"] == "outside.example.com", "the entry")
    client.node.wait_for_dump(
        "workloads",
        lambda one: one["uid"] == inside.uid and "shop/outside.example.com" in one["services"],
        "its endpoint",
    )
    for address in ("203.0.113.40", "203.0.113.77"):
        answers = [client.pod.call(address, 90) for _ in range(20)]
        assert [answer["error"] for answer in answers] == [None] * 20
        assert {answer["server"]["server"] for answer in answers} == {"outside", "server-two"}
        assert {tuple(answer["peername"]) for answer in answers} == {(address, 90)}
    client.node.wait_for_access(
        direction="outbound",
        dst__service="outside.example.com",
        dst__identity="spiffe://cluster.local/ns/shop/sa/server",
    )
    world.mesh.apply("entry")


def test_nobody_listens_is_passed_on_as_a_reset_before_any_byte(world: World) -> None:
    client, server = world.named("client-one"), world.named("server-two")
    seen = client.pod.call(server.pod.v4, 8099)
    assert seen["error"] in ("ConnectionResetError", "ConnectionRefusedError")
    assert seen["server"] is None
    line = server.node.wait_for_access(direction="inbound", response_flags="CONNECT")
    assert line["dst.addr"] == f"{server.pod.v4}:8099"


def test_a_stranger_is_served_in_plaintext_under_permissive(world: World) -> None:
    server = world.named("server-one")
    seen = world.stranger.call(server.pod.v4, 8080)
    assert seen["echoed"] == "hello"
    assert seen["server"]["accepted_from"][0].endswith(str(world.stranger.v4))
    line = server.node.wait_for_access(direction="inbound", src__addr=address_of(seen["sockname"]))
    assert "src.identity" not in line


def call(client: Workload, server: Workload, family: str) -> dict[str, Any]:
    target = {"v4": server.pod.v4, "v6": server.pod.v6, "mapped": f"::ffff:{server.pod.v4}"}[family]
    seen = client.pod.call(target, 8080, "--send", MARKER.decode())
    assert seen["error"] is None, seen
    assert seen["echoed"] == MARKER.decode()
    return seen


def assert_names_are_true(seen: dict[str, Any], client: Workload, server: Workload, family: str) -> None:
    mapped = "::ffff:" if family == "mapped" else ""
    client_ip, server_ip = (
        (client.pod.v6, server.pod.v6) if family == "v6" else (client.pod.v4, server.pod.v4)
    )
    seen_by_server = "" if family == "v6" else "::ffff:"
    assert seen["peername"] == [f"{mapped}{server_ip}", 8080]
    assert seen["sockname"][0] == f"{mapped}{client_ip}"
    assert seen["server"]["server"] == server.name
    assert seen["server"]["accepted_from"][0] == f"{seen_by_server}{client_ip}"
    assert seen["server"]["peername"] == seen["server"]["accepted_from"]
    assert seen["server"]["sockname"] == [f"{seen_by_server}{server_ip}", 8080]


def opened(node: MeshNode, client: Workload, server: Workload) -> dict[tuple[str, str], float]:
    return {
        (reporter, security): node.metric(
            "istio_tcp_connections_opened_total",
            reporter=reporter,
            source_workload=client.name,
            source_workload_namespace=client.namespace,
            destination_workload=server.name,
            destination_workload_namespace=server.namespace,
            connection_security_policy=security,
        )
        for reporter in ("source", "destination")
        for security in ("mutual_tls", "unknown")
    }


def told(
    node: MeshNode,
    before: dict[str, dict[tuple[str, str], float]],
    client: Workload,
    server: Workload,
    reporter: str,
    direction: str,
    security: str,
) -> None:
    """The connection is counted once, as ``security`` says, and has its line in the access log."""
    fields = {
        "direction": direction,
        "src__workload": client.name,
        "dst__workload": server.name,
        "message": "connection complete",
    }
    line = node.wait_for_access(**fields)
    assert "error" not in line
    assert (line["bytes_sent"], line["bytes_recv"]) == (line["bytes_sent"], len(MARKER))
    if security == "mutual_tls":
        assert line["src.identity"] == client.identity
        assert line["dst.identity"] == server.identity
    wanted = {**before[node.name], (reporter, security): before[node.name][reporter, security] + 1}
    if client.node is server.node and security == "mutual_tls":
        wanted = {key: value + (key[1] == security) for key, value in before[node.name].items()}
    deadline = time.monotonic() + 5
    while opened(node, client, server) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert opened(node, client, server) == wanted


def address_of(name: list[Any]) -> str:
    ip = str(name[0]).removeprefix("::ffff:")
    return f"[{ip}]:{name[1]}" if ":" in ip else f"{ip}:{name[1]}"
