"""What the other side says: which policy lets a call in, and who vouches for whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from ambient.core.authorize import Allowed, Connection, Denied, authorize
from ambient.core.explain.answer import Step, Topic, Verdict
from ambient.core.misfit import misfits
from ambient.core.model.address import SocketAddress
from ambient.core.model.authorization import Action
from ambient.core.model.route import Origin
from ambient.core.model.workload import TunnelProtocol

if TYPE_CHECKING:
    from ambient.core.explain.answer import Circumstances, Enrolment
    from ambient.core.explain.ends import End
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


def steps(
    snapshot: Snapshot,
    circumstances: Circumstances,
    source: Workload,
    ends: tuple[End, ...],
    now: datetime,
    *,
    is_vouched: bool,
) -> Iterator[Step]:
    """The word of every end; those that nothing tells apart are judged once."""
    alike: dict[tuple[object, ...], list[End]] = {}
    for end in ends:
        workload = end.workload
        if workload.tunnel is TunnelProtocol.HBONE:
            kind = (workload.identity, workload.policies, workload.node, end.address.port)
            alike.setdefault(kind, []).append(end)
    told: set[Step] = set()
    for group in alike.values():
        for step in _group(snapshot, circumstances, source, group, now, is_vouched=is_vouched):
            if step not in told:
                told.add(step)
                yield step


def node(workload: Workload, circumstances: Circumstances, role: str) -> Iterator[Step]:
    """What is the matter with a workload's node, which has a part in the call."""
    standing = circumstances.node(workload.node) if workload.node else None
    if standing is None:
        return
    what = f"node {workload.node}, which {role},"
    if not standing.is_connected:
        said = f"{what} is not connected to the control plane and goes by what it heard last"
        remedy = f"see on node {workload.node} whether `ambient proxy` runs and reaches the control plane"
        yield Step(Topic.NODE, Verdict.WARNING, said, remedy=remedy)
    elif standing.refused:
        said = f"{what} does not take all that it is told: {'; '.join(standing.refused)}"
        remedy = "bring its proxy and the control plane to one version"
        yield Step(Topic.NODE, Verdict.WARNING, said, remedy=remedy)
    elif standing.behind:
        said = f"{what} has not acknowledged the newest {', '.join(standing.behind)} yet"
        remedy = "ask again in a moment; `ambient proxy-status` shows whether it catches up"
        yield Step(Topic.NODE, Verdict.WARNING, said, remedy=remedy)


def certificate(workload: Workload, circumstances: Circumstances, now: datetime) -> Iterator[Step]:
    """Whether a workload can prove who it is."""
    held = circumstances.certificate(workload.uid)
    who = f"{workload.namespace}/{workload.name}"
    end = None if held is None else held.end
    if held is not None and (end is None or end <= now):
        when = "has ended" if end is None else f"ended at {end:%FT%TZ}"
        yield Step(
            Topic.IDENTITY,
            Verdict.FAILS,
            f"the certificate by which {who} would prove to be {workload.identity} {when}",
            remedy=f"see on node {workload.node} why it was not renewed: `ambient certs list --proxy`, and the proxy's log",
        )
    else:
        until = "" if end is None else f", with a certificate until {end:%FT%TZ}"
        yield Step(Topic.IDENTITY, Verdict.OK, f"{who} proves to be {workload.identity}{until}")


def how_to_enrol(workload: Workload, enrolment: Enrolment | None) -> str:
    """What would have a workload captured."""
    if enrolment is not None and enrolment.is_wanted:
        return f"it is to be captured and is not yet: see `ambient workload list` on node {workload.node}"
    return f"label namespace {workload.namespace} ambient.dev/dataplane-mode=ambient to have it captured"


def _group(
    snapshot: Snapshot,
    circumstances: Circumstances,
    source: Workload,
    group: list[End],
    now: datetime,
    *,
    is_vouched: bool,
) -> Iterator[Step]:
    workload, address = group[0].workload, group[0].address
    yield from node(workload, circumstances, f"judges what comes in for {_who(group)}")
    enrolment = circumstances.enrolment(workload.uid)
    if enrolment is not None and address.port in enrolment.exclusions.inbound_ports and not is_vouched:
        yield Step(
            Topic.POLICY,
            Verdict.WARNING,
            f"port {address.port} of {_who(group)} is excluded from capture: no policy is asked",
            remedy="take the exclusion away: `--exclude-inbound-port` of the workload or its node",
        )
        return
    if is_vouched:
        yield from certificate(workload, circumstances, now)
    if not source.addresses:
        return
    identity = source.identity if is_vouched else None
    connection = Connection(identity, SocketAddress(source.addresses[0], 0), address)
    match authorize(snapshot, workload, connection):
        case Allowed(policy):
            yield _allowed(policy, group, circumstances)
        case Denied(policy):
            if policy is None:
                yield from _not_allowed(snapshot, group, connection)
            else:
                yield _denied(policy, group, circumstances, is_vouched=is_vouched)


def _allowed(policy: str | None, group: list[End], circumstances: Circumstances) -> Step:
    if policy is None:
        return Step(Topic.POLICY, Verdict.OK, f"no ALLOW policy concerns {_who(group)}, so all may call")
    origin = _origin(policy, group[0].workload, circumstances)
    return Step(Topic.POLICY, Verdict.OK, f"{origin.kind} {policy} lets it in to {_who(group)}", origin)


def _denied(policy: str, group: list[End], circumstances: Circumstances, *, is_vouched: bool) -> Step:
    origin = _origin(policy, group[0].workload, circumstances)
    if origin.kind == "PeerAuthentication" and not is_vouched:
        said = f"{_who(group)} takes mutual TLS alone (STRICT), and the call comes as plain TCP"
        remedy = "enrol the caller (label its namespace ambient.dev/dataplane-mode=ambient), or set PERMISSIVE there"
        return Step(Topic.POLICY, Verdict.FAILS, said, origin, remedy)
    said = f"{origin.kind} {policy} denies it at {_who(group)}"
    remedy = "change the rule that fits, or call as somebody whom it does not name"
    return Step(Topic.POLICY, Verdict.FAILS, said, origin, remedy)


def _not_allowed(snapshot: Snapshot, group: list[End], connection: Connection) -> Iterator[Step]:
    workload = group[0].workload
    reach = snapshot.authorizations_for
    keys = {*workload.policies, *reach.get("", ()), *reach.get(workload.namespace, ())}
    for key in sorted(keys):
        policy = snapshot.authorizations.get(key)
        if policy is None or policy.action is not Action.ALLOW or policy.dry_run:
            continue
        why = "; ".join(misfits(policy, connection))
        yield Step(
            Topic.POLICY,
            Verdict.FAILS,
            f"AuthorizationPolicy {key} does not let it in to {_who(group)}: {why}",
            Origin("AuthorizationPolicy", policy.namespace, policy.name, "spec.rules"),
            "add the caller to its rules, or call as somebody whom it names",
        )


def _origin(policy: str, workload: Workload, circumstances: Circumstances) -> Origin:
    namespace, _, name = policy.partition("/")
    if "_" not in name:
        return Origin("AuthorizationPolicy", namespace, name)
    # Made from a PeerAuthentication: no object can have an underscore in its name.
    strict = circumstances.strict(workload.uid)
    return strict or Origin("PeerAuthentication", namespace, name, "spec.mtls.mode")


def _who(group: list[End]) -> str:
    first = group[0].workload
    others = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return f"{first.namespace}/{first.name}{others}"
