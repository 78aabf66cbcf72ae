"""Ten thousand workloads in a thousand services: what decisions and updates cost in each process."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from immutables import Map
from scale.cost import Pulse, cost, micro, once
from scale.figures import Figures
from scale.meshes import NAMESPACES, endpoint_of, mesh, workload
from topology import objects

from ambient.control.catalog import Catalog
from ambient.control.index import Index, Settings
from ambient.control.sources import Change
from ambient.core import balance, delta, inbound, outbound
from ambient.core.delta import Delta
from ambient.core.endpoints import is_healthy
from ambient.core.model.address import SocketAddress
from ambient.core.model.identity import SpiffeId
from ambient.core.model.workload import WorkloadStatus
from ambient.core.ports import target_port
from ambient.core.snapshot import EMPTY, Snapshot
from ambient.member.incoming import Incoming
from ambient.member.mesh import Mesh, in_packets
from ambient.rpc import wire
from ambient.rpc.encoding import encode_delta
from ambient.rpc.registration import LocalWorkload

PART = "10,000 workloads, 1,000 services"
sizes = pytest.mark.parametrize(
    ("workloads", "services"),
    [pytest.param(1_000, 100, id="smoke"), pytest.param(10_000, 1_000, id="full", marks=pytest.mark.long)],
)


@sizes
def test_an_outbound_decision_does_not_read_every_endpoint(
    workloads: int, services: int, figures: Figures
) -> None:
    snapshot, large = mesh(workloads, services)
    source = next(iter(snapshot.workloads.values()))
    small = next(one for one in snapshot.services.values() if one is not large)
    pick = balance.by_capacity(0.5)
    costs = {
        one: cost(lambda: outbound.resolve(snapshot, source, endpoint_of(one), pick))  # noqa: B023
        for one in (small, large)
    }
    endpoints = snapshot.endpoints_of[large.key]
    changed = delta.apply(snapshot, Delta((replace(next(iter(endpoints)), capacity=2),)))
    after_update = once(lambda: outbound.resolve(changed, source, endpoint_of(large), pick))
    reading_all = cost(
        lambda: [one for one in endpoints if is_healthy(large, one) and target_port(large, one, 80)]
    )
    assert costs[large] < 0.5e-3
    assert costs[large] < 5 * costs[small] + 20e-6
    assert after_update < 5e-3
    assert reading_all > 2 * costs[large]
    if workloads == 10_000:
        figures.note(PART, "outbound decision, service of 10 endpoints", micro(costs[small]))
        figures.note(
            PART,
            f"outbound decision, service of {len(endpoints):,} endpoints",
            f"{micro(costs[large])}; reading all of them: {reading_all / costs[large]:.0f} times that",
        )
        figures.note(PART, "the same, the first after one of its endpoints changed", micro(after_update))


@sizes
def test_an_inbound_decision_costs_what_it_did_in_a_small_mesh(
    workloads: int, services: int, figures: Figures
) -> None:
    costs = []
    for size in ((100, 10), (workloads, services)):
        snapshot, _ = mesh(*size)
        server, caller = list(snapshot.workloads.values())[:2]
        local = SocketAddress(server.addresses[0], 15008)
        request = inbound.TunnelRequest(
            "CONNECT",
            f"{server.addresses[0]}:8080",
            SocketAddress(caller.addresses[0], 40000),
            SpiffeId("cluster.local", caller.namespace, "app"),
            local,
        )
        assert isinstance(inbound.admit_tunnel(snapshot, server, request), inbound.Admit)
        costs.append(cost(lambda: inbound.admit_tunnel(snapshot, server, request)))  # noqa: B023
    assert costs[1] < 5 * costs[0] + 20e-6
    if workloads == 10_000:
        figures.note(PART, "inbound decision", micro(costs[1]))


@sizes
def test_an_update_of_one_endpoint_costs_little_in_every_process(
    workloads: int, services: int, figures: Figures, tmp_path: Path
) -> None:
    snapshot, large = mesh(workloads, services)
    one = next(iter(snapshot.endpoints_of[large.key]))
    states = [encode_delta(Delta((replace(one, status=status),))) for status in WorkloadStatus]

    def in_a_worker() -> None:
        for update in states:
            ((_, payload),) = in_packets(update)
            change, _ = wire.decode(wire.parse(payload))
            delta.apply(snapshot, change)

    worker = cost(in_a_worker) / len(states)
    asyncio.run(_of_the_parent(snapshot, states, tmp_path, workloads, figures))
    assert worker < 5e-3
    if workloads == 10_000:
        figures.note(PART, "update of one endpoint: worker (decode, apply)", micro(worker), "≤ 1 ms")


async def _of_the_parent(
    snapshot: Snapshot, states: list[wire.Update], folder: Path, workloads: int, figures: Figures
) -> None:
    async def deposit(_: bytes) -> None: ...

    parent = Mesh(folder / "snapshot", lambda *_: None, deposit, lambda *_: None, lambda *_: {})
    whole = encode_delta(delta.between(EMPTY, snapshot))
    first = once(lambda: parent.deliver(whole))
    spent = cost(lambda: [parent.deliver(update) for update in states]) / len(states)
    saving = once(parent.content)
    assert spent < 5e-3
    if workloads == 10_000:
        figures.note(PART, "the same: parent (decode, apply, pass on)", micro(spent))
        figures.note(PART, "the whole mesh at once: parent (decode, apply)", micro(first))
        figures.note(PART, "all of it written out for disk and deposit, at most every 0.5 s", micro(saving))


@sizes
def test_a_worker_that_is_told_a_whole_mesh_is_not_held_up_for_long(
    workloads: int, services: int, figures: Figures
) -> None:
    snapshot, _ = mesh(workloads, services)
    packets = list(in_packets(encode_delta(delta.between(EMPTY, snapshot))))
    longest, ahead, incoming = 0.0, EMPTY, Incoming()
    for message, payload in packets:
        began = time.thread_time()
        ahead = incoming.take(EMPTY, payload, more=message.more) or ahead
        longest = max(longest, time.thread_time() - began)
    assert len(ahead.workloads) == workloads
    assert longest < 0.1
    if workloads == 10_000:
        figures.note(PART, "the whole mesh: worker, longest time at a stretch", micro(longest))


@sizes
def test_a_report_of_one_workload_costs_the_control_plane_little(
    workloads: int, services: int, figures: Figures
) -> None:
    catalog = Catalog(("ambient-system",))
    change = Change({"all.yaml": objects.as_yaml(*_configuration(services)).encode()})
    catalog.take(catalog.plan_source("folder", change, datetime.now(UTC)))
    assert catalog.errors == ()
    index = Index(Settings())
    index.configure(catalog.objects)
    reports = [_reported(number, services) for number in range(workloads)]
    everything = once(lambda: index.register("node", reports, (), full=True))
    assert len(index.snapshot.workloads) == workloads
    one = reports[7]
    forms = [(replace(one, captured=captured),) for captured in (False, True)]
    spent = cost(lambda: [index.register("node", form, (), full=False) for form in forms]) / len(forms)
    assert spent < 10e-3
    assert everything < 100e-6 * workloads * 20
    if workloads == 10_000:
        figures.note(PART, "update of one workload: control plane (judge, render)", micro(spent))
        figures.note(PART, "all workloads registered at once: control plane", micro(everything))


def _configuration(services: int) -> list[objects.Object]:
    namespaces = [f"ns{number}" for number in range(NAMESPACES)]
    return [
        *map(objects.namespace, namespaces),
        *(objects.service_account(namespace, "app") for namespace in namespaces),
        *(
            objects.service(
                f"ns{number % NAMESPACES}",
                f"s{number}",
                [f"10.96.{number // 250}.{number % 250 + 1}"],
                {80: 8080},
                {"app": f"s{number}"},
            )
            for number in range(services)
        ),
    ]


def _reported(number: int, services: int) -> LocalWorkload:
    made = workload(number)
    serves = (number + number // NAMESPACES * NAMESPACES) % services
    labels = Map({"app": f"s{serves}"})
    return LocalWorkload(made.uid, made.name, made.namespace, "app", made.addresses, labels, captured=True)


def test_a_pulse_feels_what_holds_a_loop_up() -> None:
    async def scenario() -> float:
        async with Pulse() as pulse:
            once(lambda: sum(range(2_000_000)))
            await asyncio.sleep(0)
        return pulse.longest

    assert asyncio.run(scenario()) > 0.01
