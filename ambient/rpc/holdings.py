"""What a subscriber holds, as it came, and one number for all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ambient.core.checksum import digest, moved

if TYPE_CHECKING:
    from ambient.rpc.wire import Name, RawResource, Update


class Holdings:
    """Resources by type and name."""

    def __init__(self) -> None:
        self._resources: dict[str, dict[str, RawResource]] = {}
        self._checksums: dict[str, int] = {}

    def __iter__(self) -> Iterator[RawResource]:
        for resources in self._resources.values():
            yield from resources.values()

    def __contains__(self, name: Name) -> bool:
        of_type, own = name
        return own in self._resources.get(of_type, {})

    def __len__(self) -> int:
        return sum(map(len, self._resources.values()))

    def apply(self, update: Update) -> None:
        """Take a change."""
        for type_url, name in update.removed:
            held = self._resources.get(type_url, {}).pop(name, None)
            self._move(type_url, went=_digest(held))
        for raw in update.upserted:
            held = self._resources.setdefault(raw.type_url, {}).get(raw.name)
            self._resources[raw.type_url][raw.name] = raw
            self._move(raw.type_url, came=_digest(raw), went=_digest(held))

    def versions(self, type_url: str) -> dict[str, str]:
        """By name."""
        return {name: raw.version for name, raw in self._resources.get(type_url, {}).items()}

    def digest(self, type_url: str, name: str) -> int:
        """Of one resource; 0 if it is not held."""
        return _digest(self._resources.get(type_url, {}).get(name))

    def checksum(self, type_url: str) -> int:
        """Of all of a type, as kept from change to change."""
        return self._checksums.get(type_url, 0)

    def recount(self, type_url: str) -> int:
        """The checksum of what is really there; it is kept from now on."""
        self._checksums[type_url] = 0
        for raw in self._resources.get(type_url, {}).values():
            self._move(type_url, came=_digest(raw))
        return self._checksums[type_url]

    def _move(self, type_url: str, *, came: int = 0, went: int = 0) -> None:
        self._checksums[type_url] = moved(self._checksums.get(type_url, 0), came=came, went=went)


def _digest(raw: RawResource | None) -> int:
    return 0 if raw is None else digest(raw.name, raw.body)
