"""networking.istio.io: services and workloads that no cluster tells of. Source: their CustomResourceDefinitions."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ambient.control.problem import Reason
from ambient.control.schema.istio import ExportTo, Host, Many
from ambient.control.schema.shape import (
    Document,
    Ip,
    Labels,
    Name,
    PortNumber,
    Shape,
    at_most,
    between,
    ip_or_none,
    network,
    not_empty_text,
    say,
    wrong,
    wrong_at,
)

PROTOCOLS: Final = (
    "HTTP",
    "HTTP2",
    "GRPC",
    "GRPC-WEB",
    "HTTPS",
    "TLS",
    "TCP",
    "MONGO",
    "MYSQL",
    "REDIS",
    "UDP",
)
_SOCKET: Final = "unix://"


def _locality(text: str) -> str:
    if len(text.split("/")) > 3:
        raise wrong(f"is {say(text)}; it is region/zone/subzone")
    return text


def _protocol(text: str) -> str:
    if text.upper() not in PROTOCOLS:
        raise wrong(f"is {say(text)}; it is one of {', '.join(PROTOCOLS)}")
    return text.upper()


def _some_host(text: str) -> str:
    if text == "*":
        raise wrong('is "*", which would be every host; name a domain, such as *.example.com')
    return text


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise wrong("is empty; name at least one host")
    return values


Locality: TypeAlias = Annotated[str, AfterValidator(_locality)]
Weight: TypeAlias = Annotated[int, AfterValidator(between(0, 2**32 - 1))]
Protocol: TypeAlias = Annotated[str, AfterValidator(_protocol)]
Text: TypeAlias = Annotated[str, AfterValidator(not_empty_text)]
SomeHost: TypeAlias = Annotated[Host, AfterValidator(_some_host)]


class WorkloadEntrySpec(Shape):
    """networking.istio.io WorkloadEntry."""

    address: Ip
    ports: dict[str, PortNumber] = Field(default={})
    labels: Labels = Field(default={})
    network: str = ""
    locality: Locality = ""
    weight: Weight = 0
    service_account: Name | Literal[""] = ""


class WorkloadEntryDocument(Document):
    """networking.istio.io WorkloadEntry."""

    spec: WorkloadEntrySpec


class ServicePort(Shape):
    """A port of a service."""

    number: PortNumber
    name: Text
    protocol: Protocol = "TCP"
    target_port: PortNumber | None = None


class Endpoint(Shape):
    """Who serves: an address, a host name or a Unix socket."""

    address: Text
    ports: dict[str, PortNumber] = Field(default={})
    labels: Labels = Field(default={})
    network: str = ""
    locality: Locality = ""
    weight: Weight = 0
    service_account: Name | Literal[""] = ""

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return self.address.startswith(_SOCKET)


class LabelSelector(Shape):
    """Which workloads: those with all of these labels."""

    labels: Labels = Field(default={})


class ServiceEntrySpec(Shape):
    """networking.istio.io ServiceEntry."""

    hosts: Annotated[Many[SomeHost], AfterValidator(_not_empty), AfterValidator(at_most(256))]
    addresses: Annotated[Many[Annotated[Any, BeforeValidator(network)]], AfterValidator(at_most(256))] = ()
    ports: Annotated[Many[ServicePort], AfterValidator(at_most(256))] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: Annotated[Many[Endpoint], AfterValidator(at_most(4096))] = ()
    workload_selector: LabelSelector | None = None
    export_to: Many[ExportTo] = ()
    subject_alt_names: Many[str] = ()

    @model_validator(mode="after")
    def _is_one_service(self) -> Self:
        self._check_ports()
        self._check_endpoints()
        if self.resolution not in {"NONE", "STATIC"}:
            for i, address in enumerate(self.addresses):
                if address.num_addresses > 1:
                    raise wrong_at(
                        f"addresses[{i}]",
                        f"is a range, and resolution {self.resolution}; list single addresses",
                    )
        for i, host in enumerate(self.hosts):
            if host in self.hosts[:i]:
                raise wrong_at(f"hosts[{i}]", f"is {say(host)} again; name each host once")
        return self

    def _check_ports(self) -> None:
        for i, port in enumerate(self.ports):
            before = self.ports[:i]
            if any(other.number == port.number for other in before):
                raise wrong_at(
                    f"ports[{i}].number", f"is {port.number}, as is another's; give each port once"
                )
            if any(other.name == port.name for other in before):
                raise wrong_at(
                    f"ports[{i}].name", f"is {say(port.name)}, as is another's; give each port its own name"
                )

    def _check_endpoints(self) -> None:
        if self.endpoints and self.workload_selector is not None:
            raise wrong_at("workloadSelector", "is set together with endpoints; keep one of them")
        if self.endpoints and self.resolution == "NONE":
            raise wrong_at("endpoints", "are listed, and resolution is NONE; write resolution: STATIC")
        if len(self.endpoints) > 1 and self.resolution == "DNS_ROUND_ROBIN":
            raise wrong_at(
                "endpoints", "are several, and resolution is DNS_ROUND_ROBIN; list one, or use DNS"
            )
        names = {port.name for port in self.ports}
        for i, endpoint in enumerate(self.endpoints):
            if self.resolution == "STATIC" and not endpoint.is_socket and _ip(endpoint.address) is None:
                raise wrong_at(
                    f"endpoints[{i}].address",
                    f"is {say(endpoint.address)}, and resolution is STATIC; it is an IPv4 or IPv6 address, in quotes",
                )
            for name in endpoint.ports:
                if name not in names:
                    raise wrong_at(
                        f"endpoints[{i}].ports.{name}",
                        f"is no port of the service; name one of {', '.join(sorted(names)) or 'spec.ports'}",
                        Reason.REFERENCE,
                    )


class ServiceEntryDocument(Document):
    """networking.istio.io ServiceEntry."""

    spec: ServiceEntrySpec


def _ip(text: str) -> object:
    try:
        return ip_or_none(text)
    except ValueError:
        return None
