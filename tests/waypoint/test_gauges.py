"""Rows of what is under way, and whose they are."""

from collections.abc import Iterator

import pytest
from waypoint.shared import SECRET, memory

from ambient.core.resilience.gauge import Kind
from ambient.waypoint import gauges
from ambient.waypoint.gauges import Gauges

START, ROWS, WORKERS = 64, 3, 2


@pytest.fixture
def workers() -> Iterator[list[Gauges]]:
    with memory(START + gauges.size(ROWS, WORKERS)) as (view, locks):
        yield [
            Gauges(view, START, ROWS, WORKERS, locks, SECRET, own=own, parts=WORKERS)
            for own in range(WORKERS)
        ]


def test_workers_share_the_gauge_of_a_service(workers):
    one, other = (each.of("a") for each in workers)
    assert workers[0].of("a") is one
    assert [one.take(Kind.REQUEST, 3), other.take(Kind.REQUEST, 3), one.take(Kind.REQUEST, 3)] == [True] * 3
    assert not other.take(Kind.REQUEST, 3)
    assert other.take(Kind.REQUEST, None)
    assert one.total(Kind.REQUEST) == other.total(Kind.REQUEST) == 4
    assert workers[0].of("b").total(Kind.REQUEST) == one.total(Kind.RETRY) == 0
    one.give(Kind.REQUEST)
    assert other.total(Kind.REQUEST) == 3


def test_a_row_is_free_when_no_worker_holds_it(workers):
    one, other = workers
    held = [one.of(name) for name in "abc"]
    held[0].add(Kind.CONNECTION)
    other.of("b")
    one.keep([])
    assert held[0].total(Kind.CONNECTION) == 1, "something is under way there"
    assert one.of("a") is held[0]
    assert one.of("d").take(Kind.REQUEST, 1), "c's row"
    assert one.homeless == 0
    assert one.of("e").take(Kind.REQUEST, 1)
    assert one.homeless == 1
    other.keep([])
    assert other.of("f").total(Kind.REQUEST) == 0
    assert other.homeless == 0


def test_who_held_on_to_a_row_that_was_given_up_disturbs_nobody(workers):
    one, _ = workers
    stale = one.of("a")
    one.keep([])
    fresh = [one.of(name) for name in "xyz"]
    assert one.homeless == 0
    stale.add(Kind.REQUEST)
    assert [gauge.total(Kind.REQUEST) for gauge in fresh] == [0, 0, 0]
    stale.give(Kind.REQUEST)


@pytest.mark.parametrize(("limit", "room"), [(0, 0), (1, 1), (7, 3), (10, 5)])
def test_without_a_row_a_worker_keeps_to_its_part(workers, limit, room):
    one, _ = workers
    for name in "abc":
        one.of(name)
    apart = one.of("d")
    assert sum(apart.take(Kind.REQUEST, limit) for _ in range(20)) == room
    assert apart.take(Kind.REQUEST, None)


def test_what_a_worker_held_is_returned_everywhere(workers):
    one, other = workers
    for name in "ab":
        for each in workers:
            each.of(name).add(Kind.REQUEST)
    one.leave(1)
    assert [one.of(name).total(Kind.REQUEST) for name in "ab"] == [1, 1]
    assert [other.of(name).is_idle for name in "ab"] == [True, True]
