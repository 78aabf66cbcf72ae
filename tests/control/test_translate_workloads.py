"""Pods, deployments and endpoint slices, as objects by themselves."""

from ipaddress import ip_address

import pytest
import yaml
from immutables import Map

from ambient.control.objects import Deployment, EndpointSlice, Pod, SliceEndpoint, SlicePort
from ambient.control.translate.kind import Untranslatable
from ambient.control.translate.kinds import translate
from ambient.core.model.workload import Locality

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web-5d4f-x2x
  namespace: shop
  labels: {app: web, pod-template-hash: 5d4f, topology.kubernetes.io/zone: z1}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d4f, controller: true, uid: u}]
spec:
  serviceAccountName: web
  nodeName: n1
  containers:
  - {name: app, image: x, ports: [{name: http, containerPort: 8080}, {containerPort: 9}, {name: dns, containerPort: 53, protocol: UDP}]}
  - {name: other, ports: [{name: admin, containerPort: 8081}, {name: http, containerPort: 1}]}
  tolerations: [{key: a}]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
  conditions: [{type: Ready, status: 'True', lastTransitionTime: x}, {type: PodScheduled, status: 'True'}]
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
ports: [{name: sql, port: 5432, protocol: TCP, appProtocol: x}]
endpoints:
- {addresses: [10.0.0.9], conditions: {ready: true, serving: true, terminating: false}, nodeName: n1, zone: z1}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      serviceAccountName: web
      containers: [{name: a, image: b, ports: [{name: http, containerPort: 8080}]}]
"""


def read(text, *changes):
    """``changes``: a path and a value; None takes it away."""
    document = yaml.safe_load(text)
    for path, value in changes:
        within = document
        *steps, last = path
        for step in steps:
            within = within[step]
        if value is None:
            del within[last]
        else:
            within[last] = value
    return translate(document, ())


def warnings(translated):
    return tuple(map(str, translated.warnings))


def test_a_pod():
    translated = read(POD)
    assert translated.warnings == ()
    assert translated.object == Pod(
        namespace="shop", name="web-5d4f-x2x", service_account="web",
        addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
        labels=Map({"app": "web", "pod-template-hash": "5d4f", "topology.kubernetes.io/zone": "z1"}),
        ports=Map({"http": 8080, "admin": 8081}), node="n1", owner="web",
        host_network=False, is_ready=True, speaks_hbone=False,
    )  # fmt: skip


STATUS, META = ("status",), ("metadata",)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        pytest.param([(("status", "conditions"), [{"type": "Ready", "status": "False"}])], "is_ready", False, id="not-ready"),
        pytest.param([(("status", "conditions"), [{"type": "Ready", "status": "Unknown"}])], "is_ready", False, id="nobody-knows"),
        pytest.param([(("status", "conditions"), None)], "is_ready", True, id="by-hand"),
        pytest.param([(("metadata", "deletionTimestamp"), "2026-01-01T00:00:00Z")], "is_ready", False, id="terminating"),
        pytest.param([(("status", "phase"), "Succeeded")], "addresses", (), id="succeeded"),
        pytest.param([(("status", "phase"), "Failed")], "addresses", (), id="failed"),
        pytest.param([(("status", "podIPs"), None)], "addresses", (ip_address("10.0.0.1"),), id="one-address"),
        pytest.param([(("spec", "serviceAccountName"), None)], "service_account", "default", id="default-account"),
        pytest.param([(("spec", "serviceAccountName"), None), (("spec", "serviceAccount"), "old")], "service_account", "old", id="account-of-old"),
        pytest.param([(("spec", "hostNetwork"), True)], "host_network", True, id="host-network"),
        pytest.param([(("metadata", "annotations"), {"ambient.istio.io/redirection": "enabled"})], "speaks_hbone", True, id="captured-by-istio"),
        pytest.param([(("metadata", "annotations"), {"ambient.istio.io/redirection": "pending"})], "speaks_hbone", False, id="not-yet-captured"),
        pytest.param([(("metadata", "annotations"), {"ambient.dev/tunnel": "hbone"})], "speaks_hbone", True, id="tunnel"),
        pytest.param([(("metadata", "annotations"), {"ambient.istio.io/redirection": "enabled"}), (("spec", "hostNetwork"), True)], "speaks_hbone", False, id="host-network-is-never-captured"),
        pytest.param([(("metadata", "ownerReferences"), None)], "owner", "", id="alone"),
        pytest.param([(("metadata", "ownerReferences"), [{"kind": "StatefulSet", "name": "db", "controller": True}])], "owner", "db", id="stateful"),
    ],
)  # fmt: skip
def test_what_a_pod_is(changes, field, value):
    assert getattr(read(POD, *changes).object, field) == value


def test_a_pod_without_an_address_is_no_endpoint():
    assert warnings(read(POD, (STATUS, None))) == (
        "status.podIP is missing, so it is no endpoint; it is one when the cluster says its address",
    )


def test_annotations_of_sidecars_are_named():
    annotated = {"proxy.istio.io/config": "concurrency: 2", "sidecar.istio.io/inject": "true", "other": "x"}
    wanted = ["proxy.istio.io/config", "sidecar.istio.io/inject"]
    template = ("spec", "template", "metadata", "annotations")
    assert warnings(read(POD, ((*META, "annotations"), annotated))) == tuple(
        f'metadata.annotations["{name}"] has no effect: there is no sidecar to configure; remove it'
        for name in wanted
    )
    assert warnings(read(DEPLOYMENT, (template, annotated))) == tuple(
        f'spec.template.metadata.annotations["{name}"] has no effect: there is no sidecar to configure; remove it'
        for name in wanted
    )


def test_a_deployment():
    translated = read(DEPLOYMENT)
    assert translated.warnings == ()
    assert translated.object == Deployment(
        "shop", "web", "web", Map({"app": "web", "version": "v1"}), Map({"http": 8080})
    )


def test_an_endpoint_slice():
    translated = read(SLICE)
    assert translated.warnings == ()
    endpoint = SliceEndpoint(
        (ip_address("10.0.0.9"),), is_ready=True, pod="", node="n1", locality=Locality(zone="z1")
    )
    assert translated.object == EndpointSlice("shop", "db-1", "db", (endpoint,), (SlicePort("sql", 5432),))


@pytest.mark.parametrize(
    ("conditions", "is_ready"),
    [
        ({}, True), ({"ready": True}, True), ({"ready": False}, False), ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": True, "terminating": True}, False), ({"serving": False}, True),
    ],
)  # fmt: skip
def test_whether_an_endpoint_is_ready(conditions, is_ready):
    (endpoint,) = read(SLICE, (("endpoints", 0, "conditions"), conditions)).object.endpoints
    assert endpoint.is_ready is is_ready


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ((("addressType",), "FQDN"), "addressType is FQDN and has no effect; list addresses, as names are not looked up"),
        ((("ports", 0, "protocol"), "UDP"), "ports[0] is UDP and has no effect; the mesh carries TCP"),
        ((("ports", 0, "port"), None), "ports[0].port is missing, so nothing is reached; write a number"),
        ((("endpoints", 0, "hostname"), "a"), "endpoints[0].hostname has no effect; endpoints have no names of their own"),
    ],
)  # fmt: skip
def test_what_of_a_slice_is_not_carried_out(change, warning):
    assert warnings(read(SLICE, change)) == (warning,)


def test_a_slice_names_pods_and_nothing_else():
    pod = ("endpoints", 0, "targetRef"), {"kind": "Pod", "name": "web-0", "namespace": "shop", "uid": "u"}
    node = ("endpoints", 0, "targetRef"), {"kind": "Node", "name": "n1"}
    assert [read(SLICE, one).object.endpoints[0].pod for one in (pod, node)] == ["web-0", ""]
    assert read(SLICE, (("ports",), None)).object.ports is None


@pytest.mark.parametrize(
    ("text", "change", "problem"),
    [
        pytest.param(SLICE, (("metadata", "labels"), {}), 'metadata.labels["kubernetes.io/service-name"] is missing; write the name of its Service', id="slice-of-nobody"),
        pytest.param(SLICE, (("endpoints", 0, "addresses"), ["fd00::1"]), 'endpoints[0].addresses[0] is "fd00::1"; it is an IPv4 address, as addressType says', id="slice-of-another-family"),
        pytest.param(SLICE, (("endpoints", 0, "addresses"), ["db"]), 'endpoints[0].addresses[0] is "db"; it is an IPv4 address', id="slice-of-names"),
        pytest.param(SLICE, (("endpoints", 0, "addresses"), None), "endpoints[0].addresses is missing", id="slice-without-addresses"),
        pytest.param(SLICE, (("addressType",), "IPv5"), 'addressType is "IPv5"; it is IPv4, IPv6 or FQDN', id="slice-of-a-strange-family"),
        pytest.param(SLICE, (("endpoints",), [{"addresses": ["10.0.0.1"]}] * 1001), "endpoints has 1001 entries; the most is 1000", id="slice-too-long"),
        pytest.param(SLICE, (("ports", 0, "port"), 70000), "ports[0].port is 70000; a port is 1-65535", id="slice-port"),
        pytest.param(SLICE, (("endpoints", 0, "condition"), {}), "endpoints[0].condition is unknown; did you mean conditions?", id="slice-unknown-field"),
        pytest.param(POD, (("status", "podIPs"), [{"ip": "10.0.0"}]), 'status.podIPs[0].ip is "10.0.0"; it is an IPv4 or IPv6 address', id="pod-address"),
        pytest.param(POD, (("status", "phase"), "Dead"), 'status.phase is "Dead"; it is Pending, Running, Succeeded, Failed or Unknown', id="pod-phase"),
        pytest.param(POD, (("spec", "hostNetwork"), "yes"), 'spec.hostNetwork is "yes"; it is true or false', id="pod-host-network"),
        pytest.param(POD, (("spec",), None), "spec is missing", id="pod-without-spec"),
        pytest.param(POD, (("spec", "serviceAccountName"), "A b"), 'spec.serviceAccountName is "A b"; a name is', id="pod-account"),
        pytest.param(POD, (("spec", "containers", 0, "ports", 0, "containerPort"), 0), "spec.containers[0].ports[0].containerPort is 0; a port is 1-65535", id="pod-port"),
        pytest.param(POD, (("metadata", "annotations"), {"ambient.dev/tunnel": "tls"}), 'metadata.annotations["ambient.dev/tunnel"] is "tls"; it is hbone or none', id="pod-tunnel"),
        pytest.param(DEPLOYMENT, (("spec", "template", "metadata", "labels"), {"app": "api"}), 'spec.template.metadata.labels["app"] is "api"; spec.selector wants "web", write the same', id="deployment-of-others"),
        pytest.param(DEPLOYMENT, (("spec", "template", "metadata", "labels"), {}), 'spec.template.metadata.labels["app"] is missing; spec.selector wants "web"', id="deployment-without-labels"),
        pytest.param(DEPLOYMENT, (("spec", "template"), None), "spec.template is missing", id="deployment-without-template"),
        pytest.param(DEPLOYMENT, (("spec", "selector"), None), "spec.selector is missing", id="deployment-without-selector"),
    ],
)  # fmt: skip
def test_a_bad_one_is_told_by_field(text, change, problem):
    with pytest.raises(Untranslatable) as caught:
        read(text, change)
    (told,) = caught.value.problems
    assert str(told).startswith(problem)
