"""Which waypoints there are, and who is behind which. Source: Istio's ``istio.io/use-waypoint`` and ``waypoint-for``.

A service, a workload or a namespace asks for a waypoint by its label; a namespace for all of its services and workloads
that say nothing themselves. That is in effect for what the waypoint is for. One that is not there is in effect all the
same, so that nothing reaches what should be behind it: for services, as a waypoint is for these if it does not say
otherwise, and for a workload that asks itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import Final

from immutables import Map

from ambient.control.objects import (
    Gateway,
    Key,
    SelectingService,
    TargetPort,
    WaypointFor,
    WaypointName,
)
from ambient.control.problem import Problem, Reason, no_effect
from ambient.core.model.address import GatewayAddress
from ambient.core.model.service import Port, Service
from ambient.core.ports import HBONE_PORT

USE: Final = ("ambient.dev/use-waypoint", "istio.io/use-waypoint")
"""Labels with the name of a waypoint, or ``none``; the first that is set counts."""
_NAMESPACE: Final = "-namespace"
"""Behind the same label: where that waypoint is, if it is in another namespace."""
GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""Label of a waypoint's replicas."""
_DOMAIN: Final = "svc.cluster.local"
LABELS: Final = "metadata.labels"
"""The field of all problems here."""


class Asker(Enum):
    """What is to be behind a waypoint."""

    SERVICE = "services"
    WORKLOAD = "workloads"


_SERVED: Final[Mapping[WaypointFor, Collection[Asker]]] = {
    WaypointFor.SERVICE: (Asker.SERVICE,),
    WaypointFor.WORKLOAD: (Asker.WORKLOAD,),
    WaypointFor.ALL: (Asker.SERVICE, Asker.WORKLOAD),
    WaypointFor.NONE: (),
}


def asked_by(labels: Mapping[str, str], namespace: str) -> WaypointName | None:
    """What labels of something in a namespace ask for; None: nothing."""
    label = _label(labels)
    if not label:
        return None
    if labels[label] == "none":
        return WaypointName(namespace, "")
    return WaypointName(labels.get(f"{label}{_NAMESPACE}") or namespace, labels[label])


def _label(labels: Mapping[str, str]) -> str:
    return next((label for label in USE if labels.get(label)), "")


def service_of(name: WaypointName) -> str:
    """The key of a waypoint's own service."""
    return f"{name.namespace}/{name.name}.{name.namespace}.{_DOMAIN}"


def named(address: GatewayAddress) -> WaypointName:
    """The waypoint that an address is of. Addresses that are made here have names."""
    namespace, _, hostname = str(address.destination).partition("/")
    return WaypointName(namespace, hostname.partition(".")[0])


class Waypoints:
    """All gateways, and everyone who asks for one."""

    def __init__(self) -> None:
        self._gateways: dict[str, dict[str, Gateway]] = {}
        """By namespace and name; those of other classes too."""
        self._asked: dict[Key, WaypointName] = {}
        self._askers: dict[WaypointName, set[Key]] = {}

    def hold(self, gateway: Gateway) -> None:
        """There is one, in place of any of its name."""
        self._gateways.setdefault(gateway.namespace, {})[gateway.name] = gateway

    def drop(self, namespace: str, name: str) -> None:
        """It is there no more."""
        held = self._gateways.get(namespace, {})
        held.pop(name, None)
        if not held:
            self._gateways.pop(namespace, None)

    def ask(self, key: Key, wanted: WaypointName | None) -> None:
        """An object asks for a waypoint, in place of what it asked for; None: for none."""
        before = self._asked.pop(key, None)
        if before is not None:
            self._askers[before].discard(key)
            if not self._askers[before]:
                del self._askers[before]
        if wanted is not None and wanted.name:
            self._asked[key] = wanted
            self._askers.setdefault(wanted, set()).add(key)

    def askers(self, name: WaypointName) -> Collection[Key]:
        """The objects that ask for a waypoint."""
        return self._askers.get(name, ())

    def names(self) -> Collection[WaypointName]:
        """The waypoints that there are, and those that are only asked for."""
        held = {
            WaypointName(namespace, gateway.name)
            for namespace in self._gateways
            for gateway in self.of(namespace)
        }
        return held | self._askers.keys()

    def get(self, name: WaypointName) -> Gateway | None:
        """The waypoint of a name; a gateway of another class is none."""
        gateway = self._gateways.get(name.namespace, {}).get(name.name)
        return None if gateway is None or gateway.waypoint_for is None else gateway

    def of(self, namespace: str) -> Iterator[Gateway]:
        """The waypoints of a namespace, in the order of their names."""
        held = self._gateways.get(namespace, {})
        return (held[name] for name in sorted(held) if held[name].waypoint_for is not None)

    def before(
        self, asker: Asker, own: WaypointName | None, inherited: WaypointName | None
    ) -> GatewayAddress | None:
        """The waypoint before something that asks, or whose namespace does; None: none."""
        wanted = inherited if own is None else own
        if wanted is None or not wanted.name:
            return None
        waypoint = self.get(wanted)
        if waypoint is not None and waypoint.waypoint_for is not None:
            is_served = asker in _SERVED[waypoint.waypoint_for]
        else:
            is_served = asker is Asker.SERVICE or own is not None
        return GatewayAddress(service_of(wanted), HBONE_PORT) if is_served else None

    def is_replica(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether a workload with these labels is of a waypoint."""
        name = labels.get(GATEWAY_NAME)
        return name is not None and self.get(WaypointName(namespace, name)) is not None

    def problems(self, services: Collection[str]) -> Iterator[tuple[Key, Problem]]:
        """What is asked for in vain; ``services`` are the keys of those there are."""
        for key, wanted in sorted(self._asked.items()):
            waypoint = self.get(wanted)
            if waypoint is None or waypoint.waypoint_for is None:
                if service_of(wanted) not in services:
                    yield key, Problem(LABELS, self._missing(wanted), Reason.REFERENCE)
                continue
            served = _SERVED[waypoint.waypoint_for]
            if not any(asker in served for asker in _asking(key.kind)):
                yield key, no_effect(LABELS, _not_for(wanted, waypoint.waypoint_for, key.kind))

    def _missing(self, wanted: WaypointName) -> str:
        name = f"{wanted.namespace}/{wanted.name}"
        if wanted.name in self._gateways.get(wanted.namespace, {}):
            why = f"ask for Gateway {name}, which is of a class that is not ours"
        else:
            why = f"ask for waypoint {name}, and no Gateway of that name is known"
        make = f"ambient waypoint apply {wanted.name} --namespace {wanted.namespace}"
        return f"{why}, so calls are refused; run `{make}`, or take the label away"


def _asking(kind: str) -> Collection[Asker]:
    match kind:
        case "Namespace":
            return tuple(Asker)
        case "Service" | "ServiceEntry":
            return (Asker.SERVICE,)
        case _:
            return (Asker.WORKLOAD,)


def _not_for(wanted: WaypointName, waypoint_for: WaypointFor, kind: str) -> str:
    asking = " and ".join(asker.value for asker in _asking(kind))
    served = " and ".join(asker.value for asker in _SERVED[waypoint_for]) or "nothing"
    return (
        f"ask for waypoint {wanted.namespace}/{wanted.name}, which is for {served} and not for {asking}, so that has no "
        f"effect; label the Gateway istio.io/waypoint-for: {WaypointFor.ALL.value}"
    )


def own_service(gateway: Gateway) -> SelectingService:
    """A waypoint's own service: whoever calls what is behind the waypoint calls one of its replicas."""
    port = TargetPort(HBONE_PORT, HBONE_PORT, "hbone")
    service = Service(
        name=gateway.name,
        namespace=gateway.namespace,
        hostname=f"{gateway.name}.{gateway.namespace}.{_DOMAIN}",
        addresses=(),
        ports=(Port(HBONE_PORT, HBONE_PORT),),
    )
    return SelectingService(service, Map({GATEWAY_NAME: gateway.name}), (port,), kind="Gateway")
