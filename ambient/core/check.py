"""Whether a machine can be a node, and whether a mesh is as it should be: facts in, findings out.

Each finding has a code that never changes its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from ambient.core.model.address import IpAddress

KERNEL_FLOOR: Final = (6, 1)
MOST_SKEW: Final = timedelta(seconds=5)
"""A warning from here on."""
INTOLERABLE_SKEW: Final = timedelta(minutes=5)
"""Certificates are valid six minutes before they are made: with more than this, new ones would soon be refused."""
SHORT_AUTHORITY: Final = timedelta(days=30)
SHORT_LEAF: Final = timedelta(hours=2)
"""A leaf lives a day at most and is renewed at half of it."""
_OTHER_MESHES: Final = {
    "istio-cni": "Istio",
    "linkerd-cni": "Linkerd",
    "consul-cni": "Consul",
    "kmesh-cni": "Kmesh",
}


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    code: str
    level: Level
    message: str
    remedy: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    """The worst of them; none: ok."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)


# Before there is a mesh


@dataclass(frozen=True, slots=True)
class Machine:
    """What was tried on a machine. Where a field says why not, it is empty if nothing is in the way."""

    kernel: str
    lacking: str
    why_no_cgroup: str
    why_not_loaded: Mapping[str, str]
    """By program of ours; the empty name: all of them."""
    has_bpffs: bool
    others: tuple[tuple[str, str], ...]
    """Hook and name of programs of others at the root of the cgroup hierarchy."""
    plugins: tuple[str, ...]
    """Types of CNI plugins that are configured."""
    why_not_bound: Mapping[int, str]
    """By TCP port that a program of ours will listen on."""
    is_clock_synchronised: bool | None


def machine(facts: Machine) -> tuple[Finding, ...]:
    """Whether it can be a node."""
    return (
        _kernel(facts.kernel),
        _privileges(facts.lacking),
        _cgroup(facts.why_no_cgroup),
        *_programs(facts.why_not_loaded),
        _bpffs(is_mounted=facts.has_bpffs),
        *_others(facts.others),
        *_plugins(facts.plugins),
        *_ports(facts.why_not_bound),
        _clock(facts.is_clock_synchronised),
    )


def _kernel(release: str) -> Finding:
    read = re.match(r"(\d+)\.(\d+)", release)
    floor = ".".join(map(str, KERNEL_FLOOR))
    if read is None or (int(read[1]), int(read[2])) < KERNEL_FLOOR:
        return Finding("kernel-version", Level.FAIL, f"Linux {release}", f"boot Linux {floor} or newer")
    return Finding("kernel-version", Level.OK, f"Linux {release}")


def _privileges(lacking: str) -> Finding:
    if lacking:
        what, _, remedy = lacking.partition("; ")
        return Finding("privileges", Level.FAIL, what, remedy)
    return Finding("privileges", Level.OK, "root, with NET_ADMIN and SYS_ADMIN")


def _cgroup(why_not: str) -> Finding:
    if why_not:
        what, _, remedy = why_not.partition("; ")
        return Finding(
            "cgroup-v2", Level.FAIL, what, remedy or "mount cgroup v2 so that it can be written to"
        )
    return Finding("cgroup-v2", Level.OK, "a cgroup of version 2 was made")


def _programs(why_not: Mapping[str, str]) -> Iterator[Finding]:
    if not why_not:
        yield Finding("bpf-programs", Level.OK, "every program was compiled, loaded and attached")
    for name, why in why_not.items():
        what, _, remedy = why.partition("; ")
        yield Finding(
            "bpf-programs",
            Level.FAIL,
            f"{name}: {what}" if name else what,
            remedy
            or "see what the kernel says of it in dmesg; a lockdown or a security module may forbid BPF",
        )


def _bpffs(*, is_mounted: bool) -> Finding:
    if is_mounted:
        return Finding("bpf-filesystem", Level.OK, "a BPF file system is mounted on /sys/fs/bpf")
    return Finding("bpf-filesystem", Level.OK, "none is mounted on /sys/fs/bpf; the node daemon mounts one")


def _others(others: tuple[tuple[str, str], ...]) -> Iterator[Finding]:
    if not others:
        yield Finding("socket-programs", Level.OK, "nobody else's programs hang on the root of the cgroups")
        return
    for hook, name in others:
        whose = "Cilium's socket load balancer" if name.startswith(("cil_", "sock")) else "another program"
        yield Finding(
            "socket-programs",
            Level.WARN,
            f"{name} hangs on {hook} at the root of the cgroups: {whose}",
            "give each workload its own cgroup (--cgroup or --pid): programs on it run before those at the root",
        )


def _plugins(plugins: tuple[str, ...]) -> Iterator[Finding]:
    meshes = [plugin for plugin in plugins if plugin in _OTHER_MESHES]
    for plugin in meshes:
        yield Finding(
            "cni",
            Level.FAIL,
            f"the CNI plugin {plugin} of {_OTHER_MESHES[plugin]} captures connections too",
            f"take its workloads out of {_OTHER_MESHES[plugin]} first, or remove the plugin from this node",
        )
    if not meshes:
        yield Finding("cni", Level.OK, f"CNI plugins: {', '.join(plugins) or 'none'}")


def _ports(why_not: Mapping[int, str]) -> Iterator[Finding]:
    free = [str(port) for port, why in why_not.items() if not why]
    for port, why in why_not.items():
        if why:
            yield Finding(
                "ports",
                Level.FAIL,
                f"TCP port {port}: {why}",
                f"stop what listens there (ss -ltnp sport = {port}), or give ambient another port",
            )
    if free:
        yield Finding("ports", Level.OK, f"TCP ports {', '.join(free)} can be listened on")


def _clock(is_synchronised: bool | None) -> Finding:  # noqa: FBT001  # What was found.
    if is_synchronised is False:
        return Finding(
            "clock",
            Level.WARN,
            "nothing keeps this machine's clock right",
            "run an NTP client, such as chrony or systemd-timesyncd: certificates are refused by a wrong clock",
        )
    return Finding("clock", Level.OK, "the clock is synchronised" if is_synchronised else "it cannot be told")


# A mesh


def unreachable(why: str) -> Finding:
    """That none answers."""
    what, _, remedy = why.partition("; ")
    return Finding("mesh", Level.FAIL, what, remedy or "start one: ambient up")


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that others are issued by."""

    name: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node as the control plane sees it."""

    name: str
    connected: bool
    behind: Mapping[str, int] = field(default_factory=dict)
    """How many resources it has still to be told, by type."""
    refused: tuple[tuple[str, str, str], ...] = ()
    """Type, name and reason of resources that it refused."""
    certificate_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """What a control plane says of itself, and when."""

    now: datetime
    """Its clock."""
    version: str
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    """Of its sources of configuration."""
    nodes: tuple[NodeState, ...] = ()
    authorities: tuple[Authority, ...] = ()
    authority_trouble: str = ""
    """What keeps the authority from being as it should."""
    refused_workloads: Mapping[str, str] = field(default_factory=dict)
    """Why, by namespace/name."""


def control_plane(facts: ControlPlane, here: datetime, version: str) -> tuple[Finding, ...]:
    """Whether it is as it should be; ``here`` is this machine's clock, ``version`` that of this program."""
    return (
        _version(facts.version, version),
        _skew(facts.now - here),
        *_configuration(facts),
        *(finding for node in facts.nodes for finding in _node(node, facts.now)),
        *(_authority(authority, facts.now) for authority in facts.authorities),
        *_trouble(facts.authority_trouble),
        *_refused(facts.refused_workloads),
    )


def _version(theirs: str, ours: str) -> Finding:
    if theirs != ours:
        return Finding(
            "control-plane",
            Level.WARN,
            f"the control plane is ambient {theirs}, this is {ours}",
            "run the same version everywhere once an upgrade is through",
        )
    return Finding("control-plane", Level.OK, f"ambient {theirs} answers")


def _skew(skew: timedelta) -> Finding:
    seconds = abs(skew.total_seconds())
    way = "ahead of" if skew > timedelta(0) else "behind"
    remedy = "run an NTP client on both machines"
    if abs(skew) >= INTOLERABLE_SKEW:
        return Finding(
            "clock-skew", Level.FAIL, f"the control plane's clock is {seconds:.0f} s {way} this one", remedy
        )
    if abs(skew) >= MOST_SKEW:
        return Finding(
            "clock-skew", Level.WARN, f"the control plane's clock is {seconds:.0f} s {way} this one", remedy
        )
    return Finding("clock-skew", Level.OK, f"within {MOST_SKEW.seconds} s of the control plane's")


def _configuration(facts: ControlPlane) -> Iterator[Finding]:
    for trouble in facts.troubles:
        yield Finding("configuration-source", Level.FAIL, trouble, "what came from it before stands; mend it")
    for error in facts.errors:
        what, _, remedy = error.rpartition("; ")
        yield Finding("configuration", Level.FAIL, what or error, remedy if what else "")
    for warning in facts.warnings:
        what, _, remedy = warning.rpartition("; ")
        yield Finding("configuration", Level.WARN, what or warning, remedy if what else "")
    if not (facts.troubles or facts.errors or facts.warnings):
        yield Finding("configuration", Level.OK, "nothing is refused and nothing is without effect")


def _node(node: NodeState, now: datetime) -> Iterator[Finding]:
    if not node.connected:
        yield Finding(
            "node",
            Level.FAIL,
            f"{node.name} is not connected",
            f"look at its proxy's log and at `ambient check` there; if it is gone for good: ambient node forget {node.name}",
        )
        return
    for kind, name, why in node.refused:
        what = f"{kind} {name}" if name else kind
        yield Finding(
            "node",
            Level.FAIL,
            f"{node.name} refused {what}: {why}",
            "run the same version on node and control plane",
        )
    for kind, pending in node.behind.items():
        yield Finding(
            "node",
            Level.WARN,
            f"{node.name} has still to be told {pending} of {kind}",
            "ask again in a moment; if it stays, look at the log of its proxy",
        )
    if not node.refused and not node.behind:
        yield Finding("node", Level.OK, f"{node.name} has all that it should have")
    if node.certificate_end is not None and node.certificate_end - now < SHORT_LEAF:
        yield Finding(
            "certificate",
            Level.FAIL,
            f"the certificate of node {node.name} ends {_when(node.certificate_end - now)}",
            "it should have been renewed: look at the log of its proxy, and at the control plane's for refusals",
        )


def _authority(authority: Authority, now: datetime) -> Finding:
    left = authority.not_after - now
    what = f"{authority.name} ends {_when(left)}"
    if left <= timedelta(0):
        return Finding("authority", Level.FAIL, what, "make another: ambient certs recover")
    if left < SHORT_AUTHORITY:
        return Finding("authority", Level.WARN, what, "let another follow it: ambient certs rotate")
    return Finding("authority", Level.OK, what)


def _trouble(trouble: str) -> Iterator[Finding]:
    if trouble:
        yield Finding("authority", Level.FAIL, trouble, "see ambient certs verify")


def _refused(refused: Mapping[str, str]) -> Iterator[Finding]:
    for name, why in refused.items():
        what, _, remedy = why.rpartition("; ")
        yield Finding(
            "workload", Level.FAIL, f"{name} is not in the mesh: {what or why}", remedy if what else ""
        )


# This machine as a node


@dataclass(frozen=True, slots=True)
class LocalWorkload:
    """A workload as the daemon has it."""

    name: str
    capture: str
    why_not_proxied: str
    older_connections: int


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What daemon and proxy of this machine say; where a field says why not, it is empty if all is well."""

    why_no_daemon: str
    why_no_proxy: str
    """Why the proxy is not ready, or does not answer."""
    is_connected: bool = True
    """Whether the proxy has a stream from its control plane."""
    workloads: tuple[LocalWorkload, ...] = ()
    certificates: Mapping[str, datetime | None] = field(default_factory=dict)
    """When each identity's ends; None: it has none."""
    translated: tuple[tuple[str, str, IpAddress, IpAddress | None], ...] = ()
    """Of each pair of workloads that was tried: their names, the address of the first, and whom the second saw."""


def local_node(facts: LocalNode, here: datetime) -> tuple[Finding, ...]:
    """Whether this machine is a node as it should be."""
    return (
        _program("node-daemon", "the node daemon", facts.why_no_daemon),
        _program("proxy", "the proxy", facts.why_no_proxy),
        *(() if facts.why_no_proxy else (_connection(is_connected=facts.is_connected),)),
        *(finding for workload in facts.workloads for finding in _workload(workload)),
        *_certificates(facts.certificates, here),
        *_translations(facts.translated),
    )


def _program(code: str, name: str, why_not: str) -> Finding:
    if why_not:
        what, _, remedy = why_not.partition("; ")
        return Finding(code, Level.FAIL, what, remedy or "start it (ambient up), and look at its log")
    return Finding(code, Level.OK, f"{name} is ready")


def _connection(*, is_connected: bool) -> Finding:
    if is_connected:
        return Finding("proxy-connected", Level.OK, "the proxy hears of its control plane")
    return Finding(
        "proxy-connected",
        Level.FAIL,
        "the proxy hears nothing of its control plane; it goes on with what it knows",
        "look at its log for why: the control plane is away, ports 15012 and 15013 are closed, or a clock is wrong",
    )


def _workload(workload: LocalWorkload) -> Iterator[Finding]:
    if workload.why_not_proxied:
        yield Finding(
            "workload",
            Level.FAIL,
            f"{workload.name} is not proxied: {workload.why_not_proxied}",
            "look at the log of the node daemon",
        )
    elif workload.older_connections:
        yield Finding(
            "workload",
            Level.WARN,
            f"{workload.name} has {workload.older_connections} connections that are older than its capture",
            "they pass the mesh by until they end; restart what holds them, or set STRICT, which resets them",
        )
    else:
        yield Finding("workload", Level.OK, f"{workload.name}, capture {workload.capture}")


def _certificates(certificates: Mapping[str, datetime | None], here: datetime) -> Iterator[Finding]:
    for identity, end in certificates.items():
        if end is None:
            yield Finding(
                "certificate",
                Level.FAIL,
                f"{identity} has no certificate",
                "look at the log of the proxy, and at the control plane's audit.log for a refusal",
            )
        elif end - here < SHORT_LEAF:
            yield Finding(
                "certificate",
                Level.FAIL,
                f"{identity} ends {_when(end - here)}",
                "it should have been renewed: look at the log of the proxy",
            )
    ends = [end for end in certificates.values() if end is not None]
    if ends and min(ends) - here >= SHORT_LEAF:
        yield Finding(
            "certificate", Level.OK, f"{len(ends)}, the first of which ends {_when(min(ends) - here)}"
        )


def _translations(
    translated: tuple[tuple[str, str, IpAddress, IpAddress | None], ...],
) -> Iterator[Finding]:
    for source, destination, own, seen in translated:
        between = f"from {source} to {destination}"
        if seen is None:
            yield Finding(
                "address-translation",
                Level.WARN,
                f"a datagram {between} did not arrive",
                "let the network of the workloads carry packets between them (a firewall may drop UDP alone)",
            )
        elif seen != own:
            yield Finding(
                "address-translation",
                Level.WARN,
                f"what goes {between} comes from {seen} instead of {own}",
                "exempt the workloads' networks from masquerading: policies by address, and logs, see the wrong caller",
            )
        else:
            yield Finding("address-translation", Level.OK, f"none {between}")


def _when(left: timedelta) -> str:
    hours = abs(left) // timedelta(hours=1)
    distance = f"{hours // 24} days" if hours >= 48 else f"{hours} hours"
    return f"in {distance}" if left > timedelta(0) else f"{distance} ago"
