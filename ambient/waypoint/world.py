"""What one worker of a waypoint knows: the mesh, who it is in it, and its credentials. Written by ``worker``, read by
everyone else.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ambient.core import balance
from ambient.core.routing import Routers
from ambient.core.snapshot import EMPTY, Snapshot
from ambient.net.tls import Peers

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload
    from ambient.net.tls import Contexts


@dataclass(slots=True)
class World:
    """The mutable root of a worker; everything in it is replaced, never changed in place."""

    waypoint: str
    """This waypoint's service, ``namespace/hostname``: what is behind it names that."""
    uid: str
    """Of the workload that this replica is."""
    snapshot: Snapshot = EMPTY
    contexts: Contexts | None = None
    """None before the certificate has come."""
    peers: Peers = field(default_factory=Peers)
    routers: Routers = field(default_factory=Routers)
    chance: Callable[[], float] = random.random
    """In [0, 1)."""

    @property
    def own(self) -> Workload | None:
        """The workload that this replica is; None before the control plane has told of it."""
        return self.snapshot.workloads.get(self.uid)

    def pick(self) -> balance.Pick:
        """A fresh choice among endpoints."""
        return balance.by_capacity(self.chance())
