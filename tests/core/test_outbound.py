from dataclasses import replace

import pytest
from core.worlds import HBONE, at, gateway, service, snapshots, socket_addresses, workload, workloads, world
from hypothesis import given, strategies as st
from immutables import Map

from ambient.core import balance, outbound
from ambient.core.model.workload import TunnelProtocol, WorkloadStatus
from ambient.core.observation import ResponseFlag
from ambient.core.outbound import Direct, Refusal, Refuse, Tunnel, resolve

FIRST = balance.by_capacity(0.0)
LAST = balance.by_capacity(0.999)


def spiffe(name, namespace="shop"):
    return f"spiffe://cluster.local/ns/{namespace}/sa/{name}"


CLIENT = workload("client", "10.0.0.1", "fd00::1", tunnel=HBONE, node="one")
NEAR = workload("near", "10.0.0.2", "fd00::2", tunnel=HBONE, node="one")
FAR = workload("far", "10.0.1.2", tunnel=HBONE, node="two")
PLAIN = workload("plain", "10.0.1.3", node="two")
ON_HOST = workload("agent", "10.0.2.1", host_network=True)
SIXES = workload("sixes", "fd00::6", tunnel=HBONE)

WEB = service(
    "web", "10.96.0.1", "fd96::1", subject_alt_names=("spiffe://cluster.local/ns/shop/sa/web-legacy",)
)
WEB_1 = workload("web-1", "10.0.1.11", "fd00::11", tunnel=HBONE, services={WEB.key: ((80, 8080),)})
WEB_2 = workload("web-2", "10.0.1.12", "fd00::12", tunnel=HBONE, services={WEB.key: ((80, 9090),)})
WEB_PLAIN = workload("web-3", "10.0.1.13", services={WEB.key: ((80, 8080),)})
WEB_FAR_NETWORK = workload(
    "web-9", "10.0.1.11", network="other", tunnel=HBONE, services={WEB.key: ((80, 8080),)}
)
WEB_EXPECTS = frozenset(WEB.subject_alt_names)

WIDE = service("wide", ranges=("10.0.0.0/8", "fd00::/8"), passthrough=True)
NARROW = service("narrow", ranges=("10.0.9.0/24",))
NARROW_1 = workload("narrow-1", "10.1.1.1", tunnel=HBONE, services={NARROW.key: ((80, 8080),)})
PASSED = service("passed", "10.96.0.7", passthrough=True)

GATE = service("gate", "10.96.0.9", ports=((15008, 15008),))
GATE_1 = workload("gate-1", "10.0.3.1", services={GATE.key: ((15008, 15018),)}, tunnel=HBONE)
LONE_GATE = workload("lone-gate", "10.0.3.2", "fd00::32")

L7_WEB = replace(WEB, waypoint=gateway(GATE.key))
L7_FAR = replace(FAR, waypoint=gateway(GATE.key))


def sick(one):
    return replace(one, status=WorkloadStatus.UNHEALTHY)


def hbone(destination, authority, to=None, service=None, expect=frozenset()):
    ip, port = (to or f"{destination.addresses[0]}:15008").rsplit(":", 1)
    return Tunnel(
        at(f"{ip}:{port}"), authority, frozenset({str(destination.identity)}) | expect, destination, service
    )


# resources, target, decision
TABLE = {
    "unknown-destination": ([], "8.8.8.8:443", Direct(at("8.8.8.8:443"), None, None)),
    "other-network-s-address-is-unknown": (
        [replace(FAR, network="other")],
        "10.0.1.2:80",
        Direct(at("10.0.1.2:80"), None, None),
    ),
    "remote-plain": ([PLAIN], "10.0.1.3:80", Direct(at("10.0.1.3:80"), PLAIN, None)),
    "local-plain": (
        [replace(PLAIN, node="one")],
        "10.0.1.3:80",
        Direct(at("10.0.1.3:80"), replace(PLAIN, node="one"), None),
    ),
    "remote-hbone": ([FAR], "10.0.1.2:80", hbone(FAR, "10.0.1.2:80")),
    "local-hbone": ([NEAR], "10.0.0.2:80", hbone(NEAR, "10.0.0.2:80")),
    "hbone-over-v6": ([NEAR], "[fd00::2]:80", hbone(NEAR, "[fd00::2]:80", "[fd00::2]:15008")),
    "hbone-port-of-another-pod-is-the-receiver-s-matter": (
        [FAR],
        "10.0.1.2:15008",
        hbone(FAR, "10.0.1.2:15008"),
    ),
    "host-network": ([ON_HOST], "10.0.2.1:9100", Direct(at("10.0.2.1:9100"), None, None)),
    "endpoint-in-host-network": (
        [WEB, replace(ON_HOST, services=Map({WEB.key: WEB.ports}))],
        "10.96.0.1:80",
        Direct(at("10.0.2.1:8080"), replace(ON_HOST, services=Map({WEB.key: WEB.ports})), WEB),
    ),
    "itself-by-pod-ip": ([], "10.0.0.1:80", hbone(CLIENT, "10.0.0.1:80")),
    # services
    "service": (
        [WEB, WEB_1],
        "10.96.0.1:80",
        hbone(WEB_1, "10.0.1.11:8080", service=WEB, expect=WEB_EXPECTS),
    ),
    "named-target-port": (
        [WEB, WEB_2],
        "10.96.0.1:80",
        hbone(WEB_2, "10.0.1.12:9090", service=WEB, expect=WEB_EXPECTS),
    ),
    "service-to-plain-endpoint": (
        [WEB, WEB_PLAIN],
        "10.96.0.1:80",
        Direct(at("10.0.1.13:8080"), WEB_PLAIN, WEB),
    ),
    "service-over-v6": (
        [WEB, WEB_1],
        "[fd96::1]:80",
        hbone(WEB_1, "[fd00::11]:8080", "[fd00::11]:15008", WEB, WEB_EXPECTS),
    ),
    "v6-endpoint-of-a-v4-address": (
        [WEB, replace(SIXES, services=WEB_1.services)],
        "10.96.0.1:80",
        hbone(replace(SIXES, services=WEB_1.services), "[fd00::6]:8080", "[fd00::6]:15008", WEB, WEB_EXPECTS),
    ),
    "v4-endpoint-of-a-v6-address": (
        [WEB, WEB_PLAIN],
        "[fd96::1]:80",
        Direct(at("10.0.1.13:8080"), WEB_PLAIN, WEB),
    ),
    "hairpin": (
        [WEB, replace(CLIENT, services=WEB_1.services)],
        "10.96.0.1:80",
        hbone(replace(CLIENT, services=WEB_1.services), "10.0.0.1:8080", service=WEB, expect=WEB_EXPECTS),
    ),
    "a-service-address-before-a-workload-s": (
        [WEB, WEB_1, workload("squatter", "10.96.0.1")],
        "10.96.0.1:80",
        hbone(WEB_1, "10.0.1.11:8080", service=WEB, expect=WEB_EXPECTS),
    ),
    # ranges of addresses, and services that choose no endpoint
    "range": ([WIDE], "10.7.7.7:443", Direct(at("10.7.7.7:443"), None, WIDE)),
    "range-over-v6": ([WIDE], "[fd77::7]:443", Direct(at("[fd77::7]:443"), None, WIDE)),
    "outside-of-every-range": ([WIDE, NARROW], "11.0.0.1:443", Direct(at("11.0.0.1:443"), None, None)),
    "longest-range": (
        [WIDE, NARROW, NARROW_1],
        "10.0.9.1:80",
        hbone(NARROW_1, "10.1.1.1:8080", service=NARROW),
    ),
    "range-without-endpoints": (
        [NARROW],
        "10.0.9.1:80",
        Refuse(Refusal.NO_ENDPOINTS, f"no endpoints for service: {NARROW.key}", None, NARROW),
    ),
    "a-workload-in-a-range-is-itself": ([WIDE, FAR], "10.0.1.2:80", hbone(FAR, "10.0.1.2:80")),
    "a-service-address-in-a-range": (
        [WIDE, WEB, WEB_1],
        "10.96.0.1:80",
        hbone(WEB_1, "10.0.1.11:8080", service=WEB, expect=WEB_EXPECTS),
    ),
    "a-range-of-another-network": (
        [service("wide", ranges=("10.0.0.0/8",), network="other")],
        "10.7.7.7:443",
        Direct(at("10.7.7.7:443"), None, None),
    ),
    "passthrough": ([PASSED], "10.96.0.7:443", Direct(at("10.96.0.7:443"), None, PASSED)),
    "passthrough-chooses-no-endpoint": (
        [PASSED, replace(WEB_1, services=Map({PASSED.key: WEB_1.services[WEB.key]}))],
        "10.96.0.7:80",
        Direct(at("10.96.0.7:80"), None, PASSED),
    ),
    "passthrough-to-a-workload": (
        [PASSED, workload("there", "10.96.0.7", tunnel=HBONE)],
        "10.96.0.7:80",
        hbone(workload("there", "10.96.0.7", tunnel=HBONE), "10.96.0.7:80", service=PASSED),
    ),
    "passthrough-to-a-workload-behind-a-waypoint": (
        [PASSED, GATE, GATE_1, workload("there", "10.96.0.7", tunnel=HBONE, waypoint=gateway(GATE.key))],
        "10.96.0.7:80",
        hbone(GATE_1, "10.96.0.7:80", "10.0.3.1:15018", PASSED),
    ),
    "passthrough-by-a-waypoint": (
        [replace(PASSED, waypoint=gateway(GATE.key)), GATE, GATE_1],
        "10.96.0.7:443",
        hbone(GATE_1, "10.96.0.7:443", "10.0.3.1:15018", replace(PASSED, waypoint=gateway(GATE.key))),
    ),
    "unhealthy-are-left-out": (
        [WEB, sick(WEB_1), WEB_2],
        "10.96.0.1:80",
        hbone(WEB_2, "10.0.1.12:9090", service=WEB, expect=WEB_EXPECTS),
    ),
    "unhealthy-by-wish": (
        [replace(WEB, allow_unhealthy=True), sick(WEB_1)],
        "10.96.0.1:80",
        hbone(sick(WEB_1), "10.0.1.11:8080", service=replace(WEB, allow_unhealthy=True), expect=WEB_EXPECTS),
    ),
    "no-capacity-is-left-out": (
        [WEB, replace(WEB_1, capacity=0), WEB_2],
        "10.96.0.1:80",
        hbone(WEB_2, "10.0.1.12:9090", service=WEB, expect=WEB_EXPECTS),
    ),
    "endpoint-of-another-network-is-left-out": (
        [WEB, WEB_2, WEB_FAR_NETWORK],
        "10.96.0.1:80",
        hbone(WEB_2, "10.0.1.12:9090", service=WEB, expect=WEB_EXPECTS),
    ),
    "workload-waypoint-does-not-bind-service-traffic": (
        [WEB, replace(WEB_1, waypoint=gateway(GATE.key)), GATE, GATE_1],
        "10.96.0.1:80",
        hbone(replace(WEB_1, waypoint=gateway(GATE.key)), "10.0.1.11:8080", service=WEB, expect=WEB_EXPECTS),
    ),
    # waypoints
    "service-waypoint": (
        [L7_WEB, WEB_1, GATE, GATE_1],
        "10.96.0.1:80",
        hbone(GATE_1, "10.96.0.1:80", "10.0.3.1:15018", L7_WEB),
    ),
    "service-waypoint-of-an-empty-service": (
        [L7_WEB, GATE, GATE_1],
        "10.96.0.1:80",
        hbone(GATE_1, "10.96.0.1:80", "10.0.3.1:15018", L7_WEB),
    ),
    "waypoint-by-its-address": (
        [replace(WEB, waypoint=gateway("10.0.3.2", 15009)), WEB_1, LONE_GATE],
        "[fd96::1]:80",
        hbone(
            LONE_GATE,
            "[fd96::1]:80",
            "10.0.3.2:15009",
            replace(WEB, waypoint=gateway("10.0.3.2", 15009)),
        ),
    ),
    "waypoint-by-service-address": (
        [replace(WEB, waypoint=gateway("10.96.0.9")), WEB_1, GATE, GATE_1],
        "10.96.0.1:80",
        hbone(GATE_1, "10.96.0.1:80", "10.0.3.1:15018", replace(WEB, waypoint=gateway("10.96.0.9"))),
    ),
    "workload-waypoint": (
        [L7_FAR, GATE, GATE_1],
        "10.0.1.2:80",
        hbone(GATE_1, "10.0.1.2:80", "10.0.3.1:15018"),
    ),
}


@pytest.mark.parametrize(("resources", "target", "decision"), list(TABLE.values()), ids=TABLE)
def test_a_connection_is_carried(resources, target, decision):
    snapshot = world(CLIENT, *resources)
    source = snapshot.workloads[CLIENT.uid]
    assert resolve(snapshot, source, at(target), FIRST) == decision


UNKNOWN_GATE = gateway("shop/nowhere.shop.svc.cluster.local")
REFUSED = {
    "loopback-to-the-outbound-listener": ([], "127.0.0.1:15001", Refusal.RECURSIVE, "127.0.0.1:15001"),
    "loopback-to-the-hbone-listener": ([], "[::1]:15008", Refusal.RECURSIVE, "[::1]:15008"),
    "unspecified-is-loopback": ([], "0.0.0.0:15006", Refusal.RECURSIVE, "0.0.0.0:15006"),
    "own-address": ([], "10.0.0.1:15006", Refusal.RECURSIVE, "10.0.0.1:15006"),
    "empty-service": ([WEB], "10.96.0.1:80", Refusal.NO_ENDPOINTS, WEB.key),
    "all-unhealthy": ([WEB, sick(WEB_1)], "10.96.0.1:80", Refusal.NO_HEALTHY_ENDPOINT, WEB.key),
    "no-capacity": (
        [WEB, replace(WEB_1, capacity=0)],
        "10.96.0.1:80",
        Refusal.NO_HEALTHY_ENDPOINT,
        "capacity",
    ),
    "port-that-is-not-served": ([WEB, WEB_1], "10.96.0.1:81", Refusal.NO_TARGET_PORT, "port 81"),
    "endpoint-without-address": (
        [WEB, replace(WEB_1, addresses=())],
        "10.96.0.1:80",
        Refusal.NO_ADDRESS,
        WEB.key,
    ),
    "endpoints-of-another-network": (
        [WEB, WEB_FAR_NETWORK],
        "10.96.0.1:80",
        Refusal.OTHER_NETWORK,
        "'other'",
    ),
    "unknown-service-waypoint": (
        [replace(WEB, waypoint=UNKNOWN_GATE), WEB_1],
        "10.96.0.1:80",
        Refusal.UNKNOWN_WAYPOINT,
        "unknown waypoint: shop/nowhere.shop.svc.cluster.local",
    ),
    "unknown-workload-waypoint": (
        [replace(FAR, waypoint=UNKNOWN_GATE)],
        "10.0.1.2:80",
        Refusal.UNKNOWN_WAYPOINT,
        "unknown waypoint: shop/nowhere.shop.svc.cluster.local",
    ),
    "unknown-waypoint-address": (
        [replace(WEB, waypoint=gateway("10.0.3.77")), WEB_1],
        "10.96.0.1:80",
        Refusal.UNKNOWN_WAYPOINT,
        "unknown waypoint: /10.0.3.77",
    ),
    "waypoint-without-endpoints": ([L7_WEB, WEB_1, GATE], "10.96.0.1:80", Refusal.NO_ENDPOINTS, GATE.key),
    "waypoint-of-another-network": (
        [L7_WEB, WEB_1, GATE, replace(GATE_1, network="other")],
        "10.96.0.1:80",
        Refusal.OTHER_NETWORK,
        "'other'",
    ),
}


@pytest.mark.parametrize(("resources", "target", "why", "named"), list(REFUSED.values()), ids=REFUSED)
def test_a_connection_is_refused(resources, target, why, named):
    decision = resolve(world(CLIENT, *resources), CLIENT, at(target), FIRST)
    assert isinstance(decision, Refuse)
    assert decision.why is why
    assert named in decision.detail
    assert decision.flag is ResponseFlag.CONNECT


def test_a_refusal_names_the_service_that_was_meant():
    decision = resolve(world(CLIENT, L7_WEB, WEB_1, GATE), CLIENT, at("10.96.0.1:80"), FIRST)
    assert decision.service == L7_WEB


def test_endpoints_are_drawn_by_chance():
    snapshot = world(CLIENT, WEB, WEB_1, WEB_2)
    drawn = [resolve(snapshot, CLIENT, at("10.96.0.1:80"), pick).destination for pick in (FIRST, LAST)]
    assert drawn == [WEB_1, WEB_2]


@pytest.mark.parametrize("named_by", ["address", "service"])
def test_a_waypoint_calls_the_workload_behind_it_directly(named_by):
    waypoint = gateway("10.0.3.1") if named_by == "address" else gateway(GATE.key)
    behind = replace(FAR, waypoint=waypoint)
    assert resolve(world(behind, GATE, GATE_1), GATE_1, at("10.0.1.2:80"), FIRST) == hbone(
        behind, "10.0.1.2:80"
    )


def test_only_the_source_s_network_is_searched():
    source = replace(CLIENT, network="other")
    there = replace(FAR, network="other")
    assert resolve(world(source, FAR, there), source, at("10.0.1.2:80"), FIRST).destination == there


@given(snapshots, workloads, socket_addresses, st.floats(0, 1, exclude_max=True))
def test_nothing_that_speaks_hbone_is_reached_in_plain(snapshot, source, target, chance):
    decision = resolve(snapshot, source, target, balance.by_capacity(chance))
    match decision:
        case Direct(_, destination, _):
            assert destination is None or destination.tunnel is TunnelProtocol.NONE
        case Tunnel(hop, _, expect, destination, _):
            assert str(destination.identity) in expect
            assert hop.ip in destination.addresses
        case Refuse(why, detail):
            assert isinstance(why, outbound.Refusal)
            assert detail
