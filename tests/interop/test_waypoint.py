"""nginx and Envoy on either side of a waypoint, and clients that everybody has.

What is written ambiguously goes through the waypoint to both of them, which ask a third server that writes every byte down.
All must count the same requests, or the waypoint has refused it: then none of them heard of any.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from hostile.certificates import CLIENT_URI
from hostile.waypoint import Scene as Ground, everything, scene as made
from interop import certs, envoy
from interop.envoy import Envoy
from interop.nginx import PROGRAM, Nginx
from topology import Host, Process, objects, until

from ambient.core.model.identity import SpiffeId

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs nginx; ./dev test installs it"),
]
SERVERS = ("nginx", "envoy")


@dataclass
class Scene:
    ground: Ground
    records: dict[str, Process]
    """The server behind each."""
    targets: dict[str, Callable[[], list[tuple[int, str]]]]
    """What each has counted, by its own log: status and target."""
    outside: Host
    """Where Envoy and nginx are clients; it has an Envoy with HBONE on port 20001."""


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with made(["server", "nginx=nginx", "envoy=envoy"]) as ground:
        mesh = ground.mesh
        hosts = {name: mesh.topology.host(name) for name in (*SERVERS, "outside")}
        records = {name: hosts[name].serve("record", 8081) for name in SERVERS}
        nginx = Nginx(hosts["nginx"], 8080, "http://127.0.0.1:8081")
        behind = envoy.cluster("record", "127.0.0.1", 8081)
        proxy = Envoy(hosts["envoy"], [envoy.forwarding("front", "0.0.0.0", 8080, "record")], [behind])
        entries = [
            objects.workload_entry("shop", name, hosts[name].v4, labels={"app": name}) for name in SERVERS
        ]
        mesh.apply("machines", *entries)
        outside = hosts["outside"]
        held = certs.held(
            mesh.topology.folder,
            "outside",
            SpiffeId("cluster.local", "shop", "client"),
            certs.authority_of(mesh.state),
        )
        tls = envoy.client_tls(held, mesh.root_cert, expect=ground.replica.identity)
        hbone = envoy.cluster(
            "waypoint", ground.replica.pod.v4, 15008, tls=tls, protocol={"http2_protocol_options": {}}
        )
        authority = f"{ground.addresses['server']}:80"
        Envoy(outside, [envoy.tunnelling("client", "127.0.0.1", 20001, "waypoint", authority)], [hbone])
        for address in (ground.addresses[name] for name in SERVERS):
            until(partial(answers, ground, address), 20, f"{address} to answer")
        yield Scene(
            ground,
            records,
            {
                "nginx": nginx.logged,
                "envoy": lambda: [
                    (int(line["code"] or 0), line["path"] or "") for line in proxy.logged("front")
                ],
            },
            outside,
        )


def answers(ground: Ground, address: str) -> bool:
    with ground.door.open(address, 80) as connection:
        connection.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return everything(connection).statuses == [200]


# ---- what may be read in two ways


SECOND = b"GET /MARK-2 HTTP/1.1\r\nhost: x\r\n\r\n"
NONSENSE = bytes(200) + b"\r\n\r\n"
"""Behind each of them, so that no reader waits for more: it goes on in no way."""
ENDLESS = "length=b'4294967296'"
"""Save one: the body that was announced never comes."""
ENDED = b"0\r\n\r\n"


def post(*lines: bytes, body: bytes, first: bytes = b"POST /MARK-1 HTTP/1.1") -> bytes:
    return b"\r\n".join((first, b"host: x", *lines, b"", body))


def ambiguous() -> Iterator[tuple[str, bytes]]:
    """Names and bytes: each kind of doubt, in every way that parsers were ever fooled by."""
    values = (
        b"chunked", b"Chunked", b" chunked", b"chunked ", b"\tchunked", b"chunked\t", b"\x0bchunked", b"\x0cchunked", b"chunked,", b",chunked",
        b"chunked, identity", b"identity", b"identity, chunked", b"gzip, chunked", b"chunked, chunked", b"xchunked",
        b"chunked;q=1", b'"chunked"', b"'chunked'", b"chunked\0", b"\xefchunked", b"", b"chunk",
    )  # fmt: skip
    for value in values:
        for length in (None, len(ENDED), len(ENDED + SECOND)):
            lines = [] if length is None else [b"content-length: %d" % length]
            yield (
                f"transfer-encoding={value!r},length={length}",
                post(*lines, b"transfer-encoding:" + value, body=ENDED + SECOND),
            )
    names = (
        b"Transfer-Encoding ", b"Transfer-Encoding\t", b" Transfer-Encoding", b"Transfer_Encoding", b"Transfer-Encoding\0", b"Transfer Encoding",
        b"X: y\nTransfer-Encoding", b"X: y\rTransfer-Encoding", b"X: y\r\n Transfer-Encoding", b"\xffTransfer-Encoding", b"Transfer-Encoding\r",
    )  # fmt: skip
    for name in names:
        yield (
            f"name={name!r}",
            post(b"content-length: %d" % len(ENDED + SECOND), name + b": chunked", body=ENDED + SECOND),
        )
        yield f"name={name!r},short", post(b"content-length: 0", name + b": chunked", body=ENDED + SECOND)
    lengths = (
        b"0", b"00", b"+0", b"-0", b"0x0", b"0,0", b"0, 5", b"0 ", b"\t0", b"0\x0b", b"0\0", b"0;", b'"0"', b"", b"1e0", b"0.0", b"\xb2", b"0 0",
        b"18446744073709551616", b"4294967296", b"_0", b"0_0",
    )  # fmt: skip
    for value in lengths:
        yield f"length={value!r}", post(b"content-length:" + value, body=SECOND)
        yield (
            f"length={value!r},twice",
            post(b"content-length:" + value, b"content-length: %d" % len(SECOND), body=SECOND),
        )
    for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PROPFIND", b"PATCH", b"MOVE"):
        first = method + b" /MARK-1 HTTP/1.1"
        yield f"method={method!r},length", post(b"content-length: %d" % len(SECOND), body=SECOND, first=first)
        yield (
            f"method={method!r},chunks",
            post(b"transfer-encoding: chunked", body=ENDED + SECOND, first=first),
        )
        yield f"method={method!r},nothing", post(body=SECOND, first=first)
    sizes = (
        b"0", b"00", b"0;a", b"0 ;a", b"0 ", b"0\t", b" 0", b"+0", b"-0", b"0x0", b"0;a\n", b"0\n", b"0\r", b"0\0", b'0;a="\r\n"', b"0,0", b"g",
        b"", b"0;\x0b", b"10000000000000000", b"fffffffffffffff0",
    )  # fmt: skip
    for size in sizes:
        yield f"chunk={size!r}", post(b"transfer-encoding: chunked", body=size + b"\r\n\r\n" + SECOND)
    ends = (b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r\n", b"X", b"")
    for end in ends:
        yield f"chunk-end={end!r}", post(b"transfer-encoding: chunked", body=b"1\r\na" + end + ENDED + SECOND)
        yield f"last-chunk-end={end!r}", post(b"transfer-encoding: chunked", body=b"0\r\n" + end + SECOND)
        yield (
            f"trailer-end={end!r}",
            post(b"transfer-encoding: chunked", body=b"0\r\na: b" + end + b"\r\n" + SECOND),
        )
    first_lines = (
        b"POST  /MARK-1 HTTP/1.1", b"POST /MARK-1  HTTP/1.1", b"POST /MARK-1 HTTP/1.1 ", b"POST\t/MARK-1\tHTTP/1.1", b"POST /MARK-1\x0bHTTP/1.1",
        b"POST /MARK-1 HTTP/1.1\r", b"POST /MARK-1 HTTP/1.1\nx: y", b"POST /MARK-1 HTTP/01.1", b"POST /MARK-1 HTTP/1.10", b"POST /MARK-1 http/1.1",
        b"POST /MARK-1 HTTP/1.0", b"POST /MARK-1 HTTP/1.", b"POST /MARK-1", b"POST http://x/MARK-1 HTTP/1.1", b"POST http://y/MARK-1 HTTP/1.1",
        b"POST /MARK-1\0 HTTP/1.1", b"POST /MARK-1#a HTTP/1.1", b"POST /MARK-1%0d%0a HTTP/1.1", b"POST /MARK-1?a b HTTP/1.1", b" POST /MARK-1 HTTP/1.1",
        b"\r\nPOST /MARK-1 HTTP/1.1", b"\nPOST /MARK-1 HTTP/1.1", b"P\0ST /MARK-1 HTTP/1.1", b"POST /../MARK-1 HTTP/1.1", b"POST x/MARK-1 HTTP/1.1",
    )  # fmt: skip
    for first in first_lines:
        yield f"line={first!r}", post(b"content-length: 0", body=SECOND, first=first)
    nominated = (
        b"content-length",
        b"transfer-encoding",
        b"host",
        b"close, content-length",
        b"x, transfer-encoding",
        b"upgrade",
    )
    for name in nominated:
        yield f"connection={name!r}", post(b"connection: " + name, b"content-length: 0", body=SECOND)
        yield (
            f"connection={name!r},chunks",
            post(b"connection: " + name, b"transfer-encoding: chunked", body=ENDED + SECOND),
        )
    yield "upgrade", post(b"connection: upgrade", b"upgrade: websocket", b"content-length: 0", body=SECOND)
    yield "upgrade-to-http2", post(b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__", body=SECOND, first=b"GET /MARK-1 HTTP/1.1")  # fmt: skip
    yield "expectation", post(b"expect: 100-continue", b"content-length: 0", body=SECOND)
    yield (
        "expectation-of-chunks",
        post(b"expect: 100-continue", b"transfer-encoding: chunked", body=ENDED + SECOND),
    )
    yield "forwarded-method", post(b"x-http-method-override: HEAD", b"content-length: 0", body=SECOND)


CORPUS = dict(ambiguous())


@pytest.mark.parametrize("name", SERVERS)
def test_all_count_the_same_requests_or_none(scene: Scene, name: str) -> None:
    """Whatever was answered once was one request for each of them; whatever was refused was none."""
    ground = scene.ground
    marks, told = {}, {}
    for case, data in CORPUS.items():
        mark = marks[case] = ground.mark().decode()
        with ground.connect(name) as connection:
            connection.sendall(data.replace(b"MARK", mark.encode()) + NONSENSE)
            told[case] = everything(connection, 2 if case == ENDLESS else 20)
        assert told[case].how != "open" or case == ENDLESS, told[case]
    last = ground.mark().decode()
    with ground.connect(name) as connection:
        connection.sendall(f"GET /{last} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        assert everything(connection).statuses == [200]
    until(
        lambda: any(last in target for _, target in scene.targets[name]()), 20, f"{name} to write that down"
    )
    counted = scene.targets[name]()
    behind = [line["line"] for line in scene.records[name].lines() if line.get("event") == "request"]
    wrong = {}
    for case, mark in marks.items():
        answered = sum(status == 200 for status in told[case].statuses)
        begun = [target for _, target in counted if mark in target]
        whole = [target for status, target in counted if mark in target and status == 200]
        heard = [line for line in behind if mark in line]
        is_smuggled = any(f"{mark}-2" in one for one in (*begun, *heard)) and answered < 2
        if not len(whole) == len(heard) == answered or len(begun) > max(1, answered) or is_smuggled:
            wrong[case] = told[case], begun, whole, heard
    assert wrong == {}
    kept = sum(200 in answer.statuses for answer in told.values())
    assert 20 < kept < len(CORPUS) / 2, "some are meant well, most are not"


# ---- clients


def curl(scene: Scene, *words: str, service: str = "server", path: str = "/") -> tuple[int, str]:
    """Status, and all that it wrote."""
    url = f"http://{scene.ground.addresses[service]}{path}"
    done = scene.ground.client.pod.run(
        "curl", "-s", "-m", "20", "-w", "\n%{http_code} %{http_version}", *words, url
    )
    assert done.returncode == 0, done
    return int(done.stdout.rpartition("\n")[2].split()[0]), done.stdout


@pytest.mark.parametrize("service", ["server", *SERVERS])
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge", "--http2"])
def test_curl_in_each_version_to_each_server(scene: Scene, version: str, service: str) -> None:
    status, text = curl(scene, version, "-d", "hello", service=service)
    assert (status, text.partition("\n")[0]) == (200, "ok")
    assert text.endswith({"--http2-prior-knowledge": " 2", "--http1.0": " 1.1"}.get(version, " 1.1"))


@pytest.mark.parametrize("service", ["server", *SERVERS])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_an_upload_of_chunks_waits_to_be_asked_for_and_arrives(
    scene: Scene, version: str, service: str
) -> None:
    file = scene.ground.mesh.topology.folder / "upload"
    file.write_bytes(b"0123456789" * 150_000)
    status, text = curl(
        scene, version, "-T", str(file), "-H", "expect: 100-continue", "-H", "transfer-encoding: chunked" if version == "--http1.1" else "x: y", "-v", service=service, path="/upload"
    )  # fmt: skip
    assert (status, text.partition("\n")[0]) == (200, "ok")
    record = scene.records.get(service, scene.ground.record)
    heads = [
        line for line in record.lines() if line.get("event") == "request" and "PUT /upload" in line["line"]
    ]
    assert len(re.sub(r"[^0-9]", "", heads[-1]["body"])) >= 1_500_000


@pytest.mark.parametrize("service", ["server", *SERVERS])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_the_head_alone(scene: Scene, version: str, service: str) -> None:
    status, text = curl(scene, version, "-I", service=service)
    assert status == 200
    assert "content-length: 2\n" in text.lower()


@pytest.mark.parametrize("version", [["--h1"], ["-m", "20"]], ids=["http1", "http2"])
@pytest.mark.parametrize("service", SERVERS)
def test_h2load_is_answered_each_time(scene: Scene, version: list[str], service: str) -> None:
    url = f"http://{scene.ground.addresses[service]}/load"
    done = scene.ground.client.pod.run("h2load", "-n", "1000", "-c", "10", *version, url, timeout=60)
    assert done.returncode == 0, done
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout


def test_envoy_asks_over_hbone(scene: Scene) -> None:
    done = scene.outside.run("curl", "-s", "-m", "20", "-i", "http://127.0.0.1:20001/by-envoy")
    assert done.stdout.startswith("HTTP/1.1 200 OK\n"), done
    line = scene.ground.replica.wait_for_access(message="request complete", path="/by-envoy")
    assert line["src.identity"] == CLIENT_URI


def test_nginx_asks_in_a_pod(scene: Scene) -> None:
    """As an ingress does that is a workload like others; it keeps no connection, and says HTTP/1.1 to whoever it asks."""
    pod, ground = scene.ground.client.pod, scene.ground
    Nginx(pod, 9000, f"http://{ground.addresses['server']}")
    done = pod.run("curl", "-s", "-m", "20", "-d", "hello", "http://127.0.0.1:9000/by-nginx")
    assert (done.returncode, done.stdout) == (0, "ok")
    line = ground.replica.wait_for_access(message="request complete", path="/by-nginx")
    assert line["src.identity"] == CLIENT_URI
    assert [
        one["body"]
        for one in ground.record.lines()
        if one.get("event") == "request" and "/by-nginx" in one["line"]
    ] == ["hello"]
