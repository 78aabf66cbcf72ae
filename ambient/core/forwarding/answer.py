"""What the waypoint answers by itself, in the client's own terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambient.core.forwarding import grpc
from ambient.core.forwarding.client import ERROR
from ambient.core.http.message import Headers, ResponseHead

if TYPE_CHECKING:
    from ambient.core.forwarding.reason import Reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that no backend made."""

    status: int
    reason: Reason | None = None
    """Why the request was not passed on; None: a rule says so, and nothing is wrong."""
    detail: str = ""
    """A sentence that names what decided."""
    headers: Headers = ()
    body: str = ""
    """In place of the detail."""
    grpc_status: grpc.Status | None = None
    """In place of what goes with the status."""


def refuse(reason: Reason, detail: str, *, headers: Headers = ()) -> Answer:
    """A request is not passed on."""
    return Answer(reason.status, reason, detail, headers)


def written(answer: Answer, *, for_grpc: bool) -> tuple[ResponseHead, bytes]:
    """Head and body. A call of gRPC is told its status in the head, and no body follows."""
    errors: Headers = () if answer.reason is None else ((ERROR, answer.reason.value),)
    if for_grpc and not 300 <= answer.status < 400:
        status = grpc.status_of(answer.status) if answer.grpc_status is None else answer.grpc_status
        said = (
            ("content-type", grpc.CONTENT_TYPE),
            ("grpc-status", str(int(status))),
            ("grpc-message", grpc.message(answer.body or answer.detail)),
        )
        return ResponseHead(200, (*said, *errors, *answer.headers), 0), b""
    text = answer.body or answer.detail
    body = text.encode() if answer.body else f"{text}\n".encode() if text else b""
    if answer.status in {204, 304} or answer.status < 200:
        body = b""
    kind: Headers = (("content-type", "text/plain; charset=utf-8"),) if body else ()
    return ResponseHead(answer.status, (*kind, *errors, *answer.headers), len(body)), body
