"""Whether a response is a failure of the application, for retries, breakers and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.core.forwarding.grpc import FAILURES

if TYPE_CHECKING:
    from ambient.core.model.route import ResponseClass


def is_failure(status: int, grpc_status: int | None = None, classes: tuple[ResponseClass, ...] = ()) -> bool:
    """The first class that fits says so; else gRPC's status where there is one; else 5xx is. Source: Linkerd."""
    for one in classes:
        if (one.first <= status <= one.last) is not one.inverted:
            return one.is_failure
    if grpc_status is not None:
        return grpc_status in FAILURES
    return status >= 500
