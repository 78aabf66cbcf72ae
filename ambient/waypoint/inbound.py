"""Connections that come to a waypoint for what is behind it. Every choice is made in core."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from ambient.core import balance, waypoint
from ambient.core.authorize import Denied
from ambient.core.detect import Expected, Habits, Spoken
from ambient.core.errors import PeerError, Unavailable
from ambient.core.inbound import Reject, TunnelRequest
from ambient.core.observation import Observation, ResponseFlag
from ambient.core.outbound import Refuse
from ambient.member import failure
from ambient.member.live import BEGAN
from ambient.member.tunnels import Ends, Host
from ambient.net.relay import Relay
from ambient.waypoint import call as calls, opening
from ambient.waypoint.arrival import Arrival
from ambient.waypoint.call import Call
from ambient.waypoint.opening import Lead, Opening

if TYPE_CHECKING:
    from ambient.aio.tasks import Tasks
    from ambient.core.authorize import Allowed
    from ambient.core.hbone import TunnelRequested
    from ambient.core.model.identity import SpiffeId
    from ambient.core.outbound import Direct, Tunnel
    from ambient.member.live import Live
    from ambient.net.pool import Pool
    from ambient.net.relay import End
    from ambient.net.tls import Contexts
    from ambient.net.tunnel import ServerTunnel, TunnelEnd
    from ambient.waypoint.dial import Dialer
    from ambient.waypoint.load import Load
    from ambient.waypoint.world import World

Serve: TypeAlias = Callable[[Call, "TunnelEnd", Spoken], None]
"""Takes a connection that speaks HTTP."""


class Inbound(Host[str]):
    """Carries out what is decided of them, for one worker. What it knows its workload by is that one's uid."""

    def __init__(
        self,
        world: World,
        dialer: Dialer,
        pool: Pool,
        live: Live[Call],
        tasks: Tasks,
        serve: Serve,
        load: Load,
    ) -> None:
        self.world, self.dialer, self.pool, self.live, self.tasks = world, dialer, pool, live, tasks
        self.serve, self._load = serve, load
        self.habits = Habits()
        self.undecided: set[Undecided] = set()
        """Of what is spoken on them."""

    def uid(self, at: str) -> str:
        return at

    def contexts(self, at: str) -> Contexts | None:  # noqa: ARG002  # There is one workload alone.
        return self.world.contexts

    def leave(self) -> None:
        """End what has said nothing yet."""
        for one in tuple(self.undecided):
            one.leave()

    def recheck(self) -> None:
        """A new snapshot is in force: what it forbids is not waited for."""
        for one in tuple(self.undecided):
            one.recheck()

    def failed(
        self,
        at: str,  # noqa: ARG002
        ends: Ends,
        identity: SpiffeId | None,
        flag: ResponseFlag,
        reason: str,
        why: str,
        times: int = 1,
    ) -> None:
        seen = calls.stranger(ends.peer, ends.local, identity, self.world.own)
        self.live.failed(seen, flag, reason, why, times=times)

    async def answer(
        self,
        at: str,  # noqa: ARG002
        ends: Ends,
        identity: SpiffeId,
        tunnel: ServerTunnel,
        asked: TunnelRequested,
    ) -> None:
        headers = dict(asked.headers)
        request = TunnelRequest(
            asked.method, asked.authority, ends.peer, identity, ends.local, headers.get("forwarded", "")
        )
        world = self.world
        admitted = waypoint.admit(world.snapshot, world.own, world.waypoint, request)
        if isinstance(admitted, Reject):
            tunnel.refuse(asked.stream, admitted.status)
            seen = calls.stranger(ends.peer, ends.local, identity, world.own)
            self.live.failed(seen, admitted.flag, admitted.why.value, admitted.detail, admitted.policy)
            return
        began = BEGAN.get(None)
        arrival = Arrival(
            admitted.source,
            identity,
            admitted.caller,
            admitted.target,
            admitted.service,
            admitted.workload,
            time.monotonic() if began is None else began,
        )
        call = Call(request, arrival, headers.get("baggage", ""))
        if (why := self._load.why_no_connection()) is not None:
            tunnel.refuse(asked.stream, 503)
            Course(self, call).tell(Failure(503, ResponseFlag.CONNECT, "overloaded", why))
            return
        expectation = calls.expected(world, arrival)
        if expectation is Expected.OPAQUE:
            await self._pass_on(call, tunnel, asked.stream)
            return
        near = tunnel.end_of(asked.stream)
        if near is None:
            return
        tunnel.accept(asked.stream)
        undecided = Undecided(self, call, near, expectation)
        self.undecided.add(undecided)
        undecided.begin()

    def forget(self, undecided: Undecided) -> None:
        """There is nothing more to find out."""
        self.undecided.discard(undecided)

    async def _pass_on(self, call: Call, tunnel: ServerTunnel, stream: int) -> None:
        """Carry what was declared to be nobody's business; the client hears yes when its server was reached."""
        course = Course(self, call)
        far = await course.reach()
        if isinstance(far, Failure):
            tunnel.refuse(stream, far.status)
            course.tell(far)
            return
        near = tunnel.end_of(stream)
        if near is None:
            far.reset()
            return
        tunnel.accept(stream)
        course.carry(Relay(near, far, course.ended)).start()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a connection is not carried."""

    status: int
    """For its CONNECT, where that has not been answered."""
    flag: ResponseFlag
    reason: str
    """The metric's label."""
    detail: str
    policy: str | None = None


class Course:
    """How one connection is carried that nobody looks into: whether it may, where to, and what is told of it."""

    def __init__(self, owner: Inbound, call: Call) -> None:
        self._owner, self.call = owner, call
        self._snapshot = owner.world.snapshot
        self._decision: Allowed | Denied = calls.decide(owner.world, call)
        self._way: Tunnel | Direct | Refuse | None = None

    @property
    def forbidden(self) -> Failure | None:
        """Why policies do not let it pass, if they do not."""
        return _of(calls.denied(self._decision)) if isinstance(self._decision, Denied) else None

    async def reach(self) -> End | Failure:
        """The far end, under the snapshot that is in force when it has been reached."""
        if (forbidden := self.forbidden) is not None:
            return forbidden
        far = await self._reach()
        if isinstance(far, Failure):
            return far
        if (rejection := self.overtaken()) is not None:
            far.reset()
            return rejection
        return far

    async def _reach(self) -> End | Failure:
        """One endpoint, or another where that one cannot be reached: no byte has been sent then."""
        owner, began = self._owner, time.monotonic()
        avoided: set[str] = set()
        failed: Failure | None = None
        while True:
            way = calls.way_of(owner.world, self.call, avoided)
            if isinstance(way, Refuse):
                if failed is None:
                    self._way = way
                return failed or Failure(503, way.flag, way.why.value, way.detail)
            self._way = way
            try:
                return await calls.reach(owner.world, owner.pool, owner.dialer, self.call, way)
            except (PeerError, Unavailable) as error:
                flag, why = failure.of(error)
                failed = Failure(503, flag, error.reason, why)
                if way.destination is None or not failure.is_untouched(error):
                    return failed
            avoided.add(way.destination.uid)
            if len(avoided) == balance.TRIES or time.monotonic() - began >= balance.TRY_SECONDS:
                return failed

    def overtaken(self) -> Failure | None:
        """Why it must not be carried under the snapshot that came since it was let in."""
        world = self._owner.world
        if world.snapshot is self._snapshot:
            return None
        rejection = calls.forbidden(world, self.call)
        return None if rejection is None else _of(rejection)

    def carry(self, relay: Relay) -> Relay:
        """It is carried from here on, and told of at its end."""
        policy = None if isinstance(self._decision, Denied) else self._decision.policy
        self._owner.live.opened(self.call.key, self._seen(), relay, self.call, policy)
        return relay

    def ended(self, relay: Relay) -> None:
        """What was carried is over."""
        self._owner.live.ended(self.call.key, relay)

    def tell(self, why: Failure) -> None:
        """It was not carried."""
        self._owner.live.failed(self._seen(), why.flag, why.reason, why.detail, why.policy)

    def _seen(self) -> Observation:
        return calls.observation(self.call, self._way, self._decision)


class Undecided:
    """A connection of which it is not known yet what is spoken on it."""

    def __init__(self, owner: Inbound, call: Call, near: TunnelEnd, expectation: Expected) -> None:
        self._owner, self._call, self._near = owner, call, near
        self._course = Course(owner, call)
        self._leading: asyncio.Task[None] | None = None
        self._lead: Lead | None = None
        self._is_led = False
        """It was decided while the server was being dialled that this is what the client wants."""
        self._why = _GONE
        """What is told if it ends before it is decided."""
        service, port = self._place = (call.key, call.arrival.target.port)
        self._opening = Opening(
            near,
            expectation,
            self._decided,
            self._dial,
            self._gone,
            waits_for_client=owner.habits.client_talks_first(service, port),
        )

    def begin(self) -> None:
        """Find out."""
        self._opening.begin()

    @property
    def has_heard(self) -> bool:
        """Whether the client has said something."""
        return bool(self._near.early)

    def leave(self) -> None:
        """End it if the client has said nothing yet."""
        if not self.has_heard:
            self._why = _LEAVING
            self._opening.abandon()

    def recheck(self) -> None:
        """There is a new snapshot."""
        rejection = calls.refused(self._owner.world, self._call)
        if rejection is not None:
            self._why = _of(rejection)
            self._opening.abandon()

    def _dial(self) -> None:
        if (forbidden := self._course.forbidden) is not None:
            self._why = forbidden
            self._opening.misled(opening.FORBIDDEN_SECONDS)
        elif self._leading is None:
            self._leading = self._owner.tasks.start(self._reach(), f"lead for {self._call.key}")

    async def _reach(self) -> None:
        far = await self._course.reach()
        match far:
            case Failure() if self._is_led:
                self._course.tell(far)
                self._near.reset()
            case Failure():
                self._why = far
                self._opening.misled(opening.UNREACHABLE_SECONDS)
            case _ if self._near.gone:
                far.reset()
                if self._is_led:
                    self._course.tell(_GONE)
            case _:
                self._lead = Lead(self._near, far, self._ended, self._server_spoke)
                if self._is_led:
                    self._join(self._lead)
                else:
                    self._lead.start()

    def _decided(self, spoken: Spoken, server_name: str | None) -> None:
        owner = self._owner
        owner.forget(self)
        if self._near.early:
            owner.habits.client_talked(*self._place)
        match spoken:
            case Spoken.HTTP1 | Spoken.HTTP2:
                self._mislead()
                owner.serve(self._call, self._near, spoken)
                return
            case Spoken.TLS:
                # Its name may lead elsewhere than a connection of which nothing is known.
                self._mislead()
                self._course = Course(owner, replace(self._call, server_name=server_name))
            case Spoken.OPAQUE:
                if self._lead is not None:
                    self._join(self._lead)
                    return
        self._is_led = True
        if self._leading is None or self._leading.done():
            self._leading = owner.tasks.start(self._reach(), f"carry for {self._call.key}")

    def _server_spoke(self) -> None:
        self._owner.habits.server_talked(*self._place)
        self._opening.decide(Spoken.OPAQUE)

    def _join(self, lead: Lead) -> None:
        if (rejection := self._course.overtaken()) is not None:
            lead.part()
            self._course.tell(rejection)
            self._near.reset()
            return
        self._course.carry(lead)
        lead.join()

    def _mislead(self) -> None:
        """Whoever was dialled is not who is wanted."""
        if self._leading is not None:
            self._leading.cancel()
            self._leading = None
        if self._lead is not None:
            self._lead.part()
            self._lead = None

    def _gone(self) -> None:
        self._owner.forget(self)
        self._mislead()
        self._course.tell(self._why)
        self._near.reset()

    def _ended(self, relay: Relay) -> None:
        self._course.ended(relay)


_GONE: Final = Failure(
    503, ResponseFlag.CONNECT, "client_gone", "the client gave up before it said what it wants"
)
_LEAVING: Final = Failure(
    503, ResponseFlag.CONNECT, "leaving", "the waypoint stops, and nothing had been said"
)


def _of(rejection: Reject) -> Failure:
    return Failure(rejection.status, rejection.flag, rejection.why.value, rejection.detail, rejection.policy)
