"""Every connection that lives is asked again, whatever comes while that goes on."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from core.worlds import at, gateway, policy, service, workload, world

from ambient.core import delta
from ambient.core.authorize import Connection
from ambient.core.inbound import Reject
from ambient.core.model.authorization import Action, Authorization, Match
from ambient.core.model.service import Service
from ambient.core.model.settings import MeshSettings, Permission
from ambient.core.observation import NOBODY, Observation, Reporter
from ambient.core.snapshot import Snapshot
from ambient.member import late as slices
from ambient.member.late import Recheck
from ambient.member.live import Carried, Live
from ambient.proxy import late
from ambient.telemetry.access import AccessLog
from ambient.telemetry.metrics import Traffic

SERVER = workload("server", "10.0.0.1")
OTHER = workload("other", "10.0.0.2")
SEEN = Observation(Reporter.DESTINATION, NOBODY, NOBODY, at("10.0.9.9:1"), at("10.0.0.1:80"))


def deny(name: str, *ports: int) -> Authorization:
    return policy(name, Action.DENY, Match(destination_ports=ports))


class FakeRelay:
    """Notes that it was cut."""

    sent = received = 0
    error: str | None = None

    def __init__(self) -> None:
        self.cuts: list[str] = []

    def cut(self, why: str) -> None:
        self.cuts.append(why)


class Scene:
    def __init__(self, *resources: delta.Resource) -> None:
        self.snapshot: Snapshot = world(SERVER, OTHER, *resources)
        self.asked = 0
        self.done: list[int] = []
        self.live: Live[Connection] = Live(
            Traffic(), AccessLog(os.open(os.devnull, os.O_WRONLY)), lambda *_: None
        )
        self.recheck = Recheck(self._judge, self.live, self.done.append)

    def _judge(self, carried: Carried[Connection]) -> Reject | None:
        self.asked += 1
        return late.judge(self.snapshot, carried)

    def open(self, port: int, uid: str = SERVER.uid, service: Service | None = None) -> FakeRelay:
        relay = FakeRelay()
        ip = "10.0.0.1" if uid == SERVER.uid else "10.0.0.2"
        connection = Connection(None, at("10.0.9.9:1"), at(f"{ip}:{port}"))
        seen = replace(SEEN, service=service)
        self.live.opened(uid, seen, relay, connection, None)  # type: ignore[arg-type]
        return relay

    def change(self, *resources: delta.Resource, removed: tuple[str, ...] = ()) -> None:
        before = self.snapshot
        self.snapshot = delta.apply(before, delta.Delta(resources, removed_authorizations=removed))
        self.recheck.ask(late.concerned(before, self.snapshot, self.live))


@pytest.fixture(params=[0.0, 60.0], ids=["one-in-a-turn", "all-at-once"])
def _slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", request.param)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("_slices")
def test_what_a_policy_forbids_is_cut_and_the_rest_stays() -> None:
    async def scenario() -> None:
        scene = Scene()
        relays = [scene.open(80 + n % 2) for n in range(100)]
        scene.change(deny("odd", 81))
        await turns(101)
        assert [len(relay.cuts) for relay in relays] == [0, 1] * 50
        assert scene.done == [50]
        assert scene.asked == 100

    asyncio.run(scenario())


@pytest.mark.usefixtures("_slices")
def test_of_policies_in_quick_succession_none_is_missed() -> None:
    async def scenario() -> None:
        scene = Scene()
        relays = {port: [scene.open(port) for _ in range(20)] for port in (80, 81, 82)}
        scene.change(deny("first", 80))
        await turns(5)
        scene.change(deny("second", 81))
        await turns(5)
        scene.change(removed=(deny("first").key,))
        await turns(100)
        assert all(relay.cuts for relay in relays[81])
        assert not any(relay.cuts for relay in relays[82])

    asyncio.run(scenario())


def test_a_slice_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)

    async def scenario() -> None:
        scene = Scene()
        for _ in range(10):
            scene.open(80)
        scene.change(deny("odd", 81))
        assert scene.asked == 1
        await turns(1)
        assert scene.asked == 2

    asyncio.run(scenario())


def test_what_ended_meanwhile_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)

    async def scenario() -> None:
        scene = Scene()
        relays = [scene.open(80) for _ in range(10)]
        scene.change(deny("all", 80))
        for relay in relays:
            scene.live.ended(SERVER.uid, relay)  # type: ignore[arg-type]
        await turns(20)
        assert sum(len(relay.cuts) for relay in relays) == 1

    asyncio.run(scenario())


def test_where_only_one_workload_changed_the_others_are_left_alone() -> None:
    async def scenario() -> None:
        scene = Scene(replace(deny("by-name", 80), namespace="elsewhere"))
        mine, others = scene.open(80), scene.open(80, OTHER.uid)
        scene.change(replace(SERVER, policies=("elsewhere/by-name",)))
        await turns(5)
        assert (len(mine.cuts), len(others.cuts)) == (1, 0)
        assert scene.asked == 1

    asyncio.run(scenario())


WAY = service("way", ports=((15008, 15008),))
REPLICA = workload("way-1", "10.0.0.8", services={WAY.key: ((15008, 15008),)})
API = service("api", "10.96.0.1")
SERVING = replace(SERVER, services=workload("x", services={API.key: ((80, 80),)}).services)
LENIENT = MeshSettings(waypoint_bypass=Permission.ALLOW)


@pytest.mark.parametrize(
    ("first", "then", "is_asked", "is_cut"),
    [
        ((WAY, REPLICA), (replace(SERVING, waypoint=gateway(WAY.key)),), True, True),
        ((WAY, REPLICA, API, SERVING), (replace(API, waypoint=gateway(WAY.key)),), True, False),
        ((WAY, replace(SERVING, waypoint=gateway(WAY.key))), (REPLICA,), True, True),
        ((WAY, REPLICA, LENIENT, replace(SERVING, waypoint=gateway(WAY.key))), (MeshSettings(),), True, True),
        ((WAY, REPLICA, API, SERVING), (service("other", "10.96.0.2"),), False, False),
    ],
    ids=["workload", "service-called-by-address", "replica-comes", "no-more-leave", "another-service"],
)
def test_a_waypoint_that_comes_is_asked_about(first, then, is_asked, is_cut) -> None:  # type: ignore[no-untyped-def]
    async def scenario() -> None:
        scene = Scene(*first)
        relay = scene.open(80)
        scene.change(*then)
        await turns(5)
        assert (scene.asked, len(relay.cuts)) == (is_asked, is_cut)

    asyncio.run(scenario())


def test_a_call_to_a_service_is_judged_by_the_service_that_was_meant() -> None:
    async def scenario() -> None:
        scene = Scene(WAY, REPLICA, API, SERVING)
        meant, by_address = scene.open(80, service=API), scene.open(80)
        scene.change(replace(API, waypoint=gateway(WAY.key)))
        await turns(5)
        assert (len(meant.cuts), len(by_address.cuts)) == (1, 0)

    asyncio.run(scenario())


def test_changes_without_end_put_nobody_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)

    async def scenario() -> None:
        scene = Scene()
        relays = [scene.open(80) for _ in range(10)]
        scene.change(deny("all", 80))
        for number in range(10):
            scene.change(deny(f"other-{number}", 81))
            await turns(1)
        assert all(relay.cuts for relay in relays)

    asyncio.run(scenario())
