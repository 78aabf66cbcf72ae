"""Which endpoint of a service, or of a subset of it, is asked.

A balancer draws from the endpoints that may be chosen (``pool``), by a policy's way: the better of two by chance, in
turns, by chance, or by a hash of what requests go together by. Whatever the way: an endpoint gets in proportion to its
capacity, a new one less for a while, and one that was tried before for the same request comes last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from immutables import Map

from ambient.core.endpoints import Candidates
from ambient.core.model.traffic import Maglev as MaglevPolicy, RingHash, Simple, TrafficPolicy
from ambient.core.resilience.balance.load import Loads
from ambient.core.resilience.balance.maglev import Maglev
from ambient.core.resilience.balance.pool import Chance, Group, Pool, changes
from ambient.core.resilience.balance.ring import Ring

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload

_DRAWS: Final = 3
"""After so many that do not suit, those that do are listed."""
_NONE: Final = Candidates(())
_LEAST_WARM: Final = 0.1
"""The part of its share that a new endpoint gets at once. Source: Envoy's."""


class Wish(NamedTuple):
    """What is particular to one request. A tuple, since one is made for each."""

    out: frozenset[str] = frozenset()
    """Endpoints that are left out, by uid: the same object while they do not change."""
    tried: frozenset[str] = frozenset()
    """Endpoints that this request was sent to before; they come last."""
    place: int | None = None
    """The hash (``ring.place``) of what requests go together by; None: nothing, or not with this policy."""
    prefer: str = ""
    """An endpoint that is taken if it may be, whatever the policy: that of the session."""


class Balancer:
    """Of one service, port and subset, for one policy. One worker's own."""

    def __init__(
        self, policy: TrafficPolicy, subset: Map[str, str] | None = None, source: Workload | None = None
    ) -> None:
        """``subset`` is labels that an endpoint must carry, ``source`` where near ones are near to."""
        self._pool = Pool(policy, Map() if subset is None else subset, source)
        self._warmup = policy.warmup.total_seconds() if policy.warmup else 0.0
        self._since: dict[str, float] = {}
        self._known: Candidates | None = None
        self._way = _way(policy)
        self.loads = Loads()

    @property
    def size(self) -> int:
        """How many endpoints there were at the last choice, those left out too."""
        return self._pool.size

    @property
    def usable(self) -> int:
        """How many of them were not left out."""
        return self._pool.usable

    @property
    def in_panic(self) -> bool:
        """Whether so many are left out that all are asked again."""
        return self._pool.in_panic

    def pick(self, candidates: Candidates, wish: Wish, now: float, chance: Chance) -> Workload | None:
        """The endpoint to ask; None: there is none that may be.

        ``candidates`` is the same object while endpoints do not change (``Endpoints.serving``).
        """
        self.see(candidates, wish.out, now)
        if wish.prefer and wish.prefer not in wish.tried:
            for group in self._pool.groups:
                preferred = group.usable.having(wish.prefer)
                if preferred is not None:
                    return preferred
        return self._way(self, wish, now, chance)

    def see(self, candidates: Candidates, out: frozenset[str], now: float) -> None:
        """Have these endpoints, without those uids."""
        if not self._pool.see(candidates, out):
            return
        if candidates is not self._known:
            if self._known is not None:
                gone, come = changes(self._known, candidates)
                for one in gone:
                    self.loads.forget(one.uid)
                    self._since.pop(one.uid, None)
                if self._warmup:
                    self._since |= dict.fromkeys((one.uid for one in come), now)
            self._known = candidates

    def begin(self, endpoint: Workload) -> None:
        """A request goes to an endpoint."""
        self.loads.begin(endpoint.uid)

    def ended(self, endpoint: Workload, took: float | None, now: float, *, failed: bool = False) -> None:
        """It is over; its response began after ``took`` seconds, None if none did."""
        self.loads.ended(endpoint.uid, took, now, failed=failed)

    def drawn(
        self, wish: Wish, now: float, chance: Chance, draw: Callable[[Group], Workload | None]
    ) -> Workload | None:
        """One by ``draw`` that was not tried before, if there is one, and new ones less often."""
        group = self._pool.group(chance())
        if group is None:
            return None
        endpoint = spare = None
        for _ in range(_DRAWS):
            endpoint = draw(group)
            if endpoint is None:
                break
            if endpoint.uid in wish.tried:
                continue
            if self._is_warm(endpoint, now, chance):
                return endpoint
            spare = endpoint
        return spare or self._untried(group, wish, chance) or endpoint

    def groups(self, number: int) -> Iterator[Group]:
        """All that serve, the one with this number first."""
        serving = [group for group in self._pool.groups if group.usable.capacity]
        yield from (group for group in serving if group.number == number)
        yield from (group for group in serving if group.number != number)

    def group(self, chance: float) -> Group | None:
        """A group by its part of the requests."""
        return self._pool.group(chance)

    def _is_warm(self, endpoint: Workload, now: float, chance: Chance) -> bool:
        if not self._since:
            return True
        since = self._since.get(endpoint.uid)
        if since is None:
            return True
        if now - since >= self._warmup:
            del self._since[endpoint.uid]
            return True
        return chance() < max(_LEAST_WARM, (now - since) / self._warmup)

    def _untried(self, group: Group, wish: Wish, chance: Chance) -> Workload | None:
        for one in self.groups(group.number):
            rest = one.usable.without(wish.tried)
            found = rest.at(chance() * rest.capacity)
            if found is not None:
                return found
        return None


_Way: TypeAlias = Callable[[Balancer, Wish, float, Chance], "Workload | None"]


def _way(policy: TrafficPolicy) -> _Way:
    match policy.balancer:
        case None | Simple.LEAST_REQUEST:
            return _least_request
        case Simple.ROUND_ROBIN:
            return _Turns().pick
        case Simple.RANDOM | Simple.PASSTHROUGH:
            return _random
        case RingHash(_, size):
            return _Hashed(lambda: _RingTable(size)).pick
        case MaglevPolicy(_, size):
            return _Hashed(lambda: _MaglevTable(size)).pick


def _random(balancer: Balancer, wish: Wish, now: float, chance: Chance) -> Workload | None:
    return balancer.drawn(wish, now, chance, lambda group: _at(group.usable, chance()))


def _least_request(balancer: Balancer, wish: Wish, now: float, chance: Chance) -> Workload | None:
    def better(group: Group) -> Workload | None:
        one, other = group.usable.two(chance(), chance())
        return one if one is None or other is None else balancer.loads.better(one, other, now)

    return balancer.drawn(wish, now, chance, better)


def _at(candidates: Candidates, chance: float) -> Workload | None:
    return candidates.at(chance * candidates.capacity)


class _Turns:
    """In turns: each unit of capacity once in a round, far from its neighbours."""

    def __init__(self) -> None:
        self._turn: int | None = None

    def pick(self, balancer: Balancer, wish: Wish, now: float, chance: Chance) -> Workload | None:
        if self._turn is None:
            # Many workers that begin with the same endpoint would make it a busy one.
            self._turn = int(chance() * 2**20)

        def next_one(group: Group) -> Workload | None:
            capacity = group.usable.capacity
            if not capacity:
                return None
            self._turn = (self._turn or 0) + 1
            return group.usable.at(self._turn * _stride(capacity) % capacity)

        return balancer.drawn(wish, now, chance, next_one)


def _stride(capacity: int) -> int:
    """About 0.62 of a capacity, and without a common divisor with it."""
    stride = max(1, round(capacity * _GOLDEN))
    while math.gcd(stride, capacity) != 1:
        stride += 1
    return stride


_GOLDEN: Final = (math.sqrt(5) - 1) / 2


class _RingTable:
    def __init__(self, size: int) -> None:
        self._ring = Ring(size)
        self._members = _NONE

    def see(self, members: Candidates) -> None:
        if members is not self._members:
            self._ring.change(*changes(self._members, members))
            self._members = members

    def settle(self) -> bool:
        return False

    def walk(self, place: int) -> Iterator[str]:
        return self._ring.walk(place)


class _MaglevTable:
    def __init__(self, size: int) -> None:
        self._table = Maglev(size)
        self._members = _NONE

    def see(self, members: Candidates) -> None:
        if members is not self._members:
            self._table.change(members)
            self._members = members
        self._table.advance()

    def settle(self) -> bool:
        """Whether there is now another table than before."""
        if self._table.is_settled:
            return False
        self._table.settle()
        return True

    def walk(self, place: int) -> Iterator[str]:
        return self._table.walk(place)


class _Hashed:
    """What goes together goes to one endpoint, or to the next of its order that may be chosen."""

    def __init__(self, make: Callable[[], _RingTable | _MaglevTable]) -> None:
        self._make = make
        self._tables: dict[int, _RingTable | _MaglevTable] = {}

    def pick(self, balancer: Balancer, wish: Wish, now: float, chance: Chance) -> Workload | None:
        place = wish.place
        if place is None:
            return _random(balancer, wish, now, chance)
        first = balancer.group(place / 2**64)
        if first is None:
            return None
        fallback = None
        for group in balancer.groups(first.number):
            table = self._tables.get(group.number)
            if table is None:
                table = self._tables[group.number] = self._make()
            table.see(group.members)
            endpoint = self._walked(table, group, place, wish.tried)
            if endpoint is None and table.settle():
                endpoint = self._walked(table, group, place, wish.tried)
            if endpoint is not None and endpoint.uid not in wish.tried:
                return endpoint
            fallback = fallback or endpoint
        return fallback

    @staticmethod
    def _walked(
        table: _RingTable | _MaglevTable, group: Group, place: int, tried: frozenset[str]
    ) -> Workload | None:
        """The first that may be chosen and was not tried; or the first that may be."""
        usable, fallback = group.usable, None
        left = len(usable) - sum(usable.having(uid) is not None for uid in tried) if tried else 1
        for uid in table.walk(place):
            endpoint = usable.having(uid)
            if endpoint is None or not endpoint.capacity:
                continue
            if uid not in tried:
                return endpoint
            fallback = fallback or endpoint
            if not left:
                break
        return fallback
