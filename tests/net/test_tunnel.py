"""Tunnels between real sockets: order of bytes and ends, back-pressure, resets, identities, sharing."""

import asyncio
import hashlib
import os
import resource
import socket
import struct
import time
from datetime import UTC, datetime

import pytest
import uvloop
from net.harness import AUTHORITY, CLIENT, credentials_of, fabric

from ambient.core.errors import PeerError, Unavailable
from ambient.core.model.identity import SpiffeId
from ambient.core.pki import issue
from ambient.net.tls import Contexts


def run(work) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 60))


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
        writer.close()
    except ConnectionError:
        writer.transport.abort()


def test_bytes_come_back_in_order_with_both_half_closes() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            reader, writer = await mesh.connect()
            sent = os.urandom(3_000_000)
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent
            assert all(relay.error is None for relay in mesh.relays)
            writer.close()

    run(scenario())


def test_a_transfer_of_a_gigabyte_arrives_whole() -> None:
    async def scenario() -> None:
        digests: list[str] = []
        done = asyncio.Event()

        async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            digest = hashlib.blake2b()
            while data := await reader.read(1 << 20):
                digest.update(data)
            digests.append(digest.hexdigest())
            writer.close()
            done.set()

        async with fabric(sink) as mesh:
            _, writer = await mesh.connect()
            block, digest = os.urandom(1 << 20), hashlib.blake2b()
            for _ in range(1024):
                digest.update(block)
                writer.write(block)
                await writer.drain()
            writer.write_eof()
            await done.wait()
            assert digests == [digest.hexdigest()]
            writer.close()

    run(scenario())


def test_one_tunnel_carries_many_connections_at_once() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:

            async def one(number: int) -> None:
                reader, writer = await mesh.connect()
                message = f"{number}:".encode() * 1000
                writer.write(message)
                writer.write_eof()
                assert await reader.read() == message
                writer.close()

            await asyncio.gather(*(one(number) for number in range(80)))
            assert mesh.dials == 1

    run(scenario())


def test_a_full_tunnel_is_joined_by_another_and_a_burst_dials_once_for_each() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            held = await asyncio.gather(*(mesh.connect() for _ in range(250)))
            assert mesh.dials == 3
            for _, writer in held:
                writer.close()

    run(scenario())


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_is_passed_on_as_a_reset(who: str) -> None:
    async def scenario() -> None:
        server_saw: list[object] = []
        over = asyncio.Event()

        async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(5)
            if who == "server":
                _reset_on_close(writer)
                writer.transport.abort()
                return
            try:
                await reader.read()
                server_saw.append("end")
            except ConnectionResetError:
                server_saw.append("reset")
            writer.transport.abort()
            over.set()

        async with fabric(application) as mesh:
            reader, writer = await mesh.connect()
            writer.write(b"hello")
            if who == "client":
                await writer.drain()
                await asyncio.sleep(0.1)
                _reset_on_close(writer)
                writer.transport.abort()
                await over.wait()
                assert server_saw == ["reset"]
            else:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                writer.transport.abort()

    run(scenario())


def test_a_stalled_reader_stalls_its_own_stream_only_and_memory_stays_bounded() -> None:
    async def scenario() -> None:
        async def application(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            kind = await reader.readexactly(1)
            if kind == b"s":
                await asyncio.sleep(50)
            total = 0
            while data := await reader.read(1 << 20):
                total += len(data)
            writer.write(str(total).encode())
            writer.close()

        async with fabric(application) as mesh:
            for _ in range(90):
                _, writer = await mesh.connect()
                writer.write(b"s" + b"x" * 4_000_000)
            await asyncio.sleep(0.5)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            reader, writer = await mesh.connect()
            began = time.monotonic()
            writer.write(b"f")
            for _ in range(200):
                writer.write(b"y" * 1_000_000)
                await writer.drain()
            writer.write_eof()
            assert await reader.read() == b"200000000"
            assert time.monotonic() - began < 20
            assert mesh.dials == 1
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 64 * 1024, f"{grown} KiB"

    run(scenario())


def test_a_server_of_another_identity_gets_no_byte() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            with pytest.raises(PeerError, match="ns/shop/sa/server, not"):
                await mesh.pool.open(mesh.key(SpiffeId("cluster.local", "shop", "other")), "10.0.0.1:80", [])
            await asyncio.sleep(0.1)
            assert all(tunnel.streams == 0 for tunnel in mesh.tunnels)

    run(scenario())


@pytest.mark.parametrize(
    ("client", "authority"),
    [
        pytest.param(SpiffeId("other.domain", "shop", "client"), AUTHORITY, id="trust-domain"),
        pytest.param(CLIENT, issue.new_authority("cluster.local", datetime.now(UTC)), id="authority"),
    ],
)
def test_a_client_that_cannot_prove_itself_gets_no_tunnel(
    client: SpiffeId, authority: issue.Authority
) -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            mesh.client_contexts = Contexts(credentials_of(client, authority))
            # In TLS 1.3 the client learns of its refusal only after its own half of the handshake.
            with pytest.raises((PeerError, Unavailable)):
                await mesh.connect()
            assert mesh.tunnels == []
            assert len(mesh.errors) == 1

    run(scenario())


def test_when_the_server_leaves_live_streams_end_well_and_the_next_dials_anew() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            reader, writer = await mesh.connect()
            for tunnel in mesh.tunnels:
                tunnel.leave()
            await asyncio.sleep(0.1)
            other_reader, other_writer = await mesh.connect()
            assert mesh.dials == 2
            for stream_reader, stream_writer in ((reader, writer), (other_reader, other_writer)):
                stream_writer.write(b"still")
                stream_writer.write_eof()
                assert await stream_reader.read() == b"still"
                stream_writer.close()

    run(scenario())


def test_when_the_tunnel_dies_every_stream_is_reset() -> None:
    async def scenario() -> None:
        async with fabric(echo) as mesh:
            held = [await mesh.connect() for _ in range(5)]
            for tunnel in mesh.tunnels:
                tunnel.abort("cut by the test")
            for reader, writer in held:
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                writer.transport.abort()

    run(scenario())


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
