"""Kubernetes' own kinds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from immutables import Map

from ambient.control import waypoints
from ambient.control.objects import Namespace, SelectingService, ServiceAccount, TargetPort
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import kubernetes as schema
from ambient.control.schema.shape import ip_or_none
from ambient.control.translate import linkerd_annotations
from ambient.control.translate.kind import Kind, Translated, Untranslatable
from ambient.core.model.address import NetworkAddress
from ambient.core.model.service import AppProtocol, DeclaredPort, Port, Service

DOMAIN: Final = "svc.cluster.local"
MODE_LABELS: Final = ("ambient.dev/dataplane-mode", "istio.io/dataplane-mode")
"""The first that is set counts."""
INJECTION, REVISION = "istio-injection", "istio.io/rev"
"""Labels of namespaces that ask for Istio's sidecars; the first counts before the other."""
NODES: Final = "ambient.dev/nodes"
"""Annotation of a ServiceAccount: the nodes that may run it, with commas."""


_TRAFFIC_DISTRIBUTION: Final = "networking.istio.io/traffic-distribution"
_PROTOCOLS: Final = {
    "http": AppProtocol.HTTP,
    "http2": AppProtocol.HTTP2,
    "grpc": AppProtocol.GRPC,
    "https": AppProtocol.TLS,
    "tls": AppProtocol.TLS,
    "tcp": AppProtocol.TCP,
    "kubernetes.io/h2c": AppProtocol.HTTP2,
    "kubernetes.io/ws": AppProtocol.HTTP,
    "kubernetes.io/wss": AppProtocol.TLS,
    "grpc-web": AppProtocol.HTTP,
    "mongo": AppProtocol.TCP,
    "mysql": AppProtocol.TCP,
    "redis": AppProtocol.TCP,
}


def dataplane_mode(labels: Mapping[str, str]) -> str:
    """``ambient``, ``none``, or empty if no label says so."""
    return next((labels[label] for label in MODE_LABELS if label in labels), "")


def _namespace(read: schema.NamespaceDocument, _: tuple[str, ...]) -> Translated:
    labels = read.metadata.labels
    waypoint = waypoints.asked_by(labels, read.metadata.name)
    mode = dataplane_mode(labels)
    if mode == "" and (asking := _asking_for_sidecars(labels)):
        ours = f"write {MODE_LABELS[0]}: ambient in its place"
        return Translated(
            Namespace(read.metadata.name, "ambient", waypoint),
            (
                Problem(
                    f'metadata.labels["{asking}"]',
                    f'is "{labels[asking]}" and enrols the namespace, without sidecars; {ours}',
                ),
            ),
        )
    if mode in {"", "ambient", "none"}:
        return Translated(Namespace(read.metadata.name, mode, waypoint))
    label = next(label for label in MODE_LABELS if label in read.metadata.labels)
    raise Untranslatable((Problem(f'metadata.labels["{label}"]', f'is "{mode}"; it is ambient or none'),))


def _asking_for_sidecars(labels: Mapping[str, str]) -> str:
    """The label that does; empty: none. Source: Istio, where an injection that is not enabled beats a revision."""
    if INJECTION in labels:
        return INJECTION if labels[INJECTION] == "enabled" else ""
    return REVISION if labels.get(REVISION) else ""


def _service_account(read: schema.ServiceAccountDocument, _: tuple[str, ...]) -> Translated:
    return Translated(ServiceAccount(read.metadata.namespace, read.metadata.name, _nodes(read)))


def _nodes(read: schema.ServiceAccountDocument) -> frozenset[str] | None:
    annotation = read.metadata.annotations.get(NODES)
    if annotation is None:
        return None
    return frozenset(name for part in annotation.split(",") if (name := part.strip()))


def _service(read: schema.ServiceDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    warnings = [
        no_effect(f"spec.ports[{i}]", f"is {port.protocol} and has no effect; the mesh carries TCP")
        for i, port in enumerate(spec.ports)
        if port.protocol != "TCP"
    ]
    addresses = tuple(
        dict.fromkeys(
            ip for text in (spec.cluster_ips or (spec.cluster_ip,)) if (ip := ip_or_none(text)) is not None
        )
    )
    is_headless = "None" in {spec.cluster_ip, *spec.cluster_ips}
    if spec.type == "ExternalName":
        warnings.append(
            no_effect("spec.type", "is ExternalName and has no effect; the mesh does not rename hosts")
        )
    elif not addresses and not is_headless:
        warnings.append(
            no_effect(
                "spec.clusterIP",
                "is missing, so the service has no address; write one, or None for a headless service",
            )
        )
    warnings += _unused(read)
    ports = tuple(
        TargetPort(port.port, port.port if port.target_port is None else port.target_port, port.name)
        for port in spec.ports
        if port.protocol == "TCP"
    )
    service = Service(
        name=metadata.name,
        namespace=metadata.namespace,
        hostname=f"{metadata.name}.{metadata.namespace}.{DOMAIN}",
        addresses=tuple(NetworkAddress("", ip) for ip in addresses),
        ports=tuple(
            Port(port.service_port, port.target if isinstance(port.target, int) else 0) for port in ports
        ),
        allow_unhealthy=spec.publish_not_ready_addresses,
        declared=tuple(_declared(spec.ports, warnings)),
    )
    selector = Map(spec.selector) if spec.selector and spec.type != "ExternalName" else None
    annotated, slips = linkerd_annotations.of_service(metadata, [port.service_port for port in ports])
    waypoint = waypoints.asked_by(metadata.labels, metadata.namespace)
    return Translated(SelectingService(service, selector, ports, annotated, waypoint), (*warnings, *slips))


def _unused(read: schema.ServiceDocument) -> Iterator[Problem]:
    spec = read.spec
    if spec.session_affinity != "None":
        yield no_effect("spec.sessionAffinity", "has no effect; each connection is balanced by itself")
    if spec.internal_traffic_policy != "Cluster":
        yield no_effect("spec.internalTrafficPolicy", "has no effect; endpoints of every node are used")
    if spec.traffic_distribution is not None:
        yield no_effect("spec.trafficDistribution", "has no effect; near and far endpoints are used alike")
    if _TRAFFIC_DISTRIBUTION in read.metadata.annotations:
        field = f'metadata.annotations["{_TRAFFIC_DISTRIBUTION}"]'
        yield no_effect(field, "has no effect; near and far endpoints are used alike")
    if spec.external_ips:
        yield no_effect("spec.externalIPs", "has no effect; the mesh knows the service by its clusterIP")


def _declared(ports: Iterable[schema.ServicePort], warnings: list[Problem]) -> Iterator[DeclaredPort]:
    """What ``appProtocol`` says, or the port's name as far as the first dash. Source: Istio's protocol selection."""
    for i, port in enumerate(ports):
        if port.protocol != "TCP":
            continue
        said = (port.app_protocol or "").lower()
        protocol = _PROTOCOLS.get(said or port.name.partition("-")[0])
        if said and protocol is None:
            warnings.append(
                no_effect(
                    f"spec.ports[{i}].appProtocol",
                    f'is "{port.app_protocol}" and has no effect; known are {", ".join(_PROTOCOLS)}',
                )
            )
        if port.name or protocol is not None:
            yield DeclaredPort(port.port, port.name, protocol)


KINDS: Final = (
    Kind("Namespace", ("v1",), schema.NamespaceDocument, _namespace, is_namespaced=False),
    Kind("ServiceAccount", ("v1",), schema.ServiceAccountDocument, _service_account),
    Kind("Service", ("v1",), schema.ServiceDocument, _service),
)
