"""No mesh: the client dials the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bench.peers.peer import Peer


class NoMesh(Peer):
    """The network itself, and the two programs at its ends."""

    name: ClassVar[str] = "none"

    def start(self) -> None:
        pass

    def target(self, port: int) -> tuple[str, int]:
        return str(self.server.v4), port

    def processes(self) -> Mapping[str, int]:
        return {}

    def version(self) -> str:
        return "no mesh"
