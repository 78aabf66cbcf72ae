"""Users' tokens: which are taken, and why others are not."""

import json

import pytest
from core.signing import ISSUER, NOW, b64, key, public, signed
from hypothesis import given, strategies as st
from joserfc.jwk import OctKey

from ambient.core.authorize_request import Token
from ambient.core.errors import ConfigError
from ambient.core.http.message import RequestHead
from ambient.core.model.jwt import CookieSource, HeaderSource, JwtRule, KeysGiven, ParameterSource
from ambient.core.tokens import LONGEST_TOKEN, SKEW_SECONDS, BadToken, TokenFault, find, read_keys, verify

ONE, TWO, RSA, SECRET, EDWARDS = (
    key("one"),
    key("two"),
    key("rsa", "RSA", 2048),
    key("secret", "oct"),
    key("ed", "OKP"),
)
RING = read_keys(public(ONE, TWO, RSA))
RULE = JwtRule(ISSUER, KeysGiven(""))
AUDIENCE = JwtRule(ISSUER, KeysGiven(""), audiences=frozenset({"https://api.example/", "other"}))


def tampered(token: str) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{b64({'iss': ISSUER, 'sub': 'admin'})}.{signature}"


def none_of(algorithm: str) -> str:
    return f"{b64({'alg': algorithm})}.{b64({'iss': ISSUER, 'sub': 'admin'})}."


def confused() -> str:
    """The public key as the secret of an HMAC."""
    pem = RSA.as_pem(private=False)
    return signed(OctKey.import_key(pem.replace(b"-----BEGIN", b"-----begin")), "HS256", {"kid": "rsa"})


TAKEN = {
    "plain": (RULE, signed()),
    "another-key": (RULE, signed(TWO)),
    "rsa": (RULE, signed(RSA, "RS256")),
    "pss": (RULE, signed(RSA, "PS256")),
    "no-kid": (RULE, signed(TWO, header={"kid": None})),
    "no-expiry": (RULE, signed(exp=None)),
    "just-expired": (RULE, signed(exp=NOW - SKEW_SECONDS)),
    "almost-valid": (RULE, signed(nbf=NOW + SKEW_SECONDS)),
    "any-issuer": (JwtRule("", KeysGiven("")), signed(iss="whoever")),
    "audience": (AUDIENCE, signed(aud="api.example")),
    "one-of-audiences": (AUDIENCE, signed(aud=["x", "http://other/"])),
    "audience-that-nobody-asks-for": (RULE, signed(aud="x")),
    "nested-claims": (RULE, signed(realm={"roles": ["a", {"b": 1}]})),
}


@pytest.mark.parametrize(("rule", "token"), TAKEN.values(), ids=TAKEN)
def test_good_tokens_are_taken(rule, token):
    verified = verify(rule, token, RING, NOW)
    assert isinstance(verified, Token)
    assert verified.subject == "alice"
    assert verified.claims["sub"] == "alice"


NOT_A_NUMBER = '{"exp":NaN}'
NOT_TAKEN = {
    "empty": ("", TokenFault.MALFORMED),
    "two-parts": ("a.b", TokenFault.MALFORMED),
    "encrypted": ("a.b.c.d.e", TokenFault.MALFORMED),
    "not-base64": ("!.!.!", TokenFault.MALFORMED),
    "padded": (signed() + "=", TokenFault.MALFORMED),
    "not-ascii": (signed() + "\xe9", TokenFault.MALFORMED),
    "line-break": (signed().replace(".", ".\n"), TokenFault.MALFORMED),
    "header-is-a-list": (f"{b64('[]')}.{b64('{}')}.", TokenFault.MALFORMED),
    "payload-is-text": (f"{b64({'alg': 'ES256'})}.{b64('x')}.", TokenFault.MALFORMED),
    "payload-is-deep": (f"{b64({'alg': 'ES256'})}.{b64('[' * 10_000)}.", TokenFault.MALFORMED),
    "not-a-number": (f"{b64({'alg': 'ES256'})}.{b64(NOT_A_NUMBER)}.", TokenFault.MALFORMED),
    "huge": (signed(filler="x" * LONGEST_TOKEN), TokenFault.TOO_LONG),
    "nested": (signed(header={"cty": "JWT"}), TokenFault.MALFORMED),
    "crit": (signed(header={"crit": ["exp"]}), TokenFault.MALFORMED),
    "b64": (signed(header={"b64": False}), TokenFault.MALFORMED),
    "alg-none": (none_of("none"), TokenFault.UNSAFE_ALGORITHM),
    "alg-None": (none_of("None"), TokenFault.UNSAFE_ALGORITHM),
    "alg-empty": (none_of(""), TokenFault.UNSAFE_ALGORITHM),
    "alg-missing": (signed(header={"alg": None}), TokenFault.MALFORMED),
    "alg-is-a-list": (signed(header={"alg": ["ES256"]}), TokenFault.MALFORMED),
    "confused-hs-rs": (confused(), TokenFault.UNSAFE_ALGORITHM),
    "hs-with-a-key-of-curve": (signed(SECRET, "HS256", {"kid": "one"}), TokenFault.UNSAFE_ALGORITHM),
    "es-named-rs": (signed(header={"alg": "RS256"}), TokenFault.UNSAFE_ALGORITHM),
    "unknown-kid": (signed(header={"kid": "three"}), TokenFault.UNKNOWN_KEY),
    "kid-is-a-path": (signed(header={"kid": "../../../dev/null"}), TokenFault.UNKNOWN_KEY),
    "kid-is-a-query": (signed(header={"kid": "x' UNION SELECT 'k"}), TokenFault.UNKNOWN_KEY),
    "kid-is-a-number": (signed(header={"kid": 1}), TokenFault.MALFORMED),
    "own-key": (
        signed(key("own"), header={"kid": "one", "jwk": key("own").as_dict(private=False)}),
        TokenFault.BAD_SIGNATURE,
    ),
    "own-key-at": (signed(key("own"), header={"jku": "https://evil/keys"}), TokenFault.UNKNOWN_KEY),
    "another-of-the-keys": (signed(TWO, header={"kid": "one"}), TokenFault.BAD_SIGNATURE),
    "tampered": (tampered(signed()), TokenFault.BAD_SIGNATURE),
    "no-signature": (signed().rpartition(".")[0] + ".", TokenFault.BAD_SIGNATURE),
    "expired": (signed(exp=NOW - SKEW_SECONDS - 1), TokenFault.EXPIRED),
    "not-yet": (signed(nbf=NOW + SKEW_SECONDS + 1), TokenFault.NOT_YET_VALID),
    "expiry-is-text": (signed(exp="4000000000"), TokenFault.MALFORMED),
    "expiry-is-true": (signed(exp=True), TokenFault.MALFORMED),
    "expiry-is-endless": (signed(exp=1e300), TokenFault.MALFORMED),
    "another-issuer": (signed(iss="https://evil"), TokenFault.UNKNOWN_ISSUER),
    "no-issuer": (signed(iss=None), TokenFault.UNKNOWN_ISSUER),
    "issuer-is-a-list": (signed(iss=[ISSUER]), TokenFault.UNKNOWN_ISSUER),
}


@pytest.mark.parametrize(("token", "fault"), NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_bad_tokens_are_not(token, fault):
    assert verify(RULE, token, RING, NOW) == BadToken(fault)


@pytest.mark.parametrize("audience", [None, "x", ["x"], 7, [["other"]], {"other": 1}, ""])
def test_another_audience_is_forbidden(audience):
    bad = verify(AUDIENCE, signed(aud=audience), RING, NOW)
    assert bad == BadToken(TokenFault.WRONG_AUDIENCE)
    assert bad.status == 403


def test_what_is_told_repeats_nothing_of_the_token():
    for fault in TokenFault:
        bad = BadToken(fault)
        assert bad.sentence
        assert bad.reason.startswith("token_")
        assert bad.challenge.startswith("Bearer")
        assert bad.status == (403 if fault is TokenFault.WRONG_AUDIENCE else 401)
    assert BadToken(TokenFault.MISSING).challenge == "Bearer"
    assert 'error="invalid_token"' in BadToken(TokenFault.EXPIRED).challenge


def test_without_keys_no_token_is_taken():
    assert verify(RULE, signed(), None, NOW) == BadToken(TokenFault.NO_KEYS)


def test_secrets_and_edwards_curves():
    ring = read_keys(public(SECRET, EDWARDS))
    assert isinstance(verify(RULE, signed(SECRET, "HS256"), ring, NOW), Token)
    assert isinstance(verify(RULE, signed(EDWARDS, "EdDSA"), ring, NOW), Token)


def test_a_keys_own_algorithm_is_the_only_one():
    ring = read_keys(public(RSA, alg="RS256"))
    assert isinstance(verify(RULE, signed(RSA, "RS256"), ring, NOW), Token)
    assert verify(RULE, signed(RSA, "PS256"), ring, NOW) == BadToken(TokenFault.UNSAFE_ALGORITHM)


def test_claims_of_words_are_values():
    rule = JwtRule(ISSUER, KeysGiven(""), space_delimited=frozenset({"scope", "groups"}))
    verified = verify(rule, signed(scope="a b", groups="x y"), RING, NOW)
    assert (verified.claims["scope"], verified.claims["groups"]) == ("a b", ["x", "y"])


@given(
    st.text(max_size=200) | st.builds(".".join, st.lists(st.text("eyJhbGci0_-.=", max_size=30), max_size=5))
)
def test_no_text_is_taken_or_breaks_anything(text):
    assert isinstance(verify(RULE, text, RING, NOW), BadToken)


@given(st.integers(0, 400), st.characters(codec="ascii"))
def test_no_change_of_a_token_is_taken(at, character):
    token = signed()
    at %= len(token)
    changed = token[:at] + character + token[at + 1 :]
    verified = verify(RULE, changed, RING, NOW)
    # The last character of a part has bits that mean nothing.
    assert isinstance(verified, BadToken) or verified == verify(RULE, token, RING, NOW)


# Where tokens are


@pytest.mark.parametrize(
    ("rule", "path", "headers", "expected"),
    [
        (RULE, "/", (("authorization", "Bearer t"),), "t"),
        (RULE, "/", (("authorization", "bearer  t "),), "t"),
        (RULE, "/", (("authorization", "Basic t"),), None),
        (RULE, "/", (("authorization", "Bearer "),), None),
        (RULE, "/", (("authorization", "Basic x"), ("authorization", "Bearer t")), "t"),
        (RULE, "/?access_token=t&x=1", (), "t"),
        (RULE, "/?ACCESS_TOKEN=t", (), None),
        (RULE, "/?" + "a=1&" * 1000 + "access_token=t", (), None),
        (RULE, "/", (), None),
        (JwtRule("", KeysGiven(""), sources=(HeaderSource("x-jwt", ""),)), "/", (("x-jwt", "t"),), "t"),
        (
            JwtRule("", KeysGiven(""), sources=(HeaderSource("x-jwt", ""),)),
            "/",
            (("authorization", "Bearer t"),),
            None,
        ),
        (
            JwtRule("", KeysGiven(""), sources=(CookieSource("session"),)),
            "/",
            (("cookie", "a=1; session=t"),),
            "t",
        ),
        (
            JwtRule("", KeysGiven(""), sources=(CookieSource("session"),)),
            "/",
            (("cookie", "a=1"), ("cookie", "session=t==")),
            "t==",
        ),
        (JwtRule("", KeysGiven(""), sources=(ParameterSource("jwt"),)), "/p?jwt=a%2Eb", (), "a.b"),
    ],
    ids=[
        "bearer",
        "lower-case",
        "basic",
        "nothing-behind",
        "second-header",
        "parameter",
        "parameter-in-another-case",
        "too-many-parameters",
        "nowhere",
        "own-header",
        "not-in-the-default-place",
        "cookie",
        "second-cookie-header",
        "escaped-parameter",
    ],
)
def test_where_tokens_are_looked_for(rule, path, headers, expected):
    assert find(rule, RequestHead("GET", "web", path, headers)) == expected


# Keys


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        '{"keys":{}}',
        '{"keys":[]}',
        '{"keys":[1,null,{"kty":7},{"kty":"RSA"},{"kty":"EC","crv":"P-256"},{"kty":"oct","k":"YQ"}]}',
        '{"keys":[{"kty":"oct","k":"c2hvcnQ","use":"sig"}]}',
        json.dumps({"keys": [{"kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB"}]}),
        public(ONE, use="enc"),
        public(ONE, key_ops=["encrypt"]),
        public(ONE, alg="HS256"),
        '{"keys":[' + '{"kty":"x"},' * 100 + '{"kty":"x"}]}',
        "[" * 100_000,
    ],
    ids=[
        "empty",
        "list",
        "no-keys",
        "keys-are-an-object",
        "none",
        "nonsense",
        "short-secret",
        "short-rsa",
        "for-encryption",
        "for-other-operations",
        "algorithm-of-another-kind",
        "too-many",
        "deep",
    ],
)
def test_what_is_no_key_set_is_refused(document):
    with pytest.raises(ConfigError):
        read_keys(document)


def test_a_key_that_cannot_be_used_does_not_spoil_the_others():
    content = json.loads(public(ONE))
    content["keys"] = [
        {"kty": "RSA", "n": "%", "e": "AQAB"},
        {"kty": "OKP", "crv": "X25519"},
        *content["keys"],
    ]
    assert [one.kid for one in read_keys(json.dumps(content)).keys] == ["one"]
