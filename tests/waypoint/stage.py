"""A waypoint's worker without a socket: clients and endpoints are bytes that a test writes and reads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any

from core.worlds import at, service, workload, world
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from immutables import Map
from net.scripted import FakeEnd
from net.travel import travel

from ambient.core import delta
from ambient.core.errors import Unavailable
from ambient.core.forwarding.destination import Destination
from ambient.core.forwarding.plan import Verified
from ambient.core.http.http1 import Http1Server
from ambient.core.http.http2 import Http2Server
from ambient.core.http.message import RequestRefused
from ambient.core.model.identity import SpiffeId
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.service import Service
from ambient.core.model.telemetry import Telemetry
from ambient.core.model.workload import Workload
from ambient.core.request_observation import RequestObservation
from ambient.core.resilience.gauge import Kind
from ambient.core.snapshot import Snapshot
from ambient.core.tracing import Trace
from ambient.net.http import HttpServer
from ambient.net.relay import End
from ambient.waypoint.arrival import Arrival
from ambient.waypoint.exchange import Exchanges
from ambient.waypoint.guards import Guards
from ambient.waypoint.ledger import Ledger
from ambient.waypoint.upstream import Upstreams
from ambient.waypoint.world import World

API = service("api", "10.96.0.1")
OWN = workload("waypoint", "10.0.0.5")
CALLER = SpiffeId("cluster.local", "web", "front")
_ledgers: list[Ledger] = []
"""Of the test that runs."""


def endpoint(number: int, **labels: str) -> Workload:
    return workload(f"v{number}", f"10.0.1.{number}", services={API.key: ((80, 8080),)}, labels=Map(labels))


class Endpoint(FakeEnd):
    """The other end of a connection that the waypoint has made."""

    def __init__(self, where: Destination) -> None:
        super().__init__()
        self.where = where

    @property
    def heard(self) -> bytes:
        """All that the waypoint has said."""
        return b"".join(self.written)

    def take(self) -> bytes:
        """What the waypoint has said since last time."""
        heard = self.heard
        self.written.clear()
        return heard

    def finish(self) -> None:
        """A server closes too, when its client has enough."""
        super().finish()
        asyncio.get_running_loop().call_soon(self._finished)

    def _finished(self) -> None:
        if self.relay is not None:
            self.relay.finished(self)

    def break_off(self) -> None:
        """Reset."""
        assert self.relay is not None
        self.relay.broken(self, "connection reset by peer")
        self.relay.gone(self, None)

    def reset(self) -> None:
        super().reset()
        self._part()

    def close(self) -> None:
        super().close()
        self._part()

    def _part(self) -> None:
        if self.relay is not None:
            relay, self.relay = self.relay, None
            relay.gone(self, None)


class Dialled(Upstreams):
    """Connections are made of nothing: ``ends`` has them in order."""

    def __init__(self, world_: World, guards: Guards) -> None:
        super().__init__(world_, None, None, guards)  # type: ignore[arg-type]
        self.ends: list[Endpoint] = []
        self.refusals: list[str] = []
        """What the next ones come to, instead."""
        self.gate: asyncio.Event | None = None
        """None: connections are made at once."""

    async def _end(self, where: Destination, service: str) -> End:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusals:
            raise Unavailable(self.refusals.pop(0))
        end = Endpoint(where)
        self.ends.append(end)
        return end


def mesh(
    routes: ServiceRoutes | None = None,
    *resources: delta.Resource,
    endpoints: int | tuple[Workload, ...] = 1,
    of: Service = API,
) -> Snapshot:
    """A service with endpoints and routes, and the workload that we are."""
    if isinstance(endpoints, int):
        endpoints = tuple(endpoint(number + 1) for number in range(endpoints))
    return world(of, OWN, *endpoints, *(() if routes is None else (routes,)), *resources)


class Stage:
    """One worker, and one client of it to begin with."""

    def __init__(
        self,
        routes: ServiceRoutes | None = None,
        *resources: delta.Resource,
        endpoints: int | tuple[Workload, ...] = 1,
        of: Service = API,
        chance: Callable[[], float] = lambda: 0.0,
        ledger: Ledger | None = None,
        **options: object,
    ) -> None:
        loop = asyncio.get_running_loop()
        snapshot = mesh(routes, *resources, endpoints=endpoints, of=of)
        self.world = World("shop/waypoint.shop.svc.cluster.local", OWN.uid, snapshot, chance=chance)
        if ledger is None:
            ledger, memory = Ledger.make(1)
            os.close(memory)
        _ledgers.append(ledger)
        self.guards = Guards(ledger, chance)
        self.upstreams = Dialled(self.world, self.guards)
        self.records: list[RequestObservation] = []
        self.causes: list[tuple[str, str]] = []
        self.exchanges = Exchanges(
            self.world,
            self.upstreams,
            self.guards,
            self,
            lambda _rules, _head: Verified(),
            clock=loop.time,
            **options,  # type: ignore[arg-type]
        )
        self.service = of

    def begin(self, headers: Mapping[str, str], telemetry: Telemetry, chance: float) -> Trace | None:
        return None

    def record(self, seen: RequestObservation) -> None:
        self.records.append(seen)

    def counts(self) -> dict[Kind, int]:
        """What is under way in all."""
        guards = [held[1] for held in self.guards._held.values()]
        return {kind: sum(guard.under_way(kind) for guard in guards) for kind in Kind}

    def caused(self, what: str, why: str) -> None:
        self.causes.append((what, why))

    def client(self, workload_: Workload | None = None, *, port: int = 8080, http2: bool = False) -> Client:
        return Client(self, workload_, port, http2=http2)

    @property
    def ends(self) -> list[Endpoint]:
        return self.upstreams.ends

    def change(self, *resources: delta.Resource, removed: tuple[object, ...] = ()) -> None:
        """Another snapshot."""
        self.world.snapshot = delta.apply(self.world.snapshot, delta.Delta(resources, *removed))


class Client(FakeEnd):
    """A client's connection."""

    def __init__(
        self, stage: Stage, workload_: Workload | None, port: int = 8080, *, http2: bool = False
    ) -> None:
        super().__init__()
        target = at("10.96.0.1:80") if workload_ is None else at(f"{workload_.addresses[0]}:{port}")
        service_ = stage.service if workload_ is None else None
        arrival = Arrival(at("10.0.0.9:4000"), CALLER, None, target, service_, workload_, 0.0)
        self.refused: list[RequestRefused] = []
        visit = stage.exchanges.visit(arrival, http2=http2)
        machine = Http2Server() if http2 else Http1Server()
        self.server = HttpServer(self, machine, visit.requested, self.refused.append, lambda: None)
        self.server.start()

    def take(self) -> bytes:
        """What it was told since last time."""
        heard = b"".join(self.written)
        self.written.clear()
        return heard

    def hang_up(self) -> None:
        assert self.relay is not None
        self.relay.broken(self, "connection reset by peer")
        self.relay.gone(self, None)

    def reset(self) -> None:
        super().reset()
        if self.relay is not None:
            relay, self.relay = self.relay, None
            relay.gone(self, None)


def travels(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test on a clock that jumps, in which nothing of ours may fail unseen."""

    @wraps(test)
    def run(*args: Any, **fields: Any) -> None:
        faults: list[object] = []

        async def watched() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, fault: faults.append(fault))
            await test(*args, **fields)

        try:
            travel(watched())
        finally:
            while _ledgers:
                _ledgers.pop().close()
        assert not faults, faults

    return run


class Http2:
    """The far side of a connection, as another library speaks HTTP/2; ``end`` is ours."""

    def __init__(self, end: FakeEnd, *, asks: bool) -> None:
        self.end = end
        self.machine = H2Connection(H2Configuration(client_side=asks, header_encoding="utf-8"))
        self.machine.initiate_connection()
        self.flush()

    def flush(self) -> None:
        data = self.machine.data_to_send()
        if data and self.end.relay is not None:
            self.end.say(data)

    def heard(self) -> list[Event]:
        """What came since last time."""
        data = b"".join(self.end.written)
        self.end.written.clear()
        events = self.machine.receive_data(data) if data else []
        self.flush()
        return [event for event in events if isinstance(event, _TOLD)]

    def ask(
        self, *headers: tuple[str, str], path: str = "/S/M", ended: bool = False, method: str = "POST"
    ) -> int:
        stream: int = self.machine.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "api.shop"), (":path", path)]
        self.machine.send_headers(stream, [*pseudo, *headers], end_stream=ended)
        self.flush()
        return stream

    def say(self, stream: int, data: bytes, *, ended: bool = False) -> None:
        self.machine.send_data(stream, data, end_stream=ended)
        self.flush()

    def tell(self, stream: int, *headers: tuple[str, str], ended: bool = False) -> None:
        self.machine.send_headers(stream, headers, end_stream=ended)
        self.flush()

    def reset(self, stream: int, code: int) -> None:
        self.machine.reset_stream(stream, code)
        self.flush()


_TOLD = (RequestReceived, ResponseReceived, DataReceived, TrailersReceived, StreamEnded, StreamReset)


async def settle(turns: int = 12) -> None:
    """Let all that is due now happen."""
    for _ in range(turns):
        await asyncio.sleep(0)


GET = b"GET /a HTTP/1.1\r\nhost: api.shop\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
