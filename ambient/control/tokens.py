"""Bootstrap tokens: for one node or operator, for one key, for a short time. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ambient.core.errors import ConfigError, InvalidIdentity
from ambient.core.model.identity import ClientId, NodeId, OperatorId, parse_client
from ambient.rpc.access import Role, Token
from ambient.rpc.errors import Unauthenticated
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.control.store import KeptToken, Store

DEFAULT_SECONDS: Final = 3600
MOST_SECONDS: Final = 86400


class Tokens:
    """The tokens of one control plane."""

    def __init__(self, store: Store, trust_domain: str, clock: Callable[[], datetime]) -> None:
        self._store, self._trust_domain, self._clock = store, trust_domain, clock

    def create(self, name: str, role: Role, ttl_seconds: int) -> tuple[str, Token]:
        """A new token, and what is known of it; 0 seconds: an hour. Raises ConfigError."""
        try:
            parse_client(str(self._client(name, role)))
        except InvalidIdentity as error:
            option = "--node" if role is Role.NODE else "--name"
            raise ConfigError(f"{option} {name!r} is not a name: use letters, digits, - . and _") from error
        if not 0 <= ttl_seconds <= MOST_SECONDS:
            raise ConfigError(f"--ttl {ttl_seconds} is not 1-{MOST_SECONDS} seconds")
        now = self._clock()
        token = secrets.token_hex(32)
        expires = now + timedelta(seconds=ttl_seconds or DEFAULT_SECONDS)
        self._store.add_token(_digest(token), name, role.value, expires, now)
        made = Token(_id(_digest(token)), name, role, expires, is_used=False)
        log.info("token created", name=name, role=role.value, id=made.id, expires=expires)
        return token, made

    def all(self) -> tuple[Token, ...]:
        """Those that have not expired, by what they are for."""
        now = self._clock()
        return tuple(
            Token(_id(one.digest), one.name, Role(one.role), one.expires, one.used_by is not None)
            for one in self._store.tokens()
            if one.expires > now
        )

    def revoke(self, token_id: str) -> bool:
        """Forget a token; whether there was one."""
        digests = [one.digest for one in self._store.tokens() if _id(one.digest) == token_id]
        for digest in digests:
            self._store.remove_token(digest)
        return bool(digests)

    def check(self, token: str) -> None:
        """Raises Unauthenticated if ``redeem`` would for a new key."""
        known = self._known(token)
        self._check(known, self._client(known.name, Role(known.role)), None)

    def redeem(self, token: str, key: bytes, asked: ClientId | None = None) -> ClientId:
        """Whom ``token`` proves to be there, and from here on only for ``key``. Raises Unauthenticated.

        ``asked`` is who the caller says it is; a token of another is not used up by it.
        The same key may come again: an answer that was lost must not cost the operator a new token.
        """
        known = self._known(token)
        client = self._client(known.name, Role(known.role))
        if asked is not None and asked != client:
            raise Unauthenticated(
                f"the bootstrap token is of {name_of(client)}, not of {_other(asked, client)}; make one with {_remedy(asked)}"
            )
        self._check(known, client, key)
        if known.used_by is None:
            self._store.use_token(known, key, self._clock())
        return client

    def _known(self, token: str) -> KeptToken:
        known = self._store.token(_digest(token))
        if known is None:
            raise Unauthenticated(
                "the bootstrap token is unknown; make one with `ambient token create --node NAME`"
            )
        return known

    def _check(self, known: KeptToken, client: ClientId, key: bytes | None) -> None:
        remedy = f"make a new one with {_remedy(client)}"
        if known.used_by is not None and known.used_by != key:
            raise Unauthenticated(f"the bootstrap token of {name_of(client)} was used already; {remedy}")
        if self._clock() >= known.expires:
            raise Unauthenticated(
                f"the bootstrap token of {name_of(client)} expired at {known.expires:%FT%TZ}; {remedy}"
            )

    def _client(self, name: str, role: Role) -> ClientId:
        match role:
            case Role.NODE:
                return NodeId(self._trust_domain, name)
            case Role.ADMIN | Role.READER:
                return OperatorId(self._trust_domain, name)


def name_of(client: ClientId) -> str:
    """What messages call a client."""
    match client:
        case NodeId():
            return f"node {client.node}"
        case OperatorId():
            return f"operator {client.operator}"


def _other(asked: ClientId, client: ClientId) -> str:
    if isinstance(asked, NodeId) and isinstance(client, NodeId):
        return asked.node
    return name_of(asked)


def _remedy(client: ClientId) -> str:
    match client:
        case NodeId():
            return f"`ambient token create --node {client.node}`"
        case OperatorId():
            return f"`ambient token create --role ROLE --name {client.operator}`"


def _id(digest: bytes) -> str:
    return digest.hex()[:12]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
