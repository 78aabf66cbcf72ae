"""Rate limits: how many requests a service takes, in all or from each caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Together:
    """All requests share one limit."""


@dataclass(frozen=True, slots=True)
class ByIdentity:
    """Each identity of a caller has a limit of its own."""


@dataclass(frozen=True, slots=True)
class ByAddress:
    """Each address of a caller has a limit of its own."""


@dataclass(frozen=True, slots=True)
class ByHeader:
    """Each value of a header has a limit of its own; requests without it share one."""

    name: str
    """In lower case."""


@dataclass(frozen=True, slots=True)
class ByClaim:
    """Each value of a claim of the request's token has a limit of its own; requests without it share one."""

    name: str


LimitKey: TypeAlias = Together | ByIdentity | ByAddress | ByHeader | ByClaim


class LimitScope(Enum):
    """Who counts."""

    LOCAL = "local"
    """Each replica of a waypoint by itself."""
    MESH = "mesh"
    """All of them together."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A bucket that ``requests`` tokens flow into in each ``period``, evenly, and that holds ``burst`` of them."""

    name: str
    requests: int
    period: timedelta
    burst: int
    key: LimitKey = Together()
    scope: LimitScope = LimitScope.LOCAL
    dry_run: bool = False
    """Whether what is too much is only counted."""
    ports: frozenset[int] = frozenset()
    """Of the service; empty: every port."""
