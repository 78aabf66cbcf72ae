"""Routes on the wire: whatever the model can say comes back as it was, and what means nothing is refused by name."""

from dataclasses import replace
from datetime import timedelta
from enum import Enum

import pytest
from core.routes import of, service_routes
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings
from immutables import Map

from ambient.core.delta import Delta
from ambient.core.model import route, traffic
from ambient.core.model.route import (
    Backend,
    Forward,
    Origin,
    Profile,
    ProfileRoute,
    Protocol,
    RouteMatch,
    RouteRule,
    RouteTable,
    ServiceRoutes,
    Unmatched,
)
from ambient.core.model.traffic import (
    HashHeader,
    LocalityPolicy,
    RatioBudget,
    RingHash,
    Subset,
    TrafficPolicies,
    TrafficPolicy,
)
from ambient.rpc import wire
from ambient.rpc.encoding import encode_delta, encode_resource
from ambient.rpc.mirror import Invalid
from ambient.rpc.pb.ambient.route.v1 import route_pb2
from ambient.rpc.routes import MIRROR
from ambient.rpc.wire import ROUTES, RawResource, Update

API = "shop/api.shop.svc.cluster.local"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(service_routes)
def test_everything_that_can_be_said_comes_back_as_it_was(routes):
    decoded, errors = wire.decode(encode_delta(Delta((routes,), removed_routes=("shop/gone",))))
    assert errors == {}
    assert decoded == Delta((routes,), removed_routes=("shop/gone",))


def classes_of(module) -> list[type]:
    return [
        one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__
    ]


@pytest.mark.parametrize(
    "kind", [one for one in (*classes_of(route), *classes_of(traffic)) if not issubclass(one, Enum)]
)
def test_every_class_of_the_model_comes_back_as_it_was(kind):
    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(of(kind))
    def comes_back(value):
        assert MIRROR.decode(kind, MIRROR.encode(value)) == value

    comes_back()


def test_a_backend_that_can_serve_nothing_may_name_no_service():
    backend = Backend("/db.example.com", 80, trouble="service /db.example.com is not known")
    assert MIRROR.decode(Backend, MIRROR.encode(backend)) == backend
    with pytest.raises(Invalid, match="it is namespace/hostname"):
        MIRROR.decode(Backend, MIRROR.encode(replace(backend, trouble="")))


def test_the_same_routes_have_the_same_version():
    policies = {name: TrafficPolicies(TrafficPolicy()) for name in ("a", "b", "c")}
    one = ServiceRoutes(API, traffic_consumers=Map(policies))
    other = ServiceRoutes(API, traffic_consumers=Map(dict(reversed(policies.items()))))
    assert encode_resource(one).version == encode_resource(other).version
    table = RouteTable(Protocol.TCP, (), Unmatched.SERVICE)
    assert encode_resource(one).version != encode_resource(replace(one, tables=(table,))).version


FULL = ServiceRoutes(
    API,
    (
        RouteTable(
            Protocol.HTTP,
            (RouteRule(Origin("HTTPRoute", "shop", "r", "spec.rules[0]"), Forward((Backend(API, 80),))),),
            Unmatched.NOT_FOUND,
        ),
    ),
    Profile(
        (ProfileRoute(Origin("ServiceProfile", "shop", "api"), "p", RouteMatch()),),
        RatioBudget(0.2, 10, timedelta(seconds=10)),
    ),
    traffic=TrafficPolicies(
        TrafficPolicy(balancer=RingHash(HashHeader("x")), locality=LocalityPolicy()),
        subsets=Map({"v1": Subset("v1", Map({"version": "v1"}))}),
    ),
)


def spoil(change) -> str:
    """Why a message that was right until ``change`` is refused."""
    message = route_pb2.ServiceRoutes.FromString(encode_resource(FULL).body)
    change(message)
    raw = RawResource(ROUTES, API, "1", message.SerializeToString())
    decoded, errors = wire.decode(Update((raw,)))
    assert decoded == Delta()
    return errors[API]


def rule(message):
    return message.tables[0].rules[0]


def at(path: str, value):
    """A change of one field."""

    def change(message):
        *parents, name = path.split(".")
        for parent in parents:
            head, _, index = parent.partition("[")
            message = getattr(message, head)
            if index:
                key = index.removesuffix("]")
                message = message[int(key)] if key.isdigit() else message[key]
        if isinstance(value, Duration):
            getattr(message, name).CopyFrom(value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)

    return change


RULE = "tables[0].rules[0]"
BACKEND = f"{RULE}.action.forward.backends[0]"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (at("service", "api"), "service is 'api'; it is namespace/hostname"),
        (at("service", "shop/other"), "its content is named 'shop/other'"),
        (at("tables[0].protocol", 0), "tables[0].protocol is 0, which is unknown"),
        (at("tables[0].protocol", 99), "tables[0].protocol is 99, which is unknown"),
        (at("tables[0].unmatched", 0), "tables[0].unmatched is 0, which is unknown"),
        (at("tables[0].ports", [0]), "tables[0].ports is 0; a port is 1-65535"),
        (lambda m: rule(m).ClearField("origin"), "tables[0].rules[0].origin is missing"),
        (lambda m: rule(m).ClearField("action"), "tables[0].rules[0].action is missing"),
        (lambda m: rule(m).action.Clear(), "tables[0].rules[0].action is of no kind that is known"),
        (lambda m: rule(m).ClearField("matches"), "tables[0].rules[0].matches is empty; a rule has at least one"),
        (at(f"{RULE}.matches[0].ports", [70000]), f"{RULE}.matches[0].ports is 70000; a port is 1-65535"),
        (at(f"{RULE}.matches[0].destinations", ["ten"]), f"{RULE}.matches[0].destinations[0] is 'ten'; it is a network such as 10.0.0.0/8"),
        (lambda m: rule(m).matches[0].path.SetInParent(), f"{RULE}.matches[0].path.kind is 0, which is unknown"),
        (lambda m: rule(m).matches[0].path.MergeFrom(route_pb2.PathMatch(kind="PATH_MATCH_KIND_REGEX", value="(")), f"{RULE}.matches[0].path.value is '(', which is no RE2 pattern: missing ): ("),
        (lambda m: rule(m).matches[0].headers.add(name="X").match.MergeFrom(route_pb2.TextMatch(kind="TEXT_MATCH_KIND_PRESENT")), f"{RULE}.matches[0].headers[0].name is 'X'; write it in lower case"),
        (at(f"{BACKEND}.service", "v2"), f"{RULE}.action.forward.backends[0].service is 'v2'; it is namespace/hostname"),
        (at(f"{BACKEND}.port", 0), f"{RULE}.action.forward.backends[0].port is 0; a port is 1-65535"),
        (at(f"{RULE}.timeouts.request", Duration(seconds=-1)), f"{RULE}.timeouts.request is less than nothing"),
        (at(f"{RULE}.timeouts.request", Duration(seconds=10**17)), f"{RULE}.timeouts.request is no duration"),
        (at(f"{RULE}.retry.on", [77]), f"{RULE}.retry.on[0] is 77, which is unknown"),
        (at(f"{RULE}.filters.fault.aborted_share", 2.0), f"{RULE}.filters.fault.aborted_share is 2.0; it is 0 to 1"),
        (lambda m: rule(m).action.respond.SetInParent(), f"{RULE}.action.respond.status is 0; a status is 100-599"),
        (lambda m: m.profile.routes[0].condition.Clear(), "profile.routes[0].condition is of no kind that is known"),
        (at("profile.budget.ratio_budget.ratio", float("nan")), "profile.budget.ratio_budget.ratio is nan; it is a number"),
        (at("profile.budget.ratio_budget.ratio", -1.0), "profile.budget.ratio_budget.ratio is -1.0; it is 0 or more"),
        (at("traffic.subsets[v1].name", "v2"), "traffic.subsets[v1].name is 'v2'"),
        (lambda m: m.traffic.ports[0].SetInParent(), "traffic.ports is 0; a port is 1-65535"),
        (at("traffic.policy.balancer.simple", 9), "traffic.policy.balancer.simple is 9, which is unknown"),
        (lambda m: m.traffic.policy.balancer.ring_hash.ClearField("key"), "traffic.policy.balancer.ring_hash.key is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_means_nothing_is_refused_by_name(change, why):
    assert spoil(change) == why


def test_bytes_that_are_no_message_are_refused():
    decoded, errors = wire.decode(Update((RawResource(ROUTES, API, "1", b"\xff"),)))
    assert (decoded, list(errors)) == (Delta(), [API])
