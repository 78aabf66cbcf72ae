"""What is said of a connection that could not be made: its response flag, and the sentence."""

from __future__ import annotations

from typing import TypeGuard

from ambient.core.errors import PeerError, Unavailable
from ambient.core.observation import ResponseFlag
from ambient.core.pki.revocation import Revoked
from ambient.net.tunnel import TunnelLost, TunnelRefused


def of(error: PeerError | Unavailable) -> tuple[ResponseFlag, str]:
    """The flag and the sentence for why a peer was not reached."""
    match error:
        case TunnelRefused():
            return ResponseFlag.DENY if error.status == 401 else ResponseFlag.CONNECT, str(error)
        case Revoked():
            return ResponseFlag.CERT_REVOKED, f"connection closed: {error}"
        case PeerError():
            return ResponseFlag.TLS_FAILURE, str(error)
        case Unavailable():
            return ResponseFlag.CONNECT, _hinted(str(error))


def is_untouched(error: PeerError | Unavailable) -> TypeGuard[Unavailable]:
    """Whether the peer did not act on what it was asked for, so that another may be asked."""
    return error.untouched if isinstance(error, TunnelLost) else isinstance(error, Unavailable)


def _hinted(error: str) -> str:
    if "timed out" in error:
        return f"{error}; maybe a NetworkPolicy is blocking HBONE port 15008"
    return error
