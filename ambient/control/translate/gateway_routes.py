"""gateway.networking.k8s.io: HTTPRoute, GRPCRoute, TLSRoute and TCPRoute, as far as a Service is their parent.

A filter or a backend that nothing here carries out is not left out, as it may be there to stop something: its requests
fail with 500, which is what the Gateway API asks for, and a warning says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from ambient.control.objects import Route, ServiceRef
from ambient.control.problem import Problem, Reason
from ambient.control.schema import gateway_routes as schema
from ambient.control.schema.shape import Metadata
from ambient.control.translate import linkerd_annotations
from ambient.control.translate.kind import Kind, Translated
from ambient.control.translate.kubernetes import DOMAIN
from ambient.control.translate.linkerd_annotations import RouteSettings
from ambient.core.model.route import (
    DEFAULT_RETRY,
    Backend,
    Cors,
    Filters,
    Forward,
    HeaderEdits,
    HeaderMatch,
    Mirror,
    Origin,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Protocol,
    QueryMatch,
    Redirect,
    Retry,
    RetryOn,
    Rewrite,
    RouteMatch,
    RouteRule,
    TextMatch,
    TextMatchKind,
    Timeouts,
)
from ambient.core.model.traffic import Persistence, PersistenceKind

HTTP_VERSIONS: Final = tuple(f"{schema.GROUP}/{version}" for version in ("v1", "v1beta1", "v1alpha2"))
GRPC_VERSIONS: Final = tuple(f"{schema.GROUP}/{version}" for version in ("v1", "v1alpha2"))
TLS_VERSIONS: Final = tuple(f"{schema.GROUP}/{version}" for version in ("v1", "v1alpha3", "v1alpha2"))
TCP_VERSIONS: Final = GRPC_VERSIONS

CONNECTION_ERRORS: Final = frozenset(
    {RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM, RetryOn.RESET, RetryOn.RESET_BEFORE_REQUEST}
)
"""Tried again whenever there is a ``retry``. Source: GEP-1731."""

_PATHS: Final = {
    "Exact": PathMatchKind.EXACT,
    "PathPrefix": PathMatchKind.SEGMENTS,
    "RegularExpression": PathMatchKind.REGEX,
}
_TEXTS: Final = {"Exact": TextMatchKind.EXACT, "RegularExpression": TextMatchKind.REGEX}
_WELL_KNOWN_PORTS: Final = {"http": 80, "https": 443}


def _http_route(read: schema.HttpRouteDocument, _: tuple[str, ...]) -> Translated:
    settings, warnings = linkerd_annotations.of_route(read.metadata.annotations, Protocol.HTTP)
    route = _Route("HTTPRoute", read.metadata, list(warnings))
    route.note_hostnames(read.spec.hostnames)
    rules = []
    for i, rule in enumerate(read.spec.rules):
        where = f"spec.rules[{i}]"
        done = route.filters(rule.filters, f"{where}.filters")
        backends = tuple(
            route.backend(backend, f"{where}.backendRefs[{j}]", done.trouble)
            for j, backend in enumerate(rule.backend_refs)
        )
        rules.append(
            RouteRule(
                origin=route.origin(where),
                action=done.redirect if done.redirect and not done.trouble else Forward(backends),
                matches=tuple(
                    route.http_match(match, f"{where}.matches[{j}]")
                    for j, match in enumerate(rule.matches or (schema.HttpMatch(),))
                ),
                name=rule.name or "",
                filters=done.filters,
                timeouts=_timeouts(rule.timeouts, settings),
                retry=_retry(rule.retry, settings),
                persistence=persistence(rule.session_persistence),
            )
        )
    return route.translated(Protocol.HTTP, read.spec, rules)


def _grpc_route(read: schema.GrpcRouteDocument, _: tuple[str, ...]) -> Translated:
    settings, warnings = linkerd_annotations.of_route(read.metadata.annotations, Protocol.GRPC)
    route = _Route("GRPCRoute", read.metadata, list(warnings))
    route.note_hostnames(read.spec.hostnames)
    if not read.spec.rules:
        route.warn("spec.rules", "is missing, so every call is answered UNIMPLEMENTED; write a rule")
    rules = []
    for i, rule in enumerate(read.spec.rules):
        where = f"spec.rules[{i}]"
        done = route.filters(rule.filters, f"{where}.filters")
        backends = tuple(
            route.backend(backend, f"{where}.backendRefs[{j}]", done.trouble)
            for j, backend in enumerate(rule.backend_refs)
        )
        rules.append(
            RouteRule(
                origin=route.origin(where),
                action=Forward(backends),
                matches=tuple(
                    route.grpc_match(match, f"{where}.matches[{j}]")
                    for j, match in enumerate(rule.matches or (schema.GrpcMatch(),))
                ),
                name=rule.name or "",
                filters=done.filters,
                timeouts=_timeouts(None, settings),
                retry=_retry(None, settings),
                persistence=persistence(rule.session_persistence),
            )
        )
    return route.translated(Protocol.GRPC, read.spec, rules)


def _tls_route(read: schema.TlsRouteDocument, _: tuple[str, ...]) -> Translated:
    route = _Route("TLSRoute", read.metadata)
    match = RouteMatch(server_names=read.spec.hostnames)
    return route.translated(Protocol.TLS, read.spec, route.connection_rules(read.spec.rules, match))


def _tcp_route(read: schema.TcpRouteDocument, _: tuple[str, ...]) -> Translated:
    route = _Route("TCPRoute", read.metadata)
    return route.translated(Protocol.TCP, read.spec, route.connection_rules(read.spec.rules, RouteMatch()))


@dataclass(slots=True)
class _Done:
    """What a list of filters comes to."""

    filters: Filters = Filters()  # noqa: RUF009
    redirect: Redirect | None = None
    trouble: str = ""
    """Why requests must fail; empty: they need not."""


@dataclass(frozen=True, slots=True)
class _Route:
    """One route's translation, with what it has to say on the way."""

    kind: str
    metadata: Metadata
    warnings: list[Problem] = field(default_factory=list)

    def translated(
        self, protocol: Protocol, spec: schema.RouteSpec, rules: Sequence[RouteRule]
    ) -> Translated:
        parents = tuple(self._parents(spec))
        if spec.use_default_gateways is not None:
            self.warn("spec.useDefaultGateways", "has no effect; gateways are none of the mesh's")
        route = Route(
            kind=self.kind,
            namespace=self.metadata.namespace,
            name=self.metadata.name,
            created=self.metadata.creation_timestamp or "",
            protocol=protocol,
            parents=parents,
            rules=tuple(rules),
        )
        return Translated(route, tuple(self.warnings))

    def warn(self, where: str, text: str, reason: Reason = Reason.NO_EFFECT) -> None:
        self.warnings.append(Problem(where, text, reason))

    def origin(self, where: str) -> Origin:
        return Origin(self.kind, self.metadata.namespace, self.metadata.name, where)

    def note_hostnames(self, hostnames: Sequence[str]) -> None:
        if hostnames:
            self.warn(
                "spec.hostnames",
                "has no effect, as a route of the mesh is found by its Service; match the header Host in a rule",
            )

    def _parents(self, spec: schema.RouteSpec) -> list[ServiceRef]:
        found = []
        for i, ref in enumerate(spec.parent_refs):
            where = f"spec.parentRefs[{i}]"
            if not ref.is_service:
                self.warn(
                    where,
                    f"is a {ref.kind} of {ref.group or 'the core group'}, so it is not attached there; "
                    "the mesh's parents are Services, with group: '' and kind: Service",
                    Reason.PARENT,
                )
            else:
                namespace = ref.namespace or self.metadata.namespace
                found.append(ServiceRef(namespace, ref.name, ref.port, ref.section_name or ""))
        if not spec.parent_refs:
            self.warn(
                "spec.parentRefs", "is missing, so the route has no effect; name a Service", Reason.PARENT
            )
        return found

    # What a request must be

    def http_match(self, match: schema.HttpMatch, where: str) -> RouteMatch:
        return RouteMatch(
            path=_path(match.path),
            method=None if match.method is None else TextMatch(TextMatchKind.EXACT, match.method),
            headers=self._headers(match.headers, f"{where}.headers"),
            queries=tuple(
                QueryMatch(query.name, _text(query))
                for query in self._first(match.query_params, f"{where}.queryParams", str)
            ),
        )

    def grpc_match(self, match: schema.GrpcMatch, where: str) -> RouteMatch:
        path = None if match.method is None else _grpc_path(match.method)
        return RouteMatch(path=path, headers=self._headers(match.headers, f"{where}.headers"))

    def _headers(self, headers: Sequence[schema.ValueMatch], where: str) -> tuple[HeaderMatch, ...]:
        return tuple(
            HeaderMatch(header.name.lower(), _text(header))
            for header in self._first(headers, where, str.lower)
        )

    def _first(
        self, matches: Sequence[schema.ValueMatch], where: str, key: Callable[[str], str]
    ) -> list[schema.ValueMatch]:
        """Of several matches of one name the first counts. Source: HTTPHeaderMatch."""
        kept: dict[str, schema.ValueMatch] = {}
        for i, match in enumerate(matches):
            if key(match.name) in kept:
                self.warn(
                    f"{where}[{i}]", f"has no effect, as {match.name} is matched before; remove one of them"
                )
            else:
                kept[key(match.name)] = match
        return list(kept.values())

    # What is done with it

    def filters(self, filters: Sequence[schema.GrpcFilter | schema.HttpFilter], where: str) -> _Done:
        done = _Done()
        for i, filter_ in enumerate(filters):
            self._filter(done, filter_, f"{where}[{i}]")
        return done

    def _filter(self, done: _Done, filter_: schema.GrpcFilter | schema.HttpFilter, where: str) -> None:
        filters = done.filters
        if filter_.request_header_modifier is not None:
            done.filters = replace(filters, request_headers=_edits(filter_.request_header_modifier))
        elif filter_.response_header_modifier is not None:
            done.filters = replace(filters, response_headers=_edits(filter_.response_header_modifier))
        elif filter_.request_mirror is not None:
            mirror = self._mirror(filter_.request_mirror, f"{where}.requestMirror")
            done.filters = replace(filters, mirrors=(*filters.mirrors, mirror))
        elif isinstance(filter_, schema.HttpFilter) and filter_.request_redirect is not None:
            done.redirect = _redirect(filter_.request_redirect)
        elif isinstance(filter_, schema.HttpFilter) and filter_.url_rewrite is not None:
            path = filter_.url_rewrite.path
            rewrite = Rewrite(_rewritten(path), filter_.url_rewrite.hostname or "")
            done.filters = replace(filters, rewrite=rewrite)
        elif isinstance(filter_, schema.HttpFilter) and filter_.cors is not None:
            done.filters = replace(filters, cors=_cors(filter_.cors))
        else:
            text = f"is {filter_.type}, which is not carried out, so its requests fail with 500; remove it"
            self.warn(f"{where}.type", text, Reason.UNSUPPORTED)
            done.trouble = f"{where}.type {text}"

    def _mirror(self, mirror: schema.RequestMirror, where: str) -> Mirror:
        share = 1.0
        if mirror.percent is not None:
            share = mirror.percent / 100
        elif mirror.fraction is not None:
            share = mirror.fraction.numerator / mirror.fraction.denominator
        return Mirror(self._service(mirror.backend_ref, f"{where}.backendRef"), share)

    def backend(
        self,
        ref: schema.HttpBackendRef | schema.GrpcBackendRef | schema.BackendRef,
        where: str,
        trouble: str = "",
    ) -> Backend:
        done = _Done()
        if isinstance(ref, schema.HttpBackendRef | schema.GrpcBackendRef):
            done = self.filters(ref.filters, f"{where}.filters")
        if done.redirect is not None:
            text = "has a RequestRedirect, which is only carried out for a whole rule, so its requests fail with 500"
            self.warn(f"{where}.filters", text, Reason.UNSUPPORTED)
            done.trouble = f"{where}.filters {text}"
        backend = self._service(ref, where)
        return replace(
            backend,
            weight=ref.weight,
            filters=done.filters,
            trouble=backend.trouble or trouble or done.trouble,
        )

    def _service(self, ref: schema.ServiceRef, where: str) -> Backend:
        namespace = ref.namespace or self.metadata.namespace
        if ref.is_service:
            return Backend(f"{namespace}/{ref.name}.{namespace}.{DOMAIN}", ref.port)
        text = f"is {ref.kind}, which cannot serve, so its requests fail with 500; name a Service"
        self.warn(f"{where}.kind", text, Reason.KIND)
        return Backend(f"{namespace}/{ref.name}", ref.port, trouble=f"{where}.kind {text}")

    def connection_rules(self, rules: Sequence[schema.ConnectionRule], match: RouteMatch) -> list[RouteRule]:
        for i in range(1, len(rules)):
            self.warn(
                f"spec.rules[{i}]", "has no effect, as the first rule is for every connection; remove it"
            )
        where, rule = "spec.rules[0]", rules[0]
        backends = tuple(
            self.backend(backend, f"{where}.backendRefs[{j}]") for j, backend in enumerate(rule.backend_refs)
        )
        return [RouteRule(self.origin(where), Forward(backends), (match,), rule.name or "")]


def persistence(persistence: schema.SessionPersistence | None) -> Persistence | None:
    """How a client stays with an endpoint, for a rule or a service."""
    if persistence is None:
        return None
    cookie = persistence.cookie_config
    return Persistence(
        kind=PersistenceKind(persistence.type.lower()),
        name=persistence.session_name or "",
        lifetime=persistence.absolute_timeout,
        is_permanent=cookie is not None and cookie.lifetime_type == "Permanent",
    )


def _path(path: schema.PathMatch) -> PathMatch:
    kind = _PATHS[path.type]
    value = path.value
    if kind is PathMatchKind.SEGMENTS:
        value = value.removesuffix("/") or "/"  # It counts for nothing. Source: HTTPPathMatch.
    return PathMatch(kind, value)


def _grpc_path(method: schema.GrpcMethodMatch) -> PathMatch:
    """What a call's path must be, which is ``/SERVICE/METHOD``."""
    any_name = "[^/]+"
    if method.type == "RegularExpression":
        service = f"(?:{method.service})" if method.service else any_name
        name = f"(?:{method.method})" if method.method else any_name
        return PathMatch(PathMatchKind.REGEX, f"/{service}/{name}")
    if not method.service:
        return PathMatch(PathMatchKind.REGEX, f"/{any_name}/{method.method}")
    if not method.method:
        return PathMatch(PathMatchKind.SEGMENTS, f"/{method.service}")
    return PathMatch(PathMatchKind.EXACT, f"/{method.service}/{method.method}")


def _text(match: schema.ValueMatch) -> TextMatch:
    return TextMatch(_TEXTS[match.type], match.value)


def _edits(modifier: schema.HeaderModifier) -> HeaderEdits:
    return HeaderEdits(
        set=_by_name(modifier.set),
        add=_by_name(modifier.add),
        remove=tuple(dict.fromkeys(name.lower() for name in modifier.remove)),
    )


def _by_name(headers: Sequence[schema.Header]) -> tuple[tuple[str, str], ...]:
    """Of several headers that differ in case alone the first counts. Source: HTTPHeader."""
    values: dict[str, str] = {}
    for header in headers:
        values.setdefault(header.name.lower(), header.value)
    return tuple(values.items())


def _rewritten(path: schema.PathModifier | None) -> PathRewrite | None:
    if path is None:
        return None
    if path.type == "ReplaceFullPath":
        return PathRewrite(PathRewriteKind.FULL, path.replace_full_path or "")
    return PathRewrite(PathRewriteKind.PREFIX, path.replace_prefix_match or "")


def _redirect(redirect: schema.RequestRedirect) -> Redirect:
    """A scheme brings its port with it, unless another is named."""
    return Redirect(
        status=redirect.status_code,
        scheme=redirect.scheme or "",
        authority=redirect.hostname or "",
        port=redirect.port or _WELL_KNOWN_PORTS.get(redirect.scheme or ""),
        path=_rewritten(redirect.path),
    )


def _cors(cors: schema.Cors) -> Cors:
    return Cors(
        allow_origins=tuple(_cors_origin(origin.lower()) for origin in cors.allow_origins),
        allow_methods=cors.allow_methods,
        allow_headers=tuple(name.lower() for name in cors.allow_headers),
        expose_headers=tuple(name.lower() for name in cors.expose_headers),
        max_age=timedelta(seconds=cors.max_age),
        allow_credentials=cors.allow_credentials,
    )


def _cors_origin(origin: str) -> TextMatch:
    """Browsers leave the usual port out."""
    if origin == "*":
        return TextMatch(TextMatchKind.PRESENT, "")
    scheme, _, host = origin.partition("://")
    host = host.removesuffix(f":{_WELL_KNOWN_PORTS[scheme]}")
    if host.startswith("*"):
        return TextMatch(TextMatchKind.REGEX, f"{scheme}://[^/:]+{re.escape(host[1:])}")
    return TextMatch(TextMatchKind.EXACT, f"{scheme}://{host}")


def _timeouts(timeouts: schema.Timeouts | None, settings: RouteSettings | None) -> Timeouts:
    """Annotations count before fields, and what a route is annotated with before all of its Service's."""
    own = timeouts or schema.Timeouts()
    if settings is None:
        return Timeouts(request=own.request, attempt=own.backend_request)
    told = settings.timeouts
    off = timedelta()
    return Timeouts(
        request=_known(told.request, own.request, off),
        attempt=_known(told.attempt, own.backend_request, off),
        response=_known(told.response, off),
        idle=_known(told.idle, off),
        last_attempt_unlimited=told.last_attempt_unlimited,
    )


def _known(*values: timedelta | None) -> timedelta | None:
    return next((value for value in values if value is not None), None)


def _retry(retry: schema.Retry | None, settings: RouteSettings | None) -> Retry | None:
    if settings is not None and settings.retry is not None:
        return settings.retry
    if retry is not None:
        return Retry(
            attempts=retry.attempts or DEFAULT_RETRY.attempts,
            on=CONNECTION_ERRORS,
            codes=tuple((code, code) for code in sorted(set(retry.codes))),
            backoff=retry.backoff,
            after_timeout=True,
            any_method=True,
        )
    return None if settings is None else DEFAULT_RETRY


KINDS: Final = (
    Kind("HTTPRoute", HTTP_VERSIONS, schema.HttpRouteDocument, _http_route),
    Kind("GRPCRoute", GRPC_VERSIONS, schema.GrpcRouteDocument, _grpc_route),
    Kind("TLSRoute", TLS_VERSIONS, schema.TlsRouteDocument, _tls_route),
    Kind("TCPRoute", TCP_VERSIONS, schema.TcpRouteDocument, _tcp_route),
)
