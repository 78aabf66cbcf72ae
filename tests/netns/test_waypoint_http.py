"""Requests through the real chain: client pod, its node's proxy, a waypoint, the server's node's proxy, server pod."""

from __future__ import annotations

import math
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import ANY

import pytest
from topology import Mesh, Topology, Workload, objects
from topology.nodes import APPS
from topology.process import Process
from topology.waypoint import Replica, Waypoint

VIPS = {
    name: f"203.0.113.{10 + number}"
    for number, name in enumerate(
        (
            "server",
            "canary",
            "retried",
            "known",
            "broken",
            "empty",
            "narrow",
            "held",
            "two",
            "mixed",
            "calls",
            "sockets",
        )
    )
}
"""A service for each thing that is looked at, all served by the same two servers."""


def key(name: str) -> str:
    return f"{name}.shop.svc.cluster.local"


@dataclass
class World:
    """Two nodes; a client on the first, a server of each version on each; behind a waypoint of two workers."""

    mesh: Mesh
    client: Workload
    servers: dict[str, Workload]
    waypoint: Waypoint
    web: list[Process]
    """The servers of most services."""

    def ask(self, name: str, path: str = "/", *arguments: object, timeout: float = 30) -> dict[str, Any]:
        process = self.client.pod.start("ask", VIPS[name], 80, "--path", path, *arguments)
        return process.finished(timeout)[-1]

    def curl(self, name: str, path: str, *arguments: str) -> tuple[int, str]:
        """The status, and the answer with its head."""
        url = f"http://{VIPS[name]}{path}"
        done = self.client.pod.run("curl", "-s", "-i", "-m", "20", *arguments, url)
        assert done.returncode == 0, done
        return int(done.stdout.split()[1]), done.stdout

    @property
    def replica(self) -> Replica:
        (replica,) = self.waypoint.replicas
        return replica


def virtual_service(name: str, *http: dict[str, Any]) -> objects.Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hosts": [name], "http": list(http)},
    }


def destination_rule(name: str, **spec: Any) -> objects.Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"host": name, **spec},
    }


def http_route(name: str, *rules: dict[str, Any]) -> objects.Object:
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": name}], "rules": list(rules)},
    }


def to(host: str, subset: str = "", weight: int | None = None) -> dict[str, Any]:
    destination = {"host": host, "subset": subset} if subset else {"host": host}
    return {"destination": destination} if weight is None else {"destination": destination, "weight": weight}


SUBSETS = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
ROUTES = (
    virtual_service(
        "canary",
        {"match": [{"headers": {"x-canary": {"exact": "true"}}}], "route": [to("canary", "v2")]},
        {"route": [to("canary", "v1", 90), to("canary", "v2", 10)]},
    ),
    destination_rule(
        "canary", subsets=SUBSETS, trafficPolicy={"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}
    ),
    virtual_service(
        "retried",
        {"match": [{"uri": {"prefix": "/sleep"}}], "route": [to("retried")], "timeout": "1s"},
        {"route": [to("retried")], "retries": {"attempts": 3, "retryOn": "5xx", "backoff": "1ms"}},
    ),
    http_route(
        "known",
        {
            "matches": [{"path": {"type": "PathPrefix", "value": "/known"}}],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}},
                },
                {
                    "type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {"set": [{"name": "x-seen", "value": "yes"}]},
                },
            ],
            "backendRefs": [{"name": "known", "port": 80}],
        },
        {
            "matches": [{"path": {"type": "Exact", "value": "/old"}}],
            "filters": [
                {"type": "RequestRedirect", "requestRedirect": {"hostname": "example.org", "statusCode": 301}}
            ],
        },
    ),
    http_route("broken", {"backendRefs": [{"name": "nowhere", "port": 80}]}),
    destination_rule(
        "narrow",
        trafficPolicy={
            "connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}
        },
    ),
    virtual_service(
        "held",
        {
            "fault": {"abort": {"httpStatus": 418, "percentage": {"value": 100}}},
            "match": [{"headers": {"x-abort": {"exact": "yes"}}}],
            "route": [to("held")],
        },
        {
            "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 100}}},
            "route": [to("held")],
        },
    ),
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Topology() as topology:
        mesh = Mesh(topology)
        mesh.apply(
            "namespaces",
            objects.namespace("shop"),
            objects.service_account("shop", "client"),
            objects.service_account("shop", "server"),
            objects.service_account("shop", "waypoint"),
            objects.waypoint("shop"),
        )
        selectors = {
            "empty": {"app": "nobody"},
            "two": {"app": "two"},
            "mixed": {"app": "two"},
            "calls": {"app": "calls"},
            "sockets": {"app": "sockets"},
        }
        services = [
            objects.service("shop", name, [vip], {80: 8080}, selectors.get(name, {"app": "server"}))
            for name, vip in VIPS.items()
        ]
        for made in services:
            if made["metadata"]["name"] == "two":
                made["spec"]["ports"][0]["appProtocol"] = "kubernetes.io/h2c"
        mesh.apply("services", *(objects.behind(made, "waypoint") for made in services))
        mesh.apply("routes", *ROUTES)
        mesh.start_control()
        one, two = mesh.node("one"), mesh.node("two")
        client = one.add(one.node.pod("client"), "shop", "client")
        servers, web = {}, []
        for node, version in ((one, "v1"), (two, "v2")):
            pod = node.node.pod(f"server-{version}")
            web.append(pod.serve("web", 8080, "--name", version))
            servers[version] = node.add(pod, "shop", "server", labels={"app": "server", "version": version})
        pod = two.node.pod("server-two")
        # Only our own interpreter knows a library for HTTP/2.
        pod.popen(sys.executable, "-u", APPS / "web2.py", "8080", "--name", "two").wait_for_line(
            event="listening"
        )
        calls = one.node.pod("server-calls")
        calls.popen(sys.executable, "-u", APPS / "grpc_server.py", "8080").wait_for_line(event="listening")
        servers["calls"] = one.add(calls, "shop", "server", labels={"app": "calls"})
        sockets = two.node.pod("server-sockets")
        sockets.popen(sys.executable, "-u", APPS / "sockets.py", "8080").wait_for_line(event="listening")
        servers["sockets"] = two.add(sockets, "shop", "server", labels={"app": "sockets"})
        servers["two"] = two.add(pod, "shop", "server", labels={"app": "two"})
        waypoint = mesh.waypoint("shop", on=[two], flags=["--tell-identity"])
        mesh.settle(client, *servers.values())
        for node in mesh.nodes:
            for replica in waypoint.replicas:
                node.wait_for_dump("workloads", partial(speaks_hbone, replica.uid), replica.uid)
        yield World(mesh, client, servers, waypoint, web)


def test_requests_reach_both_servers_and_tell_who_asks(world: World) -> None:
    seen = world.ask(
        "server",
        "/a//b/../c?d=1",
        "--count",
        40,
        "--header",
        "x-forwarded-for: 1.2.3.4",
        "--header",
        "x-forwarded-client-cert: URI=spiffe://x",
    )
    assert seen["statuses"] == {"200": 40}
    assert set(seen["servers"]) == {"v1", "v2"}
    answer = seen["answers"][0]["seen"]
    assert answer["path"] == "/a/c?d=1"
    headers = dict(answer["headers"])
    assert headers["x-forwarded-for"] == str(world.client.pod.v4)
    assert headers["host"] == VIPS["server"]
    told = f"By={world.replica.identity};URI={world.client.identity}"
    assert headers["x-forwarded-client-cert"] == told
    line = world.replica.wait_for_access(message="request complete", dst__service=key("server"))
    assert line["src.identity"] == world.client.identity
    assert line["status"] == 200
    labels = {"reporter": "waypoint", "destination_service": key("server"), "response_code": "200"}
    assert world.replica.metric("istio_requests_total", **labels) == 40


def test_bodies_go_both_ways(world: World) -> None:
    seen = world.ask(
        "server", "/large/3000000", "--method", "PUT", "--body", 2_000_000, "--count", 4, "--at-once", 2
    )
    assert seen["statuses"] == {"200": 4}
    assert {answer["size"] for answer in seen["answers"]} == {3_000_000}
    assert (
        world.ask("server", "/", "--method", "POST", "--body", 2_000_000)["answers"][0]["seen"]["body"]
        == 2_000_000
    )


def test_a_header_leads_to_a_subset(world: World) -> None:
    assert world.ask("canary", "/", "--count", 20, "--header", "x-canary: true")["servers"] == {"v2": 20}


def test_weights_divide_requests(world: World) -> None:
    """Nine in ten; of 1,000 the share is further off than five deviations less than once in a million times."""
    servers = world.ask("canary", "/", "--count", 1000, "--at-once", 8)["servers"]
    assert sum(servers.values()) == 1000
    assert abs(servers["v1"] - 900) <= 5 * math.sqrt(1000 * 0.1 * 0.9)


def test_failures_are_tried_again(world: World) -> None:
    seen = world.ask("retried", "/fail/1/NUMBER", "--count", 10)
    assert seen["statuses"] == {"200": 10}
    line = world.replica.wait_for_access(message="request complete", dst__service=key("retried"))
    assert line["attempts"] >= 2


def test_a_request_that_takes_too_long_is_answered(world: World) -> None:
    seen = world.ask("retried", "/sleep/20")
    (answer,) = seen["answers"]
    assert answer["status"] == 504
    assert dict(answer["headers"])["x-ambient-error"] == "timed_out"
    assert 1.0 <= seen["seconds"] < 20.0


def test_routes_rewrite_redirect_and_end(world: World) -> None:
    (answer,) = world.ask("known", "/known/a?b=1")["answers"]
    assert answer["seen"]["path"] == "/new/a?b=1"
    assert dict(answer["headers"])["x-seen"] == "yes"
    (answer,) = world.ask("known", "/old")["answers"]
    assert (answer["status"], dict(answer["headers"])["location"]) == (301, "http://example.org/old")
    assert world.ask("known", "/unknown")["statuses"] == {"404": 1}


@pytest.mark.parametrize(
    ("name", "status", "reason"), [("broken", "500", "bad_backend"), ("empty", "503", "no_endpoints")]
)
def test_where_there_is_nobody_the_client_is_told(world: World, name: str, status: str, reason: str) -> None:
    seen = world.ask(name)
    assert seen["statuses"] == {status: 1}
    assert dict(seen["answers"][0]["headers"])["x-ambient-error"] == reason


def test_faults_are_injected(world: World) -> None:
    assert world.ask("held", "/", "--header", "x-abort: yes")["statuses"] == {"418": 1}
    seen = world.ask("held")
    assert seen["statuses"] == {"200": 1}
    assert seen["seconds"] >= 1.0


def test_limits_hold_for_all_workers_together(world: World) -> None:
    """One connection, which is busy, and one request that may wait for it: of three more, two are turned away."""
    first = world.client.pod.start("ask", VIPS["narrow"], 80, "--path", "/sleep/8?first")
    world.replica.wait(
        lambda: any(line.get("path") == "/sleep/8?first" for one in world.web for line in one.lines()),
        "the first request",
    )
    seen = world.ask("narrow", "/", "--count", 3, "--at-once", 3)
    assert seen["statuses"] == {"200": 1, "503": 2}
    reasons = {dict(answer["headers"]).get("x-ambient-error") for answer in seen["answers"]}
    assert reasons == {None, "too_many_pending"}
    assert first.finished(30)[-1]["statuses"] == {"200": 1}


def test_a_response_that_breaks_off_is_not_whole(world: World) -> None:
    (error,) = world.ask("server", "/cut")["errors"]
    assert error in {"IncompleteRead", "ConnectionResetError"}


@pytest.mark.parametrize("path", ["/a%2Fb", "/a%5cb", "/%00", "/..;/a"])
def test_paths_that_others_read_otherwise_are_refused(world: World, path: str) -> None:
    assert world.ask("server", path)["statuses"] == {"400": 1}


def test_http2_reaches_servers_of_either_version(world: World) -> None:
    for name in ("two", "mixed"):
        status, answer = world.curl(name, "/x", "--http2-prior-knowledge", "--path-as-is", "-d", "hello")
        assert status == 200, answer
        assert answer.startswith("HTTP/2 200")
        assert '"server": "two"' in answer
        assert '"body": 5' in answer
    status, answer = world.curl("two", "/x")
    assert answer.startswith("HTTP/1.1 200")
    assert '"server": "two"' in answer


def test_calls_of_every_kind(world: World) -> None:
    process = world.client.pod.popen(sys.executable, "-u", APPS / "grpc_client.py", VIPS["calls"], "80")
    found = process.finished(60)[-1]
    assert found["unary"]["size"] == 100_000
    assert ["x-caller", str(world.client.pod.v4)] in found["unary"]["trailers"]
    assert found["error"] == {"code": "DATA_LOSS", "details": "as asked"}
    assert found["deadline"]["code"] == "DEADLINE_EXCEEDED"
    assert found["deadline"]["seconds"] < 5
    assert found["cancelled"] is True
    assert found["server_stream"] == 500
    assert found["client_stream"] == "300000"
    assert found["conversation"] == ["ONE", "TWO", "THREE"]
    labels = {"destination_service": key("calls"), "request_protocol": "grpc"}
    world.replica.wait_for_metric(7, "istio_requests_total", **labels)
    assert world.replica.metric("istio_requests_total", grpc_response_status="15", **labels) == 1


def test_websockets_are_carried(world: World) -> None:
    process = world.client.pod.popen(
        sys.executable, "-u", APPS / "sockets.py", "80", "--call", VIPS["sockets"]
    )
    assert process.finished(30)[-1] == {
        "at": ANY,
        "event": "called",
        "heard": ["ONE", "TWO", 300_000],
        "code": 1000,
    }
    line = world.replica.wait_for_access(message="request complete", dst__service=key("sockets"))
    assert line["status"] == 101


def test_a_worker_that_dies_takes_nobody_elses_requests_with_it(world: World) -> None:
    """Clients whose worker died dial again; the other worker, and the next one, serve them."""
    load = world.client.pod.start(
        "ask", VIPS["server"], 80, "--count", 600, "--at-once", 6, "--path", "/sleep/0.01"
    )
    world.replica.wait_for_access(message="request complete", path="/sleep/0.01")
    os.kill(world.replica.worker_pids()[0], signal.SIGKILL)
    seen = load.finished(60)[-1]
    assert seen["statuses"]["200"] >= 590
    world.replica.wait(lambda: len(world.replica.worker_pids()) == 2, "another worker")
    assert world.ask("narrow", "/", "--count", 5)["statuses"] == {"200": 5}


def test_a_replica_that_stops_lets_requests_end(world: World) -> None:
    """The last test of this file: nobody takes its place."""
    under_way = world.client.pod.start("ask", VIPS["server"], 80, "--path", "/sleep/3?last")
    world.replica.wait(
        lambda: any(line.get("path") == "/sleep/3?last" for one in world.web for line in one.lines()), "it"
    )
    process = world.replica.process
    assert process is not None
    process.signal(signal.SIGTERM)
    seen = under_way.finished(30)[-1]
    assert seen["statuses"] == {"200": 1}
    assert process.wait(30) == 0
    assert world.replica.access_lines(message="request complete", path="/sleep/3")


def speaks_hbone(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")
