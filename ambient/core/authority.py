"""What a CONNECT asks for: the address or name, and the port, of its authority."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ambient.core.model.address import SocketAddress

_LONGEST: Final = 300
_HOST_PORT: Final = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]{0,252}):([0-9]{1,5})")


class HostPort(NamedTuple):
    """A name and a port."""

    host: str
    port: int


def parse(authority: str) -> SocketAddress | HostPort | None:
    """An address or a name, with a port from 1 to 65535; None: it is neither."""
    try:
        address = SocketAddress.parse(authority)
    except ValueError:
        named = _HOST_PORT.fullmatch(authority)
        if named is None or not 0 < int(named[2]) <= 0xFFFF:
            return None
        return HostPort(named[1], int(named[2]))
    return address if address.port else None


def shown(text: str) -> str:
    """What a peer sent, for a sentence."""
    return repr(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
