from dataclasses import replace

import pytest
from core.worlds import (
    HBONE,
    PRESENT,
    at,
    exactly,
    gateway,
    policy,
    service,
    snapshots,
    workload,
    workloads,
    world,
)
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core.authorize import Connection
from ambient.core.inbound import (
    Admit,
    Reject,
    Rejection,
    TunnelRequest,
    admit_plaintext,
    admit_tunnel,
    recheck,
)
from ambient.core.model.authorization import Action, Match
from ambient.core.model.identity import SpiffeId
from ambient.core.model.service import Port
from ambient.core.model.settings import MeshSettings, Permission
from ambient.core.observation import ResponseFlag

WEB = service("web", "10.96.0.1", ports=((80, 0), (443, 8443)))
WEB_ELSEWHERE = replace(
    service("web", "10.96.0.2", ports=((80, 7070),), namespace="apps"), hostname=WEB.hostname
)
OTHER = service("other", "10.96.0.3")
SERVER = workload(
    "server", "10.0.0.1", "fd00::1", tunnel=HBONE, services={WEB.key: ((80, 8080), (443, 8443))}
)
IN_BOTH = replace(SERVER, services=SERVER.services.set(WEB_ELSEWHERE.key, ()))
IN_ANOTHER = workload("server", "10.0.0.1", services={WEB_ELSEWHERE.key: ()})

CLIENT = SpiffeId("cluster.local", "shop", "client")
PEER = at("10.0.9.9:40000")
DENY = policy("no", Action.DENY, Match(principals=exactly("cluster.local/ns/shop/sa/client")))
ALLOW_OTHERS = policy("others", Action.ALLOW, Match(principals=exactly("cluster.local/ns/shop/sa/friend")))
ALLOW = policy("client", Action.ALLOW, Match(principals=exactly("cluster.local/ns/shop/sa/client")))
STRICT = policy("strict", Action.DENY, Match(not_principals=PRESENT))
NO_8080 = policy("no-8080", Action.DENY, Match(destination_ports=(8080,)))


def request(
    authority="10.0.0.1:8080", *, method="CONNECT", identity=CLIENT, local="10.0.0.1:15008", forwarded=""
):
    return TunnelRequest(method, authority, PEER, identity, at(local), forwarded)


def named(header):
    return request(forwarded=header)


# resources, the workload that was dialled, request, target and service or status and reason and words of the sentence
TUNNELS = {
    "pod-address": ([SERVER], request(), Admit(at("10.0.0.1:8080"), None)),
    "pod-address-v6": (
        [SERVER],
        request("[fd00::1]:8080", local="[fd00::1]:15008"),
        Admit(at("[fd00::1]:8080"), None),
    ),
    "v4-mapped-authority": ([SERVER], request("[::ffff:10.0.0.1]:8080"), Admit(at("10.0.0.1:8080"), None)),
    "allowed-by-name": ([SERVER, ALLOW], request(), Admit(at("10.0.0.1:8080"), "shop/client")),
    "strict-lets-tls-in": ([SERVER, STRICT], request(), Admit(at("10.0.0.1:8080"), None)),
    "service-hostname": ([SERVER, WEB], request(f"{WEB.hostname}:80"), Admit(at("10.0.0.1:8080"), None, WEB)),
    "service-hostname-in-capitals": (
        [SERVER, WEB],
        request(f"{WEB.hostname.upper()}:443"),
        Admit(at("10.0.0.1:8443"), None, WEB),
    ),
    "service-hostname-over-v6": (
        [SERVER, WEB],
        request(f"{WEB.hostname}:80", local="[fd00::1]:15008"),
        Admit(at("[fd00::1]:8080"), None, WEB),
    ),
    "own-namespace-s-service-first": (
        [IN_BOTH, WEB, WEB_ELSEWHERE],
        request(f"{WEB.hostname}:80"),
        Admit(at("10.0.0.1:8080"), None, WEB),
    ),
    "another-namespace-s-service": (
        [IN_ANOTHER, WEB_ELSEWHERE],
        request(f"{WEB.hostname}:80"),
        Admit(at("10.0.0.1:7070"), None, WEB_ELSEWHERE),
    ),
    "forwarded-host-names-the-service": (
        [SERVER, WEB],
        named(f'for="10.0.9.9:1234";host={WEB.hostname}'),
        Admit(at("10.0.0.1:8080"), None, WEB),
    ),
    "forwarded-host-of-a-service-that-it-does-not-serve": (
        [SERVER, WEB, OTHER],
        named(f'for="10.0.9.9:1234";host={OTHER.hostname}'),
        Admit(at("10.0.0.1:8080"), None),
    ),
    "forwarded-nonsense": ([SERVER, WEB], named(';;="'), Admit(at("10.0.0.1:8080"), None)),
    "dry-run-deny-is-noted": (
        [SERVER, replace(DENY, dry_run=True)],
        request(),
        Admit(at("10.0.0.1:8080"), None, None, "shop/no"),
    ),
    "dry-run-allow-is-noted-and-allows-nothing": (
        [SERVER, policy("trial", Action.ALLOW, (), dry_run=True)],
        request(),
        Admit(at("10.0.0.1:8080"), None, None, None, "shop/trial"),
    ),
    "method": ([SERVER], request(method="GET"), (400, Rejection.METHOD, "'GET'")),
    "no-authority": ([SERVER], request(""), (400, Rejection.AUTHORITY, "''")),
    "authority-without-port": ([SERVER], request("10.0.0.1"), (400, Rejection.AUTHORITY, "10.0.0.1")),
    "authority-with-port-0": ([SERVER], request("10.0.0.1:0"), (400, Rejection.AUTHORITY, "10.0.0.1:0")),
    "authority-with-port-65536": ([SERVER], request("10.0.0.1:65536"), (400, Rejection.AUTHORITY, "65536")),
    "authority-with-user": ([SERVER], request("a@10.0.0.1:80"), (400, Rejection.AUTHORITY, "a@")),
    "authority-with-control-characters": (
        [SERVER],
        request("10.0.0.1\r\n:80"),
        (400, Rejection.AUTHORITY, r"\r\n"),
    ),
    "authority-v6-without-brackets": (
        [SERVER],
        request("fd00::1:80"),
        (400, Rejection.AUTHORITY, "fd00::1:80"),
    ),
    "authority-in-other-digits": (
        [SERVER],
        request("10.0.0.1:\uff180"),
        (400, Rejection.AUTHORITY, "\uff180"),
    ),
    "ip-mismatch": (
        [SERVER],
        request("10.0.0.2:8080"),
        (400, Rejection.IP_MISMATCH, "ip mismatch: 10.0.0.2 != 10.0.0.1"),
    ),
    "own-address-of-the-other-family": (
        [SERVER],
        request("[fd00::1]:8080"),
        (400, Rejection.IP_MISMATCH, "ip mismatch: fd00::1 != 10.0.0.1"),
    ),
    "service-address-with-no-waypoint-here": (
        [SERVER, WEB],
        request("10.96.0.1:80"),
        (400, Rejection.IP_MISMATCH, "ip mismatch: 10.96.0.1 != 10.0.0.1"),
    ),
    "loopback": (
        [SERVER],
        request("127.0.0.1:8080", local="127.0.0.1:15008"),
        (400, Rejection.IP_MISMATCH, "127.0.0.1 is not an address of"),
    ),
    "to-15001": ([SERVER], request("10.0.0.1:15001"), (503, Rejection.RECURSIVE, "attempted recursive call")),
    "to-15006": ([SERVER], request("10.0.0.1:15006"), (503, Rejection.RECURSIVE, "attempted recursive call")),
    "to-15008": ([SERVER], request("10.0.0.1:15008"), (503, Rejection.RECURSIVE, "attempted recursive call")),
    "other-trust-domain": (
        [SERVER],
        request(identity=replace(CLIENT, trust_domain="evil")),
        (401, Rejection.TRUST_DOMAIN, "spiffe://evil/ns/shop/sa/client is not of trust domain cluster.local"),
    ),
    "denied": (
        [SERVER, DENY],
        request(),
        (401, Rejection.DENIED, "connection closed due to policy rejection: explicitly denied by: shop/no"),
    ),
    "not-allowed": (
        [SERVER, ALLOW_OTHERS],
        request(),
        (
            401,
            Rejection.DENIED,
            "connection closed due to policy rejection: allow policies exist, but none allowed",
        ),
    ),
    "policy-sees-the-target-port-of-a-service": (
        [SERVER, WEB, NO_8080],
        request(f"{WEB.hostname}:80"),
        (401, Rejection.DENIED, "shop/no-8080"),
    ),
    "unknown-hostname": (
        [SERVER, WEB],
        request("nowhere:80"),
        (503, Rejection.UNKNOWN_SERVICE, "nowhere:80"),
    ),
    "hostname-of-a-service-that-it-does-not-serve": (
        [SERVER, OTHER],
        request(f"{OTHER.hostname}:80"),
        (503, Rejection.UNKNOWN_SERVICE, OTHER.hostname),
    ),
    "service-port-that-is-not-served": (
        [SERVER, WEB],
        request(f"{WEB.hostname}:81"),
        (503, Rejection.NO_TARGET_PORT, "no valid target port for workload"),
    ),
    "unknown-workload": (
        [],
        request(),
        (503, Rejection.UNKNOWN_WORKLOAD, "unknown workload: 10.0.0.1:15008"),
    ),
}


@pytest.mark.parametrize(("resources", "asked", "answer"), list(TUNNELS.values()), ids=TUNNELS)
def test_a_tunnel_is_asked_for(resources, asked, answer):
    snapshot = world(*resources)
    decision = admit_tunnel(snapshot, snapshot.workloads.get(SERVER.uid), asked)
    _compare(decision, answer)


PLAIN = {
    "permissive": ([SERVER], "10.0.0.1:8080", Admit(at("10.0.0.1:8080"), None)),
    "v6": ([SERVER], "[fd00::1]:8080", Admit(at("[fd00::1]:8080"), None)),
    "strict": (
        [SERVER, STRICT],
        "10.0.0.1:8080",
        (401, Rejection.DENIED, "explicitly denied by: shop/strict"),
    ),
    "allow-by-identity-lets-nobody-in": (
        [SERVER, ALLOW],
        "10.0.0.1:8080",
        (401, Rejection.DENIED, "none allowed"),
    ),
    "deny-by-identity-denies-nobody": ([SERVER, DENY], "10.0.0.1:8080", Admit(at("10.0.0.1:8080"), None)),
    "foreign-address": (
        [SERVER],
        "10.0.0.2:8080",
        (400, Rejection.IP_MISMATCH, "10.0.0.2 is not an address of"),
    ),
    "own-port": ([SERVER], "10.0.0.1:15006", (503, Rejection.RECURSIVE, "attempted recursive call")),
    "unknown-workload": ([], "10.0.0.1:8080", (503, Rejection.UNKNOWN_WORKLOAD, "unknown workload")),
}


@pytest.mark.parametrize(("resources", "destination", "answer"), list(PLAIN.values()), ids=PLAIN)
def test_a_plain_connection_comes(resources, destination, answer):
    snapshot = world(*resources)
    _compare(admit_plaintext(snapshot, snapshot.workloads.get(SERVER.uid), PEER, at(destination)), answer)


def _compare(decision, answer):
    if isinstance(answer, Admit):
        assert decision == answer
        return
    status, why, words = answer
    assert isinstance(decision, Reject)
    assert (decision.status, decision.why) == (status, why)
    assert words in decision.detail


def test_a_rejection_carries_policy_and_flag():
    denied = admit_tunnel(world(SERVER, DENY), SERVER, request())
    assert (denied.policy, denied.flag) == ("shop/no", ResponseFlag.DENY)
    foreign = admit_tunnel(world(SERVER), SERVER, request(identity=replace(CLIENT, trust_domain="evil")))
    assert foreign.flag is ResponseFlag.TLS_FAILURE
    assert admit_tunnel(world(SERVER), SERVER, request(method="GET")).flag is ResponseFlag.CONNECT


def test_what_a_peer_sends_is_cut_in_the_sentence():
    assert len(admit_tunnel(world(SERVER), SERVER, request("a:" * 30_000)).detail) < 500


LIVE = Connection(CLIENT, PEER, at("10.0.0.1:8080"))
LIVE_PLAIN = Connection(None, PEER, at("10.0.0.1:8080"))
LATE = {
    "nothing-changed": (SERVER, [SERVER], LIVE, None),
    "denied-since": (SERVER, [SERVER, DENY], LIVE, (Rejection.DENIED, "explicitly denied by: shop/no")),
    "strict-since": (
        SERVER,
        [SERVER, STRICT],
        LIVE_PLAIN,
        (Rejection.DENIED, "explicitly denied by: shop/strict"),
    ),
    "strict-leaves-tls": (SERVER, [SERVER, STRICT], LIVE, None),
    "allowed-by-another-policy": (SERVER, [SERVER, ALLOW], LIVE, None),
    "trust-domain-changed": (
        replace(SERVER, trust_domain="new"),
        [],
        LIVE,
        (Rejection.TRUST_DOMAIN, "not of trust domain new"),
    ),
    "service-is-gone": (replace(SERVER, services=Map()), [], LIVE, None),
}


@pytest.mark.parametrize(("server", "resources", "connection", "answer"), list(LATE.values()), ids=LATE)
def test_a_new_snapshot_is_asked_about_a_live_connection(server, resources, connection, answer):
    rejection = recheck(world(*resources), server, connection)
    if answer is None:
        assert rejection is None
    else:
        assert rejection is not None
        assert rejection.why is answer[0]
        assert answer[1] in rejection.detail


authorities = st.one_of(
    st.text(max_size=40),
    st.builds(
        lambda host, port: f"{host}:{port}",
        st.sampled_from(
            ["10.0.0.1", "[fd00::1]", "10.0.0.2", "a.a.svc.cluster.local", "[::ffff:10.0.0.1]", "x"]
        ),
        st.integers(-1, 70_000),
    ),
)


@given(snapshots, workloads, authorities, st.text(max_size=30))
def test_no_request_reaches_another_address_or_the_proxy_itself(snapshot, server, authority, forwarded):
    decision = admit_tunnel(snapshot, server, request(authority, forwarded=forwarded))
    if isinstance(decision, Admit):
        assert decision.target.ip == at("10.0.0.1:1").ip
        assert decision.target.port not in {15001, 15006, 15008}
        assert decision.service is None or decision.service.key in server.services
        # What is let in stays while nothing changes.
        assert recheck(snapshot, server, Connection(CLIENT, PEER, decision.target), decision.service) is None


WAY = service("way", ports=((15008, 15008),))
REPLICA = workload("way-1", "10.0.0.8", service_account="way", services={WAY.key: ((15008, 15008),)})
AT_WAY = gateway(WAY.key)
WAYPOINT = REPLICA.identity
FRONT = replace(WEB, waypoint=AT_WAY)
"""Behind the waypoint."""
BACK = replace(SERVER, waypoint=AT_WAY)
"""The same by its own address."""
BARE = service("bare", "10.96.0.4", ports=((90, 9090),))
BOTH = replace(BACK, services=SERVER.services.set(BARE.key, (Port(90, 9090),)))
LENIENT = MeshSettings(waypoint_bypass=Permission.ALLOW)


def meaning(one, authority="10.0.0.1:8080", identity=CLIENT):
    return request(authority, identity=identity, forwarded=f'for="10.0.9.9:1";host={one.hostname}')


PASSAGES = {
    "of-a-service-by-its-name": ([SERVER, FRONT], request(f"{FRONT.hostname}:80"), f"service {FRONT.key}"),
    "of-a-service-that-a-node-names": ([SERVER, FRONT], meaning(FRONT), f"service {FRONT.key}"),
    "from-the-waypoint": ([SERVER, FRONT], meaning(FRONT, identity=WAYPOINT), None),
    "from-the-waypoint-by-name": ([SERVER, FRONT], request(f"{FRONT.hostname}:80", identity=WAYPOINT), None),
    "of-a-workload": ([BACK], request(), f"workload {BACK.uid}"),
    "of-a-workload-from-the-waypoint": ([BACK], request(identity=WAYPOINT), None),
    "by-address-where-only-services-have-one": ([SERVER, FRONT], request(), None),
    "of-a-service-without-one-on-a-workload-with-one": ([BOTH, BARE], meaning(BARE, "10.0.0.1:9090"), None),
    "of-a-service-that-is-not-on-that-port": ([BOTH, BARE], meaning(BARE), f"workload {BOTH.uid}"),
    "of-a-service-that-it-does-not-serve": ([BACK, BARE], meaning(BARE), f"workload {BACK.uid}"),
    "of-a-service-that-the-workloads-is-not-for": ([BACK, FRONT], meaning(FRONT, identity=WAYPOINT), None),
    "where-that-is-allowed": ([BACK, FRONT, LENIENT], meaning(FRONT), None),
    "of-the-waypoint-itself": ([replace(SERVER, services=REPLICA.services)], request(), None),
}


@pytest.mark.parametrize(("resources", "asked", "what"), list(PASSAGES.values()), ids=PASSAGES)
def test_what_is_behind_a_waypoint_is_reached_through_it(resources, asked, what):
    snapshot = world(*resources, WAY, REPLICA)
    server = snapshot.workloads[SERVER.uid]
    decision = admit_tunnel(snapshot, server, asked)
    if what is None:
        assert isinstance(decision, Admit)
        assert (
            recheck(snapshot, server, Connection(asked.identity, PEER, decision.target), decision.service)
            is None
        )
        return
    assert isinstance(decision, Reject)
    assert (decision.status, decision.why, decision.flag) == (
        401,
        Rejection.WAYPOINT_BYPASS,
        ResponseFlag.DENY,
    )
    assert decision.detail.startswith(f"waypoint bypass: {what}")
    assert " is behind waypoint shop/way.shop.svc.cluster.local, " in decision.detail
    assert "waypointBypass of MeshConfig" in decision.detail


@pytest.mark.parametrize("waypoint", [gateway("10.0.0.8"), gateway("10.96.0.8")], ids=["workload", "service"])
def test_a_waypoint_may_be_known_by_its_address(waypoint):
    way = replace(WAY, addresses=service("way", "10.96.0.8").addresses)
    snapshot = world(replace(BACK, waypoint=waypoint), way, REPLICA)
    server = snapshot.workloads[BACK.uid]
    assert isinstance(admit_tunnel(snapshot, server, request(identity=WAYPOINT)), Admit)
    assert admit_tunnel(snapshot, server, request()).why is Rejection.WAYPOINT_BYPASS


def test_nobody_passes_for_a_waypoint_that_is_not_there():
    for missing in (world(BACK), world(BACK, WAY)):
        assert admit_tunnel(missing, BACK, request(identity=WAYPOINT)).why is Rejection.WAYPOINT_BYPASS


@pytest.mark.parametrize(
    ("resources", "is_let_in"),
    [([BACK], False), ([BACK, LENIENT], True), ([SERVER, FRONT], True)],
    ids=["behind", "allowed", "only-the-service"],
)
def test_plaintext_does_not_come_from_a_waypoint(resources, is_let_in):
    snapshot = world(*resources, WAY, REPLICA)
    decision = admit_plaintext(snapshot, snapshot.workloads[SERVER.uid], PEER, at("10.0.0.1:8080"))
    assert isinstance(decision, Admit) is is_let_in


@pytest.mark.parametrize(
    ("after", "connection", "meant", "is_cut"),
    [
        ([BACK, WAY, REPLICA], LIVE, None, True),
        ([BACK, WAY, REPLICA], LIVE_PLAIN, None, True),
        ([BACK, WAY, REPLICA], replace(LIVE, source_identity=WAYPOINT), None, False),
        ([SERVER, FRONT, WAY, REPLICA], LIVE, WEB, True),
        ([SERVER, FRONT, WAY, REPLICA], LIVE, None, False),
        ([SERVER, FRONT, WAY, REPLICA], replace(LIVE, source_identity=WAYPOINT), WEB, False),
        ([SERVER, WAY, REPLICA], LIVE, WEB, False),
        ([BACK, WAY], replace(LIVE, source_identity=WAYPOINT), None, False),
        ([BACK, WAY, REPLICA, LENIENT], LIVE, None, False),
    ],
    ids=[
        "workload", "plaintext", "workload-from-it", "service", "by-address", "service-from-it", "service-gone",
        "last-replica-gone", "allowed",
    ],
)  # fmt: skip
def test_a_live_connection_that_passes_a_new_waypoint_by_is_cut(after, connection, meant, is_cut):
    snapshot = world(*after)
    rejection = recheck(snapshot, snapshot.workloads[SERVER.uid], connection, meant)
    assert (rejection is not None) is is_cut
    assert rejection is None or rejection.why is Rejection.WAYPOINT_BYPASS
