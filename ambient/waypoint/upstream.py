"""What a worker asks of services: an endpoint for each request, and a connection to it, within all limits.

A ``Cluster`` is a service's port, or a subset of its endpoints, as callers of a namespace may use it. It chooses among
endpoints and keeps what is shared by all of its requests. A ``Place`` is one endpoint of it in one version of HTTP: what a
connection belongs to. A connection with room is taken at once; else the request waits, no more of them than the policy
allows, and a connection is made if there may be another.

Limits hold for all workers of the replica together. So a worker that has no connection may wait for one that another holds
idle: while the limit is reached, each looks now and then whether others wait, and lets an idle connection of its own go.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ambient.core import baggage
from ambient.core.errors import PeerError, Unavailable
from ambient.core.forwarding.destination import Destination, Missing, candidates, destination, reached
from ambient.core.forwarding.reason import Reason
from ambient.core.gateways import meant_by
from ambient.core.http.http1 import Http1Client
from ambient.core.http.http2 import Http2Client
from ambient.core.model.address import SocketAddress
from ambient.core.model.traffic import Simple, TrafficPolicies, TrafficPolicy
from ambient.core.resilience.accrual import Barred, Probe
from ambient.core.resilience.balance.balancer import Balancer, Wish
from ambient.core.resilience.gauge import Kind
from ambient.core.routing import policy_of, traffic_for
from ambient.net.http import HttpClient
from ambient.net.http_pool import HttpPool, Keeping
from ambient.net.tcp import SocketEnd

if TYPE_CHECKING:
    from immutables import Map

    from ambient.core.model.service import AppProtocol, Service
    from ambient.core.model.workload import Workload
    from ambient.core.resilience.retry import Outcome
    from ambient.core.snapshot import Snapshot
    from ambient.net.pool import Pool
    from ambient.net.relay import End
    from ambient.waypoint.dial import Dialer
    from ambient.waypoint.guards import Guards
    from ambient.waypoint.world import World

CONNECT_SECONDS: Final = 10.0
"""For a connection, where no policy says. Source: Istio's default."""
PENDING_REQUESTS: Final = 1024
"""Requests that may wait for a connection, where no policy says. Source: Envoy's default."""
_STREAMS: Final = 100
"""Requests that one connection of HTTP/2 is expected to carry."""
_IDLE_SECONDS: Final = 60.0
"""Of a connection, where no policy says: shorter than most servers keep one."""
_UNSAID: Final = TrafficPolicy()
_LOOK_SECONDS: Final = 0.02
"""While a limit on connections is reached, what other workers do is looked at so often."""


class Waiter(Protocol):
    """A request that waits for a connection."""

    def connected(self, client: HttpClient, /) -> None:
        """There is one, to be asked on at once."""

    def unconnected(self, reason: Reason, detail: str, /) -> None:
        """There will be none."""


class Place:
    """One endpoint of a cluster, in one version of HTTP."""

    __slots__ = ("by_address", "cluster", "destination", "dialling", "http2", "open", "waiters")

    def __init__(
        self, cluster: Cluster, where: Destination, *, http2: bool, by_address: bool = False
    ) -> None:
        self.cluster = cluster
        self.destination = where
        self.http2 = http2
        self.by_address = by_address
        """Whether it was called by its own address."""
        self.open = 0
        """Connections, as far as they have been accounted for."""
        self.dialling = 0
        self.waiters: deque[Waiter] = deque()

    @property
    def uid(self) -> str:
        """Of the endpoint."""
        return self.destination.uid


class Chosen(NamedTuple):
    """Where one request goes."""

    place: Place
    probe: Probe | None
    """It is the one request that finds out whether the endpoint serves again."""


class Cluster:
    """The endpoints that some requests may go to, and what these have in common."""

    def __init__(
        self, upstreams: Upstreams, key: tuple[str, int, str, str], world: World, guards: Guards
    ) -> None:
        self.service, self._port, self._subset, self._namespace = key
        self.name = "|".join((self.service, str(self._port), self._subset, self._namespace))
        self._upstreams, self._world, self._guards = upstreams, world, guards
        self._budget = f"{self.service}|{self._namespace}"
        self.guard = guards.of(self.name, _UNSAID, self._budget)
        """Its limits, what is known of its endpoints' failures, and the retry budget of all of its service."""
        self._snapshot: Snapshot | None = None
        self._known: Service | None = None
        self._seen: tuple[object, object] = (object(), None)
        """Routes and workload of our own that the policy was made ready for."""
        self.policy = _UNSAID
        self._subset_labels: Map[str, str] | None = None
        self.declared: AppProtocol | None = None
        """What is said to be spoken there."""
        self.is_passthrough = False
        """Whether requests go to the very address that was called."""
        self._source: Workload | None = None
        """Where near endpoints are near to."""
        self._keeping = Keeping(_IDLE_SECONDS)
        self._balancer = Balancer(self.policy)
        self._lacks_subset = False
        self._places: dict[tuple[str, bool], Place] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._pending = self._open = 0
        """Of this worker."""

    # Endpoints

    def refresh(self) -> None:
        """See the newest snapshot."""
        snapshot = self._world.snapshot
        if snapshot is self._snapshot:
            return
        self._snapshot = snapshot
        self._known = snapshot.services.get(self.service)
        routes, own = snapshot.routes.get(self.service), self._world.own
        if routes is not self._seen[0] or own is not self._seen[1]:
            self._seen = routes, own
            self._see(None if routes is None else traffic_for(routes, self._namespace), own)
        said = snapshot.policies.get(self.service)
        ports = () if said is None else said.ports
        self.declared = next((one.protocol for one in ports if one.service_port == self._port), None)
        self.is_passthrough = self.policy.balancer is Simple.PASSTHROUGH or (
            self._known is not None and self._known.passthrough
        )
        self._part_from_strangers(snapshot)

    def _see(self, policies: TrafficPolicies | None, own: Workload | None) -> None:
        """See what is said of its traffic; what is known of endpoints stays while that says the same."""
        policy = _UNSAID if policies is None else policy_of(policies, self._subset, self._port)
        subset = None if policies is None else policies.subsets.get(self._subset)
        self._lacks_subset = bool(self._subset) and subset is None
        labels = None if subset is None else subset.labels
        if policy == self.policy and labels == self._subset_labels and own is self._source:
            return
        self.policy, self._subset_labels, self._source = policy, labels, own
        self.guard = self._guards.of(self.name, policy, self._budget)
        limits = policy.limits
        self._keeping = Keeping(
            _IDLE_SECONDS if limits.idle_timeout is None else limits.idle_timeout.total_seconds() or None,
            None if limits.longest_connection is None else limits.longest_connection.total_seconds(),
            limits.requests_per_connection or 0,
        )
        self._balancer = Balancer(policy, labels, own)

    def choose(self, wish: Callable[[frozenset[str]], Wish], now: float, *, http2: bool) -> Chosen | Missing:
        """An endpoint for one request; ``wish`` is asked for with those that are left out."""
        service = self._known
        if service is None:
            return Missing(Reason.UNKNOWN_SERVICE, f"unknown service: {self.service}")
        if self._lacks_subset:
            detail = f"no DestinationRule has a subset {self._subset!r} of {self.service}"
            return Missing(Reason.UNKNOWN_SUBSET, detail)
        own = self._world.own
        found = candidates(self._world.snapshot, service, self._port, "" if own is None else own.network)
        if isinstance(found, Missing):
            return found
        guard = self.guard
        while True:
            out = guard.out(now)
            endpoint = self._balancer.pick(found, wish(out), now, self._world.chance)
            if endpoint is None:
                named = f"subset {self._subset} of {self.service}" if self._subset else self.service
                return Missing(Reason.NO_HEALTHY_ENDPOINT, f"no healthy upstream: {named} has nobody to ask")
            admission = guard.admit(endpoint.uid, now)
            if isinstance(admission, Barred) and endpoint.uid not in out:
                # It is left out from now on, and another is chosen.
                continue
            break
        place = self._places.get((endpoint.uid, http2))
        if place is None:
            where = destination(endpoint, service, self._port, own)
            if isinstance(where, Missing):
                if isinstance(admission, Probe):
                    guard.abandoned(endpoint.uid, admission, now)
                return where
            place = self._places[endpoint.uid, http2] = Place(self, where, http2=http2)
        return Chosen(place, admission if isinstance(admission, Probe) else None)

    def at(self, address: SocketAddress, endpoint: Workload | None, *, http2: bool) -> Chosen | Missing:
        """The very address that a client called."""
        where = reached(address, endpoint, self._world.own)
        if isinstance(where, Missing):
            return where
        key = str(address), http2
        place = self._places.get(key)
        if place is None or place.destination.way != where.way:
            if place is not None:
                self._part(place)
            place = self._places[key] = Place(self, where, http2=http2, by_address=True)
        return Chosen(place, None)

    def _part_from_strangers(self, snapshot: Snapshot) -> None:
        """Begin nothing more with endpoints that are gone, or are to be reached otherwise."""
        own = self._world.own
        for key, place in list(self._places.items()):
            where = self._current(place, snapshot, own)
            if isinstance(where, Destination) and where.way == place.destination.way:
                place.destination = where
            else:
                del self._places[key]
                self._part(place)

    def _part(self, place: Place) -> None:
        self._upstreams.part(place)
        self._tell_waiters(place, Reason.NOT_CONNECTED, f"{place.uid} is not there any more")

    def _current(
        self, place: Place, snapshot: Snapshot, own: Workload | None
    ) -> Destination | Missing | None:
        """How its endpoint is reached now; None: it is gone."""
        if place.by_address:
            address = place.destination.address
            network = "" if own is None else own.network
            return reached(address, snapshot.workload_at(address.ip, network), own)
        endpoint = place.destination.endpoint
        current = None if endpoint is None else snapshot.workloads.get(endpoint.uid)
        if current is None or self._known is None or not current.addresses:
            return None
        return (
            place.destination if current is endpoint else destination(current, self._known, self._port, own)
        )

    @property
    def places(self) -> int:
        """How many of its endpoints have been asked."""
        return len(self._places)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to it here and now."""
        return not (self._pending or self._open)

    # Requests

    def begin(self, chosen: Chosen, now: float) -> bool:
        """A request goes to an endpoint; False: there are too many already."""
        place = chosen.place
        if not self.guard.take(Kind.REQUEST):
            if chosen.probe is not None:
                self.guard.abandoned(place.uid, chosen.probe, now)
            return False
        if place.destination.endpoint is not None:
            self._balancer.begin(place.destination.endpoint)
        return True

    def ended(
        self,
        place: Place,
        outcome: Outcome | None,
        took: float | None,
        now: float,
        *,
        failed: bool = False,
        probe: Probe | None = None,
    ) -> None:
        """It is over, and what came of it (None: nothing that says anything of the endpoint).

        ``took``: after so many seconds its response began.
        """
        self.guard.give(Kind.REQUEST)
        endpoint = place.destination.endpoint
        if endpoint is None:
            return
        self._balancer.ended(endpoint, took, now, failed=failed)
        if outcome is not None:
            self.guard.heard(endpoint.uid, outcome, self._balancer.size, now, probe)
        elif probe is not None:
            self.guard.abandoned(endpoint.uid, probe, now)

    # Connections

    def wait(self, place: Place, waiter: Waiter) -> bool:
        """Have ``waiter`` told of a connection; False: too many wait already."""
        unsaid = self.policy.limits.pending_requests is None
        if unsaid and self.guard.under_way(Kind.PENDING) >= PENDING_REQUESTS:
            return False
        if not self.guard.take(Kind.PENDING):
            return False
        self._pending += 1
        place.waiters.append(waiter)
        self._connect(place)
        return True

    def withdraw(self, place: Place, waiter: Waiter) -> None:
        """It waits no more."""
        place.waiters.remove(waiter)
        self._waits_no_more()

    def _waits_no_more(self) -> None:
        self._pending -= 1
        self.guard.give(Kind.PENDING)

    def freed(self, place: Place, count: int) -> None:
        """A connection has room, or is gone; so many are left."""
        while place.open > count:
            self._disconnected(place)
        while place.waiters:
            client = self._upstreams.take(place)
            if client is None:
                break
            self._serve(place, client)
        if place.waiters:
            self._connect(place)
            return
        if place.by_address and not place.open:
            # Clients choose the addresses: nothing is kept of those that nobody uses.
            key = str(place.destination.address), place.http2
            if self._places.get(key) is place:
                del self._places[key]
        self._share()

    def _serve(self, place: Place, client: HttpClient) -> None:
        waiter = place.waiters.popleft()
        self._waits_no_more()
        waiter.connected(client)

    def _connect(self, place: Place) -> None:
        """Make as many connections as its waiters need, and may have."""
        wanted = len(place.waiters)
        if place.http2:
            wanted = -(-wanted // _STREAMS)
        while place.dialling < wanted:
            if not self.guard.take(Kind.CONNECTION):
                self._make_room(place)
                self._look_soon()
                return
            place.dialling += 1
            place.open += 1
            self._open += 1
            self._upstreams.dial(place, self._connect_seconds(), self._keeping)

    def _connect_seconds(self) -> float:
        timeout = self.policy.limits.connect_timeout
        return CONNECT_SECONDS if not timeout else timeout.total_seconds()

    def dialled(self, place: Place) -> None:
        """A connection was made."""
        place.dialling -= 1

    def undialled(self, place: Place, reason: Reason, detail: str) -> None:
        """A connection could not be made: whoever waits for it is told, and may go elsewhere."""
        place.dialling -= 1
        self._disconnected(place)
        self._tell_waiters(place, reason, detail)

    def _disconnected(self, place: Place) -> None:
        place.open -= 1
        self._open -= 1
        self.guard.give(Kind.CONNECTION)

    def _tell_waiters(self, place: Place, reason: Reason, detail: str) -> None:
        # What is told to one may have another withdraw, which must be found where it waits.
        while place.waiters:
            waiter = place.waiters.popleft()
            self._waits_no_more()
            waiter.unconnected(reason, detail)

    def _make_room(self, wanting: Place) -> None:
        """Let an idle connection with another endpoint go."""
        for place in self._places.values():
            if place is not wanting and not place.waiters and self._upstreams.end_idle(place):
                return

    def _share(self) -> None:
        """While the limit is reached, do not keep from other workers what is not used here."""
        limit = self.policy.limits.connections
        if limit is not None and self.guard.under_way(Kind.CONNECTION) >= limit:
            self._look_soon()

    def _look_soon(self) -> None:
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._watch = None
        waiting = [place for place in self._places.values() if place.waiters]
        for place in waiting:
            self._connect(place)
        if not waiting:
            if self.guard.under_way(Kind.PENDING) > self._pending:
                for place in self._places.values():
                    if self._upstreams.end_idle(place):
                        break
            if self._open:
                self._share()


class Upstreams:
    """All clusters of one worker, and the connections of all."""

    def __init__(self, world: World, dialer: Dialer, pool: Pool, guards: Guards) -> None:
        self._world, self._dialer, self._pool, self._guards = world, dialer, pool, guards
        self._clusters: dict[tuple[str, int, str, str], Cluster] = {}
        self._connections: HttpPool[Place] = HttpPool(self._freed)
        self._dials: set[asyncio.Task[None]] = set()

    def cluster(self, service: str, port: int, subset: str, namespace: str) -> Cluster:
        """For a service's port and subset, as callers of ``namespace`` use it; no service: for workloads by address."""
        if not service:
            port = 0  # They are reached by the address that was called, whatever its port.
        routes = self._world.snapshot.routes.get(service)
        of = namespace if routes is not None and namespace in routes.traffic_consumers else ""
        key = service, port, subset, of
        cluster = self._clusters.get(key)
        if cluster is None:
            cluster = self._clusters[key] = Cluster(self, key, self._world, self._guards)
        cluster.refresh()
        return cluster

    def keep(self, now: float) -> None:
        """Part from endpoints that are gone, and forget clusters of services that are. To be called now and then."""
        services = self._world.snapshot.services
        for key, cluster in list(self._clusters.items()):
            cluster.refresh()
            known = services.get(cluster.service)
            if cluster.is_idle and (
                known is None or all(port.service_port != key[1] for port in known.ports)
            ):
                del self._clusters[key]
        self._guards.keep({one.name for one in self._clusters.values()}, now)

    def holding(self) -> dict[str, int]:
        """How many there are of what comes and goes, by kind."""
        clusters = self._clusters.values()
        return {
            "clusters": len(clusters),
            "places": sum(cluster.places for cluster in clusters),
            "connections_to_endpoints": len(self._connections),
            "dials": len(self._dials),
        }

    def take(self, place: Place) -> HttpClient | None:
        """A connection with room, to be asked on at once."""
        return self._connections.take(place)

    def leave(self) -> None:
        """Begin nothing more on the connections that there are; what is under way may end."""
        self._connections.leave(lambda _: True)

    # What clusters ask for:

    def part(self, place: Place) -> None:
        """Begin nothing more on the connections of a place."""
        self._connections.leave(lambda key: key is place)

    def end_idle(self, place: Place) -> bool:
        """End one of its connections that nothing is under way on; False: there is none."""
        return self._connections.end_idle(place)

    def dial(self, place: Place, seconds: float, keeping: Keeping) -> None:
        """Make a connection; its cluster hears how that went."""
        task = asyncio.create_task(self._dial(place, seconds, keeping), name=f"dial {place.uid}")
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, place: Place, seconds: float, keeping: Keeping) -> None:
        cluster = place.cluster
        try:
            async with asyncio.timeout(seconds):
                end = await self._end(place.destination, cluster.service)
        except TimeoutError:
            detail = f"connection to {place.destination.address} timed out after {seconds:g} s"
            cluster.undialled(place, Reason.NOT_CONNECTED, detail)
        except (PeerError, Unavailable) as error:
            cluster.undialled(place, Reason.NOT_CONNECTED, str(error))
        except BaseException:
            cluster.undialled(place, Reason.LEAVING, "the waypoint ends")
            raise
        else:
            cluster.dialled(place)
            client = HttpClient(end, Http2Client() if place.http2 else Http1Client())
            self._connections.add(place, client, keeping)

    async def _end(self, where: Destination, service: str) -> End:
        if where.hop is None:
            return SocketEnd(await self._dialer.plain(where.address))
        key = self._dialer.key(where.hop, where.expect)
        return await self._pool.open(key, str(where.address), self._headers(service))

    def _headers(self, service: str) -> list[tuple[str, str]]:
        """What the destination's node is told: a connection is shared by clients, so it is made on nobody's behalf."""
        own = self._world.own
        trace = ("traceparent", baggage.build_traceparent(os.urandom(16), os.urandom(8)))
        if own is None or not own.addresses:
            return [trace]
        source = SocketAddress(own.addresses[0], 0)
        return [
            ("baggage", baggage.build_baggage(baggage.baggage_of(own))),
            ("forwarded", baggage.build_forwarded(source, meant_by(self._world.snapshot, own, service))),
            trace,
        ]

    def _freed(self, place: Place) -> None:
        place.cluster.freed(place, self._connections.count(place) + place.dialling)
