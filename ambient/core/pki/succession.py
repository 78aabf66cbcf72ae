"""How one root follows another, so that at no time anyone shows a certificate that another does not believe.

    Steady ── Begin ──> Spreading ── Sign ──> Retiring ── Remove ──> Steady
    A signs             A signs               B signs                B signs
    A trusted           A, B trusted          B, A trusted           B trusted

``Sign`` waits until every node that holds a certificate has said that it trusts B; ``Remove`` until the last
certificate of A has ended. Each state is kept on disk before anything is done by it, so that whoever comes after a
crash goes on from there. Authorities are known by name here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

SHARE: Final = 0.8
"""Of the life of a root: what is over when its successor is made."""
RESERVE: Final = 2
"""Lives of a leaf. With no more left of the root that signs, its successor signs, whoever has not heard of it: what
the old one signs would end no later."""


@dataclass(frozen=True, slots=True)
class Steady:
    """One authority, which is trusted and signs."""

    signing: str


@dataclass(frozen=True, slots=True)
class Spreading:
    """Another is trusted as well, as far as nodes have heard of it."""

    signing: str
    coming: str


@dataclass(frozen=True, slots=True)
class Retiring:
    """The other signs; the one before is trusted for what it has signed."""

    signing: str
    leaving: str
    until: datetime
    """When the last certificate of ``leaving`` has ended."""


State: TypeAlias = Steady | Spreading | Retiring


@dataclass(frozen=True, slots=True)
class Facts:
    """What the next step depends on."""

    now: datetime
    wanted: bool
    """An operator has asked for another root, or has given one."""
    renews_itself: bool
    """Roots are made here: one that grows old is replaced without being asked."""
    root_began: datetime
    root_ends: datetime
    """Of the authority that signs."""
    leaf_lifetime: timedelta
    """The longest that a leaf lives."""
    last_leaf: datetime | None
    """The end of the last leaf that the authority which signs has signed; None: it has signed none that still counts."""
    unaware: frozenset[str]
    """Nodes that hold a valid certificate and have not said that they trust what is trusted now."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Take in a successor, and tell every node to trust it."""


@dataclass(frozen=True, slots=True)
class Sign:
    """Have the successor sign."""

    until: datetime
    """No leaf of the one before lives longer."""
    left_behind: frozenset[str]
    """Nodes that have not heard of it and cannot be waited for: they may know no one who calls them."""


@dataclass(frozen=True, slots=True)
class Remove:
    """Trust the one before no more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done."""

    why: str
    """For whoever asks; empty: because all is well."""


Step: TypeAlias = Begin | Sign | Remove | Wait


def next_step(state: State, facts: Facts) -> Step:
    """What is to be done now."""
    match state:
        case Steady():
            return Begin() if facts.wanted or (facts.renews_itself and is_old(facts)) else Wait("")
        case Spreading():
            until = max(facts.now + facts.leaf_lifetime, facts.last_leaf or facts.now)
            if not facts.unaware:
                return Sign(until, frozenset())
            if facts.root_ends - facts.now <= RESERVE * facts.leaf_lifetime:
                return Sign(until, facts.unaware)
            return Wait(f"nodes that have not heard of the new root yet: {', '.join(sorted(facts.unaware))}")
        case Retiring():
            if facts.now >= state.until:
                return Remove()
            return Wait(f"certificates of the root before live until {state.until:%FT%TZ}")


def is_old(facts: Facts) -> bool:
    """Whether it is time for a successor."""
    life = facts.root_ends - facts.root_began
    reserve = 2 * RESERVE * facts.leaf_lifetime
    return facts.now >= min(facts.root_began + life * SHARE, facts.root_ends - reserve)


def begun(state: Steady, coming: str) -> Spreading:
    """After ``Begin``, when the authority ``coming`` is at hand."""
    return Spreading(state.signing, coming)


def signing(state: Spreading, step: Sign) -> Retiring:
    """After ``Sign``."""
    return Retiring(state.coming, state.signing, step.until)


def removed(state: Retiring) -> Steady:
    """After ``Remove``."""
    return Steady(state.signing)


def trusted(state: State) -> tuple[str, ...]:
    """Who is trusted: the one that signs, then the other."""
    match state:
        case Steady():
            return (state.signing,)
        case Spreading():
            return (state.signing, state.coming)
        case Retiring():
            return (state.signing, state.leaving)
