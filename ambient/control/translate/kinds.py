"""Every kind of object that is understood: one line for each, in the module of its family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from ambient.control.objects import Key
from ambient.control.problem import Problem
from ambient.control.schema.problems import problems
from ambient.control.schema.shape import say
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


_LONGEST: Final = 253


def key_of(document: Mapping[str, Any]) -> Key | None:
    """What an object is known by; None for a kind that is not ours. Raises ConfigError if it cannot be told."""
    version = _text("", "apiVersion", document.get("apiVersion"))
    kind = _text("", "kind", document.get("kind"))
    if kind not in KINDS or version not in KINDS[kind].versions:
        return None
    metadata = document.get("metadata")
    read = metadata if isinstance(metadata, dict) else {}
    name = _text(f"{kind}: ", "metadata.name", read.get("name"))
    if not KINDS[kind].is_namespaced:
        return Key(kind, "", name)
    return Key(kind, _text(f"{kind} {name}: ", "metadata.namespace", read.get("namespace", "default")), name)


def versions_of(kind: str) -> tuple[str, ...]:
    """The apiVersions in which a kind is read, the preferred one first; none: it is not ours."""
    return KINDS[kind].versions if kind in KINDS else ()


def _text(whose: str, field: str, value: object) -> str:
    """Something that can stand in a sentence, and in a log."""
    if value is None or value == "":
        raise ConfigError(f"{whose}{field} is missing; every object has apiVersion, kind and metadata.name")
    if not isinstance(value, str):
        raise ConfigError(f"{whose}{field} is {say(value)}; write it as a string, in quotes")
    if len(value) > _LONGEST or not (value.isascii() and value.isprintable()):
        raise ConfigError(f"{whose}{field} is {say(value)}; it is 1-{_LONGEST} letters, digits and - . /")
    return value


def translate(document: Mapping[str, Any], root_namespaces: tuple[str, ...]) -> Translated:
    """What an object of one of our kinds means. Raises Untranslatable."""
    kind = KINDS[str(document["kind"])]
    try:
        translated = kind.translate(kind.shape.model_validate(document), root_namespaces)
    except ValidationError as error:
        raise Untranslatable(_printable(problems(error, kind.shape))) from error
    except Untranslatable as error:
        raise Untranslatable(_printable(error.problems)) from error
    warnings = _printable(translated.warnings)
    return translated if warnings == translated.warnings else replace(translated, warnings=warnings)


def _printable(told: Iterable[Problem]) -> tuple[Problem, ...]:
    """Names and values are others' text: what could end a line, or hide, is escaped."""
    return tuple(
        one if str(one).isprintable() else one._replace(field=_escaped(one.field), text=_escaped(one.text))
        for one in told
    )


def _escaped(text: str) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
