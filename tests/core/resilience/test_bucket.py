"""How many requests are within a rate."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ambient.core.model.limit import LimitScope, RateLimit
from ambient.core.resilience import bucket
from ambient.core.resilience.bucket import Taken, TooMany


def limit(requests: int, seconds: float, burst: int) -> RateLimit:
    return RateLimit("lim", requests, timedelta(seconds=seconds), burst)


def test_a_burst_then_as_it_flows_in():
    rule, state = limit(10, 1, 3), ()
    verdicts = []
    for now in (0, 0, 0, 0, 0.1, 0.1, 0.35):
        state, verdict = bucket.take(rule, state, 100 + now)
        verdicts.append(verdict)
    assert [type(verdict) for verdict in verdicts] == [Taken] * 3 + [TooMany, Taken, TooMany, Taken]
    assert [verdict.remaining for verdict in verdicts if isinstance(verdict, Taken)] == [2, 1, 0, 0, 1]
    assert verdicts[3] == TooMany(pytest.approx(0.1), pytest.approx(0.3))


@pytest.mark.parametrize("rule", [limit(0, 1, 5), limit(5, 1, 0)], ids=["no-requests", "no-burst"])
def test_a_limit_of_nothing_lets_nothing_in(rule):
    state, verdict = bucket.take(rule, (), 7)
    assert (state, verdict) == ((), TooMany(math.inf, math.inf))
    assert bucket.headers(rule, verdict)[1:] == (("ratelimit", '"lim";r=0'),)


def test_a_full_bucket_is_as_good_as_a_new_one():
    rule = limit(10, 1, 3)
    state, _ = bucket.take(rule, (), 100.0)
    assert state == (pytest.approx(100.1),)
    assert bucket.take(rule, state, state[0]) == bucket.take(rule, (), state[0])


@pytest.mark.parametrize(
    ("replicas", "seconds", "burst"), [(0, 1, 10), (1, 1, 10), (3, 3, 3), (10, 10, 1), (11, 11, 1)]
)
def test_replicas_have_equal_shares_of_what_they_have_together(replicas, seconds, burst):
    alone = limit(10, 1, 10)
    assert bucket.share(alone, replicas) == alone
    together = replace(alone, scope=LimitScope.MESH)
    part = bucket.share(together, replicas)
    assert part == replace(together, period=timedelta(seconds=seconds), burst=burst)


@given(st.integers(1, 9), st.integers(1, 50), st.integers(1, 60), st.lists(st.floats(0, 0.5), max_size=80))
def test_shares_let_in_no_more_than_the_whole(replicas, requests, burst, waits):
    rule = replace(limit(requests, 1, burst), scope=LimitScope.MESH)
    part, states, now, taken = bucket.share(rule, replicas), [()] * replicas, 5000.0, 0
    for i, wait in enumerate([0.0, *waits]):
        now += wait
        states[i % replicas], verdict = bucket.take(part, states[i % replicas], now)
        taken += isinstance(verdict, Taken)
    assert taken <= max(burst, replicas) + requests * (now - 5000) + 1e-6


@given(
    st.lists(st.floats(0, 0.5), max_size=150),
    st.integers(1, 50),
    st.sampled_from([0.5, 1.0, 60.0]),
    st.integers(1, 20),
)
def test_over_no_stretch_is_more_let_in_than_the_burst_and_what_flows_in(waits, requests, seconds, burst):
    rule, state, now = limit(requests, seconds, burst), (), 5000.0
    taken: list[float] = []
    for wait in waits:
        now += wait
        state, verdict = bucket.take(rule, state, now)
        if isinstance(verdict, Taken):
            taken.append(now)
            assert 0 <= verdict.remaining < burst
        else:
            _, again = bucket.take(rule, state, now + verdict.retry_after)
            assert isinstance(again, Taken)
    rate = requests / seconds
    for first, since in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - since) + 2e-3


@given(st.integers(1, 100), st.integers(1, 30))
def test_who_keeps_to_the_rate_is_never_refused(requests, burst):
    rule, state = limit(requests, 1, burst), ()
    for n in range(200):
        state, verdict = bucket.take(rule, state, 3e6 + n / requests)
        assert isinstance(verdict, Taken)


@pytest.mark.parametrize(
    ("verdict", "headers"),
    [
        pytest.param(
            Taken(2, 0.3),
            (("ratelimit-policy", '"lim";q=3;w=1'), ("ratelimit", '"lim";r=2;t=1')),
            id="within",
        ),
        pytest.param(
            TooMany(1.2, 7),
            (("ratelimit-policy", '"lim";q=3;w=1'), ("ratelimit", '"lim";r=0;t=2'), ("retry-after", "2")),
            id="beyond",
        ),
        pytest.param(
            TooMany(0.01, 7),
            (("ratelimit-policy", '"lim";q=3;w=1'), ("ratelimit", '"lim";r=0;t=1'), ("retry-after", "1")),
            id="never-at-once",
        ),
    ],
)
def test_what_a_client_is_told(verdict, headers):
    assert bucket.headers(limit(10, 1, 3), verdict) == headers


def test_a_name_cannot_break_out_of_its_quotes():
    rule = RateLimit('a"\\', 10, timedelta(seconds=1), 3)
    assert bucket.headers(rule, Taken(1, 0))[1] == ("ratelimit", '"a\\"\\\\";r=1;t=0')
