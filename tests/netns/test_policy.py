"""Policy on live traffic: denials are named, STRICT shuts out plaintext, probes pass, live connections are cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from netns.world import MARKER, World
from topology import objects, until


@pytest.fixture
def policy(world: World) -> Iterator[Policies]:
    policies = Policies(world)
    yield policies
    policies.clear()


class Policies:
    """Applies objects, waits until both nodes have them, and takes them back."""

    def __init__(self, world: World) -> None:
        self._mesh = world.mesh
        self._before = {node.name: node.dump()["policies"] for node in world.mesh.nodes}

    def apply(self, *applied: objects.Object) -> None:
        self._mesh.apply("policies", *applied)
        for node in self._mesh.nodes:
            node.wait(lambda node=node: node.dump()["policies"] != self._before[node.name], "the policy")  # type: ignore[misc]

    def clear(self) -> None:
        self._mesh.apply("policies")
        for node in self._mesh.nodes:
            node.wait(lambda node=node: node.dump()["policies"] == self._before[node.name], "no policy")  # type: ignore[misc]


def test_a_denied_call_is_refused_and_the_policy_is_named(world: World, policy: Policies) -> None:
    client, server = world.named("client-one"), world.named("server-two")
    policy.apply(
        objects.authorization_policy(
            "shop", "no-clients", "DENY", principals=["cluster.local/ns/shop/sa/client"]
        )
    )
    seen = client.pod.call(server.pod.v4, 8080)
    assert seen["error"] == "ConnectionResetError"
    assert seen["server"] is None
    inbound = server.node.wait_for_access(direction="inbound", policy="shop/no-clients")
    assert (inbound["response_flags"], inbound["src.identity"]) == ("DENY", client.identity)
    outbound = client.node.wait_for_access(
        direction="outbound", dst__workload=server.name, message="connection failed"
    )
    assert "401" in outbound["error"]
    assert server.node.metric("istio_tcp_connections_failed_total", response_flags="DENY") >= 1


def test_an_allow_policy_shuts_out_everybody_else(world: World, policy: Policies) -> None:
    client, old, server = world.named("client-one"), world.named("old-client-one"), world.named("server-two")
    policy.apply(
        objects.authorization_policy(
            "shop", "clients", "ALLOW", principals=["cluster.local/ns/shop/sa/client"]
        )
    )
    assert client.pod.call(server.pod.v6, 8080)["echoed"] == "hello"
    assert old.pod.call(server.pod.v6, 8080)["error"] == "ConnectionResetError"
    server.node.wait_for_access(direction="inbound", response_flags="DENY", src__workload=old.name)


def test_a_dry_run_is_noted_and_not_enforced(world: World, policy: Policies) -> None:
    client, old, server = world.named("client-one"), world.named("old-client-one"), world.named("server-two")
    clients = ["cluster.local/ns/shop/sa/client"]
    deny = objects.authorization_policy("shop", "trial-deny", "DENY", principals=clients)
    allow = objects.authorization_policy("shop", "trial-allow", "ALLOW", principals=clients)
    for one in (deny, allow):
        one["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    policy.apply(deny, allow)
    for caller in (client, old):
        assert caller.pod.call(server.pod.v4, 8080)["echoed"] == "hello"
    line = server.node.wait_for_access(
        **{"dry_run.would_deny": "shop/trial-deny", "src__workload": client.name}
    )
    assert line["dry_run.would_allow"] == "shop/trial-allow"
    line = server.node.wait_for_access(
        direction="inbound", src__workload=old.name, message="connection complete"
    )
    assert "dry_run.would_deny" not in line
    assert "dry_run.would_allow" not in line


def test_strict_refuses_plaintext_and_nothing_leaks(world: World, policy: Policies) -> None:
    client, old, server = world.named("client-one"), world.named("old-client-one"), world.named("server-two")
    policy.apply(objects.peer_authentication("shop", "STRICT"))
    wire = world.mesh.topology.wire(MARKER)
    assert old.pod.call(server.pod.v4, 8080, "--send", MARKER.decode())["error"] == "ConnectionResetError"
    assert client.pod.call(server.pod.v4, 8080, "--send", MARKER.decode())["echoed"] == MARKER.decode()
    wire.drain()
    assert wire.leaks() == []


def test_a_live_connection_is_cut_when_a_policy_forbids_it(world: World, policy: Policies) -> None:
    client, server = world.named("client-one"), world.named("server-two")
    steady = client.pod.start("steady", server.pod.v4, 8080, "--every", 0.05)
    steady.wait_for_line(event="request", kind="held", ok=True)
    policy.apply(objects.authorization_policy("shop", "nobody", "DENY", ports=[8080]))
    steady.wait_for_line(event="request", kind="held", lost=True)
    until(
        lambda: [line for line in steady.lines() if line.get("ok") is False and line["kind"] == "new"],
        5,
        "refusals",
    )
    steady.stop()
    line = server.node.wait_for_access(direction="inbound", message="connection complete", level="error")
    assert "policy" in line["error"]
