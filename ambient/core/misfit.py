"""Why a policy does not fit a connection: what its rules ask for, beside what the connection is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ambient.core.matching import Compiled, Facts
from ambient.core.model.authorization import (
    Match,
    ServiceAccountMatch,
    StringMatch,
    StringMatchKind,
)

if TYPE_CHECKING:
    from ambient.core.authorize import Connection
    from ambient.core.model.authorization import Authorization, Clause

_FIELDS: Final = {
    "namespaces": "namespace",
    "principals": "principal",
    "service_accounts": "service account",
    "source_ips": "source address",
    "destination_ips": "destination address",
    "destination_ports": "port",
}


def misfits(policy: Authorization, connection: Connection) -> tuple[str, ...]:
    """For each rule of a policy that does not fit ``connection``, what it asks for and what it meets."""
    if not policy.rules:
        return ("it has no rules, so it fits nobody",)
    facts = Facts(connection.source_identity, connection.source, connection.destination)
    return tuple(
        f"rules[{number}] asks for {' and '.join(_asked(policy, rule, facts, connection))}"
        for number, rule in enumerate(policy.rules)
        if not _fits(policy, rule, facts)
    )


def _asked(
    policy: Authorization, rule: tuple[Clause, ...], facts: Facts, connection: Connection
) -> Iterator[str]:
    for clause in rule:
        if _fits(policy, (clause,), facts):
            continue
        # A match that names nothing fits nothing.
        wanted = [failing for match in clause if (failing := tuple(_failing(policy, match, facts)))]
        yield _sentence(min(wanted, key=len), connection) if wanted else "what nothing can be"


def _failing(policy: Authorization, match: Match, facts: Facts) -> Iterator[tuple[str, tuple[object, ...]]]:
    """The fields of a match that do not hold, with their values."""
    for name in _FIELDS:
        for field in (name, f"not_{name}"):
            values = getattr(match, field)
            if values and not _fits(policy, ((replace(Match(), **{field: values}),),), facts):
                yield field, values


def _fits(policy: Authorization, rule: tuple[Clause, ...], facts: Facts) -> bool:
    return Compiled(replace(policy, rules=(rule,))).fits(facts)


def _sentence(failing: tuple[tuple[str, tuple[object, ...]], ...], connection: Connection) -> str:
    return ", ".join(
        f"{'another ' if field.startswith('not_') else ''}{_FIELDS[field.removeprefix('not_')]} "
        f"{'than ' if field.startswith('not_') else ''}{' or '.join(map(_shown, values))} "
        f"(it is {_met(field.removeprefix('not_'), connection)})"
        for field, values in failing
    )


def _met(field: str, connection: Connection) -> str:
    identity = connection.source_identity
    match field:
        case "source_ips":
            return str(connection.source.ip)
        case "destination_ips":
            return str(connection.destination.ip)
        case "destination_ports":
            return str(connection.destination.port)
        case _ if identity is None:
            return "unknown, as nobody vouches for plain TCP"
        case "namespaces":
            return identity.namespace
        case "service_accounts":
            return f"{identity.namespace}/{identity.service_account}"
        case _:
            return str(identity).removeprefix("spiffe://")


def _shown(value: object) -> str:
    match value:
        case StringMatch(StringMatchKind.PRESENCE):
            return "any"
        case StringMatch(StringMatchKind.PREFIX, text):
            return f"{text}*"
        case StringMatch(StringMatchKind.SUFFIX, text):
            return f"*{text}"
        case StringMatch(StringMatchKind.EXACT, text):
            return text
        case ServiceAccountMatch(namespace, account):
            return f"{namespace}/{account}"
        case _:
            return str(value)
