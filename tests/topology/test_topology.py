"""The helpers themselves: pods reach each other, the wire tells the truth, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from topology import Flow, Topology, leftovers, reap, until
from topology.process import OWNER

TLS_CLIENT = """
import socket, ssl, sys
host, port, says = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with context.wrap_socket(socket.create_connection((host, int(port)), timeout=10)) as connection:
    connection.sendall(says.encode() + b"\\n")
    print(connection.makefile().readline(), end="")
"""

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces")


@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("where", ["same-node", "across"])
def test_pods_reach_each_other(topology: Topology, where: str, family: str) -> None:
    one, two = topology.node("one"), topology.node("two")
    client, server = one.pod("client"), (one if where == "same-node" else two).pod("server")
    server.serve("echo", 8080)
    address = getattr(server, family)
    seen = client.call(address, 8080)
    assert seen["echoed"] == "hello"
    assert seen["peername"] == [str(address), 8080]
    mapped = "::ffff:" if family == "v4" else ""
    assert seen["server"]["accepted_from"][0] == f"{mapped}{getattr(client, family)}"
    assert seen["server"]["sockname"] == [f"{mapped}{address}", 8080]


def test_a_pod_is_born_in_its_cgroup_and_namespace(topology: Topology) -> None:
    pod = topology.node("one").pod("pod")
    process = pod.start("echo", 8080)
    process.wait_for_line(event="listening")
    group = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()[-1].removeprefix("0::")
    assert group.endswith("/one/pods/pod")
    assert Path(f"/proc/{process.pid}/ns/net").stat().st_ino == pod.netns.stat().st_ino


def test_a_pod_without_ipv6_has_a_server_all_the_same(topology: Topology) -> None:
    node = topology.node("one")
    client, server = node.pod("client"), node.pod("server", ipv6=False)
    server.serve("echo", 8080)
    assert client.call(server.v4, 8080)["server"]["accepted_from"][0].endswith(str(client.v4))


def test_hosts_and_pods_reach_each_other(topology: Topology) -> None:
    outside, node = topology.host("outside"), topology.node("one")
    pod = node.pod("pod")
    pod.serve("echo", 8080)
    outside.serve("echo", 9090)
    assert outside.call(pod.v4, 8080)["server"]["accepted_from"][0] == f"::ffff:{outside.v4}"
    assert pod.call(outside.v6, 9090)["server"]["accepted_from"][0] == str(pod.v6)


def test_the_wire_sees_a_marker_and_that_it_is_not_tls(topology: Topology) -> None:
    one, two = topology.node("one"), topology.node("two")
    client, server = one.pod("client"), two.pod("server")
    between, inside = topology.wire(b"seen-on-the-wire"), one.wire(b"seen-on-the-wire")
    server.serve("echo", 8080)
    started = time.time()
    client.call(server.v4, 8080, "--send", "seen-on-the-wire")
    for wire in (between, inside):
        wire.drain()
        there, back = sorted(wire.leaks(started), key=lambda flow: flow.destination[1] != 8080)
        assert (there.source[0], there.destination) == (client.v4, (server.v4, 8080))
        assert back.source == (server.v4, 8080)
        assert there.payload_bytes == len("seen-on-the-wire")
        assert there.opened
        assert not there.is_tls
    assert between.leaks(time.time()) == []


def test_the_wire_knows_tls_from_the_first_byte_to_the_last(topology: Topology) -> None:
    one, two = topology.node("one"), topology.node("two")
    client, server = one.pod("client"), two.pod("server")
    key, certificate = topology.folder / "key.pem", topology.folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=x", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    wire = topology.wire(b"secret")
    server.popen(
        "openssl", "s_server", "-accept", "8443", "-key", key, "-cert", certificate, "-quiet", "-rev"
    )
    until(lambda: "8443" in server.run("ss", "-Hltn").stdout, 5, "openssl to listen")
    assert client.run(sys.executable, "-c", TLS_CLIENT, str(server.v4), "8443", "secret").stdout == "terces\n"
    wire.drain()
    assert wire.leaks() == []
    assert [flow.is_tls for flow in wire.to_port(8443)] == [True]


def test_many_bytes_arrive_whole_and_the_wire_keeps_up(topology: Topology) -> None:
    one, two = topology.node("one"), topology.node("two")
    client, server = one.pod("client"), two.pod("server")
    wire = topology.wire(b"nothing")
    server.serve("transfer", "serve", 8080)
    for verb in ("push", "pull"):
        moved = client.start("transfer", verb, server.v6, 8080, 50_000_000).finished()[-1]
        assert moved["same"]
    wire.drain()
    wire.close()
    assert wire.dropped == 0
    assert sum(flow.payload_bytes for flow in wire.flows()) > 100_000_000


def test_a_flow_whose_segments_change_places_is_followed_all_the_same() -> None:
    end = (IPv4Address("192.0.2.1"), 1)
    flow = Flow(6, end, end, first_seen=0, last_seen=0, opened=True)
    stream = b"\x17\x03\x03\x00\x05abcde" * 3
    for start, stop in ((0, 7), (14, 20), (20, 30), (5, 9), (9, 16)):
        flow.take((1 << 32) - 10 + start if start < 10 else start - 10, stream[start:stop], ())
        assert flow.is_tls == (stop not in (20, 30, 9))
    assert flow.payload_bytes == 30


def test_a_steady_client_tells_of_a_server_that_went_away(topology: Topology) -> None:
    one, two = topology.node("one"), topology.node("two")
    client, server = one.pod("client"), two.pod("server")
    echo = server.serve("echo", 8080)
    steady = client.start("steady", server.v4, 8080, "--every", 0.02)
    steady.wait_for_line(event="request", kind="held", ok=True)
    echo.kill()
    steady.wait_for_line(event="request", kind="held", lost=True)
    steady.wait_for_line(event="request", kind="new", ok=False, error="ConnectionRefusedError")
    steady.stop()
    assert steady.lines()[-1]["event"] == "ended"


@ROOT_ONLY
def test_nothing_is_left_after_a_failure() -> None:
    names: list[str] = []
    with pytest.raises(RuntimeError, match="on purpose"), Topology() as topology:  # noqa: PT012
        pod = topology.node("one").pod("pod")
        pod.serve("echo", 8080)
        pod.popen("sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000")
        names.append(topology.prefix)
        raise RuntimeError("on purpose")
    assert [found for found in leftovers(os.getpid()) if names[0].rstrip("-") in found] == []


@ROOT_ONLY
def test_what_a_killed_run_left_is_reaped(tmp_path: Path) -> None:
    script = tmp_path / "victim.py"
    script.write_text(
        "import time\nfrom topology import Topology\n"
        "with Topology() as topology:\n"
        "    for node in map(topology.node, ('one', 'two', 'three')):\n"
        "        node.pod('pod').serve('echo', 8080)\n"
        "    print('up', flush=True)\n    time.sleep(60)\n"
    )
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": tests}
    environment.pop(OWNER, None)
    with subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"up\n"
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    assert leftovers(victim.pid)
    with ThreadPoolExecutor() as several:
        for done in [several.submit(reap) for _ in range(4)]:
            done.result()
    assert leftovers(victim.pid) == []


def test_a_flow_that_turns_to_plain_bytes_is_not_tls() -> None:
    end = (IPv4Address("192.0.2.1"), 1)
    flow = Flow(6, end, end, first_seen=0, last_seen=0, opened=True)
    record = b"\x17\x03\x03\x00\x03abc"
    for start, piece in ((0, record[:4]), (4, record[4:] + record[:2]), (10, record[2:])):
        flow.take(start, piece, ())
    assert flow.is_tls
    flow.take(16, b"GET / HTTP/1.1", ())
    assert not flow.is_tls
