"""Kubernetes' own kinds that say what runs in the mesh."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from ambient.control.schema.shape import (
    Document,
    Label,
    Labels,
    Metadata,
    PortName,
    PortNumber,
    Shape,
    ip_or_none,
    port_number,
    read_ip,
    say,
    wrong,
    wrong_at,
)

_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")


def _target_port(port: int | str) -> int | str:
    if isinstance(port, int):
        return port_number(port)
    if port.isdigit() or _PORT_NAME.fullmatch(port) is None:
        raise wrong(
            f"is {say(port)}; it is a port number, or the name of a workload's port: 1-15 of a-z, 0-9 and -"
        )
    return port


TargetPort: TypeAlias = Annotated[int | str, AfterValidator(_target_port)]


class LabelNamed(Metadata):
    """Of an object whose name is part of host names."""

    name: Label


class NamespaceDocument(Document):
    """v1 Namespace."""

    metadata: LabelNamed
    spec: Any = None


class ServiceAccountDocument(Document):
    """v1 ServiceAccount."""

    secrets: Any = None
    image_pull_secrets: Any = None
    automount_service_account_token: Any = None


class ServicePort(Shape):
    """One port of a service."""

    port: PortNumber
    target_port: TargetPort | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    name: PortName | Literal[""] = ""
    app_protocol: str | None = None
    node_port: Any = None


class ServiceSpec(Shape):
    """v1 Service."""

    selector: Labels = Field(default={})
    ports: tuple[ServicePort, ...] = Field(default=(), strict=False)
    cluster_ip: Annotated[str, AfterValidator(lambda ip: ip if ip in {"", "None"} else str(read_ip(ip)))] = (
        Field(default="", alias="clusterIP")
    )
    cluster_ips: tuple[str, ...] = Field(default=(), alias="clusterIPs", strict=False)
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    publish_not_ready_addresses: bool = False
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: Any = None
    ip_families: Any = None
    ip_family_policy: Any = None
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    external_traffic_policy: Any = None
    health_check_node_port: Any = None
    external_ips: tuple[str, ...] = Field(default=(), alias="externalIPs", strict=False)
    external_name: str = ""
    load_balancer_ip: Any = Field(default=None, alias="loadBalancerIP")
    load_balancer_class: Any = None
    load_balancer_source_ranges: Any = None
    allocate_load_balancer_node_ports: Any = None
    traffic_distribution: Literal["PreferClose", "PreferSameZone", "PreferSameNode"] | None = None

    @model_validator(mode="after")
    def _addresses_agree(self) -> Self:
        for i, ip in enumerate(self.cluster_ips):
            if ip != "None":
                try:
                    ip_address(ip)
                except ValueError as error:
                    raise wrong_at(
                        f"clusterIPs[{i}]", f"is {say(ip)}; it is an IPv4 or IPv6 address, in quotes"
                    ) from error
        if (
            self.cluster_ips
            and self.cluster_ip
            and ip_or_none(self.cluster_ips[0]) != ip_or_none(self.cluster_ip)
        ):
            raise wrong_at(
                "clusterIPs[0]",
                f"is {say(self.cluster_ips[0])} and clusterIP {say(self.cluster_ip)}; make them the same",
            )
        seen: set[int] = set()
        named: set[str] = set()
        for i, port in enumerate(self.ports):
            if port.name in named:
                raise wrong_at(
                    f"ports[{i}].name", f"is {say(port.name)}, as is another's; give each port its own name"
                )
            named |= {port.name} - {""}
            if port.protocol == "TCP":
                if port.port in seen:
                    raise wrong_at(
                        f"ports[{i}].port", f"is {port.port}, as is another's; give each TCP port once"
                    )
                seen.add(port.port)
        return self


class ServiceDocument(Document):
    """v1 Service."""

    metadata: LabelNamed
    spec: ServiceSpec
