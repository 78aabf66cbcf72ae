"""What a waypoint in the real chain tells of requests, and what it makes of users' tokens."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from core.signing import key, public, signed
from topology import Mesh, Topology, Workload, objects
from topology.nodes import APPS
from topology.process import Process
from topology.waypoint import Replica

VIPS = {
    name: f"203.0.113.{10 + number}" for number, name in enumerate(("traced", "quiet", "guarded", "keyless"))
}
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@dataclass
class World:
    """A client and a server on one node, behind a waypoint with two workers, a collector and an issuer."""

    mesh: Mesh
    client: Workload
    replica: Replica
    collector: Process
    issuer: Process

    def ask(self, name: str, path: str = "/", *headers: str, status: int = 200) -> dict[str, Any]:
        """The answer to one request."""
        said = [word for header in headers for word in ("--header", header)]
        (answer,) = self.client.pod.start("ask", VIPS[name], 80, "--path", path, *said).finished(30)[-1][
            "answers"
        ]
        assert answer["status"] == status, answer
        return dict(answer)

    def spans(self, trace: str, count: int) -> list[dict[str, Any]]:
        """Those of a trace, once there are as many."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.collector.lines() if line.get("trace") == trace]

        self.replica.wait(lambda: len(found()) >= count, f"{count} spans of {trace}")
        return found()

    def line(self, name: str) -> dict[str, Any]:
        return self.replica.wait_for_access(dst__service=f"{name}.shop.svc.cluster.local")


def istio(kind: str, name: str, target: str, **spec: Any) -> objects.Object:
    group = "telemetry.istio.io/v1" if kind == "Telemetry" else "security.istio.io/v1"
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": target}], **spec},
    }


def policies(issuer: object) -> Iterator[objects.Object]:
    yield istio(
        "Telemetry",
        "traced",
        "traced",
        tracing=[{"randomSamplingPercentage": 0, "customTags": {"own": {"header": {"name": "x-own"}}}}],
    )
    yield istio(
        "Telemetry",
        "quiet",
        "quiet",
        accessLogging=[{"disabled": True}],
        metrics=[
            {
                "providers": [{"name": "prometheus"}],
                "overrides": [
                    {
                        "match": {"metric": "REQUEST_COUNT"},
                        "tagOverrides": {"source_principal": {"operation": "REMOVE"}},
                    },
                    {"match": {"metric": "REQUEST_DURATION"}, "disabled": True},
                ],
            }
        ],
    )
    for name, port in (("guarded", 9000), ("keyless", 9001)):
        yield istio(
            "RequestAuthentication",
            name,
            name,
            jwtRules=[
                {
                    "issuer": "https://issuer.example",
                    "jwksUri": f"http://{issuer}:{port}/keys",
                    "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
                }
            ],
        )
    yield istio(
        "AuthorizationPolicy",
        "guarded",
        "guarded",
        action="ALLOW",
        rules=[{"from": [{"source": {"requestPrincipals": ["https://issuer.example/*"]}}]}],
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
        services = [
            objects.service("shop", name, [vip], {80: 8080}, {"app": "server"}) for name, vip in VIPS.items()
        ]
        mesh.apply("services", *(objects.behind(made, "waypoint") for made in services))
        mesh.start_control()
        one = mesh.node("one")
        outside = one.node.pod("outside")
        keys = topology.folder / "keys.json"
        keys.write_text(public(key("one")))
        issuer = outside.serve("issuer", 9000, keys)
        collector = outside.popen(sys.executable, "-u", APPS / "collector.py", "4317")
        collector.wait_for_line(event="listening")
        mesh.apply("policies", *policies(outside.v4))
        client = one.add(one.node.pod("client"), "shop", "client")
        pod = one.node.pod("server")
        pod.serve("web", 8080)
        server = one.add(pod, "shop", "server", labels={"app": "server"})
        waypoint = mesh.waypoint("shop", flags=["--otlp", f"{outside.v4}:4317"])
        (replica,) = waypoint.replicas
        mesh.settle(client, server)
        one.wait_for_dump("workloads", partial(speaks_hbone, replica.uid), replica.uid)
        yield World(mesh, client, replica, collector, issuer)


def speaks_hbone(uid: str, found: dict[str, Any]) -> bool:
    return bool(found["uid"] == uid and found["protocol"] == "HBONE")


def seen(answer: dict[str, Any]) -> dict[str, str]:
    """The headers that the application saw."""
    return dict(answer["seen"]["headers"])


def test_a_trace_goes_through_the_waypoint_and_is_told(world: World) -> None:
    answer = world.ask(
        "traced",
        "/cart?token=secret",
        f"traceparent: 00-{TRACE}-{CALLER}-01",
        "tracestate: a=1",
        "x-own: mine",
    )
    server, client = sorted(world.spans(TRACE, 2), key=lambda span: int(span["kind"]))
    assert (server["kind"], client["kind"]) == (2, 3)
    assert (server["service"], server["name"]) == ("waypoint.shop", "GET traced.shop.svc.cluster.local")
    assert (server["parent"], client["parent"]) == (CALLER, server["span"])
    attributes = server["attributes"]
    assert attributes["own"] == "mine"
    assert attributes["url.path"] == "/cart"
    assert attributes["http.response.status_code"] == 200
    assert attributes["istio.source_principal"] == world.client.identity
    assert "secret" not in json.dumps([server, client])
    headers = seen(answer)
    assert headers["traceparent"] == f"00-{TRACE}-{client['span']}-01"
    assert headers["tracestate"] == "a=1"
    line = world.line("traced")
    assert line["trace_id"] == TRACE
    assert world.replica.metric("ambient_spans_sent_total") >= 2


def test_a_trace_of_zipkin_goes_on_as_it_came(world: World) -> None:
    trace = "1" * 32
    headers = seen(world.ask("traced", "/", f"b3: {trace}-{CALLER}-1"))
    _, client = sorted(world.spans(trace, 2), key=lambda span: int(span["kind"]))
    assert headers["b3"] == f"{trace}-{client['span']}-1"
    assert headers["traceparent"] == f"00-{trace}-{client['span']}-01"


def test_what_nobody_samples_is_told_to_nobody(world: World) -> None:
    trace = "2" * 32
    asked = f"00-{trace}-{CALLER}-00"
    assert seen(world.ask("traced", "/", f"traceparent: {asked}"))["traceparent"] == asked
    assert seen(world.ask("traced"))["traceparent"].endswith("-00")
    # Whatever is told of it would be told before this.
    later = "3" * 32
    world.ask("traced", "/", f"traceparent: 00-{later}-{CALLER}-01")
    world.spans(later, 2)
    assert not [line for line in world.collector.lines() if line.get("trace") == trace]


def test_a_telemetry_object_says_what_is_told(world: World) -> None:
    for _ in range(3):
        world.ask("quiet")
    world.ask("traced")
    world.line("traced")
    name = "quiet.shop.svc.cluster.local"
    assert not world.replica.access_lines(dst__service=name)
    world.replica.wait_for_metric(3, "istio_requests_total", destination_service=name)
    samples = [one for one in world.replica.samples() if one.labels.get("destination_service") == name]
    counted = [one for one in samples if one.name == "istio_requests_total"]
    assert counted
    assert all("source_principal" not in one.labels for one in counted)
    assert not [one for one in samples if one.name.startswith("istio_request_duration")]
    sizes = [one for one in samples if one.name == "istio_response_bytes_count"]
    assert [one.labels["source_principal"] for one in sizes] == [world.client.identity]
    assert sum(one.value for one in sizes) == 3


def test_tokens_open_what_is_guarded(world: World) -> None:
    now = time.time()
    good = signed(exp=now + 3600)

    def has_keys() -> bool:
        answer = world.client.pod.start(
            "ask", VIPS["guarded"], 80, "--header", f"authorization: Bearer {good}"
        ).finished(30)[-1]
        return bool(answer["statuses"] == {"200": 1})

    world.replica.wait(has_keys, "keys of the issuer to reach the workers")
    headers = seen(world.ask("guarded", "/", f"authorization: Bearer {good}", "x-user: root"))
    assert headers["x-user"] == "alice"
    assert "authorization" not in headers
    world.ask("guarded", "/", status=403)
    for bad in (
        signed(exp=now - 3600),
        signed(key("two"), header={"kid": "one"}, exp=now + 3600),
        good.rpartition(".")[0] + ".",
        "rubbish",
    ):
        answer = world.ask("guarded", "/", f"authorization: Bearer {bad}", status=401)
        told = dict(answer["headers"])
        assert told["www-authenticate"].startswith('Bearer error="invalid_token"')
        assert told["x-ambient-error"] == "bad_token"
    world.replica.wait_for_metric(1, "ambient_requests_token_refused_total", reason="token_expired")


def test_an_issuer_that_does_not_answer_is_refused_and_named(world: World) -> None:
    token = signed(exp=time.time() + 3600)
    assert seen(world.ask("keyless"))["host"] == VIPS["keyless"]
    world.ask("keyless", "/", f"authorization: Bearer {token}", status=401)
    world.replica.wait_for_metric(1, "ambient_token_keys_failing")
