"""Which waypoint a service is behind, by its own labels or its namespace's. Source: Istio's ``istio.io/use-waypoint``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ambient.control.objects import WaypointName
from ambient.core.model.address import GatewayAddress
from ambient.core.ports import HBONE_PORT

if TYPE_CHECKING:
    from ambient.core.model.service import Service

USE: Final = ("ambient.dev/use-waypoint", "istio.io/use-waypoint")
"""Labels with the name of a waypoint, or ``none``; the first that is set counts."""
_NAMESPACE: Final = "-namespace"
"""Behind the same label: where that waypoint is, if it is in another namespace."""


def asked_by(labels: Mapping[str, str], namespace: str) -> WaypointName | None:
    """What labels of a service or namespace ask for; None: nothing."""
    label = next((label for label in USE if labels.get(label)), None)
    if label is None:
        return None
    if labels[label] == "none":
        return WaypointName(namespace, "")
    return WaypointName(labels.get(f"{label}{_NAMESPACE}") or namespace, labels[label])


def behind(service: Service, own: WaypointName | None, inherited: WaypointName | None) -> Service:
    """``service`` as its callers see it: behind its waypoint, unless it is that waypoint itself."""
    wanted = inherited if own is None else own
    if wanted is None or not wanted.name or (service.namespace, service.name) == wanted:
        return service
    key = f"{wanted.namespace}/{wanted.name}.{wanted.namespace}.svc.cluster.local"
    return replace(service, waypoint=GatewayAddress(key, HBONE_PORT))
