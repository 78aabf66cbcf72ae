"""gateway.networking.k8s.io: HTTPRoute, GRPCRoute, TLSRoute and TCPRoute. Source: its CRDs, version 1.6."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from ambient.control.problem import Reason
from ambient.control.schema.duration import GatewayDuration
from ambient.control.schema.regex import regex
from ambient.control.schema.shape import (
    Document,
    HeaderName,
    Label,
    Name,
    PortNumber,
    Shape,
    at_least_one,
    at_most,
    between,
    not_empty,
    say,
    wrong,
    wrong_at,
)

GROUP: Final = "gateway.networking.k8s.io"
_MOST_MATCHES: Final = 128
"""Of all rules of a route together."""

_PATH: Final = re.compile(r"/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_HOSTNAME: Final = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_ORIGIN: Final = re.compile(r"\*|https?://(\*|(\*\.)?[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*)(:[0-9]{1,5})?")
_GRPC_SERVICE: Final = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_GRPC_METHOD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_HEADER_VALUE: Final = re.compile(r"[!-~]+([\t ][!-~]+)*")


def _hostname(name: str) -> str:
    if len(name) > 253 or _HOSTNAME.fullmatch(name) is None:
        raise wrong(f"is {say(name)}; it is a host name in lower case, or *. before a domain")
    if name.replace(".", "").isdigit():
        raise wrong(f"is {say(name)}, which is an IP address; it is a host name")
    return name


def _precise_hostname(name: str) -> str:
    if name.startswith("*."):
        raise wrong(f"is {say(name)}; it is one host name, without *")
    return _hostname(name)


def _cors_origin(origin: str) -> str:
    if len(origin) > 253 or _ORIGIN.fullmatch(origin) is None:
        raise wrong(
            f"is {say(origin)}; it is *, or such as https://example.com or https://*.example.com:8443"
        )
    return origin


def _header_value(value: str) -> str:
    if len(value) > 4096 or _HEADER_VALUE.fullmatch(value) is None:
        raise wrong(
            f"is {say(value)}; a header's value is 1-4096 visible characters, with single spaces between"
        )
    return value


def _alone_if_any(values: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in values and len(values) > 1:
        raise wrong("has * together with others; keep one of them")
    return values


def _nobody_twice(field: str, names: Sequence[str]) -> None:
    """What a list that Kubernetes keeps by name must be."""
    for i, name in enumerate(names):
        if name and name in names[:i]:
            raise wrong_at(f"{field}[{i}].name", f"is {say(name)}, as is another's; give each its own")


Hostname: TypeAlias = Annotated[str, AfterValidator(_hostname)]
PreciseHostname: TypeAlias = Annotated[str, AfterValidator(_precise_hostname)]
HeaderValue: TypeAlias = Annotated[str, AfterValidator(_header_value)]
Method: TypeAlias = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
MatchType: TypeAlias = Literal["Exact", "RegularExpression"]


class ParentRef(Shape):
    """What a route is attached to."""

    group: str = GROUP
    kind: str = "Gateway"
    namespace: Label | None = None
    name: Name
    section_name: Name | None = None
    port: PortNumber | None = None

    @property
    def is_service(self) -> bool:
        """Whether it is of the mesh; ``core`` is what Linkerd's users write."""
        return self.kind == "Service" and self.group in {"", "core"}


class ObjectRef(Shape):
    """Another object of the same namespace."""

    group: str
    kind: str
    name: Name


class ServiceRef(Shape):
    """Where requests go; nearly always a Service."""

    group: str = ""
    kind: str = "Service"
    namespace: Label | None = None
    name: Name
    port: PortNumber | None = None

    @property
    def is_service(self) -> bool:
        """Whether it is a Service of Kubernetes."""
        return self.kind == "Service" and self.group in {"", "core"}

    @model_validator(mode="after")
    def _service_has_a_port(self) -> Self:
        if self.is_service and self.port is None:
            raise wrong_at("port", "is missing; a Service is named with its port", Reason.MISSING)
        return self


class Header(Shape):
    """A header with its value."""

    name: HeaderName
    value: HeaderValue


class HeaderModifier(Shape):
    """Changes to headers."""

    set: Annotated[tuple[Header, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)
    add: Annotated[tuple[Header, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)
    remove: Annotated[tuple[HeaderName, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _nobody_twice("set", [header.name for header in self.set])
        _nobody_twice("add", [header.name for header in self.add])
        return self


class Fraction(Shape):
    """A share of requests."""

    numerator: Annotated[int, AfterValidator(between(0, 2**31 - 1))]
    denominator: Annotated[int, AfterValidator(between(1, 2**31 - 1))] = 100

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if self.numerator > self.denominator:
            raise wrong_at(
                "numerator", f"is {self.numerator}; it is at most the denominator, {self.denominator}"
            )
        return self


class RequestMirror(Shape):
    """A copy of requests goes there."""

    backend_ref: ServiceRef
    percent: Annotated[int, AfterValidator(between(0, 100))] | None = None
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _one_share(self) -> Self:
        if self.percent is not None and self.fraction is not None:
            raise wrong_at("percent", "is set together with fraction; keep one of them")
        return self


class PathModifier(Shape):
    """A new path."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: Annotated[str, Field(max_length=1024)] | None = None
    replace_prefix_match: Annotated[str, Field(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _as_its_type_says(self) -> Self:
        wanted, other = "replaceFullPath", "replacePrefixMatch"
        value, stray = self.replace_full_path, self.replace_prefix_match
        if self.type == "ReplacePrefixMatch":
            wanted, other, value, stray = other, wanted, stray, value
        if value is None:
            raise wrong_at(wanted, f"is missing; type is {self.type}", Reason.MISSING)
        if stray is not None:
            raise wrong_at(other, f"is set, and type is {self.type}; leave it out")
        return self


class RequestRedirect(Shape):
    """Requests are answered with another place."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: PortNumber | None = None
    status_code: Literal[301, 302, 303, 307, 308] = 302


class UrlRewrite(Shape):
    """The backend sees another host or path."""

    hostname: PreciseHostname | None = None
    path: PathModifier | None = None


class Cors(Shape):
    """What scripts of other origins may do."""

    allow_origins: Annotated[
        tuple[Annotated[str, AfterValidator(_cors_origin)], ...],
        AfterValidator(at_most(64)),
        AfterValidator(_alone_if_any),
    ] = Field(default=(), strict=False)
    allow_credentials: bool = False
    allow_methods: Annotated[
        tuple[Method | Literal["*"], ...], AfterValidator(at_most(9)), AfterValidator(_alone_if_any)
    ] = Field(default=(), strict=False)
    allow_headers: Annotated[
        tuple[HeaderName, ...], AfterValidator(at_most(64)), AfterValidator(_alone_if_any)
    ] = Field(default=(), strict=False)
    expose_headers: Annotated[tuple[HeaderName, ...], AfterValidator(at_most(64))] = Field(
        default=(), strict=False
    )
    max_age: Annotated[int, AfterValidator(between(1, 2**31 - 1))] = 5


class ForwardBody(Shape):
    """How much of a body an authorizer is shown."""

    max_size: int | None = None


class ExternalAuth(Shape):
    """Somebody else says whether a request may pass."""

    protocol: Literal["HTTP", "GRPC"]
    backend_ref: ServiceRef
    grpc: Any = None
    http: Any = None
    forward_body: ForwardBody | None = None


_FIELD_OF_FILTER: Final = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
    "ExternalAuth": "external_auth",
    "ExtensionRef": "extension_ref",
}
_MAY_REPEAT: Final = {"RequestMirror", "ExtensionRef", "ExternalAuth"}


class _Filter(Shape):
    """Something that is done to a request or its response."""

    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: ObjectRef | None = None

    def _check(self, kind: str) -> None:
        fields = type(self).model_fields
        for name in _FIELD_OF_FILTER.values():
            if name not in fields:
                continue
            alias, value = fields[name].alias, getattr(self, name)
            if name == _FIELD_OF_FILTER[kind] and value is None:
                raise wrong_at(str(alias), f"is missing; type is {kind}", Reason.MISSING)
            if name != _FIELD_OF_FILTER[kind] and value is not None:
                raise wrong_at(
                    str(alias), f"is set, and type is {kind}; leave it out, or list it as a filter of its own"
                )


class GrpcFilter(_Filter):
    """A filter of a GRPCRoute."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef"]

    @model_validator(mode="after")
    def _as_its_type_says(self) -> Self:
        self._check(self.type)
        return self


class HttpFilter(_Filter):
    """A filter of an HTTPRoute."""

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "CORS",
        "ExternalAuth",
        "ExtensionRef",
    ]
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    cors: Cors | None = None
    external_auth: ExternalAuth | None = None

    @model_validator(mode="after")
    def _as_its_type_says(self) -> Self:
        self._check(self.type)
        return self


def _filters_agree(filters: Sequence[GrpcFilter | HttpFilter]) -> None:
    types = [filter_.type for filter_ in filters]
    for i, type_ in enumerate(types):
        if type_ in types[:i] and type_ not in _MAY_REPEAT:
            raise wrong_at(
                f"filters[{i}].type",
                f"is {type_}, as is another's; a rule has each once",
                Reason.INCOMPATIBLE,
            )
        if type_ in {"RequestRedirect", "URLRewrite"} and {"RequestRedirect", "URLRewrite"} <= set(
            types[: i + 1]
        ):
            raise wrong_at(
                f"filters[{i}].type",
                f"is {type_}, beside the other of RequestRedirect and URLRewrite; keep one",
                Reason.INCOMPATIBLE,
            )


Filters: TypeAlias = Annotated[tuple[HttpFilter, ...], AfterValidator(at_most(16))]
GrpcFilters: TypeAlias = Annotated[tuple[GrpcFilter, ...], AfterValidator(at_most(16))]


class BackendRef(ServiceRef):
    """A service with its share of the requests."""

    weight: Annotated[int, AfterValidator(between(0, 1_000_000))] = 1


class HttpBackendRef(BackendRef):
    """One of an HTTPRoute."""

    filters: Filters = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _filters_agree(self.filters)
        return self


class GrpcBackendRef(BackendRef):
    """One of a GRPCRoute."""

    filters: GrpcFilters = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _filters_agree(self.filters)
        return self


class PathMatch(Shape):
    """What a path is compared with."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    value: Annotated[str, Field(max_length=1024)] = "/"

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        try:
            if self.type == "RegularExpression":
                regex(self.value)
            else:
                _plain_path(self.value)
        except PydanticCustomError as error:
            raise wrong_at("value", str(error)) from error
        return self


def _plain_path(path: str) -> None:
    """What a client that normalizes its paths could send."""
    if not path.startswith("/"):
        raise wrong(f"is {say(path)}; a path starts with /")
    for part in ("//", "/./", "/../", "%2f", "%2F", "#"):
        if part in path:
            raise wrong(f"is {say(path)}; a path has no {part}, as normal paths have none")
    if path.endswith(("/.", "/..")):
        raise wrong(f"is {say(path)}; a path does not end in /. or /.., as normal paths do not")
    if _PATH.fullmatch(path) is None:
        raise wrong(
            f"is {say(path)}; write other characters than letters, digits and -._~!$&'()*+,;=:@ as %XX"
        )


class ValueMatch(Shape):
    """A header of a call; of HTTP, a header or a query parameter."""

    type: MatchType = "Exact"
    name: HeaderName
    value: Annotated[str, Field(min_length=1, max_length=4096)]

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.type == "RegularExpression":
            try:
                regex(self.value)
            except PydanticCustomError as error:
                raise wrong_at("value", str(error)) from error
        return self


class HttpHeaderMatch(ValueMatch):
    """A header of an HTTPRoute."""

    value: HeaderValue


class QueryMatch(ValueMatch):
    """A query parameter."""

    value: Annotated[str, Field(min_length=1, max_length=1024)]


class HttpMatch(Shape):
    """What a request must be; all of it."""

    path: PathMatch = PathMatch()
    headers: Annotated[tuple[HttpHeaderMatch, ...], AfterValidator(at_most(16))] = Field(
        default=(), strict=False
    )
    query_params: Annotated[tuple[QueryMatch, ...], AfterValidator(at_most(16))] = Field(
        default=(), strict=False
    )
    method: Method | None = None


class GrpcMethodMatch(Shape):
    """Which calls."""

    type: MatchType = "Exact"
    service: Annotated[str, Field(max_length=1024)] | None = None
    method: Annotated[str, Field(max_length=1024)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.service or self.method):
            raise wrong("names neither a service nor a method; give one, or leave it out")
        for field, value, plain in (
            ("service", self.service, _GRPC_SERVICE),
            ("method", self.method, _GRPC_METHOD),
        ):
            if not value:
                continue
            if self.type == "Exact" and plain.fullmatch(value) is None:
                raise wrong_at(
                    field, f"is {say(value)}; it is a name of protobuf, such as shop.v1.Orders or Get"
                )
            if self.type == "RegularExpression":
                try:
                    regex(value)
                except PydanticCustomError as error:
                    raise wrong_at(field, str(error)) from error
        return self


class GrpcMatch(Shape):
    """What a call must be; all of it."""

    method: GrpcMethodMatch | None = None
    headers: Annotated[tuple[ValueMatch, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)


class Timeouts(Shape):
    """How long a request may take."""

    request: GatewayDuration | None = None
    backend_request: GatewayDuration | None = None

    @model_validator(mode="after")
    def _one_try_within_all(self) -> Self:
        if self.request and self.backend_request is not None and self.backend_request > self.request:
            raise wrong_at(
                "backendRequest", "is longer than request; make it shorter, or request 0s for no limit"
            )
        return self


class Retry(Shape):
    """When a request is sent again."""

    codes: tuple[Annotated[int, AfterValidator(between(400, 599))], ...] = Field(default=(), strict=False)
    attempts: Annotated[int, AfterValidator(between(1, 2**31 - 1))] | None = None
    backoff: GatewayDuration | None = None


class CookieConfig(Shape):
    """How long a cookie lives."""

    lifetime_type: Literal["Permanent", "Session"] = "Session"


class SessionPersistence(Shape):
    """A client stays with one endpoint."""

    session_name: Annotated[str, Field(max_length=128)] | None = None
    absolute_timeout: GatewayDuration | None = None
    type: Literal["Cookie", "Header"] = "Cookie"
    cookie_config: CookieConfig | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.cookie_config is not None and self.type != "Cookie":
            raise wrong_at(
                "cookieConfig", f"is set, and type is {self.type}; leave it out, or make type Cookie"
            )
        if (
            self.cookie_config is not None
            and self.cookie_config.lifetime_type == "Permanent"
            and self.absolute_timeout is None
        ):
            raise wrong_at("absoluteTimeout", "is missing; a Permanent cookie has an end", Reason.MISSING)
        return self


class HttpRule(Shape):
    """A rule of an HTTPRoute."""

    name: Name | None = None
    matches: Annotated[tuple[HttpMatch, ...], AfterValidator(at_most(64))] = Field(
        default=(HttpMatch(),), strict=False
    )
    filters: Filters = Field(default=(), strict=False)
    backend_refs: Annotated[tuple[HttpBackendRef, ...], AfterValidator(at_most(16))] = Field(
        default=(), strict=False
    )
    timeouts: Timeouts | None = None
    retry: Retry | None = None
    session_persistence: SessionPersistence | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _filters_agree(self.filters)
        if self.backend_refs and any(filter_.type == "RequestRedirect" for filter_ in self.filters):
            raise wrong_at(
                "backendRefs",
                "is set beside a RequestRedirect, which asks no backend; keep one of them",
                Reason.INCOMPATIBLE,
            )
        by_place = [("filters", self.filters)] + [
            (f"backendRefs[{i}].filters", backend.filters) for i, backend in enumerate(self.backend_refs)
        ]
        for place, filters in by_place:
            for i, filter_ in enumerate(filters):
                change = filter_.request_redirect or filter_.url_rewrite
                if (
                    change
                    and change.path
                    and change.path.type == "ReplacePrefixMatch"
                    and not self._has_one_prefix
                ):
                    field = "requestRedirect" if filter_.request_redirect else "urlRewrite"
                    raise wrong_at(
                        f"{place}[{i}].{field}.path.type",
                        "is ReplacePrefixMatch, which needs exactly one match, of type PathPrefix; split the rule",
                        Reason.INCOMPATIBLE,
                    )
        return self

    @property
    def _has_one_prefix(self) -> bool:
        return [match.path.type for match in self.matches or (HttpMatch(),)] == ["PathPrefix"]


class GrpcRule(Shape):
    """A rule of a GRPCRoute."""

    name: Name | None = None
    matches: Annotated[tuple[GrpcMatch, ...], AfterValidator(at_most(64))] = Field(default=(), strict=False)
    filters: GrpcFilters = Field(default=(), strict=False)
    backend_refs: Annotated[tuple[GrpcBackendRef, ...], AfterValidator(at_most(16))] = Field(
        default=(), strict=False
    )
    session_persistence: SessionPersistence | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _filters_agree(self.filters)
        return self


class ConnectionRule(Shape):
    """A rule of a TCPRoute or a TLSRoute."""

    name: Name | None = None
    backend_refs: Annotated[
        tuple[BackendRef, ...], AfterValidator(at_least_one), AfterValidator(at_most(16))
    ] = Field(strict=False)


class RouteSpec(Shape):
    """What every route has."""

    parent_refs: Annotated[tuple[ParentRef, ...], AfterValidator(at_most(32))] = Field(
        default=(), strict=False
    )
    use_default_gateways: Literal["All", "None"] | None = None

    @model_validator(mode="after")
    def _parents_differ(self) -> Self:
        seen: dict[tuple[str, str, str | None, str], list[tuple[str | None, int | None]]] = {}
        for i, ref in enumerate(self.parent_refs):
            places = seen.setdefault((ref.group, ref.kind, ref.namespace, ref.name), [])
            place = (ref.section_name, ref.port)
            if place in places or (places and ((None, None) in {place, *places})):
                raise wrong_at(
                    f"parentRefs[{i}]", f"names {ref.name} again; tell the ports apart, or remove one of them"
                )
            places.append(place)
        return self


class HttpRouteSpec(RouteSpec):
    """gateway.networking.k8s.io HTTPRoute."""

    hostnames: Annotated[tuple[Hostname, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)
    rules: Annotated[tuple[HttpRule, ...], AfterValidator(not_empty), AfterValidator(at_most(16))] = Field(
        default=(HttpRule(),), strict=False
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _rules_agree(self.rules)
        return self


class GrpcRouteSpec(RouteSpec):
    """gateway.networking.k8s.io GRPCRoute."""

    hostnames: Annotated[tuple[Hostname, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)
    rules: Annotated[tuple[GrpcRule, ...], AfterValidator(at_most(16))] = Field(default=(), strict=False)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        _rules_agree(self.rules)
        return self


class TlsRouteSpec(RouteSpec):
    """gateway.networking.k8s.io TLSRoute."""

    hostnames: Annotated[tuple[Hostname, ...], AfterValidator(at_most(1024))] = Field(
        default=(), strict=False
    )
    rules: Annotated[
        tuple[ConnectionRule, ...], AfterValidator(at_least_one), AfterValidator(at_most(16))
    ] = Field(strict=False)


class TcpRouteSpec(RouteSpec):
    """gateway.networking.k8s.io TCPRoute."""

    rules: Annotated[
        tuple[ConnectionRule, ...], AfterValidator(at_least_one), AfterValidator(at_most(16))
    ] = Field(strict=False)


def _rules_agree(rules: Sequence[HttpRule | GrpcRule]) -> None:
    _nobody_twice("rules", [rule.name or "" for rule in rules])
    matches = sum(len(rule.matches) for rule in rules)
    if matches > _MOST_MATCHES:
        raise wrong_at("rules", f"has {matches} matches; a route has at most {_MOST_MATCHES}: split it")


class HttpRouteDocument(Document):
    """gateway.networking.k8s.io HTTPRoute."""

    spec: HttpRouteSpec


class GrpcRouteDocument(Document):
    """gateway.networking.k8s.io GRPCRoute."""

    spec: GrpcRouteSpec


class TlsRouteDocument(Document):
    """gateway.networking.k8s.io TLSRoute."""

    spec: TlsRouteSpec

    @model_validator(mode="after")
    def _as_its_version_says(self) -> Self:
        if not self.api_version.endswith("/v1alpha2"):
            if not self.spec.hostnames:
                raise wrong_at("spec.hostnames", "is missing; name at least one server", Reason.MISSING)
            _one_rule(self.spec.rules)
        return self


class TcpRouteDocument(Document):
    """gateway.networking.k8s.io TCPRoute."""

    spec: TcpRouteSpec

    @model_validator(mode="after")
    def _as_its_version_says(self) -> Self:
        if not self.api_version.endswith("/v1alpha2"):
            _one_rule(self.spec.rules)
        return self


def _one_rule(rules: tuple[ConnectionRule, ...]) -> None:
    if len(rules) > 1:
        raise wrong_at(
            "spec.rules", f"has {len(rules)} entries; it has one, as nothing tells connections apart"
        )
