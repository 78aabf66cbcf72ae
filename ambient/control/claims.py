"""What only one object can have: addresses, and names of services. Whoever had it keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from ambient.control.objects import Key, Object, Pod, SelectingService, ServiceEntry, WorkloadEntry
from ambient.core.model.address import IpAddress, NetworkAddress

Claim: TypeAlias = NetworkAddress | str
"""An address, or as a text the key of a service."""

REGISTERED: Final = "workload"
"""In place of a kind: of what nodes tell."""


class Claims:
    """Who has what."""

    def __init__(self) -> None:
        self._holders: dict[Claim, Key] = {}
        self._held: dict[Key, tuple[Claim, ...]] = {}

    def holder(self, claim: Claim) -> Key | None:
        """Who has it."""
        return self._holders.get(claim)

    def has_any(self, key: Key) -> bool:
        """Whether it was given what it claimed, and has it still."""
        return key in self._held

    def claim(self, key: Key, claims: tuple[Claim, ...]) -> str | None:
        """Give all of it, in place of what ``key`` had; or nothing, and why not."""
        for claim in claims:
            why = _why_not(claim, key, self._holders.get(claim))
            if why is not None:
                return why
        self.release(key)
        for claim in claims:
            self._holders[claim] = key
        self._held[key] = claims
        return None

    def release(self, key: Key) -> tuple[Claim, ...]:
        """Take back what it has; that is returned."""
        claims = self._held.pop(key, ())
        for claim in claims:
            if self._holders[claim] == key:
                del self._holders[claim]
        return claims

    def disputed(self, objects: Mapping[Key, Object]) -> Mapping[Key, str]:
        """Which of these objects could not have what they want, as another one has it, and why."""
        found: dict[Key, str] = {}
        claims: dict[Claim, Key] = {}
        for key, wanted in objects.items():
            for claim in claims_of(wanted):
                holder = self._holders.get(claim)
                if holder is None or holder in objects:
                    holder = claims.setdefault(claim, key)
                why = _why_not(claim, key, holder)
                if why is not None:
                    found[key] = why
        return found


def claims_of(wanted: Object | None) -> Iterator[Claim]:
    """What an object must have to be in the mesh."""
    match wanted:
        case SelectingService(service, _, _):
            yield service.key
            yield from service.addresses
        case ServiceEntry():
            for one in wanted.services:
                yield one.service.key
                yield from one.service.addresses
        case WorkloadEntry():
            yield NetworkAddress(wanted.network, wanted.address)
        case Pod() if not wanted.host_network:
            yield from (NetworkAddress("", ip) for ip in wanted.addresses)
        case _:
            return


def _why_not(claim: Claim, key: Key, holder: Key | None) -> str | None:
    is_others = holder not in {None, key} and not _are_same(key, holder)
    if isinstance(claim, str):
        host = claim.partition("/")[2]
        return f"host {host} is {holder}'s already; name another, or remove that one" if is_others else None
    why = unusable(claim.ip)
    if why is None and is_others:
        why = f"is {holder}'s already; give it another, or remove that one"
    return None if why is None else f"address {claim.ip} {why}"


def _are_same(key: Key, holder: Key | None) -> bool:
    """Whether both are one pod: as the cluster has it, and as its node tells of it."""
    return holder is not None and key[1:] == holder[1:] and {key.kind, holder.kind} == {"Pod", REGISTERED}


def unusable(ip: IpAddress) -> str | None:
    """Why nobody can have an address; None: somebody can."""
    for kind, is_so in (
        ("loopback", ip.is_loopback),
        ("multicast", ip.is_multicast),
        ("unspecified", ip.is_unspecified),
        ("link-local", ip.is_link_local),
    ):
        if is_so:
            return f"is {kind} and cannot be reached from other nodes; give it another"
    return None
