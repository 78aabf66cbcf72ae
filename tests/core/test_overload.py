"""When nothing more is taken on."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ambient.core.overload import SHED_FROM, SHED_UNTIL, Capacity, Overload

MIB = 1 << 20


def test_memory_is_short_from_85_percent_until_it_is_below_80() -> None:
    overload = Overload(Capacity(memory=1000 * MIB))
    changes = [overload.weigh(used * MIB) for used in (0, 849, 850, 900, 801, 800, 799, 849)]
    assert changes == [False, False, True, False, False, False, True, False]


def test_the_reason_names_what_is_short() -> None:
    overload = Overload(Capacity(memory=1000 * MIB, connections=10))
    assert overload.why_no_request is None
    assert overload.why_no_connection(9) is None
    assert overload.why_no_connection(10) == "the waypoint is overloaded: it carries 10 connections of 10"
    overload.weigh(900 * MIB)
    said = "the waypoint is overloaded: 900 of 1000 MiB of memory are used"
    assert overload.why_no_request == overload.why_no_connection(0) == said


def test_without_limits_there_is_no_end() -> None:
    overload = Overload(Capacity())
    assert not overload.weigh(1 << 50)
    assert overload.why_no_connection(1 << 30) is None


@given(st.lists(st.integers(0, 1200), min_size=1), st.integers(1, 1000))
def test_what_is_beyond_either_mark_is_judged_alike_whatever_came_before(used: list[int], limit: int) -> None:
    overload = Overload(Capacity(memory=limit))
    for one in used:
        overload.weigh(one)
    if used[-1] >= SHED_FROM * limit:
        assert overload.why_no_request is not None
    if used[-1] < SHED_UNTIL * limit:
        assert overload.why_no_request is None


@pytest.mark.parametrize("before", [0, 900])
def test_between_the_marks_nothing_changes(before: int) -> None:
    overload = Overload(Capacity(memory=1000))
    overload.weigh(before)
    assert not overload.weigh(820)
