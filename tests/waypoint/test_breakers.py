"""Endpoints that fail are left out, and come back: by requests, on a clock that jumps."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any

from waypoint.stage import API, GET, OK, Stage, endpoint, settle, travels

from ambient.core.forwarding.destination import Missing
from ambient.core.forwarding.reason import Reason
from ambient.core.model.route import (
    Backend,
    Forward,
    Origin,
    Protocol,
    Retry,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Unmatched,
)
from ambient.core.model.traffic import Accrual, ConnectionLimits, Outlier, TrafficPolicies, TrafficPolicy
from ambient.core.resilience.balance.balancer import Wish
from ambient.core.resilience.gauge import Kind
from ambient.core.resilience.retry import Answered
from ambient.net.http import HttpClient

ERROR = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"
RULE = RouteRule(
    Origin("HTTPRoute", "shop", "r"), Forward((Backend(API.key, 80),)), (RouteMatch(),), retry=Retry(0)
)


def routes(**fields: Any) -> ServiceRoutes:
    table = RouteTable(Protocol.HTTP, (RULE,), Unmatched.NOT_FOUND)
    return ServiceRoutes(API.key, (table,), traffic=TrafficPolicies(TrafficPolicy(**fields)))


async def ask(stage: Stage, failing: frozenset[str] = frozenset()) -> tuple[str, int]:
    """Who was asked, and what the client was answered."""
    client = stage.client()
    client.say(GET)
    await settle()
    asked = [end for end in stage.ends if end.take()]
    for end in asked:
        end.say(ERROR if end.where.uid in failing else OK)
    await settle()
    return (asked[0].where.uid if asked else ""), int(client.take().split()[1])


FIRST, SECOND = endpoint(1).uid, endpoint(2).uid


@travels
async def test_an_endpoint_that_fails_is_left_out_for_a_while():
    outlier = Outlier(consecutive_5xx=2, base_ejection=timedelta(seconds=30), most_ejected_percent=100)
    stage = Stage(routes(outlier=outlier), endpoints=2, chance=random.Random(1).random)
    failing = frozenset({FIRST})
    asked = [await ask(stage, failing) for _ in range(24)]
    assert asked.count((FIRST, 500)) == 2
    assert {uid for uid, _ in asked[-6:]} == {SECOND}
    await asyncio.sleep(31)
    assert {uid for uid, _ in [await ask(stage) for _ in range(24)]} == {FIRST, SECOND}


@travels
async def test_an_endpoint_alone_stays_when_no_more_may_go():
    stage = Stage(routes(outlier=Outlier(consecutive_5xx=2, most_ejected_percent=10)), endpoints=2)
    asked = [await ask(stage, frozenset({FIRST, SECOND})) for _ in range(12)]
    assert {status for _, status in asked} == {500}


@travels
async def test_a_breaker_opens_and_one_probe_closes_it():
    accrual = Accrual(consecutive_failures=2, least_penalty=timedelta(seconds=1), jitter_ratio=0.0)
    stage = Stage(routes(accrual=accrual), endpoints=1)
    failing = frozenset({FIRST})
    assert [await ask(stage, failing) for _ in range(3)] == [(FIRST, 500), (FIRST, 500), ("", 503)]
    assert stage.records[-1].reason is Reason.NO_HEALTHY_ENDPOINT
    await asyncio.sleep(1.1)
    assert await ask(stage, failing) == (FIRST, 500)
    assert await ask(stage, failing) == ("", 503)
    await asyncio.sleep(2.1)
    probe, other = stage.client(), stage.client()
    for client in (probe, other):
        client.say(GET)
        await settle()
    assert other.take().startswith(b"HTTP/1.1 503 ")
    for end in stage.ends:
        if end.take():
            end.say(OK)
    await settle()
    assert probe.take() == OK
    assert await ask(stage) == (FIRST, 200)


@travels
async def test_a_probe_whose_client_leaves_leaves_room_for_another():
    accrual = Accrual(consecutive_failures=1, least_penalty=timedelta(seconds=1), jitter_ratio=0.0)
    stage = Stage(routes(accrual=accrual), endpoints=1)
    assert await ask(stage, frozenset({FIRST})) == (FIRST, 500)
    await asyncio.sleep(1.1)
    client = stage.client()
    client.say(GET)
    await settle()
    client.hang_up()
    await settle()
    for end in stage.ends:
        end.take()
    await asyncio.sleep(1.1)
    assert await ask(stage) == (FIRST, 200)


@travels
async def test_a_probe_that_a_limit_keeps_back_leaves_room_for_another():
    accrual = Accrual(consecutive_failures=1, least_penalty=timedelta(seconds=1), jitter_ratio=0.0)
    stage = Stage(routes(accrual=accrual, limits=ConnectionLimits(requests=1)), endpoints=1)
    busy, kept_back = stage.client(), stage.client()
    busy.say(GET)
    await settle()
    guard = stage.upstreams.cluster(API.key, 80, "", "").guard
    guard.heard(FIRST, Answered(500), 1, stage.exchanges.clock())
    await asyncio.sleep(1.1)
    kept_back.say(GET)
    await settle()
    assert stage.records[-1].reason is Reason.TOO_MANY_REQUESTS
    stage.ends[0].take()
    stage.ends[0].say(OK)
    await settle()
    assert await ask(stage) == (FIRST, 200)


@travels
async def test_who_hears_that_there_is_no_connection_may_have_another_stop_waiting():
    stage = Stage(routes(), endpoints=1)
    cluster = stage.upstreams.cluster(API.key, 80, "", "")
    chosen = cluster.choose(Wish, stage.exchanges.clock(), http2=False)
    assert not isinstance(chosen, Missing)
    told: list[str] = []

    class Waiting:
        def __init__(self, name: str, other: Waiting | None = None) -> None:
            self.name, self.other = name, other

        def connected(self, client: HttpClient) -> None:
            raise AssertionError("nobody connects")

        def unconnected(self, reason: Reason, detail: str) -> None:
            told.append(self.name)
            if self.other is not None:
                cluster.withdraw(chosen.place, self.other)

    second = Waiting("second")
    for waiter in (Waiting("first", second), second):
        assert cluster.wait(chosen.place, waiter)
    cluster._part(chosen.place)
    assert told == ["first"]
    assert stage.counts()[Kind.PENDING] == 0
