"""A direct connection, which the kernel carries and tells of: one end of it, as its node saw it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ambient.core.model.address import SocketAddress


class End(Enum):
    """Which end of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class Ending(Enum):
    """How a connection ended."""

    FINISHED = "finished"
    """Both sides said that they were done, and heard each other."""
    CUT = "cut"
    """By a reset of either side, or because it was destroyed."""
    TIMED_OUT = "timed out"
    """The other side did not acknowledge."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One end. Its bytes are those of the application: no SYN, no FIN, nothing that was sent again."""

    cookie: int
    """The socket's, which no other has until the next boot."""
    netns_cookie: int
    """The pod's."""
    end: End
    own: SocketAddress
    peer: SocketAddress
    """Who is there."""
    meant: SocketAddress
    """Whom the client meant: perhaps a service's virtual address. At the server, the client."""
    sent: int
    """What the other side has acknowledged."""
    received: int
    rtt_seconds: float
    lasted_seconds: float = 0.0
    ending: Ending | None = None
    """None: it lives, and has just begun where it is told."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The sums of a pod's ends that could neither be told nor kept."""

    connections: int
    sent: int
    received: int
