"""What is spoken on a connection: as its port was declared, or as its first bytes tell.

Nobody waits for bytes that do not come: while a port's protocol is not known, its server is dialled at once, and
whoever talks first decides. A server that does speaks something that is not HTTP.

Bytes are taken for HTTP only with a whole request line, and for anything else as soon as they cannot be one. A line
that never ends is for HTTP to refuse.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from ambient.core.client_hello import may_begin
from ambient.core.model.service import AppProtocol

if TYPE_CHECKING:
    from ambient.core.model.policies import ServicePolicies
    from ambient.core.model.service import Service
    from ambient.core.model.traffic import TrafficPolicies

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_LONGEST_LINE: Final = 8 * 1024
"""As long as a request line may be."""
_BEGUN: Final = re.compile(
    rb"(?:\r?\n)*(?:[!#$%&'*+.^_`|~0-9A-Za-z-]{0,32}(?: [^\x00-\x20\x7f]*(?: [HTP/1.0]{0,8})?)?\r?)?"
)
_LINE: Final = re.compile(rb"(?:\r?\n)*[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} [^\x00-\x20\x7f]+ HTTP/1\.[01]\r?\n")

_LIKELY: Final = re.compile(rb"(?:\r?\n)*[A-Z-]{3,32} (?:[/*]|https?:)|PRI |\x16\x03")


class Expected(Enum):
    """What a port was declared to speak."""

    HTTP = "http"
    """In either version: its first bytes tell which."""
    TLS = "tls"
    OPAQUE = "opaque"
    """Bytes that nobody looks into."""
    ANYTHING = "anything"
    """Nothing was said."""


class Spoken(Enum):
    """What is spoken."""

    HTTP1 = "http1"
    HTTP2 = "http2"
    TLS = "tls"
    OPAQUE = "opaque"


def expected(
    service: Service | None, policies: ServicePolicies | None, traffic: TrafficPolicies | None, port: int
) -> Expected:
    """What a service's port was declared to speak; of a workload that was called by its address nothing is."""
    if traffic is not None and port in traffic.opaque_ports:
        return Expected.OPAQUE
    declared = (*(() if policies is None else policies.ports), *(() if service is None else service.declared))
    protocol = next((one.protocol for one in declared if one.service_port == port), None)
    match protocol:
        case None:
            return Expected.ANYTHING
        case AppProtocol.HTTP | AppProtocol.HTTP2 | AppProtocol.GRPC:
            return Expected.HTTP
        case AppProtocol.TLS:
            return Expected.TLS
        case AppProtocol.TCP:
            return Expected.OPAQUE


def spoken(first: bytes, expectation: Expected) -> Spoken | None:
    """What begins with these bytes; None: more are needed to tell."""
    match expectation:
        case Expected.HTTP:
            return _version(first)
        case Expected.TLS:
            return Spoken.TLS if len(first) >= 6 or not may_begin(first) else None
        case Expected.OPAQUE:
            return Spoken.OPAQUE
        case Expected.ANYTHING:
            return _told(first)


def _version(first: bytes) -> Spoken | None:
    """Which version of HTTP; whatever is neither is for HTTP/1 to refuse."""
    if len(first) < len(_PREFACE) and _PREFACE.startswith(first):
        return None
    return Spoken.HTTP2 if first.startswith(_PREFACE) else Spoken.HTTP1


def _told(first: bytes) -> Spoken | None:
    if not first:
        return None
    if may_begin(first):
        return Spoken.TLS if len(first) >= 6 else None
    if _PREFACE.startswith(first[: len(_PREFACE)]):
        return Spoken.HTTP2 if len(first) >= len(_PREFACE) else None
    if _LINE.match(first) is not None:
        return Spoken.HTTP1
    if _BEGUN.fullmatch(first) is None:
        return Spoken.OPAQUE
    return None if len(first) <= _LONGEST_LINE else Spoken.HTTP1


def is_likely(first: bytes) -> bool:
    """Whether what has come begins as HTTP or TLS do, so that the rest is worth waiting for.

    A word could be anything: whoever said it may wait for an answer.
    """
    return _LIKELY.match(first) is not None


class Habits:
    """On which ports clients were seen to talk first, so that their servers need not be dialled at once.

    At most ``most`` are remembered, those that were seen last.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._clients_first: dict[tuple[str, int], None] = {}

    def client_talks_first(self, service: str, port: int) -> bool:
        """Whether clients were seen to, and no server since."""
        return (service, port) in self._clients_first

    def client_talked(self, service: str, port: int) -> None:
        """A client did."""
        self._clients_first.pop((service, port), None)
        self._clients_first[service, port] = None
        if len(self._clients_first) > self._most:
            del self._clients_first[next(iter(self._clients_first))]

    def server_talked(self, service: str, port: int) -> None:
        """A server did."""
        self._clients_first.pop((service, port), None)
