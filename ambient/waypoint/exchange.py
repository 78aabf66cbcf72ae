"""One request from head to tail, on callbacks: nothing here waits, and no task runs for a request.

An ``Exchange`` hears the client, an ``Attempt`` the endpoint. The plan (``core.forwarding.plan``) is made when the head has
come. Then an endpoint is chosen, and the body passed on as it comes, and kept, up to ``REPLAY``, as long as the request may
have to be sent again. Until something of the response has been passed on (``is_committed``), an attempt that fails may be
followed by another; after that, the client's message is cut where the endpoint's was: it never ends as if it were whole.

Whichever side is slow holds the other: what one has not taken is not ``consumed`` at the other. One timer serves all of an
exchange's deadlines. Whatever happens, both sides are let go, and the request is recorded once (``_over``).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from ambient.core import request_observation as observed
from ambient.core.forwarding import grpc, session
from ambient.core.forwarding.answer import Answer, refuse, written
from ambient.core.forwarding.client import Client, Introductions
from ambient.core.forwarding.destination import Missing, speaks_http2
from ambient.core.forwarding.edits import Edit
from ambient.core.forwarding.outcome import is_failure
from ambient.core.forwarding.plan import Answered, Checks, Notes, Planner, Send, Unverified, Verified, joined
from ambient.core.forwarding.reason import Reason
from ambient.core.frames import Buffer
from ambient.core.http.message import Fault, Headers, RequestHead, RequestRefused, ResponseHead
from ambient.core.model.telemetry import Telemetry
from ambient.core.model.traffic import HashCookie, Maglev, RingHash
from ambient.core.resilience import bucket, retry
from ambient.core.resilience.balance.balancer import Wish
from ambient.core.resilience.balance.keys import text_of
from ambient.core.resilience.balance.ring import place as place_on_ring
from ambient.core.resilience.gauge import Kind

if TYPE_CHECKING:
    from ambient.core.model.jwt import JwtRule
    from ambient.core.model.limit import RateLimit
    from ambient.core.model.route import Backend
    from ambient.core.resilience.accrual import Probe
    from ambient.core.tracing import Trace
    from ambient.net.http import ClientStream, HttpClient, ServerStream
    from ambient.waypoint.arrival import Arrival
    from ambient.waypoint.guards import Guards
    from ambient.waypoint.upstream import Chosen, Cluster, Place, Upstreams
    from ambient.waypoint.world import World

REPLAY: Final = 64 * 1024
"""Bytes of a body that are kept for another try. Source: Linkerd's figure."""
MOST_KEPT: Final = 32 * 1024 * 1024
"""Bytes that a worker keeps so in all: beyond, bodies are passed on and not kept."""
_DRAINED: Final = 64 * 1024
"""A response that is not passed on is read to its end if it is no longer, so that its connection can be used again."""
_EARLY: Final = 0.001
"""Seconds that a loop's clock may ring too early."""
_MIRROR_SECONDS: Final = 15.0
"""For a copy of a request, where its route sets no time."""
_DRAIN_SECONDS: Final = 1.0
_UNTOLD: Final = Telemetry()
_STRANGERS: Final = Introductions()
_NO_TRIES: Final[frozenset[str]] = frozenset()

_OF_CLIENT: Final = {
    Fault.CANCELLED: Reason.CLIENT_GONE,
    Fault.REFUSED: Reason.CLIENT_GONE,
    Fault.RESET: Reason.CLIENT_GONE,
    Fault.MALFORMED: Reason.BROKEN_REQUEST,
    Fault.TIMED_OUT: Reason.IDLE,
    Fault.OVERLOADED: Reason.OVERLOADED,
}
_OF_ENDPOINT: Final = {
    Fault.CANCELLED: Reason.RESET,
    Fault.REFUSED: Reason.REFUSED,
    Fault.RESET: Reason.RESET,
    Fault.MALFORMED: Reason.MALFORMED,
    Fault.TIMED_OUT: Reason.IDLE,
    Fault.OVERLOADED: Reason.MALFORMED,
}


class Observer(Protocol):
    """Who is told of requests."""

    def begin(self, headers: Mapping[str, str], telemetry: Telemetry, chance: float, /) -> Trace | None:
        """The trace of a request with these headers, if anyone wants spans."""

    def record(self, seen: observed.RequestObservation, /) -> None:
        """A request is over."""

    def caused(self, what: str, why: str, /) -> None:
        """Something of our own happened, and why."""


class Exchanges:
    """All requests of one worker."""

    def __init__(
        self,
        world: World,
        upstreams: Upstreams,
        guards: Guards,
        requests: Observer,
        verify: Callable[[tuple[JwtRule, ...], RequestHead], Verified | Unverified],
        *,
        introductions: Introductions = _STRANGERS,
        clock: Callable[[], float] = time.monotonic,
        overloaded: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``overloaded`` says why no request is to be taken on, or None."""
        self.world, self.upstreams, self.requests = world, upstreams, requests
        self.loop = asyncio.get_running_loop()
        self.clock = clock
        self.under_way: set[Exchange] = set()
        self.kept = 0
        """Bytes of bodies that are kept for another try, or until there is a first."""
        self.guards, self.overloaded = guards, overloaded
        self._introductions = introductions
        self._planners: dict[str, Planner] = {}
        self._verify = verify

    def checks(self, service: str) -> Checks:
        """What has a state, for requests for a service."""

        def take(limit: RateLimit, client: str) -> bucket.Verdict:
            own = bucket.share(limit, self._replicas())
            verdict = self.guards.limited(service, own, client, self.clock())
            if isinstance(verdict, bucket.TooMany):
                self.requests.caused("limited", "dry_run" if limit.dry_run else "enforced")
            return verdict

        return Checks(self._verify, take, self.world.chance, _request_id)

    def _replicas(self) -> int:
        """How many replicas of this waypoint are called."""
        return len(self.world.snapshot.endpoints_of.get(self.world.waypoint, ()))

    def visit(self, arrival: Arrival, *, http2: bool) -> Visit:
        """A client's connection, whose requests are to be told to it."""
        own, introductions = self.world.contexts, self._introductions
        client = Client.of(
            arrival.identity,
            arrival.source,
            arrival.target,
            arrival.caller,
            by=str(own.identity) if introductions.tells_identity and own is not None else "",
            is_trusted=str(arrival.identity) in introductions.trusted,
        )
        return Visit(self, arrival, client, http2=http2)

    def planner(self, arrival: Arrival) -> Planner:
        """What is done with requests for what was called, under the newest snapshot."""
        snapshot = self.world.snapshot
        key = "" if arrival.service is None else arrival.service.key
        routes = snapshot.routes.get(key)
        policies = snapshot.policies.get(key or self.world.waypoint)
        planner = self._planners.get(key)
        if planner is None or planner.routes is not routes or planner.policies is not policies:
            planner = self._planners[key] = Planner(key, routes, policies)
        return planner

    def keep(self) -> None:
        """Part from endpoints that are gone, and forget what is known of services that are. To be called now and then."""
        self.upstreams.keep(self.clock())
        services = self.world.snapshot.services
        for key in [key for key in self._planners if key and key not in services]:
            del self._planners[key]

    def holding(self) -> dict[str, int]:
        """How many there are of what comes and goes, by kind."""
        return {
            "requests": len(self.under_way),
            "planners": len(self._planners),
            "guards": len(self.guards),
            **self.upstreams.holding(),
        }

    def cut(self, why: str) -> None:
        """End all that has not ended yet."""
        for exchange in tuple(self.under_way):
            exchange.give_up(Reason.LEAVING, why)


class Visit:
    """One connection of a client."""

    __slots__ = ("_exchanges", "arrival", "checks", "client", "http2", "version")

    def __init__(self, exchanges: Exchanges, arrival: Arrival, client: Client, *, http2: bool) -> None:
        self._exchanges = exchanges
        self.arrival, self.client, self.http2 = arrival, client, http2
        self.checks = exchanges.checks("" if arrival.service is None else arrival.service.key)
        self.version = observed.Version.HTTP2 if http2 else observed.Version.HTTP1

    def requested(self, stream: ServerStream) -> None:
        """A request came."""
        Exchange(self._exchanges, self, stream).begin()

    def refused(self, refusal: RequestRefused) -> None:
        """What came was no request, and was answered for it."""
        arrival, now = self.arrival, self._exchanges.clock()
        self._exchanges.requests.record(
            observed.RequestObservation(
                arrival.source,
                arrival.target,
                arrival.identity,
                arrival.caller,
                arrival.service,
                self.version,
                method="",
                authority="",
                path="",
                headers=(),
                notes=Notes(),
                status=refusal.status,
                grpc_status=None,
                reason=Reason.BROKEN_REQUEST,
                detail=refusal.detail,
                attempts=(),
                received=0,
                sent=0,
                began=now,
                answered=now,
                ended=now,
            )
        )


class Exchange:
    """One request and what becomes of it: the receiver of the client's message."""

    __slots__ = (
        "_asleep_until",
        "_attempt_by",
        "_chunks",
        "_cluster",
        "_due",
        "_has_heard_all",
        "_held",
        "_idle_by",
        "_is_over",
        "_later",
        "_mirrors",
        "_notes",
        "_on",
        "_owed",
        "_place",
        "_request_by",
        "_response_by",
        "_retrying",
        "_send",
        "_session",
        "_size",
        "_telemetry",
        "_timer",
        "_told",
        "_trailers",
        "_tried",
        "_visit",
        "attempt",
        "began",
        "detail",
        "grpc_status",
        "is_committed",
        "is_upgraded",
        "reason",
        "responded",
        "status",
        "stream",
        "trace",
        "tries",
    )

    def __init__(self, exchanges: Exchanges, visit: Visit, stream: ServerStream) -> None:
        self._on, self._visit, self.stream = exchanges, visit, stream
        self.began = exchanges.clock()
        self.trace: Trace | None = None
        self._telemetry = _UNTOLD
        self._notes = Notes()
        self.attempt: Attempt | None = None
        """The last one."""
        self.tries = 0
        self._told: tuple[observed.Attempt, ...] = ()
        """Attempts that are over."""
        self.status = 0
        """What the client was answered; 0: nothing."""
        self.grpc_status: int | None = None
        self.reason: Reason | None = None
        """Why it was not answered by an endpoint, or not to the end."""
        self.detail = ""
        self.responded: float | None = None
        """When the response began."""
        self.is_committed = False
        """Something of a response was passed on."""
        self.is_upgraded = False
        self._send: Send | None = None
        self._cluster: Cluster | None = None
        self._chunks: list[bytes] | None = []
        self._size = 0
        self._owed = 0
        """Bytes of the client's that are not consumed yet."""
        self._has_heard_all = False
        self._trailers: Headers = ()
        self._held: ResponseHead | None = None
        """A head that may still be followed by another try."""
        self._tried = _NO_TRIES
        self._place: int | None = None
        """Of the hash of what it goes together with others by."""
        self._session = ""
        self._retrying = False
        """It counts as one that is sent again."""
        self._mirrors: tuple[Mirror, ...] = ()
        self._later: Answer | None = None
        """What is answered after a delay."""
        self._is_over = False
        self._due = inf
        self._timer: asyncio.TimerHandle | None = None
        self._request_by = self._attempt_by = self._response_by = self._idle_by = self._asleep_until = inf

    @property
    def clock(self) -> Callable[[], float]:
        """In seconds."""
        return self._on.clock

    @property
    def visit(self) -> Visit:
        """Whose request it is."""
        return self._visit

    @property
    def send(self) -> Send | None:
        """Where it was to go; None: nowhere."""
        return self._send

    def begin(self) -> None:
        """The head has come."""
        stream = self.stream
        stream.receiver = self
        self._on.under_way.add(self)
        planner, headers = self._on.planner(self._visit.arrival), joined(stream.head.headers)
        self._telemetry = _UNTOLD if planner.policies is None else planner.policies.telemetry
        self.trace = self._on.requests.begin(headers, self._telemetry, self._on.world.chance())
        plan: Send | Answered
        if (why := self._on.overloaded()) is not None:
            plan = Answered(refuse(Reason.OVERLOADED, why), Notes())
        else:
            plan = planner.plan(self._visit.client, stream.head, headers, self._visit.checks)
        self._notes = plan.notes
        match plan:
            case Send():
                self._send = plan
                timings = plan.timings
                if timings.request is not None:
                    self._request_by = self.began + timings.request
                if timings.idle is not None:
                    self._idle_by = self.began + timings.idle
                if plan.delay:
                    self._asleep_until = self.began + plan.delay
                    self._arm()
                else:
                    self._first()
            case Answered(answer, _, delay):
                if delay:
                    self._later = answer
                    self._asleep_until = self.began + delay
                    self._arm()
                else:
                    self._answer(answer)

    # What the client says:

    def informed(self, status: int, headers: Headers) -> None:
        """Clients inform nobody."""

    def answered(self, head: ResponseHead) -> None:
        """Clients answer nobody."""

    def body(self, data: Buffer) -> None:
        size = len(data)
        chunks = self._chunks
        if chunks is not None:
            chunks.append(bytes(data))
            self._size += size
            self._on.kept += size
        for mirror in self._mirrors:
            mirror.passed(data)
        attempt = self.attempt
        if attempt is None or attempt.stream is None:
            self._owed += size
            return
        self._keep_less()
        attempt.stream.send(data)
        if self._idle_by < inf:
            self._moved()
        if attempt.stream.is_full:
            self._owed += size
        else:
            self.stream.consumed(size)

    def ended(self, trailers: Headers) -> None:
        self._has_heard_all = True
        self._trailers = trailers
        for mirror in self._mirrors:
            mirror.finished(trailers)
        attempt = self.attempt
        if attempt is not None and attempt.stream is not None:
            attempt.stream.finish(trailers)
            if self.is_upgraded and attempt.is_over:
                self._over()
                return
        self._await_response()

    def cut(self, fault: Fault, detail: str) -> None:
        self._lost(_OF_CLIENT[fault], detail)

    def drained(self) -> None:
        """The client takes more of the response."""
        attempt = self.attempt
        if attempt is not None:
            attempt.release()

    def give_up(self, reason: Reason, detail: str) -> None:
        """End it now, with an answer if there can be one."""
        self._fail(refuse(reason, detail))

    # Attempts

    def _first(self) -> None:
        """Everything is ready for the first try."""
        send, arrival = self._send, self._visit.arrival
        assert send is not None  # noqa: S101
        upstreams = self._on.upstreams
        namespace = self._visit.client.route.caller.namespace
        cluster = self._cluster = upstreams.cluster(send.service, send.port, send.subset, namespace)
        balancer = cluster.policy.balancer
        if isinstance(balancer, RingHash | Maglev):
            text = text_of(balancer.key, send.asked, arrival.source.ip)
            if text is None and isinstance(balancer.key, HashCookie) and balancer.key.ttl is not None:
                text = _request_id()
                told = Edit(added=session.made(balancer.key, text))
                send = self._send = send._replace(response=send.response.then(told))
            self._place = None if text is None else place_on_ring(text)
        persistence = send.persistence or cluster.policy.persistence
        if persistence is not None:
            self._session = session.endpoint_of(persistence, send.asked.headers, time.time())
        cluster.guard.began(self.began, send.budget)
        if send.mirrors:
            begun = [Mirror.begun(upstreams, send, to, self._visit, self._on.clock) for to in send.mirrors]
            self._mirrors = tuple(mirror for mirror in begun if mirror is not None)
        self._try()

    def _try(self) -> None:
        """Send the request to an endpoint."""
        send, cluster, visit = self._send, self._cluster, self._visit
        assert send is not None  # noqa: S101
        assert cluster is not None  # noqa: S101
        now = self._on.clock()
        http2 = speaks_http2(
            cluster.declared,
            is_grpc=send.notes.is_grpc,
            by_client=visit.http2,
            upgrades=bool(send.head.upgrade),
        )
        cluster.refresh()
        if not send.service or (cluster.is_passthrough and visit.arrival.service is not None):
            chosen = cluster.at(visit.arrival.target, visit.arrival.workload, http2=http2)
        else:
            chosen = cluster.choose(
                lambda out: Wish(out, self._tried, self._place, self._session), now, http2=http2
            )
        if isinstance(chosen, Missing):
            self._fail(refuse(chosen.reason, chosen.detail))
            return
        place = chosen.place
        if not cluster.begin(chosen, now):
            self._fail(refuse(Reason.TOO_MANY_REQUESTS, f"{cluster.service} has as many requests as it may"))
            return
        self.tries += 1
        self._tried |= {place.uid}
        attempt = self.attempt = Attempt(self, place, now, chosen.probe)
        timings = send.timings
        if timings.attempt is not None and not (
            timings.last_attempt_unlimited and self.tries > send.retry.attempts
        ):
            self._attempt_by = now + timings.attempt
        client = self._on.upstreams.take(place)
        if client is not None:
            attempt.connected(client)
        elif not cluster.wait(place, attempt):
            attempt.is_over = True
            attempt.abandon(None)
            self.attempt = None
            self._fail(refuse(Reason.TOO_MANY_PENDING, f"as many requests wait for {cluster.service} as may"))
            return
        self._arm()

    def connected(self, stream: ClientStream) -> None:
        """An attempt has a stream: pass on what has come so far."""
        for chunk in self._chunks or ():
            stream.send(chunk)
        self._keep_less()
        if self._has_heard_all:
            stream.finish(self._trailers)
            self._await_response()
        if self._owed and not stream.is_full:
            self.passed_on()

    def _keep_less(self) -> None:
        """All that was kept has been passed on: it is kept on if it is not too much."""
        if self._size > REPLAY or self._on.kept > MOST_KEPT:
            self._keep_nothing()

    def _keep_nothing(self) -> None:
        """There is no other try from here on."""
        if self._chunks is not None:
            self._chunks = None
            self._on.kept -= self._size

    def passed_on(self) -> None:
        """The endpoint takes more of the request."""
        owed, self._owed = self._owed, 0
        if owed:
            self.stream.consumed(owed)

    def failed(self, outcome: retry.Outcome, answer: Answer) -> None:
        """An attempt came to nothing: try again, or answer."""
        if not self._again(outcome, answer.reason):
            self._fail(answer)

    def heard(self, attempt: Attempt, head: ResponseHead) -> None:
        """An endpoint answers."""
        send = self._send
        assert send is not None  # noqa: S101
        if send.notes.is_grpc:
            self.grpc_status = grpc.status_in(head.headers)
            # What ends in the same breath tells its status in time for another try, and may go on as it came.
            self._held = head
            self._on.loop.call_soon(self._let_go, attempt)
            return
        if head.status >= 400 or send.retry.codes:
            limited = head.status == 429 and any(name == "x-envoy-ratelimited" for name, _ in head.headers)
            if self._again(retry.Answered(head.status, None, limited)):
                return
        self._commit(head)

    def said(self, attempt: Attempt, data: Buffer) -> None:
        """Part of an endpoint's response."""
        if self._held is not None:
            self._decide_held(ended=False)
            if self.attempt is not attempt or self._is_over:
                return
        stream = self.stream
        stream.send(data)
        if self._idle_by < inf:
            self._moved()
        if stream.is_full:
            attempt.owed += len(data)
        elif attempt.stream is not None:
            attempt.stream.consumed(len(data))

    def finished(self, attempt: Attempt, trailers: Headers) -> None:
        """An endpoint has said all."""
        if trailers and self._notes.is_grpc:
            self.grpc_status = grpc.status_in(trailers)
        if self._held is not None:
            self._decide_held(ended=not trailers)
            if self.attempt is not attempt or self._is_over:
                return
        self.stream.finish(trailers)
        if not self.is_upgraded or self._has_heard_all:
            self._over()

    def broken(self, outcome: retry.Outcome, fault: Fault, detail: str) -> None:
        """An endpoint's answer was cut."""
        reason = _OF_ENDPOINT[fault]
        if self.is_committed:
            self._lost(reason, detail)
            return
        self._held = None
        self.failed(outcome, refuse(reason, detail))

    def grpc_status_with(self, trailers: Headers) -> int | None:
        """What a response that ends with these trailers says of a call."""
        if not self._notes.is_grpc:
            return None
        return grpc.status_in(trailers) if trailers else self.grpc_status

    def is_failure(self, status: int, grpc_status: int | None) -> bool:
        """Whether a response is a failure of the application."""
        return is_failure(status, grpc_status, () if self._send is None else self._send.classes)

    def informs(self, status: int, headers: Headers) -> None:
        """An endpoint says something before its answer."""
        if not self.is_committed:
            self.stream.inform(status, headers)

    def _again(self, outcome: retry.Outcome, reason: Reason | None = None) -> bool:
        """Whether there is another try, because of ``reason``; None: because of what was answered."""
        send, cluster = self._send, self._cluster
        if send is None or cluster is None or self.is_committed:
            return False
        now = self._on.clock()
        left = None if self._request_by == inf else self._request_by - now
        asked = retry.Asked(
            retry.is_idempotent(send.head), self._chunks is not None and not send.head.upgrade
        )
        decision = retry.after(send.retry, asked, self.tries, outcome, left, self._on.world.chance())
        if not isinstance(decision, retry.Again):
            return False
        self._end_retry()
        if not cluster.guard.retry(now, send.budget):
            return False
        self._retrying = True
        if self.attempt is not None:
            self.attempt.abandon(outcome, politely=isinstance(outcome, retry.Answered))
            self._told += (self.attempt.told(now, reason),)
            self.attempt = None
        self._held = None
        self.grpc_status = None
        self._attempt_by = self._response_by = inf
        self._asleep_until = now + decision.delay
        self._arm()
        return True

    # The response

    def _let_go(self, attempt: Attempt) -> None:
        if self._held is not None and self.attempt is attempt:
            self._decide_held(ended=False)

    def _decide_held(self, *, ended: bool) -> None:
        """Pass the held head on, or try again; ``ended``: nothing follows it."""
        head = self._held
        if head is None:
            return
        if (self.grpc_status or head.status != 200) and self._again(
            retry.Answered(head.status, self.grpc_status)
        ):
            return
        self._commit(head, ended=ended)

    def _commit(self, head: ResponseHead, *, ended: bool = False) -> None:
        """Pass a head on: there is no way back."""
        send, attempt = self._send, self.attempt
        assert send is not None  # noqa: S101
        assert attempt is not None  # noqa: S101
        self._held = None
        self._keep_nothing()
        self.is_committed = True
        self.responded = self._on.clock()
        self.status = head.status
        self._attempt_by = inf
        if head.status == 101:
            self.is_upgraded = True
            self._request_by = self._response_by = inf
        headers = send.response.of(head.headers) if send.response else head.headers
        persistence = send.persistence or attempt.place.cluster.policy.persistence
        if persistence is not None and attempt.place.uid != self._session:
            headers += session.told(persistence, attempt.place.uid, time.time())
        has_no_body = head.length == 0 or head.status in {204, 304} or self.stream.head.method == "HEAD"
        self.stream.respond(ResponseHead(head.status, headers, head.length), ended=ended or has_no_body)

    def _fail(self, answer: Answer, outcome: retry.Outcome | None = None) -> None:
        """Answer by ourselves, if that can still be done; ``outcome``: what that says of the endpoint."""
        if self._is_over:
            return
        if self.is_committed:
            self._lost(answer.reason or Reason.RESET, answer.detail, outcome)
            return
        self._free_attempt(outcome)
        if self._send is not None and self._send.added:
            answer = replace(answer, headers=answer.headers + self._send.added)
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        is_grpc = self._notes.is_grpc
        head, body = written(answer, for_grpc=is_grpc)
        self.status, self.reason, self.detail = head.status, answer.reason, answer.detail
        if is_grpc:
            self.grpc_status = grpc.status_in(head.headers)
        self.is_committed = True
        self.responded = self._on.clock()
        has_body = bool(body) and self.stream.head.method != "HEAD"
        self.stream.respond(head, ended=not has_body)
        if has_body:
            self.stream.send(body)
            self.stream.finish()
        self._over()

    def _lost(self, reason: Reason, detail: str, outcome: retry.Outcome | None = None) -> None:
        """Nothing more can be said to the client, and it is not to take what it has for the whole."""
        if self._is_over:
            return
        self.reason, self.detail = reason, detail
        self._free_attempt(outcome)
        self.stream.reset(Fault.RESET)
        self._over()

    def _free_attempt(self, outcome: retry.Outcome | None) -> None:
        if self.attempt is not None:
            self.attempt.abandon(outcome)

    def _end_retry(self) -> None:
        if self._retrying and self._cluster is not None:
            self._retrying = False
            self._cluster.guard.give(Kind.RETRY)

    def _over(self) -> None:
        """Let everything go, and tell of it."""
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        self._free_attempt(None)
        self._end_retry()
        self._held = None
        self._keep_nothing()
        if not self._has_heard_all:
            for mirror in self._mirrors:
                mirror.give_up()
        if not self.stream.is_over:
            # What comes of the request from now on is thrown away.
            self.stream.receiver = None
            self.passed_on()
        self._on.under_way.discard(self)
        self._on.requests.record(self._observation())

    def _observation(self) -> observed.RequestObservation:
        arrival, stream, attempt = self._visit.arrival, self.stream, self.attempt
        head, now = stream.head, self._on.clock()
        attempts = self._told if attempt is None else (*self._told, attempt.told(now, self.reason))
        return observed.RequestObservation(
            arrival.source,
            arrival.target,
            arrival.identity,
            arrival.caller,
            arrival.service,
            self._visit.version,
            head.method,
            head.authority,
            head.path,
            head.headers,
            self._notes,
            self.status,
            self.grpc_status,
            self.reason,
            self.detail,
            attempts,
            stream.received,
            stream.sent,
            self.began,
            self.responded,
            now,
            self._telemetry,
            self.trace,
        )

    # Time

    def _await_response(self) -> None:
        send = self._send
        if send is not None and send.timings.response is not None and self._response_by == inf:
            self._response_by = self._on.clock() + send.timings.response
            self._arm()

    def _moved(self) -> None:
        send = self._send
        if send is not None and send.timings.idle is not None:
            # The timer rings too early then, and is set anew.
            self._idle_by = self._on.clock() + send.timings.idle

    def _arm(self) -> None:
        """Have the timer ring at the next deadline, or before."""
        due = min(self._request_by, self._attempt_by, self._response_by, self._idle_by, self._asleep_until)
        if due == inf or self._is_over:
            return
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._on.loop.call_later(max(0.0, due - self._on.clock()), self._rang)

    def _rang(self) -> None:
        self._timer = None
        now = self._on.clock() + _EARLY
        if self._request_by <= now:
            self._late(refuse(Reason.TIMED_OUT, "the request took longer than its route allows"))
        elif self._response_by <= now:
            self._late(refuse(Reason.RESPONSE_TIMED_OUT, "the response took longer than its route allows"))
        elif self._idle_by <= now:
            self._late(refuse(Reason.IDLE, "nothing moved for longer than the route allows"))
        elif self._attempt_by <= now:
            self._attempt_by = inf
            answer = refuse(
                Reason.ATTEMPT_TIMED_OUT, "the endpoint took longer than the route allows for a try"
            )
            if not self._again(self._timed_out(), answer.reason):
                self._late(answer)
        elif self._asleep_until <= now:
            self._asleep_until = inf
            self._wake()
        self._arm()

    def _late(self, answer: Answer) -> None:
        waits = self.attempt is not None and self.attempt.responded is None
        self._fail(answer, self._timed_out() if waits else None)

    def _timed_out(self) -> retry.TimedOut:
        return retry.TimedOut(was_sent=self.attempt is not None and self.attempt.stream is not None)

    def _wake(self) -> None:
        if self._later is not None:
            self._answer(self._later)
        elif self.tries:
            self._try()
        else:
            self._first()


class Attempt:
    """One try of a request at one endpoint: the receiver of the endpoint's message."""

    __slots__ = (
        "_exchange",
        "_has_failed",
        "_is_settled",
        "_probe",
        "began",
        "is_over",
        "length",
        "owed",
        "place",
        "responded",
        "span",
        "status",
        "stream",
        "was_reused",
    )

    def __init__(self, exchange: Exchange, place: Place, now: float, probe: Probe | None) -> None:
        self._exchange = exchange
        self.place = place
        self._probe = probe
        self.began = now
        self.responded: float | None = None
        """When its response began."""
        self.status = 0
        self.length: int | None = None
        """Of its body, if that was said."""
        self.stream: ClientStream | None = None
        """None: it waits for a connection."""
        self.was_reused = False
        """Whether its connection had been asked on before."""
        self.owed = 0
        """Bytes of the endpoint's that are not consumed yet."""
        self.span = ""
        self.is_over = False
        self._is_settled = self._has_failed = False

    # What the connection says:

    def connected(self, client: HttpClient) -> None:
        send = self._exchange.send
        assert send is not None  # noqa: S101
        head, trace = send.head, self._exchange.trace
        if trace is not None:
            self.span, edit = trace.attempt()
            if edit:
                head = replace(head, headers=edit.of(head.headers))
        self.was_reused = not client.is_fresh
        self.stream = client.request(head, self, ended=head.length == 0 and not head.upgrade)
        self._exchange.connected(self.stream)

    def unconnected(self, reason: Reason, detail: str) -> None:
        self.is_over = True
        self._settle(retry.ConnectFailed())
        self._exchange.failed(retry.ConnectFailed(), refuse(reason, detail))

    # What the endpoint says:

    def informed(self, status: int, headers: Headers) -> None:
        self._exchange.informs(status, headers)

    def answered(self, head: ResponseHead) -> None:
        self.status, self.length = head.status, head.length
        self.responded = self._exchange.clock()
        self._exchange.heard(self, head)

    def body(self, data: Buffer) -> None:
        self._exchange.said(self, data)

    def ended(self, trailers: Headers) -> None:
        exchange, stream = self._exchange, self.stream
        self.is_over = True
        grpc_status = exchange.grpc_status_with(trailers)
        self._settle(
            retry.Answered(self.status, grpc_status), failed=exchange.is_failure(self.status, grpc_status)
        )
        exchange.finished(self, trailers)
        if stream is not None and not (exchange.is_upgraded or stream.has_said_all):
            # It has answered without hearing all, and nobody says the rest.
            stream.receiver = None
            stream.reset()

    def cut(self, fault: Fault, detail: str) -> None:
        self.is_over = True
        outcome = retry.Refused() if fault is Fault.REFUSED else retry.Reset(True, self.was_reused)
        self._settle(outcome)
        self._exchange.broken(outcome, fault, detail)

    def drained(self) -> None:
        """The endpoint takes more of the request."""
        self._exchange.passed_on()

    # What its exchange asks for:

    def release(self) -> None:
        """The client has taken what was owed."""
        owed, self.owed = self.owed, 0
        if owed and self.stream is not None:
            self.stream.consumed(owed)

    def abandon(self, outcome: retry.Outcome | None, *, politely: bool = False) -> None:
        """Nobody wants its response any more, if it has not ended; ``politely``: it may end, if it does so soon.

        ``outcome``: what that says of the endpoint.
        """
        self._settle(outcome)
        if self.is_over:
            return
        self.is_over = True
        stream = self.stream
        if stream is None:
            self.place.cluster.withdraw(self.place, self)
            return
        stream.receiver = None
        self.release()
        is_short = self.length is not None and self.length <= _DRAINED
        if politely and is_short and stream.has_said_all and not self.place.http2:
            asyncio.get_running_loop().call_later(_DRAIN_SECONDS, stream.reset)
        else:
            stream.reset()

    def told(self, now: float, reason: Reason | None) -> observed.Attempt:
        """What is said of it when it is over."""
        where = self.place.destination
        return observed.Attempt(
            where.address,
            where.endpoint,
            self.began,
            now,
            self.status or None,
            reason,
            self.span,
            self._has_failed,
        )

    def _settle(self, outcome: retry.Outcome | None, *, failed: bool | None = None) -> None:
        """Tell its cluster, once."""
        if self._is_settled:
            return
        self._is_settled, self._has_failed = True, outcome is not None if failed is None else failed
        took = None if self.responded is None else self.responded - self.began
        now = self._exchange.clock()
        self.place.cluster.ended(self.place, outcome, took, now, failed=self._has_failed, probe=self._probe)


class Mirror:
    """A copy of a request, whose response nobody hears. It is given up rather than waited for."""

    __slots__ = (
        "_chunks",
        "_clock",
        "_has_ended",
        "_head",
        "_is_over",
        "_place",
        "_probe",
        "_size",
        "_status",
        "_stream",
        "_timer",
        "_trailers",
    )

    def __init__(self, chosen: Chosen, head: RequestHead, clock: Callable[[], float], seconds: float) -> None:
        self._place, self._probe = chosen
        self._status = 0
        self._head = head
        self._clock = clock
        self._chunks: list[bytes] = []
        self._size = 0
        self._has_ended = self._is_over = False
        self._trailers: Headers = ()
        self._stream: ClientStream | None = None
        self._timer = asyncio.get_running_loop().call_later(seconds, self.give_up)

    @classmethod
    def begun(
        cls, upstreams: Upstreams, send: Send, to: Backend, visit: Visit, clock: Callable[[], float]
    ) -> Mirror | None:
        """A copy that goes to an endpoint of ``to``; None: there is none that takes it."""
        namespace = visit.client.route.caller.namespace
        cluster = upstreams.cluster(to.service, to.port or send.port, to.subset, namespace)
        http2 = speaks_http2(
            cluster.declared, is_grpc=send.notes.is_grpc, by_client=visit.http2, upgrades=False
        )
        now = clock()
        chosen = None if send.head.upgrade else cluster.choose(Wish, now, http2=http2)
        if chosen is None or isinstance(chosen, Missing) or not cluster.begin(chosen, now):
            return None
        place = chosen.place
        head = replace(send.head, authority=_shadow(send.head.authority), expects_continue=False)
        mirror = cls(chosen, head, clock, send.timings.request or _MIRROR_SECONDS)
        client = upstreams.take(place)
        if client is not None:
            mirror.connected(client)
        elif not cluster.wait(place, mirror):
            mirror._over(None)
            return None
        return mirror

    def connected(self, client: HttpClient) -> None:
        stream = self._stream = client.request(self._head, self, ended=self._head.length == 0)
        for chunk in self._chunks:
            stream.send(chunk)
        self._chunks.clear()
        if self._has_ended:
            stream.finish(self._trailers)

    def unconnected(self, _reason: Reason, _detail: str) -> None:
        self._over(retry.ConnectFailed())

    def informed(self, status: int, headers: Headers) -> None:
        """Nobody hears it."""

    def answered(self, head: ResponseHead) -> None:
        self._status = head.status

    def drained(self) -> None:
        """It is given up when its stream is full, so nobody waits for that."""

    def body(self, data: Buffer) -> None:
        if self._stream is not None:
            self._stream.consumed(len(data))

    def ended(self, _trailers: Headers) -> None:
        if self._stream is not None:
            self._stream.reset()
        self._over(retry.Answered(self._status))

    def cut(self, _fault: Fault, _detail: str) -> None:
        self._over(retry.Reset(was_sent=True))

    # What its exchange says:

    def passed(self, data: Buffer) -> None:
        """Part of the client's body."""
        if self._is_over:
            return
        self._size += len(data)
        if self._stream is None:
            self._chunks.append(bytes(data))
            if self._size > REPLAY:
                self.give_up()
            return
        self._stream.send(data)
        if self._stream.is_full:
            self.give_up()

    def finished(self, trailers: Headers) -> None:
        """The client has said all."""
        self._has_ended = True
        self._trailers = trailers
        if self._stream is not None:
            self._stream.finish(trailers)

    def give_up(self) -> None:
        """It is not worth waiting for."""
        if self._is_over:
            return
        if self._stream is None:
            self._place.cluster.withdraw(self._place, self)
        else:
            self._stream.reset()
        self._over(None)

    def _over(self, outcome: retry.Outcome | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._chunks.clear()
            self._timer.cancel()
            self._place.cluster.ended(self._place, outcome, None, self._clock(), probe=self._probe)


def _shadow(authority: str) -> str:
    """As Envoy marks a copy."""
    if authority.endswith("]"):
        return f"{authority}-shadow"
    host, colon, port = authority.partition(":") if authority.count(":") == 1 else (authority, "", "")
    return f"{host}-shadow{colon}{port}"


def _request_id() -> str:
    """Of 122 bits by chance. Source: RFC 9562, version 4."""
    text = f"{random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
