"""Whether the tokens of a request are good, and what is done to the request for them.

Every token that a rule finds must be good for a rule of its issuer; a request without any passes, unless a rule demands one.
With several good tokens that of the first rule speaks for the user. What the application is told in headers is taken away
first where the client says it by itself. A token is verified once for a value of its rule and keys, and remembered until
it ends.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ambient.core import tokens
from ambient.core.authorize_request import Token
from ambient.core.forwarding.edits import Edit
from ambient.core.forwarding.plan import Unverified, Verified
from ambient.core.http.fields import OWN
from ambient.core.model.jwt import CookieSource, HeaderSource, JwtRule, ParameterSource
from ambient.core.tokens import SKEW_SECONDS, BadToken, KeyRing, TokenFault

if TYPE_CHECKING:
    from ambient.core.http.message import Headers, RequestHead
    from ambient.core.model.jwt import TokenSource

MOST_REMEMBERED: Final = 1024
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_LONGEST_VALUE: Final = 8 * 1024
_Key: TypeAlias = tuple[str, int, int]
"""A token, and the ids of its rule and keys."""


class _Good(NamedTuple):
    """A token that is taken."""

    rule: JwtRule
    keys: KeyRing | None
    token: Token
    payload: str
    until: float | None


class TokenChecks:
    """Verifies the tokens of requests; one for each worker."""

    def __init__(
        self,
        keys: Callable[[JwtRule], KeyRing | None],
        now: Callable[[], float],
        refused: Callable[[TokenFault], None] = lambda _: None,
        most: int = MOST_REMEMBERED,
    ) -> None:
        """``keys`` of a rule, None if there are none yet; ``now`` in seconds since 1970; ``refused`` hears why."""
        self._keys, self._now, self._refused, self._most = keys, now, refused, most
        self._known: OrderedDict[_Key, _Good] = OrderedDict()

    def check(self, rules: tuple[JwtRule, ...], head: RequestHead) -> Verified | Unverified:
        """What ``plan.Checks.token`` asks."""
        checked = self._checked(rules, head)
        if isinstance(checked, BadToken):
            self._refused(checked.fault)
            return Unverified(checked.sentence, checked.challenge, checked.status)
        return checked

    def _checked(self, rules: tuple[JwtRule, ...], head: RequestHead) -> Verified | BadToken:
        found: dict[str, list[tuple[JwtRule, TokenSource]]] = {}
        for rule in rules:
            for text, source in tokens.found(rule, head):
                found.setdefault(text, []).append((rule, source))
        if len(found) > tokens.MOST_FOUND:
            return BadToken(TokenFault.AMBIGUOUS)
        good: dict[str, _Good] = {}
        now = self._now()
        for text, places in found.items():
            verified = self._verified(text, [rule for rule, _ in places], now)
            if isinstance(verified, BadToken):
                return verified
            good[text] = verified
        taken = {id(one.rule) for one in good.values()}
        if any(rule.is_required and id(rule) not in taken for rule in rules):
            return BadToken(TokenFault.MISSING)
        by_rule = [one for rule in rules for one in good.values() if one.rule is rule]
        gone = frozenset(name for rule in rules for name, _ in _told(rule))
        edit = Edit(gone)
        parameters: set[str] = set()
        for text, one in good.items():
            for rule, source in found[text]:
                if rule is not one.rule or rule.forwards_token:
                    continue
                if isinstance(source, ParameterSource):
                    parameters.add(source.name)
                else:
                    edit = edit.then(_without(source, text, edit.of(head.headers)))
        for one in by_rule:
            edit = edit.then(_telling(one))
        return Verified(by_rule[0].token if by_rule else None, edit, frozenset(parameters))

    def _verified(self, text: str, rules: list[JwtRule], now: float) -> _Good | BadToken:
        said: tokens.Signed | None = None
        fault = BadToken(TokenFault.UNKNOWN_ISSUER)
        for rule in rules:
            keys = self._keys(rule)
            known = self._known.get((text, id(rule), id(keys)))
            if known is not None and (known.until is None or now <= known.until):
                self._known.move_to_end((text, id(rule), id(keys)))
                return known
            if said is None:
                read = tokens.read(text)
                if isinstance(read, BadToken):
                    return read
                said = read
            if rule.issuer and said.issuer != rule.issuer:
                continue
            verified = tokens.verify(rule, said, keys, now)
            if isinstance(verified, Token):
                return self._remembered((text, id(rule), id(keys)), rule, keys, said, verified)
            fault = verified
        return fault

    def _remembered(
        self, key: _Key, rule: JwtRule, keys: KeyRing | None, said: tokens.Signed, token: Token
    ) -> _Good:
        expires = said.expires
        until = None if expires is None else expires + SKEW_SECONDS
        # It holds rule and keys, so that no others get their ids.
        good = self._known[key] = _Good(rule, keys, token, said.payload, until)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return good


def _told(rule: JwtRule) -> Iterator[tuple[str, str]]:
    """Headers for the application, each with its claim; that of the payload with none."""
    for name, claim in ((rule.payload_header, ""), *rule.claim_headers):
        if name not in OWN and _NAME.fullmatch(name):
            yield name, claim


def _telling(good: _Good) -> Edit:
    said: dict[str, str] = {}
    for name, claim in _told(good.rule):
        value = good.payload if not claim else _text(_claim(good.token.claims, claim))
        if value is not None and len(value) <= _LONGEST_VALUE:
            said[name] = value
    return Edit(frozenset(said), tuple(said.items()))


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """A claim by its whole name, else step by step."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _text(value: object) -> str | None:
    """As a header has it: lists and objects as JSON in base64, as Envoy does; None: there is no such way."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            if not isfinite(value):
                return None
            return str(int(value)) if value.is_integer() else str(value)
        case str():
            # What is in a token must not end a header.
            return value if value.isascii() and value.isprintable() and value == value.strip() else None
        case _:
            return b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()


def _without(source: HeaderSource | CookieSource, text: str, headers: Headers) -> Edit:
    """The headers without the token."""
    match source:
        case HeaderSource(name, prefix):
            kept = [pair for pair in headers if pair[0] == name and tokens.behind(pair[1], prefix) != text]
            return Edit(frozenset({name}), tuple(kept))
        case CookieSource(name):
            left = "; ".join(one for one in tokens.crumbs(headers) if tokens.cookie(one) != (name, text))
            return Edit(frozenset({"cookie"}), (("cookie", left),) if left else ())
