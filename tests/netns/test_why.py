"""Ten meshes that are broken, as somebody meets them: the call is made, and ``ambient why`` names the true cause."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from subprocess import CompletedProcess

import pytest
from netns.world import VIP4, World
from topology import Mesh, Topology, Workload, objects, until

NOWHERE, NAMELESS, BEHIND = "203.0.113.20", "203.0.113.21", "203.0.113.22"
CLIENTS = ["cluster.local/ns/shop/sa/client"]


@pytest.fixture
def mesh(world: World) -> Iterator[Mesh]:
    yield world.mesh
    world.mesh.apply("broken")


def why(mesh: Mesh, *words: str) -> CompletedProcess[str]:
    return mesh.operate("why", *words)


@dataclass(frozen=True)
class Broken:
    """A call that does not do what its caller wants."""

    objects: Sequence[objects.Object]
    source: str
    words: tuple[str, ...]
    """As they are typed after the source."""
    address: str
    port: int
    said: str
    by: str = ""
    """The object, and the field of it."""
    remedy: str = ""
    answered: bool = False


CASES = {
    "policy-denies": Broken(
        (objects.authorization_policy("shop", "no-clients", "DENY", principals=CLIENTS),),
        "client-one", ("server:80",), VIP4, 80,
        "AuthorizationPolicy shop/no-clients denies it at shop/server-one",
        "by AuthorizationPolicy shop/no-clients", "change the rule that fits",
    ),
    "no-endpoints": Broken(
        (objects.service("shop", "lonely", [NOWHERE], {80: 8080}, {"app": "nobody"}),),
        "client-one", ("lonely",), NOWHERE, 80,
        "no workload of namespace shop carries the labels that service shop/lonely.shop.svc.cluster.local selects",
        "by Service shop/lonely spec.selector", "compare its selector with the labels",
    ),
    "wrong-port-name": Broken(
        (objects.service("shop", "nameless", [NAMELESS], {80: "http"}, {"app": "server"}),),
        "client-one", ("nameless",), NAMELESS, 80,
        "port 80 of service shop/nameless.shop.svc.cluster.local has a targetPort by name, and no endpoint has a port of that name",
        "by Service shop/nameless spec.ports[0].targetPort", "port.ambient.dev/NAME=NUMBER",
    ),
    "strict-against-plaintext": Broken(
        (objects.peer_authentication("shop", "STRICT"),),
        "old-client-one", ("server.shop:80",), "server-two", 8080,
        "takes mutual TLS alone (STRICT), and the call comes as plain TCP",
        "by PeerAuthentication shop/default spec.mtls.mode", "enrol the caller",
    ),
    "waypoint-missing": Broken(
        (
            {**(service := objects.service("shop", "behind", [BEHIND], {80: 8080}, {"app": "server"})),
             "metadata": {**service["metadata"], "labels": {"istio.io/use-waypoint": "way"}}},
        ),
        "client-one", ("behind",), BEHIND, 80,
        "the call must go through a waypoint that cannot be reached: unknown waypoint: shop/way.shop.svc.cluster.local",
        "by Service shop/behind metadata.labels", "start the waypoint",
    ),
    "name-not-known": Broken(
        (), "client-one", ("sever:80",), "192.0.2.1", 80,
        "no service or workload is called sever for callers of namespace shop; did you mean server?",
        "", "write its name as NAME.NAMESPACE",
    ),
    "un-enrolled-peer": Broken(
        (), "client-one", ("legacy/old-server-two:8080",), "old-server-two", 8080,
        "plain TCP to legacy/old-server-two, which is not captured and speaks no HBONE",
        'by Namespace legacy metadata.labels["ambient.dev/dataplane-mode"]',
        "label namespace legacy ambient.dev/dataplane-mode=ambient", answered=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_true_cause_is_named(world: World, mesh: Mesh, case: Broken) -> None:
    mesh.apply("broken", *case.objects)
    source = world.named(case.source)
    address = world.named(case.address).pod.v4 if case.address in world.workloads else case.address
    timeout = ("--timeout", 2)
    until(
        lambda: (source.pod.call(address, case.port, *timeout).get("echoed") == "hello") == case.answered,
        10,
        "the call to end as it must",
    )
    ended = why(mesh, f"{source.namespace}/{source.name}", *case.words)
    assert ended.returncode == 1, ended.stdout
    assert case.said in ended.stdout
    assert case.by in ended.stdout
    assert case.remedy in ended.stdout


def test_a_call_that_works_is_explained_to_its_end(world: World, mesh: Mesh) -> None:
    assert world.named("client-one").pod.call(VIP4, 80)["echoed"] == "hello"
    ended = why(mesh, "shop/client-one", "server:80")
    assert ended.returncode == 0, ended.stdout
    assert "mutual TLS (HBONE) to port 15008" in ended.stdout
    assert (
        "shop/client-one proves to be spiffe://cluster.local/ns/shop/sa/client, with a certificate until"
        in (ended.stdout)
    )
    assert ended.stdout.endswith("the call works\n")


def test_policies_alone_are_checked(world: World, mesh: Mesh) -> None:
    mesh.apply(
        "broken", objects.authorization_policy("shop", "others", "ALLOW", principals=["elsewhere/ns/a/sa/b"])
    )
    checked = until(
        lambda: (
            (ended := mesh.operate("authz", "check", "shop/client-one", "server:80")).returncode == 1
            and ended
        ),
        10,
        "the policy to be asked",
    )
    assert (
        "rules[0] asks for principal elsewhere/ns/a/sa/b (it is cluster.local/ns/shop/sa/client)"
        in checked.stdout
    )
    assert "HBONE" not in checked.stdout


def test_a_running_mesh_is_analysed_with_the_workloads_that_it_has(world: World, mesh: Mesh) -> None:
    mesh.apply("broken", objects.service("shop", "lonely", [NOWHERE], {80: 8080}, {"app": "nobody"}))
    found = until(
        lambda: "shop/lonely" in (ended := mesh.operate("analyze", "-o", "json")).stdout and ended,
        10,
        "the service to be known",
    )
    assert found.returncode == 1
    assert {(one["code"], one["object"]) for one in json.loads(found.stdout)} == {
        ("AMB0101", "Service shop/lonely")
    }
    listed = mesh.operate("get", "workloads", "--namespace", "shop", "-l", "app=client", "-o", "json")
    assert {(one["name"], one["state"]) for one in json.loads(listed.stdout)} >= {("client-one", "captured")}


def test_an_excluded_port_is_named(world: World, mesh: Mesh) -> None:
    node = mesh.nodes[0]
    pod = node.node.pod("apart")
    apart = node.add(pod, "shop", "client", "--exclude-outbound-port", 80)
    mesh.settle(apart)
    ended = until(
        lambda: (said := why(mesh, "shop/apart", "server:80")).returncode == 1 and said,
        10,
        "the exclusion to be known",
    )
    assert f"{VIP4}:80 is excluded from the capture of shop/apart" in ended.stdout
    assert "take the exclusion away: `--exclude-outbound-port`" in ended.stdout
    node.workload("remove", "apart", "--namespace", "shop", "--now")


def test_a_node_that_does_not_keep_up_is_named(world: World, mesh: Mesh) -> None:
    node = mesh.nodes[1]
    assert node.proxy is not None
    node.proxy.signal(signal.SIGSTOP)
    try:
        mesh.apply("broken", objects.authorization_policy("shop", "late", "DENY", ports=[9999]))
        ended = until(
            lambda: (said := why(mesh, "shop/client-one", "server:80")).returncode == 1 and said,
            10,
            "the node to be behind",
        )
    finally:
        node.proxy.signal(signal.SIGCONT)
    assert (
        f"node {node.name}, which judges what comes in for shop/server-two, has not acknowledged the newest Authorization yet"
        in ended.stdout
    )
    until(lambda: why(mesh, "shop/client-one", "server:80").returncode == 0, 20, "the node to catch up")


def test_a_certificate_that_has_ended_is_named() -> None:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            objects.service_account("shop", "a"),
            objects.service_account("shop", "b"),
        )
        mesh.start_control("--certificate-lifetime", 12)
        one, two = mesh.node("one"), mesh.node("two")
        client, server = one.node.pod("client"), two.node.pod("server")
        server.serve("echo", 8080)
        workloads: list[Workload] = [one.add(client, "shop", "a"), two.add(server, "shop", "b")]
        mesh.settle(*workloads)
        assert why(mesh, "shop/client", "shop/server:8080").returncode == 0
        assert two.proxy is not None
        two.proxy.signal(signal.SIGSTOP)
        try:
            ended = until(
                lambda: "has ended" in (said := why(mesh, "shop/client", "shop/server:8080")).stdout and said,
                30,
                "the certificate to end",
            )
            assert client.call(server.v4, 8080, "--timeout", 2)["server"] is None
        finally:
            two.proxy.signal(signal.SIGCONT)
        assert ended.returncode == 1
        assert (
            "the certificate by which shop/server would prove to be spiffe://cluster.local/ns/shop/sa/b has ended"
        ) in ended.stdout
        assert f"see on node {two.name} why it was not renewed" in ended.stdout
