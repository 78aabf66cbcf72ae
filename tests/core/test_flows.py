from dataclasses import replace

import pytest
from core.worlds import at, service, workload, world
from hypothesis import given, strategies as st

from ambient.core import flows
from ambient.core.flows import NOTHING, Ledger, Told
from ambient.core.model.flow import End, Ending, Flow
from ambient.core.observation import LABELS, Reporter, Security

WEB = service("web", "10.96.0.1")
CLIENT = workload("client", "10.0.0.1", node="a")
SERVER = workload("server", "10.0.0.2", node="a")
ELSEWHERE = workload("elsewhere", "10.0.1.2", node="b")
WORLD = world(WEB, CLIENT, SERVER, ELSEWHERE)

AT_CLIENT = Flow(
    7, 100, End.CLIENT, at("10.0.0.1:40000"), at("10.0.0.2:8080"), at("10.96.0.1:80"), 0, 0, 0.001
)
AT_SERVER = Flow(
    8, 200, End.SERVER, at("10.0.0.2:8080"), at("10.0.0.1:40000"), at("10.0.0.1:40000"), 0, 0, 0.001
)


def labels(seen):
    return dict(zip(LABELS, seen.labels(), strict=True))


def test_the_client_speaks_of_the_service_that_it_meant():
    seen = flows.observe(WORLD, CLIENT.uid, AT_CLIENT)
    assert seen.reporter is Reporter.SOURCE
    assert (seen.source_address, seen.destination_address) == (at("10.0.0.1:40000"), at("10.96.0.1:80"))
    assert seen.service is WEB
    said = labels(seen)
    assert said["connection_security_policy"] == "same_node"
    assert said["source_principal"] == str(CLIENT.identity)
    assert said["destination_principal"] == str(SERVER.identity)
    assert said["destination_workload"] == "server"


def test_the_server_speaks_of_the_client():
    seen = flows.observe(WORLD, SERVER.uid, AT_SERVER)
    assert seen.reporter is Reporter.DESTINATION
    assert (seen.source_address, seen.destination_address) == (at("10.0.0.1:40000"), at("10.0.0.2:8080"))
    said = labels(seen)
    assert (said["source_workload"], said["destination_workload"]) == ("client", "server")
    assert said["source_principal"] == str(CLIENT.identity)
    assert said["connection_security_policy"] == "same_node"


@pytest.mark.parametrize(
    ("peer", "name"),
    [("10.0.1.2:80", "elsewhere"), ("192.0.2.1:80", "unknown")],
    ids=["another-node", "outside-the-mesh"],
)
def test_nobody_vouches_for_who_is_not_on_this_node(peer, name):
    seen = flows.observe(WORLD, CLIENT.uid, replace(AT_CLIENT, peer=at(peer), meant=at(peer)))
    assert seen.security is Security.UNKNOWN
    assert labels(seen)["destination_workload"] == name
    assert labels(seen)["destination_principal"] == "unknown"


def test_a_workload_that_has_left_is_unknown():
    seen = flows.observe(WORLD, "gone", AT_CLIENT)
    assert labels(seen)["source_workload"] == "unknown"
    assert seen.security is Security.UNKNOWN


def ended(flow, sent, received, ending=Ending.FINISHED):
    return replace(flow, sent=sent, received=received, ending=ending)


def test_an_end_is_counted_once_whoever_tells_it():
    ledger = Ledger()
    assert ledger.record(AT_CLIENT) == Told(opened=True)
    assert ledger.listed(AT_CLIENT) == NOTHING
    assert ledger.record(ended(AT_CLIENT, 12, 5)) == Told(closed=True, sent=12, received=5)
    assert len(ledger) == 0


def test_an_end_of_which_only_the_close_was_told_was_open_too():
    assert Ledger().record(ended(AT_CLIENT, 3, 4)) == Told(opened=True, closed=True, sent=3, received=4)


def test_a_beginning_that_is_heard_after_the_end_does_not_count():
    ledger = Ledger()
    assert ledger.listed(ended(AT_CLIENT, 3, 4)).closed
    assert ledger.record(AT_CLIENT) == NOTHING
    ledger.caught_up()
    assert len(ledger) == 0


@pytest.mark.parametrize(
    ("ending", "error"),
    [(Ending.FINISHED, None), (Ending.CUT, "connection reset"), (Ending.TIMED_OUT, "connection timed out")],
)
def test_how_the_log_says_that_it_ended(ending, error):
    assert flows.error_of(ending) == error


@given(st.data())
def test_totals_are_exact_whatever_the_ring_could_not_take(data):
    """A kernel whose ring takes a record or not, by chance, and a reader that lists now and then."""
    ring, kept, live, ledger = [], {}, {}, Ledger()
    opened = closed = sent = truth_sent = begun = 0

    def count(told):
        nonlocal opened, closed, sent
        opened, closed, sent = opened + told.opened, closed + told.closed, sent + told.sent

    def read_ring():
        for flow in ring:
            count(ledger.record(flow))
        ring.clear()

    def read_all():
        listing = [*live.values(), *kept.values()]
        kept.clear()
        read_ring()
        ledger.caught_up()
        for flow in listing:
            count(ledger.listed(flow))

    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["open", "close", "read", "list"])):
            case "open":
                begun += 1
                live[begun] = replace(AT_CLIENT, cookie=begun)
                if data.draw(st.booleans()):
                    ring.append(live[begun])
            case "close" if live:
                flow = live.pop(data.draw(st.sampled_from(sorted(live))))
                moved = data.draw(st.integers(0, 100))
                truth_sent += moved
                over = ended(flow, moved, 0)
                if data.draw(st.booleans()):
                    ring.append(over)
                else:
                    kept[flow.cookie] = over
            case "read":
                read_ring()
            case "list":
                read_all()
    read_all()
    assert (opened, closed, sent) == (begun, begun - len(live), truth_sent)
    assert len(ledger) == len(live)
