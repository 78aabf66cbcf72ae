"""When an endpoint is left out."""

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from ambient.core.model.traffic import Outlier
from ambient.core.resilience import outlier
from ambient.core.resilience.outlier import Result
from ambient.core.resilience.retry import Answered, ConnectFailed, Refused, Reset, TimedOut

F, E, G, L = Result.FINE, Result.SERVER_ERROR, Result.GATEWAY_ERROR, Result.LOCAL_FAILURE
SPLIT = Outlier(consecutive_5xx=3, consecutive_local_failures=2, splits_local_failures=True)


def goes_at(rule: Outlier, results) -> list[int]:
    """After which of these an endpoint should be left out."""
    state, found = (), []
    for number, result in enumerate(results, 1):
        state, goes = outlier.seen(rule, state, result, 100.0 + number)
        if goes:
            found.append(number)
    return found


@pytest.mark.parametrize(
    ("rule", "results", "at"),
    [
        pytest.param(Outlier(), [E] * 11, [5, 10], id="five-by-default"),
        pytest.param(Outlier(), [E, E, E, E, F, E, E, E, E], [], id="in-a-row"),
        pytest.param(Outlier(), [E, G, L, E, G], [5], id="all-kinds-together"),
        pytest.param(Outlier(consecutive_5xx=0), [E, G, L] * 9, [], id="off"),
        pytest.param(Outlier(consecutive_5xx=1), [F, E, F, E], [2, 4], id="one"),
        pytest.param(
            Outlier(consecutive_5xx=9, consecutive_gateway_errors=2), [G, E, G, L], [4], id="gateway"
        ),
        pytest.param(
            Outlier(consecutive_5xx=0, consecutive_gateway_errors=2), [E, G, G], [3], id="gateway-only"
        ),
        pytest.param(SPLIT, [L, L, E, E, E], [2, 5], id="apart"),
        pytest.param(SPLIT, [E, E, L, E], [4], id="local-ones-break-no-row-of-errors"),
        pytest.param(SPLIT, [L, E, L, F, L], [], id="an-answer-ends-a-row-of-local-ones"),
        pytest.param(Outlier(splits_local_failures=True), [L] * 5, [5], id="five-local-by-default"),
        pytest.param(
            Outlier(splits_local_failures=True, consecutive_local_failures=0), [L] * 50, [], id="local-off"
        ),
    ],
)
def test_who_fails_so_often_in_a_row_should_go(rule, results, at):
    assert goes_at(rule, results) == at


def test_each_time_is_longer_and_time_heals():
    rule = Outlier(consecutive_5xx=1)
    state, lengths, now = (), [], 1000.0
    for _ in range(12):
        state, goes = outlier.seen(rule, state, E, now)
        assert goes
        state, back_at = outlier.ejected(rule, state, now)
        lengths.append(back_at - now)
        assert outlier.seen(rule, state, E, now + 1) == (state, False), "what comes late says nothing"
        now = back_at
    assert lengths == pytest.approx([30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300])
    state, _ = outlier.seen(rule, state, F, now + 1)
    _, back_at = outlier.ejected(rule, state, now + 55)
    assert back_at - now - 55 == pytest.approx(30 * (12 - 5 + 1))
    assert state[0] == pytest.approx(now + 120), "then it is as good as a new one"
    assert outlier.ejected(rule, state, now + 120)[1] == pytest.approx(now + 150)


def test_an_ejection_may_be_longer_than_the_longest():
    rule = Outlier(base_ejection=timedelta(seconds=400))
    state, back_at = outlier.ejected(rule, (), 0)
    assert back_at == 400
    assert outlier.ejected(rule, state, 400)[1] == 800


def test_nothing_is_remembered_of_who_is_fine():
    state, _ = outlier.seen(Outlier(), (), F, 5.0)
    assert state == ()
    state, _ = outlier.seen(Outlier(), (), E, 5.0)
    assert state[0] > 5.0
    assert outlier.seen(Outlier(), state, F, 6.0) == ((), False)


@pytest.mark.parametrize(
    ("percent", "most"),
    [
        pytest.param(None, [0, 0, 1, 1, 1, 2], id="default"),
        pytest.param(10, [0, 0, 0, 0, 1, 2], id="a-tenth"),
        pytest.param(50, [0, 0, 1, 1, 5, 10], id="half"),
        pytest.param(100, [0, 1, 2, 3, 10, 20], id="all"),
    ],
)
def test_how_many_may_be_left_out(percent, most):
    rule = Outlier(most_ejected_percent=percent)
    assert [outlier.most(rule, endpoints) for endpoints in (0, 1, 2, 3, 10, 20)] == most


@given(st.integers(0, 100), st.integers(0, 6000))
def test_never_more_than_the_share(percent, endpoints):
    assert outlier.most(Outlier(most_ejected_percent=percent), endpoints) * 100 <= percent * endpoints


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Answered(200), F),
        (Answered(404), F),
        (Answered(429), F),
        (Answered(500), E),
        (Answered(501), E),
        (Answered(502), G),
        (Answered(503), G),
        (Answered(504), G),
        (Answered(200, 0), F),
        (Answered(200, 5), F),
        (Answered(200, 8), F),
        (Answered(200, 13), E),
        (Answered(200, 14), G),
        (Answered(200, 4), G),
        (ConnectFailed(), L),
        (Refused(), L),
        (TimedOut(was_sent=True), L),
        (Reset(was_sent=True), L),
        (Reset(was_sent=True, was_reused=True), None),
        (Reset(was_sent=False), None),
    ],
    ids=str,
)
def test_what_a_try_says_of_its_endpoint(outcome, result):
    assert outlier.result_of(outcome) is result


class Slow:
    """Outlier detection of one endpoint, from all that was ever heard of it."""

    def __init__(self, rule: Outlier) -> None:
        self.rule = rule
        self.heard: list[Result] = []
        self.back_at = 0.0

    def seen(self, result: Result, now: float) -> bool:
        if now < self.back_at:
            return False
        self.heard.append(result)
        goes = (
            self._row({E, G} if self.rule.splits_local_failures else {E, G, L}, self.rule.consecutive_5xx)
            or self._row(
                {G} if self.rule.splits_local_failures else {G, L}, self.rule.consecutive_gateway_errors
            )
            or (self.rule.splits_local_failures and self._row({L}, self.rule.consecutive_local_failures))
        )
        if goes:
            self.heard.clear()
        return goes

    def _row(self, kinds: set[Result], limit: int) -> bool:
        ours = self.heard
        if self.rule.splits_local_failures and L not in kinds:
            ours = [one for one in ours if one is not L]
        count = 0
        for one in reversed(ours):
            if one not in kinds:
                break
            count += 1
        return limit > 0 and count >= limit


results = st.lists(
    st.tuples(st.sampled_from(Result), st.sampled_from([0.1, 1.0, 20.0])), min_size=1, max_size=60
)
rules = st.builds(
    Outlier,
    consecutive_5xx=st.integers(0, 4),
    consecutive_gateway_errors=st.integers(0, 3),
    consecutive_local_failures=st.integers(0, 3),
    splits_local_failures=st.booleans(),
    base_ejection=st.sampled_from([timedelta(seconds=1), timedelta(seconds=30)]),
)


@given(rules, results)
def test_it_agrees_with_what_all_that_was_heard_says(rule, steps):
    slow, state, now = Slow(rule), (), 100.0
    for result, wait in steps:
        now += wait
        if state and state[0] <= now:
            state = ()
        state, goes = outlier.seen(rule, state, result, now)
        assert goes is slow.seen(result, now)
        if goes:
            state, slow.back_at = outlier.ejected(rule, state, now)
