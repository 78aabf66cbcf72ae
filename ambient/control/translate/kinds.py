"""Every kind of object that is understood: one line for each, in the module of its family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from ambient.control.objects import Key
from ambient.control.schema.problems import problems
from ambient.control.translate import (
    ambient,
    gateway,
    gateway_routes,
    istio_authorization,
    istio_destination_rule,
    istio_networking,
    istio_request_authentication,
    istio_security,
    istio_telemetry,
    istio_virtual_service,
    kubernetes,
    kubernetes_workloads,
    linkerd,
)
from ambient.control.translate.kind import Kind, Translated, Untranslatable
from ambient.core.errors import ConfigError

KINDS: Final[Mapping[str, Kind[Any]]] = {
    kind.name: kind
    for kind in (
        *kubernetes.KINDS,
        *gateway_routes.KINDS,
        *gateway.KINDS,
        *kubernetes_workloads.KINDS,
        *istio_destination_rule.KINDS,
        *istio_networking.KINDS,
        *istio_request_authentication.KINDS,
        *istio_security.KINDS,
        *istio_authorization.KINDS,
        *istio_telemetry.KINDS,
        *istio_virtual_service.KINDS,
        *linkerd.KINDS,
        *ambient.KINDS,
    )
}


def key_of(document: Mapping[str, Any]) -> Key | None:
    """What an object is known by; None for a kind that is not ours. Raises ConfigError if it cannot be told."""
    kind, version = document.get("kind"), document.get("apiVersion")
    for field, value in (("apiVersion", version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{field} is missing; every object has apiVersion, kind and metadata.name")
    if not isinstance(kind, str) or kind not in KINDS or version not in KINDS[kind].versions:
        return None
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    namespace = metadata.get("namespace", "default") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"{kind}: metadata.name is missing; every object has apiVersion, kind and metadata.name"
        )
    if not KINDS[kind].is_namespaced:
        return Key(kind, "", name)
    if not isinstance(namespace, str) or not namespace:
        raise ConfigError(f"{kind} {name}: metadata.namespace is not a string; write it in quotes")
    return Key(kind, namespace, name)


def translate(document: Mapping[str, Any], root_namespaces: tuple[str, ...]) -> Translated:
    """What an object of one of our kinds means. Raises Untranslatable."""
    kind = KINDS[str(document["kind"])]
    try:
        read = kind.shape.model_validate(document)
    except ValidationError as error:
        raise Untranslatable(tuple(problems(error, kind.shape))) from error
    return kind.translate(read, root_namespaces)
