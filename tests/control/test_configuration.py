"""Objects through the API: what is answered, what changes, and what a watcher hears."""

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from control.test_api import api
from hypothesis import given, settings, strategies as st

from ambient.control import problem, watchers
from ambient.control.catalog import Catalog
from ambient.control.configuration import Configuration
from ambient.control.index import Index, Settings
from ambient.control.sources import Change
from ambient.control.store import Store
from ambient.rpc import configuration, mesh
from ambient.rpc.configuration import (
    Bookmark,
    Deletion,
    Gone,
    Manifest,
    ObjectName,
    Outcome,
    Put,
    Reason,
    Wanted,
)
from ambient.rpc.errors import Busy, InvalidRequest, NotFound, Relist

EVERYTHING = Wanted()


def entry(name, address, **metadata):
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {"name": name, "namespace": "shop", **metadata},
            "spec": {"address": address},
        }
    )


def name_of(name):
    return ObjectName("WorkloadEntry", "shop", name)


def manifest(*texts, origin="f.yaml"):
    return (Manifest(origin, "\n---\n".join(texts).encode()),)


class World:
    """A configuration over a real store, with no wire."""

    def __init__(self, folder):
        self._folder = folder
        self._start()

    def _start(self):
        self.store = Store.open(self._folder, "cluster.local")
        self.catalog = Catalog(("ambient-system",))
        self.index = Index(Settings())
        self.configuration = Configuration(
            self.catalog, self.store.objects, self.index, lambda _: None, lambda: datetime.now(UTC)
        )
        self.configuration.restore()

    def restart(self):
        self.store.close()
        self._start()

    def apply(self, *texts, dry_run=False):
        return self.configuration.apply(manifest(*texts), dry_run=dry_run)

    def delete(self, *names, dry_run=False):
        return self.configuration.delete(tuple(Deletion(name_of(name)) for name in names), dry_run=dry_run)

    def folder(self, removed=(), *, is_first=False, **files):
        change = Change({f"{name}.yaml": text.encode() for name, text in files.items()}, frozenset(removed))
        self.configuration.follow("folder", change, is_first=is_first)

    @property
    def addresses(self):
        return {
            workload.name: str(workload.addresses[0]) for workload in self.index.snapshot.workloads.values()
        }


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.store.close()


def outcomes(answer):
    return [result.outcome for result in answer.results]


def test_objects_are_created_changed_left_alone_and_removed(world):
    first = world.apply(entry("a", "10.0.0.1"), entry("b", "10.0.0.2"))
    assert (outcomes(first), first.applied, first.revision) == ([Outcome.CREATED] * 2, True, 1)
    second = world.apply(entry("a", "10.0.0.9"), entry("b", "10.0.0.2"), entry("c", "10.0.0.3"))
    assert outcomes(second) == [Outcome.CONFIGURED, Outcome.UNCHANGED, Outcome.CREATED]
    assert [result.resource_version for result in second.results] == [2, 1, 2]
    assert world.addresses == {"a": "10.0.0.9", "b": "10.0.0.2", "c": "10.0.0.3"}
    third = world.delete("a", "nobody")
    assert (outcomes(third), third.applied, third.revision) == (
        [Outcome.DELETED, Outcome.NOT_FOUND],
        True,
        3,
    )
    world.restart()
    assert world.addresses == {"b": "10.0.0.2", "c": "10.0.0.3"}
    assert world.configuration.revision == 3


def test_what_is_the_same_costs_no_revision(world):
    world.apply(entry("a", "10.0.0.1"))
    assert world.apply(entry("a", "10.0.0.1")).revision == 1
    assert world.delete("nobody").revision == 1


GOOD = entry("a", "10.0.0.1")
VIOLATIONS = {
    "not-yaml": ("{ not yaml", "", Reason.SYNTAX),
    "no-object": ("[1, 2]", "", Reason.SYNTAX),
    "deep": ("{a: " * 5000 + "}" * 5000, "", Reason.SYNTAX),
    "no-name": ("{apiVersion: v1, kind: Service, metadata: {}}", "", Reason.MISSING),
    "bad-value": (entry("b", "oops"), "spec.address", Reason.VALUE),
    "missing-field": (
        "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: b}, spec: {}}",
        "spec.address",
        Reason.MISSING,
    ),
    "unknown-field": (
        "{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {prots: []}}",
        "spec.prots",
        Reason.UNKNOWN,
    ),
    "twice-in-a-document-list": (GOOD, "", Reason.DUPLICATE),
    "address-taken-in-the-request": (entry("b", "10.0.0.1"), "", Reason.CONFLICT),
    "address-taken": (entry("b", "10.0.0.77"), "", Reason.CONFLICT),
    "stale": (entry("held", "10.0.0.78", resourceVersion="7"), "metadata.resourceVersion", Reason.STALE),
    "stale-as-it-is-there": (
        entry("held", "10.0.0.78", resourceVersion="0"),
        "metadata.resourceVersion",
        Reason.STALE,
    ),
    "stale-as-it-is-gone": (
        entry("b", "10.0.0.78", resourceVersion="1"),
        "metadata.resourceVersion",
        Reason.STALE,
    ),
    "of-a-folder": (entry("filed", "10.0.0.79"), "", Reason.OTHER_SOURCE),
}


@pytest.mark.parametrize(("text", "field", "reason"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_one_bad_object_has_its_violation_and_nothing_of_the_request_is_done(world, text, field, reason):
    world.apply(entry("held", "10.0.0.77"))
    world.folder(x=entry("filed", "10.0.0.70"))
    before = world.addresses
    answer = world.apply(GOOD, text, entry("z", "10.0.0.99"))
    assert not answer.applied
    refused = [result for result in answer.results if result.outcome is Outcome.REFUSED]
    violation = refused[0].violations[0]
    assert (violation.field, violation.reason) == (field, reason)
    assert refused[0].origin == "f.yaml"
    assert violation.message
    assert Outcome.CREATED in outcomes(answer), "the good ones are answered with what they would have been"
    assert (world.addresses, world.configuration.revision) == (before, 2)
    world.restart()
    assert world.configuration.revision == 2


def test_a_violation_knows_its_line(world):
    text = "---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  ports:\n  - port: 0\n"
    (violation,) = world.apply(GOOD, text).results[1].violations
    assert (violation.field, violation.line) == ("spec.ports[0].port", 9)


def test_every_reason_can_be_said():
    assert {reason.value for reason in problem.Reason} == {reason.value for reason in Reason}


def test_a_request_may_swap_what_its_objects_have(world):
    world.apply(entry("a", "10.0.0.1"), entry("b", "10.0.0.2"))
    assert world.apply(entry("a", "10.0.0.2"), entry("b", "10.0.0.1")).applied
    assert world.addresses == {"a": "10.0.0.2", "b": "10.0.0.1"}


def test_a_dry_run_says_what_would_be_and_does_nothing(world):
    answer = world.apply(entry("a", "10.0.0.1"), dry_run=True)
    assert (outcomes(answer), answer.applied, answer.revision) == ([Outcome.CREATED], False, 0)
    world.apply(entry("a", "10.0.0.1"))
    gone = world.delete("a", dry_run=True)
    assert (outcomes(gone), gone.applied) == ([Outcome.DELETED], False)
    assert world.addresses == {"a": "10.0.0.1"}


def test_two_who_change_the_same_version_cannot_both(world):
    world.apply(entry("a", "10.0.0.1"))
    mine = yours = json.loads(world.configuration.get(name_of("a")).content)
    assert world.apply(json.dumps({**mine, "spec": {"address": "10.0.0.2"}})).applied
    answer = world.apply(json.dumps({**yours, "spec": {"address": "10.0.0.3"}}))
    (violation,) = answer.results[0].violations
    assert str(violation) == (
        "metadata.resourceVersion is 1, and the present one is 2; get the object again and make the change to that, "
        "or leave the version out"
    )
    stale = world.configuration.delete((Deletion(name_of("a"), 1),), dry_run=False)
    assert (outcomes(stale), stale.applied) == ([Outcome.REFUSED], False)
    assert world.configuration.delete((Deletion(name_of("a"), 2),), dry_run=False).applied


def test_a_kind_without_effect_is_ignored_with_a_warning_and_the_rest_applies(world):
    answer = world.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: shop}}", GOOD)
    assert (outcomes(answer), answer.applied) == ([Outcome.IGNORED, Outcome.CREATED], True)
    assert answer.results[0].object == ObjectName("ConfigMap", "shop", "x")
    assert answer.results[0].warnings[0].reason is Reason.UNKNOWN_KIND


def test_what_is_folded_beyond_measure_is_not_unfolded(world):
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for previous, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{previous}'] * 10)}]\n"
    answer = world.apply(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x\n  managedFields:\n"
        + "".join(f"    {line}\n" for line in bomb.splitlines())
    )
    assert not answer.applied


# Sources that are combined


def test_an_object_of_a_folder_is_changed_in_the_folder_alone(world):
    world.folder(x=entry("a", "10.0.0.1"))
    (violation,) = world.apply(entry("a", "10.0.0.2")).results[0].violations
    assert str(violation) == "is from the folder, in x.yaml; change it there, or take it out of there first"
    (violation,) = world.delete("a").results[0].violations
    assert violation.reason is Reason.OTHER_SOURCE
    assert world.addresses == {"a": "10.0.0.1"}
    stored = world.configuration.get(name_of("a"))
    assert (stored.source, stored.origin) == ("folder", "x.yaml")


def test_a_folder_that_claims_what_the_api_has_is_told_so_and_gets_it_when_the_api_lets_go(world):
    world.apply(entry("a", "10.0.0.1"))
    world.folder(x=entry("a", "10.0.0.2"))
    assert world.addresses == {"a": "10.0.0.1"}
    conflict = "x.yaml: WorkloadEntry shop/a: is in the API as well, which counts; remove one of them"
    assert world.catalog.errors == (conflict,)
    world.restart()
    world.folder(x=entry("a", "10.0.0.2"), is_first=True)
    assert (world.addresses, world.catalog.errors) == ({"a": "10.0.0.1"}, (conflict,))
    assert world.delete("a").applied
    assert (world.addresses, world.catalog.errors) == ({"a": "10.0.0.2"}, ())
    assert world.configuration.get(name_of("a")).source == "folder"


def test_the_last_good_version_of_a_file_survives_a_restart(world):
    world.folder(x=entry("a", "10.0.0.1"))
    world.restart()
    world.folder(x=entry("a", "oops"), is_first=True)
    assert world.addresses == {"a": "10.0.0.1"}
    (violation,) = world.configuration.get(name_of("a")).violations
    assert violation.field == "spec.address"


def test_what_left_the_folder_while_nobody_looked_is_gone(world):
    world.folder(x=entry("a", "10.0.0.1"), y=entry("b", "10.0.0.2"))
    world.restart()
    world.folder(y=entry("b", "10.0.0.2"), is_first=True)
    assert world.addresses == {"b": "10.0.0.2"}
    assert world.configuration.revision == 2
    world.restart()
    world.configuration.drop_source("folder")
    assert world.addresses == {}


def test_a_restart_with_the_same_files_is_no_change(world):
    world.folder(x=entry("a", "10.0.0.1"))
    world.restart()
    world.folder(x=entry("a", "10.0.0.1"), is_first=True)
    assert world.configuration.revision == 1


# A disk that is full


def test_on_a_full_disk_the_api_changes_nothing_and_a_folder_is_followed_all_the_same(world, monkeypatch):
    world.apply(entry("a", "10.0.0.1"))

    def full():
        raise Busy("control.db cannot be written to: disk full")

    with monkeypatch.context() as patched:
        patched.setattr(world.store.objects, "_writing", full)
        for change in (lambda: world.apply(entry("a", "10.0.0.2")), lambda: world.delete("a")):
            with pytest.raises(Busy, match="disk full"):
                change()
        assert (world.addresses, world.configuration.revision) == ({"a": "10.0.0.1"}, 1)
        world.folder(x=entry("b", "10.0.0.3"))
        world.folder(x=entry("b", "10.0.0.4"), y=entry("c", "10.0.0.5"))
        assert world.addresses == {"a": "10.0.0.1", "b": "10.0.0.4", "c": "10.0.0.5"}
    # What could not be kept is, with the next change.
    world.apply(entry("d", "10.0.0.6"))
    after = world.addresses
    assert after.keys() == {"a", "b", "c", "d"}
    world.restart()
    assert world.addresses == after
    assert world.configuration.revision == 4


# Reading


def test_what_is_read_can_be_applied_and_changes_nothing(world):
    world.apply(entry("a", "10.0.0.1", labels={"x": "y"}))
    stored = world.configuration.get(name_of("a"))
    answer = world.configuration.apply((Manifest("again", stored.content),), dry_run=False)
    assert outcomes(answer) == [Outcome.UNCHANGED]


def test_a_list_is_read_page_by_page_in_order(world):
    world.apply(
        *(entry(f"w{number}", f"10.0.0.{number}", labels={"odd": str(number % 2)}) for number in range(1, 8)),
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
    )
    configured = world.configuration
    names, token = [], ""
    while True:
        page = configured.page(EVERYTHING, 3, token)
        assert len(page.objects) <= 3
        names += [stored.name.name for stored in page.objects]
        token = page.next_page_token
        if not token:
            break
    assert names == ["shop", "w1", "w2", "w3", "w4", "w5", "w6", "w7"]
    odd = configured.page(Wanted("WorkloadEntry", "shop", {"odd": "1"}), 0, "")
    assert [stored.name.name for stored in odd.objects] == ["w1", "w3", "w5", "w7"]
    assert configured.page(Wanted(namespace="elsewhere"), 0, "").objects == ()
    with pytest.raises(InvalidRequest, match="page_token is not one"):
        configured.page(EVERYTHING, 0, "nonsense")
    with pytest.raises(NotFound, match="there is no WorkloadEntry shop/none"):
        configured.get(name_of("none"))


# Watching


@asynccontextmanager
async def watching(world, revision, wanted=EVERYTHING):
    events = world.configuration.watch(wanted, revision)
    try:
        yield lambda: asyncio.wait_for(anext(events), 5)
    finally:
        await events.aclose()


def said(event):
    match event:
        case Put(stored, _):
            return stored.name.name
        case Gone(name, _):
            return f"-{name.name}"
        case Bookmark(revision):
            return revision


async def test_a_watcher_hears_all_that_there_is_and_then_each_change(world):
    world.apply(entry("b", "10.0.0.2"), entry("a", "10.0.0.1"))
    async with watching(world, 0) as event:
        assert [said(await event()) for _ in range(3)] == ["a", "b", 1]
        world.apply(entry("c", "10.0.0.3"))
        world.delete("a")
        put, gone = await event(), await event()
        assert [said(put), put.revision, said(gone), gone.revision] == ["c", 2, "-a", 3]


async def test_a_watcher_hears_only_what_concerns_it(world):
    async with watching(world, 0, Wanted("Namespace")) as event:
        assert said(await event()) == 0
        world.apply(entry("a", "10.0.0.1"), "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
        assert said(await event()) == "shop"


async def test_a_watcher_of_whom_nothing_is_heard_gets_a_bookmark(world, monkeypatch):
    monkeypatch.setattr(watchers, "BOOKMARK_SECONDS", 0.02)
    async with watching(world, 0, Wanted("Namespace")) as event:
        assert said(await event()) == 0
        world.apply(entry("a", "10.0.0.1"))
        assert said(await event()) == 1


async def test_a_slow_watcher_is_told_to_read_everything_anew(world, monkeypatch):
    monkeypatch.setattr(watchers, "MOST_BEHIND", 5)
    async with watching(world, 0) as event:
        assert said(await event()) == 0
        for number in range(1, 7):
            world.apply(entry("a", f"10.0.0.{number}"))
        with pytest.raises(Relist, match="list again and watch from there"):
            await event()


async def test_what_is_not_remembered_is_said(world):
    world.apply(entry("a", "10.0.0.1"))
    async with watching(world, 99) as event:
        with pytest.raises(Relist, match="what changed after revision 99 is not remembered"):
            await event()


async def test_what_went_long_ago_is_forgotten_here_and_on_disk(world, monkeypatch):
    monkeypatch.setattr("ambient.control.object_store.MOST_GONE", 4)
    monkeypatch.setattr("ambient.control.configuration.MOST_GONE", 4)
    for number in range(1, 8):
        world.apply(entry(f"w{number}", "10.0.0.1"))
        world.delete(f"w{number}")
    async with watching(world, 1) as event:
        with pytest.raises(Relist):
            await event()
    for _ in range(2):
        async with watching(world, 12) as event:
            assert [said(await event()) for _ in range(2)] == ["-w7", 14]
        world.restart()


requests = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), min_size=1),
        st.sets(st.sampled_from("abcd"), min_size=1),
        st.just("restart"),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(requests, st.data())
def test_wherever_a_watcher_comes_back_it_ends_with_what_stands(tmp_path_factory, script, data):
    """It may be cut off after any event, and watch again from that event's revision, also over a restart."""
    world = World(tmp_path_factory.mktemp("state"))

    async def read(count):
        """At most so many events, then the watcher is cut off."""
        nonlocal revision
        if revision == 0:
            held.clear()  # It begins anew.
        async with watching(world, revision) as event:
            for _ in range(count):
                heard = await event()
                revision = heard.revision
                match heard:
                    case Put(stored, _):
                        held[stored.name.name] = json.loads(stored.content)["spec"]["address"]
                    case Gone(name, _):
                        held.pop(name.name, None)
                    case Bookmark():
                        return

    held, revision = {}, 0
    try:
        for step in script:
            match step:
                case dict():
                    numbers = {name: number * 10 + "abcd".index(name) for name, number in step.items()}
                    assert world.apply(
                        *(entry(name, f"10.0.0.{number}") for name, number in numbers.items())
                    ).applied
                case set():
                    world.delete(*step)
                case _:
                    world.restart()
            asyncio.run(read(data.draw(st.integers(0, 3))))
        asyncio.run(read(1000))
        assert held == world.addresses
    finally:
        world.store.close()


# Over the wire


async def test_the_api_says_the_same_over_its_wire(tmp_path):
    async with api(tmp_path, config=None) as (_, channel):
        validated = await configuration.validate(channel, manifest(GOOD))
        assert (outcomes(validated), validated.applied) == ([Outcome.CREATED], False)
        assert (await configuration.apply(channel, manifest(GOOD))).applied
        refused = await configuration.apply(channel, manifest(entry("b", "oops")))
        (violation,) = refused.results[0].violations
        assert (refused.applied, violation.field, violation.reason) == (False, "spec.address", Reason.VALUE)
        assert str(violation) == 'spec.address is "oops"; it is an IPv4 or IPv6 address, in quotes'
        stored = await configuration.get(channel, name_of("a"))
        assert json.loads(stored.content)["metadata"]["resourceVersion"] == "1"
        assert (stored.source, stored.origin, stored.resource_version) == ("api", "f.yaml", 1)
        assert [one.name for one in await configuration.list_all(channel, EVERYTHING)] == [name_of("a")]
        with pytest.raises(NotFound):
            await configuration.get(channel, name_of("none"))
        events = configuration.watch(channel, EVERYTHING)
        assert [said(await anext(events)) for _ in range(2)] == ["a", 1]
        assert (await configuration.delete(channel, (Deletion(name_of("a")),))).applied
        assert said(await asyncio.wait_for(anext(events), 5)) == "-a"
        await events.aclose()
        with pytest.raises(Relist):
            await anext(configuration.watch(channel, EVERYTHING, 99))
        status = await mesh.status(channel)
        assert [(source.name, source.objects) for source in status.sources] == [("api", 0)]
        assert status.revision == 2
