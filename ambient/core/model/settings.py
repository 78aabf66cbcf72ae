"""Settings of the whole mesh."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Permission(Enum):
    """What is done with something that the mesh knows nothing of, or cannot vouch for."""

    ALLOW = "allow"
    REFUSE = "refuse"


class SameNode(Enum):
    """How two workloads of one node talk."""

    DIRECT = "direct"
    """Through the kernel alone, once that is decided."""
    MTLS = "mtls"
    """Encrypted, as between nodes."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """What is set; the values here are the defaults."""

    trust_domain: str = ""
    """Empty: as the control plane was started."""
    unknown_workloads: Permission = Permission.ALLOW
    """Pods that no node daemon has seen yet."""
    same_node: SameNode = SameNode.DIRECT
    waypoint_bypass: Permission = Permission.REFUSE
    """Connections to a service with a waypoint that did not come through it."""
    outbound: Permission = Permission.ALLOW
    """Connections to addresses that the mesh does not know."""
