"""Our mesh, through the commands and files that an operator has, with every feature on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import ClassVar

from bench.accounting import CONTROL
from bench.peers.peer import Peer
from bench.site import PORTS, Site
from topology import Mesh, MeshNode, Pod, Workload, cgroup, objects

WORKERS = 2
_NAMESPACE = "bench"


class Ambient(Peer):
    """STRICT, one ALLOW policy with principal and ports, the access log as JSON: what a careful operator has."""

    name: ClassVar[str] = "ambient"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.mesh = Mesh(site.topology)
        self._crowds = 0
        self.nodes = [MeshNode(self.mesh, node, workers=WORKERS) for node in (site.one, site.two)]

    def start(self) -> None:
        principal = f"cluster.local/ns/{_NAMESPACE}/sa/client"
        self.mesh.apply(
            "bench",
            objects.namespace(_NAMESPACE),
            objects.service_account(_NAMESPACE, "client"),
            objects.service_account(_NAMESPACE, "server"),
            objects.peer_authentication(_NAMESPACE, "STRICT"),
            objects.authorization_policy(
                _NAMESPACE, "clients", "ALLOW",
                principals=[principal], ports=PORTS, selector={"app": "server"},
            ),
        )  # fmt: skip
        self.mesh.start_control()
        for node in self.nodes:
            self.mesh.nodes.append(node)
            node.start_daemon()
            node.start_proxy("--log-level", "info")
            node.wait_ready()
        self.enrol(self.client, self.server)

    def enrol(self, *pods: Pod) -> None:
        """Bring pods into the mesh, and wait until every node knows."""
        self.mesh.settle(*(self._added(pod) for pod in pods))

    def crowd(self, size: int) -> list[Pod]:
        """Pods on the clients' node that have no tunnel yet."""
        self._crowds += 1
        crowd = [self.site.client(f"c-{self.name}-{self._crowds}-{number}") for number in range(size)]
        self.enrol(*crowd)
        return crowd

    def target(self, port: int) -> tuple[str, int]:
        return str(self.server.v4), port

    def processes(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for node in self.nodes:
            assert node.proxy is not None
            assert node.daemon is not None
            name = node.node.name
            found[f"{name}: parent"] = node.proxy.pid
            for number, pid in enumerate(self.workers(node), 1):
                found[f"{name}: worker {number}"] = pid
            found[f"{name}: daemon"] = node.daemon.pid
        assert self.mesh.control is not None
        found[CONTROL] = self.mesh.control.pid
        return found

    def workers(self, node: MeshNode) -> list[int]:
        """Processes of a node's proxy that meet bytes."""
        assert node.proxy is not None
        return sorted(pid for pid in cgroup.members(node.proxy.cgroup) if pid != node.proxy.pid)

    def version(self) -> str:
        return f"ambient {metadata.version('ambient')}, --workers {WORKERS}"

    def _added(self, pod: Pod) -> Workload:
        node = next(node for node in self.nodes if node.node is pod.node)
        role = "client" if pod.node is self.site.one else "server"
        return node.add(pod, _NAMESPACE, role, labels={"app": role})
