"""PeerAuthentication, once all of them are known: the authorizations that stand for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from ambient.control.objects import Mode, PeerAuthentication, selects
from ambient.core.model.authorization import (
    Action,
    Authorization,
    Match,
    Scope,
    StringMatch,
    StringMatchKind,
)

STATIC_STRICT: Final = "istio_converted_static_strict"
_ANYBODY: Final = (StringMatch(StringMatchKind.PRESENCE, ""),)


def static_strict(root_namespace: str) -> Authorization:
    """Denies every plaintext connection. No file can hold an object of this name: an underscore is not allowed."""
    return _synthetic(root_namespace, STATIC_STRICT, Match(not_principals=_ANYBODY))


def port_level(policy: PeerAuthentication, inherited: Mode) -> Authorization | None:
    """What a policy with port exceptions denies; None if all of its ports are as its default.

    ``inherited`` is the mode where the policy sets none.
    """
    default = is_strict(policy, inherited)
    exceptions = tuple(
        sorted(
            port
            for port, mode in policy.ports.items()
            if mode is not Mode.UNSET and (mode is Mode.STRICT) != default
        )
    )
    if not exceptions:
        return None
    plaintext = Match(not_principals=_ANYBODY)
    match = (
        replace(plaintext, not_destination_ports=exceptions)
        if default
        else replace(plaintext, destination_ports=exceptions)
    )
    return _synthetic(policy.namespace, f"converted_peer_authentication_{policy.name}", match)


def is_strict(policy: PeerAuthentication, inherited: Mode) -> bool:
    """Whether ports without an exception of their own take no plaintext."""
    return (inherited if policy.mode is Mode.UNSET else policy.mode) is Mode.STRICT


def oldest(policies: tuple[PeerAuthentication, ...]) -> PeerAuthentication | None:
    """The one that counts. With no time of creation a policy is younger than any; names break ties."""
    return min(
        policies,
        key=lambda policy: (policy.created == "", policy.created, policy.namespace, policy.name),
        default=None,
    )


def refusing_plaintext(
    policies: Iterable[PeerAuthentication], namespace: str, labels: Mapping[str, str], roots: Collection[str]
) -> PeerAuthentication | None:
    """The policy by which a workload with ``labels`` takes no plaintext, on some port at least; None: it takes it.

    Workload before namespace before mesh; the first that sets a mode counts.
    """
    every = tuple(policies)
    selecting = tuple(
        one for one in every if one.namespace == namespace and one.selector and selects(one.selector, labels)
    )
    own = oldest(selecting) if namespace not in roots else None
    wide = [
        oldest(tuple(one for one in every if one.namespace in places and not one.selector))
        for places in ((namespace,) if namespace not in roots else (), roots)
    ]
    if own is not None and Mode.STRICT in own.ports.values():
        return own
    deciding = next((one for one in (own, *wide) if one is not None and one.mode is not Mode.UNSET), None)
    return deciding if deciding is not None and deciding.mode is Mode.STRICT else None


def _synthetic(namespace: str, name: str, match: Match) -> Authorization:
    return Authorization(name, namespace, Scope.WORKLOAD_SELECTOR, Action.DENY, (((match,),),))
