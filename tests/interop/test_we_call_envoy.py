"""Envoy as the server of our tunnels: with little room, few streams, short lives, slow, dying, refusing, or not who it says."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from interop import certs, envoy
from interop.envoy import Envoy, Part
from interop.world import CLIENT, CODECS, ECHO, MOVE, MUTE, SERVER, SLOW, World, shop
from topology import Process, until

from ambient.core.pki import issue

SMALLEST_WINDOW, LARGEST_FRAME = 2**16 - 1, 2**24 - 1
MAX_FRAME_SIZE = 5
"""The number of the setting, RFC 9113, section 6.5.2."""
REFUSED = {401: 8401, 404: 8404, 503: 8503}
"""Ports for which Envoy answers with a status."""


@dataclass(frozen=True)
class Manner:
    """How one listener of Envoy differs from the others."""

    http2: Part = field(default_factory=dict)
    http: Part = field(default_factory=dict)
    held: str = "server"
    alpn: str = "h2"


MANNERS = {
    "plain": Manner(),
    "small-windows": Manner(
        {"initial_stream_window_size": SMALLEST_WINDOW, "initial_connection_window_size": SMALLEST_WINDOW}
    ),
    "large-frames": Manner(
        {"custom_settings_parameters": [{"identifier": MAX_FRAME_SIZE, "value": LARGEST_FRAME}]}
    ),
    "1-stream": Manner({"max_concurrent_streams": 1}),
    "2-streams": Manner({"max_concurrent_streams": 2}),
    "5-streams": Manner({"max_concurrent_streams": 5}),
    "3-requests": Manner(http={"common_http_protocol_options": {"max_requests_per_connection": 3}}),
    "half-a-second": Manner(
        http={"common_http_protocol_options": {"max_connection_duration": "0.5s"}, "drain_timeout": "0.2s"}
    ),
    "client-s-identity": Manner(held="client"),
    "other-authority": Manner(held="other-authority"),
    "expired": Manner(held="expired"),
    "http1": Manner(alpn="http/1.1"),
}
WRONG = {
    "client-s-identity": f"the server is {CLIENT}, not {SERVER}",
    "other-authority": "unable to get local issuer certificate",
    "expired": "certificate has expired",
    "http1": "does not speak h2",
}


@dataclass
class Scene:
    world: World
    envoys: dict[str, Envoy]
    """By codec, and one that the tests may stop and kill."""
    addresses: dict[tuple[str, str], str]
    """Of each manner of each Envoy."""
    slow: dict[str, Process]
    """The application behind each Envoy that reads slowly."""

    def start(self, app: str, one: str, manner: str, *arguments: object) -> Process:
        """A program in the client's pod towards Envoy; OF stands for its address."""
        address = self.addresses[one, manner]
        return self.world.client.pod.start(
            app, *[address if argument == "OF" else argument for argument in arguments]
        )

    def call(self, one: str, manner: str, port: int = ECHO) -> dict[str, Any]:
        return self.start("call", one, manner, "OF", port).finished(20)[-1]

    def failed(self, one: str, manner: str, port: int = ECHO) -> list[dict[str, Any]]:
        """Lines of our log about connections to Envoy that were never carried."""
        address = f"{self.addresses[one, manner]}:{port}"
        return self.world.node.access_lines(
            message="connection failed", direction="outbound", dst__addr=address
        )

    def connections(self, one: str, manner: str) -> int:
        """How many tunnels Envoy was ever asked for."""
        return self.envoys[one].stat(f"http.{manner}.downstream_cx_total")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with shop() as world:
        held = holders(world)
        addresses: dict[tuple[str, str], str] = {}
        envoys, slow = {}, {}
        for one in (*CODECS, "dying"):
            host = world.mesh.topology.host(one)
            host.serve("echo", ECHO, "--name", one)
            host.serve("rude", "mute", MUTE)
            host.serve("transfer", "serve", MOVE)
            slow[one] = host.serve("rude", "slow", SLOW, "--bytes-per-second", 200_000)
            listeners = []
            for manner in MANNERS if one in CODECS else ["plain"]:
                address = addresses[one, manner] = f"192.0.2.{100 + len(addresses)}"
                host.namespace.ip(f"address add {address}/24 dev eth0")
                listeners.append(listener(world, manner, address, held))
            clusters = [envoy.cluster(f"port-{port}", "127.0.0.1", port) for port in (ECHO, MUTE, MOVE, SLOW)]
            runtime = {"envoy.reloadable_features.http2_use_oghttp2": CODECS.get(one, False)}
            envoys[one] = Envoy(host, listeners, clusters, runtime=runtime)
        world.register({f"{one}-{manner}": address for (one, manner), address in addresses.items()})
        yield Scene(world, envoys, addresses, slow)


def holders(world: World) -> dict[str, certs.Held]:
    folder = world.mesh.topology.folder
    stranger = issue.new_authority("cluster.local", datetime.now(UTC))
    return {
        "server": world.held("server", SERVER),
        "client": world.held("client", CLIENT),
        "expired": certs.held(folder, "expired", SERVER, world.authority, age=timedelta(days=2)),
        "other-authority": certs.held(folder, "other-authority", SERVER, stranger),
    }


def listener(world: World, manner: str, address: str, held: dict[str, certs.Held]) -> Part:
    how = MANNERS[manner]
    routes = {f"{address}:{port}": envoy.to_cluster(f"port-{port}") for port in (ECHO, MUTE, MOVE, SLOW)}
    routes |= {f"{address}:{port}": envoy.answer(status, f"port-{ECHO}") for status, port in REFUSED.items()}
    tls = envoy.server_tls(held[how.held], world.roots, alpn=(how.alpn,))
    return envoy.terminating(manner, address, tls, routes, http2=how.http2, http=how.http)


@pytest.mark.parametrize("verb", ["push", "fetch"])
@pytest.mark.parametrize("manner", ["plain", "small-windows", "large-frames"])
@pytest.mark.parametrize("codec", CODECS)
def test_many_bytes_arrive_whole(scene: Scene, codec: str, manner: str, verb: str) -> None:
    moved = scene.start("transfer", codec, manner, verb, "OF", MOVE, 20_000_000).finished(60)[-1]
    assert moved["same"], moved
    until(lambda: scene.envoys[codec].logged(manner), 5, "Envoy's line")
    assert scene.failed(codec, manner, MOVE) == []


@pytest.mark.parametrize("codec", CODECS)
def test_envoy_is_told_who_calls_and_both_ends_count_the_same(scene: Scene, codec: str) -> None:
    known = len(scene.envoys[codec].logged("plain"))
    seen = scene.call(codec, "plain")
    assert seen["echoed"] == "hello"
    until(lambda: len(scene.envoys[codec].logged("plain")) > known, 5, "Envoy's line")
    told = scene.envoys[codec].logged("plain")[known]
    assert (told["code"], told["version"], told["peer"]) == (200, "TLSv1.3", str(CLIENT))
    assert told["sni"] is None
    assert told["authority"] == f"{scene.addresses[codec, 'plain']}:{ECHO}"
    client = scene.world.client
    assert f"k8s.namespace.name=shop,k8s.pod.name={client.name}" in told["baggage"]
    assert str(client.pod.v4) in told["forwarded"]
    assert len(told["traceparent"]) == 55
    line = scene.world.node.wait_for_access(message="connection complete", dst__addr=told["authority"])
    assert (line["bytes_recv"], line["bytes_sent"]) == (told["received"], told["sent"])
    assert line["dst.identity"] == str(SERVER)


@pytest.mark.parametrize(("manner", "streams"), [("1-stream", 1), ("2-streams", 2), ("5-streams", 5)])
@pytest.mark.parametrize("codec", CODECS)
def test_a_server_of_few_streams_is_given_more_tunnels(
    scene: Scene, codec: str, manner: str, streams: int
) -> None:
    count = 40
    exchanged = scene.start("crowd", codec, manner, "many", "OF", ECHO, count).finished(60)[-1]
    assert (exchanged["count"], exchanged["wrong"]) == (count, 0)
    assert scene.failed(codec, manner) == []
    assert count // streams <= scene.connections(codec, manner) <= count


@pytest.mark.parametrize("codec", CODECS)
def test_200_streams_need_two_tunnels(scene: Scene, codec: str) -> None:
    exchanged = scene.start("crowd", codec, "plain", "many", "OF", ECHO, 200).finished(60)[-1]
    assert (exchanged["count"], exchanged["wrong"]) == (200, 0)
    assert scene.connections(codec, "plain") == 2


@pytest.mark.parametrize("manner", ["3-requests", "half-a-second"])
@pytest.mark.parametrize("codec", CODECS)
def test_goaway_loses_neither_running_streams_nor_new_ones(scene: Scene, codec: str, manner: str) -> None:
    steady = scene.start("steady", codec, manner, "OF", ECHO, "--every", 0.02)
    moving = [
        scene.start("transfer", codec, manner, verb, "OF", MOVE, 30_000_000) for verb in ("push", "fetch")
    ]
    for process in moving:
        assert process.finished(60)[-1]["same"]
    until(lambda: scene.connections(codec, manner) >= 5, 10, "five tunnels")
    steady.stop()
    requests = [line for line in steady.lines() if line["event"] == "request"]
    assert [line for line in requests if not line["ok"]] == []
    assert {line["kind"] for line in requests} == {"new", "held"}
    assert scene.failed(codec, manner) == []


@pytest.mark.parametrize(("status", "flag"), [(401, "DENY"), (404, "CONNECT"), (503, "CONNECT")])
@pytest.mark.parametrize("codec", CODECS)
def test_a_refusal_is_a_reset_and_is_told(scene: Scene, codec: str, status: int, flag: str) -> None:
    port = REFUSED[status]
    seen = scene.call(codec, "plain", port)
    assert (seen["error"], seen["server"]) == ("ConnectionResetError", None)
    address = f"{scene.addresses[codec, 'plain']}:{port}"
    line = scene.world.node.wait_for_access(message="connection failed", dst__addr=address)
    assert (line["error"], line["response_flags"]) == (f"http status: {status}", flag)
    scene.world.node.wait_for_metric(
        1, "ambient_connections_refused_total", reporter="source", reason="http_status"
    )


@pytest.mark.parametrize("manner", WRONG)
def test_a_server_that_is_not_who_it_must_be_gets_no_request(scene: Scene, manner: str) -> None:
    seen = scene.call("nghttp2", manner)
    assert (seen["error"], seen["server"]) == ("ConnectionResetError", None)
    scene.world.node.wait(lambda: scene.failed("nghttp2", manner), "a line of the refusal")
    (line,) = scene.failed("nghttp2", manner)
    assert WRONG[manner] in line["error"]
    assert line["response_flags"] == "TLS_FAILURE"
    one = scene.envoys["nghttp2"]
    assert one.stat(f"http.{manner}.downstream_rq_total") == 0
    assert one.stat(f"http.{manner}.downstream_cx_rx_bytes_total") == 0


def test_a_reader_that_is_slow_or_never_reads_costs_its_siblings_nothing(scene: Scene) -> None:
    stalled = scene.start("crowd", "nghttp2", "plain", "stall", "OF", MUTE, 3)
    stalled.wait_for_line(20, event="stalled")
    slow = scene.start("transfer", "nghttp2", "plain", "push", "OF", SLOW, 300_000)
    before = scene.connections("nghttp2", "plain")
    for _ in range(5):
        assert scene.call("nghttp2", "plain")["echoed"] == "hello"
    moved = scene.start("transfer", "nghttp2", "plain", "fetch", "OF", MOVE, 20_000_000).finished(60)[-1]
    assert moved["same"]
    assert scene.connections("nghttp2", "plain") <= before + 1
    served = scene.slow["nghttp2"].wait_for_line(20, event="served")
    assert served["bytes"] == len(b"push\n") + 300_000
    slow.stop()
    stalled.stop()


@pytest.mark.parametrize("codec", CODECS)
def test_an_envoy_that_will_hear_no_more_is_heard_to_the_end(scene: Scene, codec: str) -> None:
    """It resets a stream with NO_ERROR as soon as the application behind it has finished.

    What Envoy has not sent by then it drops, and says INTERNAL_ERROR, which is Envoy's issue 28329: hence so few bytes.
    """
    before = scene.envoys[codec].stat("http2.tx_reset")
    for _ in range(5):
        assert scene.start("transfer", codec, "plain", "pull", "OF", MOVE, 30_000).finished(60)[-1]["same"]
    assert scene.envoys[codec].stat("http2.tx_reset") >= before + 5
    lines = scene.world.node.access_lines(
        message="connection complete", dst__addr=f"{scene.addresses[codec, 'plain']}:{MOVE}"
    )
    assert [line for line in lines if "error" in line] == []


@pytest.fixture(name="one")
def dying(scene: Scene) -> Envoy:
    """The one that may be stopped and killed, as new."""
    one = scene.envoys["dying"]
    if not one.process.running:
        one.start()
    return one


def test_a_killed_envoy_is_a_reset_at_once_and_the_next_is_found(scene: Scene, one: Envoy) -> None:
    node = scene.world.node
    steady = scene.start("steady", "dying", "plain", "OF", ECHO, "--every", 0.02)
    steady.wait_for_line(event="request", kind="held", ok=True)
    killed = time.time()
    one.process.kill()
    lost = steady.wait_for_line(5, event="request", kind="held", lost=True)
    assert lost["error"] in ("ConnectionResetError", "ConnectionAbortedError")
    assert lost["at"] - killed < 3
    refused = steady.wait_for_line(5, event="request", kind="new", ok=False)
    assert refused["error"] == "ConnectionResetError"
    line = node.wait_for_access(message="connection complete", dst__addr=address_of(scene), level="error")
    assert "tunnel" in line["error"]
    node.wait(
        lambda: "Connection refused" in scene.failed("dying", "plain")[-1]["error"],
        "a line of what found nobody",
    )
    assert {line["response_flags"] for line in scene.failed("dying", "plain")} == {"CONNECT"}
    one.start()
    back = time.time()
    until(
        lambda: [
            line for line in steady.lines() if line["event"] == "request" and line["ok"] and line["at"] > back
        ],
        10,
        "service to go on",
    )
    steady.stop()


def address_of(scene: Scene) -> str:
    return f"{scene.addresses['dying', 'plain']}:{ECHO}"


def test_an_envoy_that_stands_still_for_a_moment_loses_nothing(scene: Scene, one: Envoy) -> None:
    before = len(scene.failed("dying", "plain"))
    steady = scene.start("steady", "dying", "plain", "OF", ECHO, "--every", 0.02)
    moving = scene.start("transfer", "dying", "plain", "push", "OF", MOVE, 50_000_000)
    steady.wait_for_line(event="request", kind="held", ok=True)
    one.process.signal(signal.SIGSTOP)
    time.sleep(2)
    one.process.signal(signal.SIGCONT)
    assert moving.finished(60)[-1]["same"]
    again = time.time()
    until(lambda: steady.lines()[-1]["at"] > again, 10, "service to go on")
    steady.stop()
    assert [line for line in steady.lines() if line["event"] == "request" and not line["ok"]] == []
    assert len(scene.failed("dying", "plain")) == before


@pytest.mark.long
def test_an_envoy_that_stands_still_for_long_is_given_up_and_found_again(scene: Scene, one: Envoy) -> None:
    steady = scene.start("steady", "dying", "plain", "OF", ECHO, "--every", 0.1, "--timeout", 60)
    steady.wait_for_line(event="request", kind="held", ok=True)
    one.process.signal(signal.SIGSTOP)
    try:
        steady.wait_for_line(60, event="request", ok=False)
        lines = partial(scene.world.node.access_lines, level="error", dst__addr=address_of(scene))
        scene.world.node.wait(
            lambda: [line for line in lines() if "silent" in line["error"]], "a line of its silence"
        )
    finally:
        one.process.signal(signal.SIGCONT)
    again = time.time()
    until(
        lambda: steady.lines()[-1].get("ok") and steady.lines()[-1]["at"] > again + 1, 30, "service to go on"
    )
    steady.stop()


def test_an_envoy_that_drains_finishes_what_runs(scene: Scene, one: Envoy) -> None:
    held = scene.start("steady", "dying", "plain", "OF", ECHO, "--every", 0.05)
    held.wait_for_line(event="request", kind="held", ok=True)
    moving = scene.start("transfer", "dying", "plain", "push", "OF", MOVE, 50_000_000)
    assert one.ask("/drain_listeners?graceful", "POST")[0] == 200
    drained = time.time()
    assert moving.finished(60)[-1]["same"]
    refused = held.wait_for_line(20, event="request", kind="new", ok=False)
    assert refused["at"] > drained
    until(lambda: held.lines()[-1]["at"] > refused["at"] + 0.5, 10, "more requests")
    held.stop()
    requests = [line for line in held.lines() if line["event"] == "request"]
    assert [line for line in requests if line["kind"] == "held" and not line["ok"]] == []
    one.process.stop()
