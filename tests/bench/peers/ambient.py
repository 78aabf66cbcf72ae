"""Our mesh, through the commands and files that an operator has, with every feature on."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import ClassVar

from bench.accounting import CONTROL
from bench.applications import APPLICATIONS, ROUTES, Application
from bench.peers.peer import Peer
from bench.site import PORTS, Site
from topology import Mesh, MeshNode, Pod, Workload, cgroup, objects
from topology.objects import Object
from topology.waypoint import Replica

WORKERS = 2
_NAMESPACE = "bench"
_ADDRESSES = {one.name: f"203.0.113.{number}" for number, one in enumerate(APPLICATIONS, 1)}
_PORT = 80


class Ambient(Peer):
    """STRICT, one ALLOW policy with principal and ports, the access log as JSON: what a careful operator has."""

    name: ClassVar[str] = "ambient"
    has_waypoint: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.mesh = Mesh(site.topology)
        self._crowds = 0
        self._replica: Replica | None = None
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

    def start_waypoint(self) -> None:
        principal = f"cluster.local/ns/{_NAMESPACE}/sa/waypoint"
        self.mesh.apply(
            "waypoint",
            objects.service_account(_NAMESPACE, "waypoint"),
            objects.waypoint(_NAMESPACE),
            objects.authorization_policy(
                _NAMESPACE, "waypoint", "ALLOW", principals=[principal], selector={"app": "server"}
            ),
            *(found for application in APPLICATIONS for found in _objects(application)),
        )
        waypoint = self.mesh.waypoint(
            _NAMESPACE, on=self.nodes[1:], workers=WORKERS, flags=("--log-level", "info")
        )
        (self._replica,) = waypoint.replicas
        uid = self._replica.uid
        self.mesh.wait_everywhere(
            "workloads", lambda found: found["uid"] == uid and found["protocol"] == "HBONE", uid
        )
        for application in APPLICATIONS:
            address = _ADDRESSES[application.name]
            self.mesh.wait_everywhere("services", lambda found, at=address: at in str(found), address)  # type: ignore[misc]

    def through(self, application: Application) -> tuple[str, int]:
        return _ADDRESSES[application.name], _PORT

    def waypoint(self) -> Mapping[str, int]:
        replica = self._replica
        if replica is None or replica.process is None:
            return {}
        workers = enumerate(sorted(replica.worker_pids()), 1)
        found = {f"waypoint: worker {number}": pid for number, pid in workers}
        return {"waypoint: parent": replica.process.pid, **found}

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


def _objects(application: Application) -> list[Object]:
    """A service behind the waypoint, and its routes."""
    name = application.name
    service = objects.service(
        _NAMESPACE, name, [_ADDRESSES[name]], {_PORT: application.port}, {"app": "server"}
    )
    service["spec"]["ports"][0]["appProtocol"] = "kubernetes.io/h2c" if application.http2 else "http"
    routes = [
        {"match": [{"uri": {"prefix": f"/r/{number}/"}}], "route": [{"destination": {"host": name}}]}
        for number in range(ROUTES)
    ]
    virtual_service: Object = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": _NAMESPACE},
        "spec": {"hosts": [name], "http": routes},
    }
    return [objects.behind(service, "waypoint"), virtual_service]
