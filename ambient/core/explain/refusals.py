"""What a refusal to carry a call means to whoever wants to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ambient.core.explain.answer import Step, Topic, Verdict
from ambient.core.explain.parties import of, of_endpoints
from ambient.core.outbound import Refusal

if TYPE_CHECKING:
    from ambient.core.model.address import SocketAddress
    from ambient.core.model.service import Service
    from ambient.core.outbound import Refuse


def step(refuse: Refuse, target: SocketAddress) -> Step:
    """The cause and its remedy."""
    service = refuse.service
    if refuse.why is Refusal.RECURSIVE:
        said = f"{refuse.detail}: ports 15001, 15006 and 15008 are the mesh's own"
        return Step(Topic.SERVICE, Verdict.FAILS, said, remedy="call another port")
    if refuse.why is Refusal.UNKNOWN_WAYPOINT or (service is not None and service.waypoint is not None):
        return Step(
            Topic.ROUTE,
            Verdict.FAILS,
            f"the call must go through a waypoint that cannot be reached: {refuse.detail}",
            None if service is None else of(service, "metadata.labels"),
            "start the waypoint with `ambient waypoint run`, or take the label away, which may be the namespace's",
        )
    if service is None:
        return Step(Topic.ENDPOINT, Verdict.FAILS, refuse.detail)
    match refuse.why:
        case Refusal.NO_ENDPOINTS:
            said = f"no workload of namespace {service.namespace} carries the labels that service {service.key} selects"
            remedy = "compare its selector with the labels in `ambient get workloads`, or add the workload"
            return Step(Topic.ENDPOINT, Verdict.FAILS, said, of_endpoints(service), remedy)
        case Refusal.NO_HEALTHY_ENDPOINT:
            said = f"every endpoint of service {service.key} is unhealthy or takes no traffic"
            remedy = "see their health in `ambient get workloads`"
            return Step(Topic.ENDPOINT, Verdict.FAILS, said, of_endpoints(service), remedy)
        case Refusal.NO_TARGET_PORT:
            return _no_target_port(service, target.port)
        case Refusal.NO_ADDRESS | Refusal.OTHER_NETWORK:
            return Step(Topic.ENDPOINT, Verdict.FAILS, refuse.detail, of(service))
        case Refusal.NO_ROUTE:
            return Step(Topic.ROUTE, Verdict.FAILS, refuse.detail, of(service))


def _no_target_port(service: Service, port: int) -> Step:
    listed = [one.service_port for one in service.ports]
    if port not in listed:
        has = ", ".join(map(str, sorted(listed))) or "none"
        said = f"service {service.key} has no port {port}; its ports are {has}"
        remedy = f"call one of its ports, or add port {port}"
        return Step(Topic.SERVICE, Verdict.FAILS, said, of(service, "spec.ports"), remedy)
    return Step(
        Topic.ENDPOINT,
        Verdict.FAILS,
        f"port {port} of service {service.key} has a targetPort by name, and no endpoint has a port of that name",
        of(service, f"spec.ports[{listed.index(port)}].targetPort"),
        "write the number as targetPort, or label the workloads port.ambient.dev/NAME=NUMBER",
    )
