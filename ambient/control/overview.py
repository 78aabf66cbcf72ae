"""The mesh as an operator sees it: what is configured, which nodes there are, which workloads they run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

from immutables import Map

from ambient.control.index import NO_NODE
from ambient.control.objects import WaypointName
from ambient.control.waypoints import GATEWAY_NAME, LABELS, named, service_of
from ambient.core.errors import ConfigError
from ambient.core.model.workload import TunnelProtocol, WorkloadStatus
from ambient.rpc.mesh import (
    MeshWorkload,
    Node,
    Origin,
    Registered,
    Source,
    Status,
    Waypoint,
    WaypointReplica,
)
from ambient.rpc.registration import LocalWorkload, Refused
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.control.ads import Publisher
    from ambient.control.catalog import Catalog
    from ambient.control.index import Index
    from ambient.control.registry import Registry
    from ambient.control.trust import Trust
    from ambient.core.model.workload import Workload


class Overview:
    """Reads the parts of a control plane together.

    ``clock`` is the wall's, ``leases`` that of leases; ``places`` has each source's name and place.
    """

    def __init__(
        self,
        catalog: Catalog,
        index: Index,
        publisher: Publisher,
        registry: Registry,
        trust: Trust,
        clock: Callable[[], datetime],
        leases: Callable[[], float],
        places: Mapping[str, str],
    ) -> None:
        self._catalog, self._index = catalog, index
        self._publisher, self._registry, self._trust = publisher, registry, trust
        self._clock, self._leases = clock, leases
        self._places = places
        self._started = clock()

    def status(self) -> Status:
        """What is configured, and what was refused."""
        snapshot = self._index.snapshot
        return Status(
            trust_domain=self._index.settings.trust_domain,
            version=snapshot.version,
            namespaces=sum(key.kind == "Namespace" for key in self._catalog.objects),
            services=len(snapshot.services),
            workloads=len(snapshot.workloads),
            authorizations=len(snapshot.authorizations),
            connected_nodes=tuple(sorted(self._connected)),
            errors=self._catalog.errors + self._index.errors + self._publisher.refusals,
            warnings=self._catalog.warnings + self._index.warnings,
            program_version=version("ambient"),
            revision=self._catalog.revision,
            started=self._started,
            now=self._clock(),
            sources=tuple(self._sources()),
        )

    def nodes(self) -> tuple[Node, ...]:
        """Every node that is connected or has workloads."""
        connected = self._connected
        ends = self._trust.node_ends()
        names = connected | (set(self._index.nodes) - {NO_NODE})
        return tuple(
            Node(
                name=name,
                connected=name in connected,
                since=self._moment(self._registry.since(name)),
                types=self._publisher.sync(name),
                workloads=len(self._index.registered(name)),
                certificate_end=ends.get(name),
            )
            for name in sorted(names)
        )

    def forget_node(self, node: str) -> int:
        """Take a dead node's workloads out of the mesh."""
        if node in self._registry.nodes:
            raise ConfigError(f"node {node} is connected: stop its proxy first")
        log.info("node forgotten", node=node)
        self._trust.forget_node(node)
        return self._registry.forget_node(node)

    def workloads(self, namespace: str, node: str) -> tuple[MeshWorkload, ...]:
        """Those of a namespace and of a node; empty: of any."""
        found = [
            workload
            for workload in self._all_workloads()
            if namespace in {"", workload.namespace} and node in {"", workload.node}
        ]
        return tuple(sorted(found, key=lambda workload: (workload.namespace, workload.name, workload.node)))

    def register_workload(self, registered: Registered) -> MeshWorkload:
        """Add a workload that no node runs."""
        workload = LocalWorkload(
            uid=self._uid(registered.namespace, registered.name),
            name=registered.name,
            namespace=registered.namespace,
            service_account=registered.service_account,
            addresses=registered.addresses,
            labels=Map(registered.labels),
            healthy=registered.healthy,
        )
        self._registry.register(workload, registered.lease_seconds)
        return self._registered(NO_NODE, workload)

    def withdraw_workload(self, namespace: str, name: str) -> None:
        """Take it away."""
        self._registry.withdraw(self._uid(namespace, name))

    def waypoints(self, namespace: str) -> tuple[Waypoint, ...]:
        """Those of a namespace, or empty: of any."""
        behind = self._behind_waypoints()
        return tuple(
            self._waypoint(name, *behind[name])
            for name in sorted(self._index.waypoints.names())
            if namespace in {"", name.namespace}
        )

    def _behind_waypoints(self) -> Mapping[WaypointName, tuple[list[str], list[str]]]:
        """Services and workloads, by waypoint."""
        behind: dict[WaypointName, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        snapshot = self._index.snapshot
        for service in snapshot.services.values():
            if service.waypoint is not None:
                behind[named(service.waypoint)][0].append(service.key)
        for workload in snapshot.workloads.values():
            if workload.waypoint is not None:
                behind[named(workload.waypoint)][1].append(f"{workload.namespace}/{workload.name}")
        return behind

    def _waypoint(self, name: WaypointName, services: list[str], workloads: list[str]) -> Waypoint:
        gateway = self._index.waypoints.get(name)
        found = tuple(self._replicas(name))
        problems = [
            f"{asker}: {problem}"
            for asker in sorted(self._index.waypoints.askers(name))
            for problem in self._index.problems.get(asker, ())
            if problem.field == LABELS
        ]
        if gateway is not None and not any(one.ready for one in found):
            what = (
                "calls to what is behind it are refused" if services or workloads else "nothing is behind it"
            )
            run = f"ambient waypoint run {name.name} --namespace {name.namespace}"
            remedy = "" if found else f"; start one with `{run}`"
            problems.append(f"it has no replica that is ready: {what}{remedy}")
        problems += [one.refused for one in found if one.refused]
        return Waypoint(
            name.namespace,
            name.name,
            gateway.waypoint_for.value if gateway is not None and gateway.waypoint_for is not None else "",
            found,
            tuple(sorted(services)),
            tuple(sorted(workloads)),
            tuple(problems),
        )

    def _replicas(self, name: WaypointName) -> Iterator[WaypointReplica]:
        """Whoever is called in its place, and those that would be if they were not refused."""
        for one in self._index.snapshot.endpoints_of.get(service_of(name), ()):
            is_ready = one.status is WorkloadStatus.HEALTHY
            yield WaypointReplica(
                one.name, one.node, tuple(map(str, one.addresses)), ready=is_ready, refused=""
            )
        for node in self._index.nodes:
            for workload in self._index.registered(node).values():
                order = self._index.orders(node).get(workload.uid)
                wants = (workload.namespace, workload.labels.get(GATEWAY_NAME))
                if isinstance(order, Refused) and wants == name:
                    addresses = tuple(map(str, workload.addresses))
                    yield WaypointReplica(workload.name, node, addresses, ready=False, refused=order.why)

    @property
    def _connected(self) -> frozenset[str]:
        return self._publisher.nodes | self._registry.nodes

    def _sources(self) -> Iterator[Source]:
        for name, place in self._places.items():
            yield Source(name, place, self._catalog.count(name), self._catalog.trouble(name))

    def _uid(self, namespace: str, name: str) -> str:
        return f"{self._index.settings.cluster}/ambient.dev/Workload/{namespace}/{name}"

    def _all_workloads(self) -> Iterator[MeshWorkload]:
        reported = set()
        for node in self._index.nodes:
            for workload in self._index.registered(node).values():
                reported.add(workload.uid)
                yield self._registered(node, workload)
        for uid, configured in self._index.snapshot.workloads.items():
            if uid not in reported:
                yield _configured(configured)

    def _registered(self, node: str, workload: LocalWorkload) -> MeshWorkload:
        order = self._index.orders(node).get(workload.uid)
        refused = isinstance(order, Refused)
        standing = None if refused else self._index.snapshot.workloads.get(workload.uid)
        return MeshWorkload(
            uid=workload.uid,
            name=workload.name,
            namespace=workload.namespace,
            service_account=workload.service_account,
            node=node,
            addresses=tuple(map(str, workload.addresses)),
            labels=dict(workload.labels),
            refused=order.why if isinstance(order, Refused) else "",
            enrolled=order is not None and not isinstance(order, Refused) and order.enrolled,
            hbone=standing is not None and standing.tunnel is TunnelProtocol.HBONE,
            healthy=workload.healthy,
            services=() if standing is None else tuple(sorted(standing.services)),
            origin=Origin.API if node == NO_NODE else Origin.NODE,
            lease_end=self._lease_end(node, workload.uid),
        )

    def _lease_end(self, node: str, uid: str) -> datetime | None:
        return self._moment(self._registry.lease_end(node, uid))

    def _moment(self, lease: float | None) -> datetime | None:
        return None if lease is None else self._clock() + timedelta(seconds=lease - self._leases())


def _configured(workload: Workload) -> MeshWorkload:
    return MeshWorkload(
        uid=workload.uid,
        name=workload.name,
        namespace=workload.namespace,
        service_account=workload.service_account,
        node="",
        addresses=tuple(map(str, workload.addresses)),
        labels={},
        refused="",
        enrolled=False,
        hbone=workload.tunnel is TunnelProtocol.HBONE,
        healthy=workload.status is WorkloadStatus.HEALTHY,
        services=tuple(sorted(workload.services)),
        origin=Origin.CONFIGURATION,
        lease_end=None,
    )
