"""Kubernetes' own kinds that say who serves: pods, deployments of them, lists of endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Final

from immutables import Map

from ambient.control.objects import Deployment, EndpointSlice, Pod, SliceEndpoint, SlicePort
from ambient.control.problem import Problem, Reason, no_effect
from ambient.control.schema import kubernetes_workloads as schema
from ambient.control.schema.shape import say
from ambient.control.translate.kind import Kind, Translated, Untranslatable
from ambient.core.model.address import IpAddress, unmapped
from ambient.core.model.workload import Locality

SERVICE_NAME: Final = "kubernetes.io/service-name"
_TUNNEL: Final = "ambient.dev/tunnel"
_REDIRECTION: Final = "ambient.istio.io/redirection"
"""Annotation that the one who captures a pod's traffic writes: ``enabled``."""
_SIDECARS: Final = ("proxy.istio.io/", "sidecar.istio.io/", "traffic.sidecar.istio.io/")


def _pod(read: schema.PodDocument, _: tuple[str, ...]) -> Translated:
    metadata, spec, status = read.metadata, read.spec, read.status
    told = [one.ip for one in status.pod_ips or ()] or ([status.pod_ip] if status.pod_ip else [])
    has_ended = status.phase in {"Succeeded", "Failed"}
    warnings = _sidecar_annotations(metadata.annotations, "metadata.annotations")
    if not told and not has_ended:
        warnings.append(
            no_effect(
                "status.podIP",
                "is missing, so it is no endpoint; it is one when the cluster says its address",
            )
        )
    ready = [condition.status == "True" for condition in status.conditions or () if condition.type == "Ready"]
    tunnel = metadata.annotations.get(_TUNNEL) or metadata.labels.get(_TUNNEL) or ""
    if tunnel not in {"", "none", "hbone"}:
        raise Untranslatable(
            (Problem(f'metadata.annotations["{_TUNNEL}"]', f'is "{tunnel}"; it is hbone or none'),)
        )
    captured = metadata.annotations.get(_REDIRECTION) == "enabled" if not tunnel else tunnel == "hbone"
    pod = Pod(
        namespace=metadata.namespace,
        name=metadata.name,
        service_account=spec.service_account_name or spec.service_account or "default",
        addresses=() if has_ended else tuple(dict.fromkeys(told)),
        labels=Map(metadata.labels),
        ports=_ports(spec.containers),
        node=spec.node_name or "",
        owner=_owner(metadata),
        host_network=bool(spec.host_network),
        is_ready=all(ready) and metadata.deletion_timestamp is None,
        speaks_hbone=captured and not spec.host_network,
    )
    return Translated(pod, tuple(warnings))


def _deployment(read: schema.DeploymentDocument, _: tuple[str, ...]) -> Translated:
    template, metadata = read.spec.template, read.metadata
    labels = template.metadata.labels
    for name, value in read.spec.selector.match_labels.items():
        if labels.get(name) != value:
            field = f'spec.template.metadata.labels["{name}"]'
            has = f"is {say(labels[name])}" if name in labels else "is missing"
            raise Untranslatable(
                (Problem(field, f"{has}; spec.selector wants {say(value)}, write the same", Reason.CONFLICT),)
            )
    deployment = Deployment(
        namespace=metadata.namespace,
        name=metadata.name,
        service_account=template.spec.service_account_name or template.spec.service_account or "default",
        labels=Map(labels),
        ports=_ports(template.spec.containers),
    )
    warnings = _sidecar_annotations(template.metadata.annotations, "spec.template.metadata.annotations")
    return Translated(deployment, tuple(warnings))


def _endpoint_slice(read: schema.EndpointSliceDocument, _: tuple[str, ...]) -> Translated:
    metadata = read.metadata
    service = metadata.labels.get(SERVICE_NAME, "")
    if not service:
        field = f'metadata.labels["{SERVICE_NAME}"]'
        raise Untranslatable((Problem(field, "is missing; write the name of its Service", Reason.MISSING),))
    warnings: list[Problem] = []
    if read.address_type == "FQDN":
        warnings.append(
            no_effect("addressType", "is FQDN and has no effect; list addresses, as names are not looked up")
        )
    ports = tuple(_slice_ports(read.ports or (), warnings)) if read.ports is not None else None
    endpoints = tuple(_endpoints(read, warnings)) if read.address_type != "FQDN" else ()
    return Translated(
        EndpointSlice(metadata.namespace, metadata.name, service, endpoints, ports), tuple(warnings)
    )


def _slice_ports(ports: Iterable[schema.SlicePort], warnings: list[Problem]) -> Iterator[SlicePort]:
    for i, port in enumerate(ports):
        if port.protocol in {"UDP", "SCTP"}:
            warnings.append(
                no_effect(f"ports[{i}]", f"is {port.protocol} and has no effect; the mesh carries TCP")
            )
        elif port.port is None:
            warnings.append(
                no_effect(f"ports[{i}].port", "is missing, so nothing is reached; write a number")
            )
        else:
            yield SlicePort(port.name or "", port.port)


def _endpoints(read: schema.EndpointSliceDocument, warnings: list[Problem]) -> Iterator[SliceEndpoint]:
    for i, endpoint in enumerate(read.endpoints or ()):
        addresses = tuple(
            _address(text, read.address_type, f"endpoints[{i}].addresses[{k}]")
            for k, text in enumerate(endpoint.addresses)
        )
        conditions = endpoint.conditions or schema.EndpointConditions()
        is_pod = endpoint.target_ref is not None and endpoint.target_ref.kind == "Pod"
        yield SliceEndpoint(
            addresses=addresses,
            is_ready=conditions.ready is not False and not conditions.terminating,
            pod=endpoint.target_ref.name if endpoint.target_ref is not None and is_pod else "",
            node=endpoint.node_name or "",
            locality=Locality(zone=endpoint.zone or ""),
        )
        if endpoint.hostname:
            warnings.append(
                no_effect(f"endpoints[{i}].hostname", "has no effect; endpoints have no names of their own")
            )


def _address(text: str, family: str, field: str) -> IpAddress:
    try:
        ip = ip_address(text)
    except ValueError:
        ip = None
    if ip is None or f"IPv{ip.version}" != family:
        raise Untranslatable(
            (Problem(field, f"is {say(text)}; it is an {family} address, as addressType says"),)
        )
    return unmapped(ip)


def _ports(containers: Iterable[schema.Container]) -> Map[str, int]:
    """By name; the first of a name counts."""
    named: dict[str, int] = {}
    for container in containers:
        for port in container.ports or ():
            if port.name and port.protocol == "TCP":
                named.setdefault(port.name, port.container_port)
    return Map(named)


def _owner(metadata: schema.PodMetadata) -> str:
    """A ReplicaSet is called after its Deployment and the hash of its template."""
    owner = next((one for one in metadata.owner_references or () if one.controller), None)
    if owner is None:
        return ""
    if owner.kind == "ReplicaSet":
        return owner.name.removesuffix("-" + metadata.labels.get("pod-template-hash", ""))
    return owner.name


def _sidecar_annotations(annotations: Mapping[str, str], where: str) -> list[Problem]:
    return [
        no_effect(f'{where}["{name}"]', "has no effect: there is no sidecar to configure; remove it")
        for name in annotations
        if name.startswith(_SIDECARS)
    ]


KINDS: Final = (
    Kind("Pod", ("v1",), schema.PodDocument, _pod),
    Kind("Deployment", ("apps/v1",), schema.DeploymentDocument, _deployment),
    Kind(
        "EndpointSlice",
        ("discovery.k8s.io/v1",),
        schema.EndpointSliceDocument,
        _endpoint_slice,
    ),
)
