"""``ambient get workloads``: every workload of the mesh, wherever it was told of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ambient.cli import api, output

if TYPE_CHECKING:
    from ambient.cli.output import Output
    from ambient.rpc.mesh import MeshWorkload

NAMES: Final = frozenset({"workload", "workloads", "wl"})
"""In the place of a kind."""
_COLUMNS: Final = ("NAMESPACE", "NAME", "NODE", "ADDRESSES", "SERVICE ACCOUNT", "LABELS", "STATE")


def show(state_dir: Path, namespace: str, labels: dict[str, str], name: str, form: Output) -> None:
    """Print those of a namespace, with some labels, of a name; empty: of any."""
    from ambient.rpc import mesh  # noqa: PLC0415  # `ambient --help` must not load it.

    found = [
        one
        for one in api.call(state_dir, lambda channel: mesh.workloads(channel, namespace=namespace))
        if labels.items() <= one.labels.items() and name in {"", one.name}
    ]
    output.show(form, list(map(_content, found)), _COLUMNS, lambda: map(_row, found), nothing="there is none")


def _row(one: MeshWorkload) -> tuple[str, ...]:
    labels = ",".join(f"{key}={value}" for key, value in sorted(one.labels.items()))
    addresses = ", ".join(one.addresses)
    return (
        one.namespace,
        one.name,
        one.node or "-",
        addresses,
        one.service_account,
        labels or "-",
        _state(one),
    )


def _state(one: MeshWorkload) -> str:
    """How far it is in the mesh."""
    if one.refused:
        return f"refused: {one.refused}"
    if not one.healthy:
        return "unhealthy"
    if one.hbone:
        return "captured"
    return "to be captured" if one.enrolled else "not enrolled"


def _content(one: MeshWorkload) -> dict[str, Any]:
    return {
        "namespace": one.namespace,
        "name": one.name,
        "uid": one.uid,
        "node": one.node,
        "addresses": list(one.addresses),
        "service_account": one.service_account,
        "labels": dict(one.labels),
        "services": list(one.services),
        "state": _state(one),
        "told_by": one.origin.value,
        "lease_end": output.moment(one.lease_end),
    }
