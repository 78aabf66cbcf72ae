"""Who of several workers should take the next connection."""

import os
from collections.abc import Iterator

import pytest

from ambient.member.shares import Kind, Shares


@pytest.fixture
def shares() -> Iterator[Shares]:
    made, memory = Shares.make(3)
    yield made
    os.close(memory)


def of(shares: Shares, *counts: int) -> None:
    for worker, count in enumerate(counts):
        shares.tell(worker, Kind.TUNNEL, count)


@pytest.mark.parametrize(
    ("counts", "leaders"),
    [
        pytest.param((0, 0, 0), [], id="nobody-has-any"),
        pytest.param((1, 0, 0), [0], id="one-has-the-first"),
        pytest.param((1, 1, 0), [0, 1], id="two-have-one"),
        pytest.param((4, 4, 4), [], id="even"),
        pytest.param((80, 88, 90), [], id="about-even"),
        pytest.param((80, 91, 80), [1], id="more-than-an-eighth-ahead"),
    ],
)
def test_who_carries_more_leaves_the_next_to_another(
    shares: Shares, counts: tuple[int, ...], leaders: list[int]
) -> None:
    of(shares, *counts)
    assert [worker for worker in range(3) if shares.leads(worker, Kind.TUNNEL)] == leaders


def test_kinds_are_counted_apart(shares: Shares) -> None:
    of(shares, 0, 0, 0)
    shares.tell(0, Kind.CONNECTION, 5)
    shares.tell(1, Kind.CONNECTION, 0)
    assert shares.leads(0, Kind.CONNECTION)
    assert not shares.leads(0, Kind.TUNNEL)


def test_who_is_not_there_is_not_waited_for(shares: Shares) -> None:
    shares.tell(0, Kind.TUNNEL, 5)
    assert not shares.leads(0, Kind.TUNNEL)
    shares.tell(1, Kind.TUNNEL, 0)
    assert shares.leads(0, Kind.TUNNEL)
    shares.leave(1)
    assert not shares.leads(0, Kind.TUNNEL)


def test_another_process_sees_the_same() -> None:
    made, memory = Shares.make(2)
    theirs = Shares(memory, 2)
    os.close(memory)
    theirs.tell(1, Kind.TUNNEL, 0)
    made.tell(0, Kind.TUNNEL, 1)
    assert theirs.leads(0, Kind.TUNNEL)


def test_what_the_others_have_is_summed_up_without_those_who_left(shares: Shares) -> None:
    for worker, memory in enumerate((10, 200, 3000)):
        shares.tell(worker, Kind.MEMORY, memory)
    assert [shares.others(worker, Kind.MEMORY) for worker in range(3)] == [3200, 3010, 210]
    shares.leave(1)
    assert shares.others(0, Kind.MEMORY) == 3000
    assert shares.others(0, Kind.CONNECTION) == 0
