"""Much, many, slow and rude: one tunnel between two nodes, since each proxy here has one worker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from netns.world import MARKER
from topology import Mesh, MeshNode, Topology, Workload, objects

ECHO, MUTE, MOVE, RESET, HANG_UP = 8080, 8081, 8082, 8083, 8084
GIGABYTE = 1_000_000_000
CAP = 96 * 1024
"""KiB by which a worker may grow with ninety stalled streams: their windows, and buffers around them."""


class Scene:
    """``client`` on node one, ``server`` with all its manners on node two."""

    def __init__(self, mesh: Mesh, client: Workload, server: Workload) -> None:
        self.mesh, self.client, self.server = mesh, client, server

    @property
    def target(self) -> str:
        return str(self.server.pod.v4)

    def workers(self) -> list[int]:
        return [pid for node in self.mesh.nodes for pid in node.worker_pids()]


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
        mesh.start_control()
        one, two = mesh.node("one", workers=1), mesh.node("two", workers=1)
        pod = two.node.pod("server")
        pod.serve("echo", ECHO)
        pod.serve("rude", "mute", MUTE)
        pod.serve("transfer", "serve", MOVE)
        pod.serve("rude", "reset", RESET)
        pod.serve("rude", "hang-up", HANG_UP)
        server = two.add(pod, "shop", "server")
        client = one.add(one.node.pod("client"), "shop", "client")
        mesh.settle(client, server)
        yield Scene(mesh, client, server)


def rss(pid: int) -> int:
    """KiB of memory that a process has resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def open_tunnels(node: MeshNode, target: str) -> int:
    """TCP connections to ``target``'s HBONE port from the pods of a node."""
    (pod,) = node.node.pods
    ran = pod.run("ss", "-Htn", "state", "established", "dst", target, "dport", "=", ":15008")
    return len(ran.stdout.splitlines())


@pytest.mark.parametrize("verb", ["push", "pull"])
def test_a_gigabyte_arrives_whole(scene: Scene, verb: str) -> None:
    moved = scene.client.pod.start("transfer", verb, scene.target, MOVE, GIGABYTE).finished(60)[-1]
    assert moved["same"], moved
    assert GIGABYTE in moved["sent"]


def test_ten_thousand_aborted_connections_leave_the_others_alone(scene: Scene) -> None:
    steady = scene.client.pod.start(
        "steady", scene.target, ECHO, "--every", 0.05, "--marker", MARKER.decode()
    )
    steady.wait_for_line(event="request", kind="held", ok=True)
    aborted = scene.client.pod.start("crowd", "abort", scene.target, ECHO, 10_000).finished(110)[-1]
    steady.stop()
    assert aborted["refused"] == 0
    held = [line for line in steady.lines() if line.get("kind") == "held"]
    assert len(held) > 20
    assert all(line["ok"] for line in held)
    assert all(line["ok"] for line in steady.lines() if line.get("kind") == "new")
    assert open_tunnels(scene.mesh.nodes[0], scene.target) == 1


def test_ninety_stalled_readers_neither_slow_a_fast_one_nor_fill_the_memory(scene: Scene) -> None:
    alone = _seconds_to_push(scene)
    before = {pid: rss(pid) for pid in scene.workers()}
    crowd = scene.client.pod.start("crowd", "stall", scene.target, MUTE, 90)
    crowd.wait_for_line(30, event="stalled", count=90)
    beside = _seconds_to_push(scene)
    grown = {pid: rss(pid) - before[pid] for pid in before}
    tunnels = open_tunnels(scene.mesh.nodes[0], scene.target)
    crowd.stop()
    assert tunnels == 1, "the stalled streams and the fast one were to share a tunnel"
    assert max(grown.values()) < CAP, grown
    # Not a benchmark: stalled for good would be fifty times slower; a shared machine may be twice.
    assert beside < 5 * alone + 2, (alone, beside)


def _seconds_to_push(scene: Scene) -> float:
    began = time.monotonic()
    moved = scene.client.pod.start("transfer", "push", scene.target, MOVE, GIGABYTE // 4).finished(60)[-1]
    assert moved["same"], moved
    return time.monotonic() - began


def test_a_server_that_hangs_up_first_still_hears_everything(scene: Scene) -> None:
    client = scene.client.pod.run(
        "/usr/bin/python3", "-c",
        "import socket,sys\n"
        f"c = socket.create_connection(({scene.target!r}, {HANG_UP}), 5)\n"
        "assert c.recv(1) == b''\n"
        "c.sendall(b'y' * 1_000_000)\n"
        "c.shutdown(socket.SHUT_WR)\n",
    )  # fmt: skip
    assert client.returncode == 0, client.stderr
    line = scene.server.node.wait_for_access(
        message="connection complete", direction="inbound", dst__addr=f"{scene.target}:{HANG_UP}"
    )
    assert line["bytes_recv"] == 1_000_000
    assert "error" not in line


def test_a_client_that_hangs_up_first_still_hears_everything(scene: Scene) -> None:
    client = scene.client.pod.run(
        "/usr/bin/python3", "-c",
        "import socket\n"
        f"c = socket.create_connection(({scene.target!r}, {ECHO}), 5)\n"
        "c.sendall(b'z' * 1_000_000)\n"
        "c.shutdown(socket.SHUT_WR)\n"
        "got = b''\n"
        "while block := c.recv(65536): got += block\n"
        "assert got.endswith(b'z' * 1_000_000), len(got)\n",
    )  # fmt: skip
    assert client.returncode == 0, client.stderr


def test_a_servers_reset_reaches_the_client_as_a_reset(scene: Scene) -> None:
    client = scene.client.pod.run(
        "/usr/bin/python3", "-c",
        "import socket\n"
        f"c = socket.create_connection(({scene.target!r}, {RESET}), 5)\n"
        "c.sendall(b'go\\n')\n"
        "try: c.recv(1)\n"
        "except ConnectionResetError: raise SystemExit(7)\n",
    )  # fmt: skip
    assert client.returncode == 7, client.stderr


def test_a_clients_reset_reaches_the_server_as_a_reset(scene: Scene) -> None:
    with_reset = scene.client.pod.run(
        "/usr/bin/python3", "-c",
        "import socket, struct\n"
        f"c = socket.create_connection(({scene.target!r}, {ECHO}), 5)\n"
        "c.recv(1000)\n"
        "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n"
        "c.close()\n",
    )  # fmt: skip
    assert with_reset.returncode == 0, with_reset.stderr
    line = scene.server.node.wait_for_access(direction="inbound", error="connection reset by peer")
    assert line["dst.addr"] == f"{scene.target}:{ECHO}"


def test_two_hundred_connections_at_once(scene: Scene) -> None:
    done = scene.client.pod.start("crowd", "many", scene.target, ECHO, 200).finished(60)[-1]
    assert (done["count"], done["wrong"]) == (200, 0)
