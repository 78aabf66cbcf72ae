"""A control plane and two nodes with ten thousand workloads: when they have it, what it weighs, what an update costs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from scale.cost import mebi
from scale.figures import Figures
from scale.memory import Size, cpu_seconds
from scale.meshes import NAMESPACES
from topology import Mesh, Topology, objects
from topology.process import until

PART = "10,000 workloads, 1,000 services: whole mesh"
UPDATES = 30
LAST = "entry-last"


@pytest.mark.long
@pytest.mark.timeout(500)
def test_every_node_has_a_large_mesh_soon(topology: Topology, figures: Figures) -> None:
    workloads, services = 10_000, 1_000
    mesh = Mesh(topology)
    control = mesh.start_control()
    nodes = [mesh.node(name) for name in ("one", "two")]
    small = {name: Size.of(pid).anonymous for name, pid in _programs(mesh)}
    control.stop()
    for number in range(NAMESPACES):
        mine = range(number, workloads, NAMESPACES)
        mesh.write(f"ns{number}", objects.as_yaml(*_namespace(number, mine, services)))
    mesh.write("last", objects.as_yaml(_entry(LAST, "10.127.0.1", 0, 1)))

    began = time.monotonic()
    control = mesh.start_control()
    ready = time.monotonic() - began
    files = [node.proxy_state / "snapshot" for node in nodes]
    until(
        lambda: all(file.exists() and LAST.encode() in file.read_bytes() for file in files),
        120,
        "all nodes to have it",
    )
    everywhere = time.monotonic() - began
    time.sleep(1)
    large = {name: Size.of(pid) for name, pid in _programs(mesh)}

    used = {name: cpu_seconds(pid) for name, pid in _programs(mesh)}
    for number in range(UPDATES):
        # Each is there before the next is written: the last version of a burst would be sent alone.
        mesh.write("last", objects.as_yaml(_entry(LAST, f"10.127.1.{number + 1}", 0, 1)))
        packed = bytes((10, 127, 1, number + 1))
        until(lambda: all(packed in file.read_bytes() for file in files), 30, "an update to be everywhere")  # noqa: B023
    spent = {name: (cpu_seconds(pid) - used[name]) / UPDATES for name, pid in _programs(mesh)}

    assert large["one parent"].resident < 500e6
    assert large["one worker 0"].resident < 300e6
    assert all(one < 0.5 for one in spent.values()), spent
    note = figures.note
    note(PART, "control plane started, until it serves (reads the folder)", f"{ready:.1f} s")
    note(PART, "until every node has all of it on disk (written 0.5 s later)", f"{everywhere:.1f} s")
    for name in ("control plane", "one parent", "one worker 0", "one daemon"):
        grown = large[name].anonymous - small[name] if name != "control plane" else 0
        note(
            PART,
            f"{name.removeprefix('one ')}: resident",
            mebi(large[name].resident) + (f", {mebi(grown)} of it the mesh" if grown else ""),
        )
    note(
        PART,
        "processor time of one update of one endpoint, with what else is done until it is on every disk",
        ", ".join(f"{name} {used * 1e3:.0f} ms" for name, used in spent.items() if "two" not in name),
    )


def _programs(mesh: Mesh) -> Iterator[tuple[str, int]]:
    assert mesh.control is not None
    yield "control plane", mesh.control.pid
    for name, node in zip(("one", "two"), mesh.nodes, strict=True):
        assert node.daemon is not None
        assert node.proxy is not None
        yield f"{name} daemon", node.daemon.pid
        yield f"{name} parent", node.proxy.pid
        for number, pid in enumerate(node.worker_pids()):
            yield f"{name} worker {number}", pid


def _namespace(number: int, workloads: range, services: int) -> Iterator[objects.Object]:
    name = f"ns{number}"
    yield objects.namespace(name)
    yield objects.service_account(name, "app")
    for one in range(number, services, NAMESPACES):
        yield objects.service(
            name, f"s{one}", [f"10.96.{one // 250}.{one % 250 + 1}"], {80: 8080}, {"app": f"s{one}"}
        )
    for one in workloads:
        serves = (one + one // NAMESPACES * NAMESPACES) % services
        yield _entry(
            f"w{one}", f"10.{128 + one // 62500}.{one // 250 % 250}.{one % 250 + 1}", number, 1, f"s{serves}"
        )


def _entry(name: str, address: str, namespace: int, weight: int, app: str = "s0") -> objects.Object:
    return objects.workload_entry(
        f"ns{namespace}", name, address, labels={"app": app}, serviceAccount="app", weight=weight
    )
