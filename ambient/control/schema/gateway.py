"""gateway.networking.k8s.io Gateway, and gateway.networking.x-k8s.io. Source: their CRDs, version 1.6."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ambient.control.problem import Reason
from ambient.control.schema.duration import GatewayDuration
from ambient.control.schema.gateway_routes import GROUP, Hostname, ObjectRef, SessionPersistence
from ambient.control.schema.shape import (
    Document,
    Label,
    Name,
    PortNumber,
    Shape,
    at_least_one,
    at_most,
    between,
    say,
    wrong,
    wrong_at,
)

_CONTROLLER: Final = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
)
_HOUR: Final = timedelta(hours=1)


def _controller(name: str) -> str:
    if len(name) > 253 or _CONTROLLER.fullmatch(name) is None:
        raise wrong(f"is {say(name)}; it is a domain and a path, such as ambient.dev/mesh")
    return name


class SecretRef(Shape):
    """Where a certificate or a key is."""

    group: str = ""
    kind: str = "Secret"
    name: Name
    namespace: Label | None = None


class ListenerTls(Shape):
    """What a listener does with TLS."""

    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    certificate_refs: Annotated[tuple[SecretRef, ...], AfterValidator(at_most(64))] = Field(
        default=(), strict=False
    )
    options: dict[str, str] = Field(default={})

    @model_validator(mode="after")
    def _can_terminate(self) -> Self:
        if self.mode == "Terminate" and not self.certificate_refs and not self.options:
            raise wrong_at("certificateRefs", "is missing; mode is Terminate", Reason.MISSING)
        return self


class LabelSelector(Shape):
    """Objects by their labels."""

    match_labels: dict[str, str] = Field(default={})
    match_expressions: Any = None


class RouteNamespaces(Shape):
    """Where routes may be."""

    from_: Literal["All", "Selector", "Same"] = Field(default="Same", alias="from")
    selector: LabelSelector | None = None


class RouteKind(Shape):
    """A kind of route."""

    group: str = GROUP
    kind: str


class AllowedRoutes(Shape):
    """Which routes a listener takes."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: Annotated[tuple[RouteKind, ...], AfterValidator(at_most(8))] = Field(default=(), strict=False)


class Listener(Shape):
    """A port."""

    name: Name
    hostname: Hostname | None = None
    port: PortNumber
    protocol: Annotated[str, Field(min_length=1, max_length=255)]
    tls: ListenerTls | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.tls is not None and self.protocol in {"HTTP", "TCP", "UDP"}:
            raise wrong_at(
                "tls", f"is set, and protocol is {self.protocol}; leave it out, or write HTTPS or TLS"
            )
        if self.tls is not None and self.protocol == "HTTPS" and self.tls.mode != "Terminate":
            raise wrong_at("tls.mode", f"is {self.tls.mode}, and protocol is HTTPS; write Terminate, or TLS")
        if self.tls is None and self.protocol == "TLS":
            raise wrong_at("tls", "is missing; protocol is TLS", Reason.MISSING)
        if self.hostname is not None and self.protocol in {"TCP", "UDP"}:
            raise wrong_at(
                "hostname", f"is set, and protocol is {self.protocol}, which has none; leave it out"
            )
        return self


class Address(Shape):
    """An address that is wished for."""

    type: str = "IPAddress"
    value: Annotated[str, Field(max_length=253)] = ""


class Infrastructure(Shape):
    """What is made for a gateway."""

    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})
    parameters_ref: ObjectRef | None = None


class GatewaySpec(Shape):
    """gateway.networking.k8s.io Gateway."""

    gateway_class_name: Annotated[str, Field(min_length=1, max_length=253)]
    listeners: Annotated[tuple[Listener, ...], AfterValidator(at_least_one), AfterValidator(at_most(64))] = (
        Field(strict=False)
    )
    addresses: Annotated[tuple[Address, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)
    infrastructure: Infrastructure | None = None
    allowed_listeners: Any = None
    default_scope: Literal["All", "None"] | None = None
    tls: Any = None

    @model_validator(mode="after")
    def _listeners_differ(self) -> Self:
        names = [listener.name for listener in self.listeners]
        places = [(listener.port, listener.protocol, listener.hostname) for listener in self.listeners]
        for i, (name, place) in enumerate(zip(names, places, strict=True)):
            if name in names[:i]:
                raise wrong_at(f"listeners[{i}].name", f"is {say(name)}, as is another's; give each its own")
            if place in places[:i]:
                raise wrong_at(
                    f"listeners[{i}].port",
                    f"is {place[0]}, as is another's of the same protocol and hostname; keep one",
                )
        return self


class GatewayDocument(Document):
    """gateway.networking.k8s.io Gateway."""

    spec: GatewaySpec


class ParametersRef(ObjectRef):
    """An object with settings."""

    namespace: Label | None = None


class MeshSpec(Shape):
    """gateway.networking.x-k8s.io XMesh."""

    controller_name: Annotated[str, AfterValidator(_controller)]
    description: Annotated[str, Field(max_length=64)] = ""
    parameters_ref: ParametersRef | None = None


class MeshDocument(Document):
    """gateway.networking.x-k8s.io XMesh."""

    spec: MeshSpec


class Budget(Shape):
    """Retries as a share of requests."""

    percent: Annotated[int, AfterValidator(between(0, 100))] = 20
    interval: GatewayDuration = timedelta(seconds=10)

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if not timedelta(seconds=1) <= self.interval <= _HOUR:
            raise wrong_at("interval", "is out of bounds; it is 1s-1h")
        return self


class RetryRate(Shape):
    """Retries that may be whatever the share."""

    count: Annotated[int, AfterValidator(between(1, 1_000_000))] = 10
    interval: GatewayDuration = timedelta(seconds=1)

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if not timedelta(milliseconds=1) <= self.interval <= _HOUR:
            raise wrong_at("interval", "is out of bounds; it is 1ms-1h")
        return self


class RetryConstraint(Shape):
    """How many retries there may be."""

    budget: Budget = Budget()
    min_retry_rate: RetryRate = RetryRate()


class PolicyTarget(Shape):
    """What a policy is for: an object of its namespace."""

    group: str
    kind: str
    name: Name


class BackendTrafficPolicySpec(Shape):
    """gateway.networking.x-k8s.io XBackendTrafficPolicy."""

    target_refs: Annotated[
        tuple[PolicyTarget, ...], AfterValidator(at_least_one), AfterValidator(at_most(16))
    ] = Field(strict=False)
    retry_constraint: RetryConstraint | None = None
    session_persistence: SessionPersistence | None = None

    @model_validator(mode="after")
    def _targets_differ(self) -> Self:
        for i, target in enumerate(self.target_refs):
            if target in self.target_refs[:i]:
                raise wrong_at(
                    f"targetRefs[{i}].name", f"is {say(target.name)}, as is another's; give each once"
                )
        return self


class BackendTrafficPolicyDocument(Document):
    """gateway.networking.x-k8s.io XBackendTrafficPolicy."""

    spec: BackendTrafficPolicySpec
