"""Gathers what ``core.check`` decides about, from this machine and from a control plane."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ambient.core import check
from ambient.kernel import probe
from ambient.rpc import authority, mesh

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress
    from ambient.rpc.channel import Channel

CNI: Final = Path("/etc/cni/net.d")
_MOST_TRANSLATIONS: Final = 3


def machine(ports: Sequence[int]) -> check.Machine:
    """What this machine can do; ``ports`` are to be free."""
    lacking = probe.lacking("NET_ADMIN", "SYS_ADMIN")
    return check.Machine(
        kernel=probe.release(),
        lacking=lacking,
        why_no_cgroup=probe.why_no_cgroup(),
        why_not_loaded={"": "nothing was tried without these privileges"}
        if lacking
        else probe.why_not_loaded(),
        has_bpffs=probe.has_bpffs(),
        others=probe.programs_of_others(),
        plugins=plugins(CNI),
        why_not_bound={port: probe.why_not_bound(port) for port in ports},
        is_clock_synchronised=probe.is_clock_synchronised(),
    )


async def control_plane(channel: Channel) -> check.ControlPlane:
    """What it says of the mesh."""
    status = await mesh.status(channel)
    nodes = await mesh.nodes(channel)
    workloads = await mesh.workloads(channel)
    standing = await authority.standing(channel)
    return check.ControlPlane(
        now=status.now,
        version=status.program_version,
        errors=status.errors,
        warnings=status.warnings,
        troubles=tuple(
            f"{source.name} {source.place}: {source.trouble}" for source in status.sources if source.trouble
        ),
        nodes=tuple(map(_node, nodes)),
        authorities=tuple(
            check.Authority(f"the {one.role} {one.serial}", one.not_after) for one in standing.authorities
        ),
        authority_trouble=standing.trouble,
        refused_workloads={
            f"{workload.namespace}/{workload.name}": workload.refused
            for workload in workloads
            if workload.refused
        },
    )


def plugins(folder: Path) -> tuple[str, ...]:
    """The types of the CNI plugins that are configured, each once."""
    found: dict[str, None] = {}
    for file in sorted(folder.glob("*.conf*")) if folder.is_dir() else ():
        try:
            content = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue  # It is not ours to judge: the container runtime will.
        if isinstance(content, dict):
            for plugin in content.get("plugins", [content]):
                if isinstance(plugin, dict) and isinstance(plugin.get("type"), str):
                    found[plugin["type"]] = None
    return tuple(found)


def translations(
    workloads: Sequence[Mapping[str, Any]],
) -> tuple[tuple[str, str, IpAddress, IpAddress | None], ...]:
    """Try whom a few workloads of this node see when another one of it sends to them."""
    tried = []
    for source, destination in itertools.pairwise(workloads):
        ways = [
            (own, its)
            for own in _addresses(source)
            for its in _addresses(destination)
            if own.version == its.version
        ]
        for own, its in ways[:1]:
            seen = probe.seen_source(_netns(source), _netns(destination), its)
            tried.append((_name(source), _name(destination), own, seen))
        if len(tried) == _MOST_TRANSLATIONS:
            break
    return tuple(tried)


def now() -> datetime:
    """What time it is here."""
    return datetime.now(UTC)


def _node(node: mesh.Node) -> check.NodeState:
    return check.NodeState(
        node.name,
        node.connected,
        {one.type: one.pending for one in node.types if not one.in_sync},
        tuple((one.type, name, why) for one in node.types for name, why in one.refused.items()),
        node.certificate_end,
    )


def _addresses(workload: Mapping[str, Any]) -> tuple[IpAddress, ...]:
    return tuple(map(ip_address, workload["addresses"]))


def _netns(workload: Mapping[str, Any]) -> str:
    at = str(workload["netns"])
    return f"/proc/{at.removeprefix('pid ')}/ns/net" if at.startswith("pid ") else at


def _name(workload: Mapping[str, Any]) -> str:
    return f"{workload['namespace']}/{workload['name']}"
