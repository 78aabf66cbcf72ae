"""Rate limits: how many requests a service takes, in all or from each caller."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from datetime import timedelta


class Together(NamedTuple):
    """All requests share one limit."""


class ByIdentity(NamedTuple):
    """Each identity of a caller has a limit of its own."""


class ByAddress(NamedTuple):
    """Each address of a caller has a limit of its own."""


class ByHeader(NamedTuple):
    """Each value of a header has a limit of its own; requests without it share one."""

    name: str
    """In lower case."""


class ByClaim(NamedTuple):
    """Each value of a claim of the request's token has a limit of its own; requests without it share one."""

    name: str


LimitKey: TypeAlias = Together | ByIdentity | ByAddress | ByHeader | ByClaim


class LimitScope(Enum):
    """Who counts."""

    LOCAL = "local"
    """Each proxy by itself."""
    MESH = "mesh"
    """All proxies together."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A bucket that ``requests`` tokens flow into in each ``period``, evenly, and that holds ``burst`` of them."""

    name: str
    requests: int
    period: timedelta
    burst: int
    key: LimitKey = Together()  # noqa: RUF009
    scope: LimitScope = LimitScope.LOCAL
    dry_run: bool = False
    """Whether what is too much is only counted."""
