"""A proxy of others' making against a real control plane process: what a ztunnel needs, in the order in which it asks."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from control.foreign import ADDRESS, AUTHORIZATION, Certificate, Resource, Response, Stream, certify
from cryptography import x509
from rpc.by_hand import data, fields, messages, text, texts

AMBIENT = Path(sys.executable).with_name("ambient")
ISTIOD = "istiod.istio-system.svc"
SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.88.0.10, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: istio-system}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [bad]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shop, namespace: shop}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [bad]}}]}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s, namespace: shop, labels: {app: %s}}
spec: {address: %s, serviceAccount: web}
"""
FIRST = {"a": 1, "b": 2, "c": 3}
"""The entries that every test begins with, and where they are: 10.9.0.x; ``c`` is no endpoint of the service."""
SERVICE = "shop/web.shop.svc.cluster.local"


def uid(name: str) -> str:
    return f"local/networking.istio.io/WorkloadEntry/shop/{name}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class World:
    """A control plane as a process, and a foreign node with its certificate."""

    folder: Path
    port: int
    bootstrap_port: int
    process: subprocess.Popen[bytes] | None = None
    certificate: Certificate | None = None

    @property
    def roots(self) -> bytes:
        return (self.folder / "state" / "root-cert.pem").read_bytes()

    def write(self, name: str, content: str) -> None:
        draft = self.folder / name
        draft.write_text(content)
        draft.replace(self.folder / "config" / f"{name}.yaml")

    def entry(self, name: str, address: str, app: str = "web") -> None:
        self.write(name, ENTRY % (name, app, address))

    def start(self) -> None:
        command = [
            AMBIENT, "control", "--config", self.folder / "config", "--state-dir", self.folder / "state",
            "--listen", f"127.0.0.1:{self.port}", "--bootstrap-listen", f"127.0.0.1:{self.bootstrap_port}",
            "--advertise", ISTIOD,
        ]  # fmt: skip
        log = self.folder / "log"
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stderr=out, stdout=out)
        deadline = time.monotonic() + 30
        while "control plane ready" not in log.read_text():
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def ambient(self, *arguments: str | Path) -> str:
        command = [AMBIENT, *arguments, "--state-dir", self.folder / "state"]
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
        return ran.stdout + ran.stderr

    @contextmanager
    def channel(self, port: int, certificate: Certificate | None = None) -> Iterator[grpc.Channel]:
        """TLS that checks for the name of istiod, which is what a ztunnel dials."""
        credentials = grpc.ssl_channel_credentials(
            self.roots,
            None if certificate is None else certificate.key,
            None if certificate is None else b"".join(certificate.chain[:-1]),
        )
        options = [("grpc.ssl_target_name_override", ISTIOD)]
        with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            yield channel

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        with self.channel(self.port, self.certificate) as channel:
            stream = Stream(channel, "far")
            try:
                yield stream
            finally:
                stream.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("foreign"), free_port(), free_port())
    (made.folder / "config").mkdir()
    made.write("shop", SHOP)
    made.start()
    token = made.ambient("token", "create", "--node", "far", "--plain").strip()
    with made.channel(made.bootstrap_port) as channel:
        made.certificate = certify(channel, "spiffe://cluster.local/node/far", token=token)
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def entries(world: World) -> None:
    for name in ("d", "e"):
        (world.folder / "config" / f"{name}.yaml").unlink(missing_ok=True)
    for name, last in FIRST.items():
        world.entry(name, f"10.9.0.{last}", app="other" if name == "c" else "web")


def until(stream: Stream, type_url: str, good: object) -> list[Response]:
    """Acknowledge what comes until a response of the type is as wanted; all of that type up to it, it unanswered."""
    found = []
    while True:
        response = stream.next()
        if response.type_url == type_url:
            found.append(response)
            if good(response):  # type: ignore[operator]
                return found
        stream.acknowledge(response)


def everything(stream: Stream) -> dict[str, Resource]:
    """Subscribe to both types; the addresses, once they are what this test begins with."""
    stream.subscribe(ADDRESS)
    stream.subscribe(AUTHORIZATION)
    held: dict[str, Resource] = {}

    def complete(response: Response) -> bool:
        for name in response.removed:
            held.pop(name, None)
        held.update(response.resources)
        if held.keys() != {SERVICE, *map(uid, FIRST)}:
            return False
        addresses = {name: held[uid(name)].workload[3] for name in FIRST}
        return addresses == {name: [bytes([10, 9, 0, last])] for name, last in FIRST.items()}

    stream.acknowledge(until(stream, ADDRESS, complete)[-1])
    return held


def test_the_server_shows_the_name_that_a_ztunnel_expects_and_the_chain_is_leaf_first(world: World) -> None:
    assert world.certificate is not None
    leaf = world.certificate.leaf
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/node/far"]
    chain = [x509.load_pem_x509_certificate(one) for one in world.certificate.chain]
    for lower, upper in pairwise(chain):
        lower.verify_directly_issued_by(upper)
    assert chain[-1] in x509.load_pem_x509_certificates(world.roots)


def test_a_certificate_for_a_workload_elsewhere_is_refused_in_words(world: World) -> None:
    with world.channel(world.port, world.certificate) as channel, pytest.raises(grpc.RpcError) as refused:
        certify(
            channel,
            "spiffe://cluster.local/ns/shop/sa/web",
            impersonate="spiffe://cluster.local/ns/shop/sa/web",
        )
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "node far has no accepted workload that runs as" in refused.value.details()


def test_without_a_certificate_or_with_the_whole_state_of_the_world_there_is_nothing(world: World) -> None:
    with world.channel(world.port) as channel:
        stream = Stream(channel, "far")
        stream.subscribe(ADDRESS)
        with pytest.raises(grpc.RpcError) as refused:
            stream.next()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        stream.close()
    old = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    with world.channel(world.port, world.certificate) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            next(channel.stream_stream(old)(iter([data(2, ADDRESS)]), timeout=10))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_wildcard_brings_everything_in_messages_that_can_be_read_by_numbers_alone(world: World) -> None:
    with world.stream() as stream:
        held = everything(stream)
    workload = held[uid("a")].workload
    assert workload[20] == [uid("a").encode()]
    assert workload[3] == [bytes([10, 9, 0, 1])]
    assert held[uid("a")].aliases == ["/10.9.0.1"]
    (ports,) = messages(bytes(workload[22][0]), 2)
    assert text(bytes(workload[22][0]), 1) == SERVICE
    assert fields(messages(ports, 1)[0]) == {1: [80], 2: [8080]}
    (service,) = messages(held[SERVICE].body, 2)
    assert texts(service, 3) == ["web.shop.svc.cluster.local"]
    assert held[SERVICE].aliases == ["/10.88.0.10"]
    assert {one.type_url for one in held.values()} == {ADDRESS}


def test_policies_come_and_no_checksum_to_who_did_not_ask_for_one(world: World) -> None:
    with world.stream() as stream:
        stream.subscribe(AUTHORIZATION)
        response = stream.next()
        # That of the namespace is for nodes that run something of it.
        assert response.resources.keys() == {"istio-system/all"}
        policy = fields(response.resources["istio-system/all"].body)
        assert policy[4] == [1]
        assert 3 not in policy  # GLOBAL is 0, and left out.
        assert response.system_version == ""
        stream.acknowledge(response)
        stream.subscribe(AUTHORIZATION, ("shop/shop", "shop/none"))
        asked = stream.next()
        assert asked.resources.keys() == {"shop/shop"}
        assert asked.removed == ["shop/none"]


def test_one_change_is_one_resource_and_waits_for_the_answer_to_the_last(world: World) -> None:
    with world.stream() as stream:
        everything(stream)
        world.entry("a", "10.9.1.1")
        (first,) = until(stream, ADDRESS, lambda _: True)
        assert first.resources.keys() == {uid("a")}
        for last in range(2, 9):
            world.entry("a", f"10.9.1.{last}")
        world.entry("d", "10.9.0.4")
        (world.folder / "config" / "b.yaml").unlink()
        time.sleep(1)  # The answer is late: meanwhile nothing may come, and then all of it at once.
        stream.acknowledge(first)
        merged = stream.next()
        assert merged.resources.keys() == {uid("a"), uid("d")}
        assert merged.resources[uid("a")].workload[3] == [bytes([10, 9, 1, 8])]
        assert merged.removed == [uid("b")]


def test_what_is_refused_is_shown_with_who_and_why_and_sent_again_when_it_changes(world: World) -> None:
    with world.stream() as stream:
        everything(stream)
        world.entry("a", "10.9.2.1")
        (bad,) = until(stream, ADDRESS, lambda _: True)
        stream.refuse(bad, f"decode failed: {uid('a')}: 10.9.2.1 is not mine")
        deadline = time.monotonic() + 10
        while (sentence := "refuses Address") not in (status := world.ambient("status")):
            assert time.monotonic() < deadline, status
        said = " ".join(status.split())
        assert "node far" in said, sentence
        assert "10.9.2.1 is not mine" in said
        world.entry("c", "10.9.2.3", app="other")
        (other,) = until(stream, ADDRESS, lambda _: True)
        assert other.resources.keys() == {uid("c")}  # And not the refused one with it.
        stream.acknowledge(other)
        world.entry("a", "10.9.2.2")
        (again,) = until(stream, ADDRESS, lambda _: True)
        assert again.resources.keys() == {uid("a")}
        stream.acknowledge(again)
        deadline = time.monotonic() + 10
        while "refuses" in (status := world.ambient("status")):
            assert time.monotonic() < deadline, status


@pytest.mark.parametrize("is_restarted", [False, True], ids=["stream-lost", "control-plane-killed"])
def test_a_reconnect_with_versions_brings_only_what_changed(world: World, is_restarted: bool) -> None:
    with world.stream() as stream:
        held = everything(stream)
    if is_restarted:
        world.stop(signal.SIGKILL)
    world.entry("a", "10.9.3.1")
    (world.folder / "config" / "b.yaml").unlink()
    world.entry("d", "10.9.0.4")
    if is_restarted:
        world.start()
    versions = {name: one.version for name, one in held.items()}
    with world.stream() as stream:
        stream.subscribe(ADDRESS, held=versions | {"local/never/was": "1"})
        told: dict[str, Resource] = {}
        gone: set[str] = set()

        def complete(response: Response) -> bool:
            told.update(response.resources)
            gone.update(response.removed)
            return told.keys() == {uid("a"), uid("d")} and gone == {uid("b"), "local/never/was"}

        stream.acknowledge(until(stream, ADDRESS, complete)[-1])
    now = {name: version for name, version in versions.items() if name != uid("b")}
    with world.stream() as stream:
        stream.subscribe(ADDRESS, held=now | {name: one.version for name, one in told.items()})
        nothing = stream.next()
        assert (nothing.resources, nothing.removed) == ({}, [])


def test_on_demand_by_address_by_name_and_taken_back(world: World) -> None:
    with world.stream() as stream:
        everything(stream)
    with world.stream() as stream:
        stream.subscribe(ADDRESS, ("*",), without=("*",))
        assert stream.next().resources == {}
        stream.acknowledge(Response(ADDRESS, "1", {}, [], "", 0))

        def ask(*names: str, without: tuple[str, ...] = ()) -> Response:
            stream.subscribe(ADDRESS, names, without=without)
            response = stream.next()
            stream.acknowledge(response)
            return response

        assert ask("/10.9.0.3").resources.keys() == {uid("c")}
        assert ask("/10.250.0.1").removed == ["/10.250.0.1"]
        assert ask("/10.88.0.10").resources.keys() == {SERVICE, uid("a"), uid("b")}
        # An endpoint that comes belongs to the service that was asked for.
        world.entry("d", "10.9.0.4")
        joined = stream.next()
        assert joined.resources.keys() == {uid("d")}
        stream.acknowledge(joined)
        world.entry("e", "10.250.0.1", app="other")
        found = stream.next()
        assert found.resources.keys() == {uid("e")}
        assert "/10.250.0.1" in found.resources[uid("e")].aliases
        stream.acknowledge(found)
        stream.subscribe(ADDRESS, without=("/10.88.0.10",))
        world.entry("a", "10.9.4.1")
        world.entry("c", "10.9.4.3", app="other")
        (last,) = until(stream, ADDRESS, lambda _: True)
        assert last.resources.keys() == {uid("c")}
