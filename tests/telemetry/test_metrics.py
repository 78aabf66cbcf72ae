import json

import pytest
from hypothesis import given, strategies as st

from ambient.core.errors import PeerError
from ambient.core.observation import LABELS
from ambient.telemetry.metrics import OVERFLOW, Totals, Traffic, open_sockets


def labels(name: str, reporter: str = "source") -> tuple[str, ...]:
    """Labels that differ by ``name`` wherever a peer can make them differ."""
    few = {
        "reporter": reporter,
        "request_protocol": "tcp",
        "response_flags": "-",
        "connection_security_policy": "x",
    }
    return tuple(few.get(label, f"{name}-{label}") for label in LABELS)


def test_workers_are_summed():
    one, two, totals = Traffic(), Traffic(), Totals()
    counts = one.counts(labels("a"))
    counts.opened += 2
    counts.sent += 100
    assert one.counts(labels("a")) is counts
    two.counts(labels("a")).opened += 1
    two.counts(labels("b", "destination")).failed += 1
    two.refused("destination", "denied")
    totals.update(1, one.report())
    totals.update(2, two.report())
    counts.closed += 1
    counts.received += 7
    totals.update(1, one.report())
    assert totals.table() == {labels("a"): (3, 1, 0, 100, 7), labels("b", "destination"): (0, 0, 1, 0, 0)}
    assert open_sockets(totals.table()) == {"source": 2, "destination": 0}
    assert totals.refused() == {("destination", "denied"): 1}


def test_a_report_holds_what_changed():
    traffic = Traffic()
    traffic.counts(labels("a")).opened += 1
    traffic.counts(labels("b")).opened += 1
    traffic.report()
    traffic.counts(labels("b")).closed += 1
    assert [row[0][1] for row in json.loads(traffic.report())["rows"]] == ["b-source_workload"]
    assert json.loads(traffic.report())["rows"] == []


def test_the_totals_of_a_dead_worker_stay_and_its_connections_count_as_lost():
    traffic, totals = Traffic(), Totals()
    counts = traffic.counts(labels("a"))
    counts.opened, counts.closed, counts.sent = 5, 2, 1000
    traffic.refused("source", "unknown_waypoint")
    totals.update(7, traffic.report())
    assert totals.ended(7) == 3
    assert totals.lost == 3
    assert totals.table() == {labels("a"): (5, 5, 0, 1000, 0)}
    assert open_sockets(totals.table()) == {"source": 0}
    successor = Traffic()
    successor.counts(labels("a")).opened += 1
    successor.refused("source", "unknown_waypoint")
    totals.update(8, successor.report())
    assert totals.table() == {labels("a"): (6, 5, 0, 1000, 0)}
    assert totals.refused() == {("source", "unknown_waypoint"): 2}


def test_a_worker_that_never_reported_may_end():
    assert Totals().ended(1) == 0


def test_beyond_the_cap_labels_overflow():
    traffic = Traffic(most=2)
    for name in "abcd":
        traffic.counts(labels(name)).opened += 1
    totals = Totals()
    totals.update(1, traffic.report())
    table = totals.table()
    overflow = next(row for row in table if OVERFLOW in row)
    assert table[overflow][0] == 2
    assert (overflow[0], overflow[20:23], overflow[1]) == ("source", ("tcp", "-", "x"), OVERFLOW)
    assert len(table) == 3


def test_the_dead_are_capped_too():
    totals = Totals(most=1)
    for worker, name in enumerate("abc"):
        traffic = Traffic()
        traffic.counts(labels(name)).opened += 1
        totals.update(worker, traffic.report())
        totals.ended(worker)
    assert sorted(row[0] for row in totals.table().values()) == [1, 2]


BAD = {
    "empty": b"",
    "not-json": b"{",
    "not-a-map": b"[]",
    "no-rows": b"{}",
    "few-labels": b'{"rows":[[["a"],[1,1,1,1,1]]],"refused":[]}',
    "few-numbers": json.dumps({"rows": [[labels("a"), [1]]], "refused": []}).encode(),
    "words-for-numbers": json.dumps({"rows": [[labels("a"), ["x"] * 5]], "refused": []}).encode(),
    "bytes-that-are-no-text": b"\xff\xfe\xfa",
}


@pytest.mark.parametrize("report", list(BAD.values()), ids=BAD)
def test_what_is_no_report_changes_nothing(report):
    totals = Totals()
    with pytest.raises(PeerError, match="traffic report"):
        totals.update(1, report)
    assert totals.table() == {}


steps = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.sampled_from(["open", "close", "report", "die"]))
)


@given(steps)
def test_nothing_is_counted_twice_or_forgotten(steps):
    totals = Totals()
    workers = [Traffic() for _ in range(3)]
    reported = 0
    unreported = [0, 0, 0]
    for worker, name, what in steps:
        counts = workers[worker].counts(labels(name))
        match what:
            case "open":
                counts.opened += 1
                unreported[worker] += 1
            case "close":
                counts.closed += counts.closed < counts.opened
            case "report":
                totals.update(worker, workers[worker].report())
                reported += unreported[worker]
                unreported[worker] = 0
            case "die":
                totals.ended(worker)
                workers[worker] = Traffic()
                unreported[worker] = 0
    assert sum(row[0] for row in totals.table().values()) == reported
    assert all(row[1] <= row[0] for row in totals.table().values())
