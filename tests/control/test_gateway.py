"""What Gateways and the experimental kinds of the Gateway API mean."""

from datetime import timedelta

import pytest
import yaml

from ambient.control.objects import BackendPolicy, Gateway, Key, Listener, Mesh, ServiceRef, WaypointFor
from ambient.control.problem import Reason
from ambient.control.translate.kind import Untranslatable
from ambient.control.translate.kinds import key_of, translate
from ambient.core.model.traffic import Persistence, PersistenceKind, RatioBudget

SECOND = timedelta(seconds=1)


def read(kind, version, spec, **metadata):
    document = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "a", "namespace": "shop", **metadata},
        "spec": yaml.safe_load(spec),
    }
    return translate(document, ("ambient-system",))


def gateway(spec, version="v1", **labels):
    return read(
        "Gateway",
        f"gateway.networking.k8s.io/{version}",
        spec,
        labels={
            f"{prefix}.{'dev' if prefix == 'ambient' else 'io'}/waypoint-for": mode
            for prefix, mode in labels.items()
        },
    )


def warned(translated):
    return [(warning.field, warning.reason) for warning in translated.warnings]


WAYPOINT = "gatewayClassName: ambient-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize(
    ("labels", "waypoint_for"),
    [
        ({}, WaypointFor.SERVICE),
        ({"istio": "workload"}, WaypointFor.WORKLOAD),
        ({"ambient": "all"}, WaypointFor.ALL),
        ({"istio": "none"}, WaypointFor.NONE),
        ({"istio": "none", "ambient": "service"}, WaypointFor.SERVICE),
    ],
)
def test_a_waypoint(version, labels, waypoint_for):
    translated = gateway(f"{{{WAYPOINT}}}", version, **labels)
    assert translated.object == Gateway("shop", "a", waypoint_for, (Listener("mesh", 15008, "HBONE"),), "a")
    assert translated.warnings == ()


@pytest.mark.parametrize(
    ("annotations", "account"),
    [
        ({"gateway.istio.io/service-account": "b"}, "b"),
        ({"ambient.dev/service-account": "c", "gateway.istio.io/service-account": "b"}, "c"),
    ],
)
def test_a_waypoint_may_say_whom_its_replicas_run_as(annotations, account):
    translated = read("Gateway", "gateway.networking.k8s.io/v1", f"{{{WAYPOINT}}}", annotations=annotations)
    assert translated.object.service_account == account


def test_istios_class_is_a_waypoint_too():
    translated = gateway(
        "{gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}"
    )
    assert translated.object.waypoint_for is WaypointFor.SERVICE


def test_a_waypoint_for_something_unknown_is_refused():
    with pytest.raises(Untranslatable, match='"services"; it is service, workload, all or none'):
        gateway(f"{{{WAYPOINT}}}", ambient="services")


def test_anothers_gateway_is_none_of_ours():
    translated = gateway("{gatewayClassName: nginx, listeners: [{name: web, port: 80, protocol: HTTP}]}")
    assert translated.object.waypoint_for is None
    assert warned(translated) == [("spec.gatewayClassName", Reason.NO_EFFECT)]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("addresses: [{value: 10.0.0.1}]", "addresses"),
        ("infrastructure: {labels: {a: b}}", "infrastructure"),
        ("allowedListeners: {namespaces: {from: All}}", "allowedListeners"),
        ("defaultScope: All", "defaultScope"),
        ("tls: {backend: {}}", "tls"),
    ],
)
def test_what_has_no_effect_on_a_waypoint_is_named(more, field):
    assert (f"spec.{field}", Reason.NO_EFFECT) in warned(gateway(f"{{{WAYPOINT}, {more}}}"))


@pytest.mark.parametrize(
    ("namespaces", "is_warned"),
    [
        ("{from: All}", False),
        ("{from: Same}", True),
        ("{from: Selector, selector: {matchLabels: {a: b}}}", True),
    ],
)
def test_whom_a_waypoint_takes_is_for_labels_to_say(namespaces, is_warned):
    listener = f"{{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {{namespaces: {namespaces}}}}}"
    translated = gateway(f"{{gatewayClassName: ambient-waypoint, listeners: [{listener}]}}")
    expected = [("spec.listeners[0].allowedRoutes", Reason.NO_EFFECT)] if is_warned else []
    assert warned(translated) == expected


@pytest.mark.parametrize(
    ("spec", "is_ours", "warnings"),
    [
        ("{controllerName: ambient.dev/mesh, description: ours}", True, []),
        ("{controllerName: istio.io/mesh}", False, [("spec.controllerName", Reason.NO_EFFECT)]),
        (
            "{controllerName: ambient.dev/mesh, parametersRef: {group: '', kind: ConfigMap, name: a, namespace: b}}",
            True,
            [("spec.parametersRef", Reason.NO_EFFECT)],
        ),
    ],
)
def test_a_mesh(spec, is_ours, warnings):
    translated = read("XMesh", "gateway.networking.x-k8s.io/v1alpha1", spec)
    assert (translated.object, warned(translated)) == (Mesh("a", is_ours), warnings)


def test_a_mesh_has_no_namespace():
    document = {
        "apiVersion": "gateway.networking.x-k8s.io/v1alpha1",
        "kind": "XMesh",
        "metadata": {"name": "a"},
    }
    assert key_of(document) == Key("XMesh", "", "a") == Mesh("a", is_ours=True).key


def policy(spec):
    return read("XBackendTrafficPolicy", "gateway.networking.x-k8s.io/v1alpha1", spec)


TARGET = "targetRefs: [{group: '', kind: Service, name: a}]"


@pytest.mark.parametrize(
    ("constraint", "budget"),
    [
        pytest.param("", None, id="none"),
        pytest.param("retryConstraint: {}", RatioBudget(0.2, 10, 10 * SECOND), id="by-default"),
        pytest.param(
            "retryConstraint: {budget: {percent: 5, interval: 1m}, minRetryRate: {count: 30, interval: 10s}}",
            RatioBudget(0.05, 3, 60 * SECOND), id="given",
        ),
        pytest.param("retryConstraint: {budget: {percent: 50}}", RatioBudget(0.5, 10, 10 * SECOND), id="share-alone"),
    ],
)  # fmt: skip
def test_a_retry_budget(constraint, budget):
    translated = policy(f"{{{TARGET}, {constraint}}}")
    assert translated.warnings == ()
    assert translated.object == BackendPolicy(
        "XBackendTrafficPolicy", "shop", "a", "", (ServiceRef("shop", "a"),), budget
    )


def test_sessions():
    translated = policy(f"{{{TARGET}, sessionPersistence: {{type: Header, sessionName: X}}}}")
    assert translated.warnings == ()
    assert translated.object.persistence == Persistence(PersistenceKind.HEADER, "X")


@pytest.mark.parametrize(
    ("spec", "warnings"),
    [
        (
            "{targetRefs: [{group: x.io, kind: ServiceImport, name: a}]}",
            [("spec.targetRefs[0].kind", Reason.KIND)],
        ),
    ],
)
def test_what_has_no_effect_is_named(spec, warnings):
    assert warned(policy(spec)) == warnings
