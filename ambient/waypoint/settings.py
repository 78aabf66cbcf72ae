"""What ``ambient waypoint run`` was started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ambient.core.forwarding.client import Introductions
from ambient.core.waypoint import service_key
from ambient.member import parent

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress, SocketAddress
    from ambient.core.overload import Capacity
    from ambient.rpc.otlp import Collector

TRACED: Final = "traced"
"""What a parent with a collector for spans says to its workers."""
TELLING: Final = "identity"
"""What it says to them if applications are told of their clients' identities."""


@dataclass(frozen=True, slots=True)
class Settings(parent.Settings):
    """Of one replica."""

    name: str
    namespace: str
    service_account: str
    node: str
    replica: str
    """What tells it from the other replicas of its waypoint."""
    cluster: str
    addresses: tuple[IpAddress, ...]
    """Where callers reach it."""
    listen: tuple[SocketAddress, ...]
    capacity: Capacity
    otlp: Collector | None = None
    """Who takes spans of requests."""
    introductions: Introductions = Introductions()  # noqa: RUF009

    @property
    def waypoint(self) -> str:
        """The key of the service that callers know it by."""
        return service_key(self.namespace, self.name)

    @property
    def uid(self) -> str:
        """Of the workload that this replica is."""
        return f"{self.cluster}/ambient.dev/Workload/{self.namespace}/{self.workload}"

    @property
    def workload(self) -> str:
        """Its name."""
        return f"{self.name}-{self.replica}"
