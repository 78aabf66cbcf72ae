"""Configuration objects, as an operator would write them in YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import yaml

Object: TypeAlias = dict[str, Any]


def as_yaml(*wanted: Object) -> str:
    """Many at once, in a second and not in a minute."""
    return yaml.dump_all(wanted, Dumper=yaml.CSafeDumper, sort_keys=False)


def namespace(name: str, *, enrolled: bool = True) -> Object:
    labels = {"ambient.dev/dataplane-mode": "ambient"} if enrolled else {}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def service_account(namespace: str, name: str, *, nodes: Sequence[str] = ()) -> Object:
    annotations = {"ambient.dev/nodes": ",".join(nodes)} if nodes else {}
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def service(
    namespace: str,
    name: str,
    addresses: Sequence[object],
    ports: Mapping[int, int | str],
    selector: Mapping[str, str],
) -> Object:
    """``ports`` is service port to target port, by number or name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": str(addresses[0]),
            "clusterIPs": [str(address) for address in addresses],
            "selector": dict(selector),
            "ports": [
                {"name": f"port-{port}", "port": port, "targetPort": target} for port, target in ports.items()
            ],
        },
    }


def waypoint(namespace: str, name: str = "waypoint", *, waypoint_for: str = "service") -> Object:
    """A Gateway that is a waypoint."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"ambient.dev/waypoint-for": waypoint_for},
        },
        "spec": {
            "gatewayClassName": "ambient-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
    }


def behind(made: Object, waypoint: str) -> Object:
    """An object that asks for a waypoint, by its label."""
    metadata = {**made["metadata"]}
    metadata["labels"] = {**metadata.get("labels", {}), "ambient.dev/use-waypoint": waypoint}
    return {**made, "metadata": metadata}


def mesh_config(**settings: str) -> Object:
    """Settings of the mesh, by the names of their fields."""
    return {
        "apiVersion": "ambient.dev/v1",
        "kind": "MeshConfig",
        "metadata": {"name": "default", "namespace": "ambient-system"},
        "spec": settings,
    }


def workload_entry(
    namespace: str, name: str, address: object, *, labels: Mapping[str, str] | None = None, **spec: object
) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"address": str(address), "labels": dict(labels or {}), **spec},
    }


def peer_authentication(namespace: str, mode: str, name: str = "default") -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"mtls": {"mode": mode}},
    }


def authorization_policy(
    namespace: str,
    name: str,
    action: str,
    *,
    principals: Sequence[str] = (),
    ports: Sequence[int] = (),
    selector: Mapping[str, str] | None = None,
) -> Object:
    """One rule, of the given principals and ports; with neither it is for everybody."""
    rule: Object = {}
    if principals:
        rule["from"] = [{"source": {"principals": list(principals)}}]
    if ports:
        rule["to"] = [{"operation": {"ports": [str(port) for port in ports]}}]
    spec: Object = {"action": action, "rules": [rule]}
    if selector is not None:
        spec["selector"] = {"matchLabels": dict(selector)}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
