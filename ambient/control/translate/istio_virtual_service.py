"""networking.istio.io VirtualService.

What Istio's own translation does to Envoy's routes is kept where it can be seen: each match has its own rewrite,
headers are removed before others are set, `uri` without a match replaces the first slash. Retries that an object asks
for are of every method, as in Istio; a rule that asks for none has what every other has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeAlias

from immutables import Map

from ambient.control.objects import VirtualService
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import istio_virtual_service as schema
from ambient.control.schema.istio import StringMatch
from ambient.control.translate.istio import comparing, exported_to, service_key, text_match, whole_host
from ambient.control.translate.kind import Kind, Translated
from ambient.core.model.route import (
    DEFAULT_RETRY,
    Action,
    Backend,
    Cors,
    Fault,
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
    Respond,
    Retry,
    RetryOn,
    Rewrite,
    RouteMatch,
    RouteRule,
    RouteTable,
    TextMatch,
    TextMatchKind,
    Timeouts,
    Unmatched,
)

VERSIONS: Final = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
MESH: Final = "mesh"
"""In place of a gateway's name: the callers of the mesh."""

_NOT_HEADERS: Final = frozenset({"uri", "scheme", "method", "authority"})
"""Names under `headers` that count for nothing. Source: Istio's HTTPMatchRequest."""
_RETRY_ON: Final = frozenset(word.value for word in RetryOn)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ANY_TEXT: Final = TextMatch(TextMatchKind.PREFIX, "")
_Match: TypeAlias = schema.HttpMatch | schema.TlsMatch | schema.TcpMatch
_Destination: TypeAlias = schema.HttpRouteDestination | schema.RouteDestination


def _virtual_service(read: schema.VirtualServiceDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    translation = _Translation(metadata.namespace, metadata.name)
    gateways = spec.gateways or (MESH,)
    tables: tuple[RouteTable, ...] = ()
    if not spec.hosts:
        translation.warn("spec.hosts", "is missing, so the object is a delegate, and has no effect")
    elif MESH not in gateways:
        translation.warn(
            "spec.gateways", f"does not list {MESH}, so the object has no effect; ambient has no gateways"
        )
    else:
        translation.warn_of_gateways("spec.gateways", gateways)
        tables = tuple(translation.tables(spec))
    hosts = (
        tuple(dict.fromkeys(whole_host(host, metadata.namespace) for host in spec.hosts)) if tables else ()
    )
    virtual_service = VirtualService(
        namespace=metadata.namespace,
        name=metadata.name,
        created=metadata.creation_timestamp or "",
        hosts=hosts,
        tables=tables,
        exported_to=exported_to(spec.export_to, metadata.namespace),
    )
    return Translated(virtual_service, tuple(translation.warnings))


class _Translation:
    """One object's translation, with what it has to say on the way."""

    def __init__(self, namespace: str, name: str) -> None:
        self._namespace, self._name = namespace, name
        self.warnings: list[Problem] = []

    def warn(self, field: str, text: str) -> None:
        """Say that something has no effect."""
        self.warnings.append(no_effect(field, text))

    def warn_of_gateways(self, field: str, gateways: Sequence[str]) -> None:
        """Say that gateways other than the mesh have no effect."""
        for i, gateway in enumerate(gateways):
            if gateway != MESH:
                self.warn(f"{field}[{i}]", f'is "{gateway}" and has no effect; ambient has no gateways')

    def tables(self, spec: schema.VirtualServiceSpec) -> Iterator[RouteTable]:
        """A table for each protocol that has rules."""
        http = tuple(
            rule for i, route in enumerate(spec.http) for rule in self._http(route, f"spec.http[{i}]")
        )
        tls = tuple(rule for i, route in enumerate(spec.tls) for rule in self._tls(route, f"spec.tls[{i}]"))
        tcp = tuple(rule for i, route in enumerate(spec.tcp) for rule in self._tcp(route, f"spec.tcp[{i}]"))
        if http:
            yield RouteTable(Protocol.HTTP, http, Unmatched.NOT_FOUND)
        if tls:
            yield RouteTable(Protocol.TLS, tls, Unmatched.SERVICE)
        if tcp:
            yield RouteTable(Protocol.TCP, tcp, Unmatched.SERVICE)

    # Rules

    def _http(self, route: schema.HttpRoute, where: str) -> Iterator[RouteRule]:
        action = self._action(route, where)
        matches = tuple(self._http_matches(route, where)) if route.match else (RouteMatch(),)
        if action is None:
            return
        filters = self._filters(route, where)
        timeouts = Timeouts(
            request=route.timeout, attempt=route.retries.per_try_timeout if route.retries else None
        )
        retry = self._retry(route.retries, f"{where}.retries")
        for path, group in groupby((_rewritten(match, route.rewrite) for match in matches), itemgetter(1)):
            authority = filters.rewrite.authority if filters.rewrite else ""
            yield RouteRule(
                origin=self._origin(where),
                action=action,
                matches=tuple(match for match, _ in group),
                name=route.name,
                filters=replace(filters, rewrite=Rewrite(path, authority) if path or authority else None),
                timeouts=timeouts,
                retry=retry,
            )

    def _tls(self, route: schema.TlsRoute, where: str) -> Iterator[RouteRule]:
        matches = tuple(
            RouteMatch(
                ports=_ports(match.port),
                source_namespace=match.source_namespace,
                source_labels=Map(match.source_labels),
                server_names=() if "*" in match.sni_hosts else match.sni_hosts,
                destinations=match.destination_subnets,
            )
            for i, match in enumerate(route.match)
            if self._is_of_the_mesh(match, f"{where}.match[{i}]")
        )
        if matches:
            yield RouteRule(self._origin(where), self._forward(route.route, where), matches)

    def _tcp(self, route: schema.TcpRoute, where: str) -> Iterator[RouteRule]:
        matches: list[RouteMatch] = []
        for i, match in enumerate(route.match):
            if match.source_subnet:
                self.warn(
                    f"{where}.match[{i}].sourceSubnet", "has no effect; Istio does not look at it either"
                )
            if self._is_of_the_mesh(match, f"{where}.match[{i}]"):
                matches.append(
                    RouteMatch(
                        ports=_ports(match.port),
                        source_namespace=match.source_namespace,
                        source_labels=Map(match.source_labels),
                        destinations=match.destination_subnets,
                    )
                )
        if matches or not route.match:
            yield RouteRule(
                self._origin(where), self._forward(route.route, where), tuple(matches) or (RouteMatch(),)
            )

    def _origin(self, field: str) -> Origin:
        return Origin("VirtualService", self._namespace, self._name, field)

    # What a request must be

    def _is_of_the_mesh(self, match: _Match, where: str) -> bool:
        if match.gateways and MESH not in match.gateways:
            self.warn(
                f"{where}.gateways",
                f"does not list {MESH}, so the match never holds; ambient has no gateways",
            )
            return False
        self.warn_of_gateways(f"{where}.gateways", match.gateways)
        return True

    def _http_matches(self, route: schema.HttpRoute, where: str) -> Iterator[RouteMatch]:
        for i, match in enumerate(route.match):
            here = f"{where}.match[{i}]"
            if self._is_of_the_mesh(match, here) and self._knows_its_headers(match, here):
                yield self._http_match(match, here)

    def _knows_its_headers(self, match: schema.HttpMatch, where: str) -> bool:
        for field, headers in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
            for name in headers:
                if name.startswith(schema.CLAIMS):
                    self.warn(
                        f'{where}.{field}["{name}"]',
                        "cannot be asked, so the match never holds; match a header",
                    )
                    return False
        return True

    def _http_match(self, match: schema.HttpMatch, where: str) -> RouteMatch:
        if match.name:
            self.warn(f"{where}.name", "has no effect; the name of the route is what is logged")
        if match.stat_prefix:
            self.warn(f"{where}.statPrefix", "has no effect; requests are counted by service")
        if match.ignore_uri_case and match.uri is not None and match.uri.regex is not None:
            self.warn(f"{where}.ignoreUriCase", "has no effect on a regex; begin it with (?i)")
        return RouteMatch(
            path=_path_match(match.uri, ignore_case=match.ignore_uri_case),
            method=comparing(match.method),
            scheme=comparing(match.scheme),
            authority=comparing(match.authority),
            headers=(
                *self._header_matches(match.headers, f"{where}.headers", inverted=False),
                *self._header_matches(match.without_headers, f"{where}.withoutHeaders", inverted=True),
            ),
            queries=tuple(QueryMatch(name, text_match(value)) for name, value in match.query_params.items()),
            ports=_ports(match.port),
            source_namespace=match.source_namespace,
            source_labels=Map(match.source_labels),
        )

    def _header_matches(
        self, headers: Mapping[str, StringMatch], where: str, *, inverted: bool
    ) -> Iterator[HeaderMatch]:
        for name, match in headers.items():
            if name in _NOT_HEADERS:
                self.warn(f"{where}.{name}", f"has no effect; {name} is matched beside headers")
            else:
                yield HeaderMatch(name.lower(), text_match(match), inverted)

    # What is done with it

    def _action(self, route: schema.HttpRoute, where: str) -> Action | None:
        if route.delegate is not None:
            self.warn(
                f"{where}.delegate",
                "is not followed, so the rule has no effect; write the delegate's rules here",
            )
            return None
        if route.redirect is not None:
            return self._redirect(route.redirect, f"{where}.redirect")
        if route.direct_response is not None:
            body = route.direct_response.body
            return Respond(route.direct_response.status, body.string or body.bytes or "")
        return self._forward(route.route, where)

    def _forward(self, route: Sequence[_Destination], where: str) -> Forward:
        backends: list[Backend] = []
        for i, entry in enumerate(route):
            here = f"{where}.route[{i}]"
            if len(route) > 1 and entry.weight is None:
                self.warn(f"{here}.weight", "is missing, so nothing is sent there; give its share")
            weight = (entry.weight or 0) if len(route) > 1 else 1
            filters = (
                self._header_filters(entry.headers, f"{here}.headers")
                if isinstance(entry, schema.HttpRouteDestination)
                else Filters()
            )
            backends.append(replace(self._backend(entry.destination), weight=weight, filters=filters))
        return Forward(tuple(backends))

    def _backend(self, destination: schema.Destination) -> Backend:
        return Backend(
            service=service_key(whole_host(destination.host, self._namespace)),
            port=destination.port.number if destination.port else None,
            subset=destination.subset,
        )

    def _redirect(self, redirect: schema.HttpRedirect, where: str) -> Redirect:
        port, path = redirect.port, None
        if redirect.derive_port == "FROM_PROTOCOL_DEFAULT":
            port = _DEFAULT_PORTS.get(redirect.scheme)
            if port is None:
                self.warn(
                    f"{where}.derivePort", "has no effect without scheme: http or https; add it, or give port"
                )
        if redirect.uri:
            path = PathRewrite(PathRewriteKind.FULL, redirect.uri)
        if redirect.prefix_rewrite:
            path = PathRewrite(PathRewriteKind.PREFIX, redirect.prefix_rewrite)
        return Redirect(redirect.redirect_code, redirect.scheme, redirect.authority, port, path)

    def _filters(self, route: schema.HttpRoute, where: str) -> Filters:
        filters = self._header_filters(route.headers, f"{where}.headers")
        if route.rewrite is not None and route.rewrite.authority:
            filters = replace(filters, rewrite=Rewrite(authority=route.rewrite.authority))
        return replace(
            filters,
            mirrors=tuple(self._mirrors(route)),
            cors=self._cors(route.cors_policy, f"{where}.corsPolicy") if route.cors_policy else None,
            fault=self._fault(route.fault, f"{where}.fault") if route.fault else None,
        )

    def _header_filters(self, headers: schema.Headers, where: str) -> Filters:
        request, response = headers.request, headers.response
        for side, edits in (("request", request), ("response", response)):
            for field, values in (("set", edits.set), ("add", edits.add)):
                for name, value in values.items():
                    if "%" in value:
                        self.warn(
                            f"{where}.{side}.{field}.{name}", "is sent as it is; Envoy's %…% is not replaced"
                        )
        authority = next(
            (value for name, value in request.set.items() if name.lower() in schema.AUTHORITY), ""
        )
        return Filters(
            request_headers=_edits(request),
            response_headers=_edits(response),
            rewrite=Rewrite(authority=authority) if authority else None,
        )

    def _mirrors(self, route: schema.HttpRoute) -> Iterator[Mirror]:
        mirrors = [(mirror.destination, mirror.percentage) for mirror in route.mirrors]
        if route.mirror is not None:
            share = route.mirror_percentage
            if share is None and route.mirror_percent is not None:
                share = schema.Share(value=route.mirror_percent)
            mirrors = [(route.mirror, share)]
        for destination, percentage in mirrors:
            if percentage is None or percentage.value:
                yield Mirror(
                    self._backend(destination), 1.0 if percentage is None else percentage.value / 100
                )

    def _cors(self, cors: schema.CorsPolicy, where: str) -> Cors:
        if cors.unmatched_preflights == "IGNORE":
            self.warn(
                f"{where}.unmatchedPreflights", "is IGNORE and has no effect; such requests go to the service"
            )
        if cors.allow_origin and cors.allow_origins:
            self.warn(f"{where}.allowOrigin", "has no effect beside allowOrigins; remove it")
        origins = [text_match(origin) for origin in cors.allow_origins] or [
            TextMatch(TextMatchKind.EXACT, origin) for origin in cors.allow_origin
        ]
        return Cors(
            allow_origins=tuple(_ANY_TEXT if origin.value == "*" else origin for origin in origins),
            allow_methods=cors.allow_methods,
            allow_headers=cors.allow_headers,
            expose_headers=cors.expose_headers,
            max_age=cors.max_age,
            allow_credentials=cors.allow_credentials or False,
        )

    def _fault(self, fault: schema.HttpFault, where: str) -> Fault:
        delay, abort = fault.delay, fault.abort
        made = Fault()
        if delay is not None and delay.fixed_delay is None:
            self.warn(f"{where}.delay.exponentialDelay", "has no effect; give fixedDelay")
        elif delay is not None and delay.fixed_delay is not None:
            percentage = delay.percentage.value if delay.percentage else delay.percent
            share = self._share(percentage, f"{where}.delay.percentage", "no request is held up")
            made = replace(made, delay=delay.fixed_delay, delayed_share=share)
        if abort is not None and abort.http2_error is not None:
            self.warn(f"{where}.abort.http2Error", "has no effect; give httpStatus or grpcStatus")
        elif abort is not None:
            percentage = abort.percentage.value if abort.percentage else None
            made = replace(
                made,
                abort_status=abort.http_status or 0,
                abort_grpc_status=abort.grpc_status or "",
                aborted_share=self._share(percentage, f"{where}.abort.percentage", "no request is aborted"),
            )
        return made

    def _share(self, percentage: float | None, where: str, consequence: str) -> float:
        if percentage is None:
            self.warn(where, f"is missing, so {consequence}; give its value, such as 100")
        return (percentage or 0.0) / 100

    def _retry(self, retries: schema.HttpRetry | None, where: str) -> Retry | None:
        if retries is None:
            return None
        if retries.retry_remote_localities is not None:
            self.warn(f"{where}.retryRemoteLocalities", "has no effect; another try goes to any endpoint")
        if retries.retry_ignore_previous_hosts is False:
            self.warn(
                f"{where}.retryIgnorePreviousHosts", "is false and has no effect; another endpoint is tried"
            )
        words = schema.retry_words(retries.retry_on)
        for word in words:
            if word in schema.INERT_RETRY_WORDS:
                self.warn(
                    f"{where}.retryOn", f"has {word}, which has no effect; list the statuses themselves"
                )
        on = frozenset(RetryOn(word) for word in words if word in _RETRY_ON)
        codes = tuple((int(word), int(word)) for word in words if word.isdigit())
        return Retry(
            attempts=retries.attempts,
            on=on if words else DEFAULT_RETRY.on,
            codes=codes,
            backoff=retries.backoff,
            any_method=True,
        )


def _path_match(uri: StringMatch | None, *, ignore_case: bool) -> PathMatch | None:
    if uri is None:
        return None
    if uri.exact is not None:
        return PathMatch(PathMatchKind.EXACT, uri.exact, ignore_case)
    if uri.prefix is not None:
        return PathMatch(PathMatchKind.PREFIX, uri.prefix, ignore_case)
    if uri.regex is not None:
        return PathMatch(PathMatchKind.REGEX, uri.regex)
    return None


def _rewritten(
    match: RouteMatch, rewrite: schema.HttpRewrite | None
) -> tuple[RouteMatch, PathRewrite | None]:
    """A match and the path that goes with it: what replaces a prefix depends on what matched."""
    if rewrite is None:
        return match, None
    if rewrite.uri_regex_rewrite is not None:
        regex = rewrite.uri_regex_rewrite
        return match, PathRewrite(PathRewriteKind.REGEX, regex.rewrite, regex.match)
    if not rewrite.uri:
        return match, None
    if match.path is None:
        match = replace(match, path=PathMatch(PathMatchKind.PREFIX, "/"))
    is_prefix = match.path is not None and match.path.kind is PathMatchKind.PREFIX
    return match, PathRewrite(PathRewriteKind.PREFIX if is_prefix else PathRewriteKind.FULL, rewrite.uri)


def _edits(edits: schema.RequestHeaders | schema.ResponseHeaders) -> HeaderEdits:
    """Envoy removes first, so that what is removed and added again is only what is added."""
    setting = {
        name.lower(): value for name, value in edits.set.items() if name.lower() not in schema.AUTHORITY
    }
    adding = {name.lower(): value for name, value in edits.add.items()}
    removing = dict.fromkeys(name.lower() for name in edits.remove)
    for name in tuple(adding):
        if name in removing and name not in setting:
            setting[name] = adding.pop(name)
    return HeaderEdits(
        set=tuple(setting.items()),
        add=tuple(adding.items()),
        remove=tuple(name for name in removing if name not in setting),
    )


def _ports(port: int | None) -> frozenset[int]:
    return frozenset() if port is None else frozenset({port})


KINDS: Final = (Kind("VirtualService", VERSIONS, schema.VirtualServiceDocument, _virtual_service),)
