"""A thousand policies of ten rules: what a decision costs, and asking ten thousand live connections again."""

from __future__ import annotations

import asyncio
import os
from ipaddress import IPv4Address

import pytest
from scale.cost import Pulse, cost, micro, once
from scale.figures import Figures
from scale.meshes import RULES, policies, workload

from ambient.core import delta
from ambient.core.authorize import Connection, Denied, authorize
from ambient.core.delta import Delta
from ambient.core.inbound import Reject
from ambient.core.matching import Compiled, Facts
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action
from ambient.core.model.identity import SpiffeId
from ambient.core.observation import NOBODY, Observation, Reporter
from ambient.core.snapshot import EMPTY
from ambient.member.late import Recheck
from ambient.member.live import Carried, Live
from ambient.proxy import late
from ambient.telemetry.access import AccessLog
from ambient.telemetry.metrics import Traffic

PART = "1,000 policies of 10 rules"
SERVER = workload(0)
CALLER = Connection(
    SpiffeId("cluster.local", "caller", "app"),
    SocketAddress(IPv4Address("10.9.9.9"), 40000),
    SocketAddress(SERVER.addresses[0], 8080),
)
UNFILED = "only what must not be"
counts = pytest.mark.parametrize(
    "count", [pytest.param(200, id="smoke"), pytest.param(1_000, id="full", marks=pytest.mark.long)]
)


@counts
@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("asking", RULES)
def test_a_decision_asks_few_of_many_policies(
    asking: str, action: Action, count: int, figures: Figures
) -> None:
    many = policies(count, 10, asking, SERVER.namespace, action)
    if asking == UNFILED and action is Action.ALLOW:
        pytest.skip("as with DENY: one after another")
    snapshot = delta.apply(EMPTY, Delta((SERVER, *many)))
    first = once(lambda: authorize(snapshot, SERVER, CALLER))
    decision = authorize(snapshot, SERVER, CALLER)
    assert isinstance(decision, Denied) == (action is Action.ALLOW)
    spent = cost(lambda: authorize(snapshot, SERVER, CALLER))
    compiled = [Compiled(one) for one in many]
    facts = Facts(CALLER.source_identity, CALLER.source, CALLER.destination)
    assert not any(one.fits(facts) for one in compiled)
    asking_all = cost(lambda: [one.fits(facts) for one in compiled])
    other = policies(1, 10, "one port each", SERVER.namespace, action)
    changed = delta.apply(snapshot, Delta(tuple(other)))
    after_update = once(lambda: authorize(changed, SERVER, CALLER))
    assert spent < (25e-3 if asking == UNFILED else 2.5e-3)
    assert after_update < 50e-3
    assert first < 5
    if count == 1_000 and action is Action.DENY:
        figures.note(
            PART,
            f"decision where none fits, rules of {asking}",
            f"{micro(spent)}; asking all of them: {asking_all / spent:.0f} times that",
            "≤ 0.5 ms",
        )
        if asking == UNFILED:
            figures.note(PART, "the same, the first of each kind of caller", micro(asking_all))
        if asking == "a namespace and a port":
            figures.note(PART, "the first decision after all of them came", micro(first))
            figures.note(PART, "the first decision after one of them changed", micro(after_update))


class IdleRelay:
    """As much of a relay as a connection needs that nothing flows on."""

    sent = received = 0
    error = None

    def cut(self, why: str) -> None:
        raise AssertionError(why)


@pytest.mark.parametrize(
    ("connections", "count"),
    [pytest.param(1_000, 100, id="smoke"), pytest.param(10_000, 1_000, id="full", marks=pytest.mark.long)],
)
def test_live_connections_are_asked_again_without_holding_a_worker_up(
    connections: int, count: int, figures: Figures
) -> None:
    many = policies(count, 10, "a namespace and a port", SERVER.namespace, Action.DENY)
    before = delta.apply(EMPTY, Delta((SERVER, *many[1:])))
    after = delta.apply(before, Delta((many[0],)))
    authorize(before, SERVER, CALLER)
    asked = 0

    def judge(carried: Carried[Connection]) -> Reject | None:
        nonlocal asked
        asked += 1
        return late.judge(after, carried)

    async def scenario() -> tuple[float, float]:
        null = os.open(os.devnull, os.O_WRONLY)
        live: Live[Connection] = Live(Traffic(), AccessLog(null), lambda *_: None)
        seen = Observation(Reporter.DESTINATION, NOBODY, NOBODY, CALLER.source, CALLER.destination)
        for _ in range(connections):
            live.opened(SERVER.uid, seen, IdleRelay(), CALLER, None)  # type: ignore[arg-type]
        recheck = Recheck(judge, live, lambda _: None)
        began = asyncio.get_running_loop().time()
        async with Pulse() as pulse:
            recheck.ask(late.concerned(before, after, live))
            while asked < connections:
                await asyncio.sleep(0)
        os.close(null)
        return pulse.longest, asyncio.get_running_loop().time() - began

    longest, whole = asyncio.run(scenario())
    assert longest < 0.05
    assert whole < 30
    if count == 1_000:
        figures.note(PART, f"{connections:,} live connections asked again: whole time", micro(whole))
        figures.note(PART, "the same: longest time at a stretch", micro(longest))
