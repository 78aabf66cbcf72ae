"""networking.istio.io."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from immutables import Map

from ambient.control import waypoints
from ambient.control.objects import (
    SelectingService,
    ServiceEndpoint,
    ServiceEntry,
    TargetPort,
    WorkloadEntry,
)
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import istio_networking as schema
from ambient.control.translate.istio import exported_to
from ambient.control.translate.kind import Kind, Translated, Untranslatable
from ambient.core.model.address import NetworkAddress, NetworkRange, unmapped
from ambient.core.model.service import AppProtocol, DeclaredPort, Port, Service
from ambient.core.model.workload import Locality

VERSIONS: Final = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
TUNNEL: Final = "ambient.dev/tunnel"
"""Label or annotation of a WorkloadEntry."""

_SPIFFE: Final = "spiffe://"
_PROTOCOLS: Final = {
    "HTTP": AppProtocol.HTTP,
    "HTTP2": AppProtocol.HTTP2,
    "GRPC": AppProtocol.GRPC,
    "GRPC-WEB": AppProtocol.HTTP,
    "HTTPS": AppProtocol.TLS,
    "TLS": AppProtocol.TLS,
}
"""Any other is bytes that nobody looks into."""


def _workload_entry(read: schema.WorkloadEntryDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    tunnel = spec.labels.get(TUNNEL) or metadata.labels.get(TUNNEL) or metadata.annotations.get(TUNNEL) or ""
    if tunnel not in {"", "none", "hbone"}:
        raise Untranslatable(
            (Problem(f'metadata.annotations["{TUNNEL}"]', f'is "{tunnel}"; it is hbone or none'),)
        )
    entry = WorkloadEntry(
        namespace=metadata.namespace,
        name=metadata.name,
        service_account=spec.service_account or "default",
        address=spec.address,
        ports=Map(spec.ports),
        # Selectors see both, and the spec's own count more. Source: Istio's WorkloadEntry.
        labels=Map({**metadata.labels, **spec.labels}),
        network=spec.network,
        locality=_locality(spec.locality),
        capacity=spec.weight or 1,
        speaks_hbone=tunnel == "hbone",
    )
    return Translated(entry)


def _service_entry(read: schema.ServiceEntryDocument, _: tuple[str, ...]) -> Translated:
    return _ServiceEntry(read).translate()


class _ServiceEntry:
    """One object's translation, with what it has to say on the way."""

    def __init__(self, read: schema.ServiceEntryDocument) -> None:
        self._spec, self._metadata = read.spec, read.metadata
        self._warnings: list[Problem] = []

    def translate(self) -> Translated:
        """A service for each host, and who serves them."""
        spec, metadata = self._spec, self._metadata
        self._warn_of_settings()
        ports = tuple(self._ports())
        selector = Map(spec.workload_selector.labels) if spec.workload_selector is not None else None
        is_resolved = spec.resolution in {"NONE", "STATIC"} or selector is not None
        if not is_resolved:
            self._warn(
                "spec.resolution",
                f"is {spec.resolution}, and names are not resolved yet, so nobody serves it; list addresses as STATIC",
            )
        else:
            self._warn_of_nobody()
        services = tuple(
            SelectingService(
                service=self._service(host, ports, is_first=i == 0, is_resolved=is_resolved),
                selector=selector,
                ports=ports,
                waypoint=waypoints.asked_by(metadata.labels, metadata.namespace),
                kind="ServiceEntry",
            )
            for i, host in enumerate(spec.hosts)
        )
        endpoints = tuple(self._endpoints()) if spec.resolution == "STATIC" else ()
        entry = ServiceEntry(metadata.namespace, metadata.name, services, endpoints)
        return Translated(entry, tuple(self._warnings))

    def _warn(self, field: str, text: str) -> None:
        self._warnings.append(no_effect(field, text))

    def _warn_of_settings(self) -> None:
        spec = self._spec
        if exported_to(spec.export_to, self._metadata.namespace) is not None:
            self._warn("spec.exportTo", "has no effect; a service is seen from every namespace")
        for i, name in enumerate(spec.subject_alt_names):
            if not name.startswith(_SPIFFE):
                self._warn(
                    f"spec.subjectAltNames[{i}]",
                    f'is "{name}" and has no effect; in the mesh names are {_SPIFFE}…',
                )
        if not spec.ports:
            self._warn("spec.ports", "is missing, so nothing of it can be called; list at least one")

    def _warn_of_nobody(self) -> None:
        spec = self._spec
        if not spec.addresses:
            self._warn("spec.addresses", "is missing, so no connection is known to be for it; list addresses")
        if spec.resolution == "STATIC" and not spec.endpoints and spec.workload_selector is None:
            self._warn(
                "spec.endpoints",
                "is missing, so nobody serves it; list addresses, or give a workloadSelector",
            )

    def _ports(self) -> Iterator[TargetPort]:
        for i, port in enumerate(self._spec.ports):
            if port.protocol == "UDP":
                self._warn(f"spec.ports[{i}]", "is UDP and has no effect; the mesh carries TCP")
            else:
                yield TargetPort(port.number, port.target_port or port.number, port.name)

    def _service(
        self, host: str, ports: tuple[TargetPort, ...], *, is_first: bool, is_resolved: bool
    ) -> Service:
        spec = self._spec
        networks = spec.addresses if is_first and is_resolved else ()
        return Service(
            name=self._metadata.name,
            namespace=self._metadata.namespace,
            hostname=host,
            addresses=tuple(
                NetworkAddress("", unmapped(one.network_address))
                for one in networks
                if one.num_addresses == 1
            ),
            ports=tuple(Port(port.service_port, int(port.target)) for port in ports),
            subject_alt_names=tuple(name for name in spec.subject_alt_names if name.startswith(_SPIFFE)),
            ranges=tuple(NetworkRange("", one) for one in networks if one.num_addresses > 1),
            passthrough=spec.resolution == "NONE" and spec.workload_selector is None,
            declared=tuple(
                DeclaredPort(port.number, port.name, _PROTOCOLS.get(port.protocol, AppProtocol.TCP))
                for port in spec.ports
                if port.protocol != "UDP"
            ),
        )

    def _endpoints(self) -> Iterator[ServiceEndpoint]:
        for i, endpoint in enumerate(self._spec.endpoints):
            where = f"spec.endpoints[{i}]"
            if endpoint.is_socket:
                self._warn(f"{where}.address", "is a Unix socket and has no effect; list an IP address")
            elif endpoint.network:
                self._warn(
                    f"{where}.network",
                    f'is "{endpoint.network}", so it is left out; other networks cannot be reached',
                )
            else:
                yield ServiceEndpoint(
                    address=unmapped(ip_address(endpoint.address)),
                    ports=Map(endpoint.ports),
                    labels=Map(endpoint.labels),
                    service_account=endpoint.service_account or "default",
                    locality=_locality(endpoint.locality),
                    capacity=endpoint.weight or 1,
                )


def _locality(text: str) -> Locality:
    region, zone, subzone = f"{text}//".split("/")[:3]
    return Locality(region, zone, subzone)


KINDS: Final = (
    Kind("WorkloadEntry", VERSIONS, schema.WorkloadEntryDocument, _workload_entry),
    Kind("ServiceEntry", VERSIONS, schema.ServiceEntryDocument, _service_entry),
)
