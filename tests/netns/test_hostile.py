"""Callers and servers that are not who or where they should be, with real certificates of the mesh's own authority."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from topology import Mesh, Pod, Topology, Workload, objects, until
from topology.authority import root_of
from topology.namespace import entered
from topology.nodes import app_command

from ambient.core import hbone
from ambient.core.hbone import Hbone, HboneEvent, Role
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import csr, issue
from ambient.core.pki.bundle import Credentials

CLIENT = SpiffeId("cluster.local", "shop", "client")
VIP = "203.0.113.10"
HOST = "server.shop.svc.cluster.local"


@dataclass
class Scene:
    """``client`` on node one and ``server`` on node two are captured, STRICT; ``outsider`` on node one is of no mesh."""

    mesh: Mesh
    client: Workload
    server: Workload
    outsider: Pod
    impostor: Pod
    """On node two; the mesh is told that it runs as shop/server and speaks HBONE."""
    kubelet: Path
    """The cgroup of node two's prober."""

    @property
    def authority(self) -> issue.Authority:
        return root_of(self.mesh.state)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "shop",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.peer_authentication("shop", "STRICT"),
            objects.service(
                "shop", "server", [VIP], {80: 8080, 81: "web", 82: 15008, 83: "lacking"}, {"app": "server"}
            ),
            objects.service("shop", "another", ["203.0.113.11"], {80: 8080}, {"app": "nobody"}),
        )
        mesh.start_control()
        kubelet = topology.cgroup / "kubelet"
        kubelet.mkdir()
        one = mesh.node("one")
        two = mesh.node("two", node_flags=["--prober-cgroup", kubelet])
        server_pod = two.node.pod("server")
        server_pod.serve("echo", 8080)
        server = two.add(
            server_pod, "shop", "server", labels={"app": "server", "port.ambient.dev/web": "8080"}
        )
        client = one.add(one.node.pod("client"), "shop", "client")
        impostor = two.node.pod("impostor")
        entry = objects.workload_entry("shop", "impostor", impostor.v4, serviceAccount="server")
        entry["metadata"]["annotations"] = {"ambient.dev/tunnel": "hbone"}
        mesh.apply("impostor", entry)
        mesh.settle(client, server)
        mesh.wait_everywhere("workloads", lambda one: one["name"] == "impostor", "the impostor's entry")
        yield Scene(mesh, client, server, one.node.pod("outsider"), impostor, kubelet)


def credentials(scene: Scene, identity: SpiffeId, authority: issue.Authority | None = None) -> Credentials:
    """A certificate as the authority would issue it, or another one."""
    request = csr.new_request(identity)
    signer = authority or scene.authority
    now = datetime.now(UTC)
    chain = issue.issue(signer, issue.requested_key(request.csr_pem), identity, now)
    return Credentials.of(identity, request.key_pem, chain, signer.root_pem, now)


def context(side: int, held: Credentials | None, *, alpn: str = "h2") -> ssl.SSLContext:
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols([alpn])
    if held is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(held.chain_pem + held.key_pem)
            file.flush()
            made.load_cert_chain(file.name)
    return made


class Caller:
    """An HBONE client of the test's own, inside a pod that the mesh does not know."""

    def __init__(self, pod: Pod, target: object, made: ssl.SSLContext) -> None:
        with entered(pod.netns):
            plain = socket.create_connection((str(target), 15008), timeout=5)
        with contextlib.ExitStack() as unless_shaken:
            unless_shaken.callback(plain.close)
            self.tls = made.wrap_socket(plain)
            unless_shaken.pop_all()
        self.machine = Hbone(Role.CLIENT)

    def ask(self, authority: str, method: str = "CONNECT") -> list[HboneEvent]:
        """What comes back for one request, until it is answered."""
        if method == "CONNECT":
            self.machine.open(authority, [])
        else:
            fields = {":method": method, ":scheme": "http", ":path": "/", ":authority": authority}
            self.machine._connection.send_request(
                [(name.encode(), value.encode()) for name, value in fields.items()]
            )
        self.tls.sendall(self.machine.take())
        events: list[HboneEvent] = []
        while not any(isinstance(event, hbone.TunnelAnswered | hbone.TunnelReset) for event in events):
            data = self.tls.recv(65536)
            if not data:
                break
            events += self.machine.receive(data)
        return events

    def close(self) -> None:
        self.tls.close()


def statuses(events: list[HboneEvent]) -> list[int]:
    return [event.status for event in events if isinstance(event, hbone.TunnelAnswered)]


def test_a_true_certificate_may_call_and_is_named(scene: Scene) -> None:
    caller = Caller(
        scene.outsider, scene.server.pod.v4, context(ssl.PROTOCOL_TLS_CLIENT, credentials(scene, CLIENT))
    )
    assert statuses(caller.ask(f"{scene.server.pod.v4}:8080")) == [200]
    caller.close()
    line = scene.server.node.wait_for_access(direction="inbound", src__identity=str(CLIENT))
    assert line["dst.addr"] == f"{scene.server.pod.v4}:8080"


@pytest.mark.parametrize(
    ("authority", "method", "status", "error"),
    [
        pytest.param("10.99.99.99:8080", "CONNECT", 400, "ip mismatch", id="ip-mismatch"),
        pytest.param("no-port-here", "CONNECT", 400, "authority", id="unparsable"),
        pytest.param("SERVER:8080", "GET", 400, "CONNECT", id="method"),
        pytest.param("SERVER:15008", "CONNECT", 503, "recursive", id="hbone-port"),
        pytest.param("SERVER:15001", "CONNECT", 503, "recursive", id="outbound-port"),
        pytest.param("SERVER:15006", "CONNECT", 503, "recursive", id="plaintext-port"),
        pytest.param("SERVER:8099", "CONNECT", 503, "8099", id="nobody-listens"),
        pytest.param("SERVER:15000", "CONNECT", 503, "15000", id="admin-port"),
        pytest.param("127.0.0.1:8080", "CONNECT", 400, "ip mismatch", id="loopback"),
        pytest.param("[::1]:8080", "CONNECT", 400, "ip mismatch", id="loopback-v6"),
        pytest.param("[::ffff:127.0.0.1]:15000", "CONNECT", 400, "ip mismatch", id="mapped-loopback"),
        pytest.param("0.0.0.0:8080", "CONNECT", 400, "ip mismatch", id="unspecified"),
        pytest.param(f"{VIP}:80", "CONNECT", 400, "ip mismatch", id="virtual-address"),
        pytest.param("localhost:8080", "CONNECT", 503, "no service", id="localhost"),
        pytest.param(f"{HOST}:99", "CONNECT", 503, "no valid target port", id="name-without-such-a-port"),
        pytest.param(
            f"{HOST}:83", "CONNECT", 503, "no valid target port", id="name-without-such-a-named-port"
        ),
        pytest.param(f"{HOST}:82", "CONNECT", 503, "recursive", id="name-that-leads-to-hbone"),
        pytest.param(
            "another.shop.svc.cluster.local:80",
            "CONNECT",
            503,
            "no service",
            id="name-that-it-does-not-serve",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_status(
    scene: Scene, authority: str, method: str, status: int, error: str
) -> None:
    caller = Caller(
        scene.outsider, scene.server.pod.v4, context(ssl.PROTOCOL_TLS_CLIENT, credentials(scene, CLIENT))
    )
    known = len(scene.server.node.access_lines(message="connection failed"))
    assert statuses(caller.ask(authority.replace("SERVER", str(scene.server.pod.v4)), method)) == [status]
    caller.close()
    scene.server.node.wait(
        lambda: len(scene.server.node.access_lines(message="connection failed")) > known,
        "a line of the refusal",
    )
    assert error in scene.server.node.access_lines(message="connection failed")[-1]["error"]


@pytest.mark.parametrize(
    "authority",
    [
        pytest.param(f"{HOST}:80", id="port"),
        pytest.param(f"{HOST}:81", id="named-port"),
        pytest.param(f"{HOST.title()}:80", id="capitals"),
        pytest.param("[::ffff:SERVER]:8080", id="mapped-address"),
    ],
)
def test_a_name_of_a_service_is_its_target_port_here(scene: Scene, authority: str) -> None:
    caller = Caller(
        scene.outsider, scene.server.pod.v4, context(ssl.PROTOCOL_TLS_CLIENT, credentials(scene, CLIENT))
    )
    assert statuses(caller.ask(authority.replace("SERVER", str(scene.server.pod.v4)))) == [200]
    caller.close()
    line = scene.server.node.access_lines(direction="inbound", message="connection opened")[-1]
    assert line["dst.addr"] == f"{scene.server.pod.v4}:8080"
    if "svc" in authority.lower():
        assert line["dst.service"] == HOST


@pytest.mark.parametrize(
    "kind", ["no-certificate", "other-trust-domain", "other-authority", "node", "http/1.1"]
)
def test_who_cannot_prove_an_identity_of_the_mesh_gets_no_answer(scene: Scene, kind: str) -> None:
    held: Credentials | None = credentials(scene, CLIENT)
    alpn = "h2"
    match kind:
        case "no-certificate":
            held = None
        case "other-trust-domain":
            held = credentials(scene, SpiffeId("other.domain", "shop", "client"))
        case "other-authority":
            held = credentials(scene, CLIENT, issue.new_authority("cluster.local", datetime.now(UTC)))
        case "node":
            held = _node_credentials(scene)
        case _:
            alpn = "http/1.1"
    known = len(scene.server.node.access_lines(response_flags="TLS_FAILURE"))
    made = context(ssl.PROTOCOL_TLS_CLIENT, held, alpn=alpn)
    with (
        contextlib.suppress(OSError),
        contextlib.closing(Caller(scene.outsider, scene.server.pod.v4, made)) as caller,
    ):
        assert statuses(caller.ask(f"{scene.server.pod.v4}:8080")) == []
    scene.server.node.wait(
        lambda: len(scene.server.node.access_lines(response_flags="TLS_FAILURE")) > known,
        "a line of the refusal",
    )


def _node_credentials(scene: Scene) -> Credentials:
    identity = NodeId("cluster.local", "one")
    request = csr.new_request(identity)
    now = datetime.now(UTC)
    chain = issue.issue(scene.authority, issue.requested_key(request.csr_pem), identity, now)
    return Credentials.of(identity, request.key_pem, chain, scene.authority.root_pem, now)


def test_a_server_of_another_identity_gets_no_byte(scene: Scene) -> None:
    heard: list[bytes] = []
    with impostor(scene, credentials(scene, CLIENT), heard):
        seen = scene.client.pod.call(scene.impostor.v4, 8080)
    assert seen["error"] == "ConnectionResetError"
    assert b"".join(heard) == b""
    line = scene.client.node.wait_for_access(direction="outbound", response_flags="TLS_FAILURE")
    assert "the server is spiffe://cluster.local/ns/shop/sa/client, not" in line["error"]
    assert "spiffe://cluster.local/ns/shop/sa/server" in line["error"]


@contextlib.contextmanager
def impostor(scene: Scene, held: Credentials, heard: list[bytes]) -> Iterator[None]:
    """A TLS server on 15008 of the impostor's pod; what it is sent after the handshake goes into ``heard``."""
    with entered(scene.impostor.netns):
        listener = socket.create_server((str(scene.impostor.v4), 15008))
    made = context(ssl.PROTOCOL_TLS_SERVER, held)

    def serve() -> None:
        with contextlib.suppress(OSError):
            accepted, _ = listener.accept()
            accepted.settimeout(5)
            with made.wrap_socket(accepted, server_side=True) as tls:
                while data := tls.recv(65536):
                    heard.append(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_probes_pass_under_strict_and_nothing_rides_on_them(scene: Scene) -> None:
    node = scene.server.node.node
    probe = node._popen(scene.kubelet, "probe", app_command("call", scene.server.pod.v4, 8080), None)
    assert probe.finished(20)[-1]["echoed"] == "hello"
    # The same host, the same source address, another cgroup: what comes through a NodePort looks like this.
    assert node.call(scene.server.pod.v4, 8080)["error"] == "ConnectionResetError"
    assert node.call(scene.server.pod.v6, 8080)["error"] == "ConnectionResetError"


@pytest.mark.parametrize("port", [15001, 15006, 15008])
def test_a_pod_that_dials_the_proxys_own_ports_gets_nowhere(scene: Scene, port: int) -> None:
    for target in ("127.0.0.1", str(scene.client.pod.v4), str(scene.server.pod.v4)):
        seen = scene.client.pod.call(target, port, "--timeout", 5)
        assert seen["server"] is None
        assert seen["error"] is not None
    until(lambda: scene.client.pod.call(scene.server.pod.v4, 8080)["echoed"] == "hello", 5, "life to go on")
