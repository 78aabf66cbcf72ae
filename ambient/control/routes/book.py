"""Who said what of which service: the objects, filed by the services they name, and what was composed of them.

A change costs what it touches: the services that the object named before or names after it, and those whose backends
are a service that came, went, or has other ports or subsets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ambient.control.objects import (
    BackendPolicy,
    DestinationRule,
    Key,
    L7Object,
    Route,
    SelectingService,
    ServiceProfile,
    VirtualService,
    selects,
)
from ambient.control.problem import Problem, Reason, no_effect
from ambient.control.routes.compose import Composed, Concern, compose
from ambient.control.routes.hosts import is_for, named, patterns_of, referred
from ambient.control.routes.policies import Traffic, every_policy, traffic_of
from ambient.core.model.route import (
    AllOf,
    AnyOf,
    Condition,
    Not,
    RouteMatch,
    ServiceRoutes,
)

if TYPE_CHECKING:
    from ambient.core.endpoints import Endpoints
    from ambient.core.model.service import Service
    from ambient.core.model.traffic import Subset
    from ambient.core.model.workload import Workload

T = TypeVar("T")
Problems: TypeAlias = Mapping[Key, tuple[Problem, ...]]


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of the book comes to."""

    upserted: tuple[ServiceRoutes, ...] = ()
    removed: tuple[str, ...] = ()
    """Service keys."""
    labels: frozenset[str] = frozenset()
    """Keys of labels that are looked at from now on, or no longer."""


@dataclass(slots=True)
class _Entry:
    """A service, and what was made of what is said of it."""

    selecting: SelectingService
    traffic: Traffic = Traffic()  # noqa: RUF009
    composed: Composed | None = None
    labels: frozenset[str] = frozenset()

    @property
    def service(self) -> Service:
        return self.selecting.service


class Book:
    """The objects of every dialect, and one value for each service that they concern."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        """Namespaces where a DestinationRule is for the whole mesh."""
        self._said: dict[Key, L7Object] = {}
        self._naming: dict[str, set[Key]] = {}
        """Objects by each host name or pattern they are about."""
        self._referring: dict[str, set[Key]] = {}
        """Objects by each host name they send requests to."""
        self._entries: dict[str, _Entry] = {}
        """Services by key."""
        self._by_namespace: dict[str, dict[str, SelectingService]] = {}
        self._hosts: dict[str, set[str]] = {}
        """Keys of services by host name."""
        self.labels: frozenset[str] = frozenset()
        """Keys of the labels of workloads that any route or policy looks at."""
        self._looking: Counter[str] = Counter()
        """How many services look at a label."""
        self._strange: dict[Key, tuple[Problem, ...]] = {}
        """What names a service that is not known."""
        self._stirred: set[str] = set()
        """Services whose subsets were not held against their endpoints yet."""
        self._idle: dict[str, tuple[tuple[Key, Problem], ...]] = {}
        """By service: subsets that nobody is in."""

    def change(
        self, said: Mapping[Key, L7Object | None], services_of: Mapping[str, Iterable[SelectingService]]
    ) -> Changed:
        """Take objects, None: gone; and all services of some namespaces."""
        looked_at = self.labels
        services: dict[str, SelectingService | None] = {}
        for namespace, some in services_of.items():
            services |= self._differing(namespace, some)
        gone = {key for key, one in services.items() if one is None and key in self._entries}
        removed = tuple(sorted(key for key in gone if self._has_routes(key)))
        hosts = {_hostname(key) for key in services}
        """Names of services that are not what they were."""
        for key, selecting in services.items():
            self._place(key, selecting)
        restless = set(services)
        """Services whose policies may be others."""
        touched: set[str] = set()
        for name, one in said.items():
            for version in (self._said.get(name), one):
                if version is not None:
                    concerned = self._concerned(version)
                    touched |= concerned
                    if not isinstance(version, Route | VirtualService):
                        restless |= concerned
            self._file(name, one)
        for key in restless & self._entries.keys():
            entry = self._entries[key]
            traffic = self._traffic(entry)
            if _subsets(traffic) != _subsets(entry.traffic):
                hosts.add(entry.service.hostname)
            entry.traffic = traffic
        for host in hosts:
            for name in self._referring.get(host, ()):
                touched |= self._concerned(self._said[name])
        for name in {*said, *(name for host in hosts for name in self._about(host))}:
            self._look_for_strangers(name)
        upserted, emptied = self._compose(sorted((touched | restless) & self._entries.keys()))
        return Changed(tuple(upserted), tuple(sorted({*removed, *emptied})), looked_at ^ self.labels)

    def stir(self, services: Iterable[str]) -> None:
        """Endpoints of these services have changed."""
        self._stirred.update(services)

    def problems(self, endpoints: Mapping[str, Endpoints]) -> Problems:
        """What is wrong with each object that is right by itself; ``endpoints`` by service key."""
        for key in self._entries.keys() & self._stirred:
            self._idle[key] = tuple(self._without_workloads(key, endpoints.get(key, ())))
        self._stirred.clear()
        found: dict[Key, dict[Problem, None]] = {}
        for name, some in self._strange.items():
            found.setdefault(name, {}).update(dict.fromkeys(some))
        for key, entry in sorted(self._entries.items()):
            if entry.composed is not None:
                for name, some in entry.composed.problems.items():
                    found.setdefault(name, {}).update(dict.fromkeys(some))
            for name, problem in self._idle.get(key, ()):
                found.setdefault(name, {})[problem] = None
        return {name: tuple(some) for name, some in sorted(found.items())}

    # What a composition asks

    def service(self, key: str) -> Service | None:
        """The service of a key, or else one of its host name in another namespace."""
        entry = self._entries.get(key)
        if entry is None:
            others = self._hosts.get(_hostname(key))
            return self._entries[min(others)].service if others else None
        return entry.service

    def subsets(self, key: str, caller: str) -> Mapping[str, Subset]:
        """The subsets of a service for callers of a namespace."""
        return self._entries[key].traffic.seen_from(caller).subsets

    # Filing

    def _differing(
        self, namespace: str, some: Iterable[SelectingService]
    ) -> dict[str, SelectingService | None]:
        before = self._by_namespace.pop(namespace, {})
        after = {one.service.key: one for one in some}
        if after:
            self._by_namespace[namespace] = after
        return {
            key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)
        }

    def _place(self, key: str, selecting: SelectingService | None) -> None:
        before = self._entries.pop(key, None)
        if before is not None:
            _discard(self._hosts, _hostname(key), key)
        if selecting is None:
            self._idle.pop(key, None)
            if before is not None:
                self._look_at(before, frozenset())
            return
        self._entries[key] = replace(before, selecting=selecting) if before else _Entry(selecting)
        self._hosts.setdefault(_hostname(key), set()).add(key)

    def _file(self, name: Key, one: L7Object | None) -> None:
        before = self._said.pop(name, None)
        if before is not None:
            for pattern in named(before):
                _discard(self._naming, pattern, name)
            for host in referred(before):
                _discard(self._referring, host, name)
        if one is not None:
            self._said[name] = one
            for pattern in named(one):
                self._naming.setdefault(pattern, set()).add(name)
            for host in referred(one):
                self._referring.setdefault(host, set()).add(name)

    def _about(self, host: str) -> set[Key]:
        """Objects that are about services of a host name."""
        return {name for pattern in patterns_of(host) for name in self._naming.get(pattern, ())}

    def _concerned(self, one: L7Object) -> set[str]:
        return {key for pattern in named(one) for key in self._fitting(pattern)}

    def _fitting(self, pattern: str) -> Iterator[str]:
        """Keys of the services that a pattern is for; only a wildcard looks at all names."""
        if not pattern.startswith("*"):
            yield from self._hosts.get(pattern, ())
            return
        for host, keys in self._hosts.items():
            if is_for(pattern, host):
                yield from keys

    def _look_for_strangers(self, name: Key) -> None:
        self._strange.pop(name, None)
        one = self._said.get(name)
        if one is None:
            return
        strange = [pattern for pattern in named(one) if next(self._fitting(pattern), None) is None]
        if strange:
            self._strange[name] = tuple(_stranger(one, pattern) for pattern in strange)

    # Composing

    def _traffic(self, entry: _Entry) -> Traffic:
        about = [self._said[name] for name in self._about(entry.service.hostname)]
        settings = [one for one in about if isinstance(one, BackendPolicy)]
        profile = next((one for one in about if _is_own_profile(one, entry.service)), None)
        annotated = entry.selecting.annotated
        if annotated is not None:
            # Source: Linkerd's profiles switch off what annotations say of breakers.
            settings.append(annotated if profile is None else replace(annotated, accrual=None))
        opaque = profile.opaque_ports if isinstance(profile, ServiceProfile) else frozenset()
        rules = (one for one in about if isinstance(one, DestinationRule))
        return traffic_of(entry.service, rules, settings, opaque, self._roots)

    def _compose(self, keys: Iterable[str]) -> tuple[list[ServiceRoutes], list[str]]:
        upserted: list[ServiceRoutes] = []
        emptied: list[str] = []
        for key in keys:
            entry = self._entries[key]
            before = entry.composed
            entry.composed = compose(self._concern(entry), self)
            routes = entry.composed.routes
            self._stirred.add(key)
            if routes == ServiceRoutes(key):
                if before is not None and before.routes != routes:
                    emptied.append(key)
            elif before is None or before.routes != routes:
                upserted.append(routes)
            self._look_at(entry, _looked_at(routes))
        return upserted, emptied

    def _concern(self, entry: _Entry) -> Concern:
        about = [self._said[name] for name in sorted(self._about(entry.service.hostname))]
        backends = {host for one in about for host in referred(one)}
        return Concern(
            service=entry.service,
            traffic=entry.traffic,
            routes=tuple(one for one in about if isinstance(one, Route)),
            virtual_services=tuple(one for one in about if isinstance(one, VirtualService)),
            profiles=tuple(one for one in about if isinstance(one, ServiceProfile)),
            annotated=entry.selecting.annotated,
            callers=frozenset(
                namespace
                for host in backends
                for key in self._hosts.get(host, ())
                for namespace in self._entries[key].traffic.consumers
            ),
        )

    def _has_routes(self, key: str) -> bool:
        composed = self._entries[key].composed
        return composed is not None and composed.routes != ServiceRoutes(key)

    def _look_at(self, entry: _Entry, labels: frozenset[str]) -> None:
        if entry.labels != labels:
            self._looking.subtract(entry.labels - labels)
            self._looking.update(labels - entry.labels)
            self._looking = +self._looking
            self.labels = frozenset(self._looking)
            entry.labels = labels

    def _without_workloads(self, key: str, endpoints: Iterable[Workload]) -> Iterator[tuple[Key, Problem]]:
        entry = self._entries[key]
        subsets = dict(entry.traffic.policies.subsets)
        for policies in entry.traffic.consumers.values():
            subsets.update(policies.subsets)
        if not subsets:
            return
        members = tuple(endpoints)
        idle = {
            name
            for name, subset in subsets.items()
            if not any(selects(subset.labels, member.labels) for member in members)
        }
        for about in sorted(self._about(entry.service.hostname)):
            rule = self._said[about]
            if isinstance(rule, DestinationRule):
                for name in sorted(idle.intersection(rule.traffic.subsets)):
                    wanted = ", ".join(f"{k}={v}" for k, v in sorted(subsets[name].labels.items()))
                    yield (
                        about,
                        no_effect(
                            f'spec.subsets["{name}"]',
                            f"selects no workload of service {key}; label one {wanted}",
                        ),
                    )


def _is_own_profile(one: L7Object, service: Service) -> bool:
    return isinstance(one, ServiceProfile) and one.namespace == service.namespace


def _subsets(traffic: Traffic) -> tuple[object, ...]:
    """What of the policies the routes of others depend on."""
    return (
        frozenset(traffic.policies.subsets),
        {namespace: frozenset(policies.subsets) for namespace, policies in traffic.consumers.items()},
    )


def _stranger(one: L7Object, pattern: str) -> Problem:
    match one:
        case Route():
            field, remedy = "spec.parentRefs", "add a v1 Service of that name, or correct the reference"
        case BackendPolicy():
            field, remedy = "spec.targetRefs", "add a v1 Service of that name, or correct the reference"
        case VirtualService():
            field, remedy = "spec.hosts", "add a Service or ServiceEntry of that name, or correct the host"
        case DestinationRule():
            field, remedy = "spec.host", "add a Service or ServiceEntry of that name, or correct the host"
        case ServiceProfile():
            field, remedy = "metadata.name", "add a v1 Service of that name, or correct the name"
    return Problem(
        field, f"names {pattern}, and no service of that name is known; {remedy}", Reason.REFERENCE
    )


def _looked_at(routes: ServiceRoutes) -> frozenset[str]:
    """Keys of the labels that decide anything."""
    found: set[str] = set()
    for policies in (routes.traffic, *routes.traffic_consumers.values()):
        for subset in policies.subsets.values():
            found.update(subset.labels)
        for policy in every_policy(policies):
            if policy.locality is not None:
                found.update(policy.locality.priorities)
    for table in routes.tables:
        for rule in table.rules:
            for match in rule.matches:
                found.update(match.source_labels)
    for profile in (routes.profile, *routes.profile_consumers.values()):
        for route in profile.routes:
            for match in _matches(route.condition):
                found.update(match.source_labels)
    return frozenset(found)


def _matches(condition: Condition) -> Iterator[RouteMatch]:
    match condition:
        case RouteMatch():
            yield condition
        case AllOf(conditions) | AnyOf(conditions):
            for one in conditions:
                yield from _matches(one)
        case Not(one):
            yield from _matches(one)


def _hostname(key: str) -> str:
    return key.partition("/")[2]


def _discard(index: dict[str, set[T]], key: str, value: T) -> None:
    index[key].discard(value)
    if not index[key]:
        del index[key]
