"""How busy and how quick endpoints are."""

import pytest
from core.worlds import workload

from ambient.core.resilience.balance.load import Load, Loads

A, B = workload("a", "10.0.0.1"), workload("b", "10.0.0.2")
DOUBLE = workload("a", "10.0.0.1", capacity=2)


def busy(a: int, b: int, took_a: float = 0, took_b: float = 0) -> Loads:
    loads = Loads()
    for one, count, took in ((A, a, took_a), (B, b, took_b)):
        for _ in range(count):
            loads.begin(one.uid)
        if took:
            loads.begin(one.uid)
            loads.ended(one.uid, took, 100)
    return loads


@pytest.mark.parametrize(
    ("loads", "better"),
    [
        pytest.param(busy(0, 0), A, id="even-is-the-first"),
        pytest.param(busy(2, 1), B, id="less-under-way"),
        pytest.param(busy(1, 2), A, id="less-under-way-here"),
        pytest.param(busy(1, 0, 0.010, 0.015), B, id="about-as-quick"),
        pytest.param(busy(1, 0, 0.010, 0.100), A, id="much-slower-there"),
        pytest.param(busy(0, 3, 0.100, 0.010), B, id="much-slower-here"),
        pytest.param(busy(5, 0, 0.010, 0.030), B, id="slower-and-idle"),
        pytest.param(busy(1, 0, 0.010, 0), B, id="unknown-is-not-quick-or-slow"),
    ],
)
def test_the_better_of_two(loads, better):
    assert loads.better(A, B, 100) is better


@pytest.mark.parametrize(
    ("under_way", "better"), [((1, 0), B), ((1, 1), DOUBLE), ((2, 1), DOUBLE), ((3, 1), B), ((0, 0), DOUBLE)]
)
def test_capacity_is_what_more_can_be_under_way_of(under_way, better):
    assert busy(*under_way).better(DOUBLE, B, 100) is better


def test_a_peak_counts_at_once_and_is_forgotten_slowly():
    load = Load()
    load.note(0.010, 0)
    load.note(0.500, 1)
    assert load.took(1) == 0.5
    load.note(0.010, 1)
    assert load.took(1) == 0.5
    load.note(0.010, 11)
    assert 0.15 < load.took(11) < 0.25
    assert load.took(11) > load.took(20) > load.took(50)
    assert load.took(1000) == 0


def test_a_quick_failure_makes_nobody_look_quicker():
    loads = busy(0, 0, 0.100)
    loads.begin(A.uid)
    loads.ended(A.uid, 0.001, 110, failed=True)
    assert loads.of(A.uid).took(110) == pytest.approx(0.1 * 2.718281828**-1)
    loads.begin(A.uid)
    loads.ended(A.uid, 3.0, 110, failed=True)
    assert loads.of(A.uid).took(110) == 3.0


def test_who_is_gone_is_forgotten_when_nothing_is_under_way_there():
    loads = busy(2, 1)
    loads.forget(A.uid)
    loads.forget(B.uid)
    loads.ended(A.uid, 0.1, 1)
    assert loads.of(A.uid).under_way == 1
    loads.begin(B.uid)  # It came back.
    loads.ended(A.uid, None, 2)
    loads.ended(B.uid, None, 2)
    loads.ended(B.uid, None, 2)
    assert len(loads) == 1
    assert loads.of(B.uid).under_way == 0
    loads.ended("nobody", 0.1, 1)
