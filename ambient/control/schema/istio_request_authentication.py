"""security.istio.io RequestAuthentication. Source: its CustomResourceDefinition.

Keys are fetched by programs of the mesh, from where a user says. An address that only they can reach (loopback,
link-local, where clouds keep credentials) is refused here as it is written; names are for whoever resolves them.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from typing import Annotated, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, Field, model_validator

from ambient.control.schema.istio import Duration, Many, Targeted
from ambient.control.schema.shape import Document, HeaderName, Shape, at_most, say, wrong, wrong_at
from ambient.core.model.address import unmapped

_LONGEST_URL: Final = 2048
_NUMERIC: Final = re.compile(r"(.*\.)?(\d+|0[xX][0-9a-fA-F]*)\.?")
"""Hosts that resolvers take for IPv4 addresses. Source: WHATWG's URL standard, "ends in a number"."""


def _keys_url(text: str) -> str:
    if len(text) > _LONGEST_URL:
        raise wrong(f"has {len(text)} characters; a URL has at most {_LONGEST_URL}")
    try:
        url = urlsplit(text)
        port, host = url.port, url.hostname or ""
    except ValueError as error:
        raise wrong(f"is {say(text)}, which is no URL; it is such as https://example.com/keys") from error
    if url.scheme not in {"http", "https"} or not host or port == 0 or re.search(r"[\s\\]", text):
        raise wrong(f"is {say(text)}; it is a URL such as https://example.com/keys")
    if "@" in url.netloc or url.fragment:
        raise wrong("names a user or a fragment; leave that out")
    if not _is_reachable(host):
        raise wrong(
            f"is {say(text)}, an address of the machine that would fetch it; name the server of the keys"
        )
    return text


def _is_reachable(host: str) -> bool:
    if host.rstrip(".").endswith("localhost"):
        return False
    try:
        ip = unmapped(ip_address(host))
    except ValueError:
        return _NUMERIC.fullmatch(host) is None
    return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast or ip.is_reserved)


def _key_set(text: str) -> str:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise wrong("is no JSON; it is a JSON Web Key Set") from error
    keys = read.get("keys") if isinstance(read, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) and "kty" in key for key in keys):
        raise wrong('has no keys; it is a JSON Web Key Set: {"keys": [{"kty": …}]}')
    return text


def _some(text: str) -> str:
    if not text:
        raise wrong("is empty; leave it out, or write a value")
    return text


KeysUrl: TypeAlias = Annotated[str, AfterValidator(_keys_url)]
KeySet: TypeAlias = Annotated[str, AfterValidator(_key_set)]
Text: TypeAlias = Annotated[str, AfterValidator(_some)]


class JwtHeader(Shape):
    """A header with a token."""

    name: HeaderName
    prefix: str = ""


class ClaimToHeader(Shape):
    """A claim that the application gets as a header."""

    header: HeaderName
    claim: Text


class JwtRule(Shape):
    """Tokens of one issuer."""

    issuer: Text | None = None
    audiences: Many[Text] = ()
    jwks_uri: KeysUrl | None = Field(default=None, validation_alias=AliasChoices("jwksUri", "jwks_uri"))
    jwks: KeySet | None = None
    from_headers: Many[JwtHeader] = ()
    from_params: Many[Text] = ()
    from_cookies: Many[Text] = ()
    output_payload_to_header: HeaderName | None = None
    forward_original_token: bool = False
    output_claim_to_headers: Many[ClaimToHeader] = ()
    timeout: Duration | None = None
    space_delimited_claims: Annotated[Many[Text], AfterValidator(at_most(64))] = ()
    presence: Literal["OPTIONAL", "REQUIRED"] = "OPTIONAL"

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.jwks is not None and self.jwks_uri is not None:
            raise wrong_at("jwks", "is set together with jwksUri; keep one of them")
        if self.jwks is None and self.jwks_uri is None and self.issuer is None:
            raise wrong("has no keys; give jwksUri or jwks, or an issuer that tells where its keys are")
        seen: set[str] = set()
        for i, output in enumerate(self.output_claim_to_headers):
            if output.header.lower() in seen:
                raise wrong_at(
                    f"outputClaimToHeaders[{i}].header",
                    f"is {say(output.header)} again; give each header one claim",
                )
            seen.add(output.header.lower())
        return self


class RequestAuthenticationSpec(Targeted):
    """security.istio.io RequestAuthentication."""

    jwt_rules: Many[JwtRule] = ()


class RequestAuthenticationDocument(Document):
    """security.istio.io RequestAuthentication."""

    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()
