"""Envoy as the client of our HBONE port: what it may do it can do, what it may not it is told, and both ends say the same."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from interop import certs, envoy
from interop.envoy import Envoy
from interop.world import (
    CLIENT,
    CODECS,
    DENIED,
    ECHO,
    HANG_UP,
    MOVE,
    RESET,
    World,
    connect,
    everything,
    shop,
)
from topology import until
from topology.nodes import app_command

from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import issue

BAGGAGE = "k8s.cluster.name=far,k8s.namespace.name=else,k8s.deployment.name=caller,service.name=calls,service.version=v7"
TRACE = f"00-{'4b' * 16}-{'f0' * 8}-00"
HEADERS = {"baggage": BAGGAGE, "forwarded": 'for="%DOWNSTREAM_REMOTE_ADDRESS%"', "traceparent": TRACE}
BYTES = 20_000_000


@dataclass(frozen=True)
class Status:
    """A request with a good certificate, and how it is answered."""

    authority: str
    """With NODE for the server's address."""
    status: int
    reason: str
    error: str
    held: str = "good"
    policy: str | None = None
    flag: str = "CONNECT"


STATUSES = {
    "denied": Status(
        "NODE:8080", 401, "denied", "explicitly denied by: shop/not-denied", "denied", "shop/not-denied", "DENY"
    ),
    "other-address": Status("10.99.99.99:8080", 400, "ip_mismatch", "ip mismatch: 10.99.99.99 !="),
    "no-port": Status("no-port", 400, "authority", "authority 'no-port' is not host:port"),
    "port-0": Status("NODE:0", 400, "authority", "is not host:port"),
    "service-unknown": Status("nowhere.shop.svc.cluster.local:80", 503, "unknown_service", "no service for target"),
    "outbound-port": Status("NODE:15001", 503, "recursive", "attempted recursive call to ourselves"),
    "plaintext-port": Status("NODE:15006", 503, "recursive", "attempted recursive call to ourselves"),
    "hbone-port": Status("NODE:15008", 503, "recursive", "attempted recursive call to ourselves"),
    "nobody-listens": Status("NODE:8099", 503, "unavailable", "Connection refused"),
}  # fmt: skip
HANDSHAKES = {
    "no-certificate": ("TLSV1_ALERT_CERTIFICATE_REQUIRED", "RETURN_A_CERTIFICATE"),
    "expired": ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "certificate has expired"),
    "other-authority": ("TLSV1_ALERT_UNKNOWN_CA", "unable to get local issuer certificate"),
    "other-trust-domain": ("reset", "other.domain/ns/shop/sa/client is not of trust domain cluster.local"),
    "node": ("reset", "is not a workload's"),
    "http1": ("reset", "the peer does not speak h2"),
}
"""What Envoy hears, and what we write down."""
GOOD = {"echo": ECHO, "move": MOVE, "reset": RESET, "hang-up": HANG_UP}


@dataclass
class Scene:
    world: World
    envoys: dict[str, Envoy]
    """By codec, each on a host of its own."""
    ports: dict[str, int]
    """Where each Envoy listens, by case."""

    def connect(self, codec: str, case: str) -> socket.socket:
        """As an application beside Envoy does it."""
        host = self.envoys[codec].host
        return connect(host, host.v4, self.ports[case])

    def logged(self, codec: str, case: str, known: int = 0) -> dict[str, Any]:
        """The next line of Envoy's access log about a case."""
        one = self.envoys[codec]
        until(lambda: len(one.logged(case)) > known, 10, f"Envoy's line about {case}")
        return one.logged(case)[known]

    def refused(self, reason: str) -> float:
        return self.world.node.metric(
            "ambient_connections_refused_total", reporter="destination", reason=reason
        )


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with shop() as world:
        cases = [*GOOD, *STATUSES, *HANDSHAKES, "get"]
        ports = {case: 20001 + number for number, case in enumerate(cases)}
        envoys = {codec: start(world, codec, ports) for codec in CODECS}
        yield Scene(world, envoys, ports)


def start(world: World, codec: str, ports: dict[str, int]) -> Envoy:
    host = world.mesh.topology.host(codec)
    pod = world.server.pod
    held = holders(world)
    h2: envoy.Part = {"http2_protocol_options": {}}
    listeners, clusters = [], []
    for case, port in ports.items():
        status = STATUSES.get(case)
        holder = case if case in held else status.held if status else "good"
        http1 = case == "http1"
        tls = envoy.client_tls(
            held[holder], world.roots, expect=world.server.identity, alpn=("http/1.1",) if http1 else ("h2",)
        )
        protocol: envoy.Part = {"http_protocol_options": {}} if http1 else h2
        clusters.append(envoy.cluster(case, pod.v4, 15008, tls=tls, protocol=protocol))
        if case == "get":
            listeners.append(envoy.forwarding(case, host.v4, port, case))
            continue
        authority = status.authority if status else f"NODE:{GOOD.get(case, ECHO)}"
        asked = authority.replace("NODE", str(pod.v4))
        listeners.append(envoy.tunnelling(case, host.v4, port, case, asked, HEADERS))
    runtime = {"envoy.reloadable_features.http2_use_oghttp2": CODECS[codec]}
    return Envoy(
        host, listeners, clusters, runtime=runtime, flags=["--component-log-level", "connection:debug"]
    )


def holders(world: World) -> dict[str, certs.Held | None]:
    folder = world.mesh.topology.folder
    stranger = issue.new_authority("cluster.local", datetime.now(UTC))
    return {
        "good": world.held("good", CLIENT),
        "denied": world.held("denied", DENIED),
        "no-certificate": None,
        "expired": certs.held(folder, "expired", CLIENT, world.authority, age=timedelta(days=2)),
        "other-authority": certs.held(folder, "other-authority", CLIENT, stranger),
        "other-trust-domain": world.held("other-domain", SpiffeId("other.domain", "shop", "client")),
        "node": world.held("node", NodeId("cluster.local", "one")),
    }


@pytest.mark.parametrize("verb", ["push", "pull"])
@pytest.mark.parametrize("codec", CODECS)
def test_many_bytes_arrive_whole_and_both_ends_count_the_same(scene: Scene, codec: str, verb: str) -> None:
    host, node = scene.envoys[codec].host, scene.world.node
    known, ours = len(scene.envoys[codec].logged("move")), len(complete(scene, "move"))
    moved = host.popen("move", *app_command("transfer", verb, host.v4, scene.ports["move"], BYTES)).finished(
        60
    )[-1]
    assert moved["same"], moved
    told = scene.logged(codec, "move", known)
    assert told.get("flags", "-") == "-"
    node.wait(lambda: len(complete(scene, "move")) > ours, "a line of the transfer")
    line = complete(scene, "move")[-1]
    assert (line["bytes_recv"], line["bytes_sent"]) == (told["received"], told["sent"])
    assert max(told["received"], told["sent"]) >= BYTES
    assert "error" not in line


def complete(scene: Scene, case: str) -> list[dict[str, Any]]:
    address = f"{scene.world.server.pod.v4}:{GOOD[case]}"
    return scene.world.node.access_lines(
        message="connection complete", direction="inbound", dst__addr=address
    )


@pytest.mark.parametrize("codec", CODECS)
def test_the_caller_is_who_its_headers_and_certificate_say(scene: Scene, codec: str) -> None:
    with scene.connect(codec, "echo") as client:
        here = client.getsockname()
        client.shutdown(socket.SHUT_WR)
        greeting = json.loads(everything(client))
    assert greeting["peername"][0].endswith(here[0])
    assert greeting["peername"][1] == here[1]
    line = scene.world.node.wait_for_access(message="connection complete", src__addr=f"{here[0]}:{here[1]}")
    assert line["src.identity"] == str(CLIENT)
    assert (line["src.workload"], line["src.namespace"], line["src.cluster"]) == ("caller", "shop", "far")
    labels = {"reporter": "destination", "source_workload": "caller", "source_version": "v7"}
    security = {"connection_security_policy": "mutual_tls", "source_principal": str(CLIENT)}
    scene.world.node.wait_for_metric(1, "istio_tcp_connections_opened_total", **labels, **security)


@pytest.mark.parametrize("codec", CODECS)
def test_a_client_that_hangs_up_first_hears_the_rest(scene: Scene, codec: str) -> None:
    sent = os.urandom(300_000)
    with scene.connect(codec, "echo") as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert everything(client).endswith(sent)


@pytest.mark.parametrize("codec", CODECS)
def test_a_server_that_hangs_up_first_hears_the_rest(scene: Scene, codec: str) -> None:
    before = len(complete(scene, "hang-up"))
    with scene.connect(codec, "hang-up") as client:
        assert client.recv(1) == b""
        client.sendall(b"y" * 300_000)
        client.shutdown(socket.SHUT_WR)
        scene.world.node.wait(lambda: len(complete(scene, "hang-up")) > before, "its end")
    line = complete(scene, "hang-up")[-1]
    assert line["bytes_recv"] == 300_000
    assert "error" not in line


@pytest.mark.parametrize("codec", CODECS)
def test_a_reset_of_the_server_is_a_reset_of_the_stream(scene: Scene, codec: str) -> None:
    before, known = scene.envoys[codec].stat("cluster.reset.http2.rx_reset"), len(complete(scene, "reset"))
    with scene.connect(codec, "reset") as client:
        client.sendall(b"a line\n")
        everything(client)
    assert scene.envoys[codec].stat("cluster.reset.http2.rx_reset") == before + 1
    scene.world.node.wait(lambda: len(complete(scene, "reset")) > known, "its end")
    assert complete(scene, "reset")[-1]["error"] == "connection reset by peer"


@pytest.mark.parametrize("codec", CODECS)
def test_a_client_that_resets_cuts_its_stream_alone(scene: Scene, codec: str) -> None:
    with scene.connect(codec, "echo") as sibling:
        sibling.recv(65536)
        with scene.connect(codec, "echo") as client:
            client.recv(65536)
            host, port = client.getsockname()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line = scene.world.node.wait_for_access(message="connection complete", src__addr=f"{host}:{port}")
        assert line["error"] == "connection reset by peer"
        sibling.sendall(b"unharmed")
        assert sibling.recv(100) == b"unharmed"


@pytest.mark.parametrize("codec", CODECS)
def test_200_streams_share_a_connection_and_the_next_has_another(scene: Scene, codec: str) -> None:
    one = scene.envoys[codec]
    total, active = "cluster.echo.upstream_cx_total", "cluster.echo.upstream_cx_active"
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(scene.connect(codec, "echo"))]
        held[0].recv(65536)
        connections, before = one.stat(active), one.stat(total)
        assert connections == 1
        held += [stack.enter_context(scene.connect(codec, "echo")) for _ in range(249)]
        for number, client in enumerate(held):
            if number:
                assert client.recv(65536).endswith(b"}\n")
            client.sendall(b"line %d" % number)
        assert [client.recv(100) for client in held] == [b"line %d" % number for number in range(250)]
        assert one.stat(total) == before + 1
    scene.world.node.wait(lambda: one.stat("cluster.echo.upstream_rq_active") == 0, "all streams to end")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("case", STATUSES)
def test_what_cannot_be_is_refused_with_its_status(scene: Scene, codec: str, case: str) -> None:
    wanted, node = STATUSES[case], scene.world.node
    known, refused = len(scene.envoys[codec].logged(case)), scene.refused(wanted.reason)
    lines = len(node.access_lines(message="connection failed"))
    with scene.connect(codec, case) as client, contextlib.suppress(ConnectionResetError):
        assert everything(client) == b""
    told = scene.logged(codec, case, known)
    assert told["failure"] == f"tunnel_response:{wanted.status}"
    assert "UF" in told["flags"]
    node.wait(lambda: len(node.access_lines(message="connection failed")) > lines, "a line of the refusal")
    (line,) = node.access_lines(message="connection failed")[lines:]
    assert wanted.error in line["error"]
    assert (line["response_flags"], line.get("policy")) == (wanted.flag, wanted.policy)
    assert line["src.identity"] == str(DENIED if wanted.held == "denied" else CLIENT)
    node.wait_for_metric(
        refused + 1, "ambient_connections_refused_total", reporter="destination", reason=wanted.reason
    )


@pytest.mark.parametrize("codec", CODECS)
def test_only_connect_is_served(scene: Scene, codec: str) -> None:
    refused = scene.refused("method")
    with scene.connect(codec, "get") as client:
        client.sendall(b"GET /a/page HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        assert everything(client).startswith(b"HTTP/1.1 400 ")
    assert scene.logged(codec, "get")["code"] == 400
    assert scene.logged(codec, "get")["details"] == "via_upstream"
    scene.world.node.wait_for_metric(refused + 1, "ambient_connections_refused_total", reason="method")


@pytest.mark.parametrize("case", HANDSHAKES)
def test_who_proves_no_identity_of_the_mesh_hears_why_and_gets_no_answer(scene: Scene, case: str) -> None:
    alert, error = HANDSHAKES[case]
    one, node = scene.envoys["nghttp2"], scene.world.node
    lines = len(node.access_lines(response_flags="TLS_FAILURE"))
    before = node.metric("istio_tcp_connections_failed_total", response_flags="TLS_FAILURE")
    with scene.connect("nghttp2", case) as client, contextlib.suppress(ConnectionResetError):
        assert everything(client) == b""
    assert "UF" in scene.logged("nghttp2", case)["flags"]
    if alert != "reset":
        until(lambda: alert in one.process.errors.read_text(), 5, f"Envoy to hear {alert}")
        assert one.stat(f"cluster.{case}.ssl.connection_error") == 1
    node.wait(lambda: len(node.access_lines(response_flags="TLS_FAILURE")) > lines, "a line of the refusal")
    line = node.access_lines(response_flags="TLS_FAILURE")[lines]
    assert error in line["error"]
    assert "src.identity" not in line
    node.wait_for_metric(before + 1, "istio_tcp_connections_failed_total", response_flags="TLS_FAILURE")


@pytest.mark.parametrize("codec", CODECS)
def test_a_worker_that_leaves_finishes_its_streams_and_new_ones_go_to_the_next(
    scene: Scene, codec: str
) -> None:
    one, node = scene.envoys[codec], scene.world.node
    with scene.connect(codec, "echo") as held:
        held.recv(65536)
        before = one.stat("cluster.echo.upstream_cx_total")
        assert node.proxy is not None
        node.proxy.kill()
        node.start_proxy()
        node.wait_ready()
        node.wait_captured(scene.world.server)
        with scene.connect(codec, "echo") as client:
            client.sendall(b"new")
            client.shutdown(socket.SHUT_WR)
            assert everything(client).endswith(b"new")
        assert one.stat("cluster.echo.upstream_cx_total") > before
        held.sendall(b"still here")
        assert held.recv(100) == b"still here"
        held.shutdown(socket.SHUT_WR)
        assert everything(held) == b""
