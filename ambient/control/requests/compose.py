"""One service behind a waypoint, or a waypoint itself: out of everything that is for it, its policies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ambient.control.objects import (
    AuthorizationPolicy,
    Key,
    RateLimitPolicy,
    RequestAuthentication,
    RequestPolicy,
    ServiceRef,
    Telemetry,
    WaypointName,
)
from ambient.control.problem import Problem, Reason
from ambient.control.routes.precedence import age
from ambient.core.authorize_request import addressed, addressed_at
from ambient.core.model import telemetry
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.request_authorization import Target

if TYPE_CHECKING:
    from ambient.core.model.limit import RateLimit
    from ambient.core.model.service import Service


@dataclass(frozen=True, slots=True)
class Subject:
    """A service that policies may be for."""

    service: Service
    waypoint: WaypointName | None = None
    """That it is behind, or is; None: neither."""
    is_waypoint: bool = False

    def addressed(self, roots: Collection[str]) -> frozenset[tuple[str, Target]]:
        """What a policy for it may name: the namespace that it is in, and the target."""
        if self.is_waypoint and self.waypoint is not None:
            return addressed_at(self.waypoint.namespace, self.waypoint.name, roots)
        return addressed(self.service, roots)

    def namespaces(self, roots: Collection[str]) -> tuple[str, ...]:
        """Whose settings for all of a namespace count for it, the widest first."""
        near = () if self.waypoint is None else (self.waypoint.namespace,)
        return tuple(dict.fromkeys((*roots, *near, self.service.namespace)))


@dataclass(frozen=True, slots=True)
class Composed:
    """What became of it."""

    policies: ServicePolicies
    told: tuple[tuple[Key, Problem], ...]
    """What has no effect."""


def targets_of(one: RequestPolicy) -> tuple[Target, ...]:
    """What a policy is for, in its namespace; nothing: it is for no waypoint, or for all of its namespace."""
    match one:
        case AuthorizationPolicy():
            return () if one.requests is None else one.requests.targets
        case RequestAuthentication() | Telemetry():
            return one.targets
        case RateLimitPolicy():
            return tuple(dict.fromkeys(Target("Service", target.name) for target in one.targets))


def compose(subject: Subject, about: Iterable[RequestPolicy], roots: tuple[str, ...]) -> Composed:
    """One value for a service, out of everything that is for it; the order in which it is given counts for nothing."""
    ordered = sorted(about, key=lambda one: (one.namespace, one.name))
    told: list[tuple[Key, Problem]] = []
    layers = _layers(subject, [one for one in ordered if isinstance(one, Telemetry)], roots, told)
    policies = ServicePolicies(
        service=subject.service.key,
        ports=() if subject.is_waypoint else subject.service.declared,
        authorizations=tuple(
            one.requests
            for one in ordered
            if isinstance(one, AuthorizationPolicy) and one.requests is not None
        ),
        tokens=tuple(rule for one in ordered if isinstance(one, RequestAuthentication) for rule in one.rules),
        limits=tuple(
            limit
            for one in ordered
            if isinstance(one, RateLimitPolicy)
            for limit in _limits(one, subject.service, told)
        ),
        telemetry=merged(layers),
    )
    return Composed(policies, tuple(dict.fromkeys(told)))


def merged(layers: Iterable[telemetry.Telemetry]) -> telemetry.Telemetry:
    """What all of them say together, the widest first: later entries count before earlier ones."""
    every = tuple(layers)
    return telemetry.Telemetry(
        tracing=tuple(entry for one in every for entry in one.tracing),
        metrics=tuple(entry for one in every for entry in one.metrics),
        access_log=tuple(entry for one in every for entry in one.access_log),
    )


def _layers(
    subject: Subject, objects: list[Telemetry], roots: tuple[str, ...], told: list[tuple[Key, Problem]]
) -> Iterator[telemetry.Telemetry]:
    """The widest first: of namespaces, of the waypoint, of the service; each time the oldest alone."""
    places, wanted = subject.namespaces(roots), subject.addressed(roots)
    levels: dict[tuple[int, int], list[Telemetry]] = {}
    for one in objects:
        if not one.targets:
            # Namespaces that are roots are one level, as Istio has one root.
            level = (0, max(0, places.index(one.namespace) - len(roots) + 1))
        else:
            named = (target for target in one.targets if (one.namespace, target) in wanted)
            level = (1, max(_NEARNESS.get(target.kind, 2) for target in named))
        levels.setdefault(level, []).append(one)
    for _, group in sorted(levels.items()):
        oldest, *others = sorted(group, key=age)
        yield oldest.settings
        for other in others:
            text = (
                f"does not count for {subject.service.key}: {oldest.key} is older and for the same; "
                "put both into one object"
            )
            told.append((other.key, Problem("spec", text, Reason.CONFLICT)))


_NEARNESS: Final = {"GatewayClass": 0, "Gateway": 1}
"""Of targets; a service is the nearest."""


def _limits(
    policy: RateLimitPolicy, service: Service, told: list[tuple[Key, Problem]]
) -> Iterator[RateLimit]:
    named = [target for target in policy.targets if target.name == service.name]
    ports = frozenset[int]() if any(_is_for_all(one) for one in named) else frozenset(map(_port, named))
    have = {port.service_port for port in service.ports}
    for port in sorted(ports - have if have else ()):
        listed = ", ".join(map(str, sorted(have)))
        text = f"name port {port} of service {service.key}, which has {listed}; name one of these"
        told.append((policy.key, Problem("spec.targetRefs", text, Reason.REFERENCE)))
    for limit in policy.limits:
        yield replace(limit, name=f"{policy.namespace}/{policy.name}/{limit.name}", ports=ports)


def _is_for_all(target: ServiceRef) -> bool:
    return target.port is None


def _port(target: ServiceRef) -> int:
    return target.port or 0
