"""The whole mesh as one proxy sees it, at one version.

A snapshot never changes. ``ambient.core.delta.apply`` makes the next one, which shares what did not change with
its predecessor; the proxy swaps its reference, and a connection keeps the snapshot it was decided on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from immutables import Map

from ambient.core.endpoints import Endpoints
from ambient.core.model.address import NetworkAddress
from ambient.core.model.authorization import Authorization
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.service import Service
from ambient.core.model.settings import MeshSettings
from ambient.core.model.workload import Workload
from ambient.core.ranges import Ranges

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress

Keys: TypeAlias = frozenset[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Indexed, read-only mesh state. The indices are kept by ``ambient.core.delta``."""

    version: int = 0
    workloads: Map[str, Workload] = Map()  # noqa: RUF009
    """By uid."""
    services: Map[str, Service] = Map()  # noqa: RUF009
    """By ``namespace/hostname``."""
    authorizations: Map[str, Authorization] = Map()  # noqa: RUF009
    """By ``namespace/name``."""
    workloads_at: Map[NetworkAddress, Keys] = Map()  # noqa: RUF009
    """Uids of the workloads with an address; more than one while an address is being handed over."""
    services_at: Map[NetworkAddress, Keys] = Map()  # noqa: RUF009
    """Keys of the services with a virtual address."""
    services_over: Ranges = Ranges()  # noqa: RUF009
    """Keys of the services with a range of addresses."""
    endpoints_of: Map[str, Endpoints] = Map()  # noqa: RUF009
    """The workloads that serve a service, by service key."""
    authorizations_for: Map[str, Keys] = Map()  # noqa: RUF009
    """Keys of NAMESPACE authorizations by namespace, and of GLOBAL ones under the empty namespace."""
    routes: Map[str, ServiceRoutes] = Map()  # noqa: RUF009
    """By service key; none where nothing is said of a service."""
    policies: Map[str, ServicePolicies] = Map()  # noqa: RUF009
    """By service key; none where nothing is said of a service, or it has no waypoint."""
    settings: MeshSettings = MeshSettings()  # noqa: RUF009

    def workload_at(self, ip: IpAddress, network: str = "") -> Workload | None:
        """The workload with an address; the smallest uid where two claim it, so that all nodes agree."""
        uids = self.workloads_at.get(NetworkAddress(network, ip))
        return self.workloads[min(uids)] if uids else None

    def service_at(self, ip: IpAddress, network: str = "") -> Service | None:
        """The service with a virtual address."""
        keys = self.services_at.get(NetworkAddress(network, ip))
        return self.services[min(keys)] if keys else None

    def service_over(self, ip: IpAddress, network: str = "") -> Service | None:
        """The service with the longest range that has the address."""
        keys = self.services_over.find(ip, network)
        return self.services[min(keys)] if keys else None


EMPTY = Snapshot()
"""The mesh before the control plane has spoken."""
