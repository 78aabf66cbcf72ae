"""gateway.networking.k8s.io Gateway, and gateway.networking.x-k8s.io."""

from __future__ import annotations

from typing import Final

from ambient.control.objects import BackendPolicy, Gateway, Listener, Mesh, ServiceRef, WaypointFor
from ambient.control.problem import Problem, Reason, no_effect
from ambient.control.schema import gateway as schema
from ambient.control.schema.gateway_routes import GROUP
from ambient.control.translate.gateway_routes import persistence
from ambient.control.translate.kind import Kind, Translated, Untranslatable
from ambient.core.model.request_authorization import WAYPOINT_CLASSES
from ambient.core.model.traffic import RatioBudget

GATEWAY_VERSIONS: Final = tuple(f"{GROUP}/{version}" for version in ("v1", "v1beta1"))
X_VERSIONS: Final = ("gateway.networking.x-k8s.io/v1alpha1",)

WAYPOINT_FOR: Final = ("ambient.dev/waypoint-for", "istio.io/waypoint-for")
"""Labels of a waypoint; the first that is set counts."""
SERVICE_ACCOUNT: Final = ("ambient.dev/service-account", "gateway.istio.io/service-account")
"""Annotations of a waypoint whose replicas do not run as its own name; the first that is set counts."""
CONTROLLER: Final = "ambient.dev/mesh"
"""What an XMesh of ours is controlled by."""


def _gateway(read: schema.GatewayDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    waypoint_for = None
    if spec.gateway_class_name in WAYPOINT_CLASSES:
        waypoint_for = _waypoint_for(metadata.labels)
        warnings = [
            no_effect(f"spec.{field}", "has no effect on a waypoint")
            for field, value in (
                ("addresses", spec.addresses),
                ("infrastructure", spec.infrastructure),
                ("allowedListeners", spec.allowed_listeners),
                ("defaultScope", spec.default_scope),
                ("tls", spec.tls),
            )
            if value
        ]
        warnings += [
            no_effect(
                f"spec.listeners[{i}].allowedRoutes",
                "has no effect on a waypoint; whoever is labelled to use it is behind it, from every namespace",
            )
            for i, listener in enumerate(spec.listeners)
            if "allowed_routes" in listener.model_fields_set
            and listener.allowed_routes.namespaces.from_ != "All"
        ]
    else:
        warnings = [
            no_effect(
                "spec.gatewayClassName",
                f'is "{spec.gateway_class_name}", which is not ours, so it has no effect; '
                f"ours is {WAYPOINT_CLASSES[0]}",
            )
        ]
    gateway = Gateway(
        namespace=metadata.namespace,
        name=metadata.name,
        waypoint_for=waypoint_for,
        listeners=tuple(
            Listener(listener.name, listener.port, listener.protocol) for listener in spec.listeners
        ),
        service_account=next(
            (account for name in SERVICE_ACCOUNT if (account := metadata.annotations.get(name))),
            metadata.name,
        ),
    )
    return Translated(gateway, tuple(warnings))


def _waypoint_for(labels: dict[str, str]) -> WaypointFor:
    label = next((label for label in WAYPOINT_FOR if label in labels), None)
    if label is None:
        return WaypointFor.SERVICE
    known = [mode.value for mode in WaypointFor]
    if labels[label] not in known:
        text = f'is "{labels[label]}"; it is {", ".join(known[:-1])} or {known[-1]}'
        raise Untranslatable((Problem(f'metadata.labels["{label}"]', text),))
    return WaypointFor(labels[label])


def _mesh(read: schema.MeshDocument, _: tuple[str, ...]) -> Translated:
    spec = read.spec
    warnings = []
    if spec.controller_name != CONTROLLER:
        warnings.append(
            no_effect(
                "spec.controllerName",
                f'is "{spec.controller_name}", which is not ours, so it has no effect; ours is {CONTROLLER}',
            )
        )
    elif spec.parameters_ref is not None:
        warnings.append(
            no_effect(
                "spec.parametersRef", "has no effect; settings are the MeshConfig of the root namespace"
            )
        )
    return Translated(Mesh(read.metadata.name, spec.controller_name == CONTROLLER), tuple(warnings))


def _backend_traffic_policy(read: schema.BackendTrafficPolicyDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    warnings = []
    targets = []
    for i, target in enumerate(spec.target_refs):
        if target.kind == "Service" and target.group in {"", "core"}:
            targets.append(ServiceRef(metadata.namespace, target.name))
        else:
            text = f"is {target.kind}, which it has no effect on; name a Service, with group: ''"
            warnings.append(Problem(f"spec.targetRefs[{i}].kind", text, Reason.KIND))
    policy = BackendPolicy(
        kind="XBackendTrafficPolicy",
        namespace=metadata.namespace,
        name=metadata.name,
        created=metadata.creation_timestamp or "",
        targets=tuple(targets),
        persistence=persistence(spec.session_persistence),
        budget=None if spec.retry_constraint is None else _budget(spec.retry_constraint),
    )
    return Translated(policy, tuple(warnings))


def _budget(constraint: schema.RetryConstraint) -> RatioBudget:
    rate = constraint.min_retry_rate
    return RatioBudget(
        ratio=constraint.budget.percent / 100,
        least_per_second=rate.count / rate.interval.total_seconds(),
        window=constraint.budget.interval,
    )


KINDS: Final = (
    Kind("Gateway", GATEWAY_VERSIONS, schema.GatewayDocument, _gateway),
    Kind("XMesh", X_VERSIONS, schema.MeshDocument, _mesh, is_namespaced=False),
    Kind("XBackendTrafficPolicy", X_VERSIONS, schema.BackendTrafficPolicyDocument, _backend_traffic_policy),
)
