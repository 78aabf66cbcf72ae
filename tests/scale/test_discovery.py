"""A control plane and a hundred nodes that hear of everything: how soon a change is everywhere, and what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hostile.test_control_api import AMBIENT, free_port
from scale.cost import mebi
from scale.crowd import Report, channel, workload
from scale.figures import Figures
from scale.memory import Size, cpu_seconds
from topology import objects

from ambient.core.model.identity import NodeId
from ambient.core.pki import csr
from ambient.core.pki.bundle import Credentials
from ambient.rpc import access, operator
from ambient.rpc.certificates import sign
from ambient.rpc.channel import open_bootstrap_channel
from ambient.rpc.pb.ambient.registry.v1 import registry_pb2

PART = "100 nodes, 10,000 workloads, 1,000 services: discovery"
TESTS = Path(__file__).parents[1]
DRIVER = "driver"
"""A node of its own, whose workloads change."""


@dataclass(frozen=True)
class Shape:
    """How large."""

    nodes: int
    each: int
    services: int
    namespaces: int
    processes: int
    driven: int
    """Workloads of the node that makes changes."""
    single: int
    """Changes one by one."""
    seconds: float
    """Of fifty changes a second."""

    @property
    def workloads(self) -> int:
        return self.nodes * self.each + self.driven


SMOKE = Shape(nodes=4, each=20, services=20, namespaces=5, processes=1, driven=60, single=5, seconds=1)
FULL = Shape(
    nodes=100, each=95, services=1_000, namespaces=50, processes=4, driven=500, single=100, seconds=60
)


class World:
    """A control plane as a process, a crowd in a few, and a way to change the workloads of one node."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.folder, self.shape = folder, shape
        self.port, self.bootstrap_port = free_port(), free_port()
        self.config, self.state = folder / "config", folder / "state"
        self.config.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self._crowds: list[subprocess.Popen[str]] = []
        self._revision = 0
        first = shape.nodes * shape.each
        self._driven = dict.fromkeys(range(first, first + shape.driven), 0)
        """Numbers of the driver's workloads, and what each was changed to last."""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def configure(self) -> None:
        for number in range(self.shape.namespaces):
            services = range(number, self.shape.services, self.shape.namespaces)
            name = f"ns{number}"
            made = [
                objects.service(
                    name, f"s{one}", [f"10.96.{one // 250}.{one % 250 + 1}"], {80: 8080}, {"app": f"s{one}"}
                )
                for one in services
            ]
            content = objects.as_yaml(objects.namespace(name), objects.service_account(name, "app"), *made)
            (self.config / f"{name}.yaml").write_text(content)

    def start(self) -> None:
        command: list[str | Path] = [
            AMBIENT, "control", "--config", self.config, "--state-dir", self.state,
            "--listen", f"127.0.0.1:{self.port}", "--bootstrap-listen", f"127.0.0.1:{self.bootstrap_port}",
            "--log-level", "warning",
        ]  # fmt: skip
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 120
        while not listens(self.port):
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)

    async def certify(self) -> None:
        """Give every node its certificate."""
        roots = (self.state / "root-cert.pem").read_bytes()
        (self.folder / "roots").write_bytes(roots)
        async with (
            operator.door(self.state / operator.SOCKET) as door,
            open_bootstrap_channel(f"127.0.0.1:{self.bootstrap_port}", roots) as strangers,
        ):
            for node in (DRIVER, *(f"node{number}" for number in range(self.shape.nodes))):
                identity = NodeId("cluster.local", node)
                request = csr.new_request(identity)
                issued = await access.create_token(door, node)
                chain = await sign(strangers, request.csr_pem, token=issued.token)
                held = Credentials.of(identity, request.key_pem, chain, roots, datetime.now(UTC))
                (self.folder / f"{node}.key").write_bytes(held.key_pem)
                (self.folder / f"{node}.chain").write_bytes(held.chain_pem)

    def gather(self) -> None:
        """Let the crowd come."""
        shape = self.shape
        count = shape.nodes // shape.processes
        for number in range(shape.processes):
            numbers = (self.port, number * count, count, shape.each, shape.namespaces, shape.services)
            self._crowds.append(
                subprocess.Popen(
                    [sys.executable, "-m", "scale.crowd", self.folder, *map(str, numbers)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=TESTS.parent,
                    env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
                )
            )

    def ask(self, command: str) -> list[dict[str, Any]]:
        for crowd in self._crowds:
            assert crowd.stdin is not None
            crowd.stdin.write(command + "\n")
            crowd.stdin.flush()
        return [json.loads(crowd.stdout.readline()) for crowd in self._crowds if crowd.stdout is not None]

    def until_held(self, resources: int, seconds: float) -> float:
        """Wait until every node holds so many resources; how long it took."""
        began = time.monotonic()
        while True:
            held = self.ask("look")
            if all(one["least"] == one["most"] == resources for one in held):
                return time.monotonic() - began
            assert time.monotonic() < began + seconds, held
            time.sleep(0.1)

    def until_seen(self, revision: int) -> None:
        """Wait until every node has acknowledged a change."""
        deadline = time.monotonic() + 60
        while revision:
            newest = [one["newest"] for one in self.ask("look")]
            if sum(count for last, count in newest if last == revision) == self.shape.nodes:
                return
            assert time.monotonic() < deadline, newest
            time.sleep(0.05)

    async def change(self, report: Report) -> int:
        """Change one workload of the driver's; the number that tells it apart."""
        self._revision += 1
        number = self.shape.nodes * self.shape.each + self._revision % self.shape.driven
        self._driven[number] = self._revision
        await report.say(self._workload(number))
        return self._revision

    async def open(self, report: Report) -> None:
        """The driver is there, with its workloads as they were."""
        await report.say(*map(self._workload, self._driven), full=True)

    def _workload(self, number: int) -> registry_pb2.LocalWorkload:
        return workload(number, self.shape.namespaces, self.shape.services, self._driven[number])

    def stop(self) -> None:
        for crowd in self._crowds:
            crowd.communicate("\n", timeout=30)
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)


@dataclass(frozen=True)
class Heard:
    """What all nodes heard together."""

    delays: list[float]
    """From each change to the last node's acknowledgement, of those that nothing newer overtook."""
    bytes: int
    responses: int
    resources: int
    removed: int


def heard(world: World, told: dict[int, float]) -> Heard:
    """Take what the crowd noted. Every change must have come to all, but for those that a newer one overtook."""
    answers = world.ask("take")
    delays = []
    for revision, began in told.items():
        of = [answer["seen"].get(str(revision), [0, 0.0]) for answer in answers]
        if sum(count for count, _ in of) == world.shape.nodes:
            delays.append(max(last for _, last in of) - began)
    total = {
        name: sum(answer[name] for answer in answers)
        for name in ("bytes", "responses", "resources", "removed")
    }
    return Heard(delays, **total)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def running(folder: Path, shape: Shape) -> Iterator[World]:
    world = World(folder, shape)
    try:
        yield world
    finally:
        world.stop()


async def drive(world: World, count: int, period: float) -> dict[int, float]:
    """Make so many changes, one in each period, and see them arrive; when each was made."""
    told: dict[int, float] = {}
    async with channel(world.folder, DRIVER, world.port) as to:
        report = Report(to)
        await world.open(report)
        await report.orders()
        reading = asyncio.create_task(_read(report))
        began = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number * period - time.monotonic()))
            now = time.monotonic()
            told[await world.change(report)] = now
        await asyncio.to_thread(world.until_seen, max(told, default=0))
        reading.cancel()
    return told


async def _read(report: Report) -> None:
    while True:
        await report.orders()


@pytest.mark.parametrize(
    "shape", [pytest.param(SMOKE, id="smoke"), pytest.param(FULL, id="full", marks=pytest.mark.long)]
)
@pytest.mark.timeout(600)
def test_a_change_is_everywhere_at_once(tmp_path: Path, shape: Shape, figures: Figures) -> None:
    with running(tmp_path, shape) as world:
        world.configure()
        world.start()
        asyncio.run(world.certify())
        asyncio.run(drive(world, 0, 0))
        world.gather()
        complete = shape.workloads + shape.services
        joined = world.until_held(complete, 180)
        joined_size = Size.of(world.pid)
        heard(world, {})

        used = cpu_seconds(world.pid)
        single = heard(world, asyncio.run(drive(world, shape.single, 0.25)))
        single_cpu = (cpu_seconds(world.pid) - used) / shape.single

        used = cpu_seconds(world.pid)
        count = int(shape.seconds * 50)
        burst = heard(world, asyncio.run(drive(world, count, 0.02)))
        burst_cpu = (cpu_seconds(world.pid) - used) / shape.seconds
        size = Size.of(world.pid)

        assert world.process is not None
        world.process.send_signal(signal.SIGKILL)
        world.process.wait()
        heard(world, {})
        (world.config / "late.yaml").write_text(
            objects.as_yaml(objects.workload_entry("ns0", "late", "10.250.0.1", serviceAccount="app"))
        )
        began = time.monotonic()
        world.start()
        restarted = time.monotonic() - began
        returned = world.until_held(complete + 1, 120)
        after = heard(world, {})

    tenth = max(1, len(burst.delays) // 10)
    early, late = (statistics.median(some) for some in (burst.delays[:tenth], burst.delays[-tenth:]))
    note = figures.note if shape is FULL else lambda *_: None
    note(
        PART,
        "all join at once, until each has everything",
        f"{joined:.1f} s, control plane at {mebi(joined_size.resident)}, {mebi(joined_size.most)} at most",
    )
    note(
        PART,
        "one change of one endpoint, until the last node has acknowledged it",
        delays(single.delays),
        "median < 100 ms, p99 < 1 s",
    )
    note(PART, "the same: bytes for each node", f"{single.bytes / shape.nodes / shape.single:.0f}")
    note(PART, "the same: processor time of the control plane", f"{single_cpu * 1e3:.0f} ms")
    note(
        PART,
        f"50 changes a second for {shape.seconds:.0f} s",
        f"{delays(burst.delays)}; first tenth {early * 1e3:.0f} ms, last tenth {late * 1e3:.0f} ms",
        "lag does not grow",
    )
    note(
        PART,
        "the same: responses a second and node",
        f"{burst.responses / shape.nodes / shape.seconds:.1f}, {burst.bytes / shape.nodes / count:.0f} bytes for each change",
    )
    note(PART, "the same: processors used by the control plane", f"{burst_cpu:.2f}")
    note(PART, "control plane: resident after that", mebi(size.resident), "< 400 MB")
    note(
        PART,
        "killed and started: until it serves, until all nodes are back with the one resource that changed",
        f"{restarted:.1f} s, {returned:.1f} s more",
    )
    note(
        PART,
        "the same: resources and bytes sent to each node",
        f"{after.resources / shape.nodes:.0f} and {after.bytes / shape.nodes:.0f}",
    )
    assert len(single.delays) == shape.single
    # None is overtaken unless the lag is as long as the driver's workloads take their turns.
    assert len(burst.delays) == count
    assert late < 3 * early + 1
    # Only what changed, to each node once.
    assert (after.resources, after.removed) == (shape.nodes, 0)


def delays(measured: list[float]) -> str:
    ordered = sorted(measured)
    worst = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"median {statistics.median(ordered) * 1e3:.0f} ms, p99 {worst * 1e3:.0f} ms, most {ordered[-1] * 1e3:.0f} ms"
