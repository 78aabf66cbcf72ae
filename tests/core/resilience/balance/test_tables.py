"""Consistent hashing: who has a key, and who gets it when one comes or goes."""

from collections import Counter
from unittest import mock

import pytest
from core.worlds import workload
from hypothesis import given, strategies as st

from ambient.core.endpoints import Candidates
from ambient.core.resilience.balance import maglev
from ambient.core.resilience.balance.maglev import Maglev
from ambient.core.resilience.balance.pool import changes
from ambient.core.resilience.balance.ring import Ring, place

KEYS = [place(f"key-{number}") for number in range(4000)]


def endpoint(number: int, capacity: int = 1):
    return workload(f"w{number:04}", "10.0.0.1", capacity=capacity)


def owners(table) -> list[str]:
    return [next(table.walk(key)) for key in KEYS]


def ring_of(endpoints, size=1024) -> Ring:
    ring = Ring(size)
    ring.change((), endpoints)
    return ring


def maglev_of(endpoints, size=4099) -> Maglev:
    table = Maglev(size)
    table.change(Candidates.of(endpoints))
    return table


MAKERS = pytest.mark.parametrize("make", [ring_of, maglev_of], ids=["ring", "maglev"])
TEN = [endpoint(number) for number in range(10)]


@MAKERS
@pytest.mark.parametrize("capacities", [(1,) * 10, (1, 2, 3, 4), (100, 200, 300), (0, 5, 5)], ids=str)
def test_endpoints_have_about_their_part_of_the_keys(make, capacities):
    endpoints = [endpoint(number, capacity) for number, capacity in enumerate(capacities)]
    counts = Counter(owners(make(endpoints)))
    for one in endpoints:
        part = one.capacity / sum(capacities)
        assert abs(counts[one.uid] / len(KEYS) - part) <= 0.35 * part + 0.005


@MAKERS
@pytest.mark.parametrize("gone", [0, 4, 9])
def test_who_goes_leaves_its_keys_and_no_others(make, gone):
    before = owners(make(TEN))
    after = owners(make([one for one in TEN if one is not TEN[gone]]))
    moved = sum(was != now for was, now in zip(before, after, strict=True) if was != TEN[gone].uid)
    assert moved <= 0.05 * len(KEYS)


def test_a_ring_moves_only_what_must_move():
    ring = ring_of(TEN)
    before = owners(ring)
    ring.change((), [endpoint(10)])
    after = owners(ring)
    assert {now for was, now in zip(before, after, strict=True) if was != now} == {endpoint(10).uid}


@MAKERS
def test_the_next_in_order_stands_in_for_who_is_gone(make):
    table = make(TEN)
    for key in KEYS[:50]:
        order = list(table.walk(key))
        assert sorted(order) == [one.uid for one in TEN]
        first = next(one for one in TEN if one.uid == order[0])
        rest = make([one for one in TEN if one is not first])
        if make is ring_of:
            assert next(rest.walk(key)) == order[1]


steps = st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 4)), max_size=60)


@given(steps)
def test_a_ring_that_was_changed_is_one_that_was_made_so(moves):
    ring, held = Ring(64), {}
    for comes, number, capacity in moves:
        gone = [held.pop(number)] if number in held else []
        come = []
        if comes:
            held[number] = endpoint(number, capacity)
            come = [held[number]]
        ring.change(gone, come)
        fresh = Ring(64)
        fresh.change((), held.values())
        assert ring._places == fresh._places


def test_a_key_has_the_same_place_in_every_process():
    assert place("key") == 0xCE7CCCADC3A94CF5


def test_a_ring_is_no_smaller_than_asked_for_and_has_a_place_for_each():
    assert 1024 <= len(ring_of(TEN)) < 2048 + 10
    assert len(ring_of([endpoint(number) for number in range(5000)])) == 5000
    assert len(ring_of([endpoint(number, 100) for number in range(3000)])) >= 3000


def test_nobody_has_no_keys():
    for table in (ring_of([]), maglev_of([]), ring_of([endpoint(1, 0)]), maglev_of([endpoint(1, 0)])):
        assert list(table.walk(7)) == []


def test_a_table_is_filled_beside_the_one_in_use():
    table = maglev_of(TEN)
    before = owners(table)
    fewer, other = TEN[1:], TEN[2:]
    with mock.patch.object(maglev, "_STEP", 1000):
        table.change(Candidates.of(fewer))
        table.advance()
        assert owners(table) == before
        table.change(Candidates.of(TEN))
        table.change(Candidates.of(other))
        rounds = 0
        while not table.is_settled:
            table.advance()
            rounds += 1
        assert rounds <= 2 * (4099 // 1000 + 1)
    assert owners(table) == owners(maglev_of(other))


def test_changes_are_those_between_two_versions():
    before = Candidates.of([endpoint(1), endpoint(2), endpoint(3)])
    after = Candidates.of([endpoint(1), endpoint(3, 2), endpoint(4)])
    gone, come = changes(before, after)
    assert [(one.name, one.capacity) for one in gone] == [("w0002", 1), ("w0003", 1)]
    assert [(one.name, one.capacity) for one in come] == [("w0003", 2), ("w0004", 1)]
    assert changes(before, before) == ([], [])
