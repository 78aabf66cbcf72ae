"""What either version of HTTP can do, at either end of a connection.

The shell feeds ``receive`` with what its socket read and writes what ``gather`` returns, after each call of anything
here. If not ``heard_all`` then, it calls ``receive`` again, with nothing, after others have had their turn; and it reads
its socket only while the machine ``wants_more``. Streams are numbered by the machine; in HTTP/1.1 they follow one another, and the second of two pipelined requests
is told when the first is over. After its ``MessageCut``, or when both messages have ended, a stream's number means
nothing, and whatever is asked of it is passed over in silence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ambient.core.frames import Buffer
from ambient.core.http.message import Event, Fault, Headers, RequestHead, ResponseHead


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one connection may ask of us. Source: Envoy's guide for edges, and the CVEs of the last years."""

    request_line: int = 8 * 1024
    header_bytes: int = 60 * 1024
    header_count: int = 100
    streams: int = 100
    stream_window: int = 64 * 1024
    connection_window: int = 1024 * 1024


DEFAULT_LIMITS: Final = Limits()


class Waiting(Enum):
    """What a connection waits for; the shell's clock is another for each."""

    IDLE = "idle"
    """For a message to begin: nothing is under way."""
    HEAD = "head"
    """For the rest of a head that has begun, and nothing else is under way."""
    MESSAGE = "message"
    """Messages are under way."""


class Machine(ABC):
    """One end of one connection."""

    @abstractmethod
    def receive(self, data: Buffer) -> list[Event]:
        """What came. Never raises for what a peer may send: a connection that is beyond help ``is_over``."""

    @abstractmethod
    def receive_end(self) -> list[Event]:
        """The peer half-closed the connection, or it broke."""

    @abstractmethod
    def gather(self) -> list[Buffer]:
        """What is to be written now."""

    @abstractmethod
    def send(self, stream: int, data: Buffer) -> None:
        """Part of our message's body. It is copied, or sent by the next ``gather``."""

    @abstractmethod
    def finish(self, stream: int, trailers: Headers = ()) -> None:
        """Our message has ended."""

    @abstractmethod
    def reset(self, stream: int, fault: Fault = Fault.CANCELLED) -> None:
        """Say and hear nothing more of a stream; of HTTP/1.1 that ends the connection. No event follows."""

    @abstractmethod
    def consumed(self, stream: int, size: int) -> None:
        """So many bytes of a body have been passed on."""

    @abstractmethod
    def queued(self, stream: int) -> int:
        """How many bytes of our body wait for the peer's window; what ``gather`` has returned does not count."""

    @abstractmethod
    def leave(self) -> None:
        """Take, or send, no further requests; what is under way ends in order, and then the connection."""

    @property
    def heard_all(self) -> bool:
        """Whether nothing of what was received can be told before more comes; else ``receive(b"")`` tells it."""
        return True

    @property
    def wants_more(self) -> bool:
        """Whether to read on. False in HTTP/1.1 while what was read waits for its turn, or for ``consumed``."""
        return True

    @property
    @abstractmethod
    def waiting(self) -> Waiting:
        """What the connection waits for."""

    @property
    def has_finished(self) -> bool:
        """Whether it will say nothing more and yet listens: half-close the connection when what was gathered has left.

        So in HTTP/1.1 when our half of an upgraded connection has ended before the peer's.
        """
        return False

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Nothing is under way and nothing more may begin: close it when all that was gathered has left."""


class ServerMachine(Machine):
    """The end that is asked."""

    @abstractmethod
    def inform(self, stream: int, status: int, headers: Headers = ()) -> None:
        """A status of 1xx before the answer, never 101; nothing to a client that takes none (HTTP/1.0)."""

    @abstractmethod
    def respond(self, stream: int, head: ResponseHead, *, ended: bool = False) -> None:
        """The answer, which may come before all of the request has. ``ended``: it has no body.

        With status 101 the stream goes on as the protocol that the request asked for.
        """

    @abstractmethod
    def expire(self) -> list[Event]:
        """The rest of a head has been waited for long enough (``Waiting.HEAD``): refuse it, with 408 where that can be said."""


class ClientMachine(Machine):
    """The end that asks."""

    @abstractmethod
    def request(self, head: RequestHead, *, ended: bool = False) -> int:
        """Ask, and the stream that it is on; ``ended``: it has no body. Only while there ``has_room``."""

    @property
    @abstractmethod
    def has_room(self) -> bool:
        """Whether another request may begin now."""

    @property
    @abstractmethod
    def is_fresh(self) -> bool:
        """Whether no request has been sent on it: only then is silence after one no sign of a stale connection."""
