"""security.istio.io."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from ambient.control.schema.istio import Targeted
from ambient.control.schema.shape import (
    Document,
    Network,
    Patterns,
    PortText,
    Shape,
    WorkloadSelector,
    is_dns_name,
    network,
    not_empty,
    not_empty_text,
    port_text,
    say,
    wrong,
    wrong_at,
)

_WHEN_L4 = (
    "source.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
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
ENVOY_FILTERS = "experimental.envoy.filters."
"""Begins the keys of what only filters of Envoy know."""
_WHEN_L7_MAPS = re.compile(r"request\.headers\[[^][]+\]|request\.auth\.claims(\[[^][]+\])+")
_TEMPLATE = re.compile(r"(/(\{\*\}|[^/{}*]*))*(/\{\*\*\}(/[^/{}*]*)*)?")


def is_l7_attribute(key: str) -> bool:
    """Whether a ``when`` key is of HTTP (or of what only an L7 proxy sees)."""
    return key not in _WHEN_L4


def _account(text: str) -> str:
    parts = text.split("/")
    if len(parts) > 2 or not all(is_dns_name(part) for part in parts):
        raise wrong(f"is {say(text)}; it is a service account, or namespace/account")
    return text


def _action(name: str) -> str:
    if name in {"AUDIT", "CUSTOM"}:
        raise wrong(f"is {name}, which is not supported; it is ALLOW or DENY")
    if name not in {"ALLOW", "DENY"}:
        raise wrong(f"is {say(name)}; it is ALLOW or DENY")
    return name


def _attribute(key: str) -> str:
    if key in _WHEN_L4 + _WHEN_L7 or key.startswith(ENVOY_FILTERS) or _WHEN_L7_MAPS.fullmatch(key):
        return key
    if key.startswith(("request.headers", "request.auth.claims")):
        raise wrong(f"is {say(key)}; write request.headers[NAME] or request.auth.claims[NAME]")
    raise wrong(f"is {say(key)}; at L4 it is one of {', '.join(_WHEN_L4)}")


def _path(path: str) -> str:
    if ("{" in path or "}" in path) and _TEMPLATE.fullmatch(path) is None:
        raise wrong(
            f"is {say(path)}; a segment is {{*}} for any one, or at last {{**}} for all that follow, and nothing beside it"
        )
    return not_empty_text(path)


def _port_keys(ports: object) -> object:
    """YAML has the ports as numbers, JSON as strings."""
    if not isinstance(ports, dict):
        return ports
    if not ports:
        raise wrong("is empty; leave it out, or name at least one port")
    keyed: dict[int, object] = {}
    for port, mode in ports.items():
        number = (
            int(port)
            if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= 5
            else port
        )
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 65535:
            raise wrong(f"has the port {say(port)}; a port is 1-65535")
        keyed[number] = mode
    return keyed


Account: TypeAlias = Annotated[str, AfterValidator(_account)]
PathText: TypeAlias = Annotated[str, AfterValidator(_path)]
ModeName: TypeAlias = Literal["UNSET", "STRICT", "PERMISSIVE", "DISABLE"]


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
            raise wrong_at(
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
    trust_domains: Patterns = Field(default=(), strict=False)
    not_trust_domains: Patterns = Field(default=(), strict=False)
    ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)
    not_ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)
    remote_ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)
    not_remote_ip_blocks: tuple[Network, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise wrong(
                "is empty; name principals, namespaces, serviceAccounts or ipBlocks, or leave `from` out"
            )
        accounts = self.service_accounts + self.not_service_accounts
        if accounts and (self.principals + self.not_principals + self.namespaces + self.not_namespaces):
            raise wrong(
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
    paths: tuple[PathText, ...] = Field(default=(), strict=False)
    not_paths: tuple[PathText, ...] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise wrong("is empty; name ports, or leave `to` out")
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
            raise wrong("has neither values nor notValues; give one")
        check = {
            "source.ip": network,
            "destination.ip": network,
            "remote.ip": network,
            "destination.port": port_text,
            "source.serviceAccount": _account,
        }.get(self.key)
        if check is not None:
            for field, values in (("values", self.values), ("notValues", self.not_values)):
                for i, value in enumerate(values):
                    try:
                        check(value)
                    except PydanticCustomError as error:
                        raise wrong_at(f"{field}[{i}]", str(error)) from error
        return self


class AuthorizationRule(Shape):
    """A rule."""

    from_: Annotated[tuple[From, ...], AfterValidator(not_empty)] | None = Field(
        default=None, alias="from", strict=False
    )
    to: Annotated[tuple[To, ...], AfterValidator(not_empty)] | None = Field(default=None, strict=False)
    when: Annotated[tuple[Condition, ...], AfterValidator(not_empty)] | None = Field(
        default=None, strict=False
    )


class AuthorizationPolicySpec(Targeted):
    """security.istio.io AuthorizationPolicy."""

    action: Annotated[str, AfterValidator(_action)] = "ALLOW"
    provider: Any = None
    rules: tuple[AuthorizationRule, ...] = Field(default=(), strict=False)


class AuthorizationPolicyDocument(Document):
    """security.istio.io AuthorizationPolicy."""

    spec: AuthorizationPolicySpec = AuthorizationPolicySpec()
