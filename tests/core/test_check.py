"""Facts of machines and meshes, and what is found in them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from ambient.core import check
from ambient.core.check import Authority, ControlPlane, Level, LocalNode, LocalWorkload, Machine, NodeState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = Machine(
    kernel="6.1.0-13-amd64",
    lacking="",
    why_no_cgroup="",
    why_not_loaded={},
    has_bpffs=True,
    others=(),
    plugins=("bridge",),
    why_not_bound={15012: ""},
    is_clock_synchronised=True,
)
MESH = ControlPlane(
    now=NOW,
    version="1",
    nodes=(NodeState("n1", connected=True, certificate_end=NOW + timedelta(hours=20)),),
    authorities=(Authority("the root", NOW + timedelta(days=3000)),),
)
NODE = LocalNode(
    "",
    "",
    True,
    (LocalWorkload("shop/web", "on", "", 0),),
    {"spiffe://t/ns/shop/sa/web": NOW + timedelta(hours=20)},
    (("shop/web", "shop/api", ip_address("10.0.0.1"), ip_address("10.0.0.1")),),
)


def bad(findings):
    return [(one.code, one.level, one.message, one.remedy) for one in findings if one.level is not Level.OK]


@pytest.mark.parametrize(
    ("change", "code", "level", "message", "remedy"),
    [
        pytest.param({"kernel": "5.15.0"}, "kernel-version", "fail", "Linux 5.15.0", "6.1 or newer", id="old-kernel"),
        pytest.param({"kernel": "odd"}, "kernel-version", "fail", "Linux odd", "6.1 or newer", id="unreadable-kernel"),
        pytest.param({"kernel": "6.0.19"}, "kernel-version", "fail", "Linux 6.0.19", "6.1", id="just-too-old"),
        pytest.param({"lacking": "needs root; run it as root"}, "privileges", "fail", "needs root", "run it as root", id="no-root"),
        pytest.param({"why_no_cgroup": "cgroup v2 is not mounted; mount it"}, "cgroup-v2", "fail", "not mounted", "mount it", id="no-cgroup"),
        pytest.param({"why_not_loaded": {"capture_inbound": "bpf: attach SK_LOOKUP: Operation not permitted"}}, "bpf-programs", "fail", "capture_inbound: bpf: attach", "dmesg", id="hook-refused"),
        pytest.param({"why_not_loaded": {"": "no BCC; install Debian's python3-bpfcc"}}, "bpf-programs", "fail", "no BCC", "python3-bpfcc", id="no-bcc"),
        pytest.param({"others": (("connect4", "cil_sock4_connect"),)}, "socket-programs", "warn", "Cilium's socket load balancer", "its own cgroup", id="cilium"),
        pytest.param({"others": (("sock_ops", "mine"),)}, "socket-programs", "warn", "mine hangs on sock_ops", "its own cgroup", id="somebody-elses"),
        pytest.param({"plugins": ("calico", "istio-cni")}, "cni", "fail", "istio-cni of Istio captures", "out of Istio", id="another-mesh"),
        pytest.param({"why_not_bound": {15012: "Address already in use", 15013: ""}}, "ports", "fail", "15012: Address already in use", "ss -ltnp sport = 15012", id="port-taken"),
        pytest.param({"is_clock_synchronised": False}, "clock", "warn", "nothing keeps", "NTP", id="clock-alone"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_machine_is_found_alone(change, code, level, message, remedy):
    assert bad(check.machine(GOOD)) == []
    ((found_code, found_level, found_message, found_remedy),) = bad(check.machine(replace(GOOD, **change)))
    assert (found_code, found_level.value) == (code, level)
    assert message in found_message
    assert remedy in found_remedy


@pytest.mark.parametrize(
    ("change", "code", "level", "message", "remedy"),
    [
        pytest.param({"version": "2"}, "control-plane", "warn", "ambient 2, this is 1", "same version", id="other-version"),
        pytest.param({"errors": ("bad.yaml: Service shop/a: spec.prots is unknown; did you mean ports?",)}, "configuration", "fail", "spec.prots is unknown", "did you mean ports?", id="refused"),
        pytest.param({"warnings": ("x: has no effect",)}, "configuration", "warn", "x: has no effect", "", id="without-effect"),
        pytest.param({"troubles": ("folder /x: Permission denied",)}, "configuration-source", "fail", "Permission denied", "stands", id="unreadable-folder"),
        pytest.param({"nodes": (NodeState("n2", connected=False),)}, "node", "fail", "n2 is not connected", "node forget n2", id="disconnected"),
        pytest.param({"nodes": (NodeState("n2", connected=True, behind={"Address": 3}),)}, "node", "warn", "n2 has still to be told 3 of Address", "", id="behind"),
        pytest.param({"nodes": (NodeState("n2", connected=True, refused=(("Address", "a/b", "bad"),)),)}, "node", "fail", "n2 refused Address a/b: bad", "", id="refusing"),
        pytest.param({"nodes": (NodeState("n2", connected=True, certificate_end=NOW + timedelta(minutes=30)),)}, "certificate", "fail", "node n2 ends in 0 hours", "renewed", id="certificate-ends"),
        pytest.param({"authorities": (Authority("the root", NOW + timedelta(days=20)),)}, "authority", "warn", "the root ends in 20 days", "rotate", id="root-ends"),
        pytest.param({"authorities": (Authority("the root", NOW - timedelta(days=3)),)}, "authority", "fail", "the root ends 3 days ago", "recover", id="root-ended"),
        pytest.param({"authority_trouble": "the key is gone"}, "authority", "fail", "the key is gone", "certs verify", id="authority-in-trouble"),
        pytest.param({"refused_workloads": {"shop/web": "service account 'x' is not configured; add it"}}, "workload", "fail", "shop/web is not in the mesh: service account", "add it", id="refused-workload"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_mesh_is_found_alone(change, code, level, message, remedy):
    assert bad(check.control_plane(MESH, NOW, "1")) == []
    found = bad(check.control_plane(replace(MESH, **change), NOW, "1"))
    assert [(one[0], one[1].value) for one in found] == [(code, level)]
    assert message in found[0][2]
    assert remedy in found[0][3]


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, "ok"), (4, "ok"), (-4, "ok"), (5, "warn"), (-60, "warn"), (300, "fail"), (-86400, "fail")],
)
def test_a_clock_may_be_off_by_little(seconds, level):
    findings = check.control_plane(MESH, NOW - timedelta(seconds=seconds), "1")
    assert [one.level.value for one in findings if one.code == "clock-skew"] == [level]


@pytest.mark.parametrize(
    ("change", "code", "level", "message"),
    [
        pytest.param({"why_no_daemon": "no daemon answers; start it"}, "node-daemon", "fail", "no daemon answers", id="no-daemon"),
        pytest.param({"why_no_proxy": "the proxy is not ready: no certificate"}, "proxy", "fail", "no certificate", id="proxy-not-ready"),
        pytest.param({"is_connected": False}, "proxy-connected", "fail", "hears nothing of its control plane", id="no-control-plane"),
        pytest.param({"workloads": (LocalWorkload("shop/web", "off", "the proxy is away", 0),)}, "workload", "fail", "the proxy is away", id="not-proxied"),
        pytest.param({"workloads": (LocalWorkload("shop/web", "on", "", 2),)}, "workload", "warn", "2 connections that are older", id="older-connections"),
        pytest.param({"certificates": {"spiffe://a": None}}, "certificate", "fail", "spiffe://a has no certificate", id="no-certificate"),
        pytest.param({"certificates": {"spiffe://a": NOW - timedelta(hours=3)}}, "certificate", "fail", "ends 3 hours ago", id="expired"),
        pytest.param({"translated": (("a", "b", ip_address("10.0.0.1"), ip_address("192.0.2.1")),)}, "address-translation", "warn", "comes from 192.0.2.1 instead of 10.0.0.1", id="translated"),
        pytest.param({"translated": (("a", "b", ip_address("10.0.0.1"), None),)}, "address-translation", "warn", "did not arrive", id="dropped"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_node_is_found_alone(change, code, level, message):
    assert bad(check.local_node(NODE, NOW)) == []
    found = bad(check.local_node(replace(NODE, **change), NOW))
    assert [(one[0], one[1].value) for one in found] == [(code, level)]
    assert message in found[0][2]
    assert found[0][3]


def test_the_worst_counts():
    findings = check.machine(replace(GOOD, is_clock_synchronised=False))
    assert check.worst(findings) is Level.WARN
    assert check.worst(check.machine(replace(GOOD, kernel="4.19"))) is Level.FAIL
    assert check.worst(()) is Level.OK
