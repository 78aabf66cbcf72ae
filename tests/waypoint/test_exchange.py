"""One request from head to tail: real machines at both ends, no sockets, and a clock that jumps."""

from __future__ import annotations

import asyncio
import os
import random
from datetime import timedelta
from typing import Any

import pytest
from core.worlds import service, workload
from hypothesis import given, settings, strategies as st
from waypoint.stage import API, GET, OK, Stage, endpoint, mesh, settle, travels

from ambient.core.forwarding.reason import Reason
from ambient.core.model.limit import LimitScope, RateLimit
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import (
    Backend,
    Fault,
    Filters,
    Forward,
    HeaderEdits,
    Mirror,
    Origin,
    Persistence,
    Protocol,
    Respond,
    Retry,
    RetryOn,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Timeouts,
    Unmatched,
)
from ambient.core.model.traffic import (
    ConnectionLimits,
    HashCookie,
    HashHeader,
    RatioBudget,
    RingHash,
    TrafficPolicies,
    TrafficPolicy,
)
from ambient.core.resilience.gauge import Kind
from ambient.waypoint.exchange import MOST_KEPT
from ambient.waypoint.ledger import Ledger

ORIGIN = Origin("HTTPRoute", "shop", "r")
POST = b"POST /a HTTP/1.1\r\nhost: api.shop\r\ncontent-length: 5\r\n\r\n"
ERROR = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
SECOND = timedelta(seconds=1)


def routes(action=None, traffic: TrafficPolicy | None = None, **fields: Any) -> ServiceRoutes:
    rule = RouteRule(ORIGIN, action or Forward((Backend(API.key, 80),)), (RouteMatch(),), "r", **fields)
    table = RouteTable(Protocol.HTTP, (rule,), Unmatched.NOT_FOUND)
    return ServiceRoutes(API.key, (table,), traffic=TrafficPolicies(traffic or TrafficPolicy()))


RETRIED = routes(retry=Retry(2, frozenset({RetryOn.SERVER_ERROR}), backoff=timedelta()))


def nothing_is_left(stage: Stage, connections: int = 0) -> None:
    assert not stage.exchanges.under_way
    assert stage.exchanges.kept == 0
    assert stage.counts() == {
        Kind.CONNECTION: connections,
        Kind.PENDING: 0,
        Kind.REQUEST: 0,
        Kind.RETRY: 0,
    }


async def ended(stage: Stage, connections: int | None = None) -> None:
    """Everything is let go, and there is one record."""
    await settle()
    assert len(stage.records) == 1
    nothing_is_left(stage, len(stage.ends) if connections is None else connections)


# In order


@travels
async def test_a_request_goes_to_an_endpoint_and_its_response_comes_back():
    stage = Stage()
    client = stage.client()
    client.say(GET)
    await settle()
    (end,) = stage.ends
    assert end.where.uid == endpoint(1).uid
    head = end.take()
    assert head.startswith(b"GET /a HTTP/1.1\r\nhost: api.shop\r\n")
    assert b"x-forwarded-for: 10.0.0.9\r\n" in head
    end.say(OK)
    await settle()
    assert client.take() == OK
    await ended(stage)
    (record,) = stage.records
    assert (record.status, record.reason, len(record.attempts)) == (200, None, 1)


@travels
async def test_a_connection_is_used_again():
    stage = Stage()
    client, other = stage.client(), stage.client()
    for one in (client, other, client):
        one.say(GET)
        await settle()
        stage.ends[0].say(OK)
        await settle()
        assert one.take() == OK
    assert len(stage.ends) == 1
    assert len(stage.records) == 3


@travels
async def test_bodies_are_passed_on_as_they_come():
    stage = Stage()
    client = stage.client()
    client.say(POST.replace(b"content-length: 5", b"transfer-encoding: chunked"))
    await settle()
    (end,) = stage.ends
    assert b"transfer-encoding: chunked" in end.take()
    client.say(b"3\r\nabc\r\n")
    await settle()
    assert end.take() == b"3\r\nabc\r\n"
    end.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nxy\r\n")
    await settle()
    assert client.take().endswith(b"\r\n\r\n2\r\nxy\r\n")
    client.say(b"0\r\n\r\n")
    end.say(b"0\r\n\r\n")
    await settle()
    assert (end.take(), client.take()) == (b"0\r\n\r\n", b"0\r\n\r\n")
    await ended(stage)


@travels
async def test_what_comes_before_there_is_a_connection_is_kept():
    stage = Stage()
    stage.upstreams.gate = asyncio.Event()
    client = stage.client()
    client.say(POST + b"hello")
    await settle()
    assert stage.counts()[Kind.PENDING] == 1
    stage.upstreams.gate.set()
    await settle()
    assert stage.ends[0].take().endswith(b"\r\n\r\nhello")
    stage.ends[0].say(OK)
    await settle()
    assert client.take() == OK
    await ended(stage)


@travels
async def test_information_goes_before_the_answer():
    stage = Stage()
    client = stage.client()
    client.say(POST.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
    await settle()
    (end,) = stage.ends
    assert b"expect: 100-continue" in end.take()
    end.say(b"HTTP/1.1 100 Continue\r\n\r\n")
    await settle()
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.say(b"hello")
    await settle()
    assert end.take() == b"hello"
    end.say(OK)
    await settle()
    assert client.take() == OK
    await ended(stage)


@travels
async def test_an_answer_may_come_before_the_request_has_ended():
    stage = Stage()
    client = stage.client()
    client.say(POST + b"he")
    await settle()
    (end,) = stage.ends
    end.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
    await settle()
    assert client.take().startswith(b"HTTP/1.1 413 ")
    assert "reset" in end.done
    await ended(stage, connections=0)


@travels
async def test_the_answer_to_head_has_no_body():
    stage = Stage()
    client = stage.client()
    client.say(GET.replace(b"GET", b"HEAD"))
    await settle()
    stage.ends[0].say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    await settle()
    assert client.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    await ended(stage)


@travels
async def test_trailers_are_passed_on():
    stage = Stage()
    client = stage.client()
    client.say(GET.replace(b"\r\n\r\n", b"\r\nte: trailers\r\nconnection: te\r\n\r\n"))
    await settle()
    stage.ends[0].say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 7\r\n\r\n")
    await settle()
    assert client.take().endswith(b"0\r\nx-sum: 7\r\n\r\n")
    await ended(stage)


@travels
async def test_an_upgraded_connection_is_bytes_both_ways():
    stage = Stage(routes(timeouts=Timeouts(request=SECOND)))
    client = stage.client()
    client.say(GET.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"))
    await settle()
    (end,) = stage.ends
    assert b"upgrade: websocket" in end.take()
    end.say(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst")
    await settle()
    heard = client.take()
    assert heard.startswith(b"HTTP/1.1 101 ")
    assert heard.endswith(b"\r\n\r\nfirst")
    await asyncio.sleep(5)
    client.say(b"second")
    await settle()
    assert end.take() == b"second"
    client.relay.finished(client)
    await settle()
    assert [record.status for record in stage.records] == [101]
    assert not stage.exchanges.under_way


@travels
async def test_headers_are_edited_and_local_answers_are_not():
    edits = HeaderEdits(set=(("server", "ours"),))
    stage = Stage(routes(filters=Filters(response_headers=edits), timeouts=Timeouts(request=SECOND)))
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(b"HTTP/1.1 200 OK\r\nserver: theirs\r\ncontent-length: 0\r\n\r\n")
    await settle()
    assert client.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nserver: ours\r\n\r\n"
    client.say(GET)
    await asyncio.sleep(2)
    assert b"server" not in client.take()


@travels
async def test_a_workload_is_called_by_its_address():
    own = endpoint(1)
    stage = Stage(routes(Respond(418)), endpoints=(own,))
    client = stage.client(own)
    client.say(GET)
    await settle()
    assert str(stage.ends[0].where.address) == "10.0.1.1:8080"
    stage.ends[0].say(OK)
    await settle()
    assert client.take() == OK
    await ended(stage)


# Answers of our own


@travels
async def test_a_rule_answers_by_itself():
    stage = Stage(routes(Respond(418, "tea")))
    client = stage.client()
    client.say(POST + b"hello" + GET)
    await settle()
    answers = client.take()
    assert answers.count(b"HTTP/1.1 418 ") == 2
    assert answers.endswith(b"tea")
    assert stage.ends == []
    nothing_is_left(stage)


@pytest.mark.parametrize(
    ("stage_of", "status", "reason"),
    [
        pytest.param(lambda: Stage(endpoints=0), 503, Reason.NO_ENDPOINTS, id="no-endpoints"),
        pytest.param(lambda: Stage(routes(Forward((Backend("shop/none.x"),)))), 500, Reason.UNKNOWN_SERVICE, id="unknown-service"),
        pytest.param(lambda: Stage(routes(Forward((Backend(API.key, 81),)))), 503, Reason.NO_TARGET_PORT, id="no-port"),
        pytest.param(lambda: Stage(routes(Forward((Backend(API.key, subset="v9"),)))), 503, Reason.UNKNOWN_SUBSET, id="unknown-subset"),
        pytest.param(lambda: Stage(endpoints=(workload("w", "10.0.0.5", services={API.key: ((80, 8080),)}),)), 503, Reason.RECURSIVE, id="the-waypoint-itself"),
    ],
)  # fmt: skip
@travels
async def test_there_is_nobody_to_ask(stage_of, status, reason):
    stage = stage_of()
    client = stage.client()
    client.say(GET)
    await settle()
    heard = client.take()
    assert heard.startswith(b"HTTP/1.1 %d " % status)
    assert b"x-ambient-error: %s\r\n" % reason.value.encode() in heard
    await ended(stage, connections=0)
    assert stage.records[0].reason is reason


@travels
async def test_a_fault_holds_a_request_up():
    fault = Fault(delay=3 * SECOND, delayed_share=1.0)
    stage = Stage(routes(filters=Filters(fault=fault)))
    client = stage.client()
    client.say(GET)
    await asyncio.sleep(2.9)
    assert stage.ends == []
    await asyncio.sleep(0.2)
    await settle()
    stage.ends[0].say(OK)
    await settle()
    assert client.take() == OK


@travels
async def test_a_fault_answers_after_its_delay():
    fault = Fault(3 * SECOND, 1.0, 555, "", 1.0)
    stage = Stage(routes(filters=Filters(fault=fault)))
    client = stage.client()
    client.say(GET)
    await asyncio.sleep(2.9)
    assert client.take() == b""
    await asyncio.sleep(0.2)
    assert client.take().startswith(b"HTTP/1.1 555 ")
    await ended(stage, connections=0)


# Time


@travels
async def test_a_request_takes_no_longer_than_it_may():
    stage = Stage(routes(timeouts=Timeouts(request=SECOND)))
    client = stage.client()
    client.say(GET)
    await asyncio.sleep(0.9)
    assert client.take() == b""
    await asyncio.sleep(0.2)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert stage.ends[0].done[-1] == "reset"
    await ended(stage, connections=0)
    assert stage.records[0].reason is Reason.TIMED_OUT


@travels
async def test_a_response_that_takes_too_long_is_cut():
    stage = Stage(routes(timeouts=Timeouts(request=SECOND)))
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")
    await asyncio.sleep(2)
    assert client.take().endswith(b"he")
    assert client.done[-1] == "reset"
    await ended(stage, connections=0)


@travels
async def test_a_try_that_takes_too_long_is_followed_by_another():
    rule = routes(
        timeouts=Timeouts(request=5 * SECOND, attempt=SECOND),
        retry=Retry(1, after_timeout=True, backoff=timedelta()),
    )
    stage = Stage(rule, endpoints=2)
    client = stage.client()
    client.say(GET)
    await asyncio.sleep(1.1)
    first, second = stage.ends
    assert first.where.uid != second.where.uid
    assert first.done[-1] == "reset"
    second.say(OK)
    await settle()
    assert client.take() == OK
    await ended(stage, connections=1)
    assert len(stage.records[0].attempts) == 2


@pytest.mark.parametrize(("unlimited", "status"), [(True, 200), (False, 504)])
@travels
async def test_the_last_try_may_take_as_long_as_the_request(unlimited, status):
    rule = routes(
        timeouts=Timeouts(attempt=SECOND, last_attempt_unlimited=unlimited),
        retry=Retry(1, after_timeout=True, backoff=timedelta()),
    )
    stage = Stage(rule, endpoints=2)
    client = stage.client()
    client.say(GET)
    await asyncio.sleep(3)
    if unlimited:
        stage.ends[1].say(OK)
        await settle()
    assert client.take().startswith(b"HTTP/1.1 %d " % status)


@travels
async def test_a_response_is_awaited_from_the_end_of_the_request_on():
    stage = Stage(routes(timeouts=Timeouts(response=SECOND)))
    client = stage.client()
    client.say(POST)
    await asyncio.sleep(5)
    client.say(b"hello")
    await asyncio.sleep(0.9)
    assert client.take() == b""
    await asyncio.sleep(0.2)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    await ended(stage, connections=0)


@travels
async def test_something_must_move():
    stage = Stage(routes(timeouts=Timeouts(idle=SECOND)))
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
    for _ in range(4):
        await asyncio.sleep(0.7)
        stage.ends[0].say(b"x")
    await asyncio.sleep(1.1)
    assert client.take().endswith(b"xxxx")
    assert client.done[-1] == "reset"
    assert stage.records[0].reason is Reason.IDLE


# Failures and other tries


@travels
async def test_a_failure_is_tried_again_elsewhere():
    stage = Stage(RETRIED, endpoints=2)
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(ERROR)
    await settle()
    first, second = stage.ends
    assert first.where.uid != second.where.uid
    second.say(OK)
    await settle()
    assert client.take() == OK
    await ended(stage)
    assert (stage.records[0].status, len(stage.records[0].attempts)) == (200, 2)


@travels
async def test_when_there_are_no_more_tries_the_last_response_is_passed_on():
    stage = Stage(RETRIED)
    client = stage.client()
    client.say(GET)
    for _ in range(3):
        await settle()
        stage.ends[-1].say(ERROR)
    await settle()
    assert client.take() == ERROR
    await ended(stage)
    assert len(stage.records[0].attempts) == 3


@travels
async def test_a_body_is_said_again():
    stage = Stage(RETRIED, endpoints=2)
    client = stage.client()
    client.say(POST.replace(b"POST", b"PUT") + b"he")
    await settle()
    client.say(b"llo")
    await settle()
    stage.ends[0].say(ERROR)
    await settle()
    assert stage.ends[1].take().endswith(b"\r\n\r\nhello")


@travels
async def test_a_body_that_was_too_long_to_keep_is_not_said_again():
    stage = Stage(RETRIED, endpoints=2)
    client = stage.client()
    client.say(b"PUT /a HTTP/1.1\r\nhost: api.shop\r\ncontent-length: 80000\r\n\r\n")
    for _ in range(8):
        client.say(b"x" * 10_000)
        await settle()
    (end,) = stage.ends
    assert end.take().endswith(b"x" * 10_000)
    end.say(ERROR)
    await settle()
    assert client.take() == ERROR
    await ended(stage)


@travels
async def test_when_too_much_is_kept_bodies_are_passed_on_and_forgotten():
    stage = Stage(RETRIED, endpoints=2)
    stage.exchanges.kept = MOST_KEPT
    client = stage.client()
    client.say(POST.replace(b"POST", b"PUT") + b"hello")
    await settle()
    stage.ends[0].say(ERROR)
    await settle()
    assert client.take() == ERROR
    assert stage.exchanges.kept == MOST_KEPT


@travels
async def test_what_may_have_been_acted_on_is_not_sent_again():
    stage = Stage(routes(retry=Retry(2, frozenset({RetryOn.RESET}))), endpoints=2)
    client = stage.client()
    client.say(POST + b"hello")
    await settle()
    stage.ends[0].break_off()
    await settle()
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert len(stage.ends) == 1
    await ended(stage, connections=0)
    assert stage.records[0].reason is Reason.RESET


@travels
async def test_a_connection_that_was_closed_as_idle_costs_nobody_a_request():
    stage = Stage()
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(OK)
    await settle()
    client.take()
    client.say(GET)
    await settle()
    stage.ends[0].break_off()
    await asyncio.sleep(0.1)
    stage.ends[1].say(OK)
    await settle()
    assert client.take() == OK


@travels
async def test_an_endpoint_that_cannot_be_reached_is_left_for_another():
    stage = Stage(endpoints=2)
    stage.upstreams.refusals = ["connection refused"]
    client = stage.client()
    client.say(POST + b"hello")
    await asyncio.sleep(0.1)
    stage.ends[0].say(OK)
    await settle()
    assert client.take() == OK
    await ended(stage)
    assert len(stage.records[0].attempts) == 2


@travels
async def test_when_nobody_can_be_reached_the_client_is_told_why():
    stage = Stage(routes(retry=Retry(0)))
    stage.upstreams.refusals = ["connection refused"]
    client = stage.client()
    client.say(GET)
    await settle()
    heard = client.take()
    assert heard.startswith(b"HTTP/1.1 503 ")
    assert heard.endswith(b"connection refused\n")
    await ended(stage, connections=0)


@travels
async def test_retries_are_within_the_budget():
    budget = RatioBudget(0.0, 0.1, timedelta(seconds=10))
    stage = Stage(
        routes(TrafficPolicy(budget=budget), retry=RETRIED.tables[0].rules[0].retry)
        if False
        else routes(traffic=TrafficPolicy(budget=budget), retry=RETRIED.tables[0].rules[0].retry)
    )
    client = stage.client()
    for tries in (2, 1, 1):
        client.say(GET)
        for _ in range(tries):
            await settle()
            stage.ends[-1].say(ERROR)
        await settle()
        assert client.take() == ERROR
    assert [len(record.attempts) for record in stage.records] == [2, 1, 1]
    nothing_is_left(stage, connections=1)


@travels
async def test_an_endpoint_that_breaks_http_is_no_endpoint():
    stage = Stage()
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(b"SSH-2.0-OpenSSH\r\n")
    await settle()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    await ended(stage, connections=0)


@travels
async def test_a_response_that_breaks_off_is_never_a_whole_one():
    stage = Stage()
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n")
    await settle()
    stage.ends[0].break_off()
    await settle()
    assert client.take().endswith(b"2\r\nhe\r\n")
    assert client.done[-1] == "reset"
    await ended(stage, connections=0)
    assert stage.records[0].reason is Reason.RESET


@travels
async def test_a_client_that_hangs_up_lets_its_endpoint_go():
    stage = Stage()
    client = stage.client()
    client.say(GET)
    await settle()
    client.hang_up()
    await settle()
    assert stage.ends[0].done[-1] == "reset"
    await ended(stage, connections=0)
    assert stage.records[0].reason is Reason.CLIENT_GONE


@travels
async def test_a_client_that_hangs_up_while_it_waits_waits_no_more():
    stage = Stage()
    stage.upstreams.gate = asyncio.Event()
    client = stage.client()
    client.say(GET)
    await settle()
    client.hang_up()
    await settle()
    assert stage.counts()[Kind.PENDING] == 0
    stage.upstreams.gate.set()
    await settle()
    assert stage.ends[0].take() == b""
    await ended(stage)


# Limits


def limited(**fields: Any) -> ServiceRoutes:
    return routes(traffic=TrafficPolicy(limits=ConnectionLimits(**fields)))


@travels
async def test_requests_wait_for_a_connection_when_there_may_be_no_more():
    stage = Stage(limited(connections=1), endpoints=2)
    clients = [stage.client() for _ in range(3)]
    for client in clients:
        client.say(GET)
        await settle()
    assert len(stage.ends) == 1
    for number in range(3):
        await asyncio.sleep(0.05)
        live = [end for end in stage.ends if end.relay is not None]
        assert len(live) == 1
        live[0].take()
        live[0].say(OK)
        await settle()
        assert stage.counts()[Kind.CONNECTION] <= 1, number
    assert [client.take() for client in clients] == [OK, OK, OK]
    nothing_is_left(stage, connections=1)


@travels
async def test_no_more_requests_wait_than_may():
    stage = Stage(limited(connections=1, pending_requests=1))
    clients = [stage.client() for _ in range(3)]
    for client in clients:
        client.say(GET)
        await settle()
    assert clients[2].take().startswith(b"HTTP/1.1 503 ")
    assert stage.records[0].reason is Reason.TOO_MANY_PENDING
    assert stage.counts()[Kind.PENDING] == 1


@travels
async def test_no_more_requests_are_under_way_than_may_be():
    stage = Stage(limited(requests=1))
    clients = [stage.client() for _ in range(2)]
    for client in clients:
        client.say(GET)
        await settle()
    assert clients[1].take().startswith(b"HTTP/1.1 503 ")
    assert stage.records[0].reason is Reason.TOO_MANY_REQUESTS
    stage.ends[0].say(OK)
    await settle()
    clients[1].say(GET)
    await settle()
    stage.ends[0].say(OK)
    await settle()
    assert clients[1].take() == OK


@travels
async def test_a_limit_of_all_replicas_lets_each_take_an_equal_share():
    limit = RateLimit("shop/slow/all", 4, timedelta(hours=1), 4, scope=LimitScope.MESH)
    way = service("waypoint")
    replicas = [workload(f"way-{n}", f"10.0.2.{n}", services={way.key: ((15008, 15008),)}) for n in (1, 2)]
    stage = Stage(None, ServicePolicies(API.key, limits=(limit,)), way, *replicas)
    client = stage.client()
    for _ in range(2):
        client.say(GET)
        await settle()
        stage.ends[0].say(OK)
        await settle()
        assert client.take().startswith(b"HTTP/1.1 200 ")
    client.say(GET)
    await settle()
    assert client.take().startswith(b"HTTP/1.1 429 ")


@travels
async def test_a_connection_carries_as_many_requests_as_it_may():
    stage = Stage(limited(requests_per_connection=2))
    client = stage.client()
    for _ in range(3):
        client.say(GET)
        await settle()
        stage.ends[-1].say(OK)
        await settle()
        assert client.take() == OK
    assert len(stage.ends) == 2


@travels
async def test_a_worker_lets_others_have_the_connections_that_it_does_not_use():
    ledger, memory = Ledger.make(2)
    one = Stage(limited(connections=1), ledger=ledger)
    other = Stage(limited(connections=1), ledger=Ledger(memory, 2, 1))
    os.close(memory)
    clients = one.client(), other.client()
    clients[0].say(GET)
    await settle()
    one.ends[0].say(OK)
    await settle()
    clients[1].say(GET)
    await asyncio.sleep(0.2)
    assert one.ends[0].relay is None
    other.ends[0].say(OK)
    await settle()
    assert clients[1].take() == OK


# Balancing and sessions


@travels
async def test_what_goes_together_goes_to_one_endpoint():
    policy = TrafficPolicy(balancer=RingHash(HashHeader("x-user")))
    stage = Stage(routes(traffic=policy), endpoints=5)
    client = stage.client()
    for user in (b"ann", b"bob", b"ann", b"bob"):
        client.say(GET.replace(b"\r\n\r\n", b"\r\nx-user: %s\r\n\r\n" % user))
        await settle()
        (busy,) = [end for end in stage.ends if end.take()]
        busy.say(OK)
        await settle()
    uids = [record.endpoint.uid for record in stage.records]
    assert uids[:2] == uids[2:]


@travels
async def test_a_client_without_a_cookie_is_given_one():
    policy = TrafficPolicy(balancer=RingHash(HashCookie("stick", "/", timedelta(hours=1))))
    stage = Stage(routes(traffic=policy), endpoints=3)
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(OK)
    await settle()
    heard = client.take()
    cookie = heard.partition(b"set-cookie: ")[2].partition(b"\r\n")[0]
    assert cookie.endswith(b'"; Path=/; Max-Age=3600; HttpOnly')
    client.say(GET.replace(b"\r\n\r\n", b"\r\ncookie: %s\r\n\r\n" % cookie.partition(b";")[0]))
    await settle()
    assert len(stage.ends) == 1
    stage.ends[0].say(OK)
    await settle()
    assert client.take() == OK


@travels
async def test_a_session_stays_with_its_endpoint():
    chances = iter([0.1, 0.9] * 50)
    stage = Stage(routes(persistence=Persistence()), endpoints=5, chance=lambda: next(chances))
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(OK)
    await settle()
    cookie = client.take().partition(b"set-cookie: ")[2].partition(b";")[0]
    for _ in range(5):
        client.say(GET.replace(b"\r\n\r\n", b"\r\ncookie: %s\r\n\r\n" % cookie))
        await settle()
        stage.ends[0].say(OK)
        await settle()
        assert client.take() == OK


# Mirrors


def mirrored() -> ServiceRoutes:
    return routes(filters=Filters(mirrors=(Mirror(Backend(API.key)),)))


@travels
async def test_a_copy_is_sent_and_its_answer_thrown_away():
    stage = Stage(mirrored(), endpoints=1)
    client = stage.client()
    client.say(POST)
    await settle()
    client.say(b"hello")
    await settle()
    copy, real = sorted(stage.ends, key=lambda end: b"-shadow" not in end.heard)
    assert copy.heard.startswith(b"POST /a HTTP/1.1\r\nhost: api.shop-shadow\r\n")
    assert copy.heard.endswith(b"hello")
    assert real.heard.endswith(b"hello")
    copy.say(ERROR)
    real.say(OK)
    await settle()
    assert client.take() == OK
    assert len(stage.records) == 1
    nothing_is_left(stage, connections=len([end for end in stage.ends if end.relay is not None]))


@travels
async def test_a_copy_that_is_never_answered_is_given_up():
    stage = Stage(mirrored(), endpoints=1)
    client = stage.client()
    client.say(GET)
    await settle()
    copy, real = sorted(stage.ends, key=lambda end: b"-shadow" not in end.heard)
    real.say(OK)
    await settle()
    assert client.take() == OK
    await asyncio.sleep(20)
    assert copy.done[-1] == "reset"
    nothing_is_left(stage, connections=stage.counts()[Kind.CONNECTION])


# Back-pressure


@travels
async def test_a_slow_client_holds_its_endpoint():
    stage = Stage()
    client = stage.client()
    client.say(GET)
    await settle()
    (end,) = stage.ends
    client.relay.full(client)
    end.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    sent = 0
    while not end.held:
        end.say(b"x" * 10_000)
        sent += 10_000
        await settle(2)
        assert sent < 300_000
    client.relay.drained(client)
    await settle()
    assert not end.held
    assert client.take().endswith(b"x" * sent)


@travels
async def test_a_slow_endpoint_holds_its_client():
    stage = Stage()
    client = stage.client()
    client.say(b"PUT /a HTTP/1.1\r\nhost: api.shop\r\ncontent-length: 1000000\r\n\r\n")
    await settle()
    (end,) = stage.ends
    end.relay.full(end)
    sent = 0
    while not client.held:
        client.say(b"x" * 10_000)
        sent += 10_000
        await settle(2)
        assert sent < 400_000
    end.relay.drained(end)
    await settle()
    assert not client.held
    assert end.take().endswith(b"x" * sent)


# Whatever happens


class Chaos:
    """Clients, endpoints and the clock do what a script says."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.clients = [stage.client() for _ in range(2)]
        self.left = [b"", b""]
        """What each client has begun to say and has not said yet."""
        self.worlds = (
            stage.world.snapshot,
            mesh(WILD, endpoints=(endpoint(2), endpoint(3))),
            mesh(WILD, endpoints=0),
            mesh(limited(connections=1, requests=1), endpoints=1),
            mesh(WILD, of=service("other", "10.96.0.9")),
        )

    def _live(self) -> list:
        return [end for end in self.stage.ends if end.relay is not None]

    async def act(self, act: str, number: int, size: int) -> None:
        client = self.clients[number % 2]
        ends = self._live()
        end = ends[number % len(ends)] if ends else None
        match act:
            case "ask" if client.relay is not None:
                if not self.left[number % 2]:
                    self.left[number % 2] = MESSAGES[size % len(MESSAGES)]
                said, self.left[number % 2] = (
                    self.left[number % 2][: size + 1],
                    self.left[number % 2][size + 1 :],
                )
                client.say(said)
            case "answer" if end is not None and end.heard:
                end.say(ANSWERS[size % len(ANSWERS)])
            case "part" if end is not None and end.heard:
                end.say(ANSWERS[size % len(ANSWERS)][: size + 1])
            case "break" if end is not None:
                end.break_off()
            case "hang up" if client.relay is not None:
                client.hang_up()
            case "new client" if client.relay is None:
                self.clients[number % 2], self.left[number % 2] = self.stage.client(), b""
            case "refuse":
                self.stage.upstreams.refusals.append("connection refused")
            case "full" if client.relay is not None:
                client.relay.full(client)
            case "drained" if client.relay is not None:
                client.relay.drained(client)
            case "wait":
                await asyncio.sleep(size / 50)
            case "change":
                self.stage.world.snapshot = self.worlds[size % len(self.worlds)]
                self.stage.exchanges.keep()
        await settle(4)


MESSAGES = (
    GET,
    POST + b"hello",
    b"PUT /a HTTP/1.1\r\nhost: api.shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
    GET.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
    GET.replace(b"GET", b"HEAD"),
)
ANSWERS = (
    OK,
    ERROR,
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nbytes",
    b"nonsense\r\n\r\n",
)
_acts = st.tuples(
    st.sampled_from(
        [
            "ask",
            "ask",
            "ask",
            "answer",
            "answer",
            "part",
            "break",
            "hang up",
            "new client",
            "refuse",
            "full",
            "drained",
            "wait",
            "change",
        ]
    ),
    st.integers(0, 3),
    st.integers(0, 120),
)
WILD = routes(
    traffic=TrafficPolicy(limits=ConnectionLimits(connections=2, pending_requests=2, requests=3, retries=1)),
    timeouts=Timeouts(request=3 * SECOND, attempt=SECOND, idle=2 * SECOND),
    retry=Retry(2, frozenset(RetryOn), after_timeout=True, any_method=True),
    filters=Filters(mirrors=(Mirror(Backend(API.key), 0.3),)),
)


@settings(max_examples=80)
@given(st.lists(_acts, max_size=25), st.integers(0, 2**16))
def test_whatever_happens_everything_is_let_go_and_told_once(acts, seed):
    @travels
    async def happen():
        chance = random.Random(seed)
        stage = Stage(WILD, endpoints=2, chance=chance.random)
        chaos = Chaos(stage)
        begun: list[object] = []
        under_way = stage.exchanges.under_way
        stage.exchanges.under_way = Watched(under_way, begun)
        for act in acts:
            await chaos.act(*act)
        for client in chaos.clients:
            if client.relay is not None:
                client.hang_up()
        await asyncio.sleep(30)
        assert len(stage.records) == len(begun)
        assert len({id(record) for record in stage.records}) == len(begun)
        counts = stage.counts()
        live = len([end for end in stage.ends if end.relay is not None])
        assert counts == {Kind.CONNECTION: live, Kind.PENDING: 0, Kind.REQUEST: 0, Kind.RETRY: 0}
        assert not stage.exchanges.under_way
        assert stage.exchanges.kept == 0

    happen()


class Watched(set):
    """A set that remembers all that was ever in it."""

    def __init__(self, of: set, begun: list) -> None:
        super().__init__(of)
        self.begun = begun

    def add(self, one: object) -> None:
        super().add(one)
        self.begun.append(one)


# The world changes


@travels
async def test_an_endpoint_that_goes_is_asked_no_more():
    stage = Stage(endpoints=1)
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(OK)
    await settle()
    client.take()
    stage.world.snapshot = mesh(endpoints=(endpoint(2),))
    client.say(GET)
    await settle()
    assert stage.ends[1].where.uid == endpoint(2).uid
    assert {"finish", "close", "reset"} & set(stage.ends[0].done)


@travels
async def test_of_an_endpoint_that_goes_nothing_is_kept():
    stage = Stage(endpoints=1)
    client = stage.client()
    client.say(GET)
    await settle()
    stage.ends[0].say(OK)
    await settle()
    stage.world.snapshot = mesh(endpoints=(endpoint(2),))
    stage.exchanges.keep()
    await settle()
    assert stage.ends[0].relay is None
    nothing_is_left(stage)


@travels
async def test_a_request_that_waits_for_an_endpoint_that_goes_is_sent_to_another():
    stage = Stage(limited(connections=1), endpoints=1)
    busy, waiting = stage.client(), stage.client()
    for client in (busy, waiting):
        client.say(GET)
        await settle()
    stage.world.snapshot = mesh(limited(connections=1), endpoints=(endpoint(2),))
    stage.exchanges.keep()
    stage.ends[0].say(OK)
    await asyncio.sleep(0.2)
    assert stage.ends[1].where.uid == endpoint(2).uid
    stage.ends[1].say(OK)
    await settle()
    assert (busy.take(), waiting.take()) == (OK, OK)


@travels
async def test_of_addresses_that_clients_choose_nothing_is_kept():
    stage = Stage(endpoints=1)
    for port in range(8080, 8090):
        client = stage.client(endpoint(1), port=port)
        client.say(GET)
        await settle()
        stage.ends[-1].say(OK)
        await settle()
        assert client.take() == OK
        stage.ends[-1].break_off()
    await settle()
    (cluster,) = stage.upstreams._clusters.values()
    assert cluster._places == {}
    nothing_is_left(stage)


@travels
async def test_when_the_worker_ends_clients_are_told():
    stage = Stage()
    client = stage.client()
    client.say(GET)
    await settle()
    stage.exchanges.cut("the waypoint ends")
    await settle()
    assert client.take().startswith(b"HTTP/1.1 503 ")
    await ended(stage, connections=0)
