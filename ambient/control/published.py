"""What is published, and what of it who needs.

Adding a type to the stream is a line in ``TYPES``. Whoever publishes says of each resource what it is ``About``; nothing
here knows what a workload is but ``about``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from ambient.core.checksum import moved
from ambient.core.model.authorization import Authorization, Scope
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.service import Service
from ambient.core.model.settings import MeshSettings
from ambient.core.model.workload import Workload
from ambient.rpc import trust
from ambient.rpc.wire import ADDRESS, AUTHORIZATION, POLICIES, ROUTES, SETTINGS

if TYPE_CHECKING:
    from ambient.core.delta import Resource
    from ambient.rpc.discovery import Entry


class Audience(Enum):
    """Who hears of a type with ``*``. By name anybody may ask for anything."""

    EVERYONE = auto()
    CONCERNED = auto()
    """Of each resource, those nodes that run something which it reaches."""


TYPES: Final[Mapping[str, Audience]] = {
    trust.BUNDLE: Audience.EVERYONE,
    trust.REVOCATIONS: Audience.EVERYONE,
    SETTINGS: Audience.EVERYONE,
    AUTHORIZATION: Audience.CONCERNED,
    POLICIES: Audience.EVERYONE,
    ROUTES: Audience.EVERYONE,
    ADDRESS: Audience.EVERYONE,
}
"""In the order of sending: whom to trust comes before those who prove it, a policy before whom it is for."""


@dataclass(frozen=True, slots=True)
class About:
    """What decides who needs a resource."""

    aliases: tuple[str, ...] = ()
    """What else it may be asked for by; several resources may share one."""
    part_of: tuple[str, ...] = ()
    """Names of the same type: who asked for one of these needs this too."""
    node: str = ""
    """Where it is: that node needs it unasked."""
    concerns: tuple[str, ...] = ()
    """What reaches that node because of it."""
    reach: str = ""
    """Which concern brings it to a node; empty: it concerns all."""


def about(resource: Resource) -> About:
    """Who needs one of the mesh's nouns.

    Aliases are those that a ztunnel asks for: ``network/address``. A policy is enforced where its workloads run, so it
    reaches a node through their namespace, or through a workload that names it.
    """
    match resource:
        case Workload():
            return About(
                aliases=tuple(f"{resource.network}/{ip}" for ip in resource.addresses),
                part_of=tuple(resource.services),
                node=resource.node,
                concerns=(resource.namespace, *resource.policies),
            )
        case Service():
            return About(tuple(f"{address.network}/{address.ip}" for address in resource.addresses))
        case Authorization(scope=Scope.GLOBAL):
            return About()
        case Authorization(scope=Scope.NAMESPACE):
            return About(reach=resource.namespace)
        case Authorization():
            return About(reach=resource.key)
        case ServiceRoutes() | ServicePolicies() | MeshSettings():
            return About()


NOTHING_SPECIAL: Final = About()


class Shelf:
    """Everything that is published of one type."""

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self.checksum = 0
        self._entries: dict[str, Entry] = {}
        self._about: dict[str, About] = {}
        self._aliases: dict[str, set[str]] = {}
        self._parts: dict[str, set[str]] = {}
        self._nodes: dict[str, set[str]] = {}
        self._reach: dict[str, set[str]] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, name: str) -> Entry | None:
        """What is published under a name."""
        return self._entries.get(name)

    def about(self, name: str) -> About:
        """Who needs it."""
        return self._about.get(name, NOTHING_SPECIAL)

    def named(self, asked: str) -> set[str]:
        """Names of what is meant by a name or an alias."""
        return {asked} if asked in self._entries else self._aliases.get(asked, set())

    def parts(self, name: str) -> set[str]:
        """Names of what is part of it."""
        return self._parts.get(name, set())

    def on_node(self, node: str) -> set[str]:
        """Names of what is there."""
        return self._nodes.get(node, set())

    def reaching(self, concern: str) -> set[str]:
        """Names of what a concern brings; of what concerns all for the empty one."""
        return self._reach.get(concern, set())

    def put(self, entry: Entry, of: About) -> None:
        """Publish, in place of what has that name."""
        self.remove(entry.name)
        self.checksum = moved(self.checksum, came=entry.digest)
        self._entries[entry.name] = entry
        if of != NOTHING_SPECIAL:
            self._about[entry.name] = of
        for index, key in self._keys(of):
            index.setdefault(key, set()).add(entry.name)

    def remove(self, name: str) -> Entry | None:
        """Publish no more; what it was."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return None
        self.checksum = moved(self.checksum, went=entry.digest)
        for index, key in self._keys(self._about.pop(name, NOTHING_SPECIAL)):
            index[key].discard(name)
            if not index[key]:
                del index[key]
        return entry

    def _keys(self, of: About) -> Iterator[tuple[dict[str, set[str]], str]]:
        for alias in of.aliases:
            yield self._aliases, alias
        for whole in of.part_of:
            yield self._parts, whole
        if of.node:
            yield self._nodes, of.node
        yield self._reach, of.reach
