import json

import pytest
from hypothesis import given, strategies as st

from ambient.core.errors import PeerError
from ambient.telemetry.request_metrics import (
    BOUNDS,
    METRICS,
    RequestCounts,
    RequestTotals,
    empty,
    observe,
    overflowed,
)

A = (("reporter", "waypoint"), ("source_app", "a"))
B = (("reporter", "waypoint"), ("source_app", "b"))


def test_workers_are_summed_and_those_that_are_gone_still_count():
    one, two, totals = RequestCounts(), RequestCounts(), RequestTotals()
    one.cells(0, A)[0] += 2
    two.cells(0, B)[0] += 1
    two.cells(0, A)[0] += 1
    observe(two.cells(1, A), 3.0)
    two.causes["retried", "reset"] += 1
    totals.update(1, one.report())
    totals.update(2, two.report())
    one.cells(0, A)[0] += 1
    totals.update(1, one.report())
    totals.ended(2)
    duration = [0, 0, 1, *[0] * (len(BOUNDS) - 2), 3.0]
    assert totals.table() == {(0, A): [4], (0, B): [1], (1, A): duration}
    assert totals.causes() == {("retried", "reset"): 1}
    totals.ended(2)
    assert totals.table()[0, A] == [4]


def test_a_report_holds_what_changed_and_names_a_set_once():
    counts = RequestCounts()
    counts.cells(0, A)[0] += 1
    counts.cells(0, B)[0] += 1
    assert len(json.loads(counts.report())["sets"]) == 2
    counts.cells(0, B)[0] += 1
    counts.cells(1, A)
    report = json.loads(counts.report())
    assert (report["sets"], report["named"], report["rows"][0]) == ([], [[2, 1, 0]], [1, [2]])
    assert json.loads(counts.report())["rows"] == []
    counts.tell_all()
    report = json.loads(counts.report())
    assert (len(report["sets"]), report["rows"][:2]) == (2, [[0, [1]], [1, [2]]])


def test_each_metric_has_its_own_cap():
    counts = RequestCounts(most=1)
    assert counts.cells(0, A) is counts.cells(0, A)
    assert counts.cells(0, B) is counts.cells(0, overflowed(B)) is not counts.cells(0, A)
    assert counts.cells(1, B) is not counts.cells(1, A)


def test_the_parents_cap_holds_for_workers_that_are_gone():
    totals = RequestTotals(most=2)
    for worker in range(20):
        counts = RequestCounts()
        counts.cells(0, (("source_app", str(worker)),))[0] += 1
        totals.update(worker, counts.report())
        totals.ended(worker)
    table = totals.table()
    assert len(table) == 3
    assert table[0, (("source_app", "overflow"),)] == [18]


@pytest.mark.parametrize(
    "report",
    [
        b"",
        b"[]",
        b'{"sets":[],"named":[],"rows":[]}',
        b'{"sets":[[]],"named":[[0,9,0]],"rows":[],"causes":[]}',
        b'{"sets":[[]],"named":[[0,-1,0]],"rows":[],"causes":[]}',
        b'{"sets":[[]],"named":[[0,0,1]],"rows":[],"causes":[]}',
        b'{"sets":[[]],"named":[[0,0,-1]],"rows":[],"causes":[]}',
        b'{"sets":[[["a"]]],"named":[],"rows":[],"causes":[]}',
        b'{"sets":[],"named":[],"rows":[[0,[1]]],"causes":[]}',
        b'{"sets":[[]],"named":[[0,0,0]],"rows":[[0,[1,2]]],"causes":[]}',
        b'{"sets":[[]],"named":[[0,0,0]],"rows":[[0,["x"]]],"causes":[]}',
        b'{"sets":[],"named":[],"rows":[],"causes":[["a"]]}',
        b"\xff",
    ],
)
def test_what_is_no_report_is_the_workers_fault(report):
    totals = RequestTotals()
    with pytest.raises(PeerError):
        totals.update(1, report)
    assert totals.table() == {}


@given(st.lists(st.floats(0, 1e9), max_size=50))
def test_every_value_is_in_one_bucket(values):
    cells = empty(1)
    for value in values:
        observe(cells, value)
    assert sum(cells[:-1]) == len(values)
    assert cells[-1] == pytest.approx(sum(values))
    for at, bound in enumerate(BOUNDS):
        assert sum(cells[: at + 1]) == sum(value <= bound for value in values)


def test_only_the_first_metric_is_a_plain_number():
    assert [len(empty(at)) for at in range(len(METRICS))] == [1] + [len(BOUNDS) + 2] * 3
