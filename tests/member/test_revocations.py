"""The operator's file of revoked certificates: what is taken, when, and what stands when it cannot be."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from core.pki.authorities import intermediate, revocation_list

from ambient.core.errors import ConfigError
from ambient.core.pki import issue
from ambient.member import revocations
from ambient.member.revocations import RevocationFile

ROOT = issue.new_authority("cluster.local", datetime.now(UTC))
ONE, TWO = revocation_list(ROOT, 1), revocation_list(ROOT, 1, 2)


class Held:
    """A file in a folder, who watches it, and what he told."""

    def __init__(self, folder, monkeypatch, capfd):
        monkeypatch.setattr(revocations, "ROUND_SECONDS", 0.02)
        self.path, self.kept = folder / "crl.pem", folder / "state" / "crl.pem"
        self.told = []
        self.now = datetime.now(UTC)
        self._said, self._capfd = "", capfd

    def made(self):
        return RevocationFile(self.path, self.kept, lambda: ROOT.root_pem, self.told.append, lambda: self.now)

    def put(self, content):
        draft = self.path.with_suffix(".new")
        draft.write_bytes(content)
        draft.replace(self.path)

    def said(self):
        out, err = self._capfd.readouterr()
        self._said += out + err
        return self._said

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    async def settled(self):
        await asyncio.sleep(0.3)


@pytest.fixture
def held(tmp_path, monkeypatch, capfd):
    return Held(tmp_path, monkeypatch, capfd)


def watching(file, body):
    async def run():
        file.start()
        task = asyncio.create_task(file.follow())
        try:
            await body()
        finally:
            assert not task.done() or task.exception() is None
            task.cancel()

    asyncio.run(run())


def test_a_replaced_file_is_taken_and_kept(held):
    held.put(ONE)
    file = held.made()

    async def body():
        assert (len(file.revocations), held.told) == (1, [])
        held.put(TWO)
        await held.until(lambda: held.told == [TWO])
        assert len(file.revocations) == 2
        held.put(b"")
        await held.until(lambda: held.told == [TWO, b""])
        await held.until(lambda: held.kept.read_bytes() == b"")
        assert len(file.revocations) == 0

    watching(file, body)


def test_a_link_that_turns_as_in_a_mounted_config_map_is_followed(held):
    first, second = held.path.parent / "first", held.path.parent / "second"
    for folder, content in ((first, ONE), (second, TWO)):
        folder.mkdir()
        (folder / "crl.pem").write_bytes(content)
    data = held.path.parent / "..data"
    data.symlink_to(first)
    held.path.symlink_to(data / "crl.pem")
    file = held.made()

    async def body():
        turned = data.with_name("..new")
        turned.symlink_to(second)
        turned.replace(data)
        await held.until(lambda: held.told == [TWO])

    watching(file, body)


def test_a_missing_file_is_said_once_and_taken_when_it_comes(held):
    file = held.made()

    async def body():
        await held.settled()
        assert held.said().count("no list of revoked certificates yet") == 1
        assert "an empty file revokes nobody" in held.said()
        assert "not taken" not in held.said()
        held.put(ONE)
        await held.until(lambda: held.told == [ONE])

    watching(file, body)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        pytest.param(b"what is this", "no list in PEM", id="words"),
        pytest.param(ONE[:150], "cannot be read", id="half"),
        pytest.param(
            revocation_list(ROOT, 9, signed_by=intermediate(ROOT)), "not signed by the root of that name", id="forged"
        ),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_with_a_remedy_and_the_last_good_one_stands(held, bad, sentence):
    held.put(ONE)
    file = held.made()

    async def body():
        held.put(bad)
        await held.until(lambda: sentence in held.said())
        assert str(held.path) in held.said()
        await held.settled()
        assert held.said().count("not taken") == 1
        assert (file.content, held.told) == (ONE, [])
        held.put(TWO)
        await held.until(lambda: held.told == [TWO])

    watching(file, body)


def test_a_file_that_goes_away_revokes_no_less(held):
    held.put(ONE)
    file = held.made()

    async def body():
        held.path.unlink()
        await held.until(lambda: "not taken; the last good list stands" in held.said())
        assert len(file.revocations) == 1
        held.put(TWO)
        await held.until(lambda: held.told == [TWO])

    watching(file, body)


@pytest.mark.parametrize("later", [None, b"bad"], ids=["missing", "bad"])
def test_the_last_good_version_stands_over_a_restart(held, later):
    held.put(TWO)
    held.made().start()
    held.path.unlink()
    if later is not None:
        held.put(later)
    file = held.made()
    file.start()
    assert (file.content, len(file.revocations)) == (TWO, 2)
    assert "the last good list of revoked certificates stands" in held.said()


def test_a_bad_file_with_none_before_it_is_an_error_of_the_operator(held):
    held.put(b"bad")
    with pytest.raises(ConfigError, match=f"--crl {held.path}: it holds no list"):
        held.made().start()


def test_a_list_that_is_overdue_is_said_once_and_used_on(held):
    held.put(revocation_list(ROOT, 1, next_update=held.now + timedelta(hours=1)))
    file = held.made()

    async def body():
        await held.settled()
        assert "overdue and used on" not in held.said()
        held.now += timedelta(hours=2)
        await held.until(lambda: "overdue and used on" in held.said())
        await held.settled()
        assert held.said().count("overdue and used on") == 1
        assert len(file.revocations) == 1

    watching(file, body)


def test_a_list_that_is_too_large_is_refused(held, monkeypatch):
    held.put(ONE)
    file = held.made()
    monkeypatch.setattr(revocations, "LARGEST", len(ONE))

    async def body():
        held.put(ONE + b"\n")
        await held.until(lambda: "larger than" in held.said())
        assert file.content == ONE

    watching(file, body)


def test_without_a_file_nothing_is_watched(tmp_path):
    file = RevocationFile(None, tmp_path / "crl.pem", lambda: ROOT.root_pem, lambda _: None)
    file.start()
    asyncio.run(file.follow())
    assert (file.content, list(tmp_path.iterdir())) == (b"", [])
