"""Which tokens of users are taken, as a RequestAuthentication says."""

from datetime import timedelta

import pytest
import yaml
from immutables import Map

from ambient.control.objects import Target
from ambient.control.translate.kind import Untranslatable
from ambient.control.translate.kinds import translate
from ambient.core.model.jwt import (
    DEFAULT_SOURCES,
    SPACE_DELIMITED,
    CookieSource,
    HeaderSource,
    JwtRule,
    KeysAt,
    KeysGiven,
    KeysOfIssuer,
    ParameterSource,
)

URL = "https://example.com/keys"
SET = '{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}'
ISSUED = JwtRule("i", KeysOfIssuer())


def read(text, version="v1"):
    return translate(
        {
            "apiVersion": f"security.istio.io/{version}",
            "kind": "RequestAuthentication",
            "metadata": {"name": "r", "namespace": "shop"},
            "spec": yaml.safe_load(text),
        },
        (),
    )


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_every_served_version_is_the_same(version):
    assert read("{jwtRules: [{issuer: i}]}", version) == read("{jwtRules: [{issuer: i}]}")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param("issuer: i", ISSUED, id="keys-of-the-issuer"),
        pytest.param(f"issuer: i, jwksUri: '{URL}'", JwtRule("i", KeysAt(URL)), id="keys-at"),
        pytest.param(f"issuer: i, jwks_uri: '{URL}'", JwtRule("i", KeysAt(URL)), id="keys-at-as-of-old"),
        pytest.param(f"jwks: '{SET}'", JwtRule("", KeysGiven(SET)), id="keys-given"),
        pytest.param("issuer: i, audiences: [a, b]", JwtRule("i", KeysOfIssuer(), frozenset({"a", "b"})), id="audiences"),
        pytest.param(
            "issuer: i, fromHeaders: [{name: X-Token, prefix: 'Bearer '}], fromParams: [t], fromCookies: [c]",
            JwtRule("i", KeysOfIssuer(), sources=(HeaderSource("x-token", "Bearer "), ParameterSource("t"), CookieSource("c"))),
            id="sources",
        ),
        pytest.param("issuer: i, presence: REQUIRED", JwtRule("i", KeysOfIssuer(), is_required=True), id="required"),
        pytest.param("issuer: i, forwardOriginalToken: true", JwtRule("i", KeysOfIssuer(), forwards_token=True), id="forwarded"),
        pytest.param("issuer: i, outputPayloadToHeader: X-P", JwtRule("i", KeysOfIssuer(), payload_header="x-p"), id="payload"),
        pytest.param(
            "issuer: i, outputClaimToHeaders: [{header: X-G, claim: a.b}]",
            JwtRule("i", KeysOfIssuer(), claim_headers=(("x-g", "a.b"),)), id="claims",
        ),
        pytest.param(
            "issuer: i, spaceDelimitedClaims: [roles], timeout: 1s",
            JwtRule("i", KeysOfIssuer(), space_delimited=SPACE_DELIMITED | {"roles"}, fetch_timeout=timedelta(seconds=1)), id="words-and-timeout",
        ),
    ],
)  # fmt: skip
def test_each_field_of_a_rule(text, rule):
    translated = read(f"{{targetRefs: [{{kind: Service, name: s}}], jwtRules: [{{{text}}}]}}")
    assert translated.object.rules == (rule,)
    assert translated.warnings == ()


@pytest.mark.parametrize("whom", ["", "selector: {matchLabels: {a: b}}, "], ids=["all", "selected"])
def test_without_targets_nobody_looks_at_tokens(whom):
    assert [str(warning) for warning in read(f"{{{whom}jwtRules: [{{issuer: i}}]}}").warnings] == [
        (
            "spec.targetRefs is missing, and only waypoints look at the tokens of requests; "
            "name the Services that it is for, or a Gateway"
        )
    ]


def test_a_rule_without_places_looks_where_tokens_usually_are():
    assert (HeaderSource("authorization", "Bearer "), ParameterSource("access_token")) == DEFAULT_SOURCES
    assert read("{jwtRules: [{issuer: i}]}").object.rules[0].sources == DEFAULT_SOURCES


def test_whom_it_is_for():
    assert read("{selector: {matchLabels: {a: b}}}").object.selector == Map({"a": "b"})
    assert read("{targetRefs: [{kind: Service, name: s}]}").object.targets == (Target("Service", "s"),)
    assert [str(warning) for warning in read("{}").warnings] == [
        "spec.jwtRules is empty, so the object has no effect; add a rule"
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://keycloak.auth.svc.cluster.local:8080/realms/a/protocol/openid-connect/certs",
        "https://10.1.2.3/keys",
        "https://[2001:db8::1]:8443/keys",
        "https://example.com?a=b",
    ],
)
def test_where_keys_may_be(url):
    assert read(f"{{jwtRules: [{{jwksUri: '{url}'}}]}}").object.rules[0].keys == KeysAt(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/keys",
        "http://127.8.9.1:15000/keys",
        "http://localhost/keys",
        "http://a.localhost./keys",
        "http://[::1]/keys",
        "http://[::ffff:127.0.0.1]/keys",
        "http://0.0.0.0/keys",
        "http://[::]/keys",
        "http://169.254.169.254/latest/meta-data/iam",
        "http://[fe80::1]/keys",
        "http://224.0.0.1/keys",
        "http://2130706433/keys",
        "http://0x7f.1/keys",
        "http://127.1/keys",
        "http://0177.0.0.1/keys",
        "http://127.0.0.1./keys",
        "http://255.255.255.255/keys",
    ],
)
def test_keys_are_not_fetched_from_the_machine_itself(url):
    with pytest.raises(Untranslatable, match="an address of the machine that would fetch it"):
        read(f"{{jwtRules: [{{jwksUri: '{url}'}}]}}")
