"""Who is near, and what goes to whom."""

import pytest
from core.worlds import workload
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core.model.traffic import Accrual, LocalityPolicy, LocalityWeights, Outlier, TrafficPolicy
from ambient.core.model.workload import Locality
from ambient.core.resilience.balance import nearness


def at(place: str, name: str = "w", **fields):
    return workload(name, "10.0.0.1", locality=Locality(*(place.split("/") if place else ())), **fields)


HERE = at("eu/a/1")


@pytest.mark.parametrize(
    ("failover", "ranks"),
    [
        pytest.param((), {"eu/a/1": 0, "eu/a/2": 1, "eu/a": 1, "eu/b/1": 2, "us/a/1": 3, "": 3}, id="none"),
        pytest.param((("eu", "us"),), {"eu/a/1": 0, "eu/b": 2, "us/a/1": 3, "asia": 4}, id="successor"),
        pytest.param((("us", "asia"),), {"us": 3, "asia": 3}, id="of-another"),
    ],
)
def test_ranks_by_place(failover, ranks):
    group = nearness.by_rank(LocalityPolicy(failover=failover), HERE)
    assert group is not None
    assert {place: group(at(place)) for place in ranks} == ranks


def test_who_is_nowhere_is_near_to_all_alike():
    assert nearness.by_rank(LocalityPolicy(), at("")) is None


@pytest.mark.parametrize(
    ("endpoint", "rank"),
    [
        pytest.param(at("eu/a/1", node="n1", labels=Map({"v": "1"})), 0, id="all"),
        pytest.param(at("eu/a/1", node="n1", labels=Map({"v": "2"})), 1, id="but-the-last"),
        pytest.param(at("eu/a/1", node="n2", labels=Map({"v": "1"})), 2, id="the-first-alone"),
        pytest.param(at("us/a/1", node="n1", labels=Map({"v": "1"})), 3, id="not-the-first"),
    ],
)
def test_ranks_by_labels_in_their_order(endpoint, rank):
    wanted = ("topology.kubernetes.io/region", "kubernetes.io/hostname", "v=1")
    group = nearness.by_rank(LocalityPolicy(priorities=wanted), at("eu/b/1", node="n1"))
    assert group is not None
    assert group(endpoint) == rank


def test_shares_of_the_most_precise_place():
    weights = LocalityWeights("eu/a/*", Map({"eu/*": 30, "eu/a/*": 50, "us/*": 20}))
    policy = LocalityPolicy(weights=(LocalityWeights("us/*", Map({"us/*": 100})), weights))
    assert nearness.shares(policy, HERE) is weights
    assert nearness.shares(policy, at("asia/a")) is None
    group, percents = nearness.by_share(weights)

    def share(place):
        number = group(at(place))
        return None if number is None else percents[number]

    assert [share(one) for one in ("eu/a/7", "eu/b/1", "us/x", "asia/x")] == [50, 30, 20, None]


@pytest.mark.parametrize(
    ("policy", "locality"),
    [
        pytest.param(TrafficPolicy(), None, id="nothing"),
        pytest.param(TrafficPolicy(outlier=Outlier()), LocalityPolicy(), id="outlier-turns-it-on"),
        pytest.param(TrafficPolicy(accrual=Accrual()), None, id="linkerd-has-none"),
        pytest.param(
            TrafficPolicy(outlier=Outlier(), locality=LocalityPolicy(is_on=False)), None, id="turned-off"
        ),
        pytest.param(
            TrafficPolicy(locality=LocalityPolicy(failover=(("a", "b"),))),
            LocalityPolicy(failover=(("a", "b"),)),
            id="asked-for",
        ),
    ],
)
def test_when_near_ones_come_first(policy, locality):
    assert nearness.locality_of(policy) == locality


@pytest.mark.parametrize(
    ("availability", "loads"),
    [
        pytest.param([1.0, 1.0], [1, 0], id="all-well"),
        pytest.param([0.72, 1.0], [1, 0], id="five-in-seven"),
        pytest.param([0.5, 1.0], [0.7, 0.3], id="half"),
        pytest.param([0.0, 0.5, 1.0], [0, 0.7, 0.3], id="first-gone"),
        pytest.param([0.25, 0.25], [0.5, 0.5], id="neither-enough"),
        pytest.param([0.0, 0.0], [0, 0], id="nobody"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_what_a_group_cannot_take_goes_to_the_next(availability, loads):
    assert nearness.loads(availability) == pytest.approx(loads)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_all_requests_go_somewhere_if_anybody_serves(availability):
    loads = nearness.loads(availability)
    assert sum(loads) == pytest.approx(1 if any(one > 1e-9 for one in availability) else sum(loads))
    assert all(load >= 0 for load in loads)
    assert all(load == 0 for load, one in zip(loads, availability, strict=True) if not one)
