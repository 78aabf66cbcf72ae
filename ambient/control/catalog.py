"""Which objects stand, out of all sources: files of folders and the like, and what the API was given.

A bad object keeps its last good version, over a restart too; so do the objects of a file whose documents cannot all
be told apart. An object that two places claim stays with the one that had it. Everything else applies.

A change is planned, then taken: between the two it can be kept on disk, or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from immutables import Map

from ambient.control import manifest
from ambient.control.sources import Unreadable
from ambient.control.translate.kind import Translated, Untranslatable
from ambient.control.translate.kinds import translate

if TYPE_CHECKING:
    from ambient.control.manifest import Item
    from ambient.control.objects import Key, Object
    from ambient.control.problem import Problem
    from ambient.control.sources import Change

API: Final = "api"
"""The source whose objects are only here."""


class Place(NamedTuple):
    """Where an object is from."""

    source: str
    file: str
    """Empty: of the API."""

    def __str__(self) -> str:
        return self.file or "the API"


API_PLACE: Final = Place(API, "")


@dataclass(frozen=True, slots=True)
class Claim:
    """One object as one place has it."""

    origin: str
    """A file, or what an API's caller called it."""
    document: Mapping[str, Any]
    translated: Translated | None
    """None: it is bad."""
    problems: tuple[Problem, ...] = ()
    lines: tuple[int, ...] = ()
    """Where in the file each of them is."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One object that stands."""

    place: Place
    origin: str
    document: Mapping[str, Any]
    translated: Translated
    revision: int
    """Of the configuration when it began to stand so."""
    changed: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """An object as it was kept by an earlier process."""

    key: Key
    place: Place
    origin: str
    document: Mapping[str, Any]
    revision: int
    changed: datetime


@dataclass(frozen=True, slots=True)
class _File:
    """One file as it was read last."""

    keys: frozenset[Key]
    problems: tuple[str, ...]
    """Of the file itself."""
    warnings: tuple[str, ...]
    is_whole: bool
    """Whether every document could be told apart, so that an object that is not in it is really gone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would come of a change."""

    revision: int
    put: Mapping[Key, Standing]
    gone: frozenset[Key]
    _claims: Mapping[Key, Mapping[Place, Claim]] = field(default_factory=dict)
    _files: Mapping[Place, _File | None] = field(default_factory=dict)
    _troubles: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether another object stands, or stands otherwise."""
        return bool(self.put or self.gone)


class Catalog:
    """What every place claims, and what stands of it."""

    def __init__(self, root_namespaces: tuple[str, ...]) -> None:
        self.root_namespaces = root_namespaces
        self.revision = 0
        """Grows with each plan that changes something."""
        self.standing: Map[Key, Standing] = Map()
        self.objects: Map[Key, Object] = Map()
        """What they mean."""
        self._files: dict[Place, _File] = {}
        self._claims: dict[Key, Mapping[Place, Claim]] = {}
        self._noted: set[Key] = set()
        """Those of whose claims there is something to say."""
        self._held: dict[Place, set[Key]] = {}
        """What stands from each place."""
        self._troubles: dict[str, str] = {}
        self._readers: dict[Place, manifest.Reader] = {}

    def restore(self, kept: Iterable[Kept], revision: int) -> None:
        """Begin with what an earlier process kept. What this one takes for bad is an error until it is mended."""
        self.revision = revision
        for one in kept:
            try:
                claim = Claim(one.origin, one.document, translate(one.document, self.root_namespaces))
            except Untranslatable as error:
                claim = Claim(one.origin, one.document, None, error.problems)
            if one.place == API_PLACE:
                self._claim(one.key, {API_PLACE: claim})
            if claim.translated is not None:
                self._stand(
                    one.key,
                    Standing(
                        one.place, one.origin, one.document, claim.translated, one.revision, one.changed
                    ),
                )

    @property
    def errors(self) -> tuple[str, ...]:
        """Why anything of a source does not stand, one sentence each."""
        return tuple(self._errors())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What has no effect, one sentence each."""
        return tuple(self._warnings())

    @property
    def sources(self) -> frozenset[str]:
        """Those that anything stands from."""
        return frozenset(place.source for place in self._held)

    def trouble(self, source: str) -> str:
        """Why a source cannot be read now."""
        return self._troubles.get(source, "")

    def count(self, source: str) -> int:
        """How many objects stand that came from a source."""
        return sum(len(keys) for place, keys in self._held.items() if place.source == source)

    def is_claimed_by_api(self, key: Key) -> bool:
        """Whether the API was given an object, which may be bad to this program, or stand in another's shadow."""
        return API_PLACE in self._claims.get(key, {})

    def problems(self, key: Key) -> tuple[Problem, ...]:
        """Why a newer version of an object, where it is from, does not stand."""
        standing = self.standing.get(key)
        claim = None if standing is None else self._claims.get(key, {}).get(standing.place)
        return () if claim is None else claim.problems

    def plan_source(self, source: str, change: Change, now: datetime, *, is_first: bool = False) -> Plan:
        """What comes of a change of a source; the first one is everything that there is."""
        if change.trouble:
            return Plan(self.revision, {}, frozenset(), _troubles={source: change.trouble})
        files: dict[Place, _File | None] = {Place(source, file): None for file in change.removed}
        if is_first:
            files |= {place: None for place in self._held if place.source == source}
        claims: dict[Key, dict[Place, Claim]] = {}
        for file, content in change.changed.items():
            place = Place(source, file)
            if isinstance(content, Unreadable):
                files[place] = _File(frozenset(), (content.why,), (), is_whole=False)
                continue
            reader = self._readers.setdefault(place, manifest.Reader(self.root_namespaces))
            items = reader.read(content)
            files[place] = _file(items)
            for item in items:
                if item.key is not None:
                    lines = tuple(item.line_of(problem.field) for problem in item.problems)
                    claim = Claim(file, item.document, item.translated, item.problems, lines)
                    claims.setdefault(item.key, {})[place] = claim
        touched = set(claims)
        for place in files:
            before = self._files.get(place)
            touched |= self._held.get(place, set()) | (before.keys if before else frozenset())
        after = {
            key: {
                **{place: claim for place, claim in self._claims.get(key, {}).items() if place not in files},
                **claims.get(key, {}),
            }
            for key in touched
        }
        return self._plan(after, files, now, {source: ""})

    def plan_api(self, put: Mapping[Key, Claim], gone: Iterable[Key], now: datetime) -> Plan:
        """What comes of it that the API is given objects, and that others are taken from it."""
        after: dict[Key, Mapping[Place, Claim]] = {
            key: {**self._claims.get(key, {}), API_PLACE: claim} for key, claim in put.items()
        }
        for key in gone:
            after[key] = {
                place: claim for place, claim in self._claims.get(key, {}).items() if place != API_PLACE
            }
        return self._plan(after, {}, now, {})

    def take(self, plan: Plan) -> None:
        """It is so."""
        self.revision = plan.revision
        for key, claims in plan._claims.items():  # noqa: SLF001  # A plan is the catalogue's own.
            self._claim(key, claims)
        for place, file in plan._files.items():  # noqa: SLF001
            if file is None:
                self._files.pop(place, None)
                self._readers.pop(place, None)
            else:
                self._files[place] = file
        self._troubles.update(plan._troubles)  # noqa: SLF001
        for key in plan.gone:
            self._fall(key)
        for key, standing in plan.put.items():
            self._fall(key)
            self._stand(key, standing)

    def _plan(
        self,
        claims: Mapping[Key, Mapping[Place, Claim]],
        files: Mapping[Place, _File | None],
        now: datetime,
        troubles: Mapping[str, str],
    ) -> Plan:
        put: dict[Key, Standing] = {}
        gone: set[Key] = set()
        revision = self.revision + 1
        for key, claimed in claims.items():
            standing = self.standing.get(key)
            if not claimed:
                if standing is None:
                    is_gone = API_PLACE in self._claims.get(key, {})
                else:
                    is_gone = not self._may_still_be(standing.place, files)
                if is_gone:
                    gone.add(key)
                continue
            place = self._holder(standing, claimed)
            claim = claimed[place]
            if claim.translated is not None:
                new = Standing(place, claim.origin, claim.document, claim.translated, revision, now)
            elif standing is not None:
                new = Standing(place, claim.origin, standing.document, standing.translated, revision, now)
            else:
                continue
            if standing is None or _what(new) != _what(standing):
                put[key] = new
        is_new = bool(put or gone)
        return Plan(revision if is_new else self.revision, put, frozenset(gone), claims, files, troubles)

    def _holder(self, standing: Standing | None, claimed: Mapping[Place, Claim]) -> Place:
        """Whoever had it, or else the first by name."""
        if standing is not None and standing.place in claimed:
            return standing.place
        return min(claimed)

    def _may_still_be(self, place: Place, files: Mapping[Place, _File | None]) -> bool:
        """A file that is not whole may have an object that was not seen in it."""
        file = files[place] if place in files else self._files.get(place)
        return file is not None and not file.is_whole

    def _claim(self, key: Key, claimed: Mapping[Place, Claim]) -> None:
        self._claims[key] = claimed
        self._noted.discard(key)
        if not claimed:
            del self._claims[key]
        elif len(claimed) > 1 or any(
            claim.translated is None or claim.translated.warnings for claim in claimed.values()
        ):
            self._noted.add(key)

    def _stand(self, key: Key, standing: Standing) -> None:
        self.standing = self.standing.set(key, standing)
        if self.objects.get(key) != standing.translated.object:
            self.objects = self.objects.set(key, standing.translated.object)
        self._held.setdefault(standing.place, set()).add(key)

    def _fall(self, key: Key) -> None:
        standing = self.standing.get(key)
        if standing is None:
            return
        self.standing = self.standing.delete(key)
        self.objects = self.objects.delete(key)
        held = self._held[standing.place]
        held.discard(key)
        if not held:
            del self._held[standing.place]

    def _errors(self) -> Iterator[str]:
        yield from filter(None, self._troubles.values())
        for place, file in sorted(self._files.items()):
            yield from (f"{place}: {problem}" for problem in file.problems)
        for key in sorted(self._noted):
            claimed = self._claims[key]
            holder = self._holder(self.standing.get(key), claimed)
            for place, claim in sorted(claimed.items()):
                if place != holder:
                    yield f"{place}: {key}: is in {holder} as well, which counts; remove one of them"
                    continue
                stands = "; its last good version stands" if key in self.standing else ""
                for problem, line in zip_longest(claim.problems, claim.lines):
                    where = f"{place}: line {line}" if line else f"{place}"
                    yield f"{where}: {key}: {problem}{stands}"

    def _warnings(self) -> Iterator[str]:
        for place, file in sorted(self._files.items()):
            yield from (f"{place}: {warning}" for warning in file.warnings)
        for key in sorted(self._noted):
            claimed = self._claims[key]
            holder = self._holder(self.standing.get(key), claimed)
            translated = claimed[holder].translated
            if translated is not None:
                origin = holder.file or claimed[holder].origin or holder
                yield from (f"{origin}: {key}: {warning}" for warning in translated.warnings)


def _file(items: tuple[Item, ...]) -> _File:
    return _File(
        frozenset(item.key for item in items if item.key is not None),
        tuple(
            f"line {item.line}: {problem}" for item in items if item.key is None for problem in item.problems
        ),
        tuple(
            f"line {item.line}: {warning}" for item in items if item.key is None for warning in item.warnings
        ),
        is_whole=all(item.key is not None or item.is_ignored for item in items),
    )


def _what(standing: Standing) -> tuple[object, ...]:
    return standing.place, standing.origin, standing.document
