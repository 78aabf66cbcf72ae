"""What one worker knows: the mesh, its pods and their credentials. Written by ``worker``, read by everyone else."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ambient.core import balance
from ambient.core.snapshot import EMPTY, Snapshot
from ambient.net.tls import Peers

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload
    from ambient.kernel.handover import Clients, OriginalDestinations
    from ambient.net.tls import Contexts


class LocalPod:
    """A pod of this node, as a worker serves it. Its namespace stays open until the last user lets go of the pod."""

    __slots__ = ("netns_cookie", "netns_fd", "uid")

    def __init__(self, uid: str, netns_cookie: int, netns_fd: int) -> None:
        self.uid, self.netns_cookie, self.netns_fd = uid, netns_cookie, netns_fd

    def __del__(self) -> None:
        os.close(self.netns_fd)


@dataclass(slots=True)
class World:
    """The mutable root of a worker; everything in it is replaced, never changed in place."""

    snapshot: Snapshot = EMPTY
    pods: dict[str, LocalPod] = field(default_factory=dict)
    contexts: dict[str, Contexts] = field(default_factory=dict)
    """By identity (SPIFFE URI)."""
    peers: Peers = field(default_factory=Peers)
    originals: OriginalDestinations | None = None
    clients: Clients | None = None
    """What is shared with the kernel; None before the node daemon has spoken, and so before any pod is here."""
    chance: Callable[[], float] = random.random
    """In [0, 1)."""

    def workload(self, pod: LocalPod) -> Workload | None:
        """What the mesh says of a pod; None before the control plane has accepted it."""
        return self.snapshot.workloads.get(pod.uid)

    def contexts_of(self, workload: Workload) -> Contexts | None:
        """The TLS contexts of a workload's identity; None before its certificate has come."""
        return self.contexts.get(str(workload.identity))

    def pick(self) -> balance.Pick:
        """A fresh choice among endpoints."""
        return balance.by_capacity(self.chance())
