from collections import Counter

import pytest
from core.worlds import workload
from hypothesis import given, strategies as st

from ambient.core import balance
from ambient.core.endpoints import Candidates

A, B, C = (workload(name, f"10.0.0.{n}", capacity=n) for n, name in enumerate("abc", 1))
EMPTY = workload("empty", "10.0.0.9", capacity=0)


def weighted(endpoints, chance):
    return balance.by_capacity(chance)(Candidates.of(endpoints))


TABLE = {
    "nobody": ([], 0.5, None),
    "only-one": ([A], 0.999, A),
    "no-capacity": ([EMPTY], 0.0, None),
    "zero-capacity-is-skipped-first": ([EMPTY, A], 0.0, A),
    "zero-capacity-is-skipped-last": ([A, EMPTY], 0.999999, A),
    "first-share": ([A, B, C], 0.16, A),
    "second-share": ([A, B, C], 0.17, B),
    "third-share": ([A, B, C], 0.5, C),
    "largest-chance": ([A, B, C], 1 - 2**-53, C),
}


@pytest.mark.parametrize(("endpoints", "chance", "chosen"), list(TABLE.values()), ids=TABLE)
def test_weighted(endpoints, chance, chosen):
    assert weighted(endpoints, chance) is chosen


def test_shares_are_in_proportion():
    drawn = Counter(weighted([A, B, C], n / 600).name for n in range(600))
    assert drawn == {"a": 100, "b": 200, "c": 300}


@given(st.lists(st.integers(0, 10_000), max_size=6), st.floats(0, 1, exclude_max=True))
def test_whoever_is_chosen_has_capacity(capacities, chance):
    endpoints = [workload(str(n), capacity=capacity) for n, capacity in enumerate(capacities)]
    chosen = weighted(endpoints, chance)
    assert (chosen is None) == (sum(capacities) == 0)
    assert chosen is None or chosen.capacity > 0


AVOIDED = {
    "nobody": ([A, B, C], 0.0, (), A),
    "the-first": ([A, B, C], 0.0, (A.uid,), B),
    "the-heaviest": ([A, B, C], 0.999, (C.uid,), B),
    "all-but-one": ([A, B, C], 0.5, (A.uid, C.uid), B),
    "all": ([A, B], 0.5, (A.uid, B.uid), None),
    "somebody-else": ([A, B], 0.0, (C.uid,), A),
    "all-but-who-has-no-capacity": ([A, EMPTY], 0.5, (A.uid,), None),
}


@pytest.mark.parametrize(("endpoints", "chance", "avoided", "chosen"), AVOIDED.values(), ids=AVOIDED)
def test_who_is_avoided_is_not_chosen(endpoints, chance, avoided, chosen):
    pick = balance.avoiding(balance.by_capacity(chance), avoided)
    assert pick(Candidates.of(endpoints)) is chosen
