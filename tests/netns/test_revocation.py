"""Certificates that are revoked while the mesh runs: new connections and live ones, in both directions."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from core.pki.authorities import credentials, intermediate, revocation_list, serial
from netns.test_hostile import Caller, context, statuses
from topology import Mesh, MeshNode, Pod, Process, Topology, Workload, objects, until
from topology.authority import issuer_of, root_of
from topology.namespace import entered

from ambient.core import hbone
from ambient.core.hbone import Hbone, Role
from ambient.core.model.identity import SpiffeId
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.issue import Authority

CLIENT = SpiffeId("cluster.local", "shop", "client")
SERVER = SpiffeId("cluster.local", "shop", "server")


@dataclass
class Scene:
    """``client`` on node one calls ``server`` and ``other`` on node two; each node watches a file of its own."""

    mesh: Mesh
    client: Workload
    server: Workload
    other: Workload
    outsider: Pod
    """Of no mesh, with whatever certificate a test gives it."""
    far: Pod
    """The mesh is told that it is shop/server and speaks HBONE."""
    root: Authority
    issuer: Authority
    """Below the root; signs for the workloads."""
    middle: Authority

    def revoke(self, node: MeshNode, *lists: bytes) -> None:
        """Replace the node's file, as a mounted one is."""
        file = crl_of(node)
        file.with_suffix(".new").write_bytes(b"".join(lists))
        file.with_suffix(".new").replace(file)

    def serial_of(self, workload: Workload) -> int:
        """Of the certificate that its node has for it."""
        [one] = [one for one in workload.node.dump()["certificates"] if one["identity"] == workload.identity]
        return serial("".join(one["certChain"]).encode())


def crl_of(node: MeshNode) -> Path:
    return node.mesh.topology.folder / f"{node.node.name}.crl"


@pytest.fixture(scope="module")
def made() -> Iterator[Scene]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            *(objects.service_account("shop", name) for name in ("client", "server", "other")),
            objects.peer_authentication("shop", "STRICT"),
        )
        mesh.start_control()
        for name in ("one", "two"):
            (topology.folder / f"{name}.crl").touch()
        one, two = (
            mesh.node(name, proxy_flags=["--crl", topology.folder / f"{name}.crl"]) for name in ("one", "two")
        )
        client = one.add(one.node.pod("client"), "shop", "client")
        servers: dict[str, Workload] = {}
        for name in ("server", "other"):
            pod = two.node.pod(name)
            pod.serve("echo", 8080, "--name", name)
            servers[name] = two.add(pod, "shop", name)
        far = two.node.pod("far")
        entry = objects.workload_entry("shop", "far", far.v4, serviceAccount="server")
        entry["metadata"]["annotations"] = {"ambient.dev/tunnel": "hbone"}
        mesh.apply("far", entry)
        mesh.settle(client, *servers.values())
        mesh.wait_everywhere("workloads", lambda one: one["name"] == "far", "the entry of far")
        root = root_of(mesh.state)
        yield Scene(
            mesh,
            client,
            servers["server"],
            servers["other"],
            one.node.pod("outsider"),
            far,
            root,
            issuer_of(mesh.state),
            intermediate(root),
        )


@pytest.fixture
def scene(made: Scene) -> Iterator[Scene]:
    """Nobody is revoked before and after."""
    yield made
    for node in made.mesh.nodes:
        made.revoke(node)
        node.wait(lambda node=node: node.metric("ambient_revoked_certificates") == 0, "nobody to be revoked")  # type: ignore[misc]


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_a_revoked_workload_is_cut_and_refused_by_its_peer_and_its_sibling_is_not(
    scene: Scene, direction: str
) -> None:
    """Inbound: the server's node hears that the client's certificate is revoked; outbound: the other way round."""
    client, server, other = scene.client, scene.server, scene.other
    revoked, judge = (client, server.node) if direction == "inbound" else (server, client.node)
    steady = client.pod.start("steady", server.pod.v4, 8080)
    sibling = client.pod.start("steady", other.pod.v4, 8080)
    for process in (steady, sibling):
        process.wait_for_line(kind="held", ok=True)
    before = judge.metric("ambient_connections_refused_total", reason="cert_revoked")
    lost = len(judge.access_lines(message="connection complete", response_flags="CERT_REVOKED"))

    scene.revoke(judge, revocation_list(scene.issuer, scene.serial_of(revoked)))

    assert steady.wait_for_line(kind="held", lost=True)["error"] == "ConnectionResetError"
    line = judge.wait_for_access(
        message="connection complete", direction=direction, response_flags="CERT_REVOKED"
    )
    assert line["error"].startswith("connection closed: peer certificate revoked by CRL")
    judge.wait_for_access(message="connection failed", direction=direction, response_flags="CERT_REVOKED")
    assert client.pod.call(server.pod.v4, 8080)["error"] is not None
    judge.wait_for_metric(before + 2, "ambient_connections_refused_total", reason="cert_revoked")
    assert judge.metric("ambient_revoked_certificates") == 1
    if direction == "outbound":
        assert client.pod.call(other.pod.v4, 8080)["echoed"] == "hello"
        assert broken(sibling) == []
        assert (
            len(judge.access_lines(message="connection complete", response_flags="CERT_REVOKED")) == lost + 1
        )

    scene.revoke(judge)
    until(lambda: client.pod.call(server.pod.v4, 8080)["error"] is None, 20, "life to go on")
    for process in (steady, sibling):
        process.stop()


def broken(process: Process) -> list[dict[str, object]]:
    return [line for line in process.lines() if line.get("event") == "request" and not line["ok"]]


def test_a_node_whose_own_certificate_is_revoked_gets_another_and_is_believed_again(scene: Scene) -> None:
    client, server = scene.client, scene.server
    before = scene.serial_of(client)
    lists = revocation_list(scene.issuer, before)
    scene.revoke(server.node, lists)
    server.node.wait(
        lambda: server.node.metric("ambient_revoked_certificates") == 1, "the client to be revoked"
    )
    assert client.pod.call(server.pod.v4, 8080)["error"] is not None
    scene.revoke(client.node, lists)
    client.node.wait(lambda: scene.serial_of(client) != before, "another certificate")
    until(
        lambda: client.pod.call(server.pod.v4, 8080)["error"] is None, 20, "the client to be believed again"
    )


@pytest.mark.parametrize("kind", ["leaf", "intermediate"])
def test_a_caller_of_an_intermediate_authority(scene: Scene, kind: str) -> None:
    held = credentials(CLIENT, scene.middle, scene.root)
    sibling = credentials(CLIENT, *([scene.middle] if kind == "leaf" else []), scene.root)
    callers = {name: dial(scene, one) for name, one in (("revoked", held), ("sibling", sibling))}
    authority = f"{scene.server.pod.v4}:8080"
    for caller in callers.values():
        assert statuses(caller.ask(authority)) == [200]

    scene.revoke(scene.server.node, *lists_of(scene, kind, held))

    with pytest.raises((ConnectionResetError, ssl.SSLError, EOFError)):
        drained(callers["revoked"])
    assert statuses(callers["sibling"].ask(authority)) == [200]
    with contextlib.suppress(OSError), contextlib.closing(dial(scene, held)) as again:
        assert statuses(again.ask(authority)) == []
    wait_named(scene.server.node, scene, kind, held)
    anew = dial(scene, sibling)
    assert statuses(anew.ask(authority)) == [200]
    for caller in (*callers.values(), anew):
        caller.close()


@pytest.mark.parametrize("kind", ["leaf", "intermediate"])
def test_a_server_of_an_intermediate_authority(scene: Scene, kind: str) -> None:
    held = credentials(SERVER, scene.middle, scene.root)
    client = scene.client
    with hbone_echo(scene.far, held):
        steady = client.pod.start("steady", scene.far.v4, 8080)
        steady.wait_for_line(kind="held", ok=True)
        scene.revoke(client.node, *lists_of(scene, kind, held))
        steady.wait_for_line(kind="held", lost=True)
        wait_named(client.node, scene, kind, held)
        assert client.pod.call(scene.far.v4, 8080)["error"] == "ConnectionResetError"
        assert client.pod.call(scene.server.pod.v4, 8080)["echoed"] == "hello"
        steady.stop()


def test_a_bad_file_changes_nothing_and_a_restart_forgets_nothing(scene: Scene) -> None:
    judge = scene.client.node
    assert judge.proxy is not None
    scene.revoke(judge, revocation_list(scene.issuer, scene.serial_of(scene.server)))
    judge.wait(lambda: judge.metric("ambient_revoked_certificates") == 1, "the server to be revoked")
    scene.revoke(judge, b"a slip of the pen")
    said = judge.proxy.wait_for_line(
        level="error", message="revoked certificates not taken; the last good list stands"
    )
    assert said["file"] == str(crl_of(judge))
    assert "it holds no list in PEM" in said["why"]
    assert scene.client.pod.call(scene.server.pod.v4, 8080)["error"] == "ConnectionResetError"
    for again in (judge.proxy.kill, judge.proxy.stop):
        again()
        judge.start_proxy()
        judge.wait_ready()
        judge.wait_captured(scene.client)
        assert scene.client.pod.call(scene.server.pod.v4, 8080)["error"] == "ConnectionResetError"


def dial(scene: Scene, held: Credentials) -> Caller:
    return Caller(scene.outsider, scene.server.pod.v4, context(ssl.PROTOCOL_TLS_CLIENT, held))


def drained(caller: Caller) -> None:
    caller.tls.settimeout(10)
    while caller.tls.recv(65536):
        pass
    raise EOFError


def lists_of(scene: Scene, kind: str, held: Credentials) -> list[bytes]:
    if kind == "leaf":
        return [revocation_list(scene.middle, serial(held)), revocation_list(scene.root, 1)]
    return [revocation_list(scene.root, scene.middle.root.serial_number)]


def wait_named(judge: MeshNode, scene: Scene, kind: str, held: Credentials) -> None:
    """Wait for the line of a new connection that was refused by this very certificate."""
    number = serial(held) if kind == "leaf" else scene.middle.root.serial_number

    def named() -> bool:
        lines = judge.access_lines(message="connection failed", response_flags="CERT_REVOKED")
        return any(f"serial {number:x}" in line["error"] for line in lines)

    judge.wait(named, f"a line that names serial {number:x}")


@contextlib.contextmanager
def hbone_echo(pod: Pod, held: Credentials) -> Iterator[None]:
    """An HBONE server of the test's own that greets and echoes on each stream."""
    with entered(pod.netns):
        listener = socket.create_server((str(pod.v4), 15008))
    made = context(ssl.PROTOCOL_TLS_SERVER, held)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                thread = threading.Thread(target=answer, args=(accepted,), daemon=True)
                threads.append(thread)
                thread.start()

    def answer(accepted: socket.socket) -> None:
        accepted.settimeout(30)
        machine = Hbone(Role.SERVER)
        with contextlib.suppress(OSError), made.wrap_socket(accepted, server_side=True) as tls:
            tls.sendall(machine.take())
            while data := tls.recv(65536):
                for event in machine.receive(data):
                    match event:
                        case hbone.TunnelRequested(stream):
                            machine.accept(stream)
                            machine.send(stream, b'{"server": "far"}\n')
                        case hbone.TunnelData(stream, sent):
                            machine.send(stream, sent)
                            machine.consumed(stream, len(sent))
                        case hbone.TunnelFinished(stream):
                            machine.finish(stream)
                        case _:
                            pass
                while out := machine.take():
                    tls.sendall(out)

    threads = [threading.Thread(target=serve)]
    threads[0].start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        threads[0].join(10)
