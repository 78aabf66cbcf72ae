"""JSON Web Tokens of users: which are taken, where they are looked for, and what is made of them.

A request without a token passes unless a rule demands one; one with a token that no rule takes is answered 401. Source:
Istio's RequestAuthentication.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class KeysAt:
    """Keys are fetched from there."""

    url: str


@dataclass(frozen=True, slots=True)
class KeysGiven:
    """Keys are these: a JSON Web Key Set."""

    document: str


@dataclass(frozen=True, slots=True)
class KeysOfIssuer:
    """Keys are where the issuer's OpenID configuration says."""


Keys: TypeAlias = KeysAt | KeysGiven | KeysOfIssuer


@dataclass(frozen=True, slots=True)
class HeaderSource:
    """A header with a token behind a prefix."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class ParameterSource:
    """A query parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class CookieSource:
    """A cookie."""

    name: str


TokenSource: TypeAlias = HeaderSource | ParameterSource | CookieSource

DEFAULT_SOURCES: Final[tuple[TokenSource, ...]] = (
    HeaderSource("authorization", "Bearer "),
    ParameterSource("access_token"),
)
"""Where a rule looks that names no place. Source: RFC 6750."""

SPACE_DELIMITED: Final = frozenset({"scope", "permission"})
"""Claims whose words are values, for every rule."""


@dataclass(frozen=True, slots=True)
class JwtRule:
    """Tokens of one issuer."""

    issuer: str
    """Empty: of any that signs with the keys."""
    keys: Keys
    audiences: frozenset[str] = frozenset()
    """One of these must be the token's; empty: any."""
    sources: tuple[TokenSource, ...] = DEFAULT_SOURCES
    is_required: bool = False
    forwards_token: bool = False
    """Whether the application gets the token too."""
    payload_header: str = ""
    """A header for the application with the payload; empty: none."""
    claim_headers: tuple[tuple[str, str], ...] = ()
    """Headers for the application, each with the claim (``a.b`` for b in a) that it carries."""
    space_delimited: frozenset[str] = SPACE_DELIMITED
    fetch_timeout: timedelta | None = None
