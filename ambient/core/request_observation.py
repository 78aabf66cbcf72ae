"""What is said about one request: its metric labels, the fields of its access-log line, and what its spans tell.

Names are those of Istio's standard HTTP metrics, so that existing boards work. Hosts and paths are never labels: a client
can make up as many as it likes.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ambient.core.forwarding.reason import Flag, Reason
from ambient.core.model.telemetry import Telemetry
from ambient.core.observation import LABELS, UNKNOWN, Party, Reporter, Security

if TYPE_CHECKING:
    from ambient.core.forwarding.plan import Notes
    from ambient.core.http.message import Headers
    from ambient.core.model.address import SocketAddress
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload
    from ambient.core.observation import Labels
    from ambient.core.tracing import Trace

_AT: Final = LABELS.index("request_protocol")
REQUEST_LABELS: Final[Labels] = (
    *LABELS[: _AT + 1],
    "response_code",
    "grpc_response_status",
    *LABELS[_AT + 1 :],
)
"""Names of the values of ``request_labels``, in their order."""

Numbered: TypeAlias = tuple[int, int | None, Flag, bool]
"""Status, status of gRPC, flag, and whether it is gRPC: what makes labels of requests of the same two parties differ."""


class Version(Enum):
    """Which HTTP the client speaks."""

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"


class Attempt(NamedTuple):
    """One try of a request at one endpoint."""

    address: SocketAddress
    """The application's."""
    endpoint: Workload | None
    """Who is there; None: an address that the mesh does not know."""
    began: float
    ended: float
    """Both of the clock of ``RequestObservation.began``."""
    status: int | None = None
    """What it answered; None: nothing."""
    reason: Reason | None = None
    """Why it was not the last, or failed as the last."""
    span: str = ""
    """Of ``Trace.attempt``."""
    failure: bool = False
    """Whether its answer counts as a failure of the application."""


class RequestObservation(NamedTuple):
    """One request as the waypoint saw it, at its end. A tuple, since one is made for each."""

    source: SocketAddress
    """The client."""
    target: SocketAddress
    """What it meant: perhaps a service's virtual address."""
    identity: SpiffeId
    caller: Workload | None
    service: Service | None
    """What was called, if by its address or name."""
    version: Version
    method: str
    authority: str
    path: str
    """As it came, with its query."""
    headers: Headers
    """Of the request, as they came."""
    notes: Notes
    status: int
    """What the client was answered; 0: it was gone."""
    grpc_status: int | None
    reason: Reason | None
    """Why it was not answered by a backend, or not to the end."""
    detail: str
    """A sentence, if there is a reason."""
    attempts: tuple[Attempt, ...]
    """The last one gave the answer, if a backend did."""
    received: int
    """Bytes of the request's body."""
    sent: int
    """Bytes of the response's body."""
    began: float
    """Of a monotonic clock."""
    answered: float | None
    """When the head of the response was there; None: never."""
    ended: float
    telemetry: Telemetry = Telemetry()
    """What an operator wants told of it."""
    trace: Trace | None = None

    @property
    def flag(self) -> Flag:
        """What went wrong."""
        return Flag.NONE if self.reason is None else self.reason.flag

    @property
    def endpoint(self) -> Workload | None:
        """Who answered, or was asked last."""
        return self.attempts[-1].endpoint if self.attempts else None


def request_labels(
    identity: SpiffeId,
    caller: Workload | None,
    service: Service | None,
    endpoint: Workload | None,
    numbered: Numbered,
) -> Labels:
    """Values for ``REQUEST_LABELS``."""
    source = Party.of(caller, identity)
    destination = Party.of(endpoint, None if endpoint is None else endpoint.identity)
    status, grpc_status, flag, is_grpc = numbered
    return (
        Reporter.WAYPOINT.value,
        *_of_party(source),
        UNKNOWN if service is None else service.hostname,
        UNKNOWN if service is None else service.namespace,
        UNKNOWN if service is None else service.name,
        *_of_party(destination),
        "grpc" if is_grpc else "http",
        str(status),
        "" if grpc_status is None else str(grpc_status),
        flag.value,
        Security.MUTUAL_TLS.value,
        source.region or UNKNOWN,
        source.zone or UNKNOWN,
        destination.region or UNKNOWN,
        destination.zone or UNKNOWN,
    )


def _of_party(party: Party) -> Labels:
    return (
        party.workload or UNKNOWN,
        party.app or UNKNOWN,
        party.version or UNKNOWN,
        party.namespace or UNKNOWN,
        party.identity or UNKNOWN,
        party.app or UNKNOWN,
        party.version or UNKNOWN,
        party.cluster or UNKNOWN,
    )
