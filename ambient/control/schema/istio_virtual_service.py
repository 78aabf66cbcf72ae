"""networking.istio.io VirtualService. Source: its CustomResourceDefinition, and Istio's validation."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from ambient.control.schema.istio import (
    Count,
    Duration,
    ExactHost,
    ExportTo,
    Host,
    Many,
    Percent,
    Regex,
    StringMatch,
    SubsetName,
    WholePercent,
)
from ambient.control.schema.shape import (
    Document,
    Label,
    Labels,
    Network,
    PortNumber,
    Shape,
    header_name,
    say,
    wrong,
    wrong_at,
)
from ambient.core.model.route import RetryOn
from ambient.core.patterns import group_count

AUTHORITY: Final = frozenset({":authority", "host"})
"""Headers that set the authority."""
CLAIMS: Final = "@request.auth.claims"
"""In place of a header's name: a claim of the caller's token."""
INERT_RETRY_WORDS: Final = frozenset(
    {"retriable-status-codes", "retriable-headers", "http3-post-connect-failure"}
)
"""What Envoy knows too: the first says nothing beside codes, the others have nothing to act on."""

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_GRPC_STATUSES: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_RETRY_WORDS: Final = sorted(word.value for word in RetryOn)
_LARGEST_BODY: Final = 1 << 20
"""Bytes. Source: Istio's validation."""
_REFERENCE: Final = re.compile(r"\\(.?)")


def _matched_header(name: str) -> str:
    return name if name.startswith(CLAIMS) else header_name(name)


def _edited_header(name: str) -> str:
    if name.startswith(":") or name.lower() in AUTHORITY:
        raise wrong(f"names {say(name)}, which cannot be added or removed; set it in headers.request.set")
    return header_name(name)


def _set_header(name: str) -> str:
    return name if name.lower() in AUTHORITY else _edited_header(name)


def _status(status: int) -> int:
    if not 200 <= status <= 599:
        raise wrong(f"is {status}; a status is 200-599")
    return status


def _redirect_code(code: int) -> int:
    if code not in _REDIRECTS:
        raise wrong(f"is {code}; it is one of {', '.join(map(str, _REDIRECTS))}")
    return code


def _grpc_status(status: str) -> str:
    if status not in _GRPC_STATUSES:
        raise wrong(f"is {say(status)}; it is a status of gRPC in capitals, such as UNAVAILABLE")
    return status


def _retry_on(text: str) -> str:
    for word in retry_words(text):
        is_status = word.isascii() and word.isdigit() and word in {str(status.value) for status in HTTPStatus}
        if not is_status and word not in _RETRY_WORDS and word not in INERT_RETRY_WORDS:
            raise wrong(f"has {say(word)}; it lists HTTP statuses and {', '.join(_RETRY_WORDS)}")
    return text


def retry_words(text: str) -> tuple[str, ...]:
    """The words of a ``retryOn`` list."""
    return tuple(word.strip() for word in text.split(",")) if text else ()


def _base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise wrong("is not text in base64; ambient answers with UTF-8") from error


def _at_least_one(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise wrong("is empty; list at least one value")
    return values


def _sni_host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if host != "*" and (not host or "*" in host.removeprefix("*.")):
        raise wrong(f"is {say(text)}; it is a host name, with *. before one for all below it")
    return host


MatchedHeader: TypeAlias = Annotated[str, AfterValidator(_matched_header)]
EditedHeader: TypeAlias = Annotated[str, AfterValidator(_edited_header)]
SetHeader: TypeAlias = Annotated[str, AfterValidator(_set_header)]
Status: TypeAlias = Annotated[int, AfterValidator(_status)]
SniHost: TypeAlias = Annotated[str, AfterValidator(_sni_host)]
Words: TypeAlias = Annotated[str, AfterValidator(_retry_on)]


class PortSelector(Shape):
    """A port of a service."""

    number: PortNumber


class Destination(Shape):
    """Where requests go."""

    host: ExactHost
    subset: SubsetName | Literal[""] = ""
    port: PortSelector | None = None


class RequestHeaders(Shape):
    """Changes to the headers of a request."""

    set: dict[SetHeader, str] = Field(default={})
    add: dict[EditedHeader, str] = Field(default={})
    remove: Many[EditedHeader] = ()


class ResponseHeaders(Shape):
    """Changes to the headers of a response."""

    set: dict[EditedHeader, str] = Field(default={})
    add: dict[EditedHeader, str] = Field(default={})
    remove: Many[EditedHeader] = ()


class Headers(Shape):
    """Changes to headers."""

    request: RequestHeaders = RequestHeaders()
    response: ResponseHeaders = ResponseHeaders()


class HttpRouteDestination(Shape):
    """A destination and its share."""

    destination: Destination
    weight: Count | None = None
    headers: Headers = Headers()


class RouteDestination(Shape):
    """A destination of connections and its share."""

    destination: Destination
    weight: Count | None = None


class HttpMatch(Shape):
    """What a request must be: all of it."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: dict[MatchedHeader, StringMatch] = Field(default={})
    port: PortNumber | None = None
    source_labels: Labels = Field(default={})
    gateways: Many[str] = ()
    query_params: dict[str, StringMatch] = Field(default={})
    ignore_uri_case: bool = False
    without_headers: dict[MatchedHeader, StringMatch] = Field(default={})
    source_namespace: Label | Literal[""] = ""
    stat_prefix: str = ""


class HttpRedirect(Shape):
    """An answer that sends the caller elsewhere."""

    uri: str = ""
    authority: str = ""
    port: PortNumber | None = None
    derive_port: Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None = None
    scheme: str = ""
    redirect_code: Annotated[int, AfterValidator(_redirect_code)] = 301
    prefix_rewrite: str = ""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.port is not None and self.derive_port is not None:
            raise wrong_at("derivePort", "is set together with port; keep one of them")
        if self.uri and self.prefix_rewrite:
            raise wrong_at("prefixRewrite", "is set together with uri; keep one of them")
        is_empty = not (self.uri or self.authority or self.scheme or self.prefix_rewrite)
        if is_empty and self.port is None and self.derive_port is None:
            raise wrong("changes nothing; give uri, authority, scheme, port or prefixRewrite")
        return self


class HttpBody(Shape):
    """A body, in one of two ways."""

    string: str | None = None
    bytes: Annotated[str, AfterValidator(_base64)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.string is not None and self.bytes is not None:
            raise wrong_at("bytes", "is set together with string; keep one of them")
        if len((self.string or self.bytes or "").encode()) > _LARGEST_BODY:
            raise wrong(f"is larger than {_LARGEST_BODY} bytes; answer with less")
        return self


class DirectResponse(Shape):
    """An answer that asks nobody."""

    status: Status
    body: HttpBody = HttpBody()


class Delegate(Shape):
    """Another VirtualService that has the rules."""

    name: str = ""
    namespace: str = ""


class RegexRewrite(Shape):
    """What a regex finds in the path, replaced."""

    match: Regex
    rewrite: str = ""

    @model_validator(mode="after")
    def _groups_are_there(self) -> Self:
        count = group_count(self.match)
        for found in _REFERENCE.finditer(self.rewrite):
            if found[1] != "\\" and not (found[1].isdigit() and int(found[1]) <= count):
                raise wrong_at(
                    "rewrite",
                    f"has {found[0]}; match has {count} groups, so write \\0 for what is found, up to \\{count}",
                )
        return self


class HttpRewrite(Shape):
    """Another path or authority."""

    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.uri and self.uri_regex_rewrite is not None:
            raise wrong_at("uriRegexRewrite", "is set together with uri; keep one of them")
        if not self.uri and not self.authority and self.uri_regex_rewrite is None:
            raise wrong("changes nothing; give uri, uriRegexRewrite or authority")
        return self


class HttpRetry(Shape):
    """When a request is sent again."""

    attempts: Count = 0
    per_try_timeout: Duration | None = None
    retry_on: Words = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None

    @model_validator(mode="after")
    def _has_attempts(self) -> Self:
        if not self.attempts and (self.per_try_timeout is not None or self.retry_on or self.backoff):
            raise wrong_at(
                "attempts", "is 0, so nothing is sent again; give at least 1, or leave out the rest"
            )
        return self


class Share(Shape):
    """A share of requests."""

    value: Percent = 0.0


class Delay(Shape):
    """Requests are held up."""

    percent: WholePercent | None = None
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Share | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.fixed_delay is None) == (self.exponential_delay is None):
            raise wrong("has no single delay; give fixedDelay")
        return self


class Abort(Shape):
    """Requests are answered with an error."""

    http_status: Status | None = None
    grpc_status: Annotated[str, AfterValidator(_grpc_status)] | None = None
    http2_error: str | None = None
    percentage: Share | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(error is not None for error in (self.http_status, self.grpc_status, self.http2_error)) != 1:
            raise wrong("has no single error; give one of httpStatus and grpcStatus")
        return self


class HttpFault(Shape):
    """Faults on purpose."""

    delay: Delay | None = None
    abort: Abort | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.delay is None and self.abort is None:
            raise wrong("has neither delay nor abort; give one, or leave it out")
        return self


class HttpMirror(Shape):
    """Where a copy of a share of requests goes."""

    destination: Destination
    percentage: Share | None = None


class CorsPolicy(Shape):
    """Which pages of other origins may call."""

    allow_origin: Many[str] = ()
    allow_origins: Many[StringMatch] = ()
    allow_methods: Many[str] = ()
    allow_headers: Many[str] = ()
    expose_headers: Many[str] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: Literal["UNSPECIFIED", "FORWARD", "IGNORE"] = "UNSPECIFIED"


class HttpRoute(Shape):
    """A rule for requests."""

    name: str = ""
    match: Many[HttpMatch] = ()
    route: Many[HttpRouteDestination] = ()
    redirect: HttpRedirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HttpRewrite | None = None
    timeout: Duration | None = None
    retries: HttpRetry | None = None
    fault: HttpFault | None = None
    mirror: Destination | None = None
    mirror_percent: WholePercent | None = Field(
        default=None, validation_alias=AliasChoices("mirrorPercent", "mirror_percent")
    )
    mirror_percentage: Share | None = None
    mirrors: Many[HttpMirror] = ()
    cors_policy: CorsPolicy | None = None
    headers: Headers = Headers()

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        actions = {
            "route": bool(self.route),
            "redirect": self.redirect is not None,
            "directResponse": self.direct_response is not None,
            "delegate": self.delegate is not None,
        }
        given = [name for name, is_given in actions.items() if is_given]
        if not given:
            raise wrong("does nothing; give one of route, redirect and directResponse")
        if len(given) > 1:
            raise wrong_at(given[1], f"is set together with {given[0]}; keep one of them")
        _check_weights(self.route)
        for field, value in (("rewrite", self.rewrite), ("fault", self.fault)):
            if value is not None and given[0] in {"redirect", "directResponse"}:
                raise wrong_at(
                    field, f"is set together with {given[0]}, which asks nobody; remove one of them"
                )
        if self.mirror is not None and self.mirrors:
            raise wrong_at("mirrors", "is set together with mirror; keep mirrors")
        self._check_prefix()
        return self

    def _check_prefix(self) -> None:
        if self.redirect is None or not self.redirect.prefix_rewrite:
            return
        if not self.match or any(match.uri is None or match.uri.prefix is None for match in self.match):
            raise wrong_at("redirect.prefixRewrite", "needs uri.prefix in every match; add it, or give uri")


class TlsMatch(Shape):
    """What a TLS connection must be: all of it."""

    sni_hosts: Annotated[Many[SniHost], AfterValidator(_at_least_one)]
    destination_subnets: Many[Network] = ()
    port: PortNumber | None = None
    source_labels: Labels = Field(default={})
    gateways: Many[str] = ()
    source_namespace: Label | Literal[""] = ""


class _L4Route(Shape):
    route: Many[RouteDestination] = ()

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if not self.route:
            raise wrong_at("route", "is missing; name at least one destination")
        _check_weights(self.route)
        return self


class TlsRoute(_L4Route):
    """A rule for TLS that is passed on as it is."""

    match: Annotated[Many[TlsMatch], AfterValidator(_at_least_one)]


class TcpMatch(Shape):
    """What a connection must be: all of it."""

    destination_subnets: Many[Network] = ()
    port: PortNumber | None = None
    source_subnet: str = ""
    source_labels: Labels = Field(default={})
    gateways: Many[str] = ()
    source_namespace: Label | Literal[""] = ""


class TcpRoute(_L4Route):
    """A rule for connections."""

    match: Many[TcpMatch] = ()


class VirtualServiceSpec(Shape):
    """networking.istio.io VirtualService."""

    hosts: Many[Host] = ()
    gateways: Many[str] = ()
    http: Many[HttpRoute] = ()
    tls: Many[TlsRoute] = ()
    tcp: Many[TcpRoute] = ()
    export_to: Many[ExportTo] = ()

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.http and not self.tls and not self.tcp:
            raise wrong("has no rules; give http, tls or tcp")
        if not self.hosts and self.gateways:
            raise wrong_at("hosts", "is missing; name the hosts that the rules are for")
        for i, host in enumerate(self.hosts):
            if host in self.hosts[:i]:
                raise wrong_at(f"hosts[{i}]", f"is {say(host)} again; name each host once")
        for i, rule in enumerate(self.tls):
            for j, match in enumerate(rule.match):
                for k, name in enumerate(match.sni_hosts):
                    if not any(_is_within(name, host) for host in self.hosts):
                        raise wrong_at(
                            f"tls[{i}].match[{j}].sniHosts[{k}]",
                            f"is {say(name)}, which is none of spec.hosts; add it there",
                        )
        return self


class VirtualServiceDocument(Document):
    """networking.istio.io VirtualService."""

    spec: VirtualServiceSpec


def _check_weights(route: Sequence[HttpRouteDestination | RouteDestination]) -> None:
    if len(route) > 1 and not any(destination.weight for destination in route):
        raise wrong_at("route", "has only weights of 0; give each destination the share that it should get")


def _is_within(name: str, host: str) -> bool:
    """Whether all names that ``name`` stands for are among those of ``host``."""
    return host in {name, "*"} or (host.startswith("*.") and name.removeprefix("*").endswith(host[1:]))
