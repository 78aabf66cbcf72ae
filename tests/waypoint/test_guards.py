"""What stands between requests and endpoints, for two workers with one ledger."""

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from ambient.core.model.limit import ByAddress, RateLimit
from ambient.core.model.traffic import (
    Accrual,
    ConcurrencyBudget,
    ConnectionLimits,
    Outlier,
    RatioBudget,
    SuccessRate,
    TrafficPolicy,
)
from ambient.core.resilience.accrual import Allowed, Barred, Probe
from ambient.core.resilience.bucket import Taken, TooMany
from ambient.core.resilience.gauge import Kind
from ambient.core.resilience.retry import Answered, ConnectFailed, Reset
from ambient.waypoint.guards import Guard, Guards
from ambient.waypoint.ledger import Ledger

FINE, BAD, LATER = Answered(200), Answered(503), Answered(429)


@pytest.fixture
def workers() -> Iterator[list[Guards]]:
    ledger, memory = Ledger.make(2)
    ledgers = [Ledger.join(memory, 2) for _ in range(2)]
    yield [Guards(one, lambda: 0.0) for one in ledgers]
    for one in (ledger, *ledgers):
        one.close()
    os.close(memory)


def both(workers: list[Guards], policy: TrafficPolicy) -> list[Guard]:
    return [guards.of("s", policy) for guards in workers]


def test_limits_hold_for_all_workers(workers):
    one, other = both(workers, TrafficPolicy(limits=ConnectionLimits(requests=3, pending_requests=1)))
    assert [one.take(Kind.REQUEST), other.take(Kind.REQUEST), one.take(Kind.REQUEST)] == [True] * 3
    assert not other.take(Kind.REQUEST)
    assert other.take(Kind.PENDING)
    assert not one.take(Kind.PENDING)
    assert all(one.take(Kind.CONNECTION) for _ in range(50))
    one.give(Kind.REQUEST)
    assert other.take(Kind.REQUEST)
    assert other.under_way(Kind.REQUEST) == 3


def retries(guard: Guard, now: float, own: RatioBudget | None = None) -> int:
    """All that may be at once, each over at once."""
    count = 0
    while guard.retry(now, own):
        guard.give(Kind.RETRY)
        count += 1
        assert count < 10_000
    return count


def test_without_a_budget_there_is_one(workers):
    one, other = both(workers, TrafficPolicy())
    for _ in range(100):
        one.began(50.0)
    assert retries(one, 50.0) == 120
    assert retries(other, 50.0) == 0


@pytest.mark.parametrize("is_own", [True, False], ids=["own", "policy"])
def test_requests_of_all_workers_make_the_budget(workers, is_own):
    rule = RatioBudget(0.5, 0, timedelta(seconds=9))
    own = rule if is_own else None
    one, other = both(workers, TrafficPolicy(budget=ConcurrencyBudget(1, 9) if is_own else rule))
    for _ in range(10):
        one.began(50.0, own)
        other.began(50.0, own)
    assert retries(other, 50.1, own) == 5, "what others have not told yet is not there"
    one.began(51.5, own)
    one.began(53.0, own)
    assert retries(other, 53.0, own) == 5
    assert retries(one, 53.0, own) == 1
    assert retries(one, 70.0, own) == 0


def test_subsets_may_share_a_budget(workers):
    guards, _ = workers
    v1, v2 = (guards.of(name, TrafficPolicy(), "s") for name in ("s|v1", "s|v2"))
    assert retries(v1, 5.0) == 100
    assert retries(v2, 5.0) == 0
    minute = RatioBudget(0.2, 1, timedelta(minutes=1))
    assert retries(v2, 5.0, minute) == 60, "one over another time is another"


def test_retries_under_way_are_a_share_of_the_requests(workers):
    one, other = both(workers, TrafficPolicy(budget=ConcurrencyBudget(0.2, 1)))
    assert [one.retry(1), other.retry(1)] == [True, False]
    for _ in range(14):
        other.take(Kind.REQUEST)
    other.take(Kind.PENDING)
    assert [other.retry(1), one.retry(1), other.retry(1)] == [True, True, False]
    one.give(Kind.RETRY)
    assert other.retry(1)


def test_a_limit_on_retries_holds_beside_the_budget(workers):
    one, other = both(workers, TrafficPolicy(limits=ConnectionLimits(retries=1)))
    assert [one.retry(1), other.retry(1)] == [True, False]
    one.give(Kind.RETRY)
    one, other = both(workers, TrafficPolicy(limits=ConnectionLimits(retries=0)))
    assert not one.retry(1)


def test_a_retry_that_the_budget_refuses_is_not_under_way(workers):
    one, _ = both(workers, TrafficPolicy())
    assert not one.retry(1, RatioBudget(0, 0, timedelta(seconds=1)))
    assert one.under_way(Kind.RETRY) == 0


EJECTS = TrafficPolicy(outlier=Outlier(consecutive_5xx=3, most_ejected_percent=50))


def test_who_fails_in_front_of_any_worker_is_left_out_by_all(workers):
    one, other = both(workers, EJECTS)
    one.heard("a", BAD, 4, 1.0)
    other.heard("a", BAD, 4, 2.0)
    assert one.out(2.0) == frozenset()
    one.heard("a", ConnectFailed(), 4, 3.0)
    for guard in (one, other):
        out = guard.out(3.0)
        assert out == {"a"}
        assert guard.out(20.0) is out
        assert guard.out(33.1) == frozenset()


def test_a_success_anywhere_ends_a_row_of_failures(workers):
    one, other = both(workers, EJECTS)
    for now in range(1, 40):
        (one if now % 2 else other).heard("a", FINE if now % 3 == 0 else BAD, 4, float(now))
    assert one.out(40.0) == frozenset()


def test_an_idle_connection_that_was_given_up_says_nothing(workers):
    one, _ = both(workers, EJECTS)
    for _ in range(20):
        one.heard("a", Reset(was_sent=False), 4, 1.0)
    assert one.out(1.0) == frozenset()


def test_no_more_than_their_share_are_left_out(workers):
    guards = both(workers, EJECTS)
    for uid in ("a", "b", "c", "d"):
        for number in range(6):
            guards[number % 2].heard(uid, BAD, 4, 1.0)
    assert guards[0].out(1.0) == guards[1].out(1.0) == {"a", "b"}
    for number in range(3):
        guards[number % 2].heard("c", BAD, 4, 31.5)
    assert guards[0].out(31.5) == {"c"}


def test_services_do_not_mix(workers):
    for guards in workers:
        for name in ("s", "t"):
            guards.of(name, EJECTS)
    for _ in range(3):
        workers[0].of("s", EJECTS).heard("a", BAD, 2, 1.0)
    assert workers[1].of("s", EJECTS).out(1.0) == {"a"}
    assert workers[1].of("t", EJECTS).out(1.0) == frozenset()


BREAKS = TrafficPolicy(accrual=Accrual(consecutive_failures=2, jitter_ratio=0))


def trip(guard: Guard, now: float, uid: str = "a") -> None:
    for _ in range(2):
        guard.heard(uid, BAD, 2, now)


def test_one_probe_of_all_workers_decides(workers):
    one, other = both(workers, BREAKS)
    assert one.admit("a", 1.0) == Allowed()
    trip(one, 1.0)
    assert other.out(1.5) == {"a"}
    assert isinstance(other.admit("a", 1.5), Barred)
    assert other.out(2.1) == one.out(2.1) == frozenset()
    probe = other.admit("a", 2.1)
    assert isinstance(probe, Probe)
    assert isinstance(one.admit("a", 2.1), Barred)
    assert one.out(2.1) == {"a"}, "it is left alone meanwhile"
    other.heard("a", FINE, 2, 2.3, probe)
    assert one.out(2.3) == other.out(2.3) == frozenset()
    assert one.admit("a", 2.3) == Allowed()


def test_a_probe_that_fails_doubles_the_penalty(workers):
    one, other = both(workers, BREAKS)
    trip(one, 1.0)
    probe = one.admit("a", 2.0)
    assert isinstance(probe, Probe)
    one.heard("a", BAD, 2, 2.0, probe)
    assert other.out(3.9) == {"a"}
    assert other.out(4.1) == frozenset()
    assert isinstance(other.admit("a", 4.1), Probe)


@pytest.mark.parametrize("how", ["abandoned", "nothing"])
def test_a_probe_that_says_nothing_leaves_room_for_another(workers, how):
    one, other = both(workers, BREAKS)
    trip(one, 1.0)
    probe = one.admit("a", 2.0)
    assert isinstance(probe, Probe)
    assert isinstance(other.admit("a", 2.0), Barred)
    if how == "abandoned":
        one.abandoned("a", probe, 2.5)
    else:
        one.heard("a", Reset(was_sent=False), 2, 2.5, probe)
    assert other.out(3.1) == frozenset()
    assert isinstance(other.admit("a", 3.1), Probe)


def test_a_share_of_successes_is_of_all_workers(workers):
    policy = TrafficPolicy(accrual=Accrual(success_rate=SuccessRate(0.8, timedelta(seconds=10), 10)))
    one, other = both(workers, policy)
    for _ in range(8):
        one.heard("a", FINE, 2, 1.0)
    for _ in range(2):
        other.heard("a", LATER, 2, 1.0)
    assert one.out(1.0) == frozenset()
    other.heard("a", LATER, 2, 1.0)
    assert one.out(1.0) == {"a"}


def test_everybody_may_be_behind_a_breaker(workers):
    one, other = both(workers, BREAKS)
    for uid in ("a", "b"):
        trip(one, 1.0, uid)
    assert other.out(1.0) == {"a", "b"}


def test_a_guard_stays_while_its_policy_does(workers):
    guards, _ = workers
    first = guards.of("s", EJECTS)
    same = TrafficPolicy(outlier=Outlier(consecutive_5xx=3, most_ejected_percent=50))
    assert guards.of("s", same) is first
    assert guards.of("s", BREAKS) is not first
    guards.of("t", EJECTS)
    guards.keep(["t"], 1.0)
    assert len(guards) == 1


LIMIT = RateLimit("l", 10, timedelta(seconds=10), 2)
EACH = RateLimit("e", 10, timedelta(seconds=10), 1, ByAddress())


def test_a_rate_is_of_all_workers_together(workers):
    verdicts = [workers[n % 2].limited("s", LIMIT, "", 5.0) for n in range(3)]
    assert [type(one) for one in verdicts] == [Taken, Taken, TooMany]
    assert isinstance(workers[1].limited("t", LIMIT, "", 5.0), Taken)
    assert isinstance(workers[1].limited("s", LIMIT, "", 6.0), Taken)


def test_each_client_has_a_rate_of_its_own(workers):
    assert isinstance(workers[0].limited("s", EACH, "10.0.0.1", 5.0), Taken)
    assert isinstance(workers[1].limited("s", EACH, "10.0.0.2", 5.0), Taken)
    assert isinstance(workers[1].limited("s", EACH, "10.0.0.1", 5.0), TooMany)


def test_a_limit_that_was_changed_begins_anew(workers):
    slow = RateLimit("l", 1, timedelta(hours=1), 1)
    assert isinstance(workers[0].limited("s", slow, "", 5.0), Taken)
    assert isinstance(workers[0].limited("s", slow, "", 5.0), TooMany)
    assert isinstance(workers[0].limited("s", LIMIT, "", 5.0), Taken)
