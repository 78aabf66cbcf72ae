"""Who may be chosen now: the endpoints of a service (or a subset), in groups by nearness, without those left out.

Which endpoints there are and who is left out change seldom, and each is a value that is the same object while it does
not change. So what follows from them is worked out when one of them is another, and of it only what concerns shares of
endpoints that are others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ambient.core.endpoints import Candidates, Share
from ambient.core.resilience.balance import nearness

if TYPE_CHECKING:
    from immutables import Map

    from ambient.core.model.traffic import TrafficPolicy
    from ambient.core.model.workload import Workload

_Parts: TypeAlias = dict[int, Share]


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints that are alike in nearness."""

    number: int
    """In the order of asking."""
    members: Candidates
    usable: Candidates
    """Without those left out; all of them in a panic."""
    load: float
    """Its part of all requests."""


class Pool:
    """Of one balancer."""

    def __init__(self, policy: TrafficPolicy, subset: Map[str, str], source: Workload | None) -> None:
        self._subset = tuple(subset.items())
        self._shares: tuple[int, ...] = ()
        self._grouping: nearness.Grouping | None = None
        self._least_healthy = (policy.outlier.least_healthy_percent or 0) / 100 if policy.outlier else 0.0
        locality = nearness.locality_of(policy)
        if locality is not None and source is not None:
            weights = nearness.shares(locality, source)
            if weights is not None:
                self._grouping, self._shares = nearness.by_share(weights)
            elif not locality.weights:
                self._grouping = nearness.by_rank(locality, source)
        self._seen: Candidates | None = None
        self._out: frozenset[str] = frozenset()
        self._parts: dict[int, tuple[Share, _Parts]] = {}
        self.groups: tuple[Group, ...] = ()
        self.size = 0
        """How many endpoints there are, those left out too."""
        self.usable = 0
        """How many may be chosen."""
        self.in_panic = False
        """Whether so many are left out that all are asked again."""

    def see(self, candidates: Candidates, out: frozenset[str]) -> bool:
        """Have these endpoints without those uids; whether that is another thing than before."""
        if candidates is self._seen and out is self._out:
            return False
        members = [group.members for group in self.groups]
        if candidates is not self._seen:
            members = self._divided(candidates)
            self._seen = candidates
        self._out = out
        self._arrange(members)
        return True

    def group(self, chance: float) -> Group | None:
        """A group by its part of the requests, decided by ``chance`` in [0, 1); None: there is none that serves."""
        if len(self.groups) == 1:
            return self.groups[0] if self.groups[0].usable else None
        last = None
        for group in self.groups:
            if group.load > 0:
                if chance < group.load:
                    return group
                chance -= group.load
                last = group
        return last

    def _arrange(self, members: list[Candidates]) -> None:
        usable = [one.without(self._out) if self._out else one for one in members]
        self.size = sum(map(len, members))
        able = sum(map(len, usable))
        self.in_panic = able < self.size * self._least_healthy
        if self.in_panic:
            usable, able = members, self.size
        self.usable = able
        availability = [
            len(some) / len(all_) if all_ else 0.0 for some, all_ in zip(usable, members, strict=True)
        ]
        self.groups = tuple(
            Group(number, *rest)
            for number, rest in enumerate(zip(members, usable, self._loads(availability), strict=True))
        )

    def _loads(self, availability: list[float]) -> list[float]:
        if not self._shares:
            return nearness.loads(availability)
        weights = [
            share * min(1.0, nearness.OVERPROVISIONING * one)
            for share, one in zip(self._shares, availability, strict=True)
        ]
        total = sum(weights)
        return [weight / total if total else 0.0 for weight in weights]

    def _divided(self, candidates: Candidates) -> list[Candidates]:
        if self._grouping is None and not self._subset:
            return [candidates]
        parts: dict[int, tuple[Share, _Parts]] = {}
        for share in candidates.shares:
            known = self._parts.get(id(share))
            parts[id(share)] = (share, self._part(share)) if known is None else known
        self._parts = parts
        numbers = (
            range(len(self._shares))
            if self._shares
            else sorted({number for _, part in parts.values() for number in part})
        )
        return [
            Candidates(part[number] for _, part in parts.values() if number in part) for number in numbers
        ]

    def _part(self, share: Share) -> _Parts:
        groups: dict[int, list[Workload]] = {}
        for endpoint in share.members:
            if all(endpoint.labels.get(name) == value for name, value in self._subset):
                number = 0 if self._grouping is None else self._grouping(endpoint)
                if number is not None:
                    groups.setdefault(number, []).append(endpoint)
        return {number: Share.of(members) for number, members in groups.items()}


def changes(before: Candidates, after: Candidates) -> tuple[list[Workload], list[Workload]]:
    """Who is gone and who has come; an endpoint with another capacity is and has.

    Reads only the shares that are others.
    """
    old = {id(share) for share in before.shares}
    new = {id(share) for share in after.shares}
    left = {one.uid: one for share in before.shares if id(share) not in new for one in share.members}
    come = []
    for share in after.shares:
        if id(share) not in old:
            for one in share.members:
                known = left.get(one.uid)
                if known is not None and known.capacity == one.capacity:
                    del left[one.uid]
                else:
                    come.append(one)
    return list(left.values()), come


Chance: TypeAlias = Callable[[], float]
"""Another number in [0, 1) at each call."""
