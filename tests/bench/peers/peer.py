"""What the bench needs of a peer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from bench import applications
from bench.applications import Application
from bench.site import Site
from topology import Pod, Process


class Peer(ABC):
    """One way from a client's pod on node one to a server's pod on node two."""

    name: ClassVar[str]
    has_waypoint: ClassVar[bool] = False

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client: Pod = site.client(f"c-{self.name}")
        self.server: Pod = site.server(f"s-{self.name}")
        self._stands = False

    @abstractmethod
    def start(self) -> None:
        """Start, and return when connections can be made."""

    @abstractmethod
    def target(self, port: int) -> tuple[str, int]:
        """What a client dials to reach this port of the server."""

    @abstractmethod
    def processes(self) -> Mapping[str, int]:
        """Pids of what carries the bytes, by a name that says the node and the role."""

    def stand_waypoint(self) -> None:
        """Have applications, and a waypoint before them: at the first request for it, since it takes memory."""
        if not self._stands:
            self._stands = True
            folder = self.site.topology.folder / f"served-{self.name}"
            applications.serve(self.server, self.site.programs, folder)
            self.start_waypoint()

    def start_waypoint(self) -> None:
        """Start the waypoint, and return when requests pass it."""
        raise NotImplementedError

    def through(self, application: Application) -> tuple[str, int]:
        """What a client dials to reach an application through the waypoint."""
        raise NotImplementedError

    def waypoint(self) -> Mapping[str, int]:
        """Pids of the waypoint, by such names; none before it stands."""
        return {}

    @abstractmethod
    def version(self) -> str:
        """What ran."""

    def log_of(self, process: Process) -> str:
        """The end of what a process of the peer said."""
        return process.tail()
