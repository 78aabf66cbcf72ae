"""From one snapshot to the next, at the cost of what changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ambient.core.endpoints import Endpoints
from ambient.core.model.authorization import Authorization, Scope
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import ServiceRoutes
from ambient.core.model.service import Service
from ambient.core.model.settings import MeshSettings
from ambient.core.model.workload import Workload
from ambient.core.snapshot import Snapshot

if TYPE_CHECKING:
    from immutables import Map

    from ambient.core.snapshot import Keys

Resource: TypeAlias = Workload | Service | Authorization | ServiceRoutes | ServicePolicies | MeshSettings
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Delta:
    """What to change. A resource that is also named in a ``removed_*`` is kept: removal comes first."""

    upserted: tuple[Resource, ...] = ()
    removed_addresses: tuple[str, ...] = ()
    """Workload uids and service keys: one name space on the wire (``istio.workload.Address``)."""
    removed_authorizations: tuple[str, ...] = ()
    removed_routes: tuple[str, ...] = ()
    """Keys of services of which nothing is said any more."""
    removed_policies: tuple[str, ...] = ()
    """Keys of services."""
    settings_removed: bool = False
    """Whether the mesh's settings are the defaults again."""


def apply(snapshot: Snapshot, delta: Delta) -> Snapshot:
    """The snapshot after ``delta``, one version on. Removing what is not there changes nothing."""
    after = snapshot
    for name in delta.removed_addresses:
        after = _without_service(_without_workload(after, name), name)
    for name in delta.removed_authorizations:
        after = _without_authorization(after, name)
    for key in delta.removed_routes:
        if key in after.routes:
            after = replace(after, routes=after.routes.delete(key))
    for key in delta.removed_policies:
        if key in after.policies:
            after = replace(after, policies=after.policies.delete(key))
    if delta.settings_removed:
        after = replace(after, settings=MeshSettings())
    for resource in delta.upserted:
        match resource:
            case Workload():
                after = _with_workload(after, resource)
            case Service():
                after = _with_service(after, resource)
            case Authorization():
                after = _with_authorization(after, resource)
            case ServiceRoutes():
                after = replace(after, routes=after.routes.set(resource.service, resource))
            case ServicePolicies():
                after = replace(after, policies=after.policies.set(resource.service, resource))
            case MeshSettings():
                after = replace(after, settings=resource)
    return replace(after, version=snapshot.version + 1)


def between(before: Snapshot, after: Snapshot) -> Delta:
    """The delta that turns ``before`` into ``after`` (versions aside)."""
    upserted: list[Resource] = []
    for uid, workload in after.workloads.items():
        if before.workloads.get(uid) != workload:
            upserted.append(workload)
    for key, service in after.services.items():
        if before.services.get(key) != service:
            upserted.append(service)
    for key, authorization in after.authorizations.items():
        if before.authorizations.get(key) != authorization:
            upserted.append(authorization)
    for key, routes in after.routes.items():
        if before.routes.get(key) != routes:
            upserted.append(routes)
    for key, policies in after.policies.items():
        if before.policies.get(key) != policies:
            upserted.append(policies)
    if before.settings != after.settings:
        upserted.append(after.settings)
    gone = [uid for uid in before.workloads if uid not in after.workloads]
    gone += [key for key in before.services if key not in after.services]
    gone_authorizations = [key for key in before.authorizations if key not in after.authorizations]
    gone_routes = [key for key in before.routes if key not in after.routes]
    gone_policies = [key for key in before.policies if key not in after.policies]
    return Delta(
        tuple(upserted), tuple(gone), tuple(gone_authorizations), tuple(gone_routes), tuple(gone_policies)
    )


def _with_workload(snapshot: Snapshot, workload: Workload) -> Snapshot:
    before = snapshot.workloads.get(workload.uid)
    had_addresses = before.network_addresses if before is not None else ()
    had_services = before.services if before is not None else ()
    return replace(
        snapshot,
        workloads=snapshot.workloads.set(workload.uid, workload),
        workloads_at=_move(snapshot.workloads_at, had_addresses, workload.network_addresses, workload.uid),
        endpoints_of=_serving(snapshot.endpoints_of, had_services, workload),
    )


def _without_workload(snapshot: Snapshot, uid: str) -> Snapshot:
    workload = snapshot.workloads.get(uid)
    if workload is None:
        return snapshot
    return replace(
        snapshot,
        workloads=snapshot.workloads.delete(uid),
        workloads_at=_discard(snapshot.workloads_at, workload.network_addresses, uid),
        endpoints_of=_not_serving(snapshot.endpoints_of, workload.services, uid),
    )


def _with_service(snapshot: Snapshot, service: Service) -> Snapshot:
    bare = _without_service(snapshot, service.key)
    return replace(
        bare,
        services=bare.services.set(service.key, service),
        services_at=_add(bare.services_at, service.addresses, service.key),
        services_over=reduce(
            lambda over, one: over.add(one, service.key), service.ranges, bare.services_over
        ),
    )


def _without_service(snapshot: Snapshot, key: str) -> Snapshot:
    service = snapshot.services.get(key)
    if service is None:
        return snapshot
    return replace(
        snapshot,
        services=snapshot.services.delete(key),
        services_at=_discard(snapshot.services_at, service.addresses, key),
        services_over=reduce(
            lambda over, one: over.discard(one, key), service.ranges, snapshot.services_over
        ),
    )


def _with_authorization(snapshot: Snapshot, authorization: Authorization) -> Snapshot:
    bare = _without_authorization(snapshot, authorization.key)
    return replace(
        bare,
        authorizations=bare.authorizations.set(authorization.key, authorization),
        authorizations_for=_add(bare.authorizations_for, _reach(authorization), authorization.key),
    )


def _without_authorization(snapshot: Snapshot, key: str) -> Snapshot:
    authorization = snapshot.authorizations.get(key)
    if authorization is None:
        return snapshot
    return replace(
        snapshot,
        authorizations=snapshot.authorizations.delete(key),
        authorizations_for=_discard(snapshot.authorizations_for, _reach(authorization), key),
    )


def _reach(authorization: Authorization) -> tuple[str, ...]:
    match authorization.scope:
        case Scope.GLOBAL:
            return ("",)
        case Scope.NAMESPACE:
            return (authorization.namespace,)
        case Scope.WORKLOAD_SELECTOR:
            return ()


def _serving(index: Map[str, Endpoints], before: Iterable[str], workload: Workload) -> Map[str, Endpoints]:
    index = _not_serving(index, (key for key in before if key not in workload.services), workload.uid)
    for key in workload.services:
        endpoints = index.get(key)
        index = index.set(key, Endpoints.of(workload) if endpoints is None else endpoints.having(workload))
    return index


def _not_serving(index: Map[str, Endpoints], keys: Iterable[str], uid: str) -> Map[str, Endpoints]:
    for key in keys:
        rest = index[key].lacking(uid)
        index = index.delete(key) if rest is None else index.set(key, rest)
    return index


def _move(index: Map[K, Keys], before: Iterable[K], after: Iterable[K], name: str) -> Map[K, Keys]:
    """What it stays in is not copied."""
    had, has = frozenset(before), frozenset(after)
    return _add(_discard(index, had - has, name), has - had, name)


def _add(index: Map[K, Keys], keys: Iterable[K], name: str) -> Map[K, Keys]:
    for key in keys:
        index = index.set(key, index.get(key, frozenset()) | {name})
    return index


def _discard(index: Map[K, Keys], keys: Iterable[K], name: str) -> Map[K, Keys]:
    for key in keys:
        rest = index.get(key, frozenset()) - {name}
        index = index.set(key, rest) if rest else index.delete(key)
    return index
