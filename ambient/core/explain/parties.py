"""Who is meant by a name, as its caller would write it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ambient.core.explain.answer import Step, Topic, Verdict
from ambient.core.model.address import IpAddress, unmapped
from ambient.core.model.route import Origin
from ambient.core.model.service import Service
from ambient.core.model.workload import Workload

if TYPE_CHECKING:
    from ambient.core.explain.answer import Circumstances
    from ambient.core.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Called:
    """What a name stands for."""

    ip: IpAddress
    """The address that its caller would dial."""
    service: Service | None
    """The service that ``ip`` is a virtual address of."""
    ports: Service | None
    """Where to look for the only port: ``service``, or the headless service whose endpoint ``ip`` is of."""
    step: Step


def of(service: Service, field: str = "") -> Origin:
    """A service, or a field of it, as what decided something."""
    return Origin(service.kind, service.namespace, service.name, field)


def of_endpoints(service: Service) -> Origin:
    """What says who serves a service."""
    return of(service, "spec.selector" if service.kind == "Service" else "spec.endpoints")


def find_source(snapshot: Snapshot, circumstances: Circumstances, text: str) -> Workload | Step:
    """The workload that calls, or why there is none."""
    workload = _workload(snapshot, text)
    if workload is not None:
        return workload
    namespace, name = _names(text)
    why = circumstances.refused(namespace, name)
    if why is not None:
        return _refused(Topic.SOURCE, text, why)
    known = (f"{one.namespace}/{one.name}" for one in snapshot.workloads.values())
    return Step(
        Topic.SOURCE,
        Verdict.FAILS,
        f"no workload is called {text}{_hint(text, known)}",
        remedy="name one of `ambient get workloads`, or add it on its node with `ambient workload add`",
    )


def find_destination(
    snapshot: Snapshot, circumstances: Circumstances, text: str, source: Workload
) -> Called | Step:
    """What ``source`` reaches under a name or address, or why that is nothing."""
    try:
        return _at(snapshot, unmapped(ip_address(text)), source)
    except ValueError:
        pass
    service = _service(snapshot, text, source)
    if service is not None:
        return _called(snapshot, text, service)
    workload = _workload(snapshot, text, source.namespace)
    if workload is not None and workload.addresses:
        said = f"{text} is workload {workload.namespace}/{workload.name} at {workload.addresses[0]}"
        return Called(workload.addresses[0], None, None, Step(Topic.NAME, Verdict.OK, said))
    return _unknown(snapshot, circumstances, text, source)


def _at(snapshot: Snapshot, ip: IpAddress, source: Workload) -> Called:
    service = snapshot.service_at(ip, source.network)
    workload = snapshot.workload_at(ip, source.network)
    if service is None and workload is None:
        service = snapshot.service_over(ip, source.network)
    if service is not None:
        step = Step(Topic.NAME, Verdict.OK, f"{ip} is service {service.key}", of(service))
        return Called(ip, service, service, step)
    if workload is not None:
        said = f"{ip} is workload {workload.namespace}/{workload.name}"
        return Called(ip, None, None, Step(Topic.NAME, Verdict.OK, said))
    step = Step(
        Topic.NAME,
        Verdict.WARNING,
        f"{ip} is nobody that the mesh knows: the call leaves it as plain TCP",
        remedy="add a Service, ServiceEntry or WorkloadEntry of that address if it should be known",
    )
    return Called(ip, None, None, step)


def _called(snapshot: Snapshot, text: str, service: Service) -> Called | Step:
    if service.addresses:
        ip = service.addresses[0].ip
        said = f"{text} is service {service.key} at {ip}"
        return Called(ip, service, service, Step(Topic.NAME, Verdict.OK, said, of(service)))
    endpoint = next((one for one in snapshot.endpoints_of.get(service.key, ()) if one.addresses), None)
    if endpoint is None:
        said = f"{text} is headless service {service.key} without endpoints, so its name has no address"
        remedy = "add workloads with the labels that it selects"
        return Step(Topic.NAME, Verdict.FAILS, said, of_endpoints(service), remedy)
    said = f"{text} is headless service {service.key}: its name stands for the addresses of its endpoints"
    return Called(endpoint.addresses[0], None, service, Step(Topic.NAME, Verdict.OK, said, of(service)))


def _service(snapshot: Snapshot, text: str, source: Workload) -> Service | None:
    """By host name, or by name and namespace; without a namespace, of the source's own."""
    host = text.rstrip(".").lower()
    if "/" not in text:
        named = [one for one in snapshot.services.values() if one.hostname == host]
        if named:
            return min(named, key=lambda one: (one.namespace != source.namespace, one.key))
    namespace, name = _names(host, source.namespace)
    return snapshot.services.get(f"{namespace}/{name}.{namespace}.svc.cluster.local")


def _unknown(snapshot: Snapshot, circumstances: Circumstances, text: str, source: Workload) -> Step:
    why = circumstances.refused(*_names(text, source.namespace))
    if why is not None:
        return _refused(Topic.NAME, text, why)
    services = snapshot.services.values()
    elsewhere = sorted(one.namespace for one in services if one.name == text)
    if elsewhere:
        hint = f"; there is one in namespace {elsewhere[0]}: write {text}.{elsewhere[0]}"
    else:
        known = [f"{one.name}.{one.namespace}" for one in services]
        known += [one.name for one in services if one.namespace == source.namespace]
        hint = _hint(text, known)
    return Step(
        Topic.NAME,
        Verdict.FAILS,
        f"no service or workload is called {text} for callers of namespace {source.namespace}{hint}",
        remedy="write its name as NAME.NAMESPACE, or add a Service of that name",
    )


def _refused(topic: Topic, text: str, why: str) -> Step:
    return Step(topic, Verdict.FAILS, f"{text} is reported by its node, and refused: {why}")


def _workload(snapshot: Snapshot, text: str, namespace: str = "") -> Workload | None:
    """By address or name; without a namespace, of any."""
    try:
        return snapshot.workload_at(unmapped(ip_address(text)))
    except ValueError:
        pass
    namespace, name = _names(text, namespace)
    named = [one for one in snapshot.workloads.values() if one.name == name]
    return min(
        (one for one in named if namespace in {"", one.namespace}), key=lambda one: one.uid, default=None
    )


def _names(text: str, namespace: str = "") -> tuple[str, str]:
    """Namespace (the given one if the text has none) and name."""
    if "/" in text:
        first, _, name = text.partition("/")
        return first, name
    name, dot, rest = text.partition(".")
    return (rest.partition(".")[0], name) if dot else (namespace, text)


def _hint(text: str, known: Iterable[str]) -> str:
    close = get_close_matches(text, sorted(set(known)), n=1)
    return f"; did you mean {close[0]}?" if close else ""
