"""Labels that ask for a waypoint, and what callers are told."""

import pytest
from control.test_index import World, uid, workload

from ambient.control.objects import WaypointName
from ambient.control.waypoints import asked_by
from ambient.core.model.address import GatewayAddress
from ambient.core.model.service import Port

WORLD = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {%s}}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {%s}}
spec: {clusterIP: 10.88.0.10, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: way, namespace: shop}
spec: {clusterIP: 10.88.0.77, ports: [{port: 15008}]}
"""


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, None),
        ({"istio.io/use-waypoint": "way"}, WaypointName("shop", "way")),
        ({"istio.io/use-waypoint": "none"}, WaypointName("shop", "")),
        ({"istio.io/use-waypoint": "way", "istio.io/use-waypoint-namespace": "infra"}, WaypointName("infra", "way")),
        ({"ambient.dev/use-waypoint": "ours", "istio.io/use-waypoint": "way"}, WaypointName("shop", "ours")),
        ({"ambient.dev/use-waypoint": "", "istio.io/use-waypoint": "way"}, WaypointName("shop", "way")),
    ],
    ids=["nothing", "name", "none", "another-namespace", "ours-first", "empty-is-not-set"],
)  # fmt: skip
def test_labels_name_a_waypoint(labels, expected):
    assert asked_by(labels, "shop") == expected


@pytest.mark.parametrize(
    ("of_namespace", "of_service", "expected"),
    [
        ("", "", None),
        ("istio.io/use-waypoint: way", "", "shop/way"),
        ("istio.io/use-waypoint: way", "istio.io/use-waypoint: own", "shop/own"),
        ("istio.io/use-waypoint: way", "istio.io/use-waypoint: none", None),
        ("", "istio.io/use-waypoint: own, istio.io/use-waypoint-namespace: infra", "infra/own"),
    ],
    ids=["nobody", "namespace", "service-first", "service-none", "service-of-another-namespace"],
)
def test_a_service_is_behind_what_it_or_its_namespace_asks_for(of_namespace, of_service, expected):
    services = World(WORLD % (of_namespace, of_service)).index.snapshot.services
    waypoint = services["shop/api.shop.svc.cluster.local"].waypoint
    if expected is None:
        assert waypoint is None
    else:
        namespace = expected.partition("/")[0]
        assert waypoint == GatewayAddress(f"{expected}.{namespace}.svc.cluster.local", 15008)
    # A waypoint is not behind itself.
    assert services["shop/way.shop.svc.cluster.local"].waypoint is None or expected != "shop/way"


def test_a_label_that_changes_moves_every_service_of_the_namespace():
    world = World(WORLD % ("", ""))
    change = world.write(WORLD % ("istio.io/use-waypoint: way", ""))
    assert [one.name for one in change.upserted] == ["api"]
    assert world.write(WORLD % ("", "")).upserted[0].waypoint is None


NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: %s, labels: {%s}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: %s}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop, labels: {%s}}
spec: {clusterIP: %s, selector: {app: web}, ports: [{port: 80}]}
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: way, namespace: %s, labels: {%s}}
spec: {gatewayClassName: %s, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: way, namespace: %s}
"""
API, WAY = "shop/api.shop.svc.cluster.local", "shop/way.shop.svc.cluster.local"
ASK = "istio.io/use-waypoint: way"
REPLICA = {"gateway.networking.k8s.io/gateway-name": "way"}


def gateway(*, waypoint_for="", namespace="shop", of_class="ambient-waypoint"):
    label = f"istio.io/waypoint-for: {waypoint_for}" if waypoint_for else ""
    return GATEWAY % (namespace, label, of_class, namespace)


def shop(*texts, labels=""):
    return World(NAMESPACE % ("shop", labels, "shop"), SERVICE % ("api", "", "10.88.0.10"), *texts)


def problems(world):
    return {str(key): [str(one) for one in some] for key, some in world.index.problems.items()}


def test_a_gateway_has_a_service_whose_endpoints_are_its_replicas():
    world = shop(gateway())
    world.report("w1", workload("way-1", labels=REPLICA, account="way"), full=True)
    world.report("n1", workload("other", ip="10.0.0.2"), full=True)
    way = world.index.snapshot.services[WAY]
    assert (way.ports, way.addresses, way.waypoint) == ((Port(15008, 15008),), (), None)
    assert world.index.snapshot.endpoints_of[WAY].uids == (uid("way-1"),)
    assert world.published("way-1").services[WAY] == (Port(15008, 15008),)
    world.write(NAMESPACE % ("shop", "", "shop"), SERVICE % ("api", "", "10.88.0.10"))
    assert WAY not in world.index.snapshot.services
    assert WAY not in world.index.snapshot.endpoints_of


def test_who_runs_as_another_account_is_no_replica_whatever_its_labels():
    world = shop(gateway())
    world.report("n1", workload("odd", labels=REPLICA), full=True)
    assert WAY not in world.index.snapshot.endpoints_of
    assert world.index.warnings == (
        (
            "workload shop/odd: it is labelled as a replica of waypoint way and is none, as it runs as service account web; "
            "run it as way, or name that one in the Gateway's annotation ambient.dev/service-account"
        ),
    )
    annotated = gateway().replace("labels: {", "annotations: {ambient.dev/service-account: web}, labels: {")
    world.write(NAMESPACE % ("shop", "", "shop"), SERVICE % ("api", "", "10.88.0.10"), annotated)
    assert world.index.snapshot.endpoints_of[WAY].uids == (uid("odd"),)


def test_a_service_that_a_cluster_made_for_a_gateway_counts_alone():
    made = SERVICE % ("way", "", "10.88.0.77")
    world = shop(gateway(), made)
    assert [str(one.ip) for one in world.index.snapshot.services[WAY].addresses] == ["10.88.0.77"]
    before = (NAMESPACE % ("shop", "", "shop"), SERVICE % ("api", "", "10.88.0.10"), gateway())
    world.write(*before)
    assert world.index.snapshot.services[WAY].addresses == ()
    world.write(*before, made)
    assert [str(one.ip) for one in world.index.snapshot.services[WAY].addresses] == ["10.88.0.77"]
    assert world.index.errors == ()


@pytest.mark.parametrize(
    ("waypoint_for", "service", "pod"),
    [("", True, False), ("service", True, False), ("workload", False, True), ("all", True, True), ("none", False, False)],
)  # fmt: skip
def test_a_namespace_is_behind_a_waypoint_with_what_that_is_for(waypoint_for, service, pod):
    world = shop(gateway(waypoint_for=waypoint_for), labels=ASK)
    world.report("n1", workload(), workload("way-1", ip="10.0.0.2", labels=REPLICA, account="way"), full=True)
    assert (world.index.snapshot.services[API].waypoint is not None) is service
    assert (world.published().waypoint is not None) is pod
    for address in (world.index.snapshot.services[API].waypoint, world.published().waypoint):
        assert address in {None, GatewayAddress(WAY, 15008)}
    # Nothing of a waypoint is behind one.
    assert world.index.snapshot.services[WAY].waypoint is None
    assert world.published("way-1").waypoint is None
    vain = [
        (
            "metadata.labels ask for waypoint shop/way, which is for nothing and not for services and workloads, so that has "
            "no effect; label the Gateway istio.io/waypoint-for: all"
        )
    ]
    assert problems(world).get("Namespace shop") == (None if service or pod else vain)


@pytest.mark.parametrize(
    ("own", "is_behind"), [({}, True), ({"istio.io/use-waypoint": "none"}, False)], ids=["namespace", "own"]
)
def test_a_workloads_own_label_counts_before_its_namespaces(own, is_behind):
    world = shop(gateway(waypoint_for="workload"), labels=ASK)
    world.report("n1", workload(labels={"app": "web", **own}), full=True)
    assert (world.published().waypoint is not None) is is_behind


def test_what_is_of_another_kind_than_its_waypoint_is_told_so():
    world = World(NAMESPACE % ("shop", "", "shop"), SERVICE % ("api", ASK, "10.88.0.10"), gateway(waypoint_for="workload"))  # fmt: skip
    assert world.index.snapshot.services[API].waypoint is None
    assert problems(world) == {
        "Service shop/api": [
            (
                "metadata.labels ask for waypoint shop/way, which is for workloads and not for services, so that has no "
                "effect; label the Gateway istio.io/waypoint-for: all"
            )
        ]
    }


def test_what_asks_for_a_waypoint_that_is_not_there_is_behind_it_all_the_same():
    world = shop(labels=ASK)
    world.report(
        "n1", workload(), workload("own", ip="10.0.0.2", labels={"istio.io/use-waypoint": "way"}), full=True
    )
    assert world.index.snapshot.services[API].waypoint == GatewayAddress(WAY, 15008)
    # That it is for workloads as well is known of none that is not there.
    assert world.published().waypoint is None
    assert world.published("own").waypoint == GatewayAddress(WAY, 15008)
    missing = (
        "metadata.labels ask for waypoint shop/way, and no Gateway of that name is known, so calls are refused; "
        "run `ambient waypoint apply way --namespace shop`, or take the label away"
    )
    assert problems(world) == {"Namespace shop": [missing], "workload shop/own": [missing]}


def test_a_gateway_of_another_class_is_no_waypoint():
    world = shop(gateway(of_class="nginx"), labels=ASK)
    assert WAY not in world.index.snapshot.services
    assert world.index.snapshot.services[API].waypoint == GatewayAddress(WAY, 15008)
    assert problems(world)["Namespace shop"] == [
        (
            "metadata.labels ask for Gateway shop/way, which is of a class that is not ours, so calls are refused; "
            "run `ambient waypoint apply way --namespace shop`, or take the label away"
        )
    ]


def test_a_gateway_that_changes_moves_all_who_ask_for_it_wherever_they_are():
    texts = (
        NAMESPACE % ("shop", ASK + ", istio.io/use-waypoint-namespace: infra", "shop"),
        SERVICE % ("api", "", "10.88.0.10"),
        NAMESPACE % ("infra", "", "infra"),
    )
    world = World(*texts, gateway(namespace="infra"))
    world.report("n1", workload(), full=True)
    address = GatewayAddress("infra/way.infra.svc.cluster.local", 15008)
    assert world.index.snapshot.services[API].waypoint == address
    assert world.published().waypoint is None
    world.write(*texts, gateway(namespace="infra", waypoint_for="workload"))
    assert world.index.snapshot.services[API].waypoint is None
    assert world.published().waypoint == address
    world.write(*texts)
    assert world.index.snapshot.services[API].waypoint == address
    assert world.published().waypoint is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop, labels: {istio.io/use-waypoint: way}}
spec: {address: 10.0.0.9}
""",
            "local/networking.istio.io/WorkloadEntry/shop/vm",
        ),
        (
            """
apiVersion: v1
kind: Pod
metadata: {name: vm, namespace: shop, labels: {istio.io/use-waypoint: way}}
spec: {nodeName: n, containers: [{name: c}]}
status: {podIP: 10.0.0.9}
""",
            "local//Pod/shop/vm",
        ),
    ],
    ids=["WorkloadEntry", "Pod"],
)
def test_workloads_that_nobody_registers_ask_by_their_labels(text, name):
    world = shop(gateway(waypoint_for="all"), text)
    assert world.index.snapshot.workloads[name].waypoint == GatewayAddress(WAY, 15008)
    world.write(NAMESPACE % ("shop", "", "shop"), gateway(waypoint_for="service"), text)
    assert world.index.snapshot.workloads[name].waypoint is None


def test_a_service_entry_asks_by_its_labels():
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out, namespace: shop, labels: {istio.io/use-waypoint: way}}
spec: {hosts: [out.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, addresses: [10.88.1.1]}
"""
    world = shop(gateway(), text)
    assert world.index.snapshot.services["shop/out.example.com"].waypoint == GatewayAddress(WAY, 15008)
    world.write(NAMESPACE % ("shop", "", "shop"), gateway(waypoint_for="workload"), text)
    assert world.index.snapshot.services["shop/out.example.com"].waypoint is None
    assert "ServiceEntry shop/out" in problems(world)
