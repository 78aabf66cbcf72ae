"""The nouns of configuration: what one object of a file means, before it meets any other object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from immutables import Map

from ambient.core.model import telemetry
from ambient.core.model.address import IpAddress
from ambient.core.model.authorization import Authorization
from ambient.core.model.jwt import JwtRule
from ambient.core.model.limit import RateLimit
from ambient.core.model.request_authorization import RequestAuthorization, Target
from ambient.core.model.route import ProfileRoute, Protocol, RouteRule, RouteTable
from ambient.core.model.service import Service
from ambient.core.model.settings import MeshSettings
from ambient.core.model.traffic import Accrual, Persistence, RetryBudget, TrafficPolicies
from ambient.core.model.workload import Locality

Selector: TypeAlias = Map[str, str]
"""Labels that a workload must carry; empty selects every one."""


class Key(NamedTuple):
    """What an object is known by; ``namespace`` is empty for a Namespace."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Mode(Enum):
    """Whether plaintext is let in."""

    UNSET = "UNSET"
    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"
    """To a mesh that always takes mutual TLS, the same as PERMISSIVE."""


class WaypointName(NamedTuple):
    """The waypoint that a label asks for; an empty name: none, whatever others say."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace; ``dataplane_mode`` is ``ambient``, ``none`` or empty."""

    name: str
    dataplane_mode: str
    waypoint: WaypointName | None = None
    """Of its services, where they say nothing themselves."""

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("Namespace", "", self.name)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """An identity that workloads may run as; on any node, or only on ``nodes``."""

    namespace: str
    name: str
    nodes: frozenset[str] | None

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("ServiceAccount", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class TargetPort:
    """A service port; ``target`` is a port of the workload, or the name of one."""

    service_port: int
    target: int | str
    name: str = ""


@dataclass(frozen=True, slots=True)
class SelectingService:
    """A service and whom it selects; None: nobody."""

    service: Service
    selector: Selector | None
    ports: tuple[TargetPort, ...]
    annotated: BackendPolicy | None = None
    """What its annotations say of requests for it."""
    waypoint: WaypointName | None = None
    """None: as its namespace has it."""
    kind: str = "Service"

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key(self.kind, self.service.namespace, self.service.name)


@dataclass(frozen=True, slots=True)
class ServiceEndpoint:
    """Who serves a ServiceEntry, by address."""

    address: IpAddress
    ports: Map[str, int]
    """Its own, by names of the service's ports; the service says the others."""
    labels: Map[str, str]
    service_account: str
    locality: Locality
    capacity: int


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """A service that no cluster tells of: one for each of its hosts, with the same endpoints."""

    namespace: str
    name: str
    services: tuple[SelectingService, ...]
    endpoints: tuple[ServiceEndpoint, ...]

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("ServiceEntry", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class WorkloadEntry:
    """A workload that no node of ours runs."""

    namespace: str
    name: str
    service_account: str
    address: IpAddress
    ports: Map[str, int]
    labels: Map[str, str]
    network: str
    locality: Locality
    capacity: int
    speaks_hbone: bool

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("WorkloadEntry", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs on a cluster's node, as the cluster says."""

    namespace: str
    name: str
    service_account: str
    addresses: tuple[IpAddress, ...]
    """None while it has none yet, and when it has ended."""
    labels: Map[str, str]
    ports: Map[str, int]
    node: str
    owner: str
    """What it is one of: a Deployment's name, say; empty: nothing."""
    host_network: bool
    is_ready: bool
    speaks_hbone: bool

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("Pod", self.namespace, self.name)


class SlicePort(NamedTuple):
    """A port of endpoints, by the name that the service's port has."""

    name: str
    port: int


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """Who serves, by address."""

    addresses: tuple[IpAddress, ...]
    is_ready: bool
    pod: str
    """Its name, in the slice's namespace; empty: it is none."""
    node: str = ""
    locality: Locality = Locality()  # noqa: RUF009
    labels: Map[str, str] = Map()  # noqa: RUF009
    service_account: str = "default"
    capacity: int = 1


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """Endpoints of a service that are listed instead of selected."""

    namespace: str
    name: str
    service: str
    """Its name."""
    endpoints: tuple[SliceEndpoint, ...]
    ports: tuple[SlicePort, ...] | None
    """None: every port of the service, as it is."""
    told_by: Key | None = None
    """The object that it is a part of; None: it is one itself."""

    @property
    def key(self) -> Key:
        """Its name in the configuration, or that of the object it is a part of."""
        return self.told_by or Key("EndpointSlice", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What its workloads are: a template of those that are registered as one of it."""

    namespace: str
    name: str
    service_account: str
    labels: Map[str, str]
    ports: Map[str, int]

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("Deployment", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """Which workloads let plaintext in."""

    namespace: str
    name: str
    created: str
    """RFC 3339 in UTC; empty: unknown, and younger than any."""
    selector: Selector
    mode: Mode
    ports: Map[int, Mode]

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("PeerAuthentication", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """A policy, and whom it selects if its scope is WORKLOAD_SELECTOR."""

    namespace: str
    name: str
    authorization: Authorization | None
    """As nodes enforce it; None: they do not, as it has targets."""
    selector: Selector
    requests: RequestAuthorization | None = None
    """As the waypoints of its targets enforce it; None: it has none, and waypoints ignore it."""

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("AuthorizationPolicy", self.namespace, self.name)


class ServiceRef(NamedTuple):
    """A service that a route is attached to, and a port of it by number, by name, or by both; neither: every port."""

    namespace: str
    name: str
    port: int | None = None
    port_name: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the Gateway API: HTTPRoute, GRPCRoute, TLSRoute or TCPRoute.

    Its rules are in its own order; which of several routes' rules comes first is settled when they meet.
    """

    kind: str
    namespace: str
    name: str
    created: str
    """RFC 3339 in UTC; empty: unknown, and younger than any."""
    protocol: Protocol
    parents: tuple[ServiceRef, ...]
    rules: tuple[RouteRule, ...]

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class BackendPolicy:
    """What an XBackendTrafficPolicy, or annotations of a Service, set for services."""

    kind: str
    namespace: str
    name: str
    created: str
    targets: tuple[ServiceRef, ...]
    budget: RetryBudget | None = None
    persistence: Persistence | None = None
    accrual: Accrual | None = None
    profile: tuple[ProfileRoute, ...] = ()
    """Timeouts and retries where a rule sets none."""
    opaque_ports: frozenset[int] = frozenset()

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class VirtualService:
    """Routes by host, as Istio has them."""

    namespace: str
    name: str
    created: str
    hosts: tuple[str, ...]
    """Whole host names (``api.shop.svc.cluster.local``), ``*.`` before a domain for all below it, or ``*``."""
    tables: tuple[RouteTable, ...]
    """At most one for each protocol."""
    exported_to: frozenset[str] | None = None
    """Namespaces whose callers it is for; None: all."""

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("VirtualService", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """Traffic policies by host, as Istio has them."""

    namespace: str
    name: str
    created: str
    host: str
    """As a ``VirtualService``'s."""
    traffic: TrafficPolicies
    exported_to: frozenset[str] | None = None

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("DestinationRule", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class ServiceProfile:
    """Kinds of requests of one host, as Linkerd has them."""

    namespace: str
    host: str
    """``NAME.NAMESPACE.svc.cluster.local``: its own name."""
    routes: tuple[ProfileRoute, ...]
    budget: RetryBudget | None
    """Shared by all of its routes."""
    split: RouteTable | None
    """What ``dstOverrides`` say."""
    opaque_ports: frozenset[int]

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("ServiceProfile", self.namespace, self.host)


class WaypointFor(Enum):
    """Which destinations a waypoint is for."""

    SERVICE = "service"
    WORKLOAD = "workload"
    ALL = "all"
    NONE = "none"


class Listener(NamedTuple):
    """A port of a gateway."""

    name: str
    port: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Gateway:
    """A waypoint; or a gateway of somebody else's class, which ``waypoint_for`` None says."""

    namespace: str
    name: str
    waypoint_for: WaypointFor | None
    listeners: tuple[Listener, ...]
    service_account: str
    """Whom its replicas run as."""

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("Gateway", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh of the Gateway API, ours or another."""

    name: str
    is_ours: bool

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("XMesh", "", self.name)


@dataclass(frozen=True, slots=True)
class RateLimitPolicy:
    """How many requests services take."""

    namespace: str
    name: str
    targets: tuple[ServiceRef, ...]
    limits: tuple[RateLimit, ...]

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("RateLimitPolicy", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """Settings of the whole mesh."""

    namespace: str
    name: str
    settings: MeshSettings

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("MeshConfig", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class RequestAuthentication:
    """Which tokens of users are taken, and by whom: those that are selected, or the targets' waypoints."""

    namespace: str
    name: str
    selector: Selector
    targets: tuple[Target, ...]
    rules: tuple[JwtRule, ...]

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("RequestAuthentication", self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What is reported of the traffic of those that are selected, or of the targets."""

    namespace: str
    name: str
    created: str
    """RFC 3339 in UTC; empty: unknown, and younger than any."""
    selector: Selector
    targets: tuple[Target, ...]
    settings: telemetry.Telemetry

    @property
    def key(self) -> Key:
        """Its name in the configuration."""
        return Key("Telemetry", self.namespace, self.name)


L7Object: TypeAlias = Route | BackendPolicy | VirtualService | DestinationRule | ServiceProfile
"""What becomes part of the routes of a service."""
RequestPolicy: TypeAlias = AuthorizationPolicy | RequestAuthentication | RateLimitPolicy | Telemetry
"""What becomes part of the policies of a service."""
Object: TypeAlias = (
    Namespace
    | ServiceAccount
    | SelectingService
    | ServiceEntry
    | WorkloadEntry
    | Pod
    | EndpointSlice
    | Deployment
    | PeerAuthentication
    | L7Object
    | RequestPolicy
    | Gateway
    | Mesh
    | MeshConfig
)


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether ``labels`` carry all of ``selector``."""
    return all(labels.get(key) == value for key, value in selector.items())
