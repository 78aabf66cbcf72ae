"""What one subscriber wants of one type and has still to hear: the delta protocol of xDS, with no wire in sight.

One response is under way at a time. What changes meanwhile is remembered by name alone and read when its turn comes, so
that a slow subscriber costs at most one entry for each resource and hears the newest state.

A subscriber that hears of everything has no list of what it holds: it holds what is published, less what is pending.
Any other has the names that were chosen for it; they only grow, as what it was told of once it must hear the end of,
and a policy must not leave a node before the workload that it guards. Source: Envoy's xDS protocol, "Incremental xDS";
on-demand subscription as istiod and ztunnel have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ambient.control.published import Audience
from ambient.core.checksum import moved

if TYPE_CHECKING:
    from ambient.control.published import Shelf
    from ambient.rpc.discovery import Entry, Refusal

ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class Change:
    """Something was published, changed or taken back."""

    name: str
    was_there: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What to tell a subscriber at once."""

    upserted: tuple[Entry, ...]
    removed: tuple[str, ...]


class Interest:
    """``concerns`` is what reaches the subscriber's node; its owner lets it grow and says so with ``concern``."""

    def __init__(self, shelf: Shelf, node: str, concerns: set[str]) -> None:
        self._shelf, self._node, self._concerns = shelf, node, concerns
        self._is_wildcard = False
        self._asked: set[str] = set()
        """Names and aliases, as they were asked for."""
        self._chosen: set[str] = set()
        """Names of what it hears of, unless it hears of everything."""
        self._pending: dict[str, bool] = {}
        """By name, in the order of change, whether the subscriber may hold it, and so must be told that it is gone."""
        self._under_way: tuple[str, ...] | None = None
        """What the response was about that is not answered yet."""
        self._is_first = True
        """Nothing was sent: even an empty answer says that this is all."""
        self.refused: dict[str, str] = {}
        """By name, why the subscriber did not take what it was sent last; the empty name: it did not say which."""

    @property
    def is_waiting(self) -> bool:
        """Whether a response is under way."""
        return self._under_way is not None

    @property
    def pending_count(self) -> int:
        """Of how many resources it has still to be told."""
        return len(self._pending)

    @property
    def asked_count(self) -> int:
        """How many names were asked for."""
        return len(self._asked)

    @property
    def checksum(self) -> int | None:
        """Of all that the subscriber holds, once it has what it was sent; None while there is more to tell."""
        if self._pending:
            return None
        if self._hears_all:
            return self._shelf.checksum
        checksum = 0
        for name in self._chosen:
            entry = self._shelf.get(name)
            checksum = moved(checksum, came=0 if entry is None else entry.digest)
        return checksum

    # What the subscriber says

    def begin(self, subscribe: Iterable[str], unsubscribe: Iterable[str], held: Mapping[str, str]) -> None:
        """Its first words on this type; ``held`` are versions by name that it has of an earlier stream."""
        wanted, left = set(subscribe), set(unsubscribe)
        # All at once, in either order, is how a ztunnel asks for nothing yet.
        self._is_wildcard = (not wanted or ALL in wanted) and ALL not in left
        self._asked = wanted - left - {ALL}
        if not self._is_wildcard:
            self._asked |= held.keys() - left
        self._chosen = set() if self._hears_all else set(held)
        for name, version in held.items():
            entry = self._shelf.get(name)
            if entry is None or entry.version != version:
                self._pending[name] = True
        self._choose(self._selection())
        if self._hears_all:
            for entry in self._shelf:
                if entry.name not in held:
                    self._pending[entry.name] = False
        for name in self._asked - held.keys():
            self._ask(name)

    def change(self, subscribe: Iterable[str], unsubscribe: Iterable[str]) -> None:
        """It wants more, or less. What it asks for by name it is sent, also if it had it."""
        wanted, left = set(subscribe), set(unsubscribe)
        if left:
            self._asked -= left
            self._is_wildcard = self._is_wildcard and ALL not in left
            self._forget(left)
        if ALL in wanted and not self._is_wildcard:
            held = self._chosen
            self._is_wildcard = True
            self._choose(self._selection())
            if self._hears_all:
                self._pending = {entry.name: entry.name in held for entry in self._shelf} | self._pending
                self._chosen = set()
        for name in wanted - {ALL}:
            self._asked.add(name)
            self._ask(name)

    def answered(self, error: str, refusals: Iterable[Refusal]) -> None:
        """It has taken what was under way, but for what it refuses."""
        about, self._under_way = self._under_way or (), None
        for name in about:
            self.refused.pop(name, None)
        self.refused.pop("", None)
        if not error:
            return
        named = {refusal.name: refusal.why for refusal in refusals if refusal.name in about}
        # Others' proxies say it in their own words.
        self.refused |= named or {name: error for name in about if name in error} or {"": error}

    # What happens

    def changed(self, changes: Iterable[Change]) -> None:
        """Resources have changed."""
        if self._hears_all:
            for change in changes:
                self._pending.setdefault(change.name, change.was_there)
            return
        for change in changes:
            if change.name in self._chosen:
                self._pending.setdefault(change.name, True)
            elif self._shelf.get(change.name) is not None and self._wants(change.name):
                self._choose(self._with_parts({change.name}))

    def concern(self, concerns: Iterable[str]) -> None:
        """More reaches the subscriber's node."""
        if self._is_wildcard and not self._hears_all:
            self._choose(set[str]().union(*map(self._shelf.reaching, concerns)))

    def take(self, most: int, *, even_nothing: bool) -> Told | None:
        """What to tell next, which is then under way; None: nothing, unless that is worth telling."""
        upserted: list[Entry] = []
        removed: list[str] = []
        for name in list(self._pending)[:most]:
            may_hold = self._pending.pop(name)
            entry = self._shelf.get(name)
            if entry is not None:
                upserted.append(entry)
            else:
                self._chosen.discard(name)
                if may_hold:
                    removed.append(name)
        if not (upserted or removed or self._is_first or even_nothing):
            return None
        self._is_first = False
        self._under_way = (*(entry.name for entry in upserted), *removed)
        return Told(tuple(upserted), tuple(removed))

    # What it hears of

    @property
    def _hears_all(self) -> bool:
        return self._is_wildcard and self._shelf.audience is Audience.EVERYONE

    def _wants(self, name: str) -> bool:
        of = self._shelf.about(name)
        if name in self._asked or not self._asked.isdisjoint(of.aliases):
            return True
        if self._is_wildcard:
            return not of.reach or of.reach in self._concerns
        return of.node == self._node or not self._chosen.isdisjoint(of.part_of)

    def _selection(self) -> set[str]:
        """All that is wanted of what is there; nothing if it hears of everything."""
        if self._hears_all:
            return set()
        asked = set[str]().union(*map(self._shelf.named, self._asked))
        if self._is_wildcard:
            return asked.union(self._shelf.reaching(""), *map(self._shelf.reaching, self._concerns))
        return self._with_parts(asked | self._shelf.on_node(self._node))

    def _with_parts(self, names: set[str]) -> set[str]:
        return names.union(*map(self._shelf.parts, names))

    def _choose(self, names: set[str]) -> None:
        for name in sorted(names - self._chosen):
            self._chosen.add(name)
            self._pending.setdefault(name, False)

    def _ask(self, asked: str) -> None:
        """Answer, also that there is no such thing."""
        names = self._shelf.named(asked)
        if not self._hears_all:
            self._choose(self._with_parts(names))
        self._pending |= dict.fromkeys(names or {asked}, True)

    def _forget(self, left: set[str]) -> None:
        """It has let go of something, and hears no more of what came with that and is not wanted otherwise."""
        if self._hears_all:
            return
        kept = self._selection()
        if ALL in left:
            self._chosen = kept
        else:
            gone = set[str]().union(*map(self._shelf.named, left))
            self._chosen -= self._with_parts(gone) - kept
        self._pending = {
            name: may_hold
            for name, may_hold in self._pending.items()
            if name in self._chosen or name in self._asked
        }
