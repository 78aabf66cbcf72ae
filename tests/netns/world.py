"""One mesh of two nodes: an enrolled namespace, one that is not, and a stranger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from topology import Mesh, Pod, Topology, Workload, objects

VIP4, VIP6 = "203.0.113.10", "fd00:beef::10"
MARKER = b"marker-in-the-clear"


@dataclass
class World:
    """``client`` and ``server`` of namespace ``shop`` are captured; those of ``legacy`` are registered and are not."""

    mesh: Mesh
    workloads: dict[str, Workload]
    """By name and node: ``client-one``, ``server-two``, ``old-client-one`` …"""
    stranger: Pod
    """Of no namespace of the mesh, on node one."""

    def named(self, name: str) -> Workload:
        return self.workloads[name]


@contextlib.contextmanager
def shop() -> Iterator[World]:
    """Two nodes, and on each a client and a server of either namespace."""
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "namespaces",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.namespace("legacy", enrolled=False),
            objects.service_account("legacy", "client"),
            objects.service_account("legacy", "server"),
        )
        mesh.apply(
            "services",
            objects.service("shop", "server", [VIP4, VIP6], {80: 8080, 81: "web"}, {"app": "server"}),
        )
        mesh.start_control()
        workloads: dict[str, Workload] = {}
        for node in (mesh.node("one"), mesh.node("two")):
            for prefix, namespace in (("", "shop"), ("old-", "legacy")):
                for account in ("client", "server"):
                    name = f"{prefix}{account}-{node.node.name}"
                    pod = node.node.pod(name)
                    if account == "server":
                        pod.serve("echo", 8080, "--name", name)
                    workloads[name] = node.add(
                        pod, namespace, account, labels={"app": account, "port.ambient.dev/web": "8080"}
                    )
        mesh.settle(*(workload for workload in workloads.values() if workload.namespace == "shop"))
        for node in mesh.nodes:
            for workload in workloads.values():
                node.wait_for_dump("workloads", lambda one, uid=workload.uid: one["uid"] == uid, workload.uid)  # type: ignore[misc]
        yield World(mesh, workloads, mesh.nodes[0].node.pod("stranger"))
