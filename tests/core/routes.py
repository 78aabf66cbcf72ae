"""Strategies for everything that the model of routes and policies can say, made from its own annotations."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from immutables import Map

from ambient.core.model import route
from ambient.core.model.jwt import TokenSource
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.route import (
    Mirror,
    RouteMatch,
    ServiceRoutes,
)
from ambient.core.model.settings import MeshSettings
from ambient.core.model.traffic import Subset

_PORTS: Final = st.sampled_from([80, 443, 8080])
_SHARES: Final = st.sampled_from([0.0, 0.25, 1.0])
_SERVICES: Final = st.sampled_from(["shop/api.shop.svc.cluster.local", "shop/v2.shop.svc.cluster.local"])
_WORDS: Final = st.sampled_from(["a", "b", "shop", "/a"])
_STATUSES: Final = st.sampled_from([100, 404, 503, 599])
_FIELDS: Final[Mapping[tuple[str, str], st.SearchStrategy]] = {
    ("Backend", "service"): _SERVICES,
    ("ServiceRoutes", "service"): _SERVICES,
    ("Backend", "port"): st.none() | _PORTS,
    ("Redirect", "port"): st.none() | _PORTS,
    ("RouteMatch", "ports"): st.frozensets(_PORTS, max_size=2),
    ("RouteTable", "ports"): st.frozensets(_PORTS, max_size=2),
    ("TrafficPolicies", "opaque_ports"): st.frozensets(_PORTS, max_size=2),
    ("HeaderMatch", "name"): _WORDS,
    ("QueryMatch", "name"): _WORDS,
    ("Subset", "name"): _WORDS,
    ("PathRewrite", "pattern"): _WORDS,
    ("PathMatch", "value"): st.sampled_from(["/", "/a", "/a/b", "/A"]),
    ("Retry", "codes"): st.lists(st.tuples(_STATUSES, _STATUSES).map(sorted).map(tuple), max_size=2).map(tuple),
    ("Redirect", "status"): st.sampled_from([301, 302, 308]),
    ("Respond", "status"): _STATUSES,
    ("Fault", "abort_status"): st.just(0) | _STATUSES,
    ("RouteRule", "matches"): st.deferred(lambda: st.lists(of(RouteMatch), min_size=1, max_size=2).map(tuple)),
    ("ServicePolicies", "service"): _SERVICES,
    ("DeclaredPort", "service_port"): _PORTS,
    ("RequestAuthorization", "name"): _WORDS,
    ("RequestAuthorization", "namespace"): _WORDS,
    ("Target", "kind"): _WORDS,
    ("Target", "name"): _WORDS,
    ("StringMatch", "value"): _WORDS,
    ("HeaderTest", "name"): _WORDS,
    ("ClaimTest", "path"): st.lists(_WORDS, min_size=1, max_size=2).map(tuple),
    ("Match", "destination_ports"): st.lists(_PORTS, max_size=2).map(tuple),
    ("Match", "not_destination_ports"): st.lists(_PORTS, max_size=2).map(tuple),
    ("JwtRule", "issuer"): _WORDS,
    ("JwtRule", "sources"): st.deferred(lambda: st.lists(of(TokenSource), min_size=1, max_size=2).map(tuple)),
    ("KeysAt", "url"): _WORDS,
    ("RateLimit", "name"): _WORDS,
    ("RateLimit", "requests"): st.sampled_from([1, 500, 2**40]),
    ("RateLimit", "burst"): st.sampled_from([1, 500]),
    ("RateLimit", "period"): st.sampled_from([0.001, 1, 86_400]).map(lambda seconds: timedelta(seconds=seconds)),
    ("RateLimit", "ports"): st.frozensets(_PORTS, max_size=2),
    ("Tracing", "sampled_percent"): st.none() | st.sampled_from([0.0, 12.5, 100.0]),
    ("Filters", "mirrors"): st.deferred(lambda: st.lists(of(Mirror), max_size=1).map(tuple)),
}  # fmt: skip
_SIMPLE: Final[Mapping[Any, st.SearchStrategy]] = {
    str: st.sampled_from(["", "a", "b", "/a"]),
    int: st.sampled_from([0, 1, 7, 500]),
    bool: st.booleans(),
    float: _SHARES,
    NoneType: st.none(),
    timedelta: st.sampled_from([0, 0.25, 1, 90, 86_400]).map(lambda seconds: timedelta(seconds=seconds)),
    IPv4Network: st.sampled_from(["10.0.0.0/8", "10.0.0.1/32"]).map(ip_network),
    IPv6Network: st.sampled_from(["fd00::/64", "::/0"]).map(ip_network),
}


@cache
def of(kind: Any) -> st.SearchStrategy:
    """Any value of a type."""
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return st.one_of([of(one) for one in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, arguments))
    if origin is frozenset:
        return st.frozensets(of(arguments[0]), max_size=2)
    if origin is Map:
        return _map(*arguments)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return st.deferred(lambda: _built(kind))


def _map(keys: Any, values: Any) -> st.SearchStrategy:
    if values is Subset:
        return st.lists(of(Subset), max_size=2).map(lambda every: Map({one.name: one for one in every}))
    chosen = _PORTS if keys is int else _WORDS
    return st.dictionaries(chosen, of(values), max_size=2).map(Map)


def _built(kind: Any) -> st.SearchStrategy:
    assert is_dataclass(kind) or hasattr(kind, "_fields")
    hints = get_type_hints(kind)
    if kind in {route.AllOf, route.AnyOf}:
        return st.lists(_conditions, max_size=2).map(lambda every: kind(tuple(every)))
    chosen: dict[str, st.SearchStrategy] = {}
    for name, hint in hints.items():
        field = _conditions if name == "condition" else _FIELDS.get((kind.__name__, name))
        chosen[name] = _sometimes(of(hint) if field is None else field, kind, name)
    return st.builds(kind, **chosen)


def _sometimes(field: st.SearchStrategy, kind: Any, name: str) -> st.SearchStrategy:
    """Mostly a field's default, where it has one, so that values stay small."""
    defaults = {one.name: one.default for one in fields(kind)} if is_dataclass(kind) else kind._field_defaults
    default = defaults.get(name, MISSING)
    if default is MISSING:
        return field
    return st.sampled_from([True, False, False]).flatmap(lambda is_set: field if is_set else st.just(default))


_conditions: st.SearchStrategy = st.recursive(
    st.deferred(lambda: of(RouteMatch)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda every: route.AllOf(tuple(every))),
        st.lists(inner, max_size=2).map(lambda every: route.AnyOf(tuple(every))),
        inner.map(route.Not),
    ),
    max_leaves=3,
)

service_routes: st.SearchStrategy[ServiceRoutes] = of(ServiceRoutes)
service_policies: st.SearchStrategy[ServicePolicies] = of(ServicePolicies)
mesh_settings: st.SearchStrategy[MeshSettings] = of(MeshSettings)
