"""The balancers of one worker, each kept while its policy is."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING

from immutables import Map

from ambient.core.resilience.balance.balancer import Balancer

if TYPE_CHECKING:
    from ambient.core.model.traffic import TrafficPolicy
    from ambient.core.model.workload import Workload


class Balancers:
    """By whatever tells services, ports and subsets apart."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[_Made, Balancer]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def of(
        self,
        key: Hashable,
        policy: TrafficPolicy,
        subset: Map[str, str] | None = None,
        source: Workload | None = None,
    ) -> Balancer:
        """The balancer of a key; a new one where it is to follow another policy than before."""
        held = self._held.get(key)
        if held is not None and held[0].is_of(policy, subset, source):
            return held[1]
        made = Balancer(policy, subset, source)
        self._held[key] = (_Made(policy, subset, source), made)
        return made

    def keep(self, keys: Collection[Hashable]) -> None:
        """Forget all others."""
        for key in self._held.keys() - set(keys):
            del self._held[key]


class _Made:
    """What a balancer was made of. Values are compared only when they are not the same objects."""

    __slots__ = ("_policy", "_source", "_subset")

    def __init__(self, policy: TrafficPolicy, subset: Map[str, str] | None, source: Workload | None) -> None:
        self._policy, self._subset, self._source = policy, subset, source

    def is_of(self, policy: TrafficPolicy, subset: Map[str, str] | None, source: Workload | None) -> bool:
        if self._policy is not policy:
            if self._policy != policy:
                return False
            self._policy = policy
        if self._subset is not subset:
            if self._subset != subset:
                return False
            self._subset = subset
        if self._source is not source:
            if self._source != source:
                return False
            self._source = source
        return True
