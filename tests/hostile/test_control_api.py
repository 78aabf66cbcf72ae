"""Callers of a real control plane that have no right, or ask for too much. Whose certificate who gets is in
``tests/control/test_control.py``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from control.test_control import SHOP
from envoy.service.discovery.v3 import discovery_pb2
from hostile.certificates import anyone
from hostile.measure import Cost

from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import csr
from ambient.core.pki.bundle import Credentials
from ambient.rpc.certificates import sign
from ambient.rpc.channel import open_bootstrap_channel, open_channel
from ambient.rpc.errors import InvalidRequest, PermissionDenied, Unauthenticated
from ambient.rpc.pb.ambient.registry.v1 import registry_pb2, registry_pb2_grpc
from ambient.rpc.wire import ADDRESS

AMBIENT = Path(sys.executable).with_name("ambient")
NODE = NodeId("cluster.local", "n1")


@dataclass
class Running:
    """A control plane as a process of its own, on loopback."""

    pid: int
    port: int
    bootstrap_port: int
    state: Path

    @property
    def roots(self) -> bytes:
        return (self.state / "root-cert.pem").read_bytes()

    def token(self) -> str:
        command = [AMBIENT, "token", "create", "--node", NODE.node, "--plain", "--state-dir", self.state]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    @asynccontextmanager
    async def stranger(self) -> AsyncIterator[grpc.aio.Channel]:
        async with open_bootstrap_channel(f"127.0.0.1:{self.bootstrap_port}", self.roots) as channel:
            yield channel

    @asynccontextmanager
    async def node(self) -> AsyncIterator[grpc.aio.Channel]:
        request = csr.new_request(NODE)
        async with self.stranger() as channel:
            chain = await sign(channel, request.csr_pem, token=self.token())
        held = Credentials.of(NODE, request.key_pem, chain, self.roots, datetime.now(UTC))
        async with open_channel(f"127.0.0.1:{self.port}", held) as channel:
            yield channel


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("control")
    config, state = folder / "config", folder / "state"
    config.mkdir()
    state.mkdir()
    (config / "shop.yaml").write_text(SHOP)
    ports = free_port(), free_port()
    command = [
        AMBIENT, "control", "--config", config, "--state-dir", state,
        "--listen", f"127.0.0.1:{ports[0]}", "--bootstrap-listen", f"127.0.0.1:{ports[1]}",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stderr=log, stdout=log) as process:
        deadline = time.monotonic() + 30
        while "control plane ready" not in (folder / "log").read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Running(process.pid, *ports, state)
        assert process.poll() is None, "it died of an attack"
        process.terminate()


def watching(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall:
    return channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
        response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
    )()


async def drained(call: grpc.aio.StreamStreamCall) -> None:
    """Everything that comes, to the end."""
    while await call.read() is not grpc.aio.EOF:
        pass


async def alive(channel: grpc.aio.Channel) -> None:
    assert await sign(channel, csr.new_request(NODE).csr_pem)


@pytest.mark.parametrize("door", ["node", "stranger"])
def test_a_message_of_100_megabytes_is_refused_and_not_kept(control: Running, door: str) -> None:
    async def scenario() -> None:
        async with control.node() as good, AsyncExitStack() as stack:
            channel = good if door == "node" else await stack.enter_async_context(control.stranger())
            call = channel.unary_unary("/istio.v1.auth.IstioCertificateService/CreateCertificate")
            cost = Cost([control.pid])
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(bytes(100_000_000), timeout=60)
                assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert cost.kib < 64 * 1024
            await alive(good)

    asyncio.run(scenario())


def test_a_node_has_few_streams_and_no_more(control: Running) -> None:
    async def scenario() -> None:
        async with control.node() as channel:
            cost = Cost([control.pid])
            calls = {
                asyncio.ensure_future(call.code()): call for call in (watching(channel) for _ in range(40))
            }
            ended: set[asyncio.Future[grpc.StatusCode]] = set()
            # A stream is refused before it asks, and one that is taken waits for a question.
            while len(ended) < 32:
                ended |= (
                    await asyncio.wait(calls.keys() - ended, timeout=30, return_when="FIRST_COMPLETED")
                )[0]
            assert {code.result() for code in ended} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
            taken = [calls[code] for code in calls.keys() - ended]
            assert len(taken) == 8
            for call in taken:
                await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=ADDRESS))
                assert await call.read() is not grpc.aio.EOF
            assert cost.kib < 32 * 1024
            for call in taken:
                call.cancel()
            await alive(channel)

    asyncio.run(scenario())


def test_a_watcher_that_asks_for_too_many_names_is_refused(control: Running) -> None:
    async def scenario() -> None:
        async with control.node() as channel:
            cost = Cost([control.pid])
            call = watching(channel)
            names = [f"workload-{number}" for number in range(200_001)]
            await call.write(
                discovery_pb2.DeltaDiscoveryRequest(type_url=ADDRESS, resource_names_subscribe=names)
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await drained(call)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert cost.kib < 128 * 1024
            await alive(channel)

    asyncio.run(scenario())


def test_a_node_that_reports_a_city_of_workloads_is_refused(control: Running) -> None:
    async def scenario() -> None:
        async with control.node() as channel:
            call = registry_pb2_grpc.RegistryStub(channel).Report()  # type: ignore[no-untyped-call]
            workloads = [
                registry_pb2.LocalWorkload(
                    uid=f"u{number}", name="n", namespace="shop", service_account="web"
                )
                for number in range(20_001)
            ]
            await call.write(registry_pb2.NodeReport(full=True, upserted=workloads))
            with pytest.raises(grpc.aio.AioRpcError, match="more than 20000 workloads"):
                await drained(call)
            await alive(channel)

    asyncio.run(scenario())


def test_guessed_tokens_are_refused_at_little_cost(control: Running) -> None:
    async def scenario() -> None:
        request = csr.new_request(NODE).csr_pem
        async with control.stranger() as channel:
            cost = Cost([control.pid])
            for number in range(200):
                with pytest.raises(Unauthenticated, match="unknown"):
                    await sign(channel, request, token=f"{number:064x}")
            assert cost.kib < 16 * 1024

    asyncio.run(scenario())


def test_a_stolen_token_is_worth_nothing_after_its_owner_used_it(control: Running) -> None:
    async def scenario() -> None:
        token = control.token()
        async with control.stranger() as channel:
            await sign(channel, csr.new_request(NODE).csr_pem, token=token)
            with pytest.raises(Unauthenticated, match="used already"):
                await sign(channel, csr.new_request(NODE).csr_pem, token=token)

    asyncio.run(scenario())


@pytest.mark.parametrize("account", ["web", "admin", "../web"])
def test_a_node_gets_no_certificate_of_whom_it_does_not_run(control: Running, account: str) -> None:
    async def scenario() -> None:
        async with control.node() as channel:
            with pytest.raises((PermissionDenied, InvalidRequest)):
                await sign(
                    channel,
                    csr.new_request(NODE).csr_pem,
                    impersonate=SpiffeId("cluster.local", "shop", account),
                )

    asyncio.run(scenario())


GARBAGE = {
    "nothing": b"",
    "plaintext-http": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "plaintext-http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "noise": os.urandom(4000),
    "half-a-client-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
}


@pytest.mark.parametrize("said", list(GARBAGE.values()), ids=GARBAGE)
def test_what_is_no_tls_is_cut_and_leaves_nothing(control: Running, said: bytes) -> None:
    cost = Cost([control.pid])
    for port in (control.port, control.bootstrap_port):
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
                plain.sendall(said)
    assert cost.kib < 32 * 1024


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_versions_before_1_2_open_no_door(control: Running, version: ssl.TLSVersion) -> None:
    context = anyone()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = version
    for port in (control.port, control.bootstrap_port):
        plain = socket.create_connection(("127.0.0.1", port), timeout=20)
        with pytest.raises(OSError):
            context.wrap_socket(plain)
        plain.close()
