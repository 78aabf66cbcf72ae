"""From end to end through one call, asking what carries traffic: ``outbound``, ``routing``, ``authorize``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from ambient.core.explain import admission, beyond, refusals, requests, routes
from ambient.core.explain.answer import Explanation, Step, Topic, Verdict
from ambient.core.explain.ends import End, ends_of
from ambient.core.explain.parties import Called, find_destination, find_source, of, of_endpoints
from ambient.core.model.address import SocketAddress
from ambient.core.model.service import AppProtocol, Service
from ambient.core.model.settings import Permission
from ambient.core.model.workload import TunnelProtocol, Workload
from ambient.core.outbound import Direct, Refuse, Tunnel

if TYPE_CHECKING:
    from ambient.core.explain.answer import Circumstances, Question
    from ambient.core.snapshot import Snapshot


def explain(
    snapshot: Snapshot, circumstances: Circumstances, question: Question, now: datetime
) -> Explanation:
    """Walk through the call that ``question`` describes, up to what makes it fail."""
    return Explanation(tuple(_walk(snapshot, circumstances, question, now)))


def _walk(
    snapshot: Snapshot, circumstances: Circumstances, question: Question, now: datetime
) -> Iterator[Step]:
    source = find_source(snapshot, circumstances, question.source)
    if isinstance(source, Step):
        yield source
        return
    yield _source(source, circumstances)
    yield from admission.node(source, circumstances, "decides where the call goes")
    called = find_destination(snapshot, circumstances, question.destination, source)
    if isinstance(called, Step):
        yield called
        return
    yield called.step
    port = question.port or _only_port(called)
    if port is None:
        yield _no_port(called, question.destination)
        return
    if called.service is not None:
        yield from _service(called.service, port, circumstances)
        yield from _opaque(called.service, port, question)
    target = SocketAddress(called.ip, port)
    failing = False
    if called.service is not None:
        for step in routes.steps(snapshot, source, called.service, target, question):
            failing |= step.verdict is Verdict.FAILS
            yield step
        for step in requests.steps(circumstances, source, called.service, target, question):
            failing |= step.verdict is Verdict.FAILS
            yield step
        if called.service.waypoint is not None:
            policies = snapshot.policies.get(called.service.key)
            for step in requests.counted(policies, target.port, question):
                failing |= step.verdict is Verdict.FAILS
                yield step
    if not failing:
        yield from _call(snapshot, circumstances, source, called, target, question, now)


def _call(
    snapshot: Snapshot,
    circumstances: Circumstances,
    source: Workload,
    called: Called,
    target: SocketAddress,
    question: Question,
    now: datetime,
) -> Iterator[Step]:
    is_captured = source.tunnel is TunnelProtocol.HBONE
    if is_captured and _is_excluded(source, target, circumstances):
        is_captured = False
        yield Step(
            Topic.PROTOCOL,
            Verdict.WARNING,
            f"{target} is excluded from the capture of {source.namespace}/{source.name}: the call is plain TCP that "
            "nobody vouches for",
            remedy="take the exclusion away: `--exclude-outbound-port` or `--exclude-cidr` of the workload or its node",
        )
    decision, ends = ends_of(snapshot, source, target)
    if isinstance(decision, Refuse):
        yield refusals.step(decision, target)
        return
    service = called.service
    behind = _behind(snapshot, source, called, ends)
    if behind is not None and not is_captured:
        yield _past_the_waypoint(snapshot, source, service, behind, circumstances)
        return
    yield _balanced(snapshot, service, ends, is_through=behind is not None)
    is_vouched = is_captured and isinstance(decision, Tunnel)
    if is_captured:
        yield from _protocol(decision, ends, circumstances)
    if is_vouched:
        yield from admission.certificate(source, circumstances, now)
    if behind is None:
        yield from admission.steps(snapshot, circumstances, source, ends, now, is_vouched=is_vouched)
        return
    replica = ends[0].workload
    yield from admission.node(replica, circumstances, "is the waypoint")
    yield from admission.certificate(replica, circumstances, now)
    match behind:
        case Service():
            yield from beyond.to_service(
                snapshot, circumstances, replica, source, behind, target, question, now
            )
        case Workload():
            yield from beyond.judged(snapshot, circumstances, replica, (End(behind, target),), now)


def _behind(
    snapshot: Snapshot, source: Workload, called: Called, ends: tuple[End, ...]
) -> Workload | Service | None:
    """What is called and is behind a waypoint, whose replicas are the ends; None: nothing is."""
    if not ends:
        return None
    if called.service is not None:
        return called.service if called.service.waypoint is not None else None
    workload = snapshot.workload_at(called.ip, source.network)
    return None if workload is None or ends[0].workload is workload else workload


def _past_the_waypoint(
    snapshot: Snapshot,
    source: Workload,
    service: Service | None,
    behind: Workload | Service,
    circumstances: Circumstances,
) -> Step:
    who = f"{source.namespace}/{source.name}"
    enrolment = circumstances.enrolment(source.uid)
    remedy = admission.how_to_enrol(source, enrolment)
    past = f"the call of {who}, which is not captured, goes past waypoint {_named(behind)}"
    if service is not None:
        said = f"{past}, whose routes and policies do not count for it"
        return Step(Topic.POLICY, Verdict.WARNING, said, of(service), remedy)
    if snapshot.settings.waypoint_bypass is Permission.ALLOW:
        return Step(
            Topic.POLICY, Verdict.WARNING, f"{past}, as waypointBypass of MeshConfig allows", None, remedy
        )
    return Step(Topic.POLICY, Verdict.FAILS, f"{past}, and is refused for it (waypoint_bypass)", None, remedy)


def _named(behind: Workload | Service) -> str:
    return "" if behind.waypoint is None else str(behind.waypoint.destination)


def _source(source: Workload, circumstances: Circumstances) -> Step:
    enrolment = circumstances.enrolment(source.uid)
    where = f" on node {source.node}" if source.node else ""
    who = f"{source.namespace}/{source.name}{where} runs as {source.identity}"
    origin = None if enrolment is None else enrolment.origin
    if source.tunnel is TunnelProtocol.HBONE:
        return Step(Topic.SOURCE, Verdict.OK, f"{who} and is captured", origin)
    said = f"{who} and is not captured: its calls are plain TCP that nobody vouches for"
    return Step(Topic.SOURCE, Verdict.WARNING, said, origin, admission.how_to_enrol(source, enrolment))


def _only_port(called: Called) -> int | None:
    ports = () if called.ports is None else called.ports.ports
    return ports[0].service_port if len(ports) == 1 else None


def _no_port(called: Called, text: str) -> Step:
    ports = sorted(one.service_port for one in called.ports.ports) if called.ports is not None else []
    has = f"ports {', '.join(map(str, ports))}" if ports else "no ports of its own"
    return Step(
        Topic.SERVICE,
        Verdict.FAILS,
        f"{text} has {has}, and none was named",
        remedy=f"ask for {text}:{ports[0] if ports else 'PORT'}",
    )


def _service(service: Service, port: int, circumstances: Circumstances) -> Iterator[Step]:
    for problem in circumstances.standing_problems(service.kind, service.namespace, service.name):
        yield Step(
            Topic.SERVICE,
            Verdict.WARNING,
            f"the newest version of service {service.key} is refused, and its last good one stands: {problem}",
            of(service),
            "mend the object and apply it again",
        )
    listed = {one.service_port: one.target_port for one in service.ports}
    if port in listed:
        behind = f"port {listed[port]}" if listed[port] else "a named port"
        said = f"port {port}{_declared(service, port)} of {service.key} leads to {behind} of its endpoints"
        yield Step(Topic.SERVICE, Verdict.OK, said, of(service, "spec.ports"))


def _declared(service: Service, port: int) -> str:
    _, name, protocol = service.declaration(port)
    words = [word for word in (name, "" if protocol is None else protocol.value) if word]
    return f" ({', '.join(dict.fromkeys(words))})" if words else ""


def _opaque(service: Service, port: int, question: Question) -> Iterator[Step]:
    """A request on a port of which it is said that there are none."""
    protocol = service.declaration(port).protocol
    if protocol in {AppProtocol.TCP, AppProtocol.TLS} and (question.method or question.path):
        yield Step(
            Topic.PROTOCOL,
            Verdict.WARNING,
            f"port {port} of {service.key} is declared {protocol.value}: nobody looks into its requests, and what is "
            "said of requests does not count",
            of(service, "spec.ports"),
            "name the port http or http-SOMETHING, or set its appProtocol to http",
        )


def _is_excluded(source: Workload, target: SocketAddress, circumstances: Circumstances) -> bool:
    enrolment = circumstances.enrolment(source.uid)
    if enrolment is None:
        return False
    out = enrolment.exclusions
    return target.port in out.outbound_ports or any(target.ip in one for one in out.outbound_networks)


def _balanced(
    snapshot: Snapshot, service: Service | None, ends: tuple[End, ...], *, is_through: bool
) -> Step:
    if not ends:
        return Step(Topic.ENDPOINT, Verdict.OK, "the call goes to the address that was dialled")
    shown = ", ".join(map(str, ends[:3])) + (f" and {len(ends) - 3} more" if len(ends) > 3 else "")
    if is_through:
        origin = None if service is None else of(service)
        return Step(Topic.ENDPOINT, Verdict.OK, f"the call goes to the waypoint, {shown}", origin)
    if service is None:
        return Step(Topic.ENDPOINT, Verdict.OK, f"the call goes to {shown}")
    every = len(snapshot.endpoints_of.get(service.key, ()))
    said = f"{len(ends)} of {every} endpoints may be chosen: {shown}"
    return Step(Topic.ENDPOINT, Verdict.OK, said, of_endpoints(service))


def _protocol(
    decision: Tunnel | Direct, ends: tuple[End, ...], circumstances: Circumstances
) -> Iterator[Step]:
    plain = [end for end in ends if end.workload.tunnel is TunnelProtocol.NONE]
    if isinstance(decision, Tunnel) and not plain:
        yield Step(Topic.PROTOCOL, Verdict.OK, f"mutual TLS (HBONE) to port {decision.hop.port}")
    elif plain:
        workload = plain[0].workload
        enrolment = circumstances.enrolment(workload.uid)
        others = f" and {len(plain) - 1} more" if len(plain) > 1 else ""
        yield Step(
            Topic.PROTOCOL,
            Verdict.WARNING,
            f"plain TCP to {workload.namespace}/{workload.name}{others}, which is not captured and speaks no HBONE",
            None if enrolment is None else enrolment.origin,
            admission.how_to_enrol(workload, enrolment),
        )
