"""What goes wrong between a node and its control plane, the same on both ends of the wire."""

from __future__ import annotations

import grpc

from ambient.core.errors import AmbientError, PeerError, Unavailable


class Unauthenticated(PeerError):
    """Nobody vouches for the caller: its token or certificate does not count."""

    reason = "unauthenticated"


class PermissionDenied(PeerError):
    """The caller is known, and may not have what it asks for."""

    reason = "permission_denied"


class InvalidRequest(PeerError):
    """What was asked makes no sense."""

    reason = "invalid_request"


class Busy(Unavailable):
    """The other side has too much to do."""

    reason = "busy"


def status_of(error: AmbientError) -> grpc.StatusCode:
    """How the server says ``error``."""
    match error:
        case Unauthenticated():
            return grpc.StatusCode.UNAUTHENTICATED
        case PermissionDenied():
            return grpc.StatusCode.PERMISSION_DENIED
        case Busy():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case Unavailable():
            return grpc.StatusCode.UNAVAILABLE
        case _:
            return grpc.StatusCode.INVALID_ARGUMENT


def from_status(error: grpc.aio.AioRpcError) -> AmbientError:
    """What the client makes of a failed call: a refusal is the other side's word, anything else may pass."""
    said = error.details() or error.code().name
    match error.code():
        case grpc.StatusCode.UNAUTHENTICATED:
            return Unauthenticated(said)
        case grpc.StatusCode.PERMISSION_DENIED:
            return PermissionDenied(said)
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidRequest(said)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Busy(said)
        case code:
            return Unavailable(f"{code.name.lower()}: {said}")
