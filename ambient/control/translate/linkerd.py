"""linkerd.io ServiceProfile."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from ambient.control.objects import ServiceProfile
from ambient.control.problem import Problem, no_effect
from ambient.control.schema import linkerd as schema
from ambient.control.translate.istio import service_key
from ambient.control.translate.kind import Kind, Translated
from ambient.core.model.route import (
    AllOf,
    AnyOf,
    Backend,
    Condition,
    Forward,
    Not,
    Origin,
    PathMatch,
    PathMatchKind,
    ProfileRoute,
    Protocol,
    ResponseClass,
    Retry,
    RetryOn,
    RouteMatch,
    RouteRule,
    RouteTable,
    TextMatch,
    TextMatchKind,
    Timeouts,
    Unmatched,
)
from ambient.core.model.traffic import RatioBudget

VERSIONS: Final = ("linkerd.io/v1alpha2", "linkerd.io/v1alpha1")

DEFAULT_BUDGET: Final = RatioBudget(ratio=0.2, least_per_second=10, window=timedelta(seconds=10))
_STATUSES: Final = range(100, 600)
_WITHOUT_END: Final = 2**32 - 1
"""Tries: the budget alone ends them, as it does for Linkerd."""
_FAILURES: Final = frozenset({RetryOn.DEADLINE_EXCEEDED, RetryOn.INTERNAL, RetryOn.UNAVAILABLE})
"""gRPC statuses that are failures to Linkerd, as far as there are words for them."""


def _service_profile(read: schema.ServiceProfileDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    warnings: list[Problem] = []
    routes = []
    for i, route in enumerate(spec.routes):
        where = f"spec.routes[{i}]"
        origin = Origin("ServiceProfile", metadata.namespace, metadata.name, where)
        warnings += _traps(route, where)
        routes.append(_route(route, origin))
    budget = None
    if spec.retry_budget is not None:
        told = spec.retry_budget
        budget = RatioBudget(told.retry_ratio, told.min_retries_per_second, told.ttl)
    elif any(route.is_retryable for route in spec.routes):
        budget = DEFAULT_BUDGET
    profile = ServiceProfile(
        namespace=metadata.namespace,
        host=metadata.name,
        routes=tuple(routes),
        budget=budget,
        split=_split(spec.dst_overrides, metadata.namespace, metadata.name),
        opaque_ports=frozenset(port for port, opaque in spec.opaque_ports.items() if opaque),
    )
    return Translated(profile, tuple(warnings))


def _route(route: schema.Route, origin: Origin) -> ProfileRoute:
    classes = tuple(
        ResponseClass(first, last, class_.is_failure)
        for class_ in route.response_classes
        for first, last in _ranges(_fitting(class_.condition))
    )
    retry = None
    if route.is_retryable:
        # Only an answer is a reason: what fails without one is not tried again. Nobody waits in between.
        retry = Retry(
            attempts=_WITHOUT_END,
            on=_FAILURES,
            codes=tuple(_ranges(_failures(classes))),
            backoff=timedelta(),
            any_method=True,
        )
    elif route.is_retryable is False:
        retry = Retry(attempts=0)
    return ProfileRoute(
        origin=origin,
        name=route.name,
        condition=_condition(route.condition),
        timeouts=Timeouts(request=route.timeout or None),
        retry=retry,
        responses=classes,
    )


def _condition(match: schema.RequestMatch) -> Condition:
    parts: list[Condition] = []
    if match.path_regex or match.method:
        parts.append(
            RouteMatch(
                path=PathMatch(PathMatchKind.REGEX, match.path_regex) if match.path_regex else None,
                method=TextMatch(TextMatchKind.EXACT, match.method) if match.method else None,
            )
        )
    if match.all is not None:
        parts.append(AllOf(tuple(map(_condition, match.all))))
    if match.any is not None:
        parts.append(AnyOf(tuple(map(_condition, match.any))))
    if match.not_ is not None:
        parts.append(Not(_condition(match.not_)))
    return parts[0] if len(parts) == 1 else AllOf(tuple(parts))


def _fitting(match: schema.ResponseMatch) -> frozenset[int]:
    """The statuses that a condition is true of."""
    fitting = frozenset(_STATUSES)
    if match.status is not None:
        first, last = match.status.min or match.status.max, match.status.max or match.status.min
        fitting &= frozenset(range(first, last + 1))
    for part in match.all or ():
        fitting &= _fitting(part)
    if match.any is not None:
        fitting &= frozenset[int]().union(*map(_fitting, match.any))
    if match.not_ is not None:
        fitting -= _fitting(match.not_)
    return fitting


def _failures(classes: Sequence[ResponseClass]) -> frozenset[int]:
    """The statuses that are failures: as the first class has it that fits, or 5xx."""
    return frozenset(
        status
        for status in _STATUSES
        if next(
            (class_.is_failure for class_ in classes if class_.first <= status <= class_.last), status >= 500
        )
    )


def _ranges(statuses: Iterable[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for status in sorted(statuses):
        if ranges and ranges[-1][1] == status - 1:
            ranges[-1] = (ranges[-1][0], status)
        else:
            ranges.append((status, status))
    return ranges


def _split(overrides: Sequence[schema.Override] | None, namespace: str, name: str) -> RouteTable | None:
    if not overrides:
        return None
    rule = RouteRule(
        origin=Origin("ServiceProfile", namespace, name, "spec.dstOverrides"),
        action=Forward(tuple(map(_backend, overrides))),
    )
    return RouteTable(Protocol.HTTP, (rule,), Unmatched.SERVICE)


def _backend(override: schema.Override) -> Backend:
    host, _, port = override.authority.partition(":")
    return Backend(service_key(host), int(port) if port else None, weight=override.weight)


def _traps(route: schema.Route, where: str) -> list[Problem]:
    """Where Linkerd does something else than it says."""
    found = []
    for i, class_ in enumerate(route.response_classes):
        place = f"{where}.responseClasses[{i}]"
        fitting = _fitting(class_.condition)
        if not fitting:
            found.append(
                no_effect(f"{place}.condition", "fits no status, so the class has no effect; remove it")
            )
        found += [
            Problem(
                f"{place}.{field}",
                f"has one bound, which is read as {status} alone; Linkerd's proxy drops such a class. Write both",
            )
            for field, status in _one_bound(class_.condition, "condition")
        ]
    if _alternates(route.condition):
        found.append(
            Problem(
                f"{where}.condition",
                "has a pathRegex with | outside of parentheses; the whole path must fit one of its parts, where "
                "Linkerd anchors only the first one's start and the last one's end. Write (?:a|b)",
            )
        )
    return found


def _one_bound(match: schema.ResponseMatch, where: str) -> list[tuple[str, int]]:
    found = []
    if match.status is not None and not (match.status.min and match.status.max):
        found.append((f"{where}.status", match.status.min or match.status.max))
    for field, parts in (("all", match.all), ("any", match.any)):
        for i, part in enumerate(parts or ()):
            found += _one_bound(part, f"{where}.{field}[{i}]")
    if match.not_ is not None:
        found += _one_bound(match.not_, f"{where}.not")
    return found


def _alternates(match: schema.RequestMatch) -> bool:
    parts = [*(match.all or ()), *(match.any or ()), *((match.not_,) if match.not_ else ())]
    return _has_open_alternative(match.path_regex) or any(map(_alternates, parts))


def _has_open_alternative(pattern: str) -> bool:
    depth, skips, in_class = 0, False, False
    for character in pattern:
        if skips:
            skips = False
        elif character == "\\":
            skips = True
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character == "|" and depth == 0:
            return True
        else:
            depth += (character == "(") - (character == ")")
    return False


KINDS: Final = (Kind("ServiceProfile", VERSIONS, schema.ServiceProfileDocument, _service_profile),)
