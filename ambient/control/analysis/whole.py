"""Checks of objects together.

Those that need workloads, namespaces or accounts are left out where none at all are known, as in a folder that is one
part of many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ambient.control.analysis.codes import Code, Finding, Severity
from ambient.control.objects import (
    AuthorizationPolicy,
    Deployment,
    Gateway,
    Key,
    Namespace,
    Object,
    PeerAuthentication,
    SelectingService,
    ServiceAccount,
    WaypointName,
    selects,
)
from ambient.control.waypoints import named, service_of
from ambient.core.authorize import Connection, Denied, authorize
from ambient.core.coverage import unreachable
from ambient.core.model.address import NetworkAddress, SocketAddress
from ambient.core.model.authorization import Action, StringMatchKind
from ambient.core.model.route import Protocol
from ambient.core.model.service import AppProtocol
from ambient.core.model.workload import TunnelProtocol
from ambient.core.ports import target_port

if TYPE_CHECKING:
    from ambient.control.index import Index
    from ambient.control.objects import Selector
    from ambient.core.model.address import GatewayAddress
    from ambient.core.model.route import Origin, ServiceRoutes
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload


class Whole:
    """Objects together."""

    def __init__(self, objects: Mapping[Key, Object], index: Index) -> None:
        self._objects, self._index = objects, index
        self._snapshot = index.snapshot
        every = objects.values()
        self._namespaces = {one.name: one for one in every if isinstance(one, Namespace)}
        self._accounts = {(one.namespace, one.name) for one in every if isinstance(one, ServiceAccount)}
        self._templates = [one for one in every if isinstance(one, Deployment)]
        self._inhabited = {one.namespace for one in self._snapshot.workloads.values()}
        self._inhabited |= {one.namespace for one in self._templates}

    def findings(self) -> list[Finding]:
        """What all checks find."""
        found: list[Finding] = []
        for key, one in self._objects.items():
            found += self._place(key)
            match one:
                case SelectingService():
                    found += self._service(one)
                case Gateway():
                    found += self._gateway(one)
                case AuthorizationPolicy():
                    found += self._policy(key, one.selector)
                    found += self._authorization(one)
                case PeerAuthentication():
                    found += self._policy(key, one.selector)
                case _:
                    pass
        for routes in self._snapshot.routes.values():
            found += self._routes(routes)
        return found

    def _place(self, key: Key) -> Iterator[Finding]:
        if self._namespaces and key.namespace and key.namespace not in {*self._namespaces, *self._roots}:
            yield _warning(
                Code.NO_NAMESPACE, key, f"is in namespace {key.namespace}, which is not configured"
            )

    @property
    def _roots(self) -> tuple[str, ...]:
        return self._index.settings.root_namespaces

    def _service(self, one: SelectingService) -> Iterator[Finding]:
        service = self._snapshot.services.get(one.service.key)
        if service is None:
            return
        is_lonely = service.namespace in self._inhabited and service.key not in self._snapshot.endpoints_of
        if is_lonely and one.selector is not None and not self._is_promised(service.namespace, one.selector):
            yield _warning(Code.NO_ENDPOINTS, one.key, "spec.selector fits no workload")
        if service.waypoint is not None and self._is_looked_for(service.waypoint):
            destination = service.waypoint.destination
            if isinstance(destination, NetworkAddress) or destination not in self._snapshot.endpoints_of:
                yield Finding(
                    Code.WAYPOINT_GONE,
                    Severity.ERROR,
                    "",
                    str(one.key),
                    f"is behind waypoint {destination}, which has no endpoint: every call is refused",
                )
            yield from self._locked_out(one.key, service, service.waypoint)

    def _locked_out(self, key: Key, service: Service, waypoint: GatewayAddress) -> Iterator[Finding]:
        """Whoever serves it sees the waypoint in the callers' place. Those that nothing tells apart are asked once."""
        asked: set[tuple[str, ...]] = set()
        for replica in self._snapshot.endpoints_of.get(service_of(named(waypoint)), ()):
            for endpoint in self._snapshot.endpoints_of.get(service.key, ()):
                ports = [target_port(service, endpoint, one.service_port) for one in service.ports]
                alike = (str(replica.identity), *endpoint.policies, *map(str, ports))
                if endpoint.tunnel is TunnelProtocol.NONE or alike in asked:
                    continue
                asked.add(alike)
                why = next(filter(None, (self._refusal(replica, endpoint, port) for port in ports)), None)
                if why is not None:
                    name = f"{endpoint.namespace}/{endpoint.name}"
                    text = f"is served by {name}, which refuses the waypoint, {replica.identity}: {why}"
                    yield _warning(Code.LOCKED_OUT, key, text)

    def _refusal(self, replica: Workload, endpoint: Workload, port: int | None) -> str | None:
        """Why an endpoint does not let a waypoint's replica in."""
        if port is None or not (replica.addresses and endpoint.addresses):
            return None
        source, target = SocketAddress(replica.addresses[0], 0), SocketAddress(endpoint.addresses[0], port)
        word = authorize(self._snapshot, endpoint, Connection(replica.identity, source, target))
        return word.why if isinstance(word, Denied) else None

    def _is_looked_for(self, waypoint: GatewayAddress) -> bool:
        """Whether a waypoint ought to have replicas here: in a folder that is one part of many none has any."""
        return bool(self._snapshot.workloads) or self._index.waypoints.get(named(waypoint)) is None

    def _gateway(self, one: Gateway) -> Iterator[Finding]:
        name = WaypointName(one.namespace, one.name)
        key = service_of(name)
        if one.waypoint_for is None or not self._snapshot.workloads or key in self._snapshot.endpoints_of:
            return
        behind = [
            f"{count} {what}{'s' if count > 1 else ''}"
            for what, some in (
                ("service", self._snapshot.services.values()),
                ("workload", self._snapshot.workloads.values()),
            )
            if (count := sum(held.waypoint is not None and named(held.waypoint) == name for held in some))
        ]
        text = f"has no replica, so every call to {' and '.join(behind)} behind it is refused"
        severity = Severity.ERROR if behind else Severity.WARNING
        said = text if behind else "has no replica, and nothing is behind it"
        yield Finding(Code.NO_REPLICA, severity, "", str(one.key), said)

    def _is_promised(self, namespace: str, selector: Selector) -> bool:
        """Whether a template would be selected."""
        return any(one.namespace == namespace and selects(selector, one.labels) for one in self._templates)

    def _policy(self, key: Key, selector: Selector) -> Iterator[Finding]:
        if key.namespace in self._roots:
            return
        workloads = [one for one in self._snapshot.workloads.values() if one.namespace == key.namespace]
        namespace = self._namespaces.get(key.namespace)
        is_enrolled = namespace is None or namespace.dataplane_mode == "ambient"
        if not is_enrolled and not any(one.tunnel is TunnelProtocol.HBONE for one in workloads):
            text = f"is in namespace {key.namespace}, which is not enrolled: nothing enforces it"
            yield _warning(Code.NOT_ENROLLED, key, text)
        if not selector or key.namespace not in self._inhabited or self._is_promised(key.namespace, selector):
            return
        if not any(selects(selector, self._index.labels(one)) for one in workloads):
            yield _warning(Code.SELECTS_NOBODY, key, "spec.selector fits no workload")

    def _authorization(self, one: AuthorizationPolicy) -> Iterator[Finding]:
        authorization = one.authorization
        if authorization is None:
            return
        if authorization.action is Action.ALLOW and not authorization.rules and not one.requests:
            yield Finding(
                Code.ALLOWS_NOBODY,
                Severity.INFO,
                "",
                str(one.key),
                "spec.rules is empty: nobody is allowed by it",
            )
        if not self._accounts:
            return
        principals = (
            text.value
            for rule in authorization.rules
            for clause in rule
            for match in clause
            for text in (*match.principals, *match.not_principals)
            if text.kind is StringMatchKind.EXACT
        )
        for principal in dict.fromkeys(principals):
            match principal.split("/"):
                case [domain, "ns", namespace, "sa", account] if domain == self._index.settings.trust_domain:
                    if (namespace, account) not in self._accounts:
                        yield _warning(
                            Code.NO_ACCOUNT,
                            one.key,
                            f"spec.rules name {principal}, and there is no such ServiceAccount",
                        )
                case _:
                    pass

    def _routes(self, routes: ServiceRoutes) -> Iterator[Finding]:
        service = self._snapshot.services.get(routes.service)
        if service is None:
            return
        origins = [rule.origin for table in routes.tables for rule in table.rules]
        origins += [route.origin for route in routes.profile.routes]
        if service.waypoint is None:
            for name in dict.fromkeys(map(_object, origins)):
                yield Finding(
                    Code.NO_WAYPOINT,
                    Severity.WARNING,
                    "",
                    name,
                    f"has no effect on service {service.key}, which has no waypoint",
                )
        for table in routes.tables:
            for rule, taker in unreachable(table):
                yield Finding(
                    Code.UNREACHABLE,
                    Severity.WARNING,
                    "",
                    _object(rule.origin),
                    f"{rule.origin.field} is never met: {taker.origin} takes all of its requests",
                )
            if table.protocol in {Protocol.HTTP, Protocol.GRPC}:
                yield from _not_http(
                    service, table.ports, dict.fromkeys(_object(rule.origin) for rule in table.rules)
                )


def _not_http(service: Service, ports: frozenset[int], objects: Iterable[str]) -> Iterator[Finding]:
    opaque = [
        one
        for one in service.declared
        if one.protocol in {AppProtocol.TCP, AppProtocol.TLS} and (not ports or one.service_port in ports)
    ]
    for name in objects:
        for port in opaque:
            yield Finding(
                Code.NOT_HTTP,
                Severity.WARNING,
                "",
                name,
                f"is not asked on port {port.service_port} ({port.name or 'without a name'}) of service {service.key}, "
                f"which is declared to be {port.protocol.value if port.protocol else ''}",
            )


def _warning(code: Code, key: Key, text: str) -> Finding:
    return Finding(code, Severity.WARNING, "", str(key), text)


def _object(origin: Origin) -> str:
    return str(origin._replace(field=""))
