"""Whatever two workers are asked and hear, in any order: what holds for both of them together."""

import os
from datetime import timedelta

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ambient.core.model.traffic import Accrual, ConnectionLimits, Outlier, RatioBudget, TrafficPolicy
from ambient.core.resilience import outlier
from ambient.core.resilience.accrual import PROBE, Allowed, Barred, Probe
from ambient.core.resilience.gauge import Kind
from ambient.core.resilience.retry import Answered, ConnectFailed, Reset
from ambient.waypoint.guards import Guards
from ambient.waypoint.ledger import Ledger

UIDS = ("a", "b", "c", "d")
RULE = Outlier(consecutive_5xx=2, most_ejected_percent=50)
LEFT_OUT = TrafficPolicy(outlier=RULE, limits=ConnectionLimits(requests=3, retries=2))
BEHIND_BREAKERS = TrafficPolicy(accrual=Accrual(consecutive_failures=2, jitter_ratio=0.5))

workers = st.integers(0, 1)
uids = st.sampled_from(UIDS)
outcomes = st.sampled_from([Answered(200), Answered(503), ConnectFailed(), Reset(was_sent=False)])


class Together(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.parent, self.memory = Ledger.make(2)
        self.ledgers = [Ledger.join(self.memory, 2) for _ in range(2)]
        self.guards = [Guards(one, lambda: 0.5) for one in self.ledgers]
        self.now = 1000.0
        self.held = [dict.fromkeys(Kind, 0) for _ in range(2)]
        self.probes: list[tuple[int, str, Probe]] = []
        self.retried: list[float] = []
        self.began: list[float] = []

    def teardown(self) -> None:
        for one in (self.parent, *self.ledgers):
            one.close()
        os.close(self.memory)

    def left_out(self, worker: int):
        return self.guards[worker].of("outlier", LEFT_OUT)

    def broken(self, worker: int):
        return self.guards[worker].of("accrual", BEHIND_BREAKERS)

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.5, 9.0, 31.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(worker=workers, kind=st.sampled_from([Kind.REQUEST, Kind.CONNECTION]))
    def take(self, worker, kind):
        limit = {Kind.REQUEST: 3, Kind.CONNECTION: None}[kind]
        under_way = sum(each[kind] for each in self.held)
        taken = self.left_out(worker).take(kind)
        assert taken is (limit is None or under_way < limit)
        self.held[worker][kind] += taken

    @rule(worker=workers, kind=st.sampled_from(Kind))
    def give(self, worker, kind):
        if self.held[worker][kind]:
            self.left_out(worker).give(kind)
            self.held[worker][kind] -= 1

    @rule(worker=workers)
    def begin(self, worker):
        self.left_out(worker).began(self.now, BUDGET)
        self.began.append(self.now)

    @rule(worker=workers)
    def retry(self, worker):
        if self.left_out(worker).retry(self.now, BUDGET):
            self.held[worker][Kind.RETRY] += 1
            self.retried.append(self.now)
            assert sum(each[Kind.RETRY] for each in self.held) <= 2
            lately = [at for at in self.retried if at > self.now - 5]
            assert len(lately) <= 0.5 * sum(at > self.now - 5 for at in self.began) + 5 + 1e-6

    @rule(worker=workers)
    def die(self, worker):
        """It is killed, and another takes its place."""
        self.ledgers[worker].close()
        self.parent.sweep()
        self.ledgers[worker] = Ledger.join(self.memory, 2)
        self.guards[worker] = Guards(self.ledgers[worker], lambda: 0.5)
        self.held[worker] = dict.fromkeys(Kind, 0)

    @rule(worker=workers, uid=uids, outcome=outcomes)
    def hear(self, worker, uid, outcome):
        before = self.left_out(worker).out(self.now)
        self.left_out(worker).heard(uid, outcome, len(UIDS), self.now)
        after = self.left_out(worker).out(self.now)
        assert after - before <= {uid}
        assert before <= after

    @rule(worker=workers, uid=uids)
    def ask(self, worker, uid):
        guard = self.broken(worker)
        if uid in guard.out(self.now):
            return
        match guard.admit(uid, self.now):
            case Allowed():
                assert not self.live(uid)
            case Probe() as probe:
                assert not self.live(uid)
                self.probes.append((worker, uid, probe))
            case Barred():
                assert uid in guard.out(self.now)

    @rule(worker=workers, uid=uids, outcome=outcomes)
    def straggle(self, worker, uid, outcome):
        self.broken(worker).heard(uid, outcome, len(UIDS), self.now)

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), outcome=outcomes, gone=st.booleans())
    def hear_of_a_probe(self, data, outcome, gone):
        found = data.draw(st.sampled_from(self.probes))
        self.probes.remove(found)
        worker, uid, probe = found
        if gone:
            self.broken(worker).abandoned(uid, probe, self.now)
        else:
            self.broken(worker).heard(uid, outcome, len(UIDS), self.now, probe)

    def live(self, uid: str) -> list[Probe]:
        return [probe for _, of, probe in self.probes if of == uid and self.now < probe.mark]

    @invariant()
    def both_know_the_same(self):
        one, other = (self.left_out(worker).out(self.now) for worker in range(2))
        assert one == other
        assert len(one) <= outlier.most(RULE, len(UIDS))

    @invariant()
    def what_is_under_way_is_known(self):
        for kind in Kind:
            expected = sum(each[kind] for each in self.held)
            assert {self.left_out(worker).under_way(kind) for worker in range(2)} == {expected}

    @invariant()
    def there_is_one_probe_at_most(self):
        assert all(len(self.live(uid)) <= 1 for uid in UIDS)
        assert all(probe.mark <= self.now + PROBE for _, _, probe in self.probes)


BUDGET = RatioBudget(0.5, 1, timedelta(seconds=5))
TestTogether = Together.TestCase
TestTogether.settings = settings(max_examples=60, stateful_step_count=40)
