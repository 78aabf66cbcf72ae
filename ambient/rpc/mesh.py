"""The mesh as it stands, nodes and workloads, asked of the control plane: both ends of the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Protocol

from ambient.core.model.address import IpAddress
from ambient.rpc.errors import InvalidRequest, answered
from ambient.rpc.moments import moment_message, read_moment
from ambient.rpc.pb.ambient.control.v1 import mesh_pb2 as pb, mesh_pb2_grpc
from ambient.rpc.server import service, unary

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from ambient.rpc.channel import Channel
    from ambient.rpc.server import Service

SERVICE: Final = "ambient.control.v1.Mesh"
_TIMEOUT_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where configuration comes from."""

    name: str
    place: str
    objects: int
    trouble: str


@dataclass(frozen=True, slots=True)
class Status:
    """What is configured, and what was refused."""

    trust_domain: str
    version: int
    namespaces: int
    services: int
    workloads: int
    authorizations: int
    connected_nodes: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    program_version: str
    revision: int
    started: datetime
    sources: tuple[Source, ...]
    now: datetime
    """The control plane's clock."""


@dataclass(frozen=True, slots=True)
class TypeSync:
    """How far a node is with one type of resource."""

    type: str
    in_sync: bool
    pending: int
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why, by name; the name is empty where the node did not say which."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node, and how far it has what it should have."""

    name: str
    connected: bool
    since: datetime | None
    types: tuple[TypeSync, ...]
    workloads: int
    certificate_end: datetime | None


class Origin(Enum):
    """Who told of a workload."""

    NODE = "node"
    CONFIGURATION = "configuration"
    API = "api"


@dataclass(frozen=True, slots=True)
class MeshWorkload:
    """A workload, and what has become of it."""

    uid: str
    name: str
    namespace: str
    service_account: str
    node: str
    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    refused: str
    enrolled: bool
    hbone: bool
    healthy: bool
    services: tuple[str, ...]
    origin: Origin
    lease_end: datetime | None


@dataclass(frozen=True, slots=True)
class WaypointReplica:
    """One that carries a waypoint's requests, or would."""

    name: str
    node: str
    addresses: tuple[str, ...]
    ready: bool
    refused: str


@dataclass(frozen=True, slots=True)
class Waypoint:
    """A waypoint, and who is behind it."""

    namespace: str
    name: str
    waypoint_for: str
    """Empty: there is no such Gateway, and somebody asks for it."""
    replicas: tuple[WaypointReplica, ...]
    services: tuple[str, ...]
    workloads: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Registered:
    """A workload that no node of the mesh runs, as somebody registers it."""

    namespace: str
    name: str
    service_account: str
    addresses: tuple[IpAddress, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    healthy: bool = True
    lease_seconds: int = 0


class Mesh(Protocol):
    """Who knows how it stands."""

    def status(self) -> Status:
        """What is configured."""

    def nodes(self) -> tuple[Node, ...]:
        """Every node that is connected or has workloads."""

    def forget_node(self, node: str) -> int:
        """Take a dead node's workloads out of the mesh; how many it had. Raises ConfigError."""

    def workloads(self, namespace: str, node: str) -> tuple[MeshWorkload, ...]:
        """Those of a namespace and of a node; empty: of any."""

    def register_workload(self, registered: Registered) -> MeshWorkload:
        """Add a workload or change it, and renew its lease. Raises ConfigError."""

    def withdraw_workload(self, namespace: str, name: str) -> None:
        """Take it away. Raises NotFound."""

    def waypoints(self, namespace: str) -> tuple[Waypoint, ...]:
        """Those of a namespace, or empty: of any."""


# The control plane's end


def mesh_service(mesh: Mesh) -> Service:
    """``ambient.control.v1.Mesh``."""

    async def status(_: pb.StatusRequest) -> pb.StatusResponse:
        return _status_message(mesh.status())

    async def list_nodes(_: pb.ListNodesRequest) -> pb.ListNodesResponse:
        return pb.ListNodesResponse(nodes=map(_node_message, mesh.nodes()))

    async def forget_node(request: pb.ForgetNodeRequest) -> pb.ForgetNodeResponse:
        return pb.ForgetNodeResponse(workloads=mesh.forget_node(request.node))

    async def list_workloads(request: pb.ListWorkloadsRequest) -> pb.ListWorkloadsResponse:
        found = mesh.workloads(request.namespace, request.node)
        return pb.ListWorkloadsResponse(workloads=map(_workload_message, found))

    async def register(request: pb.RegisterWorkloadRequest) -> pb.RegisterWorkloadResponse:
        workload = mesh.register_workload(_read_registered(request))
        return pb.RegisterWorkloadResponse(workload=_workload_message(workload))

    async def withdraw(request: pb.WithdrawWorkloadRequest) -> pb.WithdrawWorkloadResponse:
        mesh.withdraw_workload(request.namespace, request.name)
        return pb.WithdrawWorkloadResponse()

    async def list_waypoints(request: pb.ListWaypointsRequest) -> pb.ListWaypointsResponse:
        found = mesh.waypoints(request.namespace)
        return pb.ListWaypointsResponse(waypoints=map(_waypoint_message, found))

    return service(
        SERVICE,
        {
            "Status": unary(status, pb.StatusRequest),
            "ListNodes": unary(list_nodes, pb.ListNodesRequest),
            "ForgetNode": unary(forget_node, pb.ForgetNodeRequest),
            "ListWorkloads": unary(list_workloads, pb.ListWorkloadsRequest),
            "RegisterWorkload": unary(register, pb.RegisterWorkloadRequest),
            "WithdrawWorkload": unary(withdraw, pb.WithdrawWorkloadRequest),
            "ListWaypoints": unary(list_waypoints, pb.ListWaypointsRequest),
        },
    )


# The caller's end: on a channel of rpc.operator


async def status(channel: Channel) -> Status:
    """How the control plane stands."""
    now = await answered(_stub(channel).Status(pb.StatusRequest(), timeout=_TIMEOUT_SECONDS))
    return Status(
        now.trust_domain,
        now.version,
        now.namespaces,
        now.services,
        now.workloads,
        now.authorizations,
        tuple(now.connected_nodes),
        tuple(now.errors),
        tuple(now.warnings),
        now.program_version,
        now.revision,
        read_moment(now.started),
        tuple(Source(one.name, one.place, one.objects, one.trouble) for one in now.sources),
        read_moment(now.now),
    )


async def nodes(channel: Channel) -> tuple[Node, ...]:
    """Every node that is connected or has workloads."""
    response = await answered(_stub(channel).ListNodes(pb.ListNodesRequest(), timeout=_TIMEOUT_SECONDS))
    return tuple(map(_read_node, response.nodes))


async def forget_node(channel: Channel, node: str) -> int:
    """Take a dead node's workloads out of the mesh; how many it had."""
    request = pb.ForgetNodeRequest(node=node)
    response = await answered(_stub(channel).ForgetNode(request, timeout=_TIMEOUT_SECONDS))
    return int(response.workloads)


async def workloads(channel: Channel, *, namespace: str = "", node: str = "") -> tuple[MeshWorkload, ...]:
    """Those of a namespace and of a node; empty: of any."""
    request = pb.ListWorkloadsRequest(namespace=namespace, node=node)
    response = await answered(_stub(channel).ListWorkloads(request, timeout=_TIMEOUT_SECONDS))
    return tuple(map(_read_workload, response.workloads))


async def register_workload(channel: Channel, registered: Registered) -> MeshWorkload:
    """Add a workload that no node runs, or change it, and renew its lease."""
    request = pb.RegisterWorkloadRequest(
        namespace=registered.namespace,
        name=registered.name,
        service_account=registered.service_account,
        addresses=[str(ip) for ip in registered.addresses],
        labels=dict(registered.labels),
        unhealthy=not registered.healthy,
        lease_seconds=registered.lease_seconds,
    )
    response = await answered(_stub(channel).RegisterWorkload(request, timeout=_TIMEOUT_SECONDS))
    return _read_workload(response.workload)


async def withdraw_workload(channel: Channel, namespace: str, name: str) -> None:
    """Take it away. Raises NotFound."""
    request = pb.WithdrawWorkloadRequest(namespace=namespace, name=name)
    await answered(_stub(channel).WithdrawWorkload(request, timeout=_TIMEOUT_SECONDS))


async def waypoints(channel: Channel, *, namespace: str = "") -> tuple[Waypoint, ...]:
    """Those of a namespace, or empty: of any."""
    request = pb.ListWaypointsRequest(namespace=namespace)
    response = await answered(_stub(channel).ListWaypoints(request, timeout=_TIMEOUT_SECONDS))
    return tuple(map(_read_waypoint, response.waypoints))


def _stub(channel: Channel) -> mesh_pb2_grpc.MeshStub:
    return mesh_pb2_grpc.MeshStub(channel)  # type: ignore[no-untyped-call]


# Messages


def _status_message(now: Status) -> pb.StatusResponse:
    return pb.StatusResponse(
        trust_domain=now.trust_domain,
        version=now.version,
        namespaces=now.namespaces,
        services=now.services,
        workloads=now.workloads,
        authorizations=now.authorizations,
        connected_nodes=now.connected_nodes,
        errors=now.errors,
        warnings=now.warnings,
        program_version=now.program_version,
        revision=now.revision,
        started=moment_message(now.started),
        now=moment_message(now.now),
        sources=[
            pb.Source(name=one.name, place=one.place, objects=one.objects, trouble=one.trouble)
            for one in now.sources
        ],
    )


def _node_message(node: Node) -> pb.Node:
    return pb.Node(
        name=node.name,
        connected=node.connected,
        since=moment_message(node.since),
        types=[
            pb.TypeSync(
                type=one.type,
                in_sync=one.in_sync,
                pending=one.pending,
                refused=[pb.RefusedResource(name=name, why=why) for name, why in one.refused.items()],
            )
            for one in node.types
        ],
        workloads=node.workloads,
        certificate_end=moment_message(node.certificate_end),
    )


def _read_node(message: pb.Node) -> Node:
    return Node(
        message.name,
        message.connected,
        _read_optional(message, "since"),
        tuple(
            TypeSync(
                one.type, one.in_sync, one.pending, {refused.name: refused.why for refused in one.refused}
            )
            for one in message.types
        ),
        message.workloads,
        _read_optional(message, "certificate_end"),
    )


_ORIGINS: Final = {
    Origin.NODE: pb.WORKLOAD_ORIGIN_NODE,
    Origin.CONFIGURATION: pb.WORKLOAD_ORIGIN_CONFIGURATION,
    Origin.API: pb.WORKLOAD_ORIGIN_API,
}
_ORIGINS_BACK: Final = {number: origin for origin, number in _ORIGINS.items()}


def _workload_message(workload: MeshWorkload) -> pb.Workload:
    return pb.Workload(
        uid=workload.uid,
        name=workload.name,
        namespace=workload.namespace,
        service_account=workload.service_account,
        node=workload.node,
        addresses=workload.addresses,
        labels=dict(workload.labels),
        refused=workload.refused,
        enrolled=workload.enrolled,
        hbone=workload.hbone,
        healthy=workload.healthy,
        services=workload.services,
        origin=_ORIGINS[workload.origin],
        lease_end=moment_message(workload.lease_end),
    )


def _read_workload(message: pb.Workload) -> MeshWorkload:
    return MeshWorkload(
        message.uid,
        message.name,
        message.namespace,
        message.service_account,
        message.node,
        tuple(message.addresses),
        dict(message.labels),
        message.refused,
        message.enrolled,
        message.hbone,
        message.healthy,
        tuple(message.services),
        _ORIGINS_BACK[message.origin],
        _read_optional(message, "lease_end"),
    )


def _waypoint_message(waypoint: Waypoint) -> pb.Waypoint:
    return pb.Waypoint(
        namespace=waypoint.namespace,
        name=waypoint.name,
        waypoint_for=waypoint.waypoint_for,
        replicas=[
            pb.WaypointReplica(
                name=one.name, node=one.node, addresses=one.addresses, ready=one.ready, refused=one.refused
            )
            for one in waypoint.replicas
        ],
        services=waypoint.services,
        workloads=waypoint.workloads,
        problems=waypoint.problems,
    )


def _read_waypoint(message: pb.Waypoint) -> Waypoint:
    return Waypoint(
        message.namespace,
        message.name,
        message.waypoint_for,
        tuple(
            WaypointReplica(one.name, one.node, tuple(one.addresses), one.ready, one.refused)
            for one in message.replicas
        ),
        tuple(message.services),
        tuple(message.workloads),
        tuple(message.problems),
    )


def _read_registered(message: pb.RegisterWorkloadRequest) -> Registered:
    try:
        addresses = tuple(ip_address(text) for text in message.addresses)
    except ValueError as error:
        raise InvalidRequest(f"addresses: {error}; each is an IPv4 or IPv6 address") from error
    return Registered(
        message.namespace,
        message.name,
        message.service_account,
        addresses,
        dict(message.labels),
        not message.unhealthy,
        message.lease_seconds,
    )


def _read_optional(message: pb.Node | pb.Workload, name: str) -> datetime | None:
    moment: Timestamp = getattr(message, name)
    return read_moment(moment) if message.HasField(name) else None
