"""The loads tell what happened, against what the kernel and the clock say of it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from bench.histogram import percentile
from bench.site import HTTP, SINK, SOURCE, Programs, Site
from topology import Pod, Topology

RATE = 500


@pytest.fixture
def site(topology: Topology, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(topology, Programs(tmp_path_factory.getbasetemp() / "bench-programs"))


@pytest.fixture
def client(site: Site) -> Pod:
    return site.client("client")


@pytest.fixture
def server(site: Site) -> Pod:
    return site.server("server")


def load(site: Site, client: Pod, program: str, *arguments: object) -> dict[str, Any]:
    return site.start(client, program, *arguments).finished(30)[-1]


def received(pod: Pod) -> int:
    (link,) = json.loads(pod.run("ip", "-json", "-statistics", "link", "show", "eth0").stdout)
    return int(link["stats64"]["rx"]["bytes"])


@pytest.mark.parametrize("connections", [1, 16])
def test_a_closed_loop_obeys_littles_law(site: Site, client: Pod, server: Pod, connections: int) -> None:
    outcome = load(
        site, client, "load", "closed", server.v4, HTTP, "--connections", connections, "--seconds", 1
    )
    assert outcome["errors"] == outcome["unanswered"] == 0
    requests = sum(count for _, count in outcome["latency"])
    mean = sum(value * count for value, count in outcome["latency"]) / requests / 1e9
    assert requests == pytest.approx(outcome["requests"], abs=2 * connections)
    assert outcome["requests"] / outcome["seconds"] * mean == pytest.approx(connections, rel=0.2)


def test_an_open_loop_counts_from_the_schedule_when_the_server_stands_still(
    site: Site, client: Pod, server: Pod
) -> None:
    running = site.start(
        client, "load", "open", server.v4, HTTP,
        "--connections", 8, "--rate", RATE, "--warmup", 0.2, "--seconds", 2,
    )  # fmt: skip
    time.sleep(0.8)
    site.servers["server"].signal(signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(0.5)
    site.servers["server"].signal(signal.SIGCONT)
    pause = time.monotonic() - stopped
    outcome = running.finished()[-1]
    assert sum(count for _, count in outcome["latency"]) == 2 * RATE
    assert outcome["slow"] >= 0.9 * (pause - 0.02) * RATE
    assert 1 <= outcome["stalls"] < outcome["slow"]
    worst = percentile(outcome["latency"], 100)
    assert worst is not None
    assert worst >= 0.9 * pause * 1000


def test_every_new_connection_is_made_answered_and_closed(site: Site, client: Pod, server: Pod) -> None:
    outcome = load(site, client, "load", "new", server.v4, HTTP, "--connections", 4, "--seconds", 0.5)
    assert outcome["errors"] == outcome["unanswered"] == 0
    assert outcome["requests"] > 0
    opens = int(client.run("sh", "-c", "grep ^Tcp: /proc/net/snmp | tail -1").stdout.split()[5])
    assert opens == outcome["requests_in_all"]
    assert client.run("ss", "-Htn", "state", "connected").stdout.count("ESTAB") == 0


def test_a_server_that_is_not_there_is_an_error_and_no_figure(site: Site, client: Pod, server: Pod) -> None:
    site.servers["server"].stop()
    running = site.start(client, "load", "new", server.v4, HTTP, "--seconds", 0.5)
    running.wait()
    outcome = [line for line in running.lines() if "errors" in line]
    assert not outcome or (outcome[0]["requests"] == 0 and outcome[0]["errors"] > 0)


@pytest.mark.parametrize(("mode", "port"), [("down", SOURCE), ("up", SINK)])
def test_bulk_is_what_came_in_on_the_other_side(
    site: Site, client: Pod, server: Pod, mode: str, port: int
) -> None:
    receiver = client if mode == "down" else server
    before = received(receiver)
    outcome = load(
        site, client, "pour", mode, server.v4, port, "--connections", 2, "--seconds", 0.5, "--warmup", 0.2
    )
    came_in = received(receiver) - before
    assert outcome["lost"] == 0
    assert 0 < outcome["bytes"] < outcome["bytes_in_all"] <= came_in < 1.15 * outcome["bytes_in_all"]


def test_programs_are_compiled_once(tmp_path: Path) -> None:
    first = Programs(tmp_path).path("load").stat().st_mtime_ns
    assert Programs(tmp_path).path("load").stat().st_mtime_ns == first
