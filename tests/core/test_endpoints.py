from collections import Counter
from unittest import mock

from core.worlds import service, workload, workloads
from hypothesis import given, strategies as st

from ambient.core import endpoints
from ambient.core.endpoints import Candidates, Endpoints
from ambient.core.model.workload import WorkloadStatus
from ambient.core.ports import target_port

WEB = service("web")
PORTS = {WEB.key: ((80, 8080),)}

changes = st.lists(st.tuples(st.booleans(), workloads), max_size=40)


def made(steps):
    """Endpoints after some came and some went, and what they should be, by uid."""
    held, plain = None, {}
    for comes, one in steps:
        if comes:
            plain[one.uid] = one
            held = Endpoints.of(one) if held is None else held.having(one)
        elif one.uid in plain:
            del plain[one.uid]
            held = held.lacking(one.uid)
    return held, plain


@given(changes)
def test_they_are_who_came_and_did_not_go_in_uid_order(steps):
    with mock.patch.object(endpoints, "_LARGEST", 2):
        held, plain = made(steps)
    assert (held is None) == (not plain)
    if held is not None:
        assert list(held) == [plain[uid] for uid in sorted(plain)]
        assert len(held) == len(plain)
        assert held.uids == tuple(sorted(plain))


@given(changes, workloads, st.sampled_from(["", "other"]), st.sampled_from([80, 443, 8080]), st.booleans())
def test_who_serves_a_port_is_who_passes_each_question(steps, extra, network, port, unhealthy):
    web = service("a", namespace="a", allow_unhealthy=unhealthy)
    with mock.patch.object(endpoints, "_LARGEST", 2):
        held, plain = made(steps)
        if held is None:
            return
        held.serving(web, network, port)  # What is remembered of one version must not show in the next.
        held, plain = held.having(extra), {**plain, extra.uid: extra}
        found = held.serving(web, network, port)
    everyone = [plain[uid] for uid in sorted(plain)]
    healthy = [one for one in everyone if unhealthy or one.status is WorkloadStatus.HEALTHY]
    near = [one for one in healthy if one.network == network]
    serving = [one for one in near if target_port(web, one, port) is not None]
    assert (found.healthy, found.near, found.serving) == (len(healthy), len(near), len(serving))
    assert list(found.candidates) == [one for one in serving if one.addresses]
    assert found.candidates.capacity == sum(one.capacity for one in found.candidates)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.data())
def test_pieces_change_nothing_about_whom_a_mark_falls_on(capacities, data):
    many = [
        workload(f"w{n:03}", "10.0.0.1", services=PORTS, capacity=capacity)
        for n, capacity in enumerate(capacities)
    ]
    with mock.patch.object(endpoints, "_LARGEST", 3):
        held, _ = made([(True, one) for one in many])
    in_pieces = held.serving(WEB, "", 80).candidates
    mark = data.draw(st.floats(0, sum(capacities)))
    assert in_pieces.at(mark) is Candidates.of(many).at(mark)


def test_a_service_that_changed_is_asked_anew():
    held = Endpoints.of(workload("w", "10.0.0.1", services={WEB.key: ()}))
    assert held.serving(WEB, "", 80).candidates
    assert not held.serving(service("web", ports=((81, 8080),)), "", 80).candidates


def test_thousands_are_drawn_from_in_proportion():
    held, _ = made(
        [(True, workload(f"w{n}", "10.0.0.1", services=PORTS, capacity=n % 3)) for n in range(3000)]
    )
    candidates = held.serving(WEB, "", 80).candidates
    drawn = Counter(candidates.at(n + 0.5).uid for n in range(candidates.capacity))
    assert drawn == {one.uid: one.capacity for one in candidates if one.capacity}


@given(changes, st.sets(st.sampled_from("abc")), st.booleans())
def test_without_some_are_all_others(steps, names, in_order):
    web = service("a", namespace="a", allow_unhealthy=True)
    with mock.patch.object(endpoints, "_LARGEST", 2):
        held, _ = made(steps)
        if held is None:
            return
        candidates = held.serving(web, "", 80).candidates
    everyone = list(candidates)
    assert len(candidates) == len(everyone)
    gone = {one.uid for one in everyone if one.name in names} | {"local/nobody", "zzz"}
    rest = candidates.without(gone)
    assert list(rest) == [one for one in everyone if one.uid not in gone]
    assert rest.capacity == sum(one.capacity for one in rest)
    assert all(rest.having(one.uid) is (None if one.uid in gone else one) for one in everyone)
    assert candidates.having("local/nobody") is None


@given(st.lists(st.integers(0, 5), max_size=30), st.data())
def test_two_are_one_and_one_of_the_others(capacities, data):
    many = [
        workload(f"w{n:03}", "10.0.0.1", services=PORTS, capacity=capacity)
        for n, capacity in enumerate(capacities)
    ]
    with mock.patch.object(endpoints, "_LARGEST", 3):
        held, _ = made([(True, one) for one in many])
    candidates = Candidates(()) if held is None else held.serving(WEB, "", 80).candidates
    first, second = (data.draw(st.integers(0, 1023)) / 1024 for _ in range(2))
    one, other = candidates.two(first, second)
    assert one is candidates.at(first * candidates.capacity)
    if one is None:
        assert other is None
        return
    rest = candidates.without((one.uid,))
    assert other is rest.at(second * rest.capacity)
