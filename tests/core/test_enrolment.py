from dataclasses import replace

import pytest
from core.worlds import PRESENT, at, gateway, policy, service, workload, world
from hypothesis import given, strategies as st

from ambient.core.enrolment import (
    FetchCertificate,
    Nothing,
    Report,
    SetCapture,
    Situation,
    forbidden,
    next_step,
)
from ambient.core.model.authorization import Action, Match
from ambient.core.model.pod import Capture, OlderConnection

OFF, DRAINING, ON = Capture.OFF, Capture.DRAINING, Capture.ON

TABLE = {
    "no-word-yet": (Situation(None, False, OFF, False), Nothing()),
    "no-word-yet-but-certificate": (Situation(None, True, OFF, False), Nothing()),
    "no-word-after-a-restart": (Situation(None, True, ON, True), Nothing()),
    "no-word-after-a-restart-without-certificate": (Situation(None, False, ON, True), FetchCertificate()),
    "no-word-after-a-restart-unsaid": (Situation(None, True, ON, False), Report(captured=True)),
    "no-word-while-draining": (Situation(None, True, DRAINING, False), Nothing()),
    "join": (Situation(True, False, OFF, False), FetchCertificate()),
    "join-with-certificate": (Situation(True, True, OFF, False), SetCapture(ON)),
    "join-captured": (Situation(True, True, ON, False), Report(captured=True)),
    "joined": (Situation(True, True, ON, True, connections=3), Nothing()),
    "joined-now-is-for-leaving": (Situation(True, True, ON, True, now=True), Nothing()),
    "joined-certificate-expired": (Situation(True, False, ON, True), FetchCertificate()),
    "join-again-while-draining": (Situation(True, True, DRAINING, False, connections=1), SetCapture(ON)),
    "leave": (Situation(False, True, ON, True), Report(captured=False)),
    "leave-reported": (Situation(False, True, ON, False, connections=1), SetCapture(DRAINING)),
    "leave-reported-at-once": (Situation(False, True, ON, False, connections=1, now=True), SetCapture(OFF)),
    "draining": (Situation(False, True, DRAINING, False, connections=1), Nothing()),
    "draining-peers-may-still-come": (
        Situation(False, True, DRAINING, False, peers_have_heard=False),
        Nothing(),
    ),
    "drained": (Situation(False, True, DRAINING, False), SetCapture(OFF)),
    "draining-told-now": (Situation(False, True, DRAINING, False, connections=9, now=True), SetCapture(OFF)),
    "left": (Situation(False, True, OFF, False), Nothing()),
    "never-joined": (Situation(False, False, OFF, False), Nothing()),
}


@pytest.mark.parametrize(("situation", "step"), list(TABLE.values()), ids=TABLE)
def test_next_step(situation, step):
    assert next_step(situation) == step


situations = st.builds(
    Situation,
    st.sampled_from([True, False, None]),
    st.booleans(),
    st.sampled_from(Capture),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
)


@given(situations)
def test_steps_come_to_an_end_where_the_order_wants_it(situation):
    taken = []
    while not isinstance(step := next_step(situation), Nothing):
        taken.append(step)
        assert len(taken) <= 5
        situation = _after(situation, step)
    match situation.enrolled:
        case True:
            assert (situation.has_certificate, situation.capture, situation.reported) == (True, ON, True)
        case False:
            assert not situation.reported
            assert situation.capture is OFF or situation.connections


@given(situations)
def test_peers_are_told_only_of_what_is_ready(situation):
    step = next_step(situation)
    if step == Report(captured=True):
        assert situation.has_certificate
        assert situation.capture is ON
    if isinstance(step, SetCapture) and step.capture is not ON:
        assert not situation.reported


def _after(situation, step):
    match step:
        case FetchCertificate():
            return replace(situation, has_certificate=True)
        case SetCapture(capture):
            return replace(situation, capture=capture)
        case Report(captured):
            return replace(situation, reported=captured)


SERVER = workload("server", "10.0.0.1")
INBOUND = OlderConnection(at("10.0.0.1:8080"), at("10.0.0.2:40000"), True, 1)
OTHER_PORT = OlderConnection(at("10.0.0.1:9090"), at("10.0.0.2:40001"), True, 2)
OUTBOUND = OlderConnection(at("10.0.0.1:40000"), at("10.0.0.3:80"), False, 3)
OLDER = [INBOUND, OTHER_PORT, OUTBOUND]

FORBIDDEN = {
    "permissive": ([], ()),
    "strict": ([policy("strict", Action.DENY, Match(not_principals=PRESENT))], (INBOUND, OTHER_PORT)),
    "strict-but-for-a-port": (
        [policy("strict", Action.DENY, Match(not_principals=PRESENT, not_destination_ports=(9090,)))],
        (INBOUND,),
    ),
    "allow-identities-only": (
        [policy("allow", Action.ALLOW, Match(principals=PRESENT))],
        (INBOUND, OTHER_PORT),
    ),
    "allow-a-port": ([policy("allow", Action.ALLOW, Match(destination_ports=(8080,)))], (OTHER_PORT,)),
}


@pytest.mark.parametrize(("policies", "ended"), list(FORBIDDEN.values()), ids=FORBIDDEN)
def test_older_connections_that_a_policy_forbids_must_end(policies, ended):
    assert forbidden(world(*policies), SERVER, OLDER) == ended


def test_older_connections_that_pass_a_waypoint_by_must_end():
    way = service("way", ports=((15008, 15008),))
    snapshot = world(way, workload("way-1", "10.0.0.8", services={way.key: ((15008, 15008),)}))
    assert forbidden(snapshot, replace(SERVER, waypoint=gateway(way.key)), OLDER) == (INBOUND, OTHER_PORT)
