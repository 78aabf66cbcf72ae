"""Workloads: the pods and machines that send and receive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from immutables import Map

from ambient.core.model.address import GatewayAddress, IpAddress, NetworkAddress
from ambient.core.model.identity import SpiffeId
from ambient.core.model.service import Port


class TunnelProtocol(Enum):
    """How a workload's node accepts traffic for it."""

    NONE = "none"
    HBONE = "hbone"


class WorkloadStatus(Enum):
    """Whether balancing may choose a workload."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Locality:
    """Where a workload runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """One pod (or machine) that can send or receive traffic. Source: ``istio.workload.Workload``."""

    uid: str
    """``cluster/group/kind/namespace/name``: stable for the workload's life."""
    name: str
    namespace: str
    service_account: str
    trust_domain: str
    addresses: tuple[IpAddress, ...]
    network: str = ""
    hostname: str = ""
    tunnel: TunnelProtocol = TunnelProtocol.NONE
    status: WorkloadStatus = WorkloadStatus.HEALTHY
    node: str = ""
    cluster: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    workload_name: str = ""
    services: Map[str, tuple[Port, ...]] = Map()  # noqa: RUF009
    """Which services it serves (``namespace/hostname``), with ports already resolved to its own."""
    policies: tuple[str, ...] = ()
    """Authorizations (``namespace/name``) that select it by labels."""
    waypoint: GatewayAddress | None = None
    locality: Locality = Locality()
    capacity: int = 1
    """Its weight in balancing; 0 takes no traffic."""
    host_network: bool = False
    labels: Map[str, str] = Map()  # noqa: RUF009
    """Of its labels, those that a route or policy of the mesh looks at."""

    @property
    def identity(self) -> SpiffeId:
        """Who it proves to be in TLS."""
        return SpiffeId(self.trust_domain, self.namespace, self.service_account)

    @property
    def network_addresses(self) -> tuple[NetworkAddress, ...]:
        """Its addresses, each in its network."""
        return tuple(NetworkAddress(self.network, ip) for ip in self.addresses)
