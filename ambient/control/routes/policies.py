"""The traffic policies of one service, out of all that set any.

A caller is told what the DestinationRules of its own namespace say, unless that is a root namespace, else those of the
service's, else those of a root namespace; of these, those for the most precise host. Several for one host become one: every subset counts, and the
oldest with a policy. Source: Istio looks them up and merges them so. A retry budget of the Gateway API counts before one
of Istio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from immutables import Map

from ambient.control.objects import BackendPolicy, DestinationRule, Key
from ambient.control.problem import Problem, Reason, no_effect
from ambient.control.routes.hosts import host_of, patterns_of
from ambient.control.routes.precedence import age
from ambient.core.model.service import Service
from ambient.core.model.traffic import Subset, TrafficPolicies, TrafficPolicy

Told: TypeAlias = tuple[Key, Problem]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What holds for a service, and for callers of some namespaces in its place."""

    policies: TrafficPolicies = TrafficPolicies()  # noqa: RUF009
    consumers: Map[str, TrafficPolicies] = Map()  # noqa: RUF009
    problems: tuple[Told, ...] = ()

    def seen_from(self, namespace: str) -> TrafficPolicies:
        """What callers of a namespace are told."""
        return self.consumers.get(namespace, self.policies)


def traffic_of(
    service: Service,
    rules: Iterable[DestinationRule],
    settings: Iterable[BackendPolicy],
    opaque_ports: frozenset[int],
    roots: tuple[str, ...],
) -> Traffic:
    """The policies of a service out of rules and settings that are all for its host."""
    told: list[Told] = []
    in_turn = sorted(rules, key=age)
    every = sorted(settings, key=age)

    def seen_from(namespace: str) -> TrafficPolicies:
        chosen = _chosen(service, in_turn, namespace, roots)
        return _with_settings(_merged(service, chosen, told), service, every, opaque_ports, told)

    general = seen_from("")
    named = {rule.namespace for rule in in_turn} | {
        namespace for rule in in_turn for namespace in rule.exported_to or ()
    }
    own = {namespace: seen_from(namespace) for namespace in sorted(named)}
    consumers = Map({namespace: seen for namespace, seen in own.items() if seen != general})
    return Traffic(general, consumers, tuple(dict.fromkeys(told)))


def every_policy(policies: TrafficPolicies) -> Iterator[TrafficPolicy]:
    """Of the service, its ports and its subsets."""
    yield policies.policy
    yield from policies.ports.values()
    for subset in policies.subsets.values():
        if subset.policy is not None:
            yield subset.policy
        yield from subset.ports.values()


def _chosen(
    service: Service, rules: list[DestinationRule], namespace: str, roots: tuple[str, ...]
) -> list[DestinationRule]:
    own = () if namespace in roots else (namespace,)
    for place in dict.fromkeys((*own, service.namespace, *roots)):
        visible = [
            rule
            for rule in rules
            if rule.namespace == place and (rule.exported_to is None or namespace in rule.exported_to)
        ]
        for pattern in patterns_of(service.hostname):
            found = [rule for rule in visible if rule.host == pattern]
            if found:
                return found
    return []


def _merged(service: Service, rules: list[DestinationRule], told: list[Told]) -> TrafficPolicies:
    policy, ports = TrafficPolicy(), Map[int, TrafficPolicy]()
    holder: DestinationRule | None = None
    subsets: dict[str, tuple[Subset, DestinationRule]] = {}
    for rule in rules:
        sets_policy = rule.traffic.policy != TrafficPolicy() or bool(rule.traffic.ports)
        if sets_policy and holder is None:
            holder, policy, ports = rule, rule.traffic.policy, rule.traffic.ports
        elif sets_policy and holder is not None:
            told.append((rule.key, _younger("spec.trafficPolicy", holder, rule.host)))
        for name, subset in rule.traffic.subsets.items():
            if name in subsets:
                older = subsets[name][1]
                told.append((rule.key, _younger(f'spec.subsets["{name}"]', older, rule.host)))
            else:
                subsets[name] = (subset, rule)
        told += [(rule.key, problem) for problem in _stray_ports(service, rule)]
    return TrafficPolicies(policy, ports, Map({name: subset for name, (subset, _) in subsets.items()}))


def _younger(field: str, older: DestinationRule, host: str) -> Problem:
    return Problem(
        field,
        f"does not count for {host}: {older.key} is older and sets it; remove one of them",
        Reason.CONFLICT,
    )


def _stray_ports(service: Service, rule: DestinationRule) -> list[Problem]:
    have = {port.service_port for port in service.ports}
    named = set(rule.traffic.ports).union(*(subset.ports for subset in rule.traffic.subsets.values()))
    if rule.host != service.hostname or not have:
        return []
    return [
        Problem(
            "spec.trafficPolicy.portLevelSettings",
            f"names port {port}, and service {service.key} has {_listed(have)}; name one of these",
            Reason.REFERENCE,
        )
        for port in sorted(named - have)
    ]


def _with_settings(
    policies: TrafficPolicies,
    service: Service,
    settings: list[BackendPolicy],
    opaque_ports: frozenset[int],
    told: list[Told],
) -> TrafficPolicies:
    for setting in (_BUDGET, _PERSISTENCE):
        for port, one in _oldest(setting, service, settings, told):
            policies = _changed(policies, partial(setting.take, one), port)
    for one in settings:
        if one.accrual is not None:
            policies = _changed(policies, lambda policy, one=one: replace(policy, accrual=one.accrual), None)  # type: ignore[misc]
        opaque_ports |= one.opaque_ports
    return replace(policies, opaque_ports=policies.opaque_ports | opaque_ports)


class _Setting(NamedTuple):
    """Something that the oldest object sets for a service or a port of it."""

    field: str
    is_in: Callable[[BackendPolicy], bool]
    take: Callable[[BackendPolicy, TrafficPolicy], TrafficPolicy]


_BUDGET: Final = _Setting(
    "spec.retryConstraint",
    lambda one: one.budget is not None,
    lambda one, policy: replace(policy, budget=one.budget),
)
_PERSISTENCE: Final = _Setting(
    "spec.sessionPersistence",
    lambda one: one.persistence is not None,
    lambda one, policy: replace(policy, persistence=one.persistence),
)


def _oldest(
    setting: _Setting, service: Service, settings: Iterable[BackendPolicy], told: list[Told]
) -> list[tuple[int | None, BackendPolicy]]:
    """Whose word counts, by port; None: for all of them, and first."""
    found: dict[int | None, BackendPolicy] = {}
    for one in filter(setting.is_in, settings):
        ports = {target.port for target in one.targets if host_of(target) == service.hostname}
        for port in sorted(ports, key=lambda port: port or 0):
            older = found.setdefault(port, one)
            if older is not one:
                where = service.key if port is None else f"port {port} of {service.key}"
                why = f"does not count for {where}: {older.key} is older; remove one of them"
                told.append((one.key, no_effect(setting.field, why)))
    return sorted(found.items(), key=lambda item: item[0] or 0)


def _changed(
    policies: TrafficPolicies, change: Callable[[TrafficPolicy], TrafficPolicy], port: int | None
) -> TrafficPolicies:
    """Changed at every level, as none inherits from another; or for one port, which then stands by itself."""
    if port is not None:
        subsets = {
            name: replace(one, ports=one.ports.set(port, change(own)))
            for name, one in policies.subsets.items()
            if (own := one.ports.get(port, one.policy)) is not None
        }
        return replace(
            policies,
            ports=policies.ports.set(port, change(policies.ports.get(port, policies.policy))),
            subsets=policies.subsets.update(subsets),
        )
    return replace(
        policies,
        policy=change(policies.policy),
        ports=Map({number: change(one) for number, one in policies.ports.items()}),
        subsets=Map(
            {
                name: replace(
                    one,
                    policy=None if one.policy is None else change(one.policy),
                    ports=Map({number: change(policy) for number, policy in one.ports.items()}),
                )
                for name, one in policies.subsets.items()
            }
        ),
    )


def _listed(ports: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(ports)))
