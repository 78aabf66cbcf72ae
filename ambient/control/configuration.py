"""The configuration, whole: every source and the API go through here to the catalogue, the disk and the mesh."""

from __future__ import annotations

import base64
import binascii
import heapq
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ambient.control import manifest
from ambient.control.catalog import API_PLACE, Claim, Plan
from ambient.control.object_store import MOST_GONE, as_json
from ambient.control.objects import Key
from ambient.control.sources import Change
from ambient.control.translate.kinds import KINDS
from ambient.control.watchers import Watchers, concerns
from ambient.rpc.configuration import (
    Answer,
    Bookmark,
    Deletion,
    Event,
    Gone,
    Manifest,
    ObjectName,
    Outcome,
    Page,
    Put,
    Reason,
    Result,
    StoredObject,
    Violation,
    Wanted,
)
from ambient.rpc.errors import Busy, InvalidRequest, NotFound, Relist
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.control.catalog import Catalog, Standing
    from ambient.control.index import Index
    from ambient.control.object_store import ObjectStore
    from ambient.control.problem import Problem
    from ambient.core.delta import Delta

_PAGE: Final = 500
_LARGEST_PAGE: Final = 5000


class Configuration:
    """Puts what stands into the catalogue, on the disk, into the index, and before the watchers: in this order."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        index: Index,
        announce: Callable[[Delta], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._catalog, self._store, self._index = catalog, store, index
        self._announce, self._clock = announce, clock
        self._watchers = Watchers()
        self._gone: dict[Key, int] = {}
        self._forgotten = 0
        """Up to this revision it is not known what went."""
        self._unkept: list[Plan] = []
        """Of sources, while the disk is full: they must be followed all the same."""
        self._said: frozenset[str] = frozenset()

    @property
    def revision(self) -> int:
        """Of everything that stands."""
        return self._catalog.revision

    def restore(self) -> None:
        """Take up what an earlier process kept."""
        self._catalog.restore(self._store.objects(), self._store.revision)
        gone, self._forgotten = self._store.gone()
        self._gone = dict(gone)
        self._announce(self._index.configure(self._catalog.objects))

    def drop_source(self, source: str) -> None:
        """A source is there no more."""
        self._follow(self._catalog.plan_source(source, _NOTHING, self._clock(), is_first=True))

    def follow(self, source: str, change: Change, *, is_first: bool = False) -> None:
        """Take a change of a source."""
        self._follow(self._catalog.plan_source(source, change, self._clock(), is_first=is_first))

    def say(self) -> None:
        """Log what is refused or has no effect: each sentence once, when it becomes true."""
        errors = self._catalog.errors + self._index.errors
        warnings = self._catalog.warnings + self._index.warnings
        for error in errors:
            if error not in self._said:
                log.error("configuration refused", error=error)
        for warning in warnings:
            if warning not in self._said:
                log.warning("configuration without effect", warning=warning)
        self._said = frozenset(errors + warnings)

    # The API

    def apply(self, manifests: tuple[Manifest, ...], *, dry_run: bool) -> Answer:
        """Create or change all of it, or nothing."""
        found = [
            (one.origin, item)
            for one in manifests
            for item in manifest.read(one.content, self._catalog.root_namespaces)
        ]
        first: dict[Key, str] = {}
        claims: dict[Key, Claim] = {}
        results: list[Result] = []
        for origin, item in found:
            result = self._judge(origin, item, first)
            results.append(result)
            if item.key is not None:
                first.setdefault(item.key, f"{origin}:{item.line}" if origin else f"line {item.line}")
                claims[item.key] = Claim(origin, _written(item.document), item.translated)
        if any(result.outcome is Outcome.REFUSED for result in results):
            return Answer(tuple(results), applied=False, revision=self.revision)
        changed = {
            key: claim
            for key, claim in claims.items()
            if not self._is_same(self._catalog.standing.get(key), claim)
        }
        plan = self._catalog.plan_api(changed, (), self._clock())
        taken = self._index.taken({key: one.translated.object for key, one in plan.put.items()})
        if taken:
            refused = tuple(_taken(result, taken) for result in results)
            return Answer(refused, applied=False, revision=self.revision)
        if not dry_run:
            self._keep(plan)
        versions = {key: standing.revision for key, standing in plan.put.items()}
        return Answer(
            tuple(self._versioned(result, versions, dry_run=dry_run) for result in results),
            applied=not dry_run,
            revision=self.revision,
        )

    def delete(self, deletions: tuple[Deletion, ...], *, dry_run: bool) -> Answer:
        """Remove all of it, or nothing."""
        results = tuple(self._judge_deletion(one) for one in deletions)
        applied = not dry_run and all(result.outcome is not Outcome.REFUSED for result in results)
        if applied:
            gone = {
                key
                for result in results
                if result.outcome is Outcome.DELETED and (key := _key(result.object)) is not None
            }
            self._keep(self._catalog.plan_api({}, gone, self._clock()))
        return Answer(results, applied, self.revision)

    def get(self, name: ObjectName) -> StoredObject:
        """One object."""
        key = _key(name)
        standing = None if key is None else self._catalog.standing.get(key)
        if key is None or standing is None:
            raise NotFound(f"there is no {name}")
        return self._shown(key, standing)

    def page(self, wanted: Wanted, page_size: int, page_token: str) -> Page:
        """Some objects, in the order of their names."""
        size = min(page_size or _PAGE, _LARGEST_PAGE)
        after = _read_token(page_token)
        keys = (
            key
            for key, standing in self._catalog.standing.items()
            if (after is None or key > after)
            and concerns(wanted, ObjectName(*key))
            and _has_labels(standing.document, wanted.labels)
        )
        found = heapq.nsmallest(size + 1, keys)
        page = found[:size]
        return Page(
            tuple(self._shown(key, self._catalog.standing[key]) for key in page),
            _token(page[-1]) if len(found) > size else "",
            self.revision,
        )

    def watch(self, wanted: Wanted, revision: int) -> AsyncIterator[Event]:
        """Every change after ``revision``."""
        return self._watchers.watch(wanted, lambda: (self._since(wanted, revision), self.revision))

    # What each asks for

    def _judge(self, origin: str, item: manifest.Item, first: Mapping[Key, str]) -> Result:
        """What would become of one document."""
        name = _named(item)
        if item.is_ignored:
            return Result(
                name, Outcome.IGNORED, (), _violations(item.warnings, item.line_of), 0, origin, item.line
            )
        key = item.key
        violations = _violations(item.problems, item.line_of)
        if key is not None:
            violations += tuple(self._conflicts(key, item, first))
        if key is None or violations:
            return Result(name, Outcome.REFUSED, violations, (), 0, origin, item.line)
        standing = self._catalog.standing.get(key)
        claim = Claim(origin, _written(item.document), item.translated)
        if standing is None:
            outcome = Outcome.CREATED
        else:
            outcome = Outcome.UNCHANGED if self._is_same(standing, claim) else Outcome.CONFIGURED
        return Result(name, outcome, (), _violations(item.warnings, item.line_of), 0, origin, item.line)

    def _conflicts(self, key: Key, item: manifest.Item, first: Mapping[Key, str]) -> Iterator[Violation]:
        if key in first:
            yield Violation(
                "",
                Reason.DUPLICATE,
                f"is in this request twice, first at {first[key]}",
                "leave one of them out",
            )
        standing = self._catalog.standing.get(key)
        if standing is not None and standing.place != API_PLACE:
            yield _other_source(standing)
        yield from _staleness(item.document["metadata"].get("resourceVersion"), standing)

    def _judge_deletion(self, deletion: Deletion) -> Result:
        key = _key(deletion.name)
        standing = None if key is None else self._catalog.standing.get(key)
        if key is None or (standing is None and not self._catalog.is_claimed_by_api(key)):
            return Result(deletion.name, Outcome.NOT_FOUND)
        name = ObjectName(*key)
        if standing is not None and standing.place != API_PLACE:
            return Result(name, Outcome.REFUSED, (_other_source(standing),))
        if deletion.resource_version:
            stale = tuple(_staleness(str(deletion.resource_version), standing))
            if stale:
                return Result(name, Outcome.REFUSED, stale)
        return Result(name, Outcome.DELETED)

    def _is_same(self, standing: Standing | None, claim: Claim) -> bool:
        return standing is not None and standing.place == API_PLACE and standing.document == claim.document

    def _versioned(self, result: Result, versions: Mapping[Key, int], *, dry_run: bool) -> Result:
        key = _key(result.object)
        if key is None or result.outcome is Outcome.IGNORED:
            return result
        standing = self._catalog.standing.get(key)
        present = standing.revision if standing is not None else 0
        return replace(result, resource_version=present if dry_run else versions.get(key, present))

    # What is done

    def _follow(self, plan: Plan) -> None:
        """A source is followed also where that cannot be kept: after a restart it is read again."""
        try:
            self._flush()
            if plan.changes:
                self._store.keep(plan)
        except Busy as error:
            log.error("configuration not kept", error=str(error))
            self._unkept.append(plan)
        self._take(plan)

    def _keep(self, plan: Plan) -> None:
        """Keep, then believe. Raises Busy, and nothing has changed."""
        if plan.changes:
            self._flush()
            self._store.keep(plan)
        self._take(plan)

    def _flush(self) -> None:
        while self._unkept:
            self._store.keep(self._unkept[0])
            del self._unkept[0]

    def _take(self, plan: Plan) -> None:
        self._catalog.take(plan)
        if plan.changes:
            self._tell(plan)
        self.say()

    def _tell(self, plan: Plan) -> None:
        self._remember(plan)
        self._announce(self._index.configure(self._catalog.objects, {*plan.put, *plan.gone}))
        changes: list[Put | Gone] = [
            Put(self._shown(key, standing), plan.revision) for key, standing in plan.put.items()
        ]
        changes += [Gone(ObjectName(*key), plan.revision) for key in plan.gone]
        self._watchers.tell(changes, plan.revision)
        log.info(
            "configuration applied",
            revision=plan.revision,
            changed=len(plan.put),
            removed=len(plan.gone),
            version=self._index.snapshot.version,
        )

    def _remember(self, plan: Plan) -> None:
        for key in plan.put:
            self._gone.pop(key, None)
        for key in plan.gone:
            self._gone.pop(key, None)
            self._gone[key] = plan.revision
        if len(self._gone) > MOST_GONE:
            # The oldest come first.
            for key in list(self._gone)[: len(self._gone) - MOST_GONE // 2]:
                self._forgotten = self._gone.pop(key)

    # What is shown

    def _shown(self, key: Key, standing: Standing) -> StoredObject:
        return StoredObject(
            ObjectName(*key),
            as_json(standing.document, standing.revision),
            standing.revision,
            standing.place.source,
            standing.origin,
            standing.changed,
            _violations(self._catalog.problems(key)),
            _violations((*standing.translated.warnings, *self._index.problems.get(key, ()))),
        )

    def _since(self, wanted: Wanted, revision: int) -> list[Event]:
        """Everything between ``revision`` and now. Raises Relist."""
        standing = [
            (key, one) for key, one in self._catalog.standing.items() if concerns(wanted, ObjectName(*key))
        ]
        bookmark = Bookmark(self.revision)
        if revision == 0:
            standing.sort(key=lambda pair: pair[0])
            return [*(Put(self._shown(key, one), 0) for key, one in standing), bookmark]
        if not self._forgotten <= revision <= self.revision:
            raise Relist(
                f"what changed after revision {revision} is not remembered; list again and watch from the list's revision"
            )
        changes: list[Put | Gone] = [
            Put(self._shown(key, one), one.revision) for key, one in standing if one.revision > revision
        ]
        changes += [
            Gone(ObjectName(*key), went)
            for key, went in self._gone.items()
            if went > revision and concerns(wanted, ObjectName(*key))
        ]
        changes.sort(key=lambda change: change.revision)
        # Until the last of a revision is told, whoever comes back must hear all of it again.
        return [
            replace(change, revision=change.revision - 1) if change.revision == after.revision else change
            for change, after in itertools.pairwise([*changes, bookmark])
        ] + [bookmark]


_NOTHING: Final = Change()


def _written(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object without the version that it was written against."""
    metadata = {name: value for name, value in document["metadata"].items() if name != "resourceVersion"}
    return {**document, "metadata": metadata}


def _key(name: ObjectName | None) -> Key | None:
    """What an object is known by; None: it cannot be one of ours."""
    kind = None if name is None else KINDS.get(name.kind)
    if name is None or kind is None:
        return None
    return Key(name.kind, (name.namespace or "default") if kind.is_namespaced else "", name.name)


def _named(item: manifest.Item) -> ObjectName | None:
    if item.key is not None:
        return ObjectName(*item.key)
    match item.document:
        case {"kind": str(kind), "metadata": {"name": str(name), **metadata}}:
            namespace = metadata.get("namespace", "")
            return ObjectName(kind, namespace if isinstance(namespace, str) else "", name)
        case _:
            return None


def _other_source(standing: Standing) -> Violation:
    return Violation(
        "",
        Reason.OTHER_SOURCE,
        f"is from the {standing.place.source}, in {standing.place.file}",
        "change it there, or take it out of there first",
    )


def _staleness(version: object, standing: Standing | None) -> Iterator[Violation]:
    present = str(0 if standing is None else standing.revision)
    if version is not None and str(version) != present:
        yield Violation(
            "metadata.resourceVersion",
            Reason.STALE,
            f"is {version}, and the present one is {present}",
            "get the object again and make the change to that, or leave the version out",
        )


def _violations(
    problems: Iterable[Problem], line_of: Callable[[str], int] = lambda _: 0
) -> tuple[Violation, ...]:
    return tuple(
        Violation(problem.field, Reason(problem.reason.value), *_parts(problem.text), line_of(problem.field))
        for problem in problems
    )


def _parts(sentence: str) -> tuple[str, str]:
    """What is wrong, and what would be right."""
    message, _, remedy = sentence.partition("; ")
    return message, remedy


def _taken(result: Result, taken: Mapping[Key, str]) -> Result:
    key = _key(result.object)
    if key is None or key not in taken:
        return result
    violation = Violation("", Reason.CONFLICT, *_parts(taken[key]))
    return replace(result, outcome=Outcome.REFUSED, violations=(violation,), warnings=())


def _has_labels(document: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    own = document["metadata"].get("labels") or {}
    return all(own.get(label) == value for label, value in labels.items())


def _token(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _read_token(token: str) -> Key | None:
    if not token:
        return None
    try:
        kind, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidRequest(
            "page_token is not one that this control plane gave; begin with the first page"
        ) from error
    return Key(str(kind), str(namespace), str(name))
