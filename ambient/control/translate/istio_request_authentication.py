"""security.istio.io RequestAuthentication."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ambient.control.objects import RequestAuthentication
from ambient.control.problem import no_effect
from ambient.control.schema import istio_request_authentication as schema
from ambient.control.translate.istio import selected
from ambient.control.translate.istio_security import VERSIONS
from ambient.control.translate.kind import Kind, Translated
from ambient.core.model.jwt import (
    DEFAULT_SOURCES,
    SPACE_DELIMITED,
    CookieSource,
    HeaderSource,
    JwtRule,
    Keys,
    KeysAt,
    KeysGiven,
    KeysOfIssuer,
    ParameterSource,
    TokenSource,
)


def _request_authentication(read: schema.RequestAuthenticationDocument, _: tuple[str, ...]) -> Translated:
    spec, metadata = read.spec, read.metadata
    selector, targets = selected(spec)
    policy = RequestAuthentication(
        metadata.namespace, metadata.name, selector, targets, tuple(map(_rule, spec.jwt_rules))
    )
    if not spec.jwt_rules:
        return Translated(
            policy, (no_effect("spec.jwtRules", "is empty, so the object has no effect; add a rule"),)
        )
    if not targets:
        text = "is missing, and only waypoints look at the tokens of requests; name the Services that it is for, or a Gateway"
        return Translated(policy, (no_effect("spec.targetRefs", text),))
    return Translated(policy)


def _rule(rule: schema.JwtRule) -> JwtRule:
    return JwtRule(
        issuer=rule.issuer or "",
        keys=_keys(rule),
        audiences=frozenset(rule.audiences),
        sources=tuple(_sources(rule)) or DEFAULT_SOURCES,
        is_required=rule.presence == "REQUIRED",
        forwards_token=rule.forward_original_token,
        payload_header=(rule.output_payload_to_header or "").lower(),
        claim_headers=tuple((output.header.lower(), output.claim) for output in rule.output_claim_to_headers),
        space_delimited=SPACE_DELIMITED | set(rule.space_delimited_claims),
        fetch_timeout=rule.timeout,
    )


def _keys(rule: schema.JwtRule) -> Keys:
    if rule.jwks is not None:
        return KeysGiven(rule.jwks)
    return KeysAt(rule.jwks_uri) if rule.jwks_uri is not None else KeysOfIssuer()


def _sources(rule: schema.JwtRule) -> Iterator[TokenSource]:
    for header in rule.from_headers:
        yield HeaderSource(header.name.lower(), header.prefix)
    for name in rule.from_params:
        yield ParameterSource(name)
    for name in rule.from_cookies:
        yield CookieSource(name)


KINDS: Final = (
    Kind("RequestAuthentication", VERSIONS, schema.RequestAuthenticationDocument, _request_authentication),
)
