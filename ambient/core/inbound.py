"""Whether a connection that arrives for a workload of this node is let in.

What is behind a waypoint takes connections from that waypoint alone: of calls to a service, what its waypoint sends,
and of calls to the workload's own address, what the workload's. The same questions are asked of a live connection when a new snapshot comes (``recheck``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from ambient.core import authority
from ambient.core.authorize import Allowed, Connection, Denied, authorize
from ambient.core.baggage import parse_forwarded
from ambient.core.gateways import identities
from ambient.core.model.address import GatewayAddress, SocketAddress
from ambient.core.model.identity import SpiffeId
from ambient.core.model.service import Service
from ambient.core.model.settings import Permission
from ambient.core.observation import ResponseFlag
from ambient.core.ports import OWN_PORTS, target_port

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


class Rejection(Enum):
    """Why a connection is not let in; values are metric labels."""

    METHOD = "method"
    AUTHORITY = "authority"
    IP_MISMATCH = "ip_mismatch"
    RECURSIVE = "recursive"
    TRUST_DOMAIN = "trust_domain"
    UNKNOWN_WORKLOAD = "unknown_workload"
    UNKNOWN_SERVICE = "unknown_service"
    NO_TARGET_PORT = "no_target_port"
    DENIED = "denied"
    WAYPOINT_BYPASS = "waypoint_bypass"
    """It did not come through the waypoint."""
    NOT_SERVED = "not_served"
    """A waypoint was asked for what is not behind it."""


@dataclass(frozen=True, slots=True)
class TunnelRequest:
    """A CONNECT stream, with what its TLS connection proved."""

    method: str
    authority: str
    source: SocketAddress
    """The TCP peer."""
    identity: SpiffeId
    """Proved by the peer's certificate."""
    local: SocketAddress
    """The address of ours that the peer dialled."""
    forwarded: str = ""
    """The ``forwarded`` header: it names the service that the client meant."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Let it in: dial ``target`` in the workload's namespace."""

    target: SocketAddress
    policy: str | None
    """The ALLOW policy that matched."""
    service: Service | None = None
    """The service that the client meant, if it is one that the workload serves."""
    would_deny: str | None = None
    """A dry-run DENY policy that matches."""
    would_allow: str | None = None
    """A dry-run ALLOW policy that matches."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Do not let it in."""

    status: int
    """For a CONNECT; plaintext is reset instead."""
    why: Rejection
    detail: str
    """A sentence for log and trace."""
    policy: str | None
    """The DENY policy that matched."""
    flag: ResponseFlag
    would_deny: str | None = None
    would_allow: str | None = None


def admit_tunnel(snapshot: Snapshot, workload: Workload | None, request: TunnelRequest) -> Admit | Reject:
    """Whether ``request`` may reach ``workload``; None: the mesh does not know the pod that was dialled."""
    if request.method != "CONNECT":
        return reject(
            Rejection.METHOD, f"method is {authority.shown(request.method)}; only CONNECT is served"
        )
    asked = authority.parse(request.authority)
    if asked is None:
        return reject(Rejection.AUTHORITY, f"authority {authority.shown(request.authority)} is not host:port")
    if workload is None:
        return reject(Rejection.UNKNOWN_WORKLOAD, f"unknown workload: {request.local}")
    match asked:
        case SocketAddress():
            target, service = asked, _meant(snapshot, workload, request.forwarded)
        case authority.HostPort(host, service_port):
            service = _served(snapshot, workload, host)
            if service is None:
                detail = f"no service for target address: {request.authority} at {workload.uid}"
                return reject(Rejection.UNKNOWN_SERVICE, detail)
            port = target_port(service, workload, service_port)
            if port is None:
                detail = f"no valid target port for workload: {request.authority} at {workload.uid}"
                return reject(Rejection.NO_TARGET_PORT, detail)
            target = SocketAddress(request.local.ip, port)
    if target.ip != request.local.ip:
        return reject(Rejection.IP_MISMATCH, f"ip mismatch: {target.ip} != {request.local.ip}")
    if request.identity.trust_domain != workload.trust_domain:
        return reject(Rejection.TRUST_DOMAIN, _foreign(request.identity, workload))
    return _admit(snapshot, workload, Connection(request.identity, request.source, target), service)


def admit_plaintext(
    snapshot: Snapshot, workload: Workload | None, source: SocketAddress, destination: SocketAddress
) -> Admit | Reject:
    """Whether a plain TCP connection from ``source`` to ``destination`` may reach ``workload``."""
    if workload is None:
        return reject(Rejection.UNKNOWN_WORKLOAD, f"unknown workload: {destination}")
    return _admit(snapshot, workload, Connection(None, source, destination), None)


def recheck(
    snapshot: Snapshot, workload: Workload, connection: Connection, meant: Service | None = None
) -> Reject | None:
    """Why a live connection that was let in must be cut under ``snapshot``; None: it may stay.

    ``connection`` goes to the ``target`` of its ``Admit``, and ``meant`` is the service of that. That a service changed
    its ports cuts nobody, nor does it that the last replica of a waypoint goes: what that sent ends in order.
    """
    identity = connection.source_identity
    if identity is not None and identity.trust_domain != workload.trust_domain:
        return reject(Rejection.TRUST_DOMAIN, _foreign(identity, workload))
    service = None if meant is None else snapshot.services.get(meant.key)
    passed = _passed_by(snapshot, workload, connection, service)
    if passed is not None and identities(snapshot, passed.waypoint):
        return passed.rejection
    match authorize(snapshot, workload, connection):
        case Allowed():
            return None
        case Denied(policy, why):
            return reject(Rejection.DENIED, why, policy)


def _admit(
    snapshot: Snapshot, workload: Workload, connection: Connection, service: Service | None
) -> Admit | Reject:
    target = connection.destination
    if target.ip not in workload.addresses:
        return reject(Rejection.IP_MISMATCH, f"ip mismatch: {target.ip} is not an address of {workload.uid}")
    if target.port in OWN_PORTS:
        return reject(Rejection.RECURSIVE, f"attempted recursive call to ourselves: {target}")
    passed = _passed_by(snapshot, workload, connection, service)
    if passed is not None:
        return passed.rejection
    match authorize(snapshot, workload, connection):
        case Allowed(policy, would_deny, would_allow):
            return Admit(target, policy, service, would_deny, would_allow)
        case Denied(policy, why, would_deny, would_allow):
            rejection = reject(Rejection.DENIED, f"connection closed due to policy rejection: {why}", policy)
            return replace(rejection, would_deny=would_deny, would_allow=would_allow)


class _Passed(NamedTuple):
    """The waypoint that a connection should have come through, and did not; and what is behind it."""

    waypoint: GatewayAddress
    what: str

    @property
    def rejection(self) -> Reject:
        return reject(
            Rejection.WAYPOINT_BYPASS,
            f"waypoint bypass: {self.what} is behind waypoint {self.waypoint.destination}, and the connection did not "
            "come through it; call from a workload of the mesh, or set waypointBypass of MeshConfig to allow",
        )


def _passed_by(
    snapshot: Snapshot, workload: Workload, connection: Connection, service: Service | None
) -> _Passed | None:
    """Where the service that was meant is not behind a waypoint, nobody is asked for the workload's own.

    A caller's node says which service was meant, and gains nothing by a wrong word: where the workload serves a bare one
    on this port, everybody may call it so.
    """
    if snapshot.settings.waypoint_bypass is Permission.ALLOW:
        return None
    if service is not None and _is_served_on(workload, connection.destination.port, service):
        waypoint, what = service.waypoint, f"service {service.key} at {workload.uid}"
    else:
        waypoint, what = workload.waypoint, f"workload {workload.uid}"
    if waypoint is None or connection.source_identity in identities(snapshot, waypoint):
        return None
    return _Passed(waypoint, what)


def _is_served_on(workload: Workload, port: int, service: Service) -> bool:
    return any(target_port(service, workload, one.service_port) == port for one in service.ports)


_ANSWERS = {
    Rejection.METHOD: (400, ResponseFlag.CONNECT),
    Rejection.AUTHORITY: (400, ResponseFlag.CONNECT),
    Rejection.IP_MISMATCH: (400, ResponseFlag.CONNECT),
    Rejection.RECURSIVE: (503, ResponseFlag.CONNECT),
    Rejection.TRUST_DOMAIN: (401, ResponseFlag.TLS_FAILURE),
    Rejection.UNKNOWN_WORKLOAD: (503, ResponseFlag.CONNECT),
    Rejection.UNKNOWN_SERVICE: (503, ResponseFlag.CONNECT),
    Rejection.NO_TARGET_PORT: (503, ResponseFlag.CONNECT),
    Rejection.DENIED: (401, ResponseFlag.DENY),
    Rejection.WAYPOINT_BYPASS: (401, ResponseFlag.DENY),
    Rejection.NOT_SERVED: (404, ResponseFlag.CONNECT),
}


def reject(why: Rejection, detail: str, policy: str | None = None) -> Reject:
    """The refusal for a reason."""
    status, flag = _ANSWERS[why]
    return Reject(status, why, detail, policy, flag)


def _foreign(identity: SpiffeId, workload: Workload) -> str:
    return f"identity error: {identity} is not of trust domain {workload.trust_domain}"


def _served(snapshot: Snapshot, workload: Workload, hostname: str) -> Service | None:
    """The service called ``hostname`` that ``workload`` serves, of its own namespace where there are two."""
    wanted = hostname.lower()
    keys = [key for key in workload.services if key.partition("/")[2] == wanted and key in snapshot.services]
    key = min(keys, key=lambda key: (key.partition("/")[0] != workload.namespace, key), default=None)
    return None if key is None else snapshot.services[key]


def _meant(snapshot: Snapshot, workload: Workload, header: str) -> Service | None:
    """The service that a ``forwarded`` header names, if ``workload`` really serves it."""
    if not header:
        return None
    forwarded = parse_forwarded(header)
    return None if forwarded is None else _served(snapshot, workload, forwarded.host)
