"""Which objects have to do with each other, by what is written in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

Document: TypeAlias = Mapping[str, Any]
ROOT_NAMESPACES: Final = frozenset({"ambient-system", "istio-system"})
"""Policies there are for the whole mesh."""
POLICIES: Final = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "Telemetry")
"""Those that select workloads."""
_REFERENCES: Final = frozenset({"parentRefs", "targetRefs", "targetRef", "backendRefs", "backendRef"})
_HOSTS: Final = frozenset({"host", "hosts", "authority"})


def selects(policy: Document, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a policy is for a workload of this namespace with these labels."""
    spec = policy.get("spec") or {}
    if "targetRef" in spec or "targetRefs" in spec:
        return False  # It is for what it names.
    own = namespace_of(policy)
    if own != namespace and own not in ROOT_NAMESPACES:
        return False
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    return all(labels.get(name) == value for name, value in wanted.items())


def concerns_service(document: Document, namespace: str, name: str) -> bool:
    """Whether a route or policy names this service, by reference or by host."""
    own = namespace_of(document)
    hosts = {f"{name}.{namespace}{suffix}" for suffix in ("", ".svc", ".svc.cluster.local")}
    hosts |= {name} if own == namespace else set()
    if document.get("kind") == "ServiceProfile":
        return document["metadata"].get("name") in hosts
    for key, value in _walk(document.get("spec")):
        if key in _REFERENCES:
            for reference in value if isinstance(value, list) else [value]:
                if (
                    isinstance(reference, Mapping)
                    and reference.get("kind", "Service") == "Service"
                    and reference.get("name") == name
                    and reference.get("namespace", own) == namespace
                ):
                    return True
        elif key in _HOSTS and any(host in hosts for host in (value if isinstance(value, list) else [value])):
            return True
    return False


def namespace_of(document: Document) -> str:
    """Where an object is; empty: nowhere."""
    if document.get("kind") == "Namespace":
        return ""
    return str(document["metadata"].get("namespace", "default"))


def serves(services: Iterable[str], namespace: str, name: str) -> bool:
    """Whether a workload with these services, ``namespace/hostname`` each, is an endpoint of this one."""
    wanted = f"{namespace}/{name}"
    return any(service == wanted or service.startswith(f"{wanted}.{namespace}.svc.") for service in services)


def _walk(value: object) -> Iterator[tuple[str, Any]]:
    """Every field at any depth."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key), inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)
