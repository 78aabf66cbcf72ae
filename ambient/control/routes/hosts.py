"""Host names, and patterns of them: a whole name, ``*.`` before a domain for all below it, or ``*``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.control.objects import (
    BackendPolicy,
    DestinationRule,
    L7Object,
    Route,
    ServiceProfile,
    ServiceRef,
    VirtualService,
)
from ambient.control.translate.kubernetes import DOMAIN
from ambient.core.model.route import Backend, Forward, Redirect, Respond, RouteRule, RouteTable

if TYPE_CHECKING:
    from collections.abc import Iterator


def patterns_of(hostname: str) -> tuple[str, ...]:
    """All that a name fits, the most precise first."""
    labels = hostname.split(".")
    return (hostname, *("*." + ".".join(labels[i:]) for i in range(1, len(labels))), "*")


def is_for(pattern: str, hostname: str) -> bool:
    """Whether a name fits a pattern."""
    if pattern.startswith("*"):
        return hostname.endswith(pattern[1:])
    return pattern == hostname


def host_of(reference: ServiceRef) -> str:
    """The name of a Kubernetes service."""
    return f"{reference.name}.{reference.namespace}.{DOMAIN}"


def named(said: L7Object) -> tuple[str, ...]:
    """Names and patterns of the services that an object is about."""
    match said:
        case Route():
            return tuple(dict.fromkeys(host_of(parent) for parent in said.parents))
        case BackendPolicy():
            return tuple(dict.fromkeys(host_of(target) for target in said.targets))
        case VirtualService():
            return said.hosts
        case DestinationRule() | ServiceProfile():
            return (said.host,)


def referred(said: L7Object) -> frozenset[str]:
    """Names of the services that an object sends requests to."""
    match said:
        case Route():
            rules = said.rules
        case VirtualService():
            rules = tuple(rule for table in said.tables for rule in table.rules)
        case ServiceProfile():
            rules = () if said.split is None else said.split.rules
        case BackendPolicy() | DestinationRule():
            rules = ()
    return frozenset(backend.service.partition("/")[2] for rule in rules for backend in backends_of(rule))


def backends_of(rule: RouteRule) -> Iterator[Backend]:
    """Everyone a rule sends requests or copies of them to."""
    yield from (mirror.backend for mirror in rule.filters.mirrors)
    match rule.action:
        case Forward(backends):
            for backend in backends:
                yield backend
                yield from (mirror.backend for mirror in backend.filters.mirrors)
        case Redirect() | Respond():
            return


def tables_of(said: VirtualService | ServiceProfile) -> tuple[RouteTable, ...]:
    """The tables of an object that has them ready."""
    match said:
        case VirtualService():
            return said.tables
        case ServiceProfile():
            return () if said.split is None else (said.split,)
