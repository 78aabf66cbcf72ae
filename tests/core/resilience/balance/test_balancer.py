"""Which endpoint is asked."""

import random
from collections import Counter
from datetime import timedelta

import pytest
from core.worlds import service, workload
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core.endpoints import Candidates, Endpoints
from ambient.core.model.traffic import (
    HashSource,
    LocalityPolicy,
    LocalityWeights,
    Maglev,
    Outlier,
    RingHash,
    Simple,
    TrafficPolicy,
)
from ambient.core.model.workload import Locality
from ambient.core.resilience.balance.balancer import Balancer, Wish
from ambient.core.resilience.balance.balancers import Balancers
from ambient.core.resilience.balance.ring import place

WEB = service("web")
RING, MAGLEV = RingHash(HashSource()), Maglev(HashSource(), 509)
WAYS = [None, Simple.LEAST_REQUEST, Simple.ROUND_ROBIN, Simple.RANDOM, RING, MAGLEV]


def endpoint(name: str, where: str = "", **fields):
    fields.setdefault("services", {WEB.key: ((80, 8080),)})
    return workload(name, "10.0.0.1", locality=Locality(*where.split("/")) if where else Locality(), **fields)


def serving(*endpoints) -> Candidates:
    held = Endpoints.of(endpoints[0])
    for one in endpoints[1:]:
        held = held.having(one)
    return held.serving(WEB, "", 80).candidates


class Caller:
    """Asks one balancer; the clock stands still unless it is set."""

    def __init__(self, policy: TrafficPolicy, candidates: Candidates, **made) -> None:
        self.random = random.Random(7)
        self.balancer = Balancer(policy, **made)
        self.candidates = candidates
        self.now = 100.0

    def pick(self, **wish):
        wish.setdefault("place", place(str(self.random.random())))
        return self.balancer.pick(self.candidates, Wish(**wish), self.now, self.random.random)

    def names(self, times: int, **wish) -> Counter[str | None]:
        picked = [self.pick(**wish) for _ in range(times)]
        return Counter(None if one is None else one.name for one in picked)


THREE = serving(endpoint("a"), endpoint("b"), endpoint("c"))
EVERY_WAY = pytest.mark.parametrize(
    "way", WAYS, ids=lambda way: way and str(getattr(way, "value", type(way).__name__))
)


@EVERY_WAY
def test_each_gets_about_its_part(way):
    heavy = serving(endpoint("a"), endpoint("b", capacity=2), endpoint("c", capacity=0), endpoint("d"))
    counts = Caller(TrafficPolicy(way), heavy).names(2000)
    assert counts["c"] == 0
    assert abs(counts["b"] - 1000) < 250
    assert abs(counts["a"] - 500) < 180


@EVERY_WAY
def test_who_is_left_out_gets_nothing(way):
    caller = Caller(TrafficPolicy(way), THREE)
    out = frozenset({endpoint("b").uid})
    assert caller.names(200, out=out).keys() == {"a", "c"}
    assert (caller.balancer.size, caller.balancer.usable) == (3, 2)
    assert caller.names(200).keys() == {"a", "b", "c"}
    assert caller.names(20, out=frozenset(one.uid for one in THREE)) == {None: 20}


@EVERY_WAY
def test_who_was_tried_before_comes_last(way):
    caller = Caller(TrafficPolicy(way), THREE)
    a, b, c = (one.uid for one in THREE)
    assert caller.names(50, tried=frozenset({a, b})) == {"c": 50}
    assert caller.names(50, tried=frozenset({a, b}), out=frozenset({c})).keys() == {"a", "b"}


@EVERY_WAY
def test_a_session_stays_where_it_is_while_that_may_be_chosen(way):
    caller = Caller(TrafficPolicy(way), THREE)
    b = endpoint("b").uid
    assert caller.names(20, prefer=b) == {"b": 20}
    assert "b" not in caller.names(20, prefer=b, out=frozenset({b}))
    assert "b" not in caller.names(20, prefer=b, tried=frozenset({b}))
    assert len(caller.names(50, prefer="gone")) == 3


@EVERY_WAY
def test_only_a_subset_is_asked(way):
    both = serving(
        *(endpoint(f"{v}{n}", labels=Map({"version": v, "x": "y"})) for v in "ab" for n in range(3))
    )
    caller = Caller(TrafficPolicy(way), both, subset=Map({"version": "b"}))
    assert caller.names(200).keys() == {"b0", "b1", "b2"}
    assert Caller(TrafficPolicy(way), both, subset=Map({"version": "c"})).names(3) == {None: 3}


@EVERY_WAY
def test_nobody_is_there(way):
    assert Caller(TrafficPolicy(way), Candidates(())).names(1) == {None: 1}


def test_in_turns_each_is_asked_once_in_a_round():
    many = serving(*(endpoint(f"w{n:03}", capacity=1 + n % 3) for n in range(50)))
    caller = Caller(TrafficPolicy(Simple.ROUND_ROBIN), many)
    assert caller.names(3 * many.capacity) == {one.name: 3 * one.capacity for one in many}


def test_the_one_with_less_to_do_is_asked():
    caller = Caller(TrafficPolicy(), THREE)
    a, b, c = THREE
    for one, count in ((a, 5), (b, 1), (c, 3)):
        for _ in range(count):
            caller.balancer.begin(one)
    counts = caller.names(3000)
    assert counts["b"] > counts["c"] > counts["a"]
    assert counts["a"] == 0, "of two, it is never the better"
    for _ in range(5):
        caller.balancer.ended(a, 0.01, caller.now)
    assert caller.names(500)["a"] > 0


def test_of_two_the_better_is_always_found():
    two = serving(endpoint("a"), endpoint("b"))
    caller = Caller(TrafficPolicy(), two)
    caller.balancer.begin(next(iter(two)))
    assert caller.names(100) == {"b": 100}


def test_a_slow_one_is_asked_less():
    caller = Caller(TrafficPolicy(), THREE)
    for one, took in zip(THREE, (0.01, 0.01, 0.2), strict=True):
        caller.balancer.begin(one)
        caller.balancer.ended(one, took, caller.now)
    assert caller.names(300)["c"] == 0
    caller.now += 100
    assert caller.names(300)["c"] > 50, "what is not asked is forgotten"


@pytest.mark.parametrize("way", [None, Simple.ROUND_ROBIN, Simple.RANDOM], ids=str)
def test_a_new_one_gets_less_for_a_while(way):
    caller = Caller(TrafficPolicy(way, warmup=timedelta(seconds=60)), THREE)
    assert abs(caller.names(900)["a"] - 300) < 100, "who was there first is warm"
    caller.candidates = serving(*THREE, endpoint("d"))
    parts = []
    for _ in range(4):
        parts.append(caller.names(2000)["d"] / 2000)
        caller.now += 25
    assert parts[0] < 0.08
    assert parts == sorted(parts)
    assert abs(parts[-1] - 0.25) < 0.05


def test_all_new_ones_share_alike():
    caller = Caller(TrafficPolicy(Simple.RANDOM, warmup=timedelta(seconds=60)), serving(endpoint("x")))
    caller.pick()
    caller.candidates = THREE
    assert all(abs(count - 300) < 90 for count in caller.names(900).values())


def test_a_hash_keeps_to_its_endpoint_through_changes():
    many = [endpoint(f"w{n}") for n in range(20)]
    for way in (RING, MAGLEV):
        caller = Caller(TrafficPolicy(way), serving(*many))
        places = [place(str(n)) for n in range(300)]
        before = [caller.pick(place=one) for one in places]
        assert before == [caller.pick(place=one) for one in places]
        out = frozenset({many[3].uid})
        during = [caller.pick(place=one, out=out) for one in places]
        assert all(a == b for a, b in zip(before, during, strict=True) if a is not many[3])
        caller.candidates = serving(*many[:3], *many[4:])
        after = [caller.pick(place=one) for one in places]
        moved = sum(a != b for a, b in zip(before, after, strict=True) if a is not many[3])
        assert moved <= 30
        assert many[3] not in after


def test_without_anything_to_hash_it_is_by_chance():
    caller = Caller(TrafficPolicy(RING), THREE)
    assert len(caller.names(50, place=None)) == 3


LEFT = TrafficPolicy(outlier=Outlier(least_healthy_percent=50))


def test_when_too_many_are_left_out_all_are_asked():
    a, b, c = (one.uid for one in THREE)
    caller = Caller(LEFT, THREE)
    assert caller.names(50, out=frozenset({a})).keys() == {"b", "c"}
    assert not caller.balancer.in_panic
    assert caller.names(50, out=frozenset({a, b})).keys() == {"a", "b", "c"}
    assert caller.balancer.in_panic
    assert caller.names(50, out=frozenset({a, b, c})).keys() == {"a", "b", "c"}


HERE = endpoint("here", "eu/a/1")
NEAR = [endpoint(f"near{n}", "eu/a/1") for n in range(4)]
FAR = [endpoint(f"far{n}", "us/a/1") for n in range(4)]


@EVERY_WAY
def test_far_ones_are_asked_when_near_ones_fail(way):
    caller = Caller(TrafficPolicy(way, outlier=Outlier()), serving(*NEAR, *FAR), source=HERE)
    assert {name[:-1] for name in caller.names(200)} == {"near"}
    half = frozenset(one.uid for one in NEAR[:2])
    counts = caller.names(2000, out=half)
    far = sum(count for name, count in counts.items() if name.startswith("far"))
    assert abs(far / 2000 - 0.3) < 0.05
    assert counts.keys().isdisjoint({"near0", "near1"})
    none = frozenset(one.uid for one in NEAR)
    assert caller.names(300, out=none).keys() == {one.name for one in FAR}
    assert caller.names(20, tried=none).keys() <= {one.name for one in FAR}


@EVERY_WAY
def test_localities_get_their_shares(way):
    weights = (LocalityWeights("eu/*", Map({"eu/*": 80, "us/*": 20})),)
    policy = TrafficPolicy(way, locality=LocalityPolicy(weights=weights))
    elsewhere = endpoint("asia", "asia/x/1")
    caller = Caller(policy, serving(*NEAR, *FAR, elsewhere), source=HERE)
    counts = caller.names(2000)
    assert counts["asia"] == 0
    assert abs(sum(count for name, count in counts.items() if name.startswith("far")) / 2000 - 0.2) < 0.05
    assert min(counts[one.name] for one in NEAR) > 200


changes = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.booleans(), st.integers(0, 2), st.sampled_from(["1", "2"])),
    min_size=1,
    max_size=40,
)


@given(
    changes, st.sampled_from(WAYS), st.sets(st.sampled_from("abcdefgh")), st.randoms(use_true_random=False)
)
def test_who_is_asked_may_be_and_somebody_is_if_anybody_may(steps, way, out, chance):
    balancer = Balancer(TrafficPolicy(way), Map({"v": "1"}))
    held, plain = None, {}
    gone = frozenset(endpoint(name).uid for name in out)
    for name, comes, capacity, version in steps:
        if comes:
            one = endpoint(name, capacity=capacity, labels=Map({"v": version}))
            held = Endpoints.of(one) if held is None else held.having(one)
            plain[one.uid] = one
        elif held is not None and endpoint(name).uid in plain:
            held = held.lacking(endpoint(name).uid)
            del plain[endpoint(name).uid]
        candidates = Candidates(()) if held is None else held.serving(WEB, "", 80).candidates
        for wish in (Wish(place=chance.getrandbits(64)), Wish(gone, place=chance.getrandbits(64))):
            may = [
                one
                for one in plain.values()
                if one.labels["v"] == "1" and one.uid not in wish.out and one.capacity
            ]
            picked = balancer.pick(candidates, wish, 1.0, chance.random)
            assert picked in may if may else picked is None


def test_balancers_are_kept_while_their_policy_is():
    balancers = Balancers()
    first = balancers.of("a", TrafficPolicy(RING))
    assert balancers.of("a", TrafficPolicy(RingHash(HashSource()))) is first
    other = balancers.of("a", TrafficPolicy(MAGLEV))
    assert other is not first
    assert balancers.of("a", TrafficPolicy(MAGLEV), Map({"v": "1"})) is not other
    balancers.of("b", TrafficPolicy())
    balancers.keep(["b"])
    assert len(balancers) == 1
