"""What the bench needs of a peer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from bench.site import Site
from topology import Pod, Process


class Peer(ABC):
    """One way from a client's pod on node one to a server's pod on node two."""

    name: ClassVar[str]

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client: Pod = site.client(f"c-{self.name}")
        self.server: Pod = site.server(f"s-{self.name}")

    @abstractmethod
    def start(self) -> None:
        """Start, and return when connections can be made."""

    @abstractmethod
    def target(self, port: int) -> tuple[str, int]:
        """What a client dials to reach this port of the server."""

    @abstractmethod
    def processes(self) -> Mapping[str, int]:
        """Pids of what carries the bytes, by a name that says the node and the role."""

    @abstractmethod
    def version(self) -> str:
        """What ran."""

    def log_of(self, process: Process) -> str:
        """The end of what a process of the peer said."""
        return process.tail()
