"""What stands between requests and the endpoints of each service: its limits, its retry budget, its breakers.

A guard joins the machines of ``core.resilience`` with the ledger that all workers share. What is asked for each request
is a glance where nothing has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from ambient.core.model.limit import Together
from ambient.core.model.traffic import ConcurrencyBudget, RatioBudget
from ambient.core.resilience import accrual, bucket, budget, outlier
from ambient.core.resilience.accrual import Admission, Allowed, Barred, Probe, Recovered, Tripped
from ambient.core.resilience.gauge import Kind, limit_of

if TYPE_CHECKING:
    from ambient.core.model.limit import RateLimit
    from ambient.core.model.traffic import RetryBudget, TrafficPolicy
    from ambient.core.resilience.retry import Outcome
    from ambient.waypoint.ledger import Ledger

_BARRED_SECONDS: Final = 1.0
"""How long an endpoint is not asked about again that is waiting for its probe."""
_BUDGETS: Final = 64
"""Different ones that requests of one guard name; each change of configuration may bring others."""


class Guard:
    """Of one service, or of whatever else has a policy of its own, as one worker sees it."""

    def __init__(
        self,
        key: str,
        policy: TrafficPolicy,
        budget_key: str,
        ledger: Ledger,
        chance: Callable[[], float],
    ) -> None:
        self.policy = policy
        self._key, self._ledger, self._chance = key, ledger, chance
        self._budget_key = f"budget\0{budget_key}"
        self._board = ledger.board
        self._scope = self._board.scope(key)
        self._gauge = ledger.gauges.of(key)
        self._untold: dict[RatioBudget, _Untold] = {}
        self._last: tuple[RatioBudget | None, _Untold] = None, _Untold()
        self._out: frozenset[str] = frozenset()
        self._seen, self._stands_until = -1, 0.0
        self._barred: dict[str, float] = {}

    # What is under way

    def take(self, kind: Kind) -> bool:
        """One more under way, if the limit on its kind has room; ``give`` it back when it is over."""
        return self._gauge.take(kind, limit_of(self.policy.limits, kind))

    def give(self, kind: Kind) -> None:
        """One less under way."""
        self._gauge.give(kind)

    def under_way(self, kind: Kind) -> int:
        """How many are, in all workers."""
        return self._gauge.total(kind)

    # Retries

    def began(self, now: float, own: RetryBudget | None = None) -> None:
        """A request has come (no retry of one): the budget grows.

        ``own`` is a budget that stands in place of the policy's. Of every sort there is one for each budget key.
        """
        rule = self._budget(own)
        if isinstance(rule, RatioBudget):
            untold = self._last[1] if rule is self._last[0] else self._untold_of(rule)
            if now >= untold.told_until:
                self._tell(rule, untold, now)
            if not untold.requests:
                untold.since = now
            untold.requests += 1

    def retry(self, now: float, own: RetryBudget | None = None) -> bool:
        """Whether a request may be sent again; if so it is a RETRY under way, to be given back when that is over."""
        rule, limit = self._budget(own), self.policy.limits.retries
        match rule:
            case ConcurrencyBudget():
                under_way = self._gauge.total(Kind.REQUEST) + self._gauge.total(Kind.PENDING)
                most = budget.most(rule, under_way)
                return self._gauge.take(Kind.RETRY, most if limit is None else min(limit, most))
            case RatioBudget():
                if not self._gauge.take(Kind.RETRY, limit):
                    return False
                untold = self._untold.get(rule)
                if untold is not None:
                    self._tell(rule, untold, now)
                key = self._key_of(rule)
                allowed = self._ledger.step(key, lambda state: budget.take(rule, state, now), now)
                if not allowed:
                    self._gauge.give(Kind.RETRY)
                return allowed

    # Endpoints

    def out(self, now: float) -> frozenset[str]:
        """The endpoints that are left out, by uid; the same object while they do not change."""
        if self._seen != self._board.version or now >= self._stands_until:
            self._look(now)
        return self._out

    def admit(self, uid: str, now: float) -> Admission:
        """Whether a request may go to an endpoint that was chosen. If not, choose another: it is ``out`` meanwhile."""
        if self.policy.accrual is None or uid not in self._board.out(self._scope):
            return _ALLOWED
        admission = self._ledger.step(
            self._endpoint_key("a", uid), lambda state: accrual.admit(state, now), now
        )
        match admission:
            case Allowed() | Probe():
                pass
            case Barred(until):
                self._barred[uid] = min(until, now + _BARRED_SECONDS)
                self._stands_until = now
        return admission

    def heard(
        self, uid: str, outcome: Outcome, endpoints: int, now: float, probe: Probe | None = None
    ) -> None:
        """What came of a try at one of so many endpoints; ``probe``: as ``admit`` said."""
        if self.policy.outlier is not None:
            self._heard_by_outlier(uid, outcome, endpoints, now)
        if self.policy.accrual is not None:
            self._heard_by_accrual(uid, outcome, now, probe)

    def abandoned(self, uid: str, probe: Probe, now: float) -> None:
        """Nothing came of a probe that says anything: the client left."""
        self._ledger.step(
            self._endpoint_key("a", uid), lambda state: (accrual.abandoned(state, probe, now), None), now
        )

    def _heard_by_outlier(self, uid: str, outcome: Outcome, endpoints: int, now: float) -> None:
        rule, result = self.policy.outlier, outlier.result_of(outcome)
        if rule is None or result is None:
            return
        key = self._endpoint_key("o", uid)
        if result is outlier.Result.FINE and not self._ledger.look(key, now):
            return
        if not self._ledger.step(key, lambda state: outlier.seen(rule, state, result, now), now):
            return

        def lasts() -> tuple[float, float]:
            until = self._ledger.step(key, lambda state: outlier.ejected(rule, state, now), now)
            return until, until

        self._board.add(self._scope, uid, now, lasts, outlier.most(rule, endpoints))

    def _heard_by_accrual(self, uid: str, outcome: Outcome, now: float, probe: Probe | None) -> None:
        rule, result = self.policy.accrual, accrual.result_of(outcome)
        if rule is None:
            return
        if result is None:
            if probe is not None:
                self.abandoned(uid, probe, now)
            return
        key = self._endpoint_key("a", uid)
        if not result.degraded and rule.success_rate is None and not self._ledger.look(key, now):
            return
        chance = self._chance()
        change = self._ledger.step(
            key, lambda state: accrual.seen(rule, state, result, now, chance, probe), now
        )
        match change:
            case Tripped(until, forgotten_at):
                self._board.add(self._scope, uid, now, lambda: (until, forgotten_at))
            case Recovered():
                self._board.remove(self._scope, uid, now)
            case None:
                pass

    def _look(self, now: float) -> None:
        version = self._board.version
        out = self._board.out(self._scope)
        if version != self._seen:
            # A probe may be over: whoever asks next finds out.
            self._barred.clear()
        self._barred = {uid: until for uid, until in self._barred.items() if now < until}
        until = {uid: one.until for uid, one in out.items() if now < one.until} | self._barred
        found = frozenset(until)
        if found != self._out:
            self._out = found
        self._seen, self._stands_until = version, min(until.values(), default=float("inf"))

    def _budget(self, own: RetryBudget | None) -> RetryBudget:
        return own or self.policy.budget or budget.DEFAULT_BUDGET

    def _untold_of(self, rule: RatioBudget) -> _Untold:
        if len(self._untold) >= _BUDGETS:
            self._untold.clear()
        untold = self._untold.setdefault(rule, _Untold())
        self._last = rule, untold
        return untold

    def _key_of(self, rule: RatioBudget) -> str:
        # What is counted in slices of another length is another thing.
        return f"{self._budget_key}\0{rule.window.total_seconds()}"

    def _tell(self, rule: RatioBudget, untold: _Untold, now: float) -> None:
        if untold.requests:
            count, since = untold.requests, untold.since
            untold.requests = 0
            self._ledger.step(
                self._key_of(rule), lambda state: (budget.seen(rule, state, count, since, now), None), now
            )
        untold.told_until = now + budget.slice_of(rule)

    def _endpoint_key(self, kind: str, uid: str) -> str:
        return f"{kind}\0{self._key}\0{uid}"


_ALLOWED: Final = Allowed()


class _Untold:
    """Requests that other workers have not been told of: late by a slice of the window at most, which spares a step each."""

    __slots__ = ("requests", "since", "told_until")

    def __init__(self) -> None:
        self.requests = 0
        self.since = 0.0
        self.told_until = 0.0


class Guards:
    """All guards of one worker, and rate limits."""

    def __init__(self, ledger: Ledger, chance: Callable[[], float]) -> None:
        self._ledger, self._chance = ledger, chance
        self._held: dict[str, tuple[TrafficPolicy, Guard]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def of(self, key: str, policy: TrafficPolicy, budget_key: str | None = None) -> Guard:
        """The guard of a service (or a port or subset of it, as the key says) with a policy.

        ``budget_key`` is whose retry budget it is, which several guards may share; None: its own.
        """
        held = self._held.get(key)
        if held is not None and held[0] is policy:
            return held[1]
        if held is not None and held[0] == policy:
            guard = held[1]
        else:
            guard = Guard(key, policy, key if budget_key is None else budget_key, self._ledger, self._chance)
        self._held[key] = (policy, guard)
        return guard

    def keep(self, keys: Collection[str], now: float) -> None:
        """Forget all others, and what says nothing any more."""
        for key in self._held.keys() - set(keys):
            del self._held[key]
        self._ledger.gauges.keep(keys)
        self._ledger.board.forget(now)

    def limited(self, service: str, limit: RateLimit, client: str, now: float) -> bucket.Verdict:
        """Whether a request of a client is within a rate limit of a service; a dry run is the caller's.

        ``client`` is what the limit's key says of the request, and empty for ``Together``.
        """
        rate = f"rate\0{service}\0{limit.name}\0{limit.requests}/{limit.period.total_seconds()}+{limit.burst}"
        if isinstance(limit.key, Together):
            return self._ledger.step(rate, lambda state: bucket.take(limit, state, now), now)
        return self._ledger.step(
            f"{rate}\0{client}", lambda state: bucket.take(limit, state, now), now, spill=rate
        )
