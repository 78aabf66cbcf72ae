"""One connection of a client that was let in: who calls whom, as far as that is known before a byte of it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambient.core.model.address import SocketAddress
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload


@dataclass(frozen=True, slots=True)
class Arrival:
    """A CONNECT that was accepted."""

    source: SocketAddress
    """The client's own address, as its node says; the peer of the tunnel where that cannot be believed."""
    identity: SpiffeId
    """Proved by the client's certificate."""
    caller: Workload | None
    """The workload at ``source`` if it has that identity."""
    target: SocketAddress
    """What the client meant: an address of the service and its port, or a workload's."""
    service: Service | None
    """What was called, if by the service's address or name."""
    workload: Workload | None
    """What was called, if by the workload's address."""
    began: float
    """When it was asked for; of ``time.monotonic``."""
