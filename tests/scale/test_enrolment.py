"""Two hundred workloads on one node: what each costs to enrol, and what the node's processes weigh then."""

from __future__ import annotations

import time
from statistics import median

import pytest
from scale.cost import mebi
from scale.figures import Figures
from scale.memory import Size, cpu_seconds
from topology import Mesh, Topology, objects
from topology.nodes import Pod
from topology.process import Process, until

from ambient.node import api

PART = "200 workloads on a node"
ACCOUNTS = 20
IDLE_SECONDS = 10


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "count", [pytest.param(12, id="smoke"), pytest.param(200, id="full", marks=pytest.mark.long)]
)
def test_a_workload_is_enrolled_in_little_time_however_many_there_are(
    topology: Topology, count: int, figures: Figures
) -> None:
    mesh = Mesh(topology)
    accounts = [objects.service_account("shop", f"a{number}") for number in range(ACCOUNTS)]
    mesh.apply("shop", objects.namespace("shop"), *accounts)
    control = mesh.start_control()
    node = mesh.node("one")
    assert node.daemon is not None
    proxy = node.proxy
    assert proxy is not None
    pods = [node.node.pod(f"p{number}") for number in range(count)]
    programs = {"control plane": control.pid, "daemon": node.daemon.pid, "parent": proxy.pid}
    programs |= {f"worker {number}": pid for number, pid in enumerate(node.worker_pids())}

    def add(number: int, pod: Pod) -> float:
        """Asks as the command does, without its start; how long the answer took."""
        began = time.monotonic()
        asked = {"name": pod.short_name, "namespace": "shop", "service_account": f"a{number % ACCOUNTS}"}
        answer = api.call(
            node.run_dir, {"verb": "add", "netns": str(pod.netns), "cgroup": str(pod.cgroup), **asked}
        )
        assert answer["note"] == ""
        return time.monotonic() - began

    used = {name: cpu_seconds(pid) for name, pid in programs.items()}
    began = time.monotonic()
    answers = [add(number, pod) for number, pod in enumerate(pods)]
    node.wait(lambda: node.metric("istio_active_proxy_count") == count, "all to be captured")
    each = (time.monotonic() - began) / count
    spent = {name: cpu_seconds(pid) - used[name] for name, pid in programs.items()}
    sizes = {name: Size.of(pid) for name, pid in programs.items()}

    alone = []
    for number in range(5):
        pod = node.node.pod(f"q{number}")
        began = time.monotonic()
        add(number, pod)
        until(lambda: _captures(proxy) == count + number + 1, 20, "one more to be captured")  # noqa: B023
        alone.append(time.monotonic() - began)

    used = {name: cpu_seconds(pid) for name, pid in programs.items()}
    time.sleep(IDLE_SECONDS if count == 200 else 0)
    idle = {name: (cpu_seconds(pid) - used[name]) / IDLE_SECONDS for name, pid in programs.items()}

    assert each < 5 * 0.05
    assert median(answers[-10:]) < 5 * median(answers[:10]) + 0.1
    assert sizes["daemon"].resident < 150e6
    assert max(size.resident for name, size in sizes.items() if "worker" in name) < 180e6
    if count == 200:
        note = figures.note
        note(PART, "enrolment, one after another", f"{each * 1e3:.0f} ms each", "≤ 50 ms")
        note(PART, "`add` answered: first ten, last ten (median)", " and ".join(f"{median(some) * 1e3:.0f} ms" for some in (answers[:10], answers[-10:])))  # fmt: skip
        note(PART, "one more, from `add` to captured (median of 5)", f"{median(alone) * 1e3:.0f} ms")
        note(PART, "processor time of each enrolment", ", ".join(f"{name} {used / count * 1e3:.1f} ms" for name, used in spent.items()))  # fmt: skip
        for name, goal in (("daemon", "≤ 100 MB"), ("parent", ""), ("worker 0", "≤ 120 MB"), ("worker 1", "≤ 120 MB"), ("control plane", "")):  # fmt: skip
            size = sizes[name]
            note(PART, f"{name}: resident", f"{mebi(size.resident)}, {size.descriptors} descriptors", goal)
        note(PART, "processor while nothing happens", ", ".join(f"{name} {part:.1%}" for name, part in idle.items()))  # fmt: skip


def _captures(proxy: Process) -> int:
    return sum(line.get("message") == "capture set" for line in proxy.lines())
