"""A replica is called when it can answer, and not a moment before or after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from ambient.core.model.identity import SpiffeId
from ambient.core.overload import Capacity
from ambient.rpc.registration import Accepted, LocalWorkload, Refused
from ambient.waypoint.replica import GATEWAY_LABEL, Replica
from ambient.waypoint.settings import Settings

IDENTITY = SpiffeId("cluster.local", "shop", "gate")


def settings(folder: Path) -> Settings:
    return Settings(
        run_dir=folder, state_dir=folder, root_cert=folder, crl=None, token_file=None, control="c:1", bootstrap="b:1",
        trust_domain="cluster.local", workers=1, admin=("127.0.0.1", 0), access_log=None, log_format="text",
        log_level="info", drain_seconds=1.0, name="gate", namespace="shop", service_account="gate", node="gate-node",
        replica="0", cluster="local", addresses=(ip_address("10.0.0.9"),), listen=(), capacity=Capacity(),
    )  # fmt: skip


class Registration:
    """Notes what is told."""

    def __init__(self) -> None:
        self.said: list[LocalWorkload | str] = []
        self.is_told = asyncio.Event()
        self.is_told.set()

    def set(self, workload: LocalWorkload) -> None:
        self.said.append(workload)

    def forget(self, uid: str) -> None:
        self.said.append(uid)

    async def told(self) -> None:
        await self.is_told.wait()


class Certificates:
    """Has one when a test says so."""

    def __init__(self) -> None:
        self.wanted: list[SpiffeId] = []
        self.has = False
        self.trouble: str | None = None

    def want(self, identity: SpiffeId) -> None:
        self.wanted.append(identity)

    def valid(self, _: SpiffeId) -> object | None:
        return object() if self.has else None

    def error(self, _: SpiffeId) -> str | None:
        return self.trouble


class Workers:
    """Are ready when a test says so."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()

    async def settled(self) -> None:
        await self.ready.wait()


class Scene:
    def __init__(self, folder: Path) -> None:
        self.settings = settings(folder)
        self.registration, self.certificates, self.workers = Registration(), Certificates(), Workers()
        self.replica = Replica(
            self.settings,
            self.registration,  # type: ignore[arg-type]
            self.certificates,  # type: ignore[arg-type]
            self.workers,  # type: ignore[arg-type]
        )
        self.bringing = asyncio.create_task(self.replica.bring())

    def reports(self) -> list[tuple[bool, bool]]:
        """Captured and healthy, as they were told."""
        return [
            (one.captured, one.healthy) for one in self.registration.said if isinstance(one, LocalWorkload)
        ]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(scenario: Callable[[Scene], object], folder: Path) -> None:
    async def main() -> None:
        scene = Scene(folder)
        async with asyncio.timeout(10):
            await scenario(scene)  # type: ignore[misc]
        scene.bringing.cancel()

    asyncio.run(main())


def test_it_is_called_once_its_certificate_is_with_its_workers(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        replica = scene.replica
        replica.report(healthy=False)
        assert replica.why_not_ready() == "the control plane has not spoken of it yet"
        replica.ordered(Accepted(scene.settings.uid, IDENTITY, enrolled=True))
        await turns()
        assert scene.certificates.wanted == [IDENTITY]
        assert replica.why_not_ready() == "its certificate has not come"
        scene.certificates.trouble = "no authority"
        assert replica.why_not_ready() == "no authority"
        scene.certificates.has = True
        replica.look()
        await turns()
        assert replica.why_not_ready() == "its workers are not ready"
        assert scene.reports() == [(False, False)]
        scene.workers.ready.set()
        await turns()
        assert replica.why_not_ready() is None
        assert scene.reports() == [(False, False), (True, True)]
        replica.look()
        await turns()
        assert len(scene.reports()) == 2
        (told, *_) = scene.registration.said
        assert isinstance(told, LocalWorkload)
        assert (told.uid, told.name) == ("local/ambient.dev/Workload/shop/gate-0", "gate-0")
        assert told.labels[GATEWAY_LABEL] == "gate"

    run(scenario, tmp_path)


def test_what_the_control_plane_minds_is_what_it_says(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.replica.ordered(Refused(scene.settings.uid, "service account 'gate' is not configured"))
        await turns()
        assert scene.replica.why_not_ready() == "service account 'gate' is not configured"
        assert scene.certificates.wanted == []

    run(scenario, tmp_path)


def test_it_steps_back_before_it_leaves(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.certificates.has = True
        scene.workers.ready.set()
        scene.replica.ordered(Accepted(scene.settings.uid, IDENTITY, enrolled=True))
        await turns()
        assert await scene.replica.step_back()
        await scene.replica.leave()
        assert scene.reports() == [(True, True), (True, False)]
        assert scene.registration.said[-1] == scene.settings.uid

    run(scenario, tmp_path)


def test_who_was_never_called_need_not_step_back(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        assert not await scene.replica.step_back()
        assert scene.registration.said == []

    run(scenario, tmp_path)


def test_a_control_plane_that_does_not_hear_holds_nobody_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ambient.waypoint.replica._TOLD_SECONDS", 0.01)

    async def scenario(scene: Scene) -> None:
        scene.registration.is_told.clear()
        await scene.replica.leave()
        assert scene.registration.said == [scene.settings.uid]

    run(scenario, tmp_path)
