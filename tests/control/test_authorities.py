"""The authorities of a control plane on disk: made, adopted, followed by others, whatever happens in between."""

import os
import shutil
import stat
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ambient.control import keyfiles
from ambient.control.authorities import Authorities
from ambient.control.given import Given
from ambient.control.ledger import Issued, Ledger
from ambient.control.store import Store
from ambient.core.errors import ConfigError
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import csr, intermediate, issue, verify
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.succession import Remove, Retiring, Sign, Spreading, Steady

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WEB = SpiffeId("cluster.local", "shop", "web")
REQUEST = csr.new_request(WEB)
SIGN = Sign(NOW + DAY, frozenset())


@contextmanager
def opened(folder, now=NOW, given=None, **settings):
    store = Store.open(folder, "cluster.local")
    try:
        made = Authorities(folder, Ledger(store), "cluster.local", **settings)
        made.open(now, given)
        yield made
    finally:
        store.close()


def signed(authority, now=NOW):
    return issue.issue(authority, issue.requested_key(REQUEST.csr_pem), WEB, now)


def believed(chain, roots_pem, now=NOW):
    """As a node checks what its authority answers."""
    return Credentials.of(WEB, REQUEST.key_pem, chain, roots_pem, now)


def bundle(folder):
    return (folder / "root-cert.pem").read_bytes()


def test_a_first_start_makes_a_root_and_an_issuer_below_it(tmp_path):
    with opened(tmp_path) as made:
        assert made.state == Steady(made.line.name)
        signer = made.signer
        assert signer.root_pem == bundle(tmp_path) == made.roots_pem
        assert signer.certificate != signer.root
        constraints = signer.certificate.extensions.get_extension_for_class(
            verify.x509.BasicConstraints
        ).value
        assert (constraints.ca, constraints.path_length) == (True, 0)
        held = believed(signed(signer), made.roots_pem)
        assert held.chain_pem.count(b"BEGIN CERTIFICATE") == 2
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "roots" / made.line.name).iterdir()
    }
    assert modes == {"root-cert.pem": 0o644, "root-key.pem": 0o600, "issuer.pem": 0o600}
    with opened(tmp_path) as again:
        assert again.signer == signer


def test_what_an_issuer_vouches_for_signs_nothing_itself():
    root = issue.new_authority("cluster.local", NOW)
    issuer = intermediate.new_issuer(root, "cluster.local", NOW)
    lower = intermediate.new_issuer(issuer, "cluster.local", NOW)
    with pytest.raises(verify.BadCertificate):
        believed(signed(lower), root.root_pem)


def test_a_folder_with_one_root_alone_is_adopted_and_what_it_signed_stands(tmp_path):
    root = issue.new_authority("cluster.local", NOW)
    keyfiles.write(tmp_path / "root-key.pem", root.key_pem)
    keyfiles.write(tmp_path / "root-cert.pem", root.root_pem, 0o644)
    before = signed(root)
    with opened(tmp_path) as made:
        assert made.signer.root == root.root
        assert bundle(tmp_path) == root.root_pem
        believed(before, made.roots_pem)
        believed(signed(made.signer), root.root_pem)
        assert not (tmp_path / "root-key.pem").exists()
        assert made.keeps_root_key(made.line)


def test_the_roots_key_may_be_away_and_the_issuer_signs_on(tmp_path):
    with opened(tmp_path) as made:
        key = tmp_path / "roots" / made.line.name / "root-key.pem"
    away = key.rename(tmp_path / "in-a-safe")
    with opened(tmp_path) as made:
        assert not made.keeps_root_key(made.line)
        first = made.signer
        signed(first)
        late = NOW + 200 * DAY
        assert not made.renew_issuer(late)
        away.rename(key)
        assert made.renew_issuer(late)
        assert made.signer != first
        believed(signed(made.signer, late), made.roots_pem, late)
        assert made.line.previous == first
        assert not made.renew_issuer(late)


def follow(made):
    """All steps of a rotation."""
    made.begin(NOW)
    made.sign(SIGN)
    made.remove(Remove())


def test_one_root_follows_another_and_each_certificate_is_believed_by_whoever_must(tmp_path):
    with opened(tmp_path) as made:
        old, old_roots = made.signer, made.roots_pem
        made.begin(NOW)
        assert isinstance(made.state, Spreading)
        assert made.signer == old
        both = made.roots_pem
        assert both == bundle(tmp_path)
        assert len(verify.load_roots(both)) == 2
        made.sign(SIGN)
        assert isinstance(made.state, Retiring)
        assert made.roots_pem == both
        chain = signed(made.signer)
        believed(chain, both)
        believed(chain, made.signer.root_pem)
        # By the bridge: a node that has heard nothing of it.
        believed(chain, old_roots)
        believed(signed(old), both)
        made.remove(Remove())
        assert made.roots_pem == made.signer.root_pem == bundle(tmp_path)
        with pytest.raises(verify.BadCertificate):
            believed(signed(old), made.roots_pem)
        assert [path.name for path in (tmp_path / "roots").iterdir()] == [made.line.name]


def test_a_root_without_its_key_is_followed_without_a_bridge(tmp_path):
    with opened(tmp_path) as made:
        old_roots = made.roots_pem
        (tmp_path / "roots" / made.line.name / "root-key.pem").unlink()
        made.begin(NOW)
        made.sign(SIGN)
        believed(signed(made.signer), made.roots_pem)
        with pytest.raises(verify.BadCertificate):
            believed(signed(made.signer), old_roots)


@pytest.mark.parametrize("minutes", [-5, 5])
def test_clocks_that_are_five_minutes_off_believe_the_newest_root_at_once(tmp_path, minutes):
    with opened(tmp_path) as made:
        old_roots = made.roots_pem
        made.begin(NOW)
        made.sign(SIGN)
        chain, theirs = signed(made.signer), NOW + timedelta(minutes=minutes)
        for roots_pem in (made.roots_pem, made.signer.root_pem, old_roots):
            believed(chain, roots_pem, theirs)


def test_a_copy_that_somebody_made_is_theirs(tmp_path):
    with opened(tmp_path) as made:
        name = made.line.name
    shutil.copytree(tmp_path / "roots" / name, tmp_path / "roots" / f"{name}.backup")
    shutil.copytree(tmp_path / "roots" / name, tmp_path / "roots" / "0123456789abcdef")
    with opened(tmp_path):
        assert {path.name for path in (tmp_path / "roots").iterdir()} == {name, f"{name}.backup"}


def test_a_second_rotation_waits_for_the_first(tmp_path):
    with opened(tmp_path) as made:
        made.begin(NOW)
        with pytest.raises(ConfigError, match="one root follows another already"):
            made.begin(NOW)


class Killed(BaseException):
    """kill -9, as far as this process can tell: nothing after it is done."""


def kill_at(monkeypatch, number):
    """The process dies at its ``number``-th word to the disk."""
    count = 0

    def dying(name, real):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == number:
                raise Killed(name)
            return real(*arguments, **options)

        return call

    for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (Path, "unlink"), (shutil, "rmtree"), (Ledger, "set_state")):  # fmt: skip
        monkeypatch.setattr(owner, name, dying(name, getattr(owner, name)))
    return lambda: count


@pytest.mark.parametrize("begins_with", ["nothing", "old-folder", "root"])
def test_a_crash_at_any_point_is_gone_on_from(tmp_path, monkeypatch, begins_with):
    """Each time the next control plane has a state that is whole, and brings the rotation to its end."""
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        roots_before = None
        match begins_with:
            case "root":
                with opened(folder) as made:
                    roots_before = made.roots_pem
            case "old-folder":
                root = issue.new_authority("cluster.local", NOW)
                keyfiles.write(folder / "root-cert.pem", root.root_pem, 0o644)
                keyfiles.write(folder / "root-key.pem", root.key_pem)
                roots_before = root.root_pem
        with monkeypatch.context() as patched:
            calls = kill_at(patched, number)
            try:
                with opened(folder) as made:
                    follow(made)
            except Killed:
                died = True
            else:
                died = False
        with opened(folder) as made:
            if roots_before is not None and isinstance(made.state, Spreading):
                assert made.signer.root_pem == roots_before
            believed(signed(made.signer), made.roots_pem)
            assert bundle(folder) == made.roots_pem
            names = {path.name for path in (folder / "roots").iterdir()}
            assert names == {line.name for line in made.lines}
            if isinstance(made.state, Steady) and died and made.roots_pem == roots_before:
                made.begin(NOW)
            if isinstance(made.state, Spreading):
                made.sign(SIGN)
            if isinstance(made.state, Retiring):
                made.remove(Remove())
            assert isinstance(made.state, Steady)
            assert made.roots_pem == bundle(folder)
            if roots_before is not None:
                assert made.roots_pem != roots_before
        if not died:
            assert calls() < number
            assert number > 20
            return


@pytest.mark.parametrize(
    ("file", "mode", "message"),
    [
        ("root-key.pem", 0o640, r"root-key\.pem has mode 0640, so that others can read the key: chmod 0600 "),
        ("issuer.pem", 0o604, r"issuer\.pem has mode 0604, so that others can read the key: chmod 0600 "),
    ],
)
def test_a_key_that_others_can_read_is_refused_by_name(tmp_path, file, mode, message):
    with opened(tmp_path) as made:
        path = tmp_path / "roots" / made.line.name / file
    path.chmod(mode)
    with pytest.raises(ConfigError, match=message), opened(tmp_path):
        pass
    path.chmod(0o400)
    with opened(tmp_path):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_key_of_another_user_is_refused_by_name(tmp_path):
    with opened(tmp_path) as made:
        path = tmp_path / "roots" / made.line.name / "issuer.pem"
    os.chown(path, 12345, 0)
    with pytest.raises(ConfigError, match=r"issuer\.pem belongs to user 12345, who could change it: chown root"), opened(tmp_path):  # fmt: skip
        pass


def test_nothing_is_signed_past_the_issuers_end():
    root = issue.new_authority("cluster.local", NOW, 100 * DAY)
    issuer = intermediate.new_issuer(root, "cluster.local", NOW)
    assert issuer.not_after == root.not_after == NOW + 100 * DAY
    leaf = verify.load(signed(issuer, NOW + 99.5 * DAY)[0])
    assert leaf.not_valid_after_utc == issuer.not_after
    for late in (NOW + 100 * DAY - timedelta(seconds=59), NOW + 101 * DAY):
        with pytest.raises(
            issue.AuthorityEnding, match=r"ends at 2026-04-11T00:00:00Z, too soon to sign with it"
        ):
            signed(issuer, late)


# --- given from outside


class Source:
    """What cert-manager or a person puts into a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.ticks = 0.0
        folder.mkdir(exist_ok=True)

    def given(self):
        return Given(self.folder, lambda: NOW, lambda: self.ticks)

    def put(self, authority, names=("tls.crt", "tls.key", "ca.crt")):
        certificate, key, root = (self.folder / name for name in names)
        root.write_bytes(authority.root_pem)
        certificate.write_bytes(verify.to_pem(authority.certificate))
        keyfiles.write(key, authority.key_pem)


def outside(lifetime=100 * DAY, root=None):
    root = root or issue.new_authority("corporate", NOW)
    return intermediate.new_issuer(root, "corporate", NOW, lifetime)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("tls.crt", "tls.key", "ca.crt"), id="cert-manager"),
        pytest.param(("ca-cert.pem", "ca-key.pem", "root-cert.pem"), id="istio"),
    ],
)
def test_a_given_authority_signs(tmp_path, names):
    source, authority = Source(tmp_path / "given"), outside()
    source.put(authority, names)
    with opened(tmp_path / "state", given=source.given()) as made:
        assert made.signer == authority
        assert not made.keeps_root_key(made.line)
        believed(signed(made.signer), authority.root_pem)


def test_a_given_chain_may_have_authorities_between(tmp_path):
    root = issue.new_authority("corporate", NOW)
    source, issuer = Source(tmp_path / "given"), None
    middle_key = csr.new_key()
    middle = intermediate._signed(
        root, root.root.subject, middle_key.public_key(), NOW, DAY * 9, path_length=None
    )
    issuer = intermediate.new_issuer(
        issue.Authority(middle_key, middle, (root.root,)), "corporate", NOW, DAY * 5
    )
    source.put(issuer, ("ca-cert.pem", "ca-key.pem", "root-cert.pem"))
    (source.folder / "cert-chain.pem").write_bytes(verify.to_pem(issuer.certificate) + verify.to_pem(middle))
    with opened(tmp_path / "state", given=source.given()) as made:
        assert made.signer.above == (middle, root.root)
        believed(signed(made.signer), root.root_pem)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(lambda folder: (folder / "tls.key").unlink(), r"tls\.key: No such file or directory; is --ca-dir written to the end\?", id="no-key"),
        pytest.param(lambda folder: (folder / "ca.crt").unlink(), r"ca\.crt: No such file", id="no-root"),
        pytest.param(lambda folder: (folder / "tls.crt").write_bytes(b""), r"tls\.crt, tls\.key and ca\.crt: they are not all PEM; are they written to the end\?", id="empty-certificate"),
        pytest.param(lambda folder: (folder / "tls.key").write_bytes(outside().key_pem), r"the authority's certificate is not of its key", id="half-written"),
        pytest.param(lambda folder: (folder / "tls.key").write_bytes(outside().key_pem[:60]), r"the authority's key or certificate is not PEM", id="cut-key"),
        pytest.param(lambda folder: (folder / "ca.crt").write_bytes(outside().root_pem), r"is not signed by a root of them or by one between", id="another-root"),
        pytest.param(lambda folder: (folder / "tls.key").chmod(0o644), r"tls\.key has mode 0644, so that others can read the key", id="open-key"),
        pytest.param(lambda folder: (folder / "tls.crt").write_bytes(signed(outside())[0]), r"is not signed by a root|not of its key", id="a-leaf"),
        pytest.param(shutil.rmtree, r"holds no authority: put tls\.crt, tls\.key, ca\.crt or ca-cert\.pem", id="nothing"),
    ],
)  # fmt: skip
def test_what_is_given_wrongly_is_refused_by_name_and_the_last_good_set_stands(tmp_path, spoil, why):
    source, authority = Source(tmp_path / "given"), outside()
    source.put(authority)
    given = source.given()
    given.look()
    assert given.authority == authority
    spoil(source.folder)
    given.look()
    assert given.authority == authority
    with pytest.raises(ConfigError, match=why), opened(tmp_path / "new", given=source.given()):
        pass
    source.folder.mkdir(exist_ok=True)
    source.put(authority)
    with opened(tmp_path / "state", given=source.given()):
        pass
    spoil(source.folder)
    with opened(tmp_path / "state", given=source.given()) as made:
        assert made.signer == authority


def test_a_leaf_is_no_authority(tmp_path):
    issuer = outside()
    leaf, *_ = signed(issuer)
    with pytest.raises(ConfigError, match="is not an authority's: it needs CA:TRUE and keyCertSign"):
        issue.joined(REQUEST.key_pem, leaf + verify.to_pem(issuer.certificate), issuer.root_pem)


def test_a_change_that_shows_in_no_stamp_is_taken_up_after_a_while(tmp_path):
    source, first, second = Source(tmp_path), outside(), outside()
    source.put(first)
    given = source.given()
    given.look()
    given._stamp_now = lambda stamp=given._stamp: stamp
    source.put(second)
    given.look()
    assert given.authority == first
    source.ticks = 61
    given.look()
    assert given.authority == second


def test_another_issuer_of_the_same_root_is_taken_at_once_and_another_root_follows_in_steps(tmp_path):
    root = issue.new_authority("corporate", NOW)
    source, first, second, third = (
        Source(tmp_path / "given"),
        outside(root=root),
        outside(root=root),
        outside(),
    )
    source.put(first)
    given = source.given()
    with opened(tmp_path / "state", given=given) as made:
        assert made.knows(second)
        made.take_given(second)
        assert made.signer == second
        assert made.line.previous == first
        assert not made.knows(third)
        made.begin(NOW, third)
        assert made.signer == second
        made.sign(SIGN)
        assert made.signer == third
        believed(signed(second), made.roots_pem)


# --- the ledger


def certificate(serial, identity="spiffe://cluster.local/node/n1", node="n1", days=1.0):
    return Issued(serial, identity, node, "r1", "1f", NOW + days * DAY)


@pytest.fixture
def ledger(tmp_path):
    store = Store.open(tmp_path, "cluster.local")
    yield Ledger(store)
    store.close()


def test_a_ledger_knows_what_lives_and_what_is_revoked(ledger):
    for one in (certificate("a1"), certificate("a2", days=0.5), certificate("b1", str(WEB), days=2)):
        ledger.issued(one, NOW, is_nodes_own=False)
    assert [one.serial for one in ledger.certificates(NOW)] == ["a2", "a1", "b1"]
    assert [one.serial for one in ledger.revoke("spiffe://cluster.local/node/n1", NOW)] == ["a2", "a1"]
    assert ledger.revoke("a1", NOW) == ()
    assert [one.serial for one in ledger.revoked(NOW)] == ["a2", "a1"]
    assert [one.serial for one in ledger.revoked(NOW + 0.7 * DAY)] == ["a1"]
    assert [one.serial for one in ledger.revoke("b1", NOW)] == ["b1"]
    assert ledger.last_end("r1") == NOW + 2 * DAY
    assert ledger.last_end("r2") is None
    ledger.issued(certificate("c1", days=9), NOW + 3 * DAY, is_nodes_own=False)
    assert [one.serial for one in ledger.certificates(NOW)] == ["c1"]


def test_a_ledger_knows_who_has_not_seen_the_roots(ledger):
    ledger.issued(certificate("a1"), NOW, is_nodes_own=True)
    ledger.issued(certificate("b1", str(WEB), node="n9"), NOW, is_nodes_own=False)
    assert ledger.unaware("v1", NOW) == {"n1"}
    assert ledger.saw("n1", "v1", NOW)
    assert not ledger.saw("n1", "v1", NOW)
    assert ledger.unaware("v1", NOW) == frozenset()
    assert ledger.unaware("v2", NOW) == {"n1"}
    assert ledger.unaware("v2", NOW + DAY) == frozenset()
    # A renewal is no word on what it trusts; a node from before the ledger is known when it speaks.
    ledger.issued(certificate("a2", days=2), NOW, is_nodes_own=True)
    assert ledger.unaware("v1", NOW + DAY) == frozenset()
    assert ledger.saw("n2", "v1", NOW + DAY)
    assert ledger.unaware("v2", NOW) == {"n1", "n2"}
    ledger.forget_node("n2")
    assert ledger.unaware("v2", NOW) == {"n1"}


@pytest.mark.parametrize("state", [Steady("a"), Spreading("a", "b"), Retiring("b", "a", NOW)])
def test_a_ledger_keeps_the_state(ledger, state):
    assert ledger.state() is None
    ledger.set_state(Steady("z"))
    ledger.set_state(state)
    assert ledger.state() == state
