"""Every verdict of ``capture_inbound``, by running it on made-up packets."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from ipaddress import ip_address

import pytest
from kernel.pods import POD4, POD6, World

from ambient.core.model.address import SocketAddress
from ambient.core.model.pod import Capture, Exclusions
from ambient.core.redirection import Role
from ambient.kernel import abi, bpf
from ambient.kernel.redirector import Redirector

DROP, PASS = 0, 1
ELSEWHERE4, ELSEWHERE6 = "10.9.9.9", "fd99::9"
SO_COOKIE = 57

# The verdicts are the same in both modes.
pytestmark = pytest.mark.parametrize("world", ["pod-cgroup"], indirect=True)


def packet(remote: str, local: str, port: int, protocol: int = socket.IPPROTO_TCP) -> bytes:
    """A ``struct bpf_sk_lookup``."""
    source, destination = ip_address(remote), ip_address(local)
    four = source.version == 4
    return struct.pack(
        "=QII4s16sHH4s16sII4x",
        0,
        socket.AF_INET if four else socket.AF_INET6,
        protocol,
        source.packed if four else bytes(4),
        bytes(16) if four else source.packed,
        socket.htons(40000),
        0,
        destination.packed if four else bytes(4),
        bytes(16) if four else destination.packed,
        port,
        0,
    )


def run(redirector: Redirector, context: bytes) -> tuple[int, int, list[str]]:
    """The verdict, the cookie of the socket that was chosen (0: none), and the reasons counted."""
    before = redirector.counters()
    verdict, after = bpf.test_run(redirector._programs["capture_inbound"], context)
    (cookie,) = struct.unpack_from("=Q", after)
    return verdict, cookie, [name for name, n in redirector.counters().items() if n != before[name]]


# remote, local, port, flags of the pod → verdict, listener, reason
TABLE = {
    "v4": (ELSEWHERE4, POD4, 80, Capture.ON, PASS, Role.PLAINTEXT, "capture_plaintext"),
    "v6": (ELSEWHERE6, POD6, 80, Capture.ON, PASS, Role.PLAINTEXT, "capture_plaintext"),
    "hbone": (ELSEWHERE4, POD4, 15008, Capture.ON, PASS, Role.HBONE, "capture_hbone"),
    "hbone-v6": (ELSEWHERE6, POD6, 15008, Capture.ON, PASS, Role.HBONE, "capture_hbone"),
    "hairpin": (POD4, POD4, 15008, Capture.ON, PASS, Role.HBONE, "capture_hbone"),
    "own-address": (POD4, POD4, 80, Capture.ON, PASS, None, "pass_inbound_own"),
    "own-address-v6": (POD6, POD6, 80, Capture.ON, PASS, None, "pass_inbound_own"),
    "other-own-address": (POD4, "10.233.7.99", 80, Capture.ON, DROP, None, "drop_unknown_address"),
    "outbound-port-from-outside": (
        ELSEWHERE4,
        POD4,
        15001,
        Capture.ON,
        PASS,
        Role.PLAINTEXT,
        "capture_plaintext",
    ),
    "plaintext-port-from-outside": (
        ELSEWHERE4,
        POD4,
        15006,
        Capture.ON,
        PASS,
        Role.PLAINTEXT,
        "capture_plaintext",
    ),
    "loopback": ("127.0.0.1", "127.0.0.1", 80, Capture.ON, PASS, None, "pass_inbound_loopback"),
    "pod-address-to-loopback": (POD4, "127.0.0.1", 15001, Capture.ON, PASS, None, "pass_inbound_loopback"),
    "loopback-v6": ("::1", "::1", 80, Capture.ON, PASS, None, "pass_inbound_loopback"),
    "all-of-127": ("127.3.0.1", "127.9.9.9", 80, Capture.ON, PASS, None, "pass_inbound_loopback"),
    "link-local": ("fe80::1", "fe80::2", 80, Capture.ON, DROP, None, "drop_unknown_address"),
    "excluded": (ELSEWHERE4, POD4, 9090, Capture.ON, PASS, None, "pass_inbound_excluded_port"),
    "excluded-outbound-only": (ELSEWHERE4, POD4, 9091, Capture.ON, PASS, Role.PLAINTEXT, "capture_plaintext"),
    "admitted": ("10.9.9.8", POD4, 80, Capture.ON, PASS, None, "pass_inbound_admitted"),
    "admitted-for-another-port": (
        "10.9.9.8",
        POD4,
        81,
        Capture.ON,
        PASS,
        Role.PLAINTEXT,
        "capture_plaintext",
    ),
    "admission-too-old": ("10.9.9.7", POD4, 80, Capture.ON, PASS, Role.PLAINTEXT, "capture_plaintext"),
    "admission-never-covers-hbone": ("10.9.9.8", POD4, 15008, Capture.ON, PASS, Role.HBONE, "capture_hbone"),
    "draining": (ELSEWHERE4, POD4, 80, Capture.DRAINING, PASS, None, "pass_inbound_off"),
    "draining-hbone": (ELSEWHERE4, POD4, 15008, Capture.DRAINING, PASS, Role.HBONE, "capture_hbone"),
}


def admissions(redirector: Redirector) -> bpf.Map:
    fd = bpf.get(redirector._folder / "maps" / "admissions")
    return bpf.Map(fd, ctypes.sizeof(abi.Tuple), 8)


@pytest.mark.parametrize(
    ("remote", "local", "port", "capture", "verdict", "role", "reason"), TABLE.values(), ids=TABLE.keys()
)
def test_each_verdict(
    world: World,
    remote: str,
    local: str,
    port: int,
    capture: Capture,
    verdict: int,
    role: Role | None,
    reason: str,
) -> None:
    excluded = Exclusions(frozenset({9091}), frozenset({9090}))
    world.capture(capture, excluded)
    table = admissions(world.redirector)
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    pod = SocketAddress.of((POD4, 80))
    for ip, age in (("10.9.9.8", 1), ("10.9.9.7", 31)):
        for port_admitted in (80, 15008):
            source = SocketAddress.of((ip, 40000))
            table.update(
                abi.Tuple.of(0, source, pod._replace(port=port_admitted)).pack(),
                struct.pack("=Q", (now - age * 10**9) % 2**64),
            )
    chosen = 0
    if role is not None:
        (chosen,) = struct.unpack("=Q", world.listeners[role].getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))
    assert run(world.redirector, packet(remote, local, port)) == (verdict, chosen, [reason])


def test_what_is_not_tcp_is_left_alone(world: World) -> None:
    world.capture()
    context = packet(ELSEWHERE4, POD4, 53, socket.IPPROTO_UDP)
    assert run(world.redirector, context) == (PASS, 0, ["pass_inbound_not_tcp"])


@pytest.mark.parametrize("port", [80, 15008])
def test_an_empty_slot_drops(world: World, port: int) -> None:
    world.capture()
    for listener in world.listeners.values():
        listener.close()
    assert run(world.redirector, packet(ELSEWHERE4, POD4, port)) == (DROP, 0, ["drop_no_listener"])
