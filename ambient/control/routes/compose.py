"""One service: out of everything that concerns it, what is done with its requests, and who is told otherwise.

For the callers of a namespace and each port one of these speaks, the first that is there:

* unless a ServiceProfile is there too, routes of the Gateway API: those of the callers' namespace, else those of the
  service's; of several kinds the first of GRPCRoute, HTTPRoute, TLSRoute, TCPRoute;
* a VirtualService: that for the most precise host, one exported to the namespace by name before others, the oldest;
* what a ServiceProfile splits.

A ServiceProfile says besides what holds for each kind of request, whoever carries it: a VirtualService goes on splitting
traffic under it. Source: Linkerd's own profiles disable its HTTPRoutes, and know no VirtualService.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol as TypingProtocol, TypeAlias

from immutables import Map

from ambient.control.objects import BackendPolicy, Key, Route, ServiceProfile, ServiceRef, VirtualService
from ambient.control.problem import Problem, Reason, no_effect
from ambient.control.routes.hosts import host_of, patterns_of, tables_of
from ambient.control.routes.policies import Traffic
from ambient.control.routes.precedence import KINDS, age, merged
from ambient.core.model.route import (
    Backend,
    Filters,
    Forward,
    Origin,
    Profile,
    Protocol,
    Redirect,
    Respond,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Unmatched,
)
from ambient.core.model.service import Service
from ambient.core.model.traffic import Subset

EVERY_CALLER = ""


class Mesh(TypingProtocol):
    """What a composition asks about other services."""

    def service(self, key: str) -> Service | None:
        """The service of a key, or else one of its host name in another namespace."""

    def subsets(self, key: str, caller: str) -> Mapping[str, Subset]:
        """The subsets of a service for callers of a namespace."""


@dataclass(frozen=True, slots=True)
class Concern:
    """All that concerns one service."""

    service: Service
    traffic: Traffic
    routes: tuple[Route, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    profiles: tuple[ServiceProfile, ...] = ()
    annotated: BackendPolicy | None = None
    callers: frozenset[str] = frozenset()
    """Namespaces that see other subsets of some backend than the rest."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What became of it."""

    routes: ServiceRoutes
    problems: Mapping[Key, tuple[Problem, ...]]


def compose(concern: Concern, mesh: Mesh) -> Composed:
    """One value for a service; the order in which anything is given counts for nothing."""
    composition = _Composition(concern, mesh)
    service, traffic = concern.service, concern.traffic
    profiles = {one.namespace: one for one in concern.profiles}
    own = profiles.pop(service.namespace, None)
    routes = ServiceRoutes(
        service=service.key,
        tables=tuple(composition.tables()),
        profile=_profile(own) if own is not None else _annotations(concern.annotated),
        profile_consumers=Map({namespace: _profile(one) for namespace, one in profiles.items()}),
        traffic=traffic.policies,
        traffic_consumers=traffic.consumers,
    )
    problems: dict[Key, dict[Problem, None]] = {}
    for key, problem in (*traffic.problems, *composition.told()):
        problems.setdefault(key, {})[problem] = None
    return Composed(routes, {key: tuple(sorted(some, key=str)) for key, some in problems.items()})


def _profile(profile: ServiceProfile) -> Profile:
    return Profile(profile.routes, profile.budget)


def _annotations(annotated: BackendPolicy | None) -> Profile:
    return Profile() if annotated is None else Profile(annotated.profile)


class _Family(Enum):
    """Whose bytes a table is about; a TCP table is about anyone's where there is no other."""

    HTTP = "http"
    TLS = "tls"
    TCP = "tcp"


_FAMILY = {
    Protocol.GRPC: _Family.HTTP,
    Protocol.HTTP: _Family.HTTP,
    Protocol.TLS: _Family.TLS,
    Protocol.TCP: _Family.TCP,
}
_Cell: TypeAlias = dict[_Family, RouteTable]
"""What speaks for one port."""
_ANY_PORT = 0


@dataclass(slots=True)
class _Composition:
    concern: Concern
    mesh: Mesh
    _told: list[tuple[Key, Problem]] = field(default_factory=list)
    _displaced: dict[tuple[Key, Key, str], set[int]] = field(default_factory=dict)
    """By who has no effect, who has it instead and for which callers: on which ports."""
    _ready: dict[tuple[tuple[Key, ...], Protocol, str], RouteTable] = field(default_factory=dict)
    """By what a table is made of, and for which callers."""

    def tables(self) -> Iterator[RouteTable]:
        """In the order of asking: those of single namespaces first."""
        general = self._cells(EVERY_CALLER)
        for caller in sorted(self._callers()):
            cells = self._cells(caller)
            own = {
                port: _covering(cell, general[port]) for port, cell in cells.items() if cell != general[port]
            }
            yield from self._grouped(own, caller)
        yield from self._grouped(general, EVERY_CALLER)

    def told(self) -> Iterator[tuple[Key, Problem]]:
        """What has no effect, and what refers to what is not there."""
        yield from self._told
        yield from self._stray_parents()
        yield from self._beside_profiles()
        for (loser, winner, caller), ports in self._displaced.items():
            yield loser, self._lost(loser, winner, caller, ports)

    # Who speaks

    def _callers(self) -> set[str]:
        concern = self.concern
        named = {route.namespace for route in concern.routes if not self._is_producer(route)}
        named |= {namespace for one in concern.virtual_services for namespace in one.exported_to or ()}
        named |= {one.namespace for one in concern.profiles if one.namespace != concern.service.namespace}
        return named | concern.callers | set(concern.traffic.consumers)

    def _cells(self, caller: str) -> dict[int, _Cell]:
        profile = self._profile_for(caller)
        virtual = self._virtual_service_for(caller)
        return {port: self._cell(caller, port, profile, virtual) for port in self._ports()}

    def _cell(
        self, caller: str, port: int, profile: ServiceProfile | None, virtual: VirtualService | None
    ) -> _Cell:
        if profile is None:
            routes = self._attached(caller, port)
            if routes:
                # That a namespace's own routes count for it is why they are there.
                if virtual is not None and (caller == EVERY_CALLER or caller in (virtual.exported_to or ())):
                    self._displace(virtual.key, routes[0].key, caller, port)
                return self._of_routes(routes, caller)
        if virtual is not None:
            return self._of_tables(virtual, caller)
        return {} if profile is None else self._of_tables(profile, caller)

    def _ports(self) -> tuple[int, ...]:
        return tuple(sorted(port.service_port for port in self.concern.service.ports)) or (_ANY_PORT,)

    def _is_producer(self, route: Route) -> bool:
        return route.namespace == self.concern.service.namespace

    def _attached(self, caller: str, port: int) -> tuple[Route, ...]:
        """The routes that count on a port, of one kind, the oldest first."""
        here = sorted((route for route in self.concern.routes if self._is_attached(route, port)), key=age)
        consumers = [route for route in here if not self._is_producer(route) and route.namespace == caller]
        group = consumers or [route for route in here if self._is_producer(route)]
        kind = next((kind for kind in KINDS if any(route.protocol is kind for route in group)), None)
        counting = tuple(route for route in group if route.protocol is kind)
        if kind is Protocol.TCP:
            counting = counting[:1]
        place = caller if consumers else EVERY_CALLER
        for route in group:
            if route not in counting:
                self._displace(route.key, counting[0].key, place, port)
        return counting

    def _is_attached(self, route: Route, port: int) -> bool:
        return any(
            host_of(parent) == self.concern.service.hostname and self._names(parent, port)
            for parent in route.parents
        )

    def _names(self, parent: ServiceRef, port: int) -> bool:
        return parent.port in {None, port} and (
            not parent.port_name or parent.port_name == self.concern.service.declaration(port).name
        )

    def _virtual_service_for(self, caller: str) -> VirtualService | None:
        visible = [
            one
            for one in self.concern.virtual_services
            if one.exported_to is None or (caller != EVERY_CALLER and caller in one.exported_to)
        ]
        if not visible:
            return None
        ranked = sorted(visible, key=lambda one: (*self._rank(one), *age(one)))
        winner = ranked[0]
        for loser in ranked[1:]:
            if self._rank(loser) == self._rank(winner):
                self._told.append(
                    (
                        loser.key,
                        Problem(
                            "spec.hosts",
                            f"names {self._pattern(loser)}, and {winner.key} is older and counts alone; "
                            "put the routes of one host into one VirtualService",
                            Reason.CONFLICT,
                        ),
                    )
                )
        return winner

    def _rank(self, one: VirtualService) -> tuple[int, bool]:
        return patterns_of(self.concern.service.hostname).index(self._pattern(one)), one.exported_to is None

    def _pattern(self, one: VirtualService) -> str:
        """The most precise of its hosts that is the service's."""
        return next(p for p in patterns_of(self.concern.service.hostname) if p in one.hosts)

    def _profile_for(self, caller: str) -> ServiceProfile | None:
        by_namespace = {one.namespace: one for one in self.concern.profiles}
        return by_namespace.get(caller) or by_namespace.get(self.concern.service.namespace)

    # Tables

    def _of_routes(self, routes: tuple[Route, ...], caller: str) -> _Cell:
        protocol, keys = routes[0].protocol, tuple(route.key for route in routes)
        return self._cell_of(
            keys, protocol, caller, lambda: RouteTable(protocol, merged(routes), Unmatched.NOT_FOUND)
        )

    def _of_tables(self, said: VirtualService | ServiceProfile, caller: str) -> _Cell:
        cell: _Cell = {}
        for table in tables_of(said):
            cell |= self._cell_of((said.key,), table.protocol, caller, lambda table=table: table)  # type: ignore[misc]
        return cell

    def _cell_of(
        self, keys: tuple[Key, ...], protocol: Protocol, caller: str, make: Callable[[], RouteTable]
    ) -> _Cell:
        """A table with every backend marked that can serve nothing; made once."""
        ready = self._ready.get((keys, protocol, caller))
        if ready is None:
            table = make()
            ready = replace(table, rules=tuple(self._rule(rule, caller) for rule in table.rules))
            self._ready[keys, protocol, caller] = ready
        return {_FAMILY[protocol]: ready}

    def _rule(self, rule: RouteRule, caller: str) -> RouteRule:
        filters = self._filters(rule.filters, rule.origin, caller)
        match rule.action:
            case Forward(backends):
                settled = tuple(self._backend(backend, rule.origin, caller) for backend in backends)
                return replace(rule, action=Forward(settled), filters=filters)
            case Redirect() | Respond():
                return replace(rule, filters=filters)

    def _filters(self, filters: Filters, origin: Origin, caller: str) -> Filters:
        if not filters.mirrors:
            return filters
        mirrors = tuple(
            replace(mirror, backend=self._backend(mirror.backend, origin, caller))
            for mirror in filters.mirrors
        )
        return replace(filters, mirrors=mirrors)

    def _backend(self, backend: Backend, origin: Origin, caller: str) -> Backend:
        filters = self._filters(backend.filters, origin, caller)
        if backend.trouble:  # Its own object's translation has told of it.
            return replace(backend, filters=filters)
        service = self.mesh.service(backend.service)
        if service is None:
            trouble = (
                f"service {backend.service.removeprefix('/')} is not known; add a Service or ServiceEntry of that name, "
                "or name another"
            )
            return self._troubled(replace(backend, filters=filters), trouble, origin)
        ports = {port.service_port for port in service.ports}
        # Source: Istio, for a destination without a port.
        port = next(iter(ports)) if backend.port is None and len(ports) == 1 else backend.port
        known = replace(backend, service=service.key, port=port, filters=filters)
        called = set(self._ports()) if port is None else {port}
        if ports and not called & ports:
            wanted = ", ".join(map(str, sorted(called)))
            have = ", ".join(map(str, sorted(ports)))
            return self._troubled(
                known, f"service {service.key} has no port {wanted}; name one of {have}", origin
            )
        subsets = self.mesh.subsets(service.key, caller)
        if backend.subset and backend.subset not in subsets:
            remedy = (
                f"name one of {', '.join(sorted(subsets))}, or add it to the DestinationRule"
                if subsets
                else f"add a DestinationRule for {service.hostname} that has it"
            )
            return self._troubled(
                known, f"service {service.key} has no subset {backend.subset}; {remedy}", origin
            )
        return known

    def _troubled(self, backend: Backend, trouble: str, origin: Origin) -> Backend:
        key = Key(origin.kind, origin.namespace, origin.name)
        self._told.append(
            (
                key,
                Problem(
                    origin.field, f"sends requests where none can be served: {trouble}", Reason.REFERENCE
                ),
            )
        )
        return replace(backend, trouble=trouble)

    def _grouped(self, cells: Mapping[int, _Cell], caller: str) -> Iterator[RouteTable]:
        """One table for all ports that have the same."""
        every = set(self._ports())
        for family in _Family:
            groups: list[tuple[RouteTable, set[int]]] = []
            for port, cell in cells.items():
                if (table := cell.get(family)) is None:
                    continue
                ports = next((ports for one, ports in groups if one == table), None)
                if ports is None:
                    groups.append((table, {port}))
                else:
                    ports.add(port)
            for table, ports in groups:
                yield replace(
                    table, ports=frozenset() if ports == every else frozenset(ports), consumer=caller
                )

    # What is told

    def _displace(self, loser: Key, winner: Key, caller: str, port: int) -> None:
        self._displaced.setdefault((loser, winner, caller), set()).add(port)

    def _lost(self, loser: Key, winner: Key, caller: str, ports: set[int]) -> Problem:
        where = f" on port {', '.join(map(str, sorted(ports)))}" if ports != set(self._ports()) else ""
        whose = f" for callers of namespace {caller}" if caller else ""
        why = _WHY.get((loser.kind == "VirtualService", loser.kind == winner.kind), "")
        return Problem(
            "spec.hosts" if loser.kind == "VirtualService" else "spec.parentRefs",
            f"has no effect on service {self.concern.service.key}{where}{whose}: {winner} counts there, {why}; "
            "keep one of them",
            Reason.CONFLICT,
        )

    def _stray_parents(self) -> Iterator[tuple[Key, Problem]]:
        ports = set(self._ports()) - {_ANY_PORT}
        for route in self.concern.routes:
            for parent in route.parents:
                if (
                    host_of(parent) == self.concern.service.hostname
                    and ports
                    and not any(self._names(parent, port) for port in ports)
                ):
                    wanted = " ".join(filter(None, (str(parent.port or ""), parent.port_name)))
                    have = ", ".join(
                        f"{port} {self.concern.service.declaration(port).name}".rstrip()
                        for port in sorted(ports)
                    )
                    yield (
                        route.key,
                        Problem(
                            "spec.parentRefs",
                            f"names port {wanted} of service {self.concern.service.key}, which has {have}; "
                            "name one of these, or none for all",
                            Reason.REFERENCE,
                        ),
                    )

    def _beside_profiles(self) -> Iterator[tuple[Key, Problem]]:
        concern, service = self.concern, self.concern.service
        for profile in concern.profiles:
            is_own = profile.namespace == service.namespace
            caller = EVERY_CALLER if is_own else profile.namespace
            whose = "" if is_own else f" for callers of namespace {caller}"
            for route in concern.routes:
                if is_own or route.namespace in {caller, service.namespace}:
                    yield (
                        route.key,
                        no_effect(
                            "spec.parentRefs",
                            f"names service {service.key}, where {profile.key} takes the place of every route{whose}; "
                            "remove one of them",
                        ),
                    )
            virtual = self._virtual_service_for(caller)
            if profile.split is not None and virtual is not None:
                yield (
                    profile.key,
                    no_effect(
                        "spec.dstOverrides",
                        f"has no effect{whose}: {virtual.key} splits the traffic; remove one of them",
                    ),
                )
            if profile.opaque_ports and not is_own:
                yield (
                    profile.key,
                    no_effect(
                        "spec.opaquePorts",
                        f"counts only in the service's own namespace, {service.namespace}; move it there",
                    ),
                )
            if is_own and concern.annotated is not None and concern.annotated.profile:
                yield (
                    concern.annotated.key,
                    no_effect(
                        "metadata.annotations",
                        f"set timeouts or retries, and {profile.key} takes their place; remove one of them",
                    ),
                )


_WHY = {
    (True, False): "as routes of the Gateway API come before a VirtualService",
    (
        False,
        False,
    ): "as of several kinds the first of GRPCRoute, HTTPRoute, TLSRoute and TCPRoute counts alone",
    (False, True): "as it is older",
}
"""By whether a VirtualService lost, and whether it lost to its own kind."""


def _covering(own: _Cell, general: _Cell) -> _Cell:
    """A cell that says of everything that the general one speaks of what becomes of it."""
    cell = dict(own)
    for family, table in general.items():
        if family not in own and _Family.TCP not in own:
            cell[family] = RouteTable(table.protocol, (), Unmatched.SERVICE)
    return cell
