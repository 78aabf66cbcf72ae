"""EndpointSlices: who serves a service besides the workloads that it selects.

An endpoint is a pod by name, or whoever has its address. Where that is a workload of the mesh, the workload serves the
service; where nobody has told of it, the endpoint is a workload of its own, without identity.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from ambient.control.objects import (
    EndpointSlice,
    SelectingService,
    ServiceEntry,
    SliceEndpoint,
    SlicePort,
)
from ambient.core.model.address import IpAddress
from ambient.core.model.service import Port

_Who: TypeAlias = IpAddress | tuple[str, str]
"""By address, or by namespace and name of a pod."""
_Id: TypeAlias = tuple[str, str]
"""Namespace and name of a slice."""


class Told(NamedTuple):
    """What a slice says of somebody."""

    slice: EndpointSlice
    endpoint: SliceEndpoint


class Slices:
    """All of them, found by whom they name."""

    def __init__(self) -> None:
        self._held = defaultdict[str, dict[str, EndpointSlice]](dict)
        self._naming = defaultdict[_Who, dict[_Id, Told]](dict)

    def hold(self, one: EndpointSlice) -> None:
        """Hold it, in place of any of its name."""
        self.drop(one.namespace, one.name)
        self._held[one.namespace][one.name] = one
        for endpoint in one.endpoints:
            for who in _named(one, endpoint):
                self._naming[who][one.namespace, one.name] = Told(one, endpoint)

    def drop(self, namespace: str, name: str) -> None:
        """Hold it no longer, if it was held."""
        one = self._held[namespace].pop(name, None)
        if one is None:
            return
        for endpoint in one.endpoints:
            for who in _named(one, endpoint):
                self._naming[who].pop((one.namespace, one.name), None)
                if not self._naming[who]:
                    del self._naming[who]

    def of(self, namespace: str) -> Iterable[EndpointSlice]:
        """Those of a namespace, in the order of their names."""
        held = self._held.get(namespace, {})
        return [held[name] for name in sorted(held)]

    def naming(self, namespace: str, pod: str, addresses: Iterable[IpAddress]) -> Iterable[Told]:
        """What is said of a pod, or of whoever has one of the addresses."""
        found: dict[_Id, Told] = {}
        for who in (*addresses, (namespace, pod)):
            found |= self._naming.get(who, {})
        return [found[name] for name in sorted(found)]


def parts(entry: ServiceEntry) -> Iterator[tuple[str, SelectingService, tuple[EndpointSlice, ...]]]:
    """Each service of an entry, under a name that no Service can have, and slices of its endpoints."""
    for i, service in enumerate(entry.services):
        name = f"{entry.key.kind}/{entry.name}/{i}"
        yield (
            name,
            service,
            tuple(
                EndpointSlice(
                    entry.namespace,
                    f"{name}/{j}",
                    name,
                    (
                        SliceEndpoint(
                            (endpoint.address,),
                            is_ready=True,
                            pod="",
                            locality=endpoint.locality,
                            labels=endpoint.labels,
                            service_account=endpoint.service_account,
                            capacity=endpoint.capacity,
                        ),
                    ),
                    tuple(
                        SlicePort(port.name, endpoint.ports.get(port.name, int(port.target)))
                        for port in service.ports
                    ),
                    told_by=entry.key,
                )
                for j, endpoint in enumerate(entry.endpoints)
            ),
        )


def ports_of(service: SelectingService, one: EndpointSlice) -> tuple[Port, ...]:
    """The service's ports as the endpoints' own, which have the same names."""
    if one.ports is None:
        return tuple(
            Port(port.service_port, port.target if isinstance(port.target, int) else port.service_port)
            for port in service.ports
        )
    numbers = {port.name: port.port for port in one.ports}
    return tuple(
        Port(port.service_port, numbers[port.name]) for port in service.ports if port.name in numbers
    )


def unserved(service: SelectingService, one: EndpointSlice) -> Iterator[str]:
    """Which ports of the service the endpoints of a slice do not have."""
    names = {port.name for port in one.ports or ()}
    for port in service.ports:
        if one.ports is not None and port.name not in names:
            wanted = f"named {port.name}" if port.name else "without a name"
            yield f"{one.key}: port {port.service_port} of {service.key} has no endpoint in it; list a port {wanted}"


def _named(one: EndpointSlice, endpoint: SliceEndpoint) -> Iterator[_Who]:
    yield from endpoint.addresses
    if endpoint.pod:
        yield one.namespace, endpoint.pod
