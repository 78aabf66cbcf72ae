"""Who asks, and what the application is told of it.

The caller's node has proved its identity and said its address; whatever a request says of that itself is taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self

from ambient.core import authorize, routing
from ambient.core.model.address import unmapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ambient.core.http.message import Headers
    from ambient.core.model.address import IpAddress, SocketAddress
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.workload import Workload

FORWARDED_FOR: Final = "x-forwarded-for"
REQUEST_ID: Final = "x-request-id"
ERROR: Final = "x-ambient-error"
"""Of a response: the waypoint's own reason."""
_LONGEST_REQUEST_ID: Final = 256

STRIPPED: Final = frozenset(
    (
        "forwarded",
        "x-ambient-client-identity",
        "x-ambient-client-namespace",
        "x-forwarded-client-cert",
        FORWARDED_FOR,
        "x-forwarded-host",
        "x-real-ip",
        ERROR,
    )
)
"""What a request says of its client, which would be believed. ``x-forwarded-proto`` is not: it gives nobody anything, and
behind an ingress it is all that an application has to know that its user came by HTTPS."""


@dataclass(frozen=True, slots=True)
class Introductions:
    """What applications are told of their clients, besides the address."""

    tells_identity: bool = False
    """In ``x-forwarded-client-cert``."""
    trusted: frozenset[str] = frozenset()
    """SPIFFE URIs of clients that say for whom they ask, as ingress gateways do."""


@dataclass(frozen=True, slots=True)
class Client:
    """One connection of a client, as every request on it is judged."""

    route: routing.Connection
    proved: authorize.Connection
    identity: SpiffeId
    told: Headers
    """What the application is told."""
    is_trusted: bool = False
    """Whether it may say for whom it asks, as an ingress gateway does."""

    @classmethod
    def of(
        cls,
        identity: SpiffeId,
        source: SocketAddress,
        destination: SocketAddress,
        caller: Workload | None,
        *,
        by: str = "",
        is_trusted: bool = False,
    ) -> Self:
        """A client that has proved ``identity``, and called ``destination``.

        ``by``: the waypoint's own identity, if the application is to be told the client's.
        """
        known = (
            routing.Caller(identity.namespace)
            if caller is None
            else routing.Caller(caller.namespace, caller.labels)
        )
        return cls(
            routing.Connection(destination.port, known, None, destination.ip),
            authorize.Connection(identity, source, destination),
            identity,
            _told(source, identity, by),
            is_trusted,
        )

    def forwards(self, headers: Mapping[str, str]) -> tuple[Headers, IpAddress | None]:
        """What the application is told with a request, and for whom that is if not for the client itself."""
        said = headers.get(FORWARDED_FOR)
        if not self.is_trusted or said is None:
            return self.told, None
        chain = [(name, f"{said}, {value}" if name == FORWARDED_FOR else value) for name, value in self.told]
        return tuple(chain), _address(said.rpartition(",")[2].strip())


def _told(source: SocketAddress, identity: SpiffeId, by: str) -> Headers:
    host = f'"[{source.ip}]"' if source.ip.version == 6 else str(source.ip)
    told = (
        (FORWARDED_FOR, str(source.ip)),
        ("forwarded", f"for={host};proto=http"),
    )
    return (*told, ("x-forwarded-client-cert", f"By={by};URI={identity}")) if by else told


def _address(text: str) -> IpAddress | None:
    try:
        return unmapped(ip_address(text))
    except ValueError:
        return None


def is_request_id(text: str | None) -> bool:
    """Whether it can stay as the client has made it."""
    return bool(text) and text is not None and len(text) <= _LONGEST_REQUEST_ID
