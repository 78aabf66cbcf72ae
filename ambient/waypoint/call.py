"""One connection that a waypoint carries without looking into it: where it goes, and what is told of it."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ambient.core import baggage, balance, detect, waypoint
from ambient.core.authorize import Allowed, Connection, Denied
from ambient.core.detect import Expected
from ambient.core.gateways import meant_by
from ambient.core.inbound import Reject, Rejection, reject
from ambient.core.observation import Observation, Party, Reporter, Security
from ambient.core.outbound import Direct, Refuse, Tunnel
from ambient.core.routing import traffic_for
from ambient.net.tcp import SocketEnd

if TYPE_CHECKING:
    from ambient.core.inbound import TunnelRequest
    from ambient.core.model.address import SocketAddress
    from ambient.core.model.identity import SpiffeId
    from ambient.core.model.workload import Workload
    from ambient.net.pool import Pool
    from ambient.net.relay import End
    from ambient.waypoint.arrival import Arrival
    from ambient.waypoint.dial import Dialer
    from ambient.waypoint.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """A connection to be carried; what a new snapshot is asked about."""

    request: TunnelRequest
    arrival: Arrival
    claims: str = ""
    """The ``baggage`` of its request, which counts where the mesh does not know the caller."""
    server_name: str | None = None
    """SNI, which may be empty; None: it is not TLS."""

    @property
    def key(self) -> str:
        """What it is counted by: the service's key, or the uid of the workload that was called."""
        arrival = self.arrival
        if arrival.service is not None:
            return arrival.service.key
        return "" if arrival.workload is None else arrival.workload.uid

    @property
    def connection(self) -> Connection:
        """As policies see it."""
        return Connection(self.arrival.identity, self.arrival.source, self.arrival.target)


def expected(world: World, arrival: Arrival) -> Expected:
    """What is said to be spoken on a connection."""
    snapshot, service = world.snapshot, arrival.service
    if service is None:
        return Expected.ANYTHING
    routes = snapshot.routes.get(service.key)
    namespace = "" if arrival.caller is None else arrival.caller.namespace
    traffic = None if routes is None else traffic_for(routes, namespace)
    return detect.expected(service, snapshot.policies.get(service.key), traffic, arrival.target.port)


def refused(world: World, call: Call) -> Reject | None:
    """Why a connection that was let in must not be carried any longer, whatever is spoken on it."""
    admitted = waypoint.admit(world.snapshot, world.own, world.waypoint, call.request)
    return admitted if isinstance(admitted, Reject) else None


def forbidden(world: World, call: Call) -> Reject | None:
    """The same where nobody looks into it: policies may say so too."""
    if (rejection := refused(world, call)) is not None:
        return rejection
    decision = decide(world, call)
    if isinstance(decision, Denied):
        return denied(decision)
    return None


def decide(world: World, call: Call) -> Allowed | Denied:
    """What policies say of it."""
    return waypoint.permit(
        world.snapshot,
        world.waypoint,
        call.arrival.service,
        call.connection,
        call.server_name or "",
        may_be_http=expected(world, call.arrival) in {Expected.ANYTHING, Expected.HTTP},
    )


def denied(decision: Denied) -> Reject:
    """The refusal by a policy."""
    rejection = reject(
        Rejection.DENIED, f"connection closed due to policy rejection: {decision.why}", decision.policy
    )
    return replace(rejection, would_deny=decision.would_deny, would_allow=decision.would_allow)


def way_of(world: World, call: Call, avoided: Collection[str] = ()) -> Tunnel | Direct | Refuse:
    """Where it goes; ``avoided`` are uids of endpoints that cannot be reached."""
    own = world.own
    if own is None:
        raise AssertionError("nothing is admitted before the mesh knows this waypoint")
    admitted = waypoint.Admit(
        call.arrival.source,
        call.arrival.caller,
        call.arrival.target,
        call.arrival.service,
        call.arrival.workload,
    )
    return waypoint.route(
        world.snapshot,
        own,
        world.routers,
        admitted,
        call.server_name,
        world.chance(),
        balance.avoiding(world.pick(), avoided),
    )


async def reach(world: World, pool: Pool, dialer: Dialer, call: Call, way: Tunnel | Direct) -> End:
    """The far end. Raises PeerError or Unavailable."""
    match way:
        case Direct(to):
            return SocketEnd(await dialer.plain(to))
        case Tunnel(hop, authority, expect, _, service):
            own = world.own
            meant = "" if service is None or own is None else meant_by(world.snapshot, own, service.key)
            headers = [
                ("forwarded", baggage.build_forwarded(call.arrival.source, meant)),
                ("traceparent", baggage.build_traceparent(os.urandom(16), os.urandom(8))),
            ]
            if own is not None:
                headers.append(("baggage", baggage.build_baggage(baggage.baggage_of(own))))
            return await pool.open(dialer.key(hop, expect), authority, headers)


def observation(call: Call, way: Tunnel | Direct | Refuse | None, decision: Allowed | Denied) -> Observation:
    """What is told of it."""
    arrival = call.arrival
    caller = (
        Party.claiming(baggage.parse_baggage(call.claims), arrival.identity)
        if arrival.caller is None
        else Party.of(arrival.caller, arrival.identity)
    )
    to, hop = _destination(arrival, way)
    return Observation(
        reporter=Reporter.WAYPOINT,
        source=caller,
        destination=Party.of(to, None if to is None else to.identity),
        source_address=arrival.source,
        destination_address=arrival.target,
        hbone_address=hop,
        service=arrival.service,
        security=Security.MUTUAL_TLS,
        would_deny=decision.would_deny,
        would_allow=decision.would_allow,
    )


def stranger(
    peer: SocketAddress, local: SocketAddress, identity: SpiffeId | None, own: Workload | None
) -> Observation:
    """What is told of one that was not let in."""
    return Observation(
        reporter=Reporter.WAYPOINT,
        source=Party.of(None, identity),
        destination=Party.of(own, None if own is None else own.identity),
        source_address=peer,
        destination_address=local,
        security=Security.UNKNOWN if identity is None else Security.MUTUAL_TLS,
    )


def _destination(
    arrival: Arrival, way: Tunnel | Direct | Refuse | None
) -> tuple[Workload | None, SocketAddress | None]:
    match way:
        case Tunnel(hop, _, _, destination, _):
            return destination, hop
        case Direct(_, destination, _) | Refuse(_, _, destination, _):
            return destination, None
        case None:
            return arrival.workload, None
