"""A control plane's authority over time: the clock is the test's, nodes are names that say what they hold."""

import asyncio
import json
import sqlite3
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from control.test_authorities import Source, outside

from ambient.control.audit import Audit
from ambient.control.authorities import Authorities
from ambient.control.given import Given
from ambient.control.ledger import Issued, Ledger
from ambient.control.store import Store
from ambient.control.trust import Trust, check_signs
from ambient.core.errors import ConfigError
from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import csr, issue, verify
from ambient.core.pki.revocation import Revocations
from ambient.rpc import trust as wire
from ambient.rpc.errors import NotFound

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
WEB = SpiffeId("cluster.local", "shop", "web")
REQUEST = csr.new_request(WEB)


class World:
    """One control plane's authority, and everything that it told nodes."""

    def __init__(self, folder):
        self.folder, self.now = folder, START
        self.told = []
        self.changes = 0

    @contextmanager
    def running(self, root_lifetime=100 * DAY, given=None):
        store = Store.open(self.folder, "cluster.local")
        try:
            ledger = Ledger(store)
            self.authorities = Authorities(self.folder, ledger, "cluster.local", root_lifetime)
            self.authorities.open(self.now, given)
            check_signs(self.authorities, self.now, self.folder)
            audit = Audit(self.folder / "audit.log", lambda: self.now)
            self.trust = Trust(
                self.authorities, ledger, audit, self.publish, self.changed, lambda: self.now, DAY, given
            )
            yield self.trust
        finally:
            store.close()

    def publish(self, update):
        self.told += update.upserted

    def changed(self):
        self.changes += 1

    def newest(self, type_url):
        return next(raw for raw in reversed(self.told) if raw.type_url == type_url)

    def hears(self, node):
        """A node is told and says so."""
        self.trust.holds(node, self.newest(wire.BUNDLE).version)

    def issue(self, identity=WEB, node="n1"):
        signer = self.trust.signer
        chain = issue.issue(signer, issue.requested_key(REQUEST.csr_pem), identity, self.now)
        leaf = verify.load(chain[0])
        issued = Issued(
            f"{leaf.serial_number:x}", str(identity), node, self.trust.authority, signer.serial, leaf.not_valid_after_utc
        )  # fmt: skip
        self.trust.issued(issued, is_nodes_own=isinstance(identity, NodeId))
        return chain, issued.serial

    def node(self, name):
        return self.issue(NodeId("cluster.local", name), name)

    def audited(self):
        return [json.loads(line)["message"] for line in (self.folder / "audit.log").read_text().splitlines()]

    def turn(self, **passes):
        self.now += timedelta(**passes)
        self.trust.turn()
        return self.trust.standing().phase


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


async def test_a_database_that_cannot_be_read_for_a_while_ends_nothing(world, monkeypatch):
    with world.running() as trust:
        with monkeypatch.context() as broken:
            asked = asyncio.Event()

            def unreadable(*_):
                asked.set()
                raise sqlite3.OperationalError("unable to open database file")

            broken.setattr(Ledger, "revoked", unreadable)
            running = asyncio.create_task(trust.run())
            async with asyncio.timeout(20):
                await asked.wait()
                while "unable to open database file" not in trust.standing().trouble:
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while trust.standing().trouble:
                await asyncio.sleep(0.01)
        assert not running.done()
        running.cancel()


def test_a_root_grows_old_and_another_follows_step_by_step(world):
    with world.running() as trust:
        old = trust.authority
        assert world.turn(days=79, hours=12) == "steady"
        for node in ("n1", "n2", "gone"):
            world.node(node)
        assert world.turn(hours=12) == "spreading"
        assert trust.authority == old
        assert trust.standing().unaware_nodes == ("gone", "n1", "n2")
        world.hears("n1")
        assert world.turn(hours=1) == "spreading"
        assert trust.standing().waits_for == "nodes that have not heard of the new root yet: gone, n2"
        world.hears("n2")
        # One that is gone is waited for as long as its certificate lives; others renew theirs.
        world.now += 10 * HOUR
        world.node("n1")
        world.node("n2")
        assert world.turn(minutes=59) == "spreading"
        assert world.turn(minutes=2) == "retiring"
        assert trust.authority != old
        assert world.turn(hours=23) == "retiring"
        assert world.turn(hours=1) == "steady"
        assert len(verify.load_roots(trust.roots_pem)) == 1
        assert world.audited() == ["root follows", "root signs", "root removed"]
        assert world.turn(days=1) == "steady"


@pytest.mark.parametrize("phase", ["spreading", "retiring"])
def test_a_restart_in_between_knows_what_nodes_have_said(world, phase):
    with world.running() as trust:
        world.node("n1")
        world.node("n2")
        trust.rotate()
        world.hears("n1")
        if phase == "retiring":
            world.hears("n2")
            world.turn()
        told = len(world.told)
        assert trust.standing().phase == phase
        signer = trust.signer
    with world.running() as trust:
        assert trust.signer == signer
        # What nodes hold is published again as it was: they need not hear it.
        versions = {(raw.type_url, raw.version) for raw in world.told[told:]}
        assert versions == {(raw.type_url, raw.version) for raw in (world.newest(one) for one in wire.TYPES)}
        assert versions <= {(raw.type_url, raw.version) for raw in world.told[:told]}
        if phase == "spreading":
            assert trust.standing().unaware_nodes == ("n2",)
            world.hears("n2")
            assert world.turn() == "retiring"
        assert world.turn(days=1) == "steady"


def test_a_node_that_joins_while_others_have_heard_is_waited_for_too(world):
    with world.running() as trust:
        world.node("n1")
        trust.rotate()
        world.hears("n1")
        world.node("late")
        assert world.turn() == "spreading"
        world.hears("late")
        assert world.turn() == "retiring"


def test_a_node_that_is_forgotten_is_not_waited_for(world):
    with world.running() as trust:
        world.node("n1")
        trust.rotate()
        assert world.turn() == "spreading"
        assert set(trust.node_ends()) == {"n1"}
        trust.forget_node("n1")
        assert world.turn() == "retiring"


def test_when_little_is_left_it_goes_on_without_those_who_did_not_hear_and_says_so(world, capfd):
    with world.running(root_lifetime=10 * DAY) as trust:
        assert world.turn(days=6) == "spreading"
        world.node("deaf")
        assert world.turn(hours=1) == "spreading"
        world.now = START + 7.5 * DAY
        world.node("deaf")
        assert world.turn() == "spreading"
        assert world.turn(hours=12) == "retiring"
        said = capfd.readouterr().err
        assert 'ERROR "nodes have not heard of the root that signs now" nodes=deaf' in said
        assert trust.standing().phase == "retiring"


def test_it_speaks_up_early_and_once(world, capfd):
    """An issuer whose root's key is away cannot be renewed by itself."""
    with world.running(root_lifetime=3650 * DAY):
        [key] = world.folder.glob("roots/*/root-key.pem")
        key.unlink()
        heard = []
        for days in (304, 1, 1, 28, 1, 22, 1, 1):
            world.turn(days=days)
            line = [line for line in capfd.readouterr().err.splitlines() if "an authority ends" in line]
            heard.append(len(line))
            for one in line:
                assert "role=issuer" in one
                assert "bring root-key.pem of the root back to its folder" in one
        assert heard == [0, 1, 0, 0, 1, 0, 1, 0]


def test_an_issuer_is_renewed_by_itself_and_its_lists_go_on(world):
    with world.running(root_lifetime=3650 * DAY) as trust:
        first = trust.signer
        world.now = START + 183 * DAY - HOUR
        _, serial = world.issue()
        assert world.turn(hours=2) == "steady"
        assert trust.signer != first
        assert world.changes == 1
        trust.revoke(serial)
        lists = Revocations.from_pem(wire.read_revocations(world.newest(wire.REVOCATIONS)))
        assert [one.is_of(first.certificate) for one in lists.lists] == [True]
        assert "issuer renewed" in world.audited()


def test_what_is_revoked_is_told_until_it_has_ended(world):
    with world.running() as trust:
        chain, serial = world.issue()
        world.issue()
        other, _ = world.issue(SpiffeId("cluster.local", "shop", "api"))
        [revoked] = trust.revoke(serial)
        assert (revoked.serial, revoked.identity, revoked.revoked) == (serial, str(WEB), START)
        lists = Revocations.from_pem(wire.read_revocations(world.newest(wire.REVOCATIONS)))
        shown = [b"".join(one[:-1]) for one in (chain, other)]
        assert [lists.covers(one, trust.roots_pem) for one in shown] == [True, False]
        assert not lists.overdue(START + 23 * HOUR)
        with pytest.raises(NotFound, match=f"no certificate that lives and is not revoked has .* {serial}"):
            trust.revoke(serial)
        assert len(trust.revoke(str(WEB))) == 1
        told = len(world.told)
        world.turn(hours=23)
        assert len(world.told) == told
        world.turn(hours=1)
        assert len(Revocations.from_pem(wire.read_revocations(world.newest(wire.REVOCATIONS)))) == 0
        assert world.audited() == ["certificate revoked"] * 2


def test_a_full_disk_loses_a_note_and_no_certificate(world, capfd):
    with world.running() as trust:
        trust._ledger._store.database.execute("PRAGMA query_only = 1")
        world.node("n1")
        trust.holds("n1", "v")
        said = capfd.readouterr().err
        assert "certificate not noted; it cannot be revoked by its identity" in said
        assert "not noted which roots a node trusts" in said


def test_an_authority_that_has_ended_is_not_started_and_the_way_out_is_named(world):
    with world.running():
        pass
    world.now += 101 * DAY
    with pytest.raises(ConfigError, match=r"ended at 2026-04-11T00:00:00Z, and nobody believes it any more; `ambient certs recover --state-dir .*` makes another"), world.running():  # fmt: skip
        pass


def test_what_is_given_follows_step_by_step_and_is_not_recovered_from_when_it_has_ended(world, tmp_path):
    source = Source(tmp_path / "given")
    first, second = (outside(lifetime=90 * DAY) for _ in range(2))
    source.put(first)
    given = Given(source.folder, lambda: world.now, lambda: source.ticks)
    with world.running(given=given) as trust:
        assert trust.signer == first
        with pytest.raises(
            ConfigError, match=r"the authority is given by --ca-dir .*: put another one there"
        ):
            trust.rotate()
        world.node("n1")
        source.put(second)
        assert world.turn() == "spreading"
        (source.folder / "tls.key").unlink()
        assert world.turn() == "spreading"
        assert "tls.key: No such file" in trust.standing().trouble
        world.hears("n1")
        assert world.turn() == "retiring"
        assert trust.signer == second
        assert world.turn(days=1) == "steady"
        # It is for whoever gives it to replace it, however old it grows.
        assert world.turn(days=80) == "steady"
        world.now += 20 * DAY
        with pytest.raises(
            ConfigError, match=r"put another authority into --ca-dir .* first: .*tls\.key: No such"
        ):
            trust.recover(force=False)


def test_it_recovers_when_all_has_ended_and_not_before(world):
    with world.running() as trust:
        before = trust.roots_pem
        with pytest.raises(ConfigError, match="`ambient certs rotate` replaces it and fails nobody; --force"):
            trust.recover(force=False)
        world.now += 101 * DAY
        trust.recover(force=False)
        assert trust.roots_pem != before
        assert world.newest(wire.BUNDLE) == wire.bundle(trust.roots_pem)
        assert world.issue()
        with pytest.raises(ConfigError, match="rotate"):
            trust.recover(force=False)
        trust.recover(force=True)
        assert (world.changes, world.audited()) == (2, ["root replaced"] * 2)
