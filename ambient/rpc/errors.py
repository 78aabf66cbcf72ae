"""What goes wrong between a node and its control plane, the same on both ends of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from ambient.core.errors import AmbientError, PeerError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable

Result = TypeVar("Result")


class Unauthenticated(PeerError):
    """Nobody vouches for the caller: its token or certificate does not count."""

    reason = "unauthenticated"


class PermissionDenied(PeerError):
    """The caller is known, and may not have what it asks for."""

    reason = "permission_denied"


class InvalidRequest(PeerError):
    """What was asked makes no sense."""

    reason = "invalid_request"


class NotFound(PeerError):
    """What was asked for is not there."""

    reason = "not_found"


class Relist(PeerError):
    """What has changed since is forgotten: the caller must read everything anew."""

    reason = "relist"


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
        case NotFound():
            return grpc.StatusCode.NOT_FOUND
        case Relist():
            return grpc.StatusCode.OUT_OF_RANGE
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
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(said)
        case grpc.StatusCode.OUT_OF_RANGE:
            return Relist(said)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Busy(said)
        case code:
            return Unavailable(f"{code.name.lower()}: {said}")


async def answered(call: Awaitable[Result]) -> Result:
    """What a call answers, or the error of ours that it ends with."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_status(error) from error
