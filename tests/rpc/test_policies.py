"""Policies and settings on the wire: whatever can be said comes back as it was, and what means nothing is refused by name."""

from dataclasses import replace
from datetime import timedelta
from enum import Enum

import pytest
from core.routes import mesh_settings, of, service_policies
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, given, settings
from immutables import Map
from rpc.by_hand import data, number

from ambient.core.delta import Delta
from ambient.core.model import jwt, limit, request_authorization, telemetry
from ambient.core.model.authorization import Action, Match, StringMatch, StringMatchKind
from ambient.core.model.jwt import HeaderSource, JwtRule, KeysAt, KeysOfIssuer
from ambient.core.model.limit import ByAddress, ByHeader, ByIdentity, LimitScope, RateLimit, Together
from ambient.core.model.policies import ServicePolicies
from ambient.core.model.request_authorization import (
    ClaimTest,
    HeaderTest,
    PathTemplate,
    RequestAuthorization,
    RequestMatch,
    Target,
)
from ambient.core.model.service import AppProtocol, DeclaredPort
from ambient.core.model.settings import MeshSettings, Permission, SameNode
from ambient.core.model.telemetry import MetricOverride, Metrics, Telemetry, Tracing
from ambient.rpc import wire
from ambient.rpc.encoding import encode_delta, encode_resource
from ambient.rpc.pb.ambient.policy.v1 import policies_pb2
from ambient.rpc.policies import MIRROR
from ambient.rpc.wire import MESH, POLICIES, SETTINGS, RawResource, Update

API = "shop/api.shop.svc.cluster.local"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(service_policies, mesh_settings)
def test_everything_that_can_be_said_comes_back_as_it_was(policies, mesh):
    said = Delta((policies, mesh), removed_policies=("shop/gone",), settings_removed=True)
    assert wire.decode(encode_delta(said)) == (said, {})


def classes_of(module) -> list[type]:
    return [
        one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__
    ]


@pytest.mark.parametrize(
    "kind",
    [
        one
        for module in (jwt, limit, request_authorization, telemetry)
        for one in classes_of(module)
        if not issubclass(one, Enum)
    ],
)
def test_every_class_of_the_model_comes_back_as_it_was(kind):
    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(of(kind))
    def comes_back(value):
        assert MIRROR.decode(kind, MIRROR.encode(value)) == value

    comes_back()


@pytest.mark.parametrize("key", [Together(), ByIdentity(), ByAddress()])
def test_what_has_no_fields_is_told_from_others_that_have_none(key):
    one = RateLimit("shop/p/l", 1, timedelta(seconds=1), 1, key)
    assert MIRROR.decode(RateLimit, MIRROR.encode(one)) == one


@pytest.mark.parametrize("tags", [None, Map()])
def test_nothing_said_of_tags_is_not_that_there_are_none(tags):
    assert MIRROR.decode(Tracing, MIRROR.encode(Tracing(tags=tags))).tags == tags


def test_a_label_is_taken_away_or_set():
    one = MetricOverride(tags=Map({"gone": None, "set": "request.host", "empty": ""}))
    assert MIRROR.decode(MetricOverride, MIRROR.encode(one)) == one


EXACT = StringMatch(StringMatchKind.EXACT, "a")
FULL = ServicePolicies(
    API,
    (DeclaredPort(80, "http", AppProtocol.HTTP), DeclaredPort(81, "", None)),
    (
        RequestAuthorization(
            "p",
            "shop",
            (Target("Service", "api"),),
            Action.DENY,
            (
                (),
                (
                    (
                        RequestMatch(
                            connection=Match(principals=(EXACT,), destination_ports=(80,)),
                            paths=(EXACT, PathTemplate("/a/{*}")),
                            headers=(HeaderTest("x", (EXACT,)),),
                            claims=(ClaimTest(("realm", "roles"), (EXACT,)),),
                        ),
                    ),
                    (),
                ),
            ),
        ),
    ),
    (JwtRule("issuer", KeysAt("https://keys"), sources=(HeaderSource("x"),)),),
    (
        RateLimit(
            "shop/p/l", 5, timedelta(seconds=1), 7, ByHeader("x"), LimitScope.MESH, ports=frozenset({80})
        ),
    ),
    Telemetry((Tracing(sampled_percent=1.5),), (Metrics(interval=timedelta(seconds=1)),)),
)
FULL_BYTES = b"".join(
    (
        data(1, API),
        data(2, number(1, 80), data(2, "http"), number(3, 1)),
        data(2, number(1, 81)),
        data(
            3,
            data(1, "p"),
            data(2, "shop"),
            data(3, data(1, "Service"), data(2, "api")),
            number(4, 2),  # DENY
            data(5, b""),
            data(
                5,
                data(
                    1,
                    data(
                        1,
                        data(1, data(3, number(1, 1), data(2, "a")), data(11, bytes([80]))),
                        data(16, data(1, number(1, 1), data(2, "a"))),
                        data(16, data(2, data(1, "/a/{*}"))),
                        data(18, data(1, "x"), data(2, number(1, 1), data(2, "a"))),
                        data(19, data(1, "realm"), data(1, "roles"), data(2, number(1, 1), data(2, "a"))),
                    ),
                ),
                data(1, b""),
            ),
        ),
        data(
            4,
            data(1, "issuer"),
            data(2, data(1, data(1, "https://keys"))),
            data(4, data(1, data(1, "x"))),
            data(9, "permission"),
            data(9, "scope"),
        ),
        data(
            5,
            data(1, "shop/p/l"),
            number(2, 5),
            data(3, number(1, 1)),
            number(4, 7),
            data(5, data(4, data(1, "x"))),
            number(6, 2),  # MESH
            data(8, bytes([80])),
        ),
        data(
            6,
            data(1, data(1, bytes([1, 2])), bytes([0x19, 0, 0, 0, 0, 0, 0, 0xF8, 0x3F])),
            data(2, data(3, number(1, 1))),
        ),
    )
)
SETTINGS_BYTES = data(1, "example.org") + b"".join((number(2, 2), number(3, 2), number(4, 1), number(5, 2)))


def test_policies_and_settings_are_these_bytes():
    raw = encode_resource(FULL)
    assert (raw.type_url, raw.name) == ("type.googleapis.com/ambient.policy.v1.ServicePolicies", API)
    assert raw.body == FULL_BYTES
    said = MeshSettings("example.org", Permission.REFUSE, SameNode.MTLS, Permission.ALLOW, Permission.REFUSE)
    raw = encode_resource(said)
    assert (raw.type_url, raw.name) == ("type.googleapis.com/ambient.policy.v1.MeshSettings", "mesh")
    assert raw.body == SETTINGS_BYTES


def test_the_same_policies_have_the_same_version():
    rule = FULL.tokens[0]
    one = replace(FULL, tokens=(replace(rule, audiences=frozenset({"a", "b", "c"})),))
    other = replace(FULL, tokens=(replace(rule, audiences=frozenset({"c", "b", "a"})),))
    assert encode_resource(one).version == encode_resource(other).version
    assert encode_resource(one).version != encode_resource(FULL).version


def spoil(change) -> str:
    """Why a message that was right until ``change`` is refused."""
    message = policies_pb2.ServicePolicies.FromString(encode_resource(FULL).body)
    change(message)
    decoded, errors = wire.decode(Update((RawResource(POLICIES, API, "1", message.SerializeToString()),)))
    assert decoded == Delta()
    return errors[API]


def match(message):
    return message.authorizations[0].rules[1].clauses[0].matches[0]


def issuer(message):
    message.tokens[0].issuer = ""
    message.tokens[0].keys.keys_of_issuer.SetInParent()


MATCH = "authorizations[0].rules[1].clauses[0].matches[0]"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: setattr(m, "service", "api"), "service is 'api'; it is namespace/hostname"),
        (lambda m: setattr(m, "service", "shop/other"), "its content is named 'shop/other'"),
        (lambda m: setattr(m.ports[0], "service_port", 70000), "ports[0].service_port is 70000; a port is 1-65535"),
        (lambda m: setattr(m.ports[0], "protocol", 9), "ports[0].protocol is 9, which is unknown"),
        (lambda m: setattr(m.authorizations[0], "action", 0), "authorizations[0].action is 0, which is unknown"),
        (lambda m: setattr(m.authorizations[0], "name", ""), "authorizations[0].name is empty"),
        (lambda m: setattr(m.authorizations[0].targets[0], "kind", ""), "authorizations[0].targets[0].kind is empty"),
        (lambda m: match(m).connection.destination_ports.append(0), f"{MATCH}.connection.destination_ports is 0; a port is 1-65535"),
        (lambda m: match(m).remote_ips.append("ten"), f"{MATCH}.remote_ips[0] is 'ten'; it is a network such as 10.0.0.0/8"),
        (lambda m: match(m).paths[0].Clear(), f"{MATCH}.paths[0] is of no kind that is known"),
        (lambda m: match(m).paths[0].string_match.ClearField("value"), f"{MATCH}.paths[0].string_match.value is empty"),
        (lambda m: setattr(match(m).headers[0], "name", "X"), f"{MATCH}.headers[0].name is 'X'; write it in lower case"),
        (lambda m: match(m).claims[0].ClearField("path"), f"{MATCH}.claims[0].path is empty; it names a claim"),
        (lambda m: m.tokens[0].ClearField("keys"), "tokens[0].keys is missing"),
        (lambda m: m.tokens[0].keys.keys_at.ClearField("url"), "tokens[0].keys.keys_at.url is empty"),
        (issuer, "tokens[0].issuer is empty; where its keys are is for the issuer to say"),
        (lambda m: m.tokens[0].ClearField("sources"), "tokens[0].sources is empty; a token is looked for somewhere"),
        (lambda m: setattr(m.limits[0], "name", ""), "limits[0].name is empty"),
        (lambda m: setattr(m.limits[0], "requests", 0), "limits[0].requests is 0; it is 1 or more"),
        (lambda m: setattr(m.limits[0], "burst", 0), "limits[0].burst is 0; it is 1 or more"),
        (lambda m: m.limits[0].period.CopyFrom(Duration()), "limits[0].period is nothing; it is a time"),
        (lambda m: m.limits[0].period.CopyFrom(Duration(seconds=-1)), "limits[0].period is less than nothing"),
        (lambda m: m.limits[0].ClearField("period"), "limits[0].period is missing"),
        (lambda m: m.limits[0].ports.append(70000), "limits[0].ports is 70000; a port is 1-65535"),
        (lambda m: setattr(m.limits[0], "scope", 0), "limits[0].scope is 0, which is unknown"),
        (lambda m: m.limits[0].key.Clear(), "limits[0].key is of no kind that is known"),
        (lambda m: setattr(m.limits[0].key.by_header, "name", "X"), "limits[0].key.by_header.name is 'X'; write it in lower case"),
        (lambda m: setattr(m.telemetry.tracing[0], "sampled_percent", 101.0), "telemetry.tracing[0].sampled_percent is 101.0; it is 0 to 100"),
        (lambda m: setattr(m.telemetry.tracing[0], "sampled_percent", float("inf")), "telemetry.tracing[0].sampled_percent is inf; it is a number"),
        (lambda m: m.telemetry.tracing[0].sides.append(0), "telemetry.tracing[0].sides[2] is 0, which is unknown"),
        (lambda m: m.telemetry.tracing[0].tags.entries["x"].SetInParent(), "telemetry.tracing[0].tags.entries[x] is of no kind that is known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_means_nothing_is_refused_by_name(change, why):
    assert spoil(change) == why


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        (MESH, number(2, 7), "unknown_workloads is 7, which is unknown"),
        (MESH, b"", "unknown_workloads is 0, which is unknown"),
        ("other", SETTINGS_BYTES, "its content is named 'mesh'"),
    ],
    ids=["strange", "empty", "other-name"],
)
def test_settings_that_mean_nothing_are_refused_by_name(name, body, why):
    decoded, errors = wire.decode(Update((RawResource(SETTINGS, name, "1", body),)))
    assert (decoded, errors) == (Delta(), {name: why})


@pytest.mark.parametrize("type_url", [POLICIES, SETTINGS])
def test_bytes_that_are_no_message_are_refused(type_url):
    decoded, errors = wire.decode(Update((RawResource(type_url, API, "1", b"\xff"),)))
    assert (decoded, list(errors)) == (Delta(), [API])


def test_keys_of_an_issuer_need_an_issuer_and_no_more():
    rule = JwtRule("issuer", KeysOfIssuer())
    assert MIRROR.decode(JwtRule, MIRROR.encode(rule)) == rule
