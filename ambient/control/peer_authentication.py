"""PeerAuthentication, once all of them are known: the authorizations that stand for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Peers:
    """PeerAuthentication as one namespace sees it."""

    inherited: Mode
    """Where a workload's own policy says nothing, or there is none."""
    inherited_from: PeerAuthentication | None
    """Which policy says so; None: no policy does."""
    selecting: tuple[PeerAuthentication, ...]
    port_level: Mapping[str, Authorization]
    """By name of the policy that it stands for."""
    warnings: tuple[str, ...]
    root: str
    """The namespace of what stands for all of STRICT."""

    def refusing(self, labels: Mapping[str, str]) -> str | None:
        """The authorization (its key) by which a workload with ``labels`` takes no plaintext; None: it takes it."""
        own = self._own(labels)
        if own is not None and own.name in self.port_level:
            return self.port_level[own.name].key
        strict = self.inherited is Mode.STRICT if own is None else is_strict(own, self.inherited)
        return static_strict(self.root).key if strict else None

    def refused_by(self, labels: Mapping[str, str]) -> PeerAuthentication | None:
        """The policy by which a workload with ``labels`` takes no plaintext, on some port at least; None: it takes it."""
        own = self._own(labels)
        if own is not None and Mode.STRICT in own.ports.values():
            return own
        deciding = self.inherited_from if own is None or own.mode is Mode.UNSET else own
        return deciding if deciding is not None and deciding.mode is Mode.STRICT else None

    def _own(self, labels: Mapping[str, str]) -> PeerAuthentication | None:
        return oldest(tuple(policy for policy in self.selecting if selects(policy.selector, labels)))


class PeerPolicies:
    """All that there are, by namespace and name."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        self._policies: dict[str, dict[str, PeerAuthentication]] = {}

    @property
    def has_strict(self) -> bool:
        """Whether any of them says STRICT for all ports."""
        return any(
            policy.mode is Mode.STRICT for policies in self._policies.values() for policy in policies.values()
        )

    def hold(self, policy: PeerAuthentication) -> None:
        """Hold it, in place of any of that name."""
        self._policies.setdefault(policy.namespace, {})[policy.name] = policy

    def drop(self, namespace: str, name: str) -> None:
        """Hold it no longer, if it was held."""
        self._policies.get(namespace, {}).pop(name, None)

    def seen_from(self, namespace: str) -> Peers:
        """Mesh, then namespace, then workload: each may leave the mode to the one before."""
        is_root = namespace in self._roots
        deciding: PeerAuthentication | None = None
        warnings: list[str] = []
        for places in (self._roots, () if is_root else (namespace,)):
            policies = tuple(policy for place in places for policy in self._of(place) if not policy.selector)
            counting = oldest(policies)
            if counting is not None and counting.mode is not Mode.UNSET:
                deciding = counting
            warnings += [
                f"{policy.key}: has no effect, as {counting.key} is older and as wide; remove one of them"
                for policy in policies
                if counting is not None and policy is not counting and policy.namespace == namespace
            ]
        selecting = () if is_root else tuple(policy for policy in self._of(namespace) if policy.selector)
        inherited = Mode.UNSET if deciding is None else deciding.mode
        converted = {policy.name: port_level(policy, inherited) for policy in selecting}
        return Peers(
            inherited,
            deciding,
            selecting,
            {name: authorization for name, authorization in converted.items() if authorization is not None},
            tuple(warnings),
            self._roots[0],
        )

    def _of(self, namespace: str) -> Iterable[PeerAuthentication]:
        return self._policies.get(namespace, {}).values()


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


def _synthetic(namespace: str, name: str, match: Match) -> Authorization:
    return Authorization(name, namespace, Scope.WORKLOAD_SELECTOR, Action.DENY, (((match,),),))
