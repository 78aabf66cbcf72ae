"""What a message of HTTP is, whichever version carried it, and what is told of it.

Everything here has been checked: a head that is handed out can be passed on in either version and means the same there.
Names of headers are in lower case. ``headers`` never hold a pseudo header, ``host``, ``content-length``, or what
concerns one hop alone (``connection`` and all that it names, ``keep-alive``, ``proxy-connection``,
``transfer-encoding``, ``upgrade``, ``te``, ``expect``): each of these is a field of its own, or the machine's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from ambient.core.frames import Buffer

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""In the order of the message; a name may come more than once."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What is asked."""

    method: str
    authority: str
    """Host and perhaps port, as the client wrote it; never empty."""
    path: str
    """Begins with ``/``, with its query; or ``*`` for OPTIONS. It is as it came: nothing is normalised."""
    headers: Headers = ()
    scheme: str = "http"
    length: int | None = 0
    """Bytes of the body; None: as many as come."""
    upgrade: str = ""
    """A protocol to go on with instead, in lower case, such as ``websocket``."""
    expects_continue: bool = False
    """The client waits for 100 before it sends the body."""
    takes_trailers: bool = False
    """The client said ``te: trailers``."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What is answered. Status 101: the upgrade is taken, and bodies are bytes of that protocol from here on."""

    status: int
    headers: Headers = ()
    length: int | None = None
    """Bytes of the body, or that it would have (of HEAD, 304); None: as many as come."""


class Fault(Enum):
    """Why a message ended before its end; values are metric labels."""

    CANCELLED = "cancelled"
    """The peer wants no more of it (CANCEL, NO_ERROR), or hung up."""
    REFUSED = "refused"
    """The peer did not act on it (REFUSED_STREAM, or it left before): it may be sent again."""
    RESET = "reset"
    """The peer cut it, or its connection."""
    MALFORMED = "malformed"
    """The peer broke HTTP in it."""
    TIMED_OUT = "timed_out"
    """We waited too long for it."""
    OVERLOADED = "overloaded"
    """It asks for more than we give."""


# Events


@dataclass(frozen=True, slots=True)
class RequestCame:
    """A client asks. Answer with ``respond``, or ``reset``."""

    stream: int
    head: RequestHead


@dataclass(frozen=True, slots=True)
class InformationCame:
    """A server says something before its answer: a status of 1xx, never 101."""

    stream: int
    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class ResponseCame:
    """A server answers."""

    stream: int
    head: ResponseHead


class BodyCame(NamedTuple):
    """Part of a body; hand its size to ``consumed`` when there is room for more.

    It may be a slice of what was given to ``receive``, and last as long.
    """

    stream: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """The peer has said all of its message."""

    stream: int
    trailers: Headers = ()


@dataclass(frozen=True, slots=True)
class MessageCut:
    """Nothing more is to be said or heard on a stream; the machine has done what the protocol asks for."""

    stream: int
    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A client broke HTTP before its request was one: the machine has answered it by itself."""

    status: int
    """What it was answered, or would have been if HTTP/2 had not reset it."""
    detail: str


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """The peer takes no further requests on this connection, or sends none."""


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """``has_room`` may have another value than before."""


Event: TypeAlias = (
    RequestCame
    | InformationCame
    | ResponseCame
    | BodyCame
    | MessageEnded
    | MessageCut
    | RequestRefused
    | PeerLeaving
    | RoomChanged
)
