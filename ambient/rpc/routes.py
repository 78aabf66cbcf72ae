"""Routes of services as they travel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ambient.core.model.route import (
    Backend,
    Fault,
    HeaderMatch,
    Mirror as MirroredRequests,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Respond,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    TextMatch,
    TextMatchKind,
)
from ambient.core.model.traffic import (
    ConcurrencyBudget,
    RatioBudget,
    Subset,
    SuccessRate,
    TrafficPolicies,
)
from ambient.core.patterns import why_bad
from ambient.rpc.mirror import Mirror
from ambient.rpc.pb.ambient.route.v1 import route_pb2, traffic_pb2
from ambient.rpc.values import first, lower_case, ports, service_key

if TYPE_CHECKING:
    from google.protobuf.message import Message


def encode_routes(routes: ServiceRoutes) -> Message:
    """For whoever carries requests for a service."""
    return MIRROR.encode(routes)


def decode_routes(body: bytes) -> ServiceRoutes:
    """What ``encode_routes`` made. Raises Invalid, and DecodeError for what is no message at all."""
    routes: ServiceRoutes = MIRROR.decode(ServiceRoutes, route_pb2.ServiceRoutes.FromString(body))
    return routes


# What no type says


def _share(field: str, share: float) -> str | None:
    return None if 0 <= share <= 1 else f"{field} is {share}; it is 0 to 1"


def _positive(field: str, number: float) -> str | None:
    return None if number >= 0 else f"{field} is {number}; it is 0 or more"


def _status(field: str, status: int) -> str | None:
    return None if 100 <= status <= 599 else f"{field} is {status}; a status is 100-599"


def _pattern(field: str, pattern: str, *, is_one: bool) -> str | None:
    why = why_bad(pattern) if is_one else None
    return None if why is None else f"{field} {why}"


def _backend(backend: Backend) -> str | None:
    # One that can serve nothing may name what is no service.
    bad = None if backend.trouble else service_key("service", backend.service)
    return first(bad, ports("port", (backend.port,)))


def _rule(rule: RouteRule) -> str | None:
    return None if rule.matches else "matches is empty; a rule has at least one"


def _subset(subset: Subset) -> str | None:
    return first(None if subset.name else "name is empty", ports("ports", subset.ports))


def _policies(policies: TrafficPolicies) -> str | None:
    strange = next((name for name, one in policies.subsets.items() if one.name != name), None)
    return first(
        None if strange is None else f"subsets[{strange}].name is {policies.subsets[strange].name!r}",
        ports("ports", policies.ports),
        ports("opaque_ports", policies.opaque_ports),
    )


_CHECKS: Final[Mapping[type, Callable[[Any], str | None]]] = {
    ServiceRoutes: lambda routes: service_key("service", routes.service),
    RouteTable: lambda table: ports("ports", table.ports),
    RouteRule: _rule,
    RouteMatch: lambda match: ports("ports", match.ports),
    HeaderMatch: lambda header: lower_case("name", header.name),
    PathMatch: lambda path: _pattern("value", path.value, is_one=path.kind is PathMatchKind.REGEX),
    TextMatch: lambda text: _pattern("value", text.value, is_one=text.kind is TextMatchKind.REGEX),
    PathRewrite: lambda path: _pattern("pattern", path.pattern, is_one=path.kind is PathRewriteKind.REGEX),
    Backend: _backend,
    Redirect: lambda redirect: first(_status("status", redirect.status), ports("port", (redirect.port,))),
    Respond: lambda answer: _status("status", answer.status),
    MirroredRequests: lambda mirror: _share("share", mirror.share),
    Fault: lambda fault: first(
        _share("delayed_share", fault.delayed_share),
        _share("aborted_share", fault.aborted_share),
        _status("abort_status", fault.abort_status) if fault.abort_status else None,
    ),
    SuccessRate: lambda rate: _share("threshold", rate.threshold),
    RatioBudget: lambda budget: first(
        _positive("ratio", budget.ratio), _positive("least_per_second", budget.least_per_second)
    ),
    ConcurrencyBudget: lambda budget: _positive("ratio", budget.ratio),
    TrafficPolicies: _policies,
    Subset: _subset,
}
MIRROR: Final = Mirror((route_pb2, traffic_pb2), _CHECKS)
"""Of every class of ``ambient.core.model.route`` and ``ambient.core.model.traffic``."""
