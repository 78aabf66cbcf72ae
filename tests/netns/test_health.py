"""Nobody is sent to a workload that does not answer its probe, nor to a node that is silent."""

from __future__ import annotations

from netns.world import VIP4
from topology import Mesh, Topology, Workload, objects, until

LEASE_SECONDS = 3


def answering(client: Workload) -> set[str]:
    """Who answers a service."""
    answers = [client.pod.call(VIP4, 80) for _ in range(12)]
    return {answer["server"]["server"] if answer["error"] is None else answer["error"] for answer in answers}


def healthy(mesh: Mesh, name: str) -> bool:
    workloads = mesh.nodes[0].dump()["workloads"]
    return any(one["name"] == name and one["status"] == "Healthy" for one in workloads)


def test_a_service_has_the_endpoints_that_are_well() -> None:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.service("shop", "server", [VIP4], {80: 8080}, {"app": "server"}),
        )
        mesh.start_control("--node-lease", LEASE_SECONDS)
        one, two = mesh.node("one"), mesh.node("two")
        first, second = one.node.pod("server-one"), two.node.pod("server-two")
        client = one.add(one.node.pod("client"), "shop", "client")
        servers = [
            node.add(pod, "shop", "server", "--probe", "tcp:8080", labels={"app": "server"})
            for node, pod in ((one, first), (two, second))
        ]
        mesh.settle(client, *servers)
        first.serve("echo", 8080, "--name", "server-one")
        until(lambda: healthy(mesh, "server-one"), 20, "the first to be well")
        assert answering(client) == {"server-one"}
        server = second.serve("echo", 8080, "--name", "server-two")
        until(lambda: healthy(mesh, "server-two"), 20, "the second to be well")
        assert answering(client) == {"server-one", "server-two"}

        server.stop()
        until(lambda: not healthy(mesh, "server-two"), 30, "the second to be found out")
        assert answering(client) == {"server-one"}
        second.serve("echo", 8080, "--name", "server-two")
        until(lambda: healthy(mesh, "server-two"), 20, "the second to be well again")

        assert two.proxy is not None
        two.proxy.kill()
        until(lambda: not healthy(mesh, "server-two"), LEASE_SECONDS + 20, "the silence to be noticed")
        assert answering(client) == {"server-one"}
        two.start_proxy()
        until(lambda: healthy(mesh, "server-two"), 30, "the second to be heard again")
        assert answering(client) == {"server-one", "server-two"}
