"""Which endpoints are near a caller: groups of them, in the order of asking, or with shares.

Source: Istio's locality load balancing: failover, ``failoverPriority`` and ``distribute``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.core.model.traffic import LocalityPolicy, LocalityWeights, TrafficPolicy

if TYPE_CHECKING:
    from ambient.core.model.workload import Locality, Workload

Grouping: TypeAlias = Callable[["Workload"], int | None]
"""The group of an endpoint; None: it gets nothing."""


def locality_of(policy: TrafficPolicy) -> LocalityPolicy | None:
    """What holds: without a word of it, near ones come first where breakers see who fails, as Istio has it."""
    if policy.locality is not None:
        return policy.locality if policy.locality.is_on else None
    return LocalityPolicy() if policy.outlier is not None else None


def shares(policy: LocalityPolicy, source: Workload) -> LocalityWeights | None:
    """What is said of how callers where ``source`` is are shared out; the first that fits."""
    return next((one for one in policy.weights if _is_in(source.locality, one.source)), None)


def by_share(weights: LocalityWeights) -> tuple[Grouping, tuple[int, ...]]:
    """Groups that each get a share, and the shares in percent."""
    places = tuple(weights.to.items())

    def group(endpoint: Workload) -> int | None:
        fits = [
            (len(place), number)
            for number, (place, _) in enumerate(places)
            if _is_in(endpoint.locality, place)
        ]
        return max(fits)[1] if fits else None

    return group, tuple(percent for _, percent in places)


def by_rank(policy: LocalityPolicy, source: Workload) -> Grouping | None:
    """Groups of which the first comes first; None: all endpoints are alike to ``source``."""
    if policy.priorities:
        wanted = [_wanted(one, source) for one in policy.priorities]
        return lambda endpoint: len(wanted) - _leading(wanted, endpoint)
    here = source.locality
    if not here.region:
        return None
    successor = dict(policy.failover).get(here.region)

    def group(endpoint: Workload) -> int:
        there = endpoint.locality
        if there.region != here.region:
            return 3 if successor in {None, there.region} else 4
        if there.zone != here.zone:
            return 2
        return 0 if there.subzone == here.subzone else 1

    return group


def _is_in(locality: Locality, place: str) -> bool:
    parts = (locality.region, locality.zone, locality.subzone)
    return all(name in {"*", part} for name, part in zip((place or "*").split("/"), parts, strict=False))


def _wanted(priority: str, source: Workload) -> tuple[str, str | None]:
    """A label and the value that it should have; ``label=value`` names it, else it is the caller's."""
    name, named, value = priority.partition("=")
    return (name, value) if named else (name, _label(source, name))


def _leading(wanted: list[tuple[str, str | None]], endpoint: Workload) -> int:
    count = 0
    for name, value in wanted:
        if _label(endpoint, name) != value:
            break
        count += 1
    return count


def _label(workload: Workload, name: str) -> str | None:
    match name:
        case "topology.kubernetes.io/region":
            return workload.locality.region
        case "topology.kubernetes.io/zone":
            return workload.locality.zone
        case "topology.istio.io/subzone":
            return workload.locality.subzone
        case "topology.istio.io/network":
            return workload.network
        case "topology.istio.io/cluster":
            return workload.cluster
        case "kubernetes.io/hostname":
            return workload.node
        case _:
            return workload.labels.get(name)


OVERPROVISIONING: Final = 1.4
"""A group is asked all that it is meant to while at least five in seven of it can serve. Source: Envoy."""


def loads(availability: list[float]) -> list[float]:
    """Of groups in the order of asking, each one's part of all requests.

    ``availability`` is how much of its own endpoints each has. What a group cannot take goes to the next; if all together
    cannot, each takes in proportion.
    """
    able = [min(1.0, OVERPROVISIONING * one) for one in availability]
    total = min(1.0, sum(able))
    left, parts = 1.0, []
    for one in able:
        part = min(left, one / total) if total else 0.0
        parts.append(part)
        left = max(0.0, left - part)
    return parts
