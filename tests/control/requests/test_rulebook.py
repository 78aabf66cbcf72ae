"""Which policies a waypoint is told of, and what is said of those that no waypoint enforces: worlds in YAML."""

from datetime import timedelta
from itertools import permutations

import pytest
from control.test_index import World
from hypothesis import given, settings, strategies as st

from ambient.core.delta import Delta
from ambient.core.model.limit import RateLimit
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.service import AppProtocol, DeclaredPort
from ambient.core.model.settings import MeshSettings, Permission

NAMESPACES = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: infra}
"""
WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: way, namespace: %s, labels: {istio.io/waypoint-for: all}}
spec: {gatewayClassName: ambient-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""
SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {istio.io/use-waypoint: way}}
spec: {clusterIP: 10.88.0.10, ports: [{port: 80, name: web, appProtocol: http}, {port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: shop, labels: {istio.io/use-waypoint: way, istio.io/use-waypoint-namespace: infra}}
spec: {clusterIP: 10.88.0.11, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: shop}
spec: {clusterIP: 10.88.0.12, ports: [{port: 80}]}
"""
BASE = (NAMESPACES, WAYPOINT % "shop", WAYPOINT % "infra", SERVICES)
API, FAR, BARE = (f"shop/{name}.shop.svc.cluster.local" for name in ("api", "far", "bare"))
WAY, INFRA = "shop/way.shop.svc.cluster.local", "infra/way.infra.svc.cluster.local"


def policy(name="p", targets="{kind: Service, name: api}", namespace="shop"):
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{targetRefs: [{targets}], action: DENY, rules: [{{}}]}}
"""


def tokens(name, targets, issuer="i"):
    return f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{targets}], jwtRules: [{{issuer: {issuer}}}]}}
"""


def limits(targets, name="slow", requests=5):
    return f"""
apiVersion: ambient.dev/v1
kind: RateLimitPolicy
metadata: {{name: {name}, namespace: shop}}
spec: {{targetRefs: [{targets}], limits: [{{name: all, requests: {requests}, per: 1s}}]}}
"""


def telemetry(name, namespace, *, targets="", percent=1, created="2026-01-01T00:00:00Z", selector=""):
    whom = f"targetRefs: [{targets}], " if targets else f"selector: {selector}, " if selector else ""
    return f"""
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}
spec: {{{whom}tracing: [{{randomSamplingPercentage: {percent}}}]}}
"""


def policies(world):
    return world.index.snapshot.policies


def reached(world):
    """Of which services a policy is told, by its name."""
    found = {}
    for key, one in policies(world).items():
        for authorization in one.authorizations:
            found.setdefault(authorization.key, set()).add(key)
    return found


def sampled(world, key):
    one = policies(world).get(key, ServicePolicies(key))
    return [tracing.sampled_percent for tracing in one.telemetry.tracing]


def problems(world, key):
    return [str(one) for name, some in world.index.problems.items() if str(name) == key for one in some]


def test_what_is_spoken_is_told_of_services_behind_a_waypoint_alone():
    world = World(*BASE)
    assert dict(policies(world)) == {
        API: ServicePolicies(API, (DeclaredPort(80, "web", AppProtocol.HTTP),)),
    }
    world.write(NAMESPACES, SERVICES.replace("istio.io/use-waypoint: way", "a: b"))
    assert not policies(world)


@pytest.mark.parametrize(
    ("targets", "namespace", "expected"),
    [
        ("{kind: Service, name: api}", "shop", {API}),
        ("{kind: Service, name: api}, {kind: Service, name: far}", "shop", {API, FAR}),
        ("{kind: Service, name: api}", "infra", set()),
        ("{group: gateway.networking.k8s.io, kind: Gateway, name: way}", "shop", {API, WAY}),
        ("{group: gateway.networking.k8s.io, kind: Gateway, name: way}", "infra", {FAR, INFRA}),
        ("{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}", "istio-system", {API, FAR, WAY, INFRA}),
        ("{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}", "shop", set()),
        ("{kind: Service, name: bare}", "shop", set()),
    ],
    ids=["service", "two", "of-another-namespace", "gateway", "gateway-of-others", "class", "class-elsewhere", "without-waypoint"],
)  # fmt: skip
def test_whom_a_policy_reaches(targets, namespace, expected):
    world = World(*BASE, policy(targets=targets, namespace=namespace))
    assert reached(world).get(f"{namespace}/p", set()) == expected
    assert bool(problems(world, f"AuthorizationPolicy {namespace}/p")) is not bool(expected)
    # And none of them is left when it is gone.
    world.write(*BASE)
    assert reached(world) == {}


def test_tokens_limits_and_policies_of_a_service_are_told_together():
    whom = "{kind: Service, name: api}"
    world = World(
        *BASE, policy("b", whom), policy("a", whom), tokens("t", whom), limits("{kind: Service, name: api, port: 80}")
    )  # fmt: skip
    told = policies(world)[API]
    assert [one.key for one in told.authorizations] == ["shop/a", "shop/b"]
    assert [rule.issuer for rule in told.tokens] == ["i"]
    assert told.limits == (RateLimit("shop/slow/all", 5, timedelta(seconds=1), 5, ports=frozenset({80})),)


@pytest.mark.parametrize(
    ("targets", "ports"),
    [
        ("{kind: Service, name: api}", set()),
        ("{kind: Service, name: api, port: 80}, {kind: Service, name: api, port: 81}", {80, 81}),
        ("{kind: Service, name: api, port: 80}, {kind: Service, name: api}", set()),
        ("{kind: Service, name: api, port: 80}, {kind: Service, name: far}", {80}),
    ],
)
def test_a_limit_is_of_the_ports_that_its_targets_name(targets, ports):
    assert policies(World(*BASE, limits(targets)))[API].limits[0].ports == ports


def test_a_limit_of_a_port_that_is_not_there_is_told_so():
    world = World(*BASE, limits("{kind: Service, name: api, port: 9}"))
    assert problems(world, "RateLimitPolicy shop/slow") == [
        f"spec.targetRefs name port 9 of service {API}, which has 80, 81; name one of these"
    ]


def test_wider_telemetry_counts_after_nearer():
    gateway = "{group: gateway.networking.k8s.io, kind: Gateway, name: way}"
    layers = (
        telemetry("mesh", "ambient-system", percent=1),
        telemetry("waypoints", "infra", percent=2),
        telemetry("services", "shop", percent=3),
        telemetry("gateway", "infra", targets=gateway, percent=4),
        telemetry("own", "shop", targets="{kind: Service, name: far}", percent=5),
        telemetry("selected", "shop", selector="{matchLabels: {app: web}}", percent=9),
    )
    told = None
    for some in permutations(layers[:5]):
        world = World(*BASE, *some, layers[5])
        assert sampled(world, FAR) == [1, 2, 3, 4, 5]
        told = told or dict(policies(world))
        assert dict(policies(world)) == told
    assert sampled(world, API) == [1, 3]
    assert sampled(world, WAY) == [1, 3]
    assert sampled(world, INFRA) == [1, 2, 4]
    assert BARE not in policies(world)


def test_of_two_that_say_the_same_the_older_counts():
    world = World(
        *BASE,
        telemetry("old", "shop", percent=1),
        telemetry("new", "shop", percent=2, created="2026-02-01T00:00:00Z"),
    )
    assert sampled(world, API) == [1]
    assert problems(world, "Telemetry shop/old") == []
    assert problems(world, "Telemetry shop/new") == [
        f"spec does not count for {key}: Telemetry shop/old is older and for the same; put both into one object"
        for key in (API, FAR, WAY)
    ]


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (policy(targets="{kind: Service, name: bare}"), "AuthorizationPolicy shop/p", "name Service bare, which is behind no waypoint, and nobody else enforces this; label it istio.io/use-waypoint: NAME"),
        (tokens("t", "{kind: Service, name: ghost}"), "RequestAuthentication shop/t", "name Service ghost, and none of that name is known in namespace shop; add it, or correct the name"),
        (limits("{kind: Service, name: ghost}"), "RateLimitPolicy shop/slow", "name Service ghost, and none of that name is known in namespace shop; add it, or correct the name"),
        (telemetry("t", "shop", targets="{kind: Service, name: way}"), "Telemetry shop/t", "name Service way, which is a waypoint itself; name Gateway way"),
        (policy(targets="{group: gateway.networking.k8s.io, kind: Gateway, name: gone}"), "AuthorizationPolicy shop/p", "name Gateway gone, and no waypoint of that name is known in namespace shop; make it with `ambient waypoint apply gone --namespace shop`"),
        (policy(targets="{group: gateway.networking.k8s.io, kind: GatewayClass, name: ambient-waypoint}"), "AuthorizationPolicy shop/p", "name GatewayClass ambient-waypoint, which counts only in ambient-system and istio-system; move it there"),
    ],
    ids=["without-waypoint", "unknown", "unknown-of-limits", "waypoint", "unknown-gateway", "class-elsewhere"],
)  # fmt: skip
def test_what_reaches_nothing_is_told_so(text, key, expected):
    world = World(*BASE, text)
    assert problems(world, key) == [f"spec.targetRefs {expected}"]


def test_a_class_without_a_waypoint_is_told_so():
    text = policy(
        targets="{group: gateway.networking.k8s.io, kind: GatewayClass, name: ambient-waypoint}",
        namespace="ambient-system",
    )
    assert problems(World(NAMESPACES, text), "AuthorizationPolicy ambient-system/p") == [
        (
            "spec.targetRefs name GatewayClass ambient-waypoint, and there is no waypoint yet; "
            "make one with `ambient waypoint apply`"
        )
    ]


def test_a_change_is_told_of_the_services_that_it_concerns_alone():
    texts = (*BASE, policy("near"), policy("far", "{kind: Service, name: far}"))
    world = World(*texts)
    changed = world.write(*BASE, policy("near"), limits("{kind: Service, name: far}"))
    assert changed == Delta((policies(world)[FAR],))
    gone = world.write(*BASE, policy("near"))
    assert gone == Delta(removed_policies=(FAR,))
    # What is elsewhere is looked at with what it was.
    assert world.write(*BASE, policy("near")) == Delta()


def test_a_service_that_moves_behind_another_waypoint_has_the_policies_of_that_one():
    gateway = "{group: gateway.networking.k8s.io, kind: Gateway, name: way}"
    texts = (policy("here", gateway), policy("there", gateway, "infra"))
    world = World(*BASE, *texts)
    assert reached(world) == {"shop/here": {API, WAY}, "infra/there": {FAR, INFRA}}
    moved = SERVICES.replace(", istio.io/use-waypoint-namespace: infra", "")
    world.write(*BASE[:3], moved, *texts)
    assert reached(world) == {"shop/here": {API, FAR, WAY}, "infra/there": {INFRA}}


def test_settings_of_the_mesh_are_told_to_everyone():
    text = """
apiVersion: ambient.dev/v1
kind: MeshConfig
metadata: {name: default, namespace: ambient-system}
spec: {waypointBypass: %s}
"""
    world = World(NAMESPACES)
    assert world.index.snapshot.settings == MeshSettings()
    allowing = MeshSettings(waypoint_bypass=Permission.ALLOW)
    assert world.write(NAMESPACES, text % "allow") == Delta((allowing,))
    assert world.index.snapshot.settings == allowing
    assert world.write(NAMESPACES, text % "refuse") == Delta((MeshSettings(),))
    assert world.write(NAMESPACES) == Delta(settings_removed=True)
    assert world.index.snapshot.settings == MeshSettings()


GATEWAY = "{group: gateway.networking.k8s.io, kind: Gateway, name: way}"
PIECES = (
    WAYPOINT % "shop",
    WAYPOINT % "infra",
    (WAYPOINT % "infra").replace("waypoint-for: all", "waypoint-for: workload"),
    SERVICES,
    SERVICES.replace(", istio.io/use-waypoint-namespace: infra", ""),
    policy("p"),
    policy("p", GATEWAY),
    policy("q", GATEWAY, "infra"),
    limits("{kind: Service, name: far}"),
    limits("{kind: Service, name: far}", requests=6),
    tokens("t", GATEWAY),
    telemetry("mesh", "ambient-system"),
    telemetry("wide", "shop", percent=2),
    telemetry("wide", "shop", targets=GATEWAY, percent=2),
)
"""Some of them are versions of one object, of which a world has one."""
ALTERNATIVES = ((1, 2), (3, 4), (5, 6), (8, 9), (12, 13))


def pieces(chosen):
    return [
        piece
        for i, piece in enumerate(PIECES)
        if i in chosen and not any(i == second and first in chosen for first, second in ALTERNATIVES)
    ]


@settings(max_examples=25)
@given(st.lists(st.sets(st.integers(0, len(PIECES) - 1)), min_size=2, max_size=4))
def test_it_counts_for_nothing_how_a_world_came_about(steps):
    world = World(NAMESPACES)
    for chosen in steps:
        world.write(NAMESPACES, *pieces(chosen))
    fresh = World(NAMESPACES, *pieces(steps[-1]))
    assert world.index.snapshot.policies == fresh.index.snapshot.policies
    assert world.index.snapshot.services == fresh.index.snapshot.services
    assert world.index.problems == fresh.index.problems
