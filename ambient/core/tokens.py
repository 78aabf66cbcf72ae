"""Users' tokens: found in a request, and verified. Source: RFC 7519, 8725; where they leave a choice, Envoy's as in Istio.

Nothing that a token says of itself chooses how it is verified: its algorithm must be one that fits the type of the key, keys
are those of the rule and no others (``jku``, ``jwk``, ``x5u`` and ``x5c`` in a token are not looked at), and ``kid`` is
compared and never used for anything else. The order of the checks is of no consequence to who passes; what costs most, the
signature, comes last.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.jws import JWSRegistry

from ambient.core.authorize_request import Token
from ambient.core.errors import ConfigError
from ambient.core.model.jwt import SPACE_DELIMITED, CookieSource, HeaderSource, JwtRule, ParameterSource

if TYPE_CHECKING:
    from ambient.core.http.message import Headers, RequestHead
    from ambient.core.model.jwt import TokenSource

LONGEST_TOKEN: Final = 16 * 1024
SKEW_SECONDS: Final = 60.0
"""How far clocks may be apart. Source: Envoy's default."""
MOST_KEYS: Final = 100
MOST_FOUND: Final = 8
"""Tokens that one request may have."""
_RSA_BITS: Final = range(2048, 8193)
_SHORTEST_SECRET: Final = 16
_MOST_PARAMETERS: Final = 1000
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")


class TokenFault(Enum):
    """Why a token is not taken; values are metric labels."""

    MISSING = "token_missing"
    MALFORMED = "token_malformed"
    TOO_LONG = "token_too_long"
    AMBIGUOUS = "token_ambiguous"
    UNKNOWN_ISSUER = "token_unknown_issuer"
    WRONG_AUDIENCE = "token_wrong_audience"
    EXPIRED = "token_expired"
    NOT_YET_VALID = "token_not_yet_valid"
    UNSAFE_ALGORITHM = "token_unsafe_algorithm"
    UNKNOWN_KEY = "token_unknown_key"
    BAD_SIGNATURE = "token_bad_signature"
    NO_KEYS = "token_no_keys"


_SENTENCES: Final[Mapping[TokenFault, str]] = {
    TokenFault.MISSING: "Jwt is missing",
    TokenFault.MALFORMED: "Jwt is not a signed token of JSON",
    TokenFault.TOO_LONG: f"Jwt is longer than {LONGEST_TOKEN} bytes",
    TokenFault.AMBIGUOUS: f"more than {MOST_FOUND} tokens",
    TokenFault.UNKNOWN_ISSUER: "Jwt issuer is not configured",
    TokenFault.WRONG_AUDIENCE: "Audiences in Jwt are not allowed",
    TokenFault.EXPIRED: "Jwt is expired",
    TokenFault.NOT_YET_VALID: "Jwt not yet valid",
    TokenFault.UNSAFE_ALGORITHM: "Jwt algorithm is not one of those for a key of the issuer",
    TokenFault.UNKNOWN_KEY: "Jwks doesn't have key to match kid or alg from Jwt",
    TokenFault.BAD_SIGNATURE: "Jwt verification fails",
    TokenFault.NO_KEYS: "Jwks remote fetch is failed",
}
"""As Envoy says it, where it has a word. None repeats anything of a token."""


@dataclass(frozen=True, slots=True)
class BadToken:
    """A token that is not taken, or none where one is needed."""

    fault: TokenFault

    @property
    def reason(self) -> str:
        """The metric label."""
        return self.fault.value

    @property
    def sentence(self) -> str:
        """What the client is told."""
        return _SENTENCES[self.fault]

    @property
    def status(self) -> int:
        """What the client is answered: 403 for an audience, else 401. Source: Envoy."""
        return 403 if self.fault is TokenFault.WRONG_AUDIENCE else 401

    @property
    def challenge(self) -> str:
        """For ``www-authenticate``. Source: RFC 6750, section 3."""
        if self.fault is TokenFault.MISSING:
            return "Bearer"
        return f'Bearer error="invalid_token", error_description="{self.sentence}"'


class Found(NamedTuple):
    """A token in a request, and where."""

    text: str
    source: TokenSource


# Where tokens are


def find(rule: JwtRule, head: RequestHead) -> str | None:
    """The first token where a rule looks for one."""
    return next((one.text for one in found(rule, head)), None)


def found(rule: JwtRule, head: RequestHead) -> Iterator[Found]:
    """All tokens where a rule looks for them, in its order."""
    for source in rule.sources:
        for text in _at(source, head):
            yield Found(text, source)


def _at(source: TokenSource, head: RequestHead) -> Iterator[str]:
    match source:
        case HeaderSource(name, prefix):
            for value in _values(head.headers, name):
                text = behind(value, prefix)
                if text is not None:
                    yield text
        case ParameterSource(name):
            yield from _parameters(head.path, name)
        case CookieSource(name):
            yield from (value for key, value in map(cookie, crumbs(head.headers)) if key == name)


def behind(value: str, prefix: str) -> str | None:
    """What comes after a prefix, in whatever case that is written; None: it does not begin so."""
    if value[: len(prefix)].lower() != prefix.lower():
        return None
    return value[len(prefix) :].strip() or None


def crumbs(headers: Headers) -> Iterator[str]:
    """All cookies, each as it is written."""
    for header in _values(headers, "cookie"):
        yield from filter(None, map(str.strip, header.split(";")))


def cookie(crumb: str) -> tuple[str, str]:
    """Name and value of a cookie."""
    name, _, value = crumb.partition("=")
    return name, value


def _values(headers: Headers, name: str) -> Iterator[str]:
    return (value for key, value in headers if key == name)


def _parameters(path: str, name: str) -> Iterator[str]:
    _, _, query = path.partition("?")
    if query.count("&") < _MOST_PARAMETERS:
        yield from (value for key, value in parse_qsl(query) if key == name)


# Keys


@dataclass(frozen=True, slots=True, eq=False)
class VerificationKey:
    """One key that signatures of tokens are verified with."""

    kid: str
    """Empty: it has none, and any token may be signed with it."""
    algorithms: frozenset[str]
    key: Key


@dataclass(frozen=True, slots=True, eq=False)
class KeyRing:
    """The keys of an issuer."""

    keys: tuple[VerificationKey, ...]


def read_keys(document: str | bytes) -> KeyRing:
    """A JSON Web Key Set. Keys that are not for signatures, or too weak, are left out. Raises ConfigError."""
    try:
        content = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ConfigError("the key set is not JSON") from error
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ConfigError('the key set has no list "keys"')
    if len(listed) > MOST_KEYS:
        raise ConfigError(f"the key set has {len(listed)} keys; {MOST_KEYS} are allowed")
    keys = tuple(key for one in listed if isinstance(one, dict) for key in _key(one))
    if not keys:
        raise ConfigError("the key set has no key that signatures can be verified with")
    return KeyRing(keys)


_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Final = {
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
ALGORITHMS: Final = _SECRET | _RSA | frozenset[str]().union(*_CURVES.values())


def _key(content: dict[str, Any]) -> Iterator[VerificationKey]:
    if content.get("use", "sig") != "sig" or "verify" not in content.get("key_ops", ("verify",)):
        return
    kty, kid, only = content.get("kty"), content.get("kid", ""), content.get("alg")
    if not isinstance(kty, str) or not isinstance(kid, str):
        return
    try:
        algorithms = _algorithms(kty, content)
        if only is not None:
            algorithms &= {only}
        if algorithms:
            yield VerificationKey(kid, algorithms, _imported(kty, content))
    except (JoseError, ValueError, TypeError, KeyError):
        return


def _algorithms(kty: str, content: Mapping[str, Any]) -> frozenset[str]:
    match kty:
        case "oct":
            return _SECRET if len(_decoded(content["k"])) >= _SHORTEST_SECRET else frozenset()
        case "RSA":
            bits = int.from_bytes(_decoded(content["n"])).bit_length()
            return _RSA if bits in _RSA_BITS else frozenset()
        case _:
            return _CURVES.get((kty, str(content.get("crv"))), frozenset())


def _imported(kty: str, content: Mapping[str, Any]) -> Key:
    """With what makes the key and no more: a set that says too much of it is still of use."""
    match kty:
        case "oct":
            return import_key({"kty": kty, "k": content["k"]}, "oct")
        case "RSA":
            return import_key({"kty": kty, "n": content["n"], "e": content["e"]}, "RSA")
        case "EC":
            return import_key({name: content[name] for name in ("kty", "crv", "x", "y")}, "EC")
        case _:
            return import_key({name: content[name] for name in ("kty", "crv", "x")}, "OKP")


# Verification


class Signed(NamedTuple):
    """A token, read and not verified yet."""

    algorithm: str
    kid: str
    claims: Mapping[str, Any]
    payload: str
    """As the token has it, base64url."""
    signed: bytes
    signature: bytes

    @property
    def issuer(self) -> str | None:
        """Who says to have issued it; None: nobody, or not as text."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else None

    @property
    def expires(self) -> float | None:
        """In seconds since 1970; None: never."""
        moment = self.claims.get("exp")
        return None if moment is None else float(moment)


def read(text: str) -> Signed | BadToken:
    """Take a token apart; every part has the form that it must have."""
    if len(text) > LONGEST_TOKEN:
        return BadToken(TokenFault.TOO_LONG)
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():
        return BadToken(TokenFault.MALFORMED)
    try:
        header, claims, signature = _object(parts[0]), _object(parts[1]), _decoded(parts[2])
    except (ValueError, RecursionError):
        return BadToken(TokenFault.MALFORMED)
    if header is None or claims is None:
        return BadToken(TokenFault.MALFORMED)
    # "crit" names extensions that must be understood, and we have none; "cty" says that there is a token in the token.
    if "crit" in header or "b64" in header or str(header.get("cty", "")).upper() == "JWT":
        return BadToken(TokenFault.MALFORMED)
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or not isinstance(kid, str):
        return BadToken(TokenFault.MALFORMED)
    if not all(_is_moment(claims.get(name)) for name in ("exp", "nbf", "iat")):
        return BadToken(TokenFault.MALFORMED)
    if algorithm not in ALGORITHMS:
        return BadToken(TokenFault.UNSAFE_ALGORITHM)
    return Signed(algorithm, kid, claims, parts[1], f"{parts[0]}.{parts[1]}".encode(), signature)


def verify(rule: JwtRule, token: str | Signed, keys: KeyRing | None, now: float) -> Token | BadToken:
    """What a token says, if a rule takes it; ``now`` in seconds since 1970, ``keys`` None: there are none yet."""
    said = read(token) if isinstance(token, str) else token
    if isinstance(said, BadToken):
        return said
    fault = _of_claims(rule, said, now)
    if fault is None:
        fault = TokenFault.NO_KEYS if keys is None else _of_signature(said, keys)
    if fault is not None:
        return BadToken(fault)
    subject = said.claims.get("sub")
    return Token(said.issuer or "", subject if isinstance(subject, str) else "", _split(rule, said.claims))


def _of_claims(rule: JwtRule, said: Signed, now: float) -> TokenFault | None:
    claims = said.claims
    if rule.issuer and said.issuer != rule.issuer:
        return TokenFault.UNKNOWN_ISSUER
    if "exp" in claims and now > claims["exp"] + SKEW_SECONDS:
        return TokenFault.EXPIRED
    if "nbf" in claims and now < claims["nbf"] - SKEW_SECONDS:
        return TokenFault.NOT_YET_VALID
    wanted = {_bare(audience) for audience in rule.audiences}
    if wanted and wanted.isdisjoint(map(_bare, _audiences(claims.get("aud")))):
        return TokenFault.WRONG_AUDIENCE
    return None


def _of_signature(said: Signed, keys: KeyRing) -> TokenFault | None:
    named = [key for key in keys.keys if not said.kid or not key.kid or key.kid == said.kid]
    if not named:
        return TokenFault.UNKNOWN_KEY
    fitting = [key for key in named if said.algorithm in key.algorithms]
    if not fitting:
        return TokenFault.UNSAFE_ALGORITHM
    algorithm = JWSRegistry.algorithms[said.algorithm]
    for one in fitting:
        try:
            if algorithm.verify(said.signed, said.signature, one.key):
                return None
        except (JoseError, ValueError):
            continue
    return TokenFault.BAD_SIGNATURE


def _split(rule: JwtRule, claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the words of claims that a rule alone has as lists, as values."""
    own = rule.space_delimited - SPACE_DELIMITED
    texts = {name: claims[name] for name in own if isinstance(claims.get(name), str)}
    return {**claims, **{name: text.split() for name, text in texts.items()}} if texts else claims


def _audiences(said: object) -> Iterator[str]:
    for one in said if isinstance(said, list) else (said,):
        if isinstance(one, str):
            yield one


def _bare(audience: str) -> str:
    """Without scheme and slash at the end, on which issuers do not agree. Source: Envoy."""
    for scheme in ("https://", "http://"):
        audience = audience.removeprefix(scheme)
    return audience.rstrip("/")


def _is_moment(value: object) -> bool:
    """Of a claim; None: it is not said."""
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53
    )


def _object(part: str) -> dict[str, Any] | None:
    """Without what is null, which would be neither there nor not. Raises ValueError and RecursionError."""
    content = json.loads(_decoded(part), parse_constant=_no_constant)
    if not isinstance(content, dict):
        return None
    return {name: value for name, value in content.items() if value is not None}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _decoded(part: object) -> bytes:
    """Base64url without padding; nothing else is passed over. Raises ValueError."""
    if not isinstance(part, str) or _BASE64URL.fullmatch(part) is None:
        raise ValueError("not base64url")
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
