"""How many requests may be sent again."""

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ambient.core.model.traffic import ConcurrencyBudget, RatioBudget
from ambient.core.resilience import budget
from ambient.core.resilience.budget import DEFAULT_BUDGET
from ambient.core.resilience.state import LARGEST


def spent(rule: RatioBudget, state, now: float) -> tuple[tuple[float, ...], int]:
    """All that there is at a moment."""
    for count in range(100_000):
        state, taken = budget.take(rule, state, now)
        if not taken:
            return state, count
    raise AssertionError("a budget without end")


@pytest.mark.parametrize(
    ("ratio", "least", "seconds", "requests", "retries"),
    [
        pytest.param(0.2, 10, 10, 0, 100, id="default-quiet"),
        pytest.param(0.2, 10, 10, 1000, 300, id="default-busy"),
        pytest.param(0.1, 0, 10, 10, 1, id="share-alone"),
        pytest.param(0.1, 0, 10, 9, 0, id="less-than-one"),
        pytest.param(0.0, 0, 10, 1000, 0, id="nothing-ever"),
        pytest.param(0.0, 0.5, 10, 1000, 5, id="least-alone"),
        pytest.param(1.5, 0, 1, 10, 15, id="more-than-all"),
        pytest.param(0.2, 1, 60, 5, 61, id="a-minute"),
    ],
)
def test_a_window_has_its_share_and_its_least(ratio, least, seconds, requests, retries):
    rule = RatioBudget(ratio, least, timedelta(seconds=seconds))
    state = budget.seen(rule, (), requests, 1000, 1000)
    state, count = spent(rule, state, 1000)
    assert count == retries
    assert spent(rule, state, 1000 + seconds / 2)[1] == 0
    assert spent(rule, state, 1000 + 1.2 * seconds)[1] == round(least * seconds)
    assert len(state) <= LARGEST


def test_the_default_is_the_peers():
    assert (DEFAULT_BUDGET.ratio, DEFAULT_BUDGET.least_per_second) == (0.2, 10)
    assert DEFAULT_BUDGET.window == timedelta(seconds=10)


def test_what_is_told_late_counts_for_when_it_was():
    rule = RatioBudget(1, 0, timedelta(seconds=9))
    assert spent(rule, budget.seen(rule, (), 5, at=100.5, now=108.4), 108.4)[1] == 5
    assert spent(rule, budget.seen(rule, (), 5, at=100.5, now=110.4), 110.4)[1] == 0


def test_it_says_nothing_once_its_window_is_over():
    state, _ = budget.take(DEFAULT_BUDGET, (), 50.0)
    assert 60 <= state[0] <= 63
    assert spent(DEFAULT_BUDGET, state, state[0]) == spent(DEFAULT_BUDGET, (), state[0])


steps = st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=120)


@given(steps, st.sampled_from([0.1, 0.2, 1.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_over_no_window_are_retries_more_than_their_share(moves, ratio, least):
    rule = RatioBudget(ratio, least, timedelta(seconds=5))
    now, state = 1000.0, ()
    requests, retries = [], []
    for wait, is_retry in moves:
        now += wait
        if is_retry:
            state, taken = budget.take(rule, state, now)
            if taken:
                retries.append(now)
                within = [at for at in requests if at > now - 5]
                recent = [at for at in retries if at > now - 5]
                assert len(recent) <= ratio * len(within) + least * 5 + 1e-6
        else:
            state = budget.seen(rule, state, 1, now, now)
            requests.append(now)


@pytest.mark.parametrize(
    ("ratio", "least", "requests", "most"),
    [
        pytest.param(0.2, 3, 0, 3, id="least"),
        pytest.param(0.2, 3, 15, 3, id="as-much"),
        pytest.param(0.2, 3, 100, 20, id="share"),
        pytest.param(0.2, 0, 4, 0, id="none"),
        pytest.param(0.1, 0, 10, 1, id="exactly-one"),
    ],
)
def test_retries_under_way_are_a_share_of_all(ratio, least, requests, most):
    rule = ConcurrencyBudget(ratio, least)
    assert budget.most(rule, requests) == most
    assert [n for n in range(50) if budget.admits(rule, requests, n)] == list(range(most))
