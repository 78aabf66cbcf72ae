"""Where configuration comes from besides the API: a watched folder; a cluster's API server can be another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something is there and cannot be read."""

    why: str


Content: TypeAlias = bytes | Unreadable
"""YAML or JSON: any number of objects."""


@dataclass(frozen=True, slots=True)
class Change:
    """What has happened to a source."""

    changed: Mapping[str, Content] = field(default_factory=dict)
    """By origin: what the source calls the place of these objects, such as the path of a file."""
    removed: frozenset[str] = frozenset()
    trouble: str = ""
    """Why the source itself cannot be read; what came from it is taken to be as it was."""


Changes: TypeAlias = AsyncIterator[Change]


class Source(Protocol):
    """One place that objects come from."""

    @property
    def name(self) -> str:
        """A stable word, such as ``folder``."""

    @property
    def place(self) -> str:
        """Which one, for people."""

    def watch(self) -> Changes:
        """First everything that is there, then each change. Raises ConfigError if it is not there at first."""
