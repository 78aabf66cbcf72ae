"""Where a captured connection goes.

The order is the mesh's contract: service with waypoint, service endpoint, workload waypoint, HBONE, plain TCP. What
a policy or an operator asked for and cannot be had is refused; nothing falls back to a weaker path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ambient.core.model.address import SocketAddress
from ambient.core.model.service import Service
from ambient.core.model.workload import Workload

if TYPE_CHECKING:
    from ambient.core.balance import Pick
    from ambient.core.snapshot import Snapshot


class Refusal(Enum):
    """Why a connection is not carried; values are metric labels."""

    RECURSIVE = "recursive"
    UNKNOWN_WAYPOINT = "unknown_waypoint"
    NO_ENDPOINTS = "no_endpoints"
    NO_HEALTHY_ENDPOINT = "no_healthy_endpoint"
    NO_TARGET_PORT = "no_target_port"
    NO_ADDRESS = "no_address"
    OTHER_NETWORK = "other_network"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Over HBONE: connect to ``hop``, see that it proves one of ``expect``, and ask it for ``authority``."""

    hop: SocketAddress
    authority: str
    expect: frozenset[str]
    """SPIFFE URIs, any one of which the peer's certificate must carry."""
    destination: Workload | None
    """The workload or waypoint at ``hop``."""
    service: Service | None
    """The service that the client meant."""


@dataclass(frozen=True, slots=True)
class Direct:
    """As plain TCP."""

    to: SocketAddress
    destination: Workload | None
    service: Service | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not at all."""

    why: Refusal
    detail: str
    """A sentence naming the object that is in the way."""
    destination: Workload | None = None
    service: Service | None = None


def resolve(
    snapshot: Snapshot, source: Workload, target: SocketAddress, pick: Pick
) -> Tunnel | Direct | Refuse:
    """Where ``source``'s connection to ``target`` goes; ``pick`` chooses among a service's endpoints."""
    raise NotImplementedError
