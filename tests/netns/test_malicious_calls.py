"""Calls to the mesh's own ports, and to addresses that lead back, from everyone who can try: how far each may come.

    C  nobody takes the connection
    R  it is taken, and reset or closed before a byte of an answer
    A  the application answers: what should work does

Nothing hangs, and nothing loops: a try makes no more connections than the way that it was meant to go has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from netns import world as worlds
from netns.world import World
from topology import MeshNode, Pod, objects
from topology.nodes import app_command

PORTS = {
    "app": 8080, "outbound": 15001, "plaintext": 15006, "hbone": 15008,
    "admin": 15000, "control": 15012, "bootstrap": 15013,
}  # fmt: skip
TABLE = """
caller      target             app  outbound  plaintext  hbone  admin  control  bootstrap
captured    127.0.0.1          A    R         R          R      C      C        C
captured    127.0.0.2          A    R         R          R      C      C        C
captured    0.0.0.0            A    R         R          R      C      C        C
captured    ::1                A    R         R          R      C      C        C
captured    ::                 A    R         R          R      C      C        C
captured    mapped-loopback    A    R         R          R      C      C        C
captured    mapped-loopback-2  A    R         R          R      C      C        C
captured    own-v4             A    R         R          R      R      R        R
captured    own-v6             A    R         R          R      R      R        R
captured    own-mapped         A    R         R          R      R      R        R
captured    near-v4            A    R         R          R      R      R        R
captured    near-v6            A    R         R          R      R      R        R
captured    near-mapped        A    R         R          R      R      R        R
captured    far-v4             A    R         R          R      R      R        R
captured    far-v6             A    R         R          R      R      R        R
captured    uncaptured-near    A    R         R          R      R      R        R
captured    uncaptured-far     A    R         R          R      R      R        R
captured    stranger           A    R         R          R      R      R        R
captured    gateway            R    R         R          R      R      R        R
captured    node               R    R         R          R      R      R        R
captured    other-node         R    R         R          R      R      R        R
captured    control            R    R         R          R      R      R        R
uncaptured  127.0.0.1          A    R         R          R      C      C        C
uncaptured  ::1                A    R         R          R      C      C        C
uncaptured  mapped-loopback    A    R         R          R      C      C        C
uncaptured  own-v4             A    R         R          R      C      C        C
uncaptured  own-v6             A    R         R          R      C      C        C
uncaptured  near-v4            A    R         R          R      R      R        R
uncaptured  near-v6            A    R         R          R      R      R        R
uncaptured  near-mapped        A    R         R          R      R      R        R
uncaptured  far-v4             A    R         R          R      R      R        R
uncaptured  far-v6             A    R         R          R      R      R        R
uncaptured  uncaptured-near    A    R         R          R      C      C        C
uncaptured  uncaptured-far     A    R         R          R      C      C        C
uncaptured  gateway            C    C         C          C      C      C        C
uncaptured  node               C    C         C          C      C      C        C
uncaptured  other-node         C    C         C          C      C      C        C
uncaptured  control            C    C         C          C      C      R        R
stranger    127.0.0.1          A    C         C          C      C      C        C
stranger    own-v4             A    C         C          C      C      C        C
stranger    near-v4            A    R         R          R      R      R        R
stranger    near-v6            A    R         R          R      R      R        R
stranger    far-v4             A    R         R          R      R      R        R
stranger    far-v6             A    R         R          R      R      R        R
stranger    uncaptured-near    A    R         R          R      C      C        C
stranger    node               C    C         C          C      C      C        C
stranger    control            C    C         C          C      C      R        R
host        127.0.0.1          C    C         C          C      A      C        C
host        near-v4            A    R         R          R      R      R        R
host        near-v6            A    R         R          R      R      R        R
host        far-v4             A    R         R          R      R      R        R
host        uncaptured-near    A    R         R          R      C      C        C
marked      127.0.0.1          A    R         R          R      C      C        C
marked      own-v4             A    R         R          R      R      R        R
marked      near-v4            A    R         R          R      R      R        R
marked      near-v6            A    R         R          R      R      R        R
marked      far-v4             A    R         R          R      R      R        R
bound       own-v4             A    R         R          R      R      R        R
bound       near-v4            A    R         R          R      R      R        R
bound       far-v4             A    R         R          R      R      R        R
"""
"""``marked``: the captured pod forges the marks by which ztunnel knows its own sockets; ``bound``: its socket is bound to
a loopback address that is not 127.0.0.1, as if it were the proxy's own."""

VIPS = {
    "vip-to-oneself": ("client", 8080, "A"),
    "vip-to-own-outbound": ("client", 15001, "R"),
    "vip-to-own-plaintext": ("client", 15006, "R"),
    "vip-to-own-hbone": ("client", 15008, "R"),
    "vip-to-outbound": ("server", 15001, "R"),
    "vip-to-plaintext": ("server", 15006, "R"),
    "vip-to-hbone": ("server", 15008, "R"),
}
"""Services whose endpoints are the caller (and its twin) or a proxy's port: app label, target port, and the stage."""
VIP_TRIES = 8
"""Of each; one in two goes to the caller itself."""
ARGUMENTS = {
    "marked-0x539": ("--mark", 0x539),
    "marked-0x111": ("--mark", 0x111),
    "bound": ("--bind", "127.0.0.5"),
}
STAGES = {"connection": "C", "request": "R", "answered": "A", "hang": "hang"}
REQUEST = b"GET /healthz/ready"


def rows() -> dict[str, dict[str, dict[str, str]]]:
    """By caller and target, the stage that is expected of each port."""
    head, *lines = (line.split() for line in TABLE.strip().splitlines())
    found: dict[str, dict[str, dict[str, str]]] = {}
    for caller, target, *letters in lines:
        for name in [caller] if caller != "marked" else ["marked-0x539", "marked-0x111"]:
            found.setdefault(name, {})[target] = dict(zip(head[2:], letters, strict=True))
    return found


ROWS = rows()


@dataclass
class Seen:
    """What came of all tries."""

    world: World
    stages: dict[tuple[str, str], dict[str, str]]
    """By caller and target, the stage of each port."""
    vips: dict[str, list[str]]
    leaks: int
    """Requests of captured callers that were readable between the nodes."""
    records: float
    """Connections that all proxies told of meanwhile."""
    tries: int


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with worlds.shop() as world:
        mesh = world.mesh
        clients = [world.named(name).pod for name in ("client-one", "client-two", "old-client-one")]
        for pod in (*clients, world.stranger):
            pod.serve("echo", 8080)
        vips = {name: f"203.0.113.{number}" for number, name in enumerate(VIPS, 30)}
        services = [
            objects.service("shop", name, [vips[name]], {80: VIPS[name][1]}, {"app": VIPS[name][0]})
            for name in VIPS
        ]
        mesh.apply("vips", *services)
        for name in VIPS:
            mesh.nodes[0].wait_for_dump("services", lambda one, name=name: one["name"] == name, name)  # type: ignore[misc]
        before = records(mesh.nodes)
        stages: dict[tuple[str, str], dict[str, str]] = {}
        tries = 0
        leaks = 0
        for caller, targets in ROWS.items():
            addresses = addresses_of(world, caller)
            wanted = [
                (f"{target} {port}", addresses[target], PORTS[port])
                for target in targets
                for port in targets[target]
            ]
            wire = mesh.topology.wire(REQUEST)
            for line in attempt(world, caller, wanted):
                target, port = line["name"].split()
                stages.setdefault((caller, target), {})[port] = STAGES[line["stage"]]
            tries += len(wanted)
            wire.drain()
            wire.close()
            assert wire.dropped == 0
            if caller in ARGUMENTS:
                leaks += len(list(wire.leaks()))
        wanted = [(name, vips[name], 80) for name in VIPS for _ in range(VIP_TRIES)]
        found: dict[str, list[str]] = {}
        for line in attempt(world, "captured", wanted):
            found.setdefault(line["name"], []).append(STAGES[line["stage"]])
        yield Seen(world, stages, found, leaks, records(mesh.nodes) - before, tries + len(wanted))


def attempt(world: World, caller: str, wanted: list[tuple[str, str, int]]) -> list[dict[str, Any]]:
    arguments = [*ARGUMENTS.get(caller, ()), *(word for one in wanted for word in one)]
    if caller == "host":
        node = world.mesh.nodes[0].node
        process = node.popen("attempts", *app_command("attempts", *arguments))
    else:
        process = caller_of(world, caller).start("attempts", *arguments)
    return [line for line in process.finished(110) if line["event"] == "tried"]


def caller_of(world: World, caller: str) -> Pod:
    match caller:
        case "uncaptured":
            return world.named("old-client-one").pod
        case "stranger":
            return world.stranger
        case _:
            return world.named("client-one").pod


def addresses_of(world: World, caller: str) -> dict[str, str]:
    one, two = (node.node for node in world.mesh.nodes)
    near, far, own = world.named("server-one").pod, world.named("server-two").pod, caller_of(world, caller)
    return {
        "127.0.0.1": "127.0.0.1", "127.0.0.2": "127.0.0.2", "0.0.0.0": "0.0.0.0", "::1": "::1", "::": "::",
        "mapped-loopback": "::ffff:127.0.0.1", "mapped-loopback-2": "::ffff:127.0.0.2",
        "own-v4": str(own.v4), "own-v6": str(own.v6), "own-mapped": f"::ffff:{own.v4}",
        "near-v4": str(near.v4), "near-v6": str(near.v6), "near-mapped": f"::ffff:{near.v4}",
        "far-v4": str(far.v4), "far-v6": str(far.v6),
        "uncaptured-near": str(world.named("old-server-one").pod.v4),
        "uncaptured-far": str(world.named("old-server-two").pod.v4),
        "stranger": str(world.stranger.v4),
        "gateway": f"10.201.{one.number}.1", "node": str(one.v4), "other-node": str(two.v4),
        "control": str(world.mesh.host.v4),
    }  # fmt: skip


def records(nodes: list[MeshNode]) -> float:
    """Every connection that a proxy carried or refused."""
    return sum(
        node.metric(f"istio_tcp_connections_{outcome}_total")
        for node in nodes
        for outcome in ("opened", "failed")
    )


@pytest.mark.parametrize(
    ("caller", "target"),
    [pytest.param(caller, target, id=f"{caller}-{target}") for caller in ROWS for target in ROWS[caller]],
)
def test_a_call_comes_as_far_as_it_may(seen: Seen, caller: str, target: str) -> None:
    assert seen.stages[caller, target] == ROWS[caller][target]


@pytest.mark.parametrize("vip", VIPS)
def test_a_service_that_points_back_comes_as_far_as_it_may(seen: Seen, vip: str) -> None:
    assert seen.vips[vip] == [VIPS[vip][2]] * VIP_TRIES


def test_nothing_looped_and_nothing_stayed(seen: Seen) -> None:
    """Each try is one connection outwards and one inwards at most."""
    assert seen.records <= 2 * seen.tries
    for node in seen.world.mesh.nodes:
        node.wait(lambda node=node: node.metric("istio_tcp_sockets_open") == 0, "all connections to end")  # type: ignore[misc]
        assert node.metric("ambient_worker_deaths_total") == 0


def test_a_forged_mark_does_not_lead_past_the_mesh(seen: Seen) -> None:
    assert seen.leaks == 0
    server = seen.world.named("server-two")
    lines = server.node.access_lines(
        direction="inbound", src__workload="client-one", dst__workload="server-two"
    )
    assert lines
    assert {line.get("src.identity") for line in lines} == {seen.world.named("client-one").identity}
