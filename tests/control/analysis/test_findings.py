"""Configurations that are not what their writer thinks, and the code of what is found."""

import pytest

from ambient.control import offline
from ambient.control.analysis.codes import Code, Severity
from ambient.control.problem import Reason

NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {ambient.dev/dataplane-mode: ambient}}
"""
PLAIN = """
apiVersion: v1
kind: Namespace
metadata: {name: plain}
"""
ACCOUNT = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop%s}
spec: {clusterIP: 10.88.0.10, selector: {app: api}, ports: [{port: 80, name: %s, targetPort: 8080}]}
"""
ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s, namespace: shop}
spec: {address: %s, labels: {app: %s}, serviceAccount: web}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: %s}
spec: %s
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: [api]
  http:
  - route: [{destination: {host: api}}]
  - match: [{uri: {prefix: /orders}}]
    route: [{destination: {host: api}}]
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: way, namespace: shop}
spec: {gatewayClassName: ambient-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""
TARGETED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: t, namespace: shop}
spec: {targetRefs: [{kind: Service, name: api}], rules: [{}]}
"""
REPLICA = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: way-1, namespace: shop}
spec: {address: 10.0.0.8, labels: {gateway.networking.k8s.io/gateway-name: way}, serviceAccount: way}
"""
HBONE = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: api-1, namespace: shop, labels: {ambient.dev/tunnel: hbone}}
spec: {address: 10.0.0.1, labels: {app: api}, serviceAccount: web}
"""
WEB_ALONE = "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/%s]}}]}]}"
API = SERVICE % ("", "http")
BEHIND = SERVICE % (", labels: {istio.io/use-waypoint: way}", "http")
RUNS = ENTRY % ("api-1", "10.0.0.1", "api")
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: other, namespace: shop}
spec: {selector: {matchLabels: {app: %s}}, template: {metadata: {labels: {app: %s}}, spec: {containers: []}}}
"""


def found(*texts):
    contents = {f"{number}.yaml": text.encode() for number, text in enumerate(texts)}
    return [(one.code, one.severity, one.object, one.text) for one in offline.analyze(offline.mesh(contents))]


WARNING, ERROR, INFO = Severity.WARNING, Severity.ERROR, Severity.INFO


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param((NAMESPACE, API, RUNS), None, id="nothing"),
        pytest.param((NAMESPACE, API.replace("port: 80,", "port: 80000,")), (Code.VALUE, ERROR, "Service shop/api", "spec.ports[0].port is 80000; a port is 1-65535"), id="value"),
        pytest.param(("a: [",), (Code.SYNTAX, ERROR, "", ""), id="syntax"),
        pytest.param((NAMESPACE, API + "---" + API), (Code.DUPLICATE, ERROR, "Service shop/api", ""), id="twice"),
        pytest.param((NAMESPACE, API, RUNS, ENTRY % ("b", "10.0.0.1", "b")), (Code.CONFLICT, ERROR, "WorkloadEntry shop/b", "address 10.0.0.1 is WorkloadEntry shop/api-1's already"), id="address-taken"),
        pytest.param((NAMESPACE, API, ENTRY % ("b", "10.0.0.2", "b")), (Code.NO_ENDPOINTS, WARNING, "Service shop/api", "spec.selector fits no workload"), id="service-selects-nobody"),
        pytest.param((NAMESPACE, API, DEPLOYMENT % ("api", "api")), None, id="service-of-a-deployment"),
        pytest.param((NAMESPACE, API, DEPLOYMENT % ("b", "b")), (Code.NO_ENDPOINTS, WARNING, "Service shop/api", ""), id="service-of-another-deployment"),
        pytest.param((NAMESPACE, API, RUNS, POLICY % ("shop", "{selector: {matchLabels: {app: x}}, rules: [{}]}")), (Code.SELECTS_NOBODY, WARNING, "AuthorizationPolicy shop/p", "spec.selector fits no workload"), id="policy-selects-nobody"),
        pytest.param((NAMESPACE, POLICY % ("elsewhere", "{rules: [{}]}")), (Code.NO_NAMESPACE, WARNING, "AuthorizationPolicy elsewhere/p", "is in namespace elsewhere, which is not configured"), id="no-namespace"),
        pytest.param((NAMESPACE, ACCOUNT, POLICY % ("shop", "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/wob]}}]}]}")), (Code.NO_ACCOUNT, WARNING, "AuthorizationPolicy shop/p", "spec.rules name cluster.local/ns/shop/sa/wob, and there is no such ServiceAccount"), id="no-account"),
        pytest.param((NAMESPACE, ACCOUNT, POLICY % ("shop", "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}")), None, id="account"),
        pytest.param((NAMESPACE, PLAIN, POLICY % ("plain", "{rules: [{}]}")), (Code.NOT_ENROLLED, WARNING, "AuthorizationPolicy plain/p", "is in namespace plain, which is not enrolled: nothing enforces it"), id="not-enrolled"),
        pytest.param((NAMESPACE, POLICY % ("shop", "{}")), (Code.ALLOWS_NOBODY, INFO, "AuthorizationPolicy shop/p", "spec.rules is empty: nobody is allowed by it"), id="allows-nobody"),
        pytest.param((NAMESPACE, API, RUNS, ROUTE), (Code.NO_WAYPOINT, WARNING, "VirtualService shop/api", "has no effect on service shop/api.shop.svc.cluster.local, which has no waypoint"), id="no-waypoint"),
        pytest.param((NAMESPACE, API, RUNS, ROUTE), (Code.UNREACHABLE, WARNING, "VirtualService shop/api", "spec.http[1] is never met: VirtualService shop/api spec.http[0] takes all of its requests"), id="unreachable"),
        pytest.param((NAMESPACE, SERVICE % (", labels: {istio.io/use-waypoint: way}", "http"), RUNS), (Code.WAYPOINT_GONE, ERROR, "Service shop/api", "is behind waypoint shop/way.shop.svc.cluster.local, which has no endpoint: every call is refused"), id="waypoint-gone"),
        pytest.param((NAMESPACE, SERVICE % (", labels: {istio.io/use-waypoint: way}", "http"), RUNS), (Code.REFERENCE, WARNING, "Service shop/api", "ask for waypoint shop/way, and no Gateway of that name is known"), id="waypoint-unknown"),
        pytest.param((NAMESPACE, GATEWAY, SERVICE % (", labels: {istio.io/use-waypoint: way}", "http"), RUNS), (Code.NO_REPLICA, ERROR, "Gateway shop/way", "has no replica, so every call to 1 service behind it is refused"), id="no-replica"),
        pytest.param((NAMESPACE, GATEWAY, RUNS), (Code.NO_REPLICA, WARNING, "Gateway shop/way", "has no replica, and nothing is behind it"), id="no-replica-and-nothing-behind"),
        pytest.param((NAMESPACE, GATEWAY, SERVICE % (", labels: {istio.io/use-waypoint: way}", "http")), None, id="waypoint-in-a-part-of-many"),
        pytest.param((NAMESPACE, GATEWAY, BEHIND, REPLICA, HBONE, POLICY % ("shop", WEB_ALONE % "web")), (Code.LOCKED_OUT, WARNING, "Service shop/api", "is served by shop/api-1, which refuses the waypoint, spiffe://cluster.local/ns/shop/sa/way: allow policies exist, but none allowed"), id="waypoint-locked-out"),
        pytest.param((NAMESPACE, GATEWAY, BEHIND, REPLICA, HBONE, POLICY % ("shop", WEB_ALONE % "way")), None, id="waypoint-let-in"),
        pytest.param((NAMESPACE, API, RUNS, TARGETED), (Code.NO_EFFECT, WARNING, "AuthorizationPolicy shop/t", "name Service api, which is behind no waypoint"), id="policy-without-waypoint"),
        pytest.param((NAMESPACE, SERVICE % ("", "tcp-db"), RUNS, ROUTE), (Code.NOT_HTTP, WARNING, "VirtualService shop/api", "is not asked on port 80 (tcp-db) of service shop/api.shop.svc.cluster.local, which is declared to be tcp"), id="not-http"),
        pytest.param((NAMESPACE, RUNS, ROUTE), (Code.REFERENCE, WARNING, "VirtualService shop/api", "no service of that name is known"), id="reference"),
    ],
)  # fmt: skip
def test_what_is_found(texts, expected):
    if expected is None:
        assert found(*texts) == []
        return
    code, severity, name, text = expected
    assert [one for one in found(*texts) if one[:3] == (code, severity, name) and text in one[3]], found(
        *texts
    )


def test_each_finding_is_told_once_with_its_file_and_line():
    contents = {"shop.yaml": f"{NAMESPACE}---{API}---{RUNS}---{ROUTE}".encode()}
    findings = offline.analyze(offline.mesh(contents))
    assert len({(one.code, one.object, one.text) for one in findings}) == len(findings) == 2
    assert {one.place for one in findings} == {"shop.yaml:16"}


def test_codes_are_stable_and_each_has_its_own():
    assert len({one.code for one in Code}) == len(Code)
    assert {reason.name for reason in Reason} <= {one.name for one in Code}


def test_a_part_of_a_configuration_is_not_blamed_for_what_is_elsewhere():
    assert found(API) == []
    assert found(POLICY % ("shop", "{selector: {matchLabels: {app: x}}, rules: [{}]}")) == []
