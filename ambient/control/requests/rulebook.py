"""Who says what of the requests for which service: the objects, filed by what they name, and what was composed of them.

A change costs what it touches: the services that the object was for before or is for after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ambient.control.objects import Key, RequestPolicy, Telemetry
from ambient.control.problem import Problem, Reason, no_effect
from ambient.control.requests.compose import Composed, Subject, compose, targets_of
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.request_authorization import WAYPOINT_CLASSES, Target

_Note: TypeAlias = Callable[[dict[Any, set[Any]], Any, Any], None]
"""Puts something into an index, or takes it out."""
_Place: TypeAlias = tuple[str, Target]
"""A namespace and what is named in it."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change comes to."""

    upserted: tuple[ServicePolicies, ...] = ()
    removed: tuple[str, ...] = ()
    """Service keys."""


class Rulebook:
    """The policies, and one value for each service behind a waypoint that any of them is for."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        """Namespaces whose policies may be for the whole mesh."""
        self._said: dict[Key, RequestPolicy] = {}
        self._naming: dict[_Place, set[Key]] = {}
        """Policies by what they name."""
        self._wide: dict[str, set[Key]] = {}
        """Policies for all of a namespace."""
        self._subjects: dict[str, dict[str, Subject]] = {}
        """By namespace and service key."""
        self._named: dict[_Place, set[str]] = {}
        """Keys of the services that are behind a waypoint, or are one, by what a policy for them may name."""
        self._within: dict[str, set[str]] = {}
        """The same by the namespaces whose settings count for them."""
        self._bare: dict[_Place, set[str]] = {}
        """Keys of all services by kind and name, for what is said to whom."""
        self._composed: dict[str, Composed] = {}

    def change(
        self, said: Mapping[Key, RequestPolicy | None], subjects_of: Mapping[str, Iterable[Subject]]
    ) -> Changed:
        """Take objects, None: gone; and all services of some namespaces."""
        touched: set[str] = set()
        for namespace, some in subjects_of.items():
            touched |= self._place(namespace, {one.service.key: one for one in some})
        for name, one in said.items():
            for version in (self._said.get(name), one):
                if version is not None:
                    touched |= self._concerned(version)
            self._file(name, one)
        upserted: list[ServicePolicies] = []
        removed: list[str] = []
        for key in sorted(touched):
            before = self._composed.pop(key, None)
            after = self._compose(key)
            if after is not None:
                self._composed[key] = after
            was = _said(key, before)
            now = _said(key, after)
            if now is not None and now != was:
                upserted.append(now)
            elif now is None and was is not None:
                removed.append(key)
        return Changed(tuple(upserted), tuple(removed))

    def problems(self) -> Iterator[tuple[Key, Problem]]:
        """What names what is not there, or is no waypoint's to enforce, and what others stand in the way of."""
        for name, one in sorted(self._said.items()):
            for target in targets_of(one):
                if not self._named.get((one.namespace, target)):
                    yield name, self._in_vain(one.namespace, target)
        found = dict.fromkeys(told for _, one in sorted(self._composed.items()) for told in one.told)
        yield from found

    # Filing

    def _place(self, namespace: str, after: dict[str, Subject]) -> set[str]:
        """The services that are not what they were."""
        before = self._subjects.pop(namespace, {})
        if after:
            self._subjects[namespace] = after
        differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        for key in differing:
            if (subject := before.get(key)) is not None:
                self._index(subject, _discard)
            if (subject := after.get(key)) is not None:
                self._index(subject, _add)
        return differing

    def _index(self, subject: Subject, note: _Note) -> None:
        service = subject.service
        note(self._bare, (service.namespace, Target(service.kind, service.name)), service.key)
        if subject.waypoint is None:
            return
        for place in subject.addressed(self._roots):
            note(self._named, place, service.key)
        for namespace in subject.namespaces(self._roots):
            note(self._within, namespace, service.key)

    def _file(self, name: Key, one: RequestPolicy | None) -> None:
        before = self._said.pop(name, None)
        if before is not None:
            self._file_under(name, before, _discard)
        if one is not None:
            self._file_under(name, one, _add)
            self._said[name] = one

    def _file_under(self, name: Key, one: RequestPolicy, note: _Note) -> None:
        for target in targets_of(one):
            note(self._naming, (one.namespace, target), name)
        if _is_wide(one):
            note(self._wide, one.namespace, name)

    def _concerned(self, one: RequestPolicy) -> set[str]:
        found = {key for target in targets_of(one) for key in self._named.get((one.namespace, target), ())}
        return found | self._within.get(one.namespace, set()) if _is_wide(one) else found

    # Composing

    def _compose(self, key: str) -> Composed | None:
        """None: it is not there, or no waypoint carries its requests."""
        subject = self._subjects.get(key.partition("/")[0], {}).get(key)
        if subject is None or subject.waypoint is None:
            return None
        about = {name for place in subject.addressed(self._roots) for name in self._naming.get(place, ())}
        for namespace in subject.namespaces(self._roots):
            about |= self._wide.get(namespace, set())
        return compose(subject, [self._said[name] for name in about], self._roots)

    def _in_vain(self, namespace: str, target: Target) -> Problem:
        field = "spec.targetRefs"
        named = f"name {target.kind} {target.name}"
        bare = self._bare.get((namespace, target), ())
        match target.kind:
            case "GatewayClass" if namespace not in self._roots:
                return no_effect(
                    field, f"{named}, which counts only in {' and '.join(self._roots)}; move it there"
                )
            case "GatewayClass" if target.name not in WAYPOINT_CLASSES:
                ours = " and ".join(WAYPOINT_CLASSES)
                return Problem(field, f"{named}, which is not ours; ours are {ours}", Reason.REFERENCE)
            case "GatewayClass":
                return no_effect(
                    field, f"{named}, and there is no waypoint yet; make one with `ambient waypoint apply`"
                )
            case "Gateway":
                make = f"ambient waypoint apply {target.name} --namespace {namespace}"
                text = f"{named}, and no waypoint of that name is known in namespace {namespace}; make it with `{make}`"
                return Problem(field, text, Reason.REFERENCE)
            case _ if any(self._subjects[namespace][key].is_waypoint for key in bare):
                return no_effect(field, f"{named}, which is a waypoint itself; name Gateway {target.name}")
            case _ if bare:
                return no_effect(
                    field,
                    f"{named}, which is behind no waypoint, and nobody else enforces this; label it "
                    "istio.io/use-waypoint: NAME",
                )
            case _:
                text = f"{named}, and none of that name is known in namespace {namespace}; add it, or correct the name"
                return Problem(field, text, Reason.REFERENCE)


def _said(key: str, composed: Composed | None) -> ServicePolicies | None:
    """None: nothing is said of the service."""
    if composed is None or composed.policies == ServicePolicies(key):
        return None
    return composed.policies


def _is_wide(one: RequestPolicy) -> bool:
    """Whether it is for all of its namespace, or of the mesh if that is a root."""
    return isinstance(one, Telemetry) and not one.targets and not one.selector


def _add(index: dict[Any, set[Any]], key: Any, value: Any) -> None:  # noqa: ANN401  # Any index.
    index.setdefault(key, set()).add(value)


def _discard(index: dict[Any, set[Any]], key: Any, value: Any) -> None:  # noqa: ANN401
    index[key].discard(value)
    if not index[key]:
        del index[key]
