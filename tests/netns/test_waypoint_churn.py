"""A mixed load through a waypoint while everything about it changes: what is lost is of named kinds, and counted."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from netns import mixed
from netns.mixed import HARMLESS, Load, Scene

CHANGES, EVERY_SECONDS = 100, 0.06
"""1,000 a minute."""
DIED = frozenset({"503 reset", "grpc 14 reset", "lost", "cut"})
"""What was under way at a server that died."""


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with mixed.scene() as made:
        yield made


def test_routes_change_a_thousand_times_a_minute_and_no_request_notices(scene: Scene) -> None:
    before = scene.counted()
    load = Load(scene)
    load.more()
    began = time.monotonic()
    last = mixed.ROUTES + CHANGES - 1
    for number, version in enumerate(range(mixed.ROUTES, last + 1), 1):
        mixed.change(scene.mesh, version)
        time.sleep(max(0.0, began + number * EVERY_SECONDS - time.monotonic()))
    load.wait_for_version(last)
    load.more()
    seen = load.end()
    assert seen.but(()) == {}, load.unwell()
    assert len(seen.versions) > 2 * mixed.ROUTES
    assert scene.counted() - before == seen.asked
    assert scene.twice() == []


def test_endpoints_come_and_go_in_order_and_no_request_notices(scene: Scene) -> None:
    before = scene.counted()
    load = Load(scene)
    load.more()
    for node in scene.mesh.nodes:
        guest = scene.guest(f"guest-{node.node.name}", node)
        guest.join()
        guest.wait_asked()
        guest.leave()
    load.more()
    seen = load.end()
    assert seen.but(()) == {}, load.unwell()
    assert {"guest-one", "guest-two"} <= seen.servers.keys()
    assert scene.counted() - before == seen.asked
    assert scene.twice() == []


def test_an_endpoint_that_dies_takes_what_it_had_and_no_more(scene: Scene) -> None:
    before = scene.counted()
    load = Load(scene)
    load.more()
    guest = scene.guest("guest-two", scene.mesh.nodes[1])
    guest.join()
    guest.wait_asked()
    assert guest.process is not None
    guest.process.kill()
    load.more(200)
    guest.leave("--now")
    load.more()
    seen = load.end()
    assert seen.but(DIED) == {}, load.unwell()
    assert seen.count(DIED) <= Load.lanes
    assert scene.counted() - before == seen.asked
    assert scene.twice() == []


def test_a_replica_that_stops_in_order_has_its_requests_answered_by_the_other(scene: Scene) -> None:
    """What is asked again was never heard by a server: of POSTs too, none is heard twice."""
    load = Load(scene)
    load.more()
    replica = scene.waypoint.replicas[0]
    assert replica.process is not None
    replica.process.signal(signal.SIGTERM)
    assert replica.process.wait(30) == 0
    load.more()
    scene.replace(replica)
    load.more()
    seen = load.end()
    assert seen.but(HARMLESS) == {}, load.unwell()
    assert scene.twice() == []


@pytest.mark.parametrize("manner", ["length", "chunks", "stream"])
def test_an_answer_whose_server_breaks_off_never_ends_as_if_it_were_whole(scene: Scene, manner: str) -> None:
    before = scene.counted()
    load = Load(scene, "--cut", manner, "--size", 60_000)
    load.more(of="asked")
    seen = load.end()
    assert seen.but(DIED) == {}, load.unwell()
    assert seen.verdicts["fine"] == 0
    assert seen.verdicts["cut"] > 0
    assert scene.counted() - before == seen.asked
