"""Whom a proxy trusts: the operator's file first, then the control plane's word, then whichever was said last."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ambient.core.errors import ConfigError
from ambient.core.pki import csr, issue
from ambient.core.pki.revocation import signed_list
from ambient.member.trust import Trust
from ambient.rpc import trust
from ambient.rpc.wire import RawResource

NOW = datetime.now(UTC)
AUTHORITIES = [issue.new_authority("cluster.local", NOW) for _ in range(3)]
A, B, C = (authority.root_pem for authority in AUTHORITIES)


class World:
    """A state folder that outlives proxies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "root-cert.pem"
        self.file.write_bytes(A)
        self.changes = self.revocations = 0
        self.start()

    def start(self, told: bytes = b"") -> None:
        """A new proxy, which was left ``told``."""
        self.trust = Trust(self.file, self.folder / "seen", self.changed, self.revoked)
        if told:
            assert self.trust.take([trust.bundle(told)], False) == {}
        self.changes = 0

    def hear(self, roots: bytes) -> None:
        assert self.trust.take([trust.bundle(roots)], True) == {}

    def changed(self) -> None:
        self.changes += 1

    def revoked(self) -> None:
        self.revocations += 1


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_file_counts_until_the_control_plane_has_spoken(world: World) -> None:
    assert world.trust.roots_pem == A
    world.hear(A)
    assert (world.trust.roots_pem, world.changes) == (A, 0)
    world.hear(A + B)
    assert (world.trust.roots_pem, world.changes) == (A + B, 1)
    world.hear(B)
    assert (world.trust.roots_pem, world.changes) == (B, 2)
    # The file still names the old root: that is no reason to trust it.
    world.trust.look()
    assert (world.trust.roots_pem, world.trust.given_anew) == (B, False)


def test_a_restart_trusts_what_was_trusted(world: World) -> None:
    world.hear(B)
    world.start(told=B)
    assert (world.trust.roots_pem, world.trust.given_anew) == (B, False)


def test_a_file_that_is_changed_counts_beside_until_the_control_plane_speaks_again(world: World) -> None:
    world.hear(B)
    world.file.write_bytes(C)
    world.trust.look()
    assert (world.trust.roots_pem, world.trust.given_anew, world.changes) == (B + C, True, 2)
    world.hear(C)
    assert (world.trust.roots_pem, world.trust.given_anew) == (C, False)


def test_a_file_that_was_changed_while_no_proxy_ran_counts_as_well(world: World) -> None:
    world.hear(B)
    world.file.write_bytes(C)
    world.start(told=B)
    assert (world.trust.roots_pem, world.trust.given_anew) == (B + C, True)


def test_a_file_that_says_what_the_control_plane_says_is_nothing_new(world: World) -> None:
    world.hear(B + C)
    world.file.write_bytes(C)
    world.trust.look()
    assert (world.trust.roots_pem, world.trust.given_anew) == (B + C, False)


def test_words_that_make_no_sense_are_refused_and_change_nothing(world: World) -> None:
    garbage = RawResource(trust.BUNDLE, trust.NAME, "1", b"\xff")
    assert world.trust.take([garbage], True) == {trust.NAME: "its roots cannot be read"}
    assert world.trust.take([trust.bundle(b"")], True) == {trust.NAME: "its roots cannot be read"}
    assert world.trust.take([trust.revocations(A)], True) == {
        trust.NAME: "its lists cannot be read: it holds a CERTIFICATE; give lists (X509 CRL) alone"
    }
    assert (world.trust.roots_pem, world.trust.lists_pem, world.changes, world.revocations) == (A, b"", 0, 0)


def test_lists_are_news_once(world: World) -> None:
    lists = signed_list(AUTHORITIES[0], {7: NOW}, NOW).pem
    for _ in range(2):
        assert world.trust.take([trust.revocations(lists)], True) == {}
    assert (world.trust.lists_pem, world.revocations) == (lists, 1)
    # Signed again they are the same, so that a control plane that restarts has nothing to tell.
    assert signed_list(AUTHORITIES[0], {7: NOW}, NOW).pem == lists


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            r"--root-cert .*/root-cert\.pem: No such file or directory; it is root-cert\.pem in the control",
        ),
        (b"", r"--root-cert .*/root-cert\.pem: the root certificates are not PEM"),
        (csr.new_request.__doc__.encode(), r"the root certificates are not PEM"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "root-cert.pem").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        Trust(tmp_path / "root-cert.pem", tmp_path / "seen", lambda: None, lambda: None)


def test_a_full_disk_makes_the_file_count_again_after_a_restart_and_nothing_worse(world: World, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ambient.member.trust.replace", full)
    world.hear(B)
    assert world.trust.roots_pem == B
    world.start(told=B)
    assert world.trust.roots_pem == B + A
