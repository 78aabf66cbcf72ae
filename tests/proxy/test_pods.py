"""How a pod is brought into the mesh and out of it; daemon, registry, certificates and workers are played."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address

import pytest

from ambient.aio.tasks import Tasks
from ambient.aio.watch import Watch
from ambient.core import delta
from ambient.core.errors import Unavailable
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action, Authorization, Match, Scope, StringMatch, StringMatchKind
from ambient.core.model.identity import SpiffeId
from ambient.core.model.pod import Capture, OlderConnection
from ambient.core.model.workload import Workload
from ambient.core.snapshot import EMPTY
from ambient.member import messages
from ambient.proxy import pods
from ambient.proxy.pods import Pods
from ambient.rpc.registration import Accepted, LocalWorkload, Refused
from ambient.rpc.zds import WorkloadInfo

UID = "local/ambient.dev/Workload/shop/web"
IDENTITY = SpiffeId("cluster.local", "shop", "web")
OLDER = OlderConnection(
    SocketAddress(ip_address("10.0.0.2"), 80),
    SocketAddress(ip_address("10.0.1.9"), 5000),
    inbound=True,
    cookie=7,
)
STRICT = Authorization(
    "strict",
    "shop",
    Scope.NAMESPACE,
    Action.DENY,
    (((Match(not_principals=(StringMatch(StringMatchKind.PRESENCE, ""),)),),),),
)


class World:
    """All that a pod's way needs; ``happened`` is the order in which it was used."""

    def __init__(self) -> None:
        self.happened: list[object] = []
        self.connected = Watch(True)
        self.certified: set[SpiffeId] = set()
        self.live: dict[str, int] = {}
        self.older: tuple[OlderConnection, ...] = ()
        self.refuse_capture = False
        self.snapshot = EMPTY
        self.has_daemon = True
        self.tasks = Tasks(lambda name, error: pytest.fail(f"{name}: {error!r}"))
        self.pods = Pods(
            lambda: self if self.has_daemon else None, self, self, self, lambda: self.snapshot, self.tasks
        )

    # the daemon

    async def set_capture(self, uid: str, mode: Capture) -> None:
        if self.refuse_capture:
            raise Unavailable("not now")
        self.happened.append(mode)

    async def list_connections(self, uid: str) -> tuple[OlderConnection, ...]:
        return self.older

    async def destroy_connections(self, uid: str, connections: Sequence[OlderConnection]) -> None:
        self.happened.append(("destroyed", tuple(connections)))

    # certificates

    def want(self, identity: SpiffeId) -> None:
        if ("wanted", identity) not in self.happened:
            self.happened.append(("wanted", identity))

    def forget(self, identity: object) -> None:
        self.happened.append(("forgot", identity))

    def valid(self, identity: SpiffeId) -> object | None:
        return identity if identity in self.certified else None

    # the registry

    def set(self, workload: LocalWorkload) -> None:
        self.happened.append(("reported", workload.captured))

    # the workers

    def tell(
        self,
        message: messages.Message,
        payload: bytes = b"",
        descriptors: Sequence[int] = (),
        *,
        retired: bool = True,
    ) -> None:
        self.happened.append(type(message).__name__)

    async def settled(self) -> None:
        return

    def connections(self, uid: str) -> int:
        return self.live.get(uid, 0)

    async def ended(self, uid: str) -> None:
        while self.live.get(uid, 0):
            await asyncio.sleep(0.01)

    # the test

    async def add(self, *, capture: Capture = Capture.OFF, order: Accepted | Refused | None = None) -> str:
        info = WorkloadInfo("web", "shop", "web", netns_cookie=5, capture=capture)
        adding = asyncio.create_task(
            self.pods.add(UID, info, [os.open("/dev/null", os.O_RDONLY) for _ in range(4)])
        )
        await asyncio.sleep(0)
        if order is not None:
            self.pods.ordered(order)
        return await adding

    def certify(self) -> None:
        self.certified.add(IDENTITY)
        self.pods.look()

    async def until(self, *tail: object) -> None:
        async with asyncio.timeout(5):
            while tuple(self.happened[-len(tail) :]) != tail:
                await asyncio.sleep(0.005)


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        try:
            await scenario(world)
        finally:
            await world.pods.remove(UID, now=True)
            await world.tasks.stop()

    asyncio.run(main())


ENROLLED = Accepted(UID, IDENTITY, enrolled=True)
LEFT = Accepted(UID, IDENTITY, enrolled=False)


def test_certificate_then_capture_then_report() -> None:
    async def scenario(world: World) -> None:
        assert await world.add(order=ENROLLED) == ""
        await world.until(("wanted", IDENTITY))
        assert Capture.ON not in world.happened
        world.certify()
        await world.until(Capture.ON, ("reported", True))

    run(scenario)


def test_a_pod_of_a_namespace_that_is_not_enrolled_is_left_alone() -> None:
    async def scenario(world: World) -> None:
        assert await world.add(order=LEFT) == ""
        await asyncio.sleep(0.05)
        assert world.happened == ["PodAdded", ("reported", False)]

    run(scenario)


def test_a_refused_workload_leaves_nothing_behind() -> None:
    async def scenario(world: World) -> None:
        assert (
            await world.add(order=Refused(UID, "namespace shop is not configured"))
            == "namespace shop is not configured"
        )
        assert list(world.pods) == []
        assert "PodRemoved" in world.happened

    run(scenario)


def test_without_a_control_plane_adding_does_not_wait() -> None:
    async def scenario(world: World) -> None:
        world.connected.set(False)
        async with asyncio.timeout(pods.ORDER_SECONDS / 2):
            assert await world.add() == ""

    run(scenario)


def test_leaving_reports_first_then_drains_then_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods, "HEARD_SECONDS", 0.1)

    async def scenario(world: World) -> None:
        world.certified.add(IDENTITY)
        await world.add(order=ENROLLED)
        await world.until(("reported", True))
        world.live[UID] = 1
        world.pods.ordered(LEFT)
        await world.until(("reported", False), Capture.DRAINING)
        await asyncio.sleep(0.3)
        assert world.happened[-1] is Capture.DRAINING
        world.live[UID] = 0
        world.pods.look(UID)
        await world.until(Capture.OFF, ("forgot", IDENTITY))

    run(scenario)


def test_a_restarted_proxy_goes_on_with_a_captured_pod_before_the_control_plane_speaks() -> None:
    async def scenario(world: World) -> None:
        world.connected.set(False)
        await world.add(capture=Capture.ON)
        await asyncio.sleep(0.05)
        assert ("reported", False) not in world.happened
        assert Capture.OFF not in world.happened

    run(scenario)


def test_a_capture_that_fails_is_tried_again() -> None:
    async def scenario(world: World) -> None:
        world.refuse_capture = True
        world.certified.add(IDENTITY)
        await world.add(order=ENROLLED)
        await asyncio.sleep(0.1)
        assert Capture.ON not in world.happened
        world.refuse_capture = False
        await world.until(Capture.ON, ("reported", True))

    run(scenario)


def _with_policies(world: World, *policies: Authorization) -> None:
    workload = Workload(UID, "web", "shop", "web", "cluster.local", (ip_address("10.0.0.2"),))
    world.snapshot = delta.apply(EMPTY, delta.Delta((workload, *policies)))


def test_older_connections_are_left_where_policies_allow_them() -> None:
    async def scenario(world: World) -> None:
        _with_policies(world)
        world.older = (OLDER,)
        world.certified.add(IDENTITY)
        await world.add(order=ENROLLED)
        await world.until(("reported", True))
        assert [pod.older_left for pod in world.pods] == [1]
        assert ("destroyed", (OLDER,)) not in world.happened

    run(scenario)


def test_older_connections_are_cut_where_policies_forbid_them() -> None:
    async def scenario(world: World) -> None:
        _with_policies(world, STRICT)
        world.older = (OLDER,)
        world.certified.add(IDENTITY)
        await world.add(order=ENROLLED)
        await world.until(Capture.ON, ("destroyed", (OLDER,)), ("reported", True))

    run(scenario)


def test_a_policy_that_comes_later_cuts_older_connections_too() -> None:
    async def scenario(world: World) -> None:
        _with_policies(world)
        world.older = (OLDER,)
        world.certified.add(IDENTITY)
        await world.add(order=ENROLLED)
        await world.until(("reported", True))
        before = world.snapshot
        _with_policies(world, STRICT)
        world.pods.check_older(before, world.snapshot)
        await world.until(("destroyed", (OLDER,)))

    run(scenario)


def test_a_policy_whose_workload_comes_after_it_cuts_older_connections_too() -> None:
    async def scenario(world: World) -> None:
        _with_policies(world)
        world.older = (OLDER,)
        world.certified.add(IDENTITY)
        await world.add(order=ENROLLED)
        await world.until(("reported", True))
        selecting = replace(STRICT, scope=Scope.WORKLOAD_SELECTOR)
        for change in (selecting, replace(world.snapshot.workloads[UID], policies=(selecting.key,))):
            before = world.snapshot
            world.snapshot = delta.apply(before, delta.Delta((change,)))
            world.pods.check_older(before, world.snapshot)
            await asyncio.sleep(0.05)
        await world.until(("destroyed", (OLDER,)))

    run(scenario)


def test_a_daemon_that_comes_back_is_asked_what_it_missed() -> None:
    async def scenario(world: World) -> None:
        _with_policies(world)
        world.older = (OLDER,)
        world.certified.add(IDENTITY)
        await world.add(order=ENROLLED)
        await world.until(("reported", True))
        world.has_daemon = False
        before = world.snapshot
        _with_policies(world, STRICT)
        world.pods.check_older(before, world.snapshot)
        await asyncio.sleep(0.05)
        assert ("destroyed", (OLDER,)) not in world.happened
        world.has_daemon = True
        await world.add(capture=Capture.ON, order=ENROLLED)
        await asyncio.sleep(0.05)
        assert ("destroyed", (OLDER,)) in world.happened

    run(scenario)


def test_removal_waits_for_connections_unless_it_is_now() -> None:
    async def scenario(world: World) -> None:
        await world.add(order=LEFT)
        world.live[UID] = 1
        removing = asyncio.create_task(world.pods.remove(UID, now=False))
        await asyncio.sleep(0.05)
        assert not removing.done()
        world.live[UID] = 0
        await asyncio.wait_for(removing, 2)

    run(scenario)


async def brought(world: World, cookie: int = 5, uid: str = UID) -> list[int]:
    """Bring a workload as the daemon does; its descriptors are returned, which the pods own from then on."""
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(4)]
    world.connected.set(False)
    assert (
        await world.pods.add(uid, WorkloadInfo("web", "shop", "web", netns_cookie=cookie), descriptors) == ""
    )
    return descriptors


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_the_same_workload_again_is_the_same_pod_with_the_new_descriptors() -> None:
    async def scenario(world: World) -> None:
        first = await brought(world)
        [pod] = world.pods
        second = await brought(world)
        assert [*world.pods] == [pod]
        assert "PodRemoved" not in world.happened
        assert not any(map(is_open, set(first) - set(second)))
        assert all(map(is_open, second))
        assert pod.descriptors == second

    run(scenario)


def test_the_same_name_in_another_namespace_is_another_pod() -> None:
    async def scenario(world: World) -> None:
        await brought(world)
        [first] = world.pods
        await brought(world, cookie=6)
        [second] = world.pods
        assert second is not first
        assert second.info.netns_cookie == 6
        told = [one for one in world.happened if one in ("PodAdded", "PodRemoved")]
        assert told == ["PodAdded", "PodRemoved", "PodAdded"]

    run(scenario)


def test_add_remove_add_leaves_one_pod_and_no_descriptor_behind() -> None:
    async def scenario(world: World) -> None:
        first = await brought(world)
        await world.pods.remove(UID, now=False)
        assert not any(map(is_open, first))
        await world.pods.remove(UID, now=False)
        second = await brought(world)
        assert [pod.descriptors for pod in world.pods] == [second]

    run(scenario)


def test_what_a_snapshot_does_not_name_is_let_go() -> None:
    async def scenario(world: World) -> None:
        await brought(world)
        other = UID.replace("web", "other")
        await brought(world, cookie=6, uid=other)
        await world.pods.keep_only(frozenset({UID}))
        assert [pod.uid for pod in world.pods] == [UID]
        await world.pods.keep_only(frozenset({UID}))
        assert [pod.uid for pod in world.pods] == [UID]
        await world.pods.keep_only(frozenset())
        assert [*world.pods] == []

    run(scenario)


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_the_wrong_number_of_descriptors_is_refused_and_none_is_kept(count: int) -> None:
    async def scenario(world: World) -> None:
        descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
        why = await world.pods.add(UID, WorkloadInfo("web", "shop", "web", netns_cookie=5), descriptors)
        assert "came without listeners" in why
        assert [*world.pods] == []
        assert not any(map(is_open, descriptors))

    run(scenario)


def test_an_order_for_a_pod_that_is_gone_changes_nothing() -> None:
    async def scenario(world: World) -> None:
        world.pods.ordered(ENROLLED)
        await brought(world)
        await world.pods.remove(UID, now=True)
        before = list(world.happened)
        world.pods.ordered(ENROLLED)
        await asyncio.sleep(0.02)
        assert world.happened == before

    run(scenario)
