"""Workloads of the mesh, wherever they were told of: by a node, by a cluster, or by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from immutables import Map

from ambient.core.model.workload import Locality, WorkloadStatus

if TYPE_CHECKING:
    from ambient.control.objects import Deployment, Key, Pod, SliceEndpoint, WorkloadEntry
    from ambient.core.model.address import IpAddress
    from ambient.rpc.registration import LocalWorkload

PORT_LABEL: Final = "port.ambient.dev/"
"""A label ``port.ambient.dev/NAME: "8080"`` names a port of a workload, for services with a named targetPort."""
DEPLOYMENT_LABEL: Final = "ambient.dev/deployment"
"""Label of a registered workload: which Deployment it is one of."""

_GROUPS: Final = {"WorkloadEntry": "networking.istio.io", "Pod": ""}


@dataclass(frozen=True, slots=True)
class Member:
    """One workload."""

    uid: str
    name: str
    namespace: str
    service_account: str
    addresses: tuple[IpAddress, ...]
    labels: Map[str, str]
    ports: Mapping[str, int]
    owner: str = ""
    """What it is one of; empty: only itself."""
    network: str = ""
    node: str = ""
    locality: Locality = Locality()  # noqa: RUF009
    capacity: int = 1
    is_enrolled: bool = False
    """Its inbound connections meet policies of plaintext."""
    speaks_hbone: bool = False
    status: WorkloadStatus = WorkloadStatus.HEALTHY
    host_network: bool = False
    pod: str = ""
    """Its name where it is a pod, or may be one; empty: it is none."""
    warnings: tuple[str, ...] = ()


def uid_of(cluster: str, key: Key) -> str:
    """What a workload is known by that an object of the configuration tells of."""
    return f"{cluster}/{_GROUPS[key.kind]}/{key.kind}/{key.namespace}/{key.name}"


def registered_uid(cluster: str, namespace: str, name: str) -> str:
    """What a workload is known by that a node tells of."""
    return f"{cluster}/ambient.dev/Workload/{namespace}/{name}"


def of_entry(entry: WorkloadEntry, cluster: str) -> Member:
    """A machine outside the mesh."""
    return Member(
        uid=uid_of(cluster, entry.key),
        name=entry.name,
        namespace=entry.namespace,
        service_account=entry.service_account,
        addresses=(entry.address,),
        labels=entry.labels,
        ports=entry.ports,
        network=entry.network,
        locality=entry.locality,
        capacity=entry.capacity,
        is_enrolled=entry.speaks_hbone,
        speaks_hbone=entry.speaks_hbone,
    )


def of_pod(pod: Pod, cluster: str) -> Member:
    """A pod of a node that does not tell of it itself."""
    return Member(
        uid=uid_of(cluster, pod.key),
        name=pod.name,
        namespace=pod.namespace,
        service_account=pod.service_account,
        addresses=pod.addresses,
        labels=pod.labels,
        ports=pod.ports,
        owner=pod.owner,
        node=pod.node,
        locality=_locality(pod.labels),
        is_enrolled=pod.speaks_hbone,
        speaks_hbone=pod.speaks_hbone,
        status=_status(is_healthy=pod.is_ready),
        host_network=pod.host_network,
        pod=pod.name,
    )


def of_registered(
    workload: LocalWorkload, node: str, template: Deployment | None, pod: Pod | None, *, is_enrolled: bool
) -> Member:
    """A workload that its node tells of; what a cluster knows of it besides is whether it is ready."""
    labels = labels_of(workload, template)
    named = {
        label.removeprefix(PORT_LABEL): int(value)
        for label, value in labels.items()
        if label.startswith(PORT_LABEL) and value.isascii() and value.isdigit() and 0 < int(value) < 65536
    }
    known = {**(pod.ports if pod else {}), **(template.ports if template else {})}
    return Member(
        uid=workload.uid,
        name=workload.name,
        namespace=workload.namespace,
        service_account=workload.service_account,
        addresses=workload.addresses,
        labels=labels,
        ports={**known, **named},
        owner=template.name if template else pod.owner if pod else "",
        node=node,
        locality=_locality(labels),
        is_enrolled=is_enrolled,
        speaks_hbone=is_enrolled and workload.captured,
        status=_status(is_healthy=workload.healthy and (pod is None or pod.is_ready)),
        pod=workload.name,
        warnings=tuple(_misfits(workload, template)),
    )


def of_endpoint(namespace: str, address: IpAddress, told: tuple[SliceEndpoint, ...], cluster: str) -> Member:
    """Something that an EndpointSlice names and nobody else tells of."""
    node = next((one.node for one in told if one.node), "")
    locality = next((one.locality for one in told if one.locality != Locality()), Locality())
    return Member(
        uid=f"{cluster}/discovery.k8s.io/EndpointSlice/{namespace}/{address}",
        name=str(address),
        namespace=namespace,
        service_account=told[0].service_account,
        addresses=(address,),
        labels=Map({name: value for one in reversed(told) for name, value in one.labels.items()}),
        ports={},
        node=node,
        locality=locality,
        capacity=max(one.capacity for one in told),
        status=_status(is_healthy=any(one.is_ready for one in told)),
    )


def labels_of(workload: LocalWorkload, template: Deployment | None) -> Map[str, str]:
    """Its own, which count more, and those of its Deployment's template."""
    return workload.labels if template is None else Map({**template.labels, **workload.labels})


def _misfits(workload: LocalWorkload, template: Deployment | None) -> Iterable[str]:
    where = f"workload {workload.namespace}/{workload.name}"
    wanted = workload.labels.get(DEPLOYMENT_LABEL)
    if wanted is not None and template is None:
        yield f"{where}: its Deployment {wanted} is not configured; add it, or take away its label {DEPLOYMENT_LABEL}"
    if template is not None and template.service_account != workload.service_account:
        yield (
            f"{where}: it runs as service account {workload.service_account}, and {template.key} says "
            f"{template.service_account}; register it with that one"
        )


def _locality(labels: Mapping[str, str]) -> Locality:
    return Locality(
        labels.get("topology.kubernetes.io/region", ""),
        labels.get("topology.kubernetes.io/zone", ""),
        labels.get("topology.istio.io/subzone", ""),
    )


def _status(*, is_healthy: bool) -> WorkloadStatus:
    return WorkloadStatus.HEALTHY if is_healthy else WorkloadStatus.UNHEALTHY
