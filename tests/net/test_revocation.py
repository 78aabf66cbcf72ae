"""Revoked certificates in handshakes and under live tunnels, with real TLS, for both ends."""

from __future__ import annotations

import asyncio

import pytest
from core.pki.authorities import credentials, intermediate, revocation_list, serial
from net.harness import AUTHORITY, CLIENT, SERVER, Fabric, fabric

from ambient.core.errors import AmbientError
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.revocation import Revocations, Revoked
from ambient.net.tls import Contexts, Peers

MIDDLE = intermediate(AUTHORITY)
KINDS = ["leaf", "intermediate"]
SIDES = ["client", "server"]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def lists_of(kind: str, held: Credentials) -> Revocations:
    if kind == "leaf":
        return Revocations.from_pem(revocation_list(MIDDLE, serial(held)))
    return Revocations.from_pem(revocation_list(AUTHORITY, MIDDLE.root.serial_number))


def equip(mesh: Fabric, side: str) -> tuple[Credentials, Peers]:
    """Give ``side`` a certificate of the intermediate; the other end's peers are returned."""
    peers = Peers()
    if side == "client":
        held = credentials(CLIENT, MIDDLE, AUTHORITY)
        mesh.client_contexts = Contexts(held)
        mesh.server_contexts = Contexts(credentials(SERVER, AUTHORITY), peers)
    else:
        held = credentials(SERVER, MIDDLE, AUTHORITY)
        mesh.server_contexts = Contexts(held)
        mesh.client_contexts = Contexts(credentials(CLIENT, AUTHORITY), peers)
    return held, peers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
def test_who_is_revoked_gets_no_tunnel_and_whoever_is_not_does(side: str, kind: str) -> None:
    async def run() -> None:
        async with fabric(echo) as mesh:
            held, peers = equip(mesh, side)
            peers.revoke(lists_of(kind, held))
            with pytest.raises(AmbientError) as raised:
                await mesh.connect()
            errors = mesh.errors if side == "client" else [raised.value]
            assert [type(error) for error in errors] == [Revoked]
            assert mesh.tunnels == [] or all(not tunnel.streams for tunnel in mesh.tunnels)

            peers.revoke(Revocations())
            _, writer = await mesh.connect()
            writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
def test_a_live_tunnel_is_found_when_its_peer_is_revoked(side: str, kind: str) -> None:
    async def run() -> None:
        async with fabric(echo) as mesh:
            held, peers = equip(mesh, side)
            reader, writer = await mesh.connect()
            writer.write(b"before")
            assert await reader.read(100) == b"before"
            assert peers.revoke(Revocations.from_pem(revocation_list(MIDDLE, 12345))) == []
            [(tunnel, error)] = peers.revoke(lists_of(kind, held))
            assert tunnel in (mesh.tunnels if side == "client" else mesh.pool._keys)
            tunnel.abort(str(error))
            with pytest.raises(ConnectionResetError):
                await reader.read(100)

    asyncio.run(run())


def test_a_tunnel_that_is_over_is_not_remembered() -> None:
    async def run() -> None:
        async with fabric(echo) as mesh:
            held, peers = equip(mesh, "client")
            for _ in range(3):
                _, writer = await mesh.connect()
                for tunnel in mesh.tunnels:
                    tunnel.abort("it ends")
                writer.transport.abort()
                async with asyncio.timeout(5):
                    while mesh.pool.tunnels:
                        await asyncio.sleep(0.01)
            assert peers.revoke(lists_of("leaf", held)) == []

    asyncio.run(run())
