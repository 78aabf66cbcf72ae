"""What breaks a mesh is found by ``ambient check``, at the control plane and on the node that it happens to."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from netns.world import World
from topology import MeshNode, objects, until
from topology.mesh import AMBIENT

pytestmark = pytest.mark.long

Found = list[tuple[str, str, str]]


def read(ran: Any) -> tuple[int, Found]:
    """Exit code, and code, level and message of what is not ok; a machine of tests has no time server."""
    findings = json.loads(ran.stdout)
    return ran.returncode, [
        (one["code"], one["level"], one["message"])
        for one in findings
        if one["level"] != "ok" and one["code"] != "clock"
    ]


def at_control(world: World) -> tuple[int, Found]:
    nowhere = world.mesh.folder / "nowhere"
    return read(world.mesh.operate("check", "--run-dir", str(nowhere), "-o", "json"))


def on_node(node: MeshNode) -> tuple[int, Found]:
    nowhere = Path("/nonexistent")
    return read(
        node.node.run(AMBIENT, "check", "--run-dir", node.run_dir, "--state-dir", nowhere, "-o", "json")
    )


def until_found(look: Callable[[], tuple[int, Found]], code: int, finding: tuple[str, str, str]) -> None:
    """The look finds it and ends so."""
    until(
        lambda: (
            (found := look())[0] == code
            and any(one[:2] == finding[:2] and finding[2] in one[2] for one in found[1])
        ),
        30,
        f"{finding} to be found",
    )


def well(world: World) -> None:
    until(lambda: at_control(world) == (0, []), 30, f"all to be well, not {at_control(world)}")
    for node in world.mesh.nodes:
        until(lambda node=node: on_node(node) == (0, []), 30, f"{node.name} to be well, not {on_node(node)}")  # type: ignore[misc]


def test_a_mesh_that_is_well_is_found_so(world: World) -> None:
    well(world)


def test_an_object_that_is_refused(world: World) -> None:
    world.mesh.write("bad", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {prots: []}}")
    until_found(lambda: at_control(world), 1, ("configuration", "fail", "spec.prots is unknown"))
    world.mesh.delete("bad")
    well(world)


def test_a_workload_of_an_account_that_is_none(world: World) -> None:
    node = world.mesh.nodes[0]
    world.mesh.apply("more", objects.service_account("shop", "ghost"))
    node.add(node.node.pod("odd"), "shop", "ghost")
    world.mesh.delete("more")
    until_found(lambda: at_control(world), 1, ("workload", "fail", "shop/odd is not in the mesh"))
    node.workload("remove", "odd", "--namespace", "shop", "--now")
    well(world)


def test_a_node_that_stands_still(world: World) -> None:
    node = world.mesh.nodes[1]
    assert node.proxy is not None
    node.proxy.signal(signal.SIGSTOP)
    try:
        world.mesh.apply("more", objects.service_account("shop", "more"), objects.authorization_policy("shop", "x", "DENY", ports=[9]))  # fmt: skip
        until_found(lambda: at_control(world), 0, ("node", "warn", f"{node.name} has still to be told"))
    finally:
        node.proxy.signal(signal.SIGCONT)
    world.mesh.delete("more")
    well(world)


def test_a_proxy_that_is_dead(world: World) -> None:
    node = world.mesh.nodes[1]
    assert node.proxy is not None
    node.proxy.kill()
    until_found(lambda: on_node(node), 1, ("proxy", "fail", "no proxy answers at --admin 127.0.0.1:15000"))
    until_found(lambda: at_control(world), 1, ("node", "fail", f"{node.name} is not connected"))
    node.start_proxy()
    node.wait_ready()
    well(world)


def test_a_daemon_that_is_dead(world: World) -> None:
    node = world.mesh.nodes[0]
    assert node.daemon is not None
    node.daemon.kill()
    until_found(lambda: on_node(node), 1, ("node-daemon", "fail", "no node daemon answers"))
    node.start_daemon()
    node.wait_ready()
    well(world)


def test_a_control_plane_that_is_dead(world: World) -> None:
    assert world.mesh.control is not None
    world.mesh.control.kill()
    until_found(lambda: at_control(world), 3, ("mesh", "fail", "no control plane answers"))
    until_found(lambda: on_node(world.mesh.nodes[0]), 1, ("proxy-connected", "fail", "hears nothing"))
    world.mesh.start_control()
    well(world)


def test_a_network_that_translates_addresses(world: World) -> None:
    source, destination = world.named("client-one").pod, world.named("server-one").pod
    source.namespace.ip("addr add 10.201.1.200/32 dev eth0")
    source.namespace.ip(f"route add {destination.v4}/32 dev eth0 src 10.201.1.200")
    until_found(
        lambda: on_node(world.mesh.nodes[0]), 0, ("address-translation", "warn", "comes from 10.201.1.200")
    )
    source.namespace.ip("addr del 10.201.1.200/32 dev eth0")
    well(world)
