"""A breaker for each endpoint."""

from datetime import timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ambient.core.model.traffic import Accrual, SuccessRate
from ambient.core.resilience import accrual
from ambient.core.resilience.accrual import Allowed, Barred, Phase, Probe, Recovered, Result, Tripped
from ambient.core.resilience.retry import Answered, ConnectFailed, Refused, Reset, TimedOut
from ambient.core.resilience.state import LARGEST

FINE, LATER, BAD = Result(False, False), Result(False, True), Result(True, True)
ROW = Accrual(consecutive_failures=3, jitter_ratio=0)
RATE = Accrual(success_rate=SuccessRate(threshold=0.8, window=timedelta(seconds=10), least_requests=5))


def after(policy: Accrual, results, start: float = 100.0, wait: float = 0.01):
    """The first change after these, and the number of the result that made it."""
    state, change = (), None
    for number, result in enumerate(results, 1):
        state, change = accrual.seen(policy, state, result, start + number * wait, 0.0)
        assert len(state) <= LARGEST
        if change is not None:
            return number, change
    return None, change


@pytest.mark.parametrize(
    ("policy", "results", "at"),
    [
        pytest.param(ROW, [BAD] * 3, 3, id="three-in-a-row"),
        pytest.param(ROW, [BAD, BAD, FINE, BAD, BAD], None, id="not-in-a-row"),
        pytest.param(ROW, [LATER] * 9, None, id="come-later-is-no-failure"),
        pytest.param(Accrual(), [BAD] * 99, None, id="nothing-configured"),
        pytest.param(Accrual(consecutive_failures=0), [BAD] * 99, None, id="off"),
        pytest.param(RATE, [BAD] * 9, 5, id="rate-after-enough"),
        pytest.param(RATE, [FINE] * 8 + [BAD] * 2, None, id="rate-exactly-enough"),
        pytest.param(RATE, [FINE] * 8 + [BAD] * 3, 11, id="rate-below"),
        pytest.param(RATE, [FINE] * 3 + [LATER] * 2, 5, id="rate-counts-come-later"),
        pytest.param(Accrual(3, SuccessRate()), [FINE] * 50 + [BAD] * 3, 53, id="either-trips"),
    ],
)
def test_when_it_opens(policy, results, at):
    number, change = after(policy, results)
    assert number == at
    assert isinstance(change, Tripped) is (at is not None)


def test_what_is_older_than_the_window_does_not_count():
    assert after(RATE, [BAD] * 4 + [FINE] * 6 + [BAD] * 2, wait=2.0)[0] == 5
    assert after(RATE, [BAD] * 4 + [FINE] * 6 + [BAD] * 2, wait=2.6)[0] is None


@pytest.mark.parametrize(
    ("trips", "chance", "seconds"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 4), (7, 0, 60), (900, 0, 60), (1, 1, 1.5), (3, 0.5, 5), (7, 1, 60)],
)
def test_penalties_double_and_are_jittered(trips, chance, seconds):
    assert accrual.penalty(Accrual(), trips, chance) == pytest.approx(seconds)


def opened(now: float = 0.0):
    state = ()
    for _ in range(3):
        state, change = accrual.seen(ROW, state, BAD, now, 0)
    assert change == Tripped(now + 1, now + 601)
    return state


def test_one_probe_at_a_time():
    state = opened()
    state, barred = accrual.admit(state, 0.99)
    assert barred == Barred(1.0)
    state, probe = accrual.admit(state, 1.0)
    assert isinstance(probe, Probe)
    state, other = accrual.admit(state, 1.1)
    assert isinstance(other, Barred)
    assert accrual.seen(ROW, state, FINE, 1.2, 0) == (state, None), "a straggler says nothing"
    assert accrual.seen(ROW, state, FINE, 1.2, 0, probe) == ((), Recovered())
    worse, change = accrual.seen(ROW, state, BAD, 1.2, 0, probe)
    assert change == Tripped(3.2, 603.2)
    assert accrual.seen(ROW, worse, FINE, 1.3, 0, probe) == (worse, None), "it was heard of already"


def test_a_probe_that_nothing_is_heard_of_is_given_up():
    state, probe = accrual.admit(opened(), 1.0)
    assert isinstance(probe, Probe)
    assert isinstance(accrual.admit(state, 1.0 + accrual.PROBE - 0.1)[1], Barred)
    later, second = accrual.admit(state, 1.0 + accrual.PROBE)
    assert isinstance(second, Probe)
    assert accrual.seen(ROW, later, FINE, 99, 0, probe) == (later, None)
    assert accrual.seen(ROW, later, FINE, 99, 0, second) == ((), Recovered())


def test_a_probe_that_says_nothing_leaves_room_for_another():
    state, probe = accrual.admit(opened(), 1.0)
    assert isinstance(probe, Probe)
    again = accrual.abandoned(state, probe, 2.0)
    assert accrual.phase_of(again) is Phase.OPEN
    assert isinstance(accrual.admit(again, 2.0)[1], Probe)
    assert accrual.abandoned(again, probe, 3.0) == again


def test_a_probe_that_is_asked_to_come_later_fails_where_that_counts():
    state, probe = accrual.admit(opened(), 1.0)
    assert isinstance(probe, Probe)
    assert accrual.seen(ROW, state, LATER, 1.5, 0, probe)[1] == Recovered()
    both = Accrual(3, SuccessRate())
    assert isinstance(accrual.seen(both, state, LATER, 1.5, 0, probe)[1], Tripped)


class Breaker(RuleBasedStateMachine):
    """Whatever is asked and answered, in any order, by whomever."""

    def __init__(self) -> None:
        super().__init__()
        self.state = ()
        self.now = 50.0
        self.probes: list[Probe] = []
        self.open_until = 0.0
        self.row = 0

    @rule(seconds=st.floats(0.01, 5))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def ask(self):
        self.state, admission = accrual.admit(self.state, self.now)
        match admission:
            case Allowed():
                assert accrual.phase_of(self.state) is Phase.CLOSED
            case Probe():
                assert self.now >= self.open_until
                assert not [one for one in self.probes if one.mark > self.now]
                self.probes.append(admission)
            case Barred(until):
                assert until > self.now

    @rule(result=st.sampled_from([FINE, LATER, BAD]), chance=st.floats(0, 0.99))
    def hear(self, result, chance):
        was = accrual.phase_of(self.state)
        self.state, change = accrual.seen(ROW, self.state, result, self.now, chance)
        if was is not Phase.CLOSED:
            assert change is None
            return
        self.row = self.row + 1 if result.failed else 0
        assert isinstance(change, Tripped) is (self.row == 3)
        if isinstance(change, Tripped):
            self.open_until, self.row = change.until, 0

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), result=st.sampled_from([FINE, BAD]), says_something=st.booleans())
    def hear_of_a_probe(self, data, result, says_something):
        probe = data.draw(st.sampled_from(self.probes))
        if accrual.phase_of(self.state) is not Phase.PROBING:
            return
        is_it = probe.mark == self.state[2]
        if says_something:
            self.state, change = accrual.seen(ROW, self.state, result, self.now, 0.0, probe)
            assert (change is not None) is is_it
            if isinstance(change, Tripped):
                self.open_until = change.until
        else:
            self.state = accrual.abandoned(self.state, probe, self.now)
        if is_it:
            self.probes.remove(probe)

    @invariant()
    def it_fits_where_it_is_kept(self):
        assert len(self.state) <= LARGEST
        assert all(isinstance(one, int | float) for one in self.state)


TestBreaker = Breaker.TestCase


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (Answered(200), FINE),
        (Answered(404), FINE),
        (Answered(429), LATER),
        (Answered(500), BAD),
        (Answered(200, 0), FINE),
        (Answered(200, 8), LATER),
        (Answered(200, 2), FINE),
        (Answered(200, 4), BAD),
        (Answered(200, 7), BAD),
        (Answered(200, 13), BAD),
        (Answered(200, 14), BAD),
        (Answered(200, 15), BAD),
        (ConnectFailed(), BAD),
        (Refused(), BAD),
        (TimedOut(was_sent=False), BAD),
        (Reset(was_sent=True), BAD),
        (Reset(was_sent=False), None),
        (Reset(was_sent=True, was_reused=True), None),
    ],
    ids=str,
)
def test_what_a_try_says_of_its_endpoint(outcome, result):
    assert accrual.result_of(outcome) == result
