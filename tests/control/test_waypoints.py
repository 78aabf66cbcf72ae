"""Labels that ask for a waypoint, and what callers are told."""

import pytest
from control.test_index import World

from ambient.control.objects import WaypointName
from ambient.control.waypoints import asked_by
from ambient.core.model.address import GatewayAddress

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
