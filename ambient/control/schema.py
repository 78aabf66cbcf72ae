"""The shape of each kind of object, as it stands in a file.

Fields that ambient acts on are checked to the last; those that only Kubernetes knows are let through by name. A check
says what is wrong and what would be right; ``problems`` puts the path of the field in front.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError, ValidationError

from ambient.core.model.address import IpAddress, unmapped
from ambient.core.model.authorization import IpNetwork

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
_WHEN_L4 = (
    "source.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "destination.ip",
    "destination.port",
)
_WHEN_L7 = (
    "remote.ip",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "connection.sni",
)
_WHEN_L7_MAPS = ("request.headers[", "request.auth.claims[", "experimental.envoy.filters.")


def is_l7_attribute(key: str) -> bool:
    """Whether a ``when`` key is of HTTP (or of what only an L7 proxy sees)."""
    return key not in _WHEN_L4


class Shape(BaseModel):
    """Nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{text}", {"text": text})


def _say(value: object) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _dns_label(name: str) -> str:
    if _DNS_LABEL.fullmatch(name) is None:
        raise _wrong(f"is {_say(name)}; a name is 1-63 of a-z, 0-9 and -, and neither starts nor ends with -")
    return name


def is_dns_name(name: str) -> bool:
    """Whether an object can be named so."""
    return len(name) <= 253 and _DNS_NAME.fullmatch(name) is not None


def _dns_name(name: str) -> str:
    if not is_dns_name(name):
        raise _wrong(
            f"is {_say(name)}; a name is 1-253 of a-z, 0-9, - and ., each part starting and ending with a letter or digit"
        )
    return name


def _port_number(port: int) -> int:
    if not 1 <= port <= 65535:
        raise _wrong(f"is {port}; a port is 1-65535")
    return port


def _port_text(port: object) -> int:
    if not isinstance(port, str):
        raise _wrong(f"is {_say(port)}; write the port as a string, in quotes")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise _wrong(f"is {_say(port)}; a port is 1-65535")
    return int(port)


def _target_port(port: int | str) -> int | str:
    if isinstance(port, int):
        return _port_number(port)
    if port.isdigit() or _PORT_NAME.fullmatch(port) is None:
        raise _wrong(
            f"is {_say(port)}; it is a port number, or the name of a workload's port: 1-15 of a-z, 0-9 and -"
        )
    return port


def _ip(text: object) -> IpAddress:
    try:
        if isinstance(text, str):
            return unmapped(ip_address(text))
    except ValueError:
        pass
    raise _wrong(f"is {_say(text)}; it is an IPv4 or IPv6 address, in quotes")


def network(text: object) -> IpNetwork:
    """An address or CIDR; bits of the host count for nothing."""
    try:
        if isinstance(text, str):
            return ip_network(text, strict=False)
    except ValueError:
        pass
    raise _wrong(f"is {_say(text)}; it is an IP address or a CIDR such as 10.0.0.0/8")


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise _wrong("is empty; leave it out, or list at least one value")
    return values


def _pattern(text: str) -> str:
    if not text:
        raise _wrong("is empty; write a value, a prefix* or *suffix, or * for any")
    return text


def _account(text: str) -> str:
    parts = text.split("/")
    if len(parts) > 2 or not all(_DNS_NAME.fullmatch(part) for part in parts):
        raise _wrong(f"is {_say(text)}; it is a service account, or namespace/account")
    return text


def _action(name: str) -> str:
    if name in {"AUDIT", "CUSTOM"}:
        raise _wrong(f"is {name}, which is not supported; it is ALLOW or DENY")
    if name not in {"ALLOW", "DENY"}:
        raise _wrong(f"is {_say(name)}; it is ALLOW or DENY")
    return name


def _locality(text: str) -> str:
    if len(text.split("/")) > 3:
        raise _wrong(f"is {_say(text)}; it is region/zone/subzone")
    return text


def _attribute(key: str) -> str:
    if key not in _WHEN_L4 + _WHEN_L7 and not key.startswith(_WHEN_L7_MAPS):
        raise _wrong(f"is {_say(key)}; at L4 it is one of {', '.join(_WHEN_L4)}")
    return key


def _port_keys(ports: object) -> object:
    """YAML has the ports as numbers, JSON as strings."""
    if not isinstance(ports, dict):
        return ports
    if not ports:
        raise _wrong("is empty; leave it out, or name at least one port")
    keyed: dict[int, object] = {}
    for port, mode in ports.items():
        number = (
            int(port)
            if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= 5
            else port
        )
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 65535:
            raise _wrong(f"has the port {_say(port)}; a port is 1-65535")
        keyed[number] = mode
    return keyed


Label: TypeAlias = Annotated[str, AfterValidator(_dns_label)]
Name: TypeAlias = Annotated[str, AfterValidator(_dns_name)]
PortNumber: TypeAlias = Annotated[int, AfterValidator(_port_number)]
PortText: TypeAlias = Annotated[int, BeforeValidator(_port_text)]
TargetPort: TypeAlias = Annotated[int | str, AfterValidator(_target_port)]
Ip: TypeAlias = Annotated[Any, BeforeValidator(_ip)]
Network: TypeAlias = Annotated[Any, BeforeValidator(network)]
Pattern: TypeAlias = Annotated[str, AfterValidator(_pattern)]
Account: TypeAlias = Annotated[str, AfterValidator(_account)]
Patterns: TypeAlias = tuple[Pattern, ...]
ModeName: TypeAlias = Literal["UNSET", "STRICT", "PERMISSIVE", "DISABLE"]


class Metadata(BaseModel):
    """What ambient reads of an object's metadata; Kubernetes writes more."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, alias_generator=to_camel)
    name: Name
    namespace: Label = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str | None = None


class Document(Shape):
    """What every object has. ``status`` is Kubernetes' own."""

    api_version: str
    kind: str
    metadata: Metadata
    status: Any = None


class NamespaceDocument(Document):
    """v1 Namespace."""

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
    name: str = ""
    app_protocol: Any = None
    node_port: Any = None


class ServiceSpec(Shape):
    """v1 Service."""

    selector: dict[str, str] | None = None
    ports: tuple[ServicePort, ...] = Field(default=(), strict=False)
    cluster_ip: Annotated[str, AfterValidator(lambda ip: ip if ip in {"", "None"} else str(_ip(ip)))] = Field(
        default="", alias="clusterIP"
    )
    cluster_ips: tuple[str, ...] = Field(default=(), alias="clusterIPs", strict=False)
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    publish_not_ready_addresses: bool = False
    session_affinity: Any = None
    session_affinity_config: Any = None
    ip_families: Any = None
    ip_family_policy: Any = None
    internal_traffic_policy: Any = None
    external_traffic_policy: Any = None
    health_check_node_port: Any = None
    external_ips: Any = Field(default=None, alias="externalIPs")
    external_name: Any = None
    load_balancer_ip: Any = Field(default=None, alias="loadBalancerIP")
    load_balancer_class: Any = None
    load_balancer_source_ranges: Any = None
    allocate_load_balancer_node_ports: Any = None
    traffic_distribution: Any = None

    @model_validator(mode="after")
    def _addresses_agree(self) -> Self:
        for i, ip in enumerate(self.cluster_ips):
            if ip != "None":
                try:
                    ip_address(ip)
                except ValueError as error:
                    raise _at(
                        f"clusterIPs[{i}]", f"is {_say(ip)}; it is an IPv4 or IPv6 address, in quotes"
                    ) from error
        if (
            self.cluster_ips
            and self.cluster_ip
            and ip_or_none(self.cluster_ips[0]) != ip_or_none(self.cluster_ip)
        ):
            raise _at(
                "clusterIPs[0]",
                f"is {_say(self.cluster_ips[0])} and clusterIP {_say(self.cluster_ip)}; make them the same",
            )
        seen: set[int] = set()
        for i, port in enumerate(self.ports):
            if port.protocol == "TCP":
                if port.port in seen:
                    raise _at(f"ports[{i}].port", f"is {port.port}, as is another's; give each TCP port once")
                seen.add(port.port)
        return self


class ServiceDocument(Document):
    """v1 Service."""

    spec: ServiceSpec


class WorkloadEntrySpec(Shape):
    """networking.istio.io WorkloadEntry."""

    address: Ip
    ports: dict[str, PortNumber] = {}
    labels: dict[str, str] = {}
    network: str = ""
    locality: Annotated[str, AfterValidator(_locality)] = ""
    weight: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    service_account: Name | Literal[""] = ""


class WorkloadEntryDocument(Document):
    """networking.istio.io WorkloadEntry."""

    spec: WorkloadEntrySpec


class WorkloadSelector(Shape):
    """Which workloads: those with all of these labels."""

    match_labels: dict[str, str] = {}


class Mtls(Shape):
    """A mode."""

    mode: ModeName = "UNSET"


class PeerAuthenticationSpec(Shape):
    """security.istio.io PeerAuthentication."""

    selector: WorkloadSelector | None = None
    mtls: Mtls | None = None
    port_level_mtls: Annotated[dict[Any, Mtls], BeforeValidator(_port_keys)] | None = None

    @model_validator(mode="after")
    def _ports_need_a_selector(self) -> Self:
        if self.port_level_mtls is not None and not (self.selector and self.selector.match_labels):
            raise _at(
                "portLevelMtls", "needs a selector; add spec.selector.matchLabels, as ports are of workloads"
            )
        return self


class PeerAuthenticationDocument(Document):
    """security.istio.io PeerAuthentication."""

    spec: PeerAuthenticationSpec = PeerAuthenticationSpec()


class Source(Shape):
    """Who calls; lists are OR, fields AND."""

    principals: Patterns = Field(default=(), strict=False)
    not_principals: Patterns = Field(default=(), strict=False)
    request_principals: Patterns = Field(default=(), strict=False)
    not_request_principals: Patterns = Field(default=(), strict=False)
    namespaces: Patterns = Field(default=(), strict=False)
    not_namespaces: Patterns = Field(default=(), strict=False)
    service_accounts: tuple[Account, ...] = Field(default=(), strict=False)
    not_service_accounts: tuple[Account, ...] = Field(default=(), strict=False)
    ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)
    not_ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)
    remote_ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)
    not_remote_ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise _wrong(
                "is empty; name principals, namespaces, serviceAccounts or ipBlocks, or leave `from` out"
            )
        accounts = self.service_accounts + self.not_service_accounts
        if accounts and (self.principals + self.not_principals + self.namespaces + self.not_namespaces):
            raise _wrong(
                "has serviceAccounts together with principals or namespaces; an account names its namespace itself"
            )
        return self


class Operation(Shape):
    """What is called."""

    hosts: Patterns = Field(default=(), strict=False)
    not_hosts: Patterns = Field(default=(), strict=False)
    ports: tuple[PortText, ...] = Field(default=(), strict=False)
    not_ports: tuple[PortText, ...] = Field(default=(), strict=False)
    methods: Patterns = Field(default=(), strict=False)
    not_methods: Patterns = Field(default=(), strict=False)
    paths: Patterns = Field(default=(), strict=False)
    not_paths: Patterns = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise _wrong("is empty; name ports, or leave `to` out")
        return self


class From(Shape):
    """One caller."""

    source: Source


class To(Shape):
    """One operation."""

    operation: Operation


class Condition(Shape):
    """One attribute."""

    key: Annotated[str, AfterValidator(_attribute)]
    values: Patterns = Field(default=(), strict=False)
    not_values: Patterns = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.values or self.not_values):
            raise _wrong("has neither values nor notValues; give one")
        check = {
            "source.ip": network,
            "destination.ip": network,
            "destination.port": _port_text,
            "source.serviceAccount": _account,
        }.get(self.key)
        if check is not None:
            for field, values in (("values", self.values), ("notValues", self.not_values)):
                for i, value in enumerate(values):
                    try:
                        check(value)
                    except PydanticCustomError as error:
                        raise _at(f"{field}[{i}]", str(error)) from error
        return self


class AuthorizationRule(Shape):
    """A rule."""

    from_: Annotated[tuple[From, ...], AfterValidator(_not_empty)] | None = Field(
        default=None, alias="from", strict=False
    )
    to: Annotated[tuple[To, ...], AfterValidator(_not_empty)] | None = Field(default=None, strict=False)
    when: Annotated[tuple[Condition, ...], AfterValidator(_not_empty)] | None = Field(
        default=None, strict=False
    )


class TargetRef(Shape):
    """What a waypoint enforces it for."""

    group: str = ""
    kind: str
    name: str
    namespace: str = ""


class AuthorizationPolicySpec(Shape):
    """security.istio.io AuthorizationPolicy."""

    selector: WorkloadSelector | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = Field(default=(), strict=False)
    action: Annotated[str, AfterValidator(_action)] = "ALLOW"
    provider: Any = None
    rules: tuple[AuthorizationRule, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _selects_one_way(self) -> Self:
        if self.selector is not None and (self.target_ref is not None or self.target_refs):
            raise _at("selector", "is set together with targetRefs; keep one of them")
        return self


class AuthorizationPolicyDocument(Document):
    """security.istio.io AuthorizationPolicy."""

    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()


def ip_or_none(text: str) -> IpAddress | None:
    """An address that was checked already; None for ``None`` and nothing."""
    return None if text in {"", "None"} else unmapped(ip_address(text))


def _at(field: str, text: str) -> PydanticCustomError:
    return PydanticCustomError("wrong_at", "{text}", {"field": field, "text": text})


def problems(error: ValidationError, shape: type[Shape]) -> Iterator[str]:
    """One sentence for each field that is wrong: its path, what it is, what it should be."""
    told: set[str] = set()
    for details in error.errors():
        path = _path(details)
        if path not in told:  # A union complains once for each of its members.
            told.add(path)
            yield f"{path} {_text(details, shape)}" if path else _text(details, shape)


def _path(details: ErrorDetails) -> str:
    path = ""
    for part in details["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif _is_field(part):
            path += f".{part}" if path else part
    if details["type"] == "wrong_at":
        path += f".{details['ctx']['field']}"
    return path


def _is_field(part: str) -> bool:
    """Members of a union are named in the location as well: ``int``, ``literal['']``, ``function-after[...]``."""
    return part not in {"int", "str", "[key]"} and not part.startswith(
        ("function-", "literal[", "constrained-")
    )


def _text(details: ErrorDetails, shape: type[Shape]) -> str:
    value = details["input"]
    match details["type"]:
        case "wrong" | "wrong_at":
            return str(details["msg"])
        case "missing":
            return "is missing"
        case "extra_forbidden":
            known = _fields_at(shape, details["loc"][:-1])
            close = difflib.get_close_matches(str(details["loc"][-1]), known, n=1)
            return (
                f"is unknown; did you mean {close[0]}?"
                if close
                else f"is unknown; known are {', '.join(known)}"
            )
        case "string_type":
            return f"is {_say(value)}; write it as a string, in quotes"
        case "literal_error":
            return f"is {_say(value)}; it is {details['ctx']['expected']}".replace("'", "")
        case "int_type" | "int_parsing":
            return f"is {_say(value)}; it is a number, without quotes"
        case "bool_type":
            return f"is {_say(value)}; it is true or false"
        case "tuple_type" | "list_type":
            return f"is {_say(value)}; it is a list"
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"is {_say(value)}; it is a mapping of names to values"
        case _:
            return f"is {_say(value)}; {details['msg'][:1].lower()}{details['msg'][1:]}"


def _fields_at(shape: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The fields that a model has where an unknown one was found."""
    for part in location:
        if isinstance(part, str) and _is_field(part):
            by_alias = {field.alias or name: field for name, field in shape.model_fields.items()}
            if part not in by_alias:
                return []
            inner = _model_in(by_alias[part].annotation)
            if inner is None:
                return []
            shape = inner
    return [field.alias or name for name, field in shape.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
