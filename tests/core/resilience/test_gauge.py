"""What is under way, and whether more may begin."""

import pytest
from hypothesis import given, strategies as st

from ambient.core.model.traffic import ConnectionLimits
from ambient.core.resilience.gauge import KINDS, Cells, Kind, limit_of


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(Kind.CONNECTION, 1), (Kind.PENDING, 2), (Kind.REQUEST, 3), (Kind.RETRY, None)],
)
def test_each_kind_has_its_limit(kind, limit):
    limits = ConnectionLimits(connections=1, pending_requests=2, requests=3, requests_per_connection=4)
    assert limit_of(limits, kind) == limit


moves = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(Kind), st.sampled_from(["take", "give", "leave"])),
    max_size=100,
)


@given(moves, st.integers(0, 4))
def test_no_more_are_under_way_than_the_limit_whoever_took_them(steps, limit):
    memory = [0] * (5 + 3 * KINDS)
    workers = [Cells(memory, 5, 3, own) for own in range(3)]
    held = {(worker, kind): 0 for worker in range(3) for kind in Kind}
    for worker, kind, what in steps:
        total = sum(held[other, kind] for other in range(3))
        match what:
            case "take":
                assert workers[worker].take(kind, limit) is (total < limit)
                held[worker, kind] += total < limit
            case "give" if held[worker, kind]:
                workers[worker].give(kind)
                held[worker, kind] -= 1
            case "leave":
                workers[0].leave(worker)
                held |= {(worker, every): 0 for every in Kind}
        for every in Kind:
            expected = [held[one, every] for one in range(3)]
            assert [cells.own(every) for cells in workers] == expected
            assert {cells.total(every) for cells in workers} == {sum(expected)}
    assert memory[:5] == [0] * 5


def test_without_a_limit_there_is_always_room():
    cells = Cells([0] * KINDS, 0, 1, 0)
    assert all(cells.take(Kind.REQUEST, None) for _ in range(1000))
    assert cells.total(Kind.REQUEST) == 1000


def test_what_was_not_taken_cannot_be_given_back():
    with pytest.raises(ValueError, match="REQUEST was given back"):
        Cells([0] * KINDS, 0, 1, 0).give(Kind.REQUEST)
