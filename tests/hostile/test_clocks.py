"""Clocks that disagree, and an authority that is away: always an injected clock, never the machine's.

A new root is in `netns/test_authority.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta

import pytest
from net.harness import AUTHORITY, CLIENT, SERVER, Fabric, credentials_of, fabric

from ambient.aio.tasks import Tasks
from ambient.core.errors import PeerError, Unavailable
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import csr, issue, rotation
from ambient.core.pki.bundle import Credentials
from ambient.member.certificates import Certificates
from ambient.net.tls import Contexts

MINUTE = timedelta(minutes=1)


def issued(identity: SpiffeId, now: datetime, lifetime: timedelta = issue.LEAF_LIFETIME) -> Credentials:
    """Credentials as an authority whose clock says ``now`` issues them."""
    request = csr.new_request(identity)
    chain = issue.issue(AUTHORITY, issue.requested_key(request.csr_pem), identity, now, lifetime)
    return Credentials.of(identity, request.key_pem, chain, AUTHORITY.root_pem, now)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


async def ask(mesh: Fabric) -> None:
    reader, writer = await mesh.connect()
    writer.write(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    writer.close()


@pytest.mark.parametrize("minutes", [-5, 5])
@pytest.mark.parametrize("lifetime", [timedelta(hours=1), issue.LEAF_LIFETIME], ids=["an-hour", "a-day"])
def test_an_authority_whose_clock_is_five_minutes_off_serves(minutes: int, lifetime: timedelta) -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            theirs = datetime.now(UTC) + minutes * MINUTE
            mesh.server_contexts = Contexts(issued(SERVER, theirs, lifetime))
            mesh.client_contexts = Contexts(issued(CLIENT, theirs, lifetime))
            await ask(mesh)

    asyncio.run(scenario())


def test_an_authority_whose_clock_is_an_hour_ahead_is_not_believed() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            mesh.client_contexts = Contexts(issued(CLIENT, datetime.now(UTC) + timedelta(hours=1)))
            with pytest.raises((PeerError, Unavailable)):
                await ask(mesh)

    asyncio.run(scenario())


def test_leaves_that_rotate_under_load_fail_no_request() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            asked = 0
            over = asyncio.Event()

            async def load() -> None:
                nonlocal asked
                while not over.is_set():
                    await ask(mesh)
                    asked += 1

            loads = [asyncio.create_task(load()) for _ in range(8)]
            held = await mesh.connect()
            for _ in range(15):
                await asyncio.sleep(0.1)
                dials = mesh.dials
                mesh.server_contexts = Contexts(credentials_of(SERVER))
                mesh.client_contexts = Contexts(credentials_of(CLIENT))
                mesh.pool.leave(lambda _: True)
                while mesh.dials == dials:
                    await asyncio.sleep(0.01)
            over.set()
            await asyncio.gather(*loads)
            held[1].write(b"still here")
            assert await held[0].readexactly(10) == b"still here"
            held[1].close()
            assert asked > 50
            assert mesh.dials >= 15

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_authority_may_be_away_for_twelve_hours() -> None:
    """A certificate lives a day and is renewed at its half: what was renewed last minute lives on for twelve hours."""
    now = datetime.now(UTC)
    held = issued(CLIENT, now)
    for jitter in (-1.0, 0.0, 1.0, random.uniform(-1, 1)):
        due = rotation.next_renewal(held.not_before, held.not_after, jitter)
        assert held.not_after - due > timedelta(hours=9)
    assert held.not_after - rotation.next_renewal(held.not_before, held.not_after, 0.0) >= timedelta(hours=12)


def test_while_the_authority_is_away_what_is_valid_is_used_and_then_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        ahead = timedelta()
        away = False
        told: list[Credentials | None] = []

        async def sign(identity: SpiffeId, request: bytes) -> tuple[bytes, ...]:
            if away:
                raise Unavailable("no authority")
            return issue.issue(AUTHORITY, issue.requested_key(request), identity, datetime.now(UTC) + ahead)

        crashes: list[BaseException] = []
        tasks = Tasks(lambda _, error: crashes.append(error))
        kept: Certificates[SpiffeId] = Certificates(
            sign,
            lambda: AUTHORITY.root_pem,
            lambda _, credentials: told.append(credentials),
            tasks,
            lambda: datetime.now(UTC) + ahead,
        )
        kept.want(CLIENT)
        async with asyncio.timeout(10):
            while kept.valid(CLIENT) is None:
                await asyncio.sleep(0.01)
        away = True
        for hours in (1, 11, 13, 23):
            ahead = timedelta(hours=hours)
            kept.renew(CLIENT)
            await asyncio.sleep(0.05)
            assert kept.valid(CLIENT) is not None, hours
        assert kept.error(CLIENT) == "no authority"
        ahead = timedelta(hours=25)
        assert kept.valid(CLIENT) is None
        away = False
        async with asyncio.timeout(20):
            while kept.valid(CLIENT) is None:
                await asyncio.sleep(0.05)
        assert crashes == []
        await tasks.stop()

    asyncio.run(scenario())
