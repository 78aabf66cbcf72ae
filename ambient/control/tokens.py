"""Bootstrap tokens: for one node, for one key, for a short time. Only their hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ambient.core.errors import ConfigError, InvalidIdentity
from ambient.core.model.identity import NodeId
from ambient.rpc.access import Role, Token
from ambient.rpc.errors import Unauthenticated
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.control.store import Store

DEFAULT_SECONDS: Final = 3600
MOST_SECONDS: Final = 86400


class Tokens:
    """The tokens of one control plane."""

    def __init__(self, store: Store, trust_domain: str, clock: Callable[[], datetime]) -> None:
        self._store, self._trust_domain, self._clock = store, trust_domain, clock

    def create(self, node: str, ttl_seconds: int) -> tuple[str, Token]:
        """A new token for ``node``, and what is known of it; 0 seconds: an hour. Raises ConfigError."""
        try:
            NodeId.parse(f"spiffe://{self._trust_domain}/node/{node}")
        except InvalidIdentity as error:
            raise ConfigError(f"--node {node!r} is not a name: use letters, digits, - . and _") from error
        if not 0 <= ttl_seconds <= MOST_SECONDS:
            raise ConfigError(f"--ttl {ttl_seconds} is not 1-{MOST_SECONDS} seconds")
        now = self._clock()
        token = secrets.token_hex(32)
        expires = now + timedelta(seconds=ttl_seconds or DEFAULT_SECONDS)
        self._store.add_token(_digest(token), node, expires, now)
        made = _known(_digest(token), node, expires, is_used=False)
        log.info("token created", node=node, id=made.id, expires=expires)
        return token, made

    def all(self) -> tuple[Token, ...]:
        """Those that have not expired, by what they are for."""
        now = self._clock()
        return tuple(
            _known(digest, node, expires, is_used=used_by is not None)
            for digest, node, expires, used_by in self._store.tokens()
            if expires > now
        )

    def revoke(self, token_id: str) -> bool:
        """Forget a token; whether there was one."""
        digests = [digest for digest, *_ in self._store.tokens() if _id(digest) == token_id]
        for digest in digests:
            self._store.remove_token(digest)
        return bool(digests)

    def redeem(self, token: str, key: bytes, asked: NodeId | None = None) -> NodeId:
        """The node that ``token`` proves to be, and from here on only for ``key``. Raises Unauthenticated.

        ``asked`` is who the caller says it is; a token of another node is not used up by it.
        The same key may come again: an answer that was lost must not cost the operator a new token.
        """
        digest = _digest(token)
        known = self._store.token(digest)
        if known is None:
            raise Unauthenticated(
                "the bootstrap token is unknown; make one with `ambient token create --node NAME`"
            )
        node, expires, used_by = known
        if asked is not None and asked.node != node:
            raise Unauthenticated(
                f"the bootstrap token is of node {node}, not of {asked.node}; make one with `ambient token create --node {asked.node}`"
            )
        remedy = f"make a new one with `ambient token create --node {node}`"
        if used_by is not None and used_by != key:
            raise Unauthenticated(f"the bootstrap token of node {node} was used already; {remedy}")
        if self._clock() >= expires:
            raise Unauthenticated(f"the bootstrap token of node {node} expired at {expires:%FT%TZ}; {remedy}")
        if used_by is None:
            self._store.use_token(digest, key)
        return NodeId(self._trust_domain, node)


def _known(digest: bytes, node: str, expires: datetime, *, is_used: bool) -> Token:
    return Token(_id(digest), node, Role.NODE, expires, is_used)


def _id(digest: bytes) -> str:
    return digest.hex()[:12]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
