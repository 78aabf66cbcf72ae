"""One node of the mesh, and hosts beside it on which Envoys run."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from interop import certs
from topology import Host, Mesh, MeshNode, Topology, Workload, objects
from topology.namespace import entered

from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki.issue import Authority

CLIENT = SpiffeId("cluster.local", "shop", "client")
SERVER = SpiffeId("cluster.local", "shop", "server")
DENIED = SpiffeId("cluster.local", "shop", "denied")
CODECS = {"nghttp2": False, "oghttp2": True}
"""Envoy has two HTTP/2 libraries. One is the same as ours; the other shares nothing with it."""
ECHO, MUTE, MOVE, RESET, HANG_UP, SLOW = 8080, 8081, 8082, 8083, 8084, 8085


@dataclass
class World:
    """``client`` and ``server`` of namespace ``shop`` are captured on one node, STRICT; shop/denied may not call."""

    mesh: Mesh
    node: MeshNode
    client: Workload
    server: Workload
    authority: Authority
    roots: Path

    def held(self, name: str, identity: SpiffeId | NodeId) -> certs.Held:
        """A certificate of the mesh."""
        return certs.held(self.mesh.topology.folder, name, identity, self.authority)

    def register(self, addresses: Mapping[str, object]) -> None:
        """Say of machines beside the node, by name, that they run as shop/server and speak HBONE."""
        machines = [
            objects.workload_entry("shop", name, address, serviceAccount="server")
            for name, address in addresses.items()
        ]
        for machine in machines:
            machine["metadata"]["annotations"] = {"ambient.dev/tunnel": "hbone"}
        self.mesh.apply("machines", *machines)
        for name in addresses:
            self.mesh.wait_everywhere("workloads", lambda one, name=name: one["name"] == name, name)  # type: ignore[misc]


@contextlib.contextmanager
def shop() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.peer_authentication("shop", "STRICT"),
            objects.authorization_policy(
                "shop", "not-denied", "DENY", principals=[str(DENIED).removeprefix("spiffe://")]
            ),
        )
        mesh.start_control()
        node = mesh.node("one", workers=1)
        pod = node.node.pod("server")
        pod.serve("echo", ECHO)
        pod.serve("transfer", "serve", MOVE)
        pod.serve("rude", "reset", RESET)
        pod.serve("rude", "hang-up", HANG_UP)
        server = node.add(pod, "shop", "server")
        client = node.add(node.node.pod("client"), "shop", "client")
        mesh.settle(server, client)
        authority = certs.authority_of(mesh.state)
        yield World(mesh, node, client, server, authority, mesh.state / "root-cert.pem")


def connect(host: Host, target: object, port: int, timeout: float = 10) -> socket.socket:
    """A connection that this process makes from a host."""
    with entered(host.netns):
        return socket.create_connection((str(target), port), timeout=timeout)


def everything(connection: socket.socket) -> bytes:
    """What comes until the end."""
    received = bytearray()
    while block := connection.recv(65536):
        received += block
    return bytes(received)
