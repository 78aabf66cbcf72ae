"""The YAML that people come with, as it is: each block is accepted, and does what its author meant."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from immutables import Map

from ambient.control.catalog import Catalog
from ambient.control.index import Index, Settings
from ambient.control.objects import Key
from ambient.control.sources import Change
from ambient.control.telemetry import layers
from ambient.core.model.route import Backend, Forward, HeaderMatch, RouteMatch, TextMatch, TextMatchKind
from ambient.core.model.service import Port
from ambient.core.model.telemetry import AccessLog, Metrics, Side
from ambient.core.model.traffic import ConnectionLimits, RatioBudget
from ambient.core.reporting import reported
from ambient.rpc.registration import LocalWorkload

SEED = Path(__file__).parents[1] / "seed"
SERVICE = "production/order-service.production.svc.cluster.local"
AROUND = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: production}
---
apiVersion: v1
kind: Service
metadata: {name: order-service, namespace: production}
spec: {clusterIP: 10.88.0.10, selector: {app: order-service}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v1, namespace: production}
spec: {address: 10.0.0.1, labels: {app: order-service, version: v1}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: v2, namespace: production}
spec: {address: 10.0.0.2, labels: {app: order-service, version: v2}}
"""
"""What the blocks take for granted: the service, and two versions of it that run."""


class Mesh:
    """What comes of some of the files."""

    def __init__(self, *names):
        self.catalog = Catalog(Settings().root_namespaces)
        files = {path.name: path.read_bytes() for name in names for path in SEED.glob(f"{name}-*.yaml")}
        assert len(files) == len(names)
        change = Change({"around.yaml": AROUND.encode(), **files}, frozenset())
        self.catalog.take(self.catalog.plan_source("folder", change, datetime.now(UTC)))
        self.index = Index(Settings())
        self.index.configure(self.catalog.objects)
        self.snapshot = self.index.snapshot


@pytest.mark.parametrize("name", ["1", "2", "3", "4", "5"])
def test_every_block_is_accepted_as_it_is(name):
    mesh = Mesh(name)
    assert mesh.catalog.errors == ()
    assert mesh.index.errors == ()


def test_a_namespace_with_sidecars_is_enrolled_and_told_of_our_label():
    mesh = Mesh("1")
    assert mesh.catalog.objects[Key("Namespace", "", "production")].dataplane_mode == "ambient"
    (warning,) = (one for one in mesh.catalog.warnings if "Namespace" in one)
    assert warning.endswith(
        'metadata.labels["istio-injection"] is "enabled" and enrols the namespace, without sidecars; '
        "write ambient.dev/dataplane-mode: ambient in its place"
    )


def test_all_blocks_together_are_accepted_and_what_has_no_effect_is_named():
    mesh = Mesh("1", "2", "3", "4", "5")
    assert (mesh.catalog.errors, mesh.index.errors) == ((), ())
    assert [one.partition(": ")[2].partition(" ")[0] for one in mesh.catalog.warnings] == [
        "Deployment",
        "Namespace",
    ]


def test_a_workload_of_the_deployment_has_its_labels_and_the_services_that_select_them():
    mesh = Mesh("1", "2")
    workload = LocalWorkload(
        "local/ambient.dev/Workload/production/order-service-1", "order-service-1", "production", "default",
        (ip_address("10.0.0.9"),), Map({"ambient.dev/deployment": "order-service"}),
    )  # fmt: skip
    mesh.index.register("n1", (workload,), (), full=True)
    made = mesh.index.snapshot.workloads[workload.uid]
    assert made.workload_name == "order-service"
    assert made.services == Map({SERVICE: (Port(80, 8080),)})
    assert mesh.index.orders("n1")[workload.uid].enrolled
    assert mesh.index.warnings == ()


def test_the_sidecars_configuration_is_named_as_having_no_effect():
    (warning,) = (one for one in Mesh("2").catalog.warnings if "Deployment" in one)
    assert warning.endswith(
        'spec.template.metadata.annotations["proxy.istio.io/config"] has no effect: there is no sidecar to configure; '
        "remove it"
    )


def test_canary_requests_go_to_v2_and_of_the_others_a_tenth():
    mesh = Mesh("3")
    routes = mesh.snapshot.routes[SERVICE]
    (table,) = routes.tables
    canary, others = table.rules
    assert canary.matches == (
        RouteMatch(headers=(HeaderMatch("x-canary", TextMatch(TextMatchKind.EXACT, "true")),)),
    )
    assert canary.action == Forward((Backend(SERVICE, 80, "v2"),))
    assert others.matches == (RouteMatch(),)
    assert others.action == Forward(
        (Backend(SERVICE, 80, "v1", weight=90), Backend(SERVICE, 80, "v2", weight=10))
    )
    assert mesh.index.warnings == ()


def test_subsets_are_versions_and_the_pool_is_limited():
    mesh = Mesh("3")
    traffic = mesh.snapshot.routes[SERVICE].traffic
    assert {name: subset.labels for name, subset in traffic.subsets.items()} == {
        "v1": Map({"version": "v1"}),
        "v2": Map({"version": "v2"}),
    }
    assert traffic.policy.limits == ConnectionLimits(
        connections=100, pending_requests=100, upgrade_to_http2=True
    )
    # A waypoint finds the endpoints of a subset by these.
    assert {workload.labels.get("version") for workload in mesh.snapshot.workloads.values()} == {"v1", "v2"}


def test_a_profile_retries_and_a_virtual_service_goes_on_splitting():
    mesh = Mesh("3", "4")
    routes = mesh.snapshot.routes[SERVICE]
    assert routes.tables == Mesh("3").snapshot.routes[SERVICE].tables
    post, get = routes.profile.routes
    assert (post.name, post.timeouts.request, post.retry.attempts > 0) == (
        "POST /orders",
        timedelta(seconds=5),
        True,
    )
    assert (get.name, get.timeouts.request) == ("GET /orders/{id}", timedelta(seconds=2))
    assert routes.profile.budget == RatioBudget(0.2, 10.0, timedelta(seconds=10))
    assert mesh.catalog.errors == ()


def test_permissive_denies_nobody():
    mesh = Mesh("5")
    assert mesh.snapshot.authorizations == Map()
    assert all(workload.policies == () for workload in mesh.snapshot.workloads.values())


def test_the_meshs_telemetry_is_what_every_proxy_does():
    mesh = Mesh("5")
    telemetry = mesh.catalog.objects[Key("Telemetry", "istio-system", "mesh-default")]
    assert telemetry.settings.access_log == (AccessLog(providers=("envoy",)),)
    assert telemetry.settings.metrics == (Metrics(providers=("prometheus",)),)
    assert not [one for one in mesh.catalog.warnings if "Telemetry" in one]
    told = reported(
        layers([telemetry], "production", {"app": "order-service"}, Settings().root_namespaces), Side.SERVER
    )
    assert (set(told.metrics), told.access_log) == ({"prometheus"}, Map({"envoy": ""}))
