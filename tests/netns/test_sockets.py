"""Sockets as programs really use them, through the real proxies: right destination, right peer, right own address.

Every manner, over IPv4, IPv6 and v4-mapped, to servers of every kind on the other node.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from topology import Mesh, Pod, Topology, Workload, objects

VIP4, VIP6 = "203.0.113.20", "fd00:beef::20"
DUAL, ONLY4, ONLY6, MPTCP_PORT = 8080, 8081, 8082, 8083
MANNERS = [
    "plain",
    "bound-to-address",
    "bound-to-port",
    "bound-without-port",
    "bound-to-device",
    "non-blocking",
    "fast-open",
    "fast-open-with-data",
    "io-uring",
    "mptcp",
    "after-a-refusal",
]
FAMILIES = ["v4", "v6", "mapped"]


@dataclass
class Scene:
    """``client`` on node one, ``server`` on node two; both programs and listeners are older than the capture."""

    mesh: Mesh
    client: Workload
    server: Workload
    waiting: dict[tuple[str, str], Any]
    """Clients whose sockets were made before the capture, by manner and family."""


def target(pod: Pod, family: str) -> str:
    return {"v4": str(pod.v4), "v6": str(pod.v6), "mapped": f"::ffff:{pod.v4}"}[family]


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
        )
        mesh.apply("service", objects.service("shop", "own", [VIP4, VIP6], {80: DUAL}, {"app": "server"}))
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        pod, caller = two.node.pod("server"), one.node.pod("client")
        pod.serve("echo", DUAL)
        pod.serve("echo", ONLY4, "--family", 4)
        pod.serve("echo", ONLY6, "--family", 6)
        pod.serve("echo", MPTCP_PORT, "--mptcp")
        waiting = {}
        for manner in ("older", "older-mptcp"):
            for family in FAMILIES:
                process = caller.start("manners", manner, target(pod, family), DUAL, "-")
                process.wait_for_line(event="waiting")
                waiting[manner, family] = process
        server = two.add(pod, "shop", "server", labels={"app": "server"})
        client = one.add(caller, "shop", "client")
        mesh.settle(client, server)
        yield Scene(mesh, client, server, waiting)


def right(seen: dict[str, Any], scene: Scene, family: str, port: int, *, dual: bool = True) -> None:
    """Both ends see the mesh as if it were not there."""
    client, server = scene.client.pod, scene.server.pod
    mapped = "::ffff:" if family == "mapped" else ""
    client_ip, server_ip = (client.v6, server.v6) if family == "v6" else (client.v4, server.v4)
    assert seen["peername"] == [f"{mapped}{server_ip}", port]
    assert seen["sockname"][0] == f"{mapped}{client_ip}"
    there = "::ffff:" if dual and family != "v6" else ""
    greeted = seen["server"]
    assert greeted["accepted_from"] == [f"{there}{client_ip}", seen["sockname"][1]]
    assert greeted["peername"] == greeted["accepted_from"]
    assert greeted["sockname"] == [f"{there}{server_ip}", port]
    assert seen["echoed"].endswith("hello")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("manner", MANNERS)
def test_a_client(scene: Scene, manner: str, family: str) -> None:
    pod = scene.client.pod
    own = {"v4": str(pod.v4), "v6": str(pod.v6), "mapped": f"::ffff:{pod.v4}"}[family]
    process = pod.start("manners", manner, target(scene.server.pod, family), DUAL, own)
    seen = process.finished(20)[-1]
    right(seen, scene, family, DUAL)
    if manner == "bound-to-port":
        assert seen["sockname"][1] == 41234
    if manner == "fast-open-with-data":
        assert seen["echoed"] == "early hello"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("manner", ["older", "older-mptcp"])
def test_a_socket_that_is_older_than_the_capture(scene: Scene, manner: str, family: str) -> None:
    process = scene.waiting[manner, family]
    process.signal(signal.SIGUSR1)
    right(process.finished(20)[-1], scene, family, DUAL)


@pytest.mark.parametrize(
    ("port", "family", "dual"),
    [
        pytest.param(ONLY4, "v4", False, id="v4-only"),
        pytest.param(ONLY4, "mapped", False, id="v4-only-called-mapped"),
        pytest.param(ONLY6, "v6", False, id="v6-only"),
        pytest.param(MPTCP_PORT, "v4", True, id="mptcp-v4"),
        pytest.param(MPTCP_PORT, "v6", True, id="mptcp-v6"),
        pytest.param(MPTCP_PORT, "mapped", True, id="mptcp-mapped"),
    ],
)
def test_a_listener_that_is_older_than_the_capture(scene: Scene, port: int, family: str, dual: bool) -> None:
    seen = scene.client.pod.call(target(scene.server.pod, family), port)
    right(seen, scene, family, port, dual=dual)


@pytest.mark.parametrize("address", [VIP4, VIP6, f"::ffff:{VIP4}"], ids=FAMILIES)
def test_a_pod_that_calls_its_own_service_and_is_drawn_itself(scene: Scene, address: str) -> None:
    pod = scene.server.pod
    seen = pod.call(address, 80)
    assert seen["error"] is None, seen
    own = str(pod.v6) if address == VIP6 else str(pod.v4)
    mapped = "::ffff:" if address.startswith("::ffff:") else ""
    assert seen["peername"] == [address, 80]
    assert seen["sockname"][0] == f"{mapped}{own}"
    there = "" if address == VIP6 else "::ffff:"
    assert seen["server"]["accepted_from"] == [f"{there}{own}", seen["sockname"][1]]
    assert seen["server"]["sockname"] == [f"{there}{own}", DUAL]
    line = scene.server.node.wait_for_access(
        direction="inbound", message="connection complete", src__workload="server", dst__workload="server"
    )
    assert line["src.identity"] == scene.server.identity
