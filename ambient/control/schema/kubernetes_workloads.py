"""Kubernetes' own kinds that say who serves: pods, deployments of them, lists of endpoints.

Of pods there is much that only a kubelet reads; it is let through unread.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from ambient.control.schema.shape import (
    Annotations,
    Document,
    Ip,
    Labels,
    Metadata,
    Name,
    PortName,
    PortNumber,
    Shape,
    Time,
    at_most,
)


class _Partly(BaseModel):
    """What is read of something that has more."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, alias_generator=to_camel)


class ContainerPort(_Partly):
    """A port of a container."""

    name: PortName | None = None
    container_port: PortNumber
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class Container(_Partly):
    """One container."""

    name: str = ""
    ports: tuple[ContainerPort, ...] | None = Field(default=None, strict=False)


class PodSpec(_Partly):
    """What a pod runs."""

    containers: tuple[Container, ...] = Field(default=(), strict=False)
    service_account_name: Name | Literal[""] | None = None
    service_account: Name | Literal[""] | None = None
    """What it was called first."""
    node_name: str | None = None
    host_network: bool | None = None


class Owner(_Partly):
    """What made it."""

    kind: str
    name: str
    controller: bool | None = None


class PodMetadata(Metadata):
    """A pod's."""

    owner_references: tuple[Owner, ...] | None = Field(default=None, strict=False)
    deletion_timestamp: Time | None = None


class PodAddress(_Partly):
    """One of its addresses."""

    ip: Ip


class PodCondition(_Partly):
    """One of its conditions."""

    type: str
    status: Literal["True", "False", "Unknown"]


class PodStatus(_Partly):
    """How it is, as the cluster says."""

    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"] | None = None
    pod_ip: Ip | None = Field(default=None, alias="podIP")
    pod_ips: tuple[PodAddress, ...] | None = Field(default=None, alias="podIPs", strict=False)
    conditions: tuple[PodCondition, ...] | None = Field(default=None, strict=False)


class PodDocument(Document):
    """v1 Pod."""

    metadata: PodMetadata
    spec: PodSpec
    status: PodStatus = PodStatus()


class TemplateMetadata(_Partly):
    """What each pod of it has."""

    labels: Labels = {}
    annotations: Annotations = {}


class PodTemplate(_Partly):
    """What each pod of it is."""

    metadata: TemplateMetadata = TemplateMetadata()
    spec: PodSpec


class DeploymentSelector(_Partly):
    """Which pods are its own."""

    match_labels: Labels = {}


class DeploymentSpec(_Partly):
    """apps/v1 Deployment."""

    selector: DeploymentSelector
    template: PodTemplate


class DeploymentDocument(Document):
    """apps/v1 Deployment."""

    spec: DeploymentSpec


class EndpointConditions(Shape):
    """How an endpoint is; None: as if it were well."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetReference(_Partly):
    """What an endpoint is."""

    kind: str = ""
    name: str = ""
    namespace: str = ""


class SliceEndpoint(Shape):
    """One endpoint."""

    addresses: Annotated[tuple[str, ...], AfterValidator(at_most(100))] = Field(strict=False)
    conditions: EndpointConditions | None = None
    target_ref: TargetReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hostname: Any = None
    hints: Any = None
    deprecated_topology: Any = None


class SlicePort(Shape):
    """One port of all of its endpoints."""

    name: PortName | Literal[""] | None = None
    port: PortNumber | None = None
    protocol: Literal["TCP", "UDP", "SCTP"] | None = None
    app_protocol: str | None = None


class EndpointSliceDocument(Document):
    """discovery.k8s.io EndpointSlice."""

    address_type: Literal["IPv4", "IPv6", "FQDN"]
    endpoints: Annotated[tuple[SliceEndpoint, ...], AfterValidator(at_most(1000))] | None = Field(
        default=None, strict=False
    )
    ports: Annotated[tuple[SlicePort, ...], AfterValidator(at_most(100))] | None = Field(
        default=None, strict=False
    )
