"""What a proxy's keeper of certificates does over time; the clock is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from ambient.aio.backoff import Backoff
from ambient.aio.tasks import Tasks
from ambient.core.errors import Unavailable
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import issue
from ambient.core.pki.bundle import Credentials
from ambient.member import certificates
from ambient.member.certificates import CONCURRENT, Certificates

ALICE = SpiffeId("cluster.local", "shop", "alice")
BOB = SpiffeId("cluster.local", "shop", "bob")
START = datetime(2026, 1, 1, tzinfo=UTC)
AUTHORITY, OTHER = (issue.new_authority("cluster.local", START) for _ in range(2))


class World:
    """A clock, an authority that can fail, and what the keeper told."""

    def __init__(self, *, lifetime: timedelta = timedelta(hours=24)) -> None:
        self.now = START
        self.lifetime = lifetime
        self.failing = False
        self.authority, self.roots = AUTHORITY, AUTHORITY.root_pem
        self.requests: list[SpiffeId] = []
        self.told: list[tuple[SpiffeId, bool]] = []
        self.gate: asyncio.Event | None = None
        self.at_once = 0
        self.most_at_once = 0
        self.answer_as: SpiffeId | None = None
        self.tasks = Tasks(self._crashed)
        self.keeper = Certificates(self.sign, lambda: self.roots, self.changed, self.tasks, lambda: self.now)

    async def sign(self, identity: SpiffeId, csr_pem: bytes) -> tuple[bytes, ...]:
        self.requests.append(identity)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.failing:
                raise Unavailable("the authority is away")
            key = issue.requested_key(csr_pem)
            return issue.issue(self.authority, key, self.answer_as or identity, self.now, self.lifetime)
        finally:
            self.at_once -= 1

    def changed(self, identity: SpiffeId, credentials: Credentials | None) -> None:
        self.told.append((identity, credentials is not None))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    @staticmethod
    def _crashed(name: str, error: BaseException) -> None:
        pytest.fail(f"{name}: {error!r}")


def run(scenario: Callable[[World], object], **settings: object) -> None:
    async def main() -> None:
        world = World(**settings)
        try:
            await scenario(world)
        finally:
            await world.tasks.stop()

    asyncio.run(main())


def test_a_wanted_identity_gets_a_certificate_once() -> None:
    async def scenario(world: World) -> None:
        for _ in range(50):
            world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        assert world.requests == [ALICE]
        assert world.told == [(ALICE, True)]

    run(scenario)


def test_a_failed_first_request_is_tried_again_and_says_why() -> None:
    async def scenario(world: World) -> None:
        world.failing = True
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.error(ALICE) == "the authority is away")
        world.failing = False
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        assert world.keeper.error(ALICE) is None

    run(scenario)


def test_a_failed_renewal_keeps_the_certificate_that_is_valid() -> None:
    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        held = world.keeper.valid(ALICE)
        world.failing = True
        assert world.keeper.renew(ALICE)
        await world.until(lambda: world.keeper.error(ALICE) is not None)
        assert world.keeper.valid(ALICE) is held
        assert world.told == [(ALICE, True)]

    run(scenario)


def test_an_expired_certificate_is_not_valid() -> None:
    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        world.now += timedelta(hours=24)
        assert world.keeper.valid(ALICE) is None

    run(scenario)


def test_a_certificate_is_renewed_around_half_its_life() -> None:
    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: len(world.requests) >= 2)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)

    # Half a life that is over when it is issued: the next request follows at once.
    run(scenario, lifetime=timedelta(seconds=1))


def test_an_answer_for_another_identity_is_refused() -> None:
    async def scenario(world: World) -> None:
        world.answer_as = BOB
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.error(ALICE) is not None)
        assert "sa/bob" in str(world.keeper.error(ALICE))
        assert world.keeper.valid(ALICE) is None

    run(scenario)


def test_a_forgotten_identity_is_not_asked_for_again() -> None:
    async def scenario(world: World) -> None:
        world.gate = asyncio.Event()
        world.keeper.want(ALICE)
        await world.until(lambda: world.requests == [ALICE])
        world.keeper.forget(ALICE)
        world.gate.set()
        await asyncio.sleep(0.05)
        assert world.told == [(ALICE, False)]
        assert not world.keeper.renew(ALICE)

    run(scenario)


def test_no_more_requests_at_once_than_agreed() -> None:
    async def scenario(world: World) -> None:
        world.gate = asyncio.Event()
        for number in range(3 * CONCURRENT):
            world.keeper.want(SpiffeId("cluster.local", "shop", f"sa-{number}"))
        await world.until(lambda: world.at_once == CONCURRENT)
        world.gate.set()
        await world.until(lambda: len(world.told) == 3 * CONCURRENT)
        assert world.most_at_once == CONCURRENT

    run(scenario)


def test_deposited_credentials_are_used_before_anything_is_asked() -> None:
    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        heir = World()
        heir.failing = True
        heir.keeper.restore(world.keeper.valid(ALICE))
        heir.keeper.want(ALICE)
        await asyncio.sleep(0.02)
        assert heir.keeper.valid(ALICE) is not None
        assert heir.requests == []
        await heir.tasks.stop()

    run(scenario)


def test_expired_deposited_credentials_are_not_restored() -> None:
    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        heir = World()
        heir.now = START + timedelta(days=2)
        heir.keeper.restore(world.keeper.valid(ALICE))
        assert heir.told == []

    run(scenario)


def test_a_clock_that_jumps_past_the_end_has_it_renewed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambient.member.certificates.LOOK_SECONDS", 0.05)

    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        world.now += timedelta(days=30)
        assert world.keeper.valid(ALICE) is None
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        assert world.requests == [ALICE, ALICE]

    run(scenario)


def test_a_clock_that_goes_back_before_the_beginning_has_it_renewed_and_does_not_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ambient.member.certificates.LOOK_SECONDS", 0.1)

    async def scenario(world: World) -> None:
        world.now += timedelta(days=1)
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        world.now -= timedelta(hours=12)
        await world.until(lambda: len(world.requests) == 2)
        held = world.keeper.valid(ALICE)
        assert held is not None
        assert held.not_before <= world.now < held.not_after
        await asyncio.sleep(0.5)
        assert world.requests == [ALICE, ALICE]
        # The authority's clock may be the right one: then what it issues begins later, again and again.
        world.now -= timedelta(hours=6)
        issued = world.now + timedelta(hours=3)
        sign = world.sign

        async def ahead(identity: SpiffeId, csr_pem: bytes) -> tuple[bytes, ...]:
            ours, world.now = world.now, issued
            try:
                return await sign(identity, csr_pem)
            finally:
                world.now = ours

        world.keeper._sign = ahead
        await asyncio.sleep(1)
        assert 3 <= len(world.requests) <= 13

    run(scenario)


def test_many_who_want_many_identities_are_served_with_one_request_each() -> None:
    identities = [SpiffeId("cluster.local", "shop", f"sa-{number}") for number in range(30)]

    async def scenario(world: World) -> None:
        async def client(offset: int) -> None:
            for number in range(len(identities)):
                identity = identities[(number + offset) % len(identities)]
                world.keeper.want(identity)
                await world.until(lambda identity=identity: world.keeper.valid(identity) is not None)

        await asyncio.gather(*(client(offset) for offset in range(10)))
        assert sorted(world.requests, key=str) == sorted(identities, key=str)

    run(scenario)


def test_a_renewal_that_is_asked_for_twice_is_made_once() -> None:
    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        for _ in range(10):
            assert world.keeper.renew(ALICE)
        await world.until(lambda: len(world.told) == 2)
        await asyncio.sleep(0.05)
        assert world.requests == [ALICE, ALICE]

    run(scenario)


def test_an_identity_that_is_forgotten_while_it_is_asked_for_can_be_wanted_again() -> None:
    async def scenario(world: World) -> None:
        world.gate = asyncio.Event()
        world.keeper.want(ALICE)
        await world.until(lambda: world.requests == [ALICE])
        world.keeper.forget(ALICE)
        world.keeper.want(ALICE)
        world.gate.set()
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        assert world.told == [(ALICE, False), (ALICE, True)]
        assert world.keeper.identities() == (ALICE,)

    run(scenario)


def test_who_is_forgotten_while_waiting_gives_up_its_place() -> None:
    async def scenario(world: World) -> None:
        world.gate = asyncio.Event()
        crowd = [SpiffeId("cluster.local", "shop", f"sa-{number}") for number in range(2 * CONCURRENT)]
        for identity in crowd:
            world.keeper.want(identity)
        await world.until(lambda: world.at_once == CONCURRENT)
        for identity in crowd:
            world.keeper.forget(identity)
        world.keeper.want(ALICE)
        await world.until(lambda: ALICE in world.requests)
        world.gate.set()
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        assert len(world.requests) == CONCURRENT + 1

    run(scenario)


def test_one_identity_that_fails_holds_no_other() -> None:
    async def scenario(world: World) -> None:
        world.failing = True
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.error(ALICE) is not None)
        world.failing = False
        world.keeper.want(BOB)
        await world.until(lambda: world.keeper.valid(BOB) is not None)
        assert world.keeper.error(BOB) is None

    run(scenario)


def test_delays_grow_and_begin_anew_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []

    class Hasty(Backoff):
        def next_delay(self) -> float:
            delays.append(super().next_delay())
            return 0.001

    monkeypatch.setattr(certificates, "Backoff", lambda first, most, _: Hasty(first, most, lambda: 1.0))

    async def scenario(world: World) -> None:
        world.failing = True
        world.keeper.want(ALICE)
        await world.until(lambda: len(delays) >= 3)
        world.failing = False
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        before = len(delays)
        assert delays[:3] == [0.5, 1.0, 2.0]
        world.failing = True
        world.keeper.renew(ALICE)
        await world.until(lambda: len(delays) > before)
        assert delays[before] == 0.5

    run(scenario)


def test_who_waits_to_ask_again_asks_at_once_when_told_to_hurry() -> None:
    async def scenario(world: World) -> None:
        world.failing = True
        world.keeper.want(ALICE)
        for attempt in range(1, 7):
            await world.until(lambda attempt=attempt: len(world.requests) == attempt)  # type: ignore[misc]
            await world.until(lambda: world.keeper.error(ALICE) is not None)
            world.failing = attempt < 6
            world.keeper.hurry()
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        # Nobody waits now, and so nobody asks.
        world.keeper.hurry()
        await asyncio.sleep(0.05)
        assert len(world.requests) == 7

    run(scenario)


def test_other_roots_are_trusted_at_once_and_what_they_do_not_believe_is_renewed() -> None:
    async def scenario(world: World) -> None:
        world.keeper.want(ALICE)
        await world.until(lambda: world.keeper.valid(ALICE) is not None)
        first = world.keeper.valid(ALICE)
        assert first is not None
        world.roots = AUTHORITY.root_pem + OTHER.root_pem
        world.keeper.trust()
        wider = world.keeper.valid(ALICE)
        assert wider is not None
        assert (wider.chain_pem, wider.roots_pem) == (first.chain_pem, world.roots)
        world.keeper.trust()
        assert world.told == [(ALICE, True)] * 2
        await asyncio.sleep(0.05)
        assert len(world.requests) == 1
        world.authority, world.roots = OTHER, OTHER.root_pem
        world.keeper.trust()
        await world.until(lambda: len(world.told) == 4)
        renewed = world.keeper.valid(ALICE)
        assert renewed is not None
        assert renewed.is_believed(world.now)
        assert renewed.chain_pem != first.chain_pem

    run(scenario)


def test_first_certificates_go_before_renewals() -> None:
    crowd = [SpiffeId("cluster.local", "shop", f"sa-{number}") for number in range(2 * CONCURRENT)]

    async def scenario(world: World) -> None:
        for identity in crowd:
            world.keeper.want(identity)
        await world.until(lambda: len(world.told) == len(crowd))
        world.gate = asyncio.Event()
        for identity in crowd:
            world.keeper.renew(identity)
        await world.until(lambda: world.at_once == CONCURRENT)
        world.keeper.want(ALICE)
        await asyncio.sleep(0.02)
        world.gate.set()
        await world.until(lambda: len(world.told) == 2 * len(crowd) + 1)
        assert world.requests.index(ALICE) == len(crowd) + CONCURRENT

    run(scenario)
