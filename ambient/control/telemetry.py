"""Which Telemetry objects are about a workload: of the mesh, of its namespace and its own, each time the oldest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ambient.control.objects import Telemetry, selects
from ambient.control.routes.precedence import age
from ambient.core.model import telemetry as settings


def layers(
    objects: Iterable[Telemetry], namespace: str, labels: Mapping[str, str], roots: tuple[str, ...]
) -> tuple[settings.Telemetry, ...]:
    """What is said of a workload's traffic, from the widest to the nearest. Those of targets are a waypoint's."""
    said = [one for one in objects if not one.targets]
    wide = [one for one in said if one.namespace in roots and not one.selector]
    near = [one for one in said if one.namespace == namespace and namespace not in roots and not one.selector]
    own = [
        one for one in said if one.namespace == namespace and one.selector and selects(one.selector, labels)
    ]
    return tuple(_oldest((wide, near, own)))


def _oldest(groups: Iterable[list[Telemetry]]) -> Iterator[settings.Telemetry]:
    for group in groups:
        if group:
            yield min(group, key=age).settings
