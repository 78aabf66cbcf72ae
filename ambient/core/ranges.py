"""Names by range of addresses, of which the longest that holds an address counts.

A lookup asks once for each prefix length that is in use, however many ranges there are. Like the snapshot it is part of,
this never changes: what ``add`` and ``discard`` return shares the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from immutables import Map

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress, NetworkRange

K = TypeVar("K")
V = TypeVar("V")
_Names: TypeAlias = frozenset[str]
_Level: TypeAlias = tuple[int, Map[int, _Names]]
"""A prefix length, and the names by what is left of an address when the rest is shifted out."""
_Levels: TypeAlias = tuple[_Level, ...]
"""The longest prefix first."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """By network and IP version."""

    _levels: Map[tuple[str, int], _Levels] = Map()  # noqa: RUF009

    def add(self, held: NetworkRange, name: str) -> Ranges:
        """With one more name of a range."""
        return self._with(held, self._names(held) | {name})

    def discard(self, held: NetworkRange, name: str) -> Ranges:
        """Without it."""
        return self._with(held, self._names(held) - {name})

    def find(self, ip: IpAddress, network: str = "") -> _Names:
        """Names of the longest range with the address."""
        for length, names in self._levels.get((network, ip.version), ()):
            found = names.get(int(ip) >> (ip.max_prefixlen - length))
            if found:
                return found
        return frozenset()

    def _names(self, held: NetworkRange) -> _Names:
        return dict(self._of(held)).get(held.range.prefixlen, Map()).get(_prefix(held), frozenset())

    def _of(self, held: NetworkRange) -> _Levels:
        return self._levels.get((held.network, held.range.version), ())

    def _with(self, held: NetworkRange, names: _Names) -> Ranges:
        levels = dict(self._of(held))
        before = levels.pop(held.range.prefixlen, Map())
        after = before.set(_prefix(held), names) if names else _without(before, _prefix(held))
        if after:
            levels[held.range.prefixlen] = after
        space = held.network, held.range.version
        if levels:
            return Ranges(self._levels.set(space, tuple(sorted(levels.items(), key=_length, reverse=True))))
        return Ranges(_without(self._levels, space))


def _prefix(held: NetworkRange) -> int:
    return int(held.range.network_address) >> (held.range.max_prefixlen - held.range.prefixlen)


def _length(level: _Level) -> int:
    return level[0]


def _without(names: Map[K, V], key: K) -> Map[K, V]:
    return names.delete(key) if key in names else names
