"""What is said about one connection: its metric labels and the fields of its access-log lines.

Names and order are those of Istio's standard TCP metrics, so that existing boards work; what is not known is
``unknown``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from ambient.core.model.address import SocketAddress

if TYPE_CHECKING:
    from ambient.core.baggage import Baggage
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload

UNKNOWN = "unknown"
Labels: TypeAlias = tuple[str, ...]

LABELS: Labels = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_service",
    "destination_service_namespace",
    "destination_service_name",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "request_protocol",
    "response_flags",
    "connection_security_policy",
    "source_region",
    "source_zone",
    "destination_region",
    "destination_zone",
)
"""Names of the values of ``Observation.labels``, in their order."""


class Reporter(Enum):
    """Which side of the connection speaks, or who between them."""

    SOURCE = "source"
    DESTINATION = "destination"
    WAYPOINT = "waypoint"


class Security(Enum):
    """How the connection was protected between the nodes."""

    MUTUAL_TLS = "mutual_tls"
    SAME_NODE = "same_node"
    """It never left the node's kernel."""
    UNKNOWN = "unknown"


class ResponseFlag(Enum):
    """Why a connection failed, as ``response_flags`` says it."""

    NONE = "-"
    DENY = "DENY"
    CONNECT = "CONNECT"
    TLS_FAILURE = "TLS_FAILURE"
    H2_HANDSHAKE_FAILURE = "H2_HANDSHAKE_FAILURE"
    NETWORK_POLICY = "NETWORK_POLICY"
    IDENTITY_ERROR = "IDENTITY_ERROR"
    CERT_REVOKED = "CERT_REVOKED"


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a connection, as metrics and log name it; None where it is not known."""

    pod: str | None = None
    workload: str | None = None
    namespace: str | None = None
    identity: str | None = None
    """As proved in TLS, or as the mesh would check it."""
    app: str | None = None
    version: str | None = None
    cluster: str | None = None
    region: str | None = None
    zone: str | None = None

    @classmethod
    def of(cls, workload: Workload | None, identity: SpiffeId | None = None) -> Party:
        """A workload of the snapshot; ``identity`` if it was proved."""
        proved = None if identity is None else str(identity)
        if workload is None:
            namespace = None if identity is None else identity.namespace
            return cls(namespace=namespace, identity=proved)
        return cls(
            pod=workload.name or None,
            workload=workload.workload_name or workload.name or None,
            namespace=workload.namespace or None,
            identity=proved,
            app=workload.canonical_name or None,
            version=workload.canonical_revision or None,
            cluster=workload.cluster or None,
            region=workload.locality.region or None,
            zone=workload.locality.zone or None,
        )

    @classmethod
    def claiming(cls, baggage: Baggage, identity: SpiffeId | None) -> Party:
        """A peer that the snapshot does not know: what it says of itself, and what it proved."""
        proved = None if identity is None else str(identity)
        namespace = baggage.namespace if identity is None else identity.namespace
        return cls(
            pod=None,
            workload=baggage.workload or None,
            namespace=namespace or None,
            identity=proved,
            app=baggage.service_name or None,
            version=baggage.service_version or None,
            cluster=baggage.cluster or None,
            region=baggage.region or None,
            zone=baggage.zone or None,
        )


NOBODY = Party()
"""A party of which nothing is known."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One connection as one side saw it."""

    reporter: Reporter
    source: Party
    destination: Party
    source_address: SocketAddress
    destination_address: SocketAddress
    """What the client meant: perhaps a service's virtual address."""
    hbone_address: SocketAddress | None = None
    """The other proxy, or (at the destination) the authority that was asked for; None for plain TCP."""
    service: Service | None = None
    security: Security = Security.UNKNOWN
    would_deny: str | None = None
    """A dry-run DENY policy that matches: it would have been denied."""
    would_allow: str | None = None
    """A dry-run ALLOW policy that matches."""

    def labels(self, flag: ResponseFlag = ResponseFlag.NONE) -> Labels:
        """Values for ``LABELS``."""
        source, destination, service = self.source, self.destination, self.service
        return (
            self.reporter.value,
            source.workload or UNKNOWN,
            source.app or UNKNOWN,
            source.version or UNKNOWN,
            source.namespace or UNKNOWN,
            source.identity or UNKNOWN,
            source.app or UNKNOWN,
            source.version or UNKNOWN,
            source.cluster or UNKNOWN,
            UNKNOWN if service is None else service.hostname,
            UNKNOWN if service is None else service.namespace,
            UNKNOWN if service is None else service.name,
            destination.workload or UNKNOWN,
            destination.app or UNKNOWN,
            destination.version or UNKNOWN,
            destination.namespace or UNKNOWN,
            destination.identity or UNKNOWN,
            destination.app or UNKNOWN,
            destination.version or UNKNOWN,
            destination.cluster or UNKNOWN,
            "tcp",
            flag.value,
            self.security.value,
            source.region or UNKNOWN,
            source.zone or UNKNOWN,
            destination.region or UNKNOWN,
            destination.zone or UNKNOWN,
        )

    def access_fields(self) -> dict[str, str]:
        """Fields of the access log that are known from the start; unknown ones are left out."""
        source, destination = self.source, self.destination
        fields = {
            "src.addr": str(self.source_address),
            "src.workload": source.pod or source.workload,
            "src.namespace": source.namespace,
            "src.identity": source.identity,
            "src.cluster": source.cluster,
            "dst.addr": str(self.destination_address),
            "dst.hbone_addr": None if self.hbone_address is None else str(self.hbone_address),
            "dst.service": None if self.service is None else self.service.hostname,
            "dst.workload": destination.pod or destination.workload,
            "dst.namespace": destination.namespace,
            "dst.identity": destination.identity,
            "dst.cluster": destination.cluster,
            "direction": _DIRECTION[self.reporter],
            "dry_run.would_deny": self.would_deny,
            "dry_run.would_allow": self.would_allow,
        }
        return {name: value for name, value in fields.items() if value is not None}


_DIRECTION = {Reporter.SOURCE: "outbound", Reporter.DESTINATION: "inbound", Reporter.WAYPOINT: "inbound"}
