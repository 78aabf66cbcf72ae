"""Tokens of a request: which one speaks for the user, and what the application is told."""

import json
from base64 import b64decode, urlsafe_b64decode

import pytest
from core.signing import ISSUER, NOW, key, public, signed
from joserfc.jws import JWSRegistry

from ambient.core.forwarding.edits import Edit
from ambient.core.forwarding.plan import Unverified, Verified
from ambient.core.forwarding.token_checks import TokenChecks
from ambient.core.http.message import RequestHead
from ambient.core.model.jwt import CookieSource, HeaderSource, JwtRule, KeysGiven
from ambient.core.tokens import SKEW_SECONDS, TokenFault, read_keys

OTHER = "https://other.example"
RULE = JwtRule(ISSUER, KeysGiven("one"))
RULE_OF_OTHER = JwtRule(OTHER, KeysGiven("two"), sources=(HeaderSource("x-other"),))
RINGS = {"one": read_keys(public(key("one"))), "two": read_keys(public(key("two")))}


class Clock:
    now = NOW


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def faults():
    return []


@pytest.fixture
def check(clock, faults):
    checks = TokenChecks(lambda rule: RINGS.get(rule.keys.document), lambda: clock.now, faults.append)
    return checks.check


def request(*headers, path="/") -> RequestHead:
    return RequestHead("GET", "web", path, headers)


def bearer(token):
    return ("authorization", f"Bearer {token}")


def test_a_request_without_a_token_passes(check):
    assert check((RULE,), request(("x", "y"))) == Verified()


def test_without_a_token_that_is_demanded_it_does_not(check, faults):
    required = JwtRule(ISSUER, KeysGiven("one"), is_required=True)
    assert check((required,), request()) == Unverified("Jwt is missing", "Bearer", 401)
    assert check(
        (RULE_OF_OTHER, required), request(("x-other", signed(key("two"), iss=OTHER)))
    ) == Unverified("Jwt is missing", "Bearer", 401)
    assert check((required,), request(bearer(signed()))).token.subject == "alice"
    assert faults == [TokenFault.MISSING] * 2


def test_a_good_token_is_taken_and_taken_away(check):
    verified = check((RULE,), request(bearer(signed()), ("x", "y")))
    assert verified.token.subject == "alice"
    assert verified.edit.of((bearer("t"), ("x", "y"))) == (("x", "y"),)


def test_a_bad_one_is_answered_in_words_for_bearers(check, faults):
    refused = check((RULE,), request(bearer(signed(exp=NOW - 100))))
    assert refused == Unverified(
        "Jwt is expired", 'Bearer error="invalid_token", error_description="Jwt is expired"', 401
    )
    audience = JwtRule(ISSUER, KeysGiven("one"), audiences=frozenset({"api"}))
    assert check((audience,), request(bearer(signed()))).status == 403
    assert faults == [TokenFault.EXPIRED, TokenFault.WRONG_AUDIENCE]


def test_every_token_must_be_good(check):
    rules = (RULE, RULE_OF_OTHER)
    theirs = ("x-other", signed(key("two"), iss=OTHER, sub="bob"))
    both = check(rules, request(bearer(signed()), theirs))
    assert both.token.subject == "alice"
    assert check(rules[::-1], request(bearer(signed()), theirs)).token.subject == "bob"
    assert isinstance(check(rules, request(bearer(signed()), ("x-other", "rubbish"))), Unverified)
    assert isinstance(check(rules, request(bearer(signed(iss="https://third")), theirs)), Unverified)
    # Where a rule looks, and its keys, are its own.
    assert isinstance(check(rules, request(bearer(signed(key("two"), iss=OTHER)))), Unverified)


def test_rules_of_two_issuers_look_in_the_same_place(check):
    rules = (RULE, JwtRule(OTHER, KeysGiven("two")))
    assert check(rules, request(bearer(signed(key("two"), iss=OTHER, sub="bob")))).token.subject == "bob"
    assert check(rules, request(bearer(signed()))).token.subject == "alice"
    assert isinstance(check(rules, request(bearer(signed(key("two"))))), Unverified)


def test_two_rules_of_one_issuer_one_of_which_takes_it(check):
    strict = JwtRule(ISSUER, KeysGiven("one"), audiences=frozenset({"api"}))
    assert check((strict, RULE), request(bearer(signed()))).token.subject == "alice"
    assert check((strict,), request(bearer(signed()))).status == 403


def test_a_heap_of_tokens_is_not_looked_at(check, faults):
    assert isinstance(check((RULE,), request(*(bearer(f"t{n}") for n in range(9)))), Unverified)
    assert faults == [TokenFault.AMBIGUOUS]


def test_until_there_are_keys_no_token_passes(check, faults):
    waiting = JwtRule(ISSUER, KeysGiven("not yet"))
    assert check((waiting,), request()) == Verified()
    assert check((waiting,), request(bearer(signed()))).detail == "Jwks remote fetch is failed"
    assert faults == [TokenFault.NO_KEYS]


def test_what_the_application_is_told(check):
    rule = JwtRule(
        ISSUER,
        KeysGiven("one"),
        forwards_token=True,
        payload_header="x-payload",
        claim_headers=(
            ("x-user", "sub"),
            ("x-role", "realm.role"),
            ("x-url", "https://example/claim"),
            ("x-age", "age"),
            ("x-admin", "admin"),
            ("x-groups", "groups"),
            ("x-nothing", "nothing"),
            ("x-split", "split"),
            ("x-accent", "accent"),
            ("content-length", "age"),
            ("bad name", "sub"),
        ),
    )
    token = signed(
        realm={"role": "boss"},
        age=42.0,
        admin=True,
        groups=["a", 1],
        split="a\r\nx-evil: 1",
        accent="é",
        **{"https://example/claim": "c"},
    )
    sent = (bearer(token), ("x-user", "root"), ("x-nothing", "1"), ("x-split", "mine"), ("x-payload", "mine"))
    verified = check((rule,), request(*sent))
    told = dict(verified.edit.of(sent))
    assert json.loads(urlsafe_b64decode(told.pop("x-payload") + "=="))["sub"] == "alice"
    assert json.loads(b64decode(told.pop("x-groups"))) == ["a", 1]
    assert told == {
        "authorization": f"Bearer {token}",
        "x-user": "alice",
        "x-role": "boss",
        "x-url": "c",
        "x-age": "42",
        "x-admin": "true",
    }


def test_what_a_client_says_of_its_claims_is_taken_away_without_a_token_too(check):
    rule = JwtRule(ISSUER, KeysGiven("one"), payload_header="x-payload", claim_headers=(("x-user", "sub"),))
    sent = (("x-user", "root"), ("x-payload", "mine"), ("x", "y"))
    assert check((rule,), request(*sent)).edit.of(sent) == (("x", "y"),)


def test_a_cookie_is_taken_out_of_the_others(check):
    rule = JwtRule(ISSUER, KeysGiven("one"), sources=(CookieSource("jwt"), CookieSource("jwt2")))
    one, two = signed(), signed(sub="bob")
    sent = (("cookie", f"a=1; jwt={one}; plain; b=2"), ("x", "y"), ("cookie", f"jwt2={two};c=3"))
    edit = check((rule,), request(*sent)).edit
    assert edit.of(sent) == (("x", "y"), ("cookie", "a=1; plain; b=2; c=3"))
    assert check((rule,), request(("cookie", f"jwt={one}"))).edit == Edit(frozenset({"cookie"}))


def test_a_parameter_goes_no_further(check):
    asked = request(path=f"/a?x=1&access_token={signed()}")
    assert check((RULE,), asked).parameters == {"access_token"}
    forwarding = JwtRule(ISSUER, KeysGiven("one"), forwards_token=True)
    assert check((forwarding,), asked).parameters == frozenset()
    assert check((RULE,), request(bearer(signed()), path="/a?access_token=")).parameters == frozenset()


def test_other_credentials_in_the_same_header_stay(check):
    sent = (("authorization", "Basic eA=="), bearer(signed()))
    assert check((RULE,), request(*sent)).edit.of(sent) == (("authorization", "Basic eA=="),)


def test_a_token_is_remembered_until_it_ends(check, clock, monkeypatch):
    looked_up = []

    class Counting(dict):
        def __getitem__(self, name):
            looked_up.append(name)
            return super().__getitem__(name)

    token = bearer(signed(exp=NOW + 10))
    monkeypatch.setattr(JWSRegistry, "algorithms", Counting(JWSRegistry.algorithms))
    for _ in range(3):
        assert isinstance(check((RULE,), request(token)), Verified)
    assert looked_up == ["ES256"]
    clock.now = NOW + 10 + SKEW_SECONDS + 1
    assert check((RULE,), request(token)).detail == "Jwt is expired"
    clock.now = NOW
    monkeypatch.setitem(RINGS, "one", read_keys(public(key("two"))))
    assert isinstance(check((RULE,), request(token)), Unverified)


def test_what_is_remembered_is_bounded(clock):
    checks = TokenChecks(lambda rule: RINGS[rule.keys.document], lambda: clock.now, most=3)
    for number in range(10):
        assert isinstance(checks.check((RULE,), request(bearer(signed(jti=number)))), Verified)
    assert len(checks._known) == 3


def test_a_number_without_end_is_no_header(check):
    rule = JwtRule(ISSUER, KeysGiven("one"), claim_headers=(("x-big", "big"), ("x-endless", "endless")))
    token = signed(payload=f'{{"iss":"{ISSUER}","big":1e308,"endless":1e999}}')
    assert dict(check((rule,), request(bearer(token))).edit.added) == {"x-big": str(int(1e308))}
