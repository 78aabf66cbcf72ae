"""From a waypoint to who serves: whom it may choose, and whether that one's node lets the waypoint in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from ambient.core.authorize import Connection
from ambient.core.explain import admission, filters, routes
from ambient.core.explain.answer import Step, Topic, Verdict
from ambient.core.explain.ends import End
from ambient.core.explain.parties import of_endpoints
from ambient.core.gateways import meant_by
from ambient.core.inbound import Rejection, recheck
from ambient.core.model.address import SocketAddress
from ambient.core.model.workload import TunnelProtocol
from ambient.core.ports import target_port
from ambient.core.routing import policy_of, traffic_for

if TYPE_CHECKING:
    from ambient.core.explain.answer import Circumstances, Question
    from ambient.core.model.route import Backend, ServiceRoutes
    from ambient.core.model.service import Service
    from ambient.core.model.workload import Workload
    from ambient.core.snapshot import Snapshot


def to_service(
    snapshot: Snapshot,
    circumstances: Circumstances,
    replica: Workload,
    source: Workload,
    service: Service,
    target: SocketAddress,
    question: Question,
    now: datetime,
) -> Iterator[Step]:
    """On to the backends of whatever rule the call meets; ``replica`` is one of the waypoint's."""
    backends = routes.destinations(snapshot, source, service, target, question)
    for backend in backends:
        called = snapshot.services.get(backend.service)
        if called is None:
            continue
        port = target.port if backend.port is None else backend.port
        said = snapshot.routes.get(called.key)
        ends = tuple(_ends(snapshot, replica, called, port, _labels(said, backend, source)))
        yield _choice(snapshot, called, backend, ends, is_only=len(backends) == 1)
        if said is not None:
            policy = policy_of(traffic_for(said, source.namespace), backend.subset, port)
            if words := list(filters.of_traffic(policy)):
                yield Step(Topic.ENDPOINT, Verdict.OK, f"for {called.key}: {'; '.join(words)}")
        meant = called if meant_by(snapshot, replica, called.key) else None
        yield from judged(snapshot, circumstances, replica, ends, now, meant)


def judged(
    snapshot: Snapshot,
    circumstances: Circumstances,
    replica: Workload,
    ends: tuple[End, ...],
    now: datetime,
    meant: Service | None = None,
) -> Iterator[Step]:
    """What each end says of the waypoint, which is who calls it; ``meant``: what it names to them."""
    fails = False
    for end in ends:
        yield from _passed(snapshot, replica, end, meant)
    for step in admission.steps(snapshot, circumstances, replica, ends, now, is_vouched=True):
        fails |= step.verdict is Verdict.FAILS and step.topic is Topic.POLICY
        yield step
    if fails:
        yield Step(
            Topic.IDENTITY,
            Verdict.WARNING,
            f"policies of workloads behind a waypoint see {replica.identity}, and not the caller",
            remedy="let them name that identity, and say what is asked of callers in a policy with targetRefs",
        )


def _passed(snapshot: Snapshot, replica: Workload, end: End, meant: Service | None) -> Iterator[Step]:
    """An end that only another waypoint may call."""
    if end.workload.tunnel is TunnelProtocol.NONE or not replica.addresses:
        return
    connection = Connection(replica.identity, SocketAddress(replica.addresses[0], 0), end.address)
    refused = recheck(snapshot, end.workload, connection, meant)
    if refused is not None and refused.why is Rejection.WAYPOINT_BYPASS:
        remedy = "put both behind one waypoint, or let the workload be behind none by its own address"
        yield Step(Topic.POLICY, Verdict.FAILS, refused.detail.partition(";")[0], remedy=remedy)


def _labels(said: ServiceRoutes | None, backend: Backend, source: Workload) -> dict[str, str]:
    """What endpoints of the backend's subset carry."""
    if said is None or not backend.subset:
        return {}
    subset = traffic_for(said, source.namespace).subsets.get(backend.subset)
    return {} if subset is None else dict(subset.labels)


def _ends(
    snapshot: Snapshot, replica: Workload, service: Service, port: int, labels: dict[str, str]
) -> Iterator[End]:
    endpoints = snapshot.endpoints_of.get(service.key)
    if endpoints is None:
        return
    for one in endpoints.serving(service, replica.network, port).candidates:
        number = target_port(service, one, port)
        is_in = all(one.labels.get(key) == value for key, value in labels.items())
        if number is not None and one.capacity and is_in:
            yield End(one, SocketAddress(one.addresses[0], number))


def _choice(
    snapshot: Snapshot, service: Service, backend: Backend, ends: tuple[End, ...], *, is_only: bool
) -> Step:
    every = len(snapshot.endpoints_of.get(service.key, ()))
    whom = f"{service.key} subset {backend.subset}" if backend.subset else service.key
    if not ends:
        return Step(
            Topic.ENDPOINT,
            Verdict.FAILS if is_only else Verdict.WARNING,
            f"the waypoint finds none of {every} endpoints of {whom} that can serve: requests for it are answered with 503",
            of_endpoints(service),
            "see in `ambient get workloads` who serves it, whether they are healthy and have the port and the labels",
        )
    shown = ", ".join(map(str, ends[:3])) + (f" and {len(ends) - 3} more" if len(ends) > 3 else "")
    said = f"the waypoint may choose {len(ends)} of {every} endpoints of {whom}: {shown}"
    return Step(Topic.ENDPOINT, Verdict.OK, said, of_endpoints(service))
