"""From what an operator types to what a replica begins with."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from ambient.core.errors import ConfigError
from ambient.core.join import JoinToken
from ambient.core.overload import Capacity
from ambient.kernel import process
from ambient.waypoint import start

WORD = JoinToken(
    "waypoint-shop-waypoint-0", "node", "192.0.2.1:15012", "192.0.2.1:15013", "td", "ab" * 32, "s3cret"
)


def test_where_it_listens_is_said_or_everywhere() -> None:
    assert [str(one) for one in start.listening(["10.0.0.1:15008", "[::1]:1"])] == [
        "10.0.0.1:15008",
        "[::1]:1",
    ]
    assert str(start.listening([])[0]) == "0.0.0.0:15008"


@pytest.mark.parametrize("text", ["15008", "localhost:15008", "10.0.0.1", "::1:15008", "10.0.0.1:70000"])
def test_what_is_no_place_to_listen_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--listen: .*write 0\.0\.0\.0:15008"):
        start.listening([text])


def test_where_it_is_reached_is_said_or_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start.addresses(["10.0.0.1", "::ffff:10.0.0.2"]) == (
        ip_address("10.0.0.1"),
        ip_address("10.0.0.2"),
    )
    monkeypatch.setattr(start.netlink, "global_addresses", lambda: (ip_address("192.0.2.9"),))
    assert start.addresses([]) == (ip_address("192.0.2.9"),)


def test_without_any_address_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start.netlink, "global_addresses", lambda: ())
    with pytest.raises(ConfigError, match="--address"):
        start.addresses([])
    with pytest.raises(ConfigError, match=r"--address: .*give an IP address"):
        start.addresses(["example.com"])


HOSTS = {
    "node-7": "node-7",
    "Node_7.example.com": "node-7",
    "-a-": "a",
    "___": "replica",
    "x" * 70: "x" * 40,
}


@pytest.mark.parametrize(("host", "name"), HOSTS.items(), ids=["plain", "odd", "dashes", "nothing", "long"])
def test_a_replica_is_called_after_its_machine(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr(start.socket, "gethostname", lambda: host)
    assert start.replica_name() == name


def test_a_word_becomes_a_root_and_a_token_that_nobody_else_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fetched(place: str, fingerprint: str) -> bytes:
        assert (place, fingerprint) == (WORD.bootstrap, WORD.root)
        return b"the root"

    monkeypatch.setattr(start, "fetch_root", fetched)
    for _ in range(2):
        joined = asyncio.run(start.join(WORD, tmp_path / "run", tmp_path / "state"))
        assert joined.root_cert.read_bytes() == b"the root"
        assert joined.token_file.read_text() == "s3cret"
        assert stat.S_IMODE(joined.token_file.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_a_word_of_an_operator_is_for_another_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ambient login"):
        asyncio.run(start.join(replace(WORD, role="admin"), tmp_path, tmp_path))


def test_how_much_it_may_have_is_said_or_its_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "memory_limit", lambda: 1 << 30)
    assert start.capacity(None, 7) == Capacity(1 << 30, 7)
    assert start.capacity(64, 0) == Capacity(64 << 20, None)
    assert start.capacity(0, 0) == Capacity()
