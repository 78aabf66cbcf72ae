"""Where a waypoint is, and who it proves to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.core.model.address import GatewayAddress, NetworkAddress
from ambient.core.model.service import Service

if TYPE_CHECKING:
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


def locate(snapshot: Snapshot, waypoint: GatewayAddress) -> Service | Workload | None:
    """The waypoint's own service, or the workload that it is; None: it is not there."""
    match waypoint.destination:
        case NetworkAddress(network, ip):
            return snapshot.service_at(ip, network) or snapshot.workload_at(ip, network)
        case str(key):
            return snapshot.services.get(key)


def identities(snapshot: Snapshot, waypoint: GatewayAddress) -> frozenset[SpiffeId]:
    """Those of its replicas; empty: it has none that is known."""
    found = locate(snapshot, waypoint)
    if found is None:
        return frozenset()
    if isinstance(found, Service):
        return frozenset(one.identity for one in snapshot.endpoints_of.get(found.key, ()))
    return frozenset({found.identity})


def is_behind(source: Workload, waypoint: GatewayAddress) -> bool:
    """Whether ``source`` is that waypoint, which calls what it stands for directly."""
    match waypoint.destination:
        case NetworkAddress():
            return waypoint.destination in source.network_addresses
        case str():
            return waypoint.destination in source.services


def meant_by(snapshot: Snapshot, replica: Workload, service: str) -> str:
    """The host name that a waypoint's ``replica`` gives to an endpoint as what is meant; empty: only the endpoint is.

    Of a service that is behind another waypoint it calls endpoints as such: they are backends of what was called, and not
    called by that service's name, which only its own waypoint may answer for.
    """
    known = snapshot.services.get(service)
    if known is None or (known.waypoint is not None and not is_behind(replica, known.waypoint)):
        return ""
    return known.hostname
