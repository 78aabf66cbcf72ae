"""What the kinds of our own mean."""

from datetime import timedelta

import pytest
import yaml

from ambient.control.objects import MeshConfig, RateLimitPolicy, ServiceRef
from ambient.control.problem import Reason
from ambient.control.translate.kinds import translate
from ambient.core.model.limit import (
    ByAddress,
    ByClaim,
    ByHeader,
    ByIdentity,
    LimitScope,
    RateLimit,
    Together,
)
from ambient.core.model.settings import MeshSettings, Permission, SameNode

SECOND = timedelta(seconds=1)


def read(kind, spec, namespace, name):
    document = {
        "apiVersion": "ambient.dev/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": yaml.safe_load(spec),
    }
    return translate(document, ("ambient-system", "istio-system"))


def warned(translated):
    return [(warning.field, warning.reason) for warning in translated.warnings]


def limits(text, targets="[{kind: Service, name: api}]"):
    translated = read("RateLimitPolicy", f"{{targetRefs: {targets}, limits: [{text}]}}", "shop", "a")
    assert translated.warnings == ()
    return translated.object


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{name: all, requests: 100, per: 1m}", RateLimit("all", 100, 60 * SECOND, 100), id="burst-by-default"),
        pytest.param(
            "{name: all, requests: 100, per: 1s, burst: 500}", RateLimit("all", 100, SECOND, 500), id="burst",
        ),
        pytest.param("{name: all, requests: 1, per: 1s, key: {type: none}}", RateLimit("all", 1, SECOND, 1, Together()), id="together"),
        pytest.param(
            "{name: each, requests: 1, per: 1s, key: {type: identity}}", RateLimit("each", 1, SECOND, 1, ByIdentity()), id="identity",
        ),
        pytest.param("{name: each, requests: 1, per: 1s, key: {type: address}}", RateLimit("each", 1, SECOND, 1, ByAddress()), id="address"),
        pytest.param(
            "{name: each, requests: 1, per: 1s, key: {type: header, name: X-User}}",
            RateLimit("each", 1, SECOND, 1, ByHeader("x-user")), id="header-in-any-case",
        ),
        pytest.param(
            "{name: each, requests: 1, per: 1s, key: {type: claim, name: Sub}}",
            RateLimit("each", 1, SECOND, 1, ByClaim("Sub")), id="claim-in-its-own-case",
        ),
        pytest.param(
            "{name: all, requests: 1, per: 1s, scope: mesh, dryRun: true}",
            RateLimit("all", 1, SECOND, 1, Together(), LimitScope.MESH, dry_run=True), id="all-proxies-and-dry-run",
        ),
    ],
)  # fmt: skip
def test_limits(text, expected):
    assert limits(text) == RateLimitPolicy("shop", "a", (ServiceRef("shop", "api"),), (expected,))


def test_limits_of_ports():
    found = limits(
        "{name: a, requests: 1, per: 1s}",
        "[{kind: Service, name: a, port: 80}, {kind: Service, name: a, port: 81}]",
    )
    assert found.targets == (ServiceRef("shop", "a", 80), ServiceRef("shop", "a", 81))


@pytest.mark.parametrize(
    ("spec", "expected", "fields"),
    [
        ("{}", MeshSettings(), []),
        ("{trustDomain: example.com}", MeshSettings(trust_domain="example.com"), ["trustDomain"]),
        (
            "{unknownWorkloads: refuse}",
            MeshSettings(unknown_workloads=Permission.REFUSE),
            ["unknownWorkloads"],
        ),
        ("{sameNode: mtls}", MeshSettings(same_node=SameNode.MTLS), ["sameNode"]),
        ("{waypointBypass: allow}", MeshSettings(waypoint_bypass=Permission.ALLOW), []),
        ("{outbound: refuse}", MeshSettings(outbound=Permission.REFUSE), ["outbound"]),
    ],
)
def test_settings_of_the_mesh_and_which_have_no_effect_yet(spec, expected, fields):
    translated = read("MeshConfig", spec, "ambient-system", "default")
    assert translated.object == MeshConfig("ambient-system", "default", expected)
    assert warned(translated) == [(f"spec.{field}", Reason.NO_EFFECT) for field in fields]
