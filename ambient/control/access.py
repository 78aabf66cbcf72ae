"""Who is let in: tokens, and operators with their roles."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambient.core.join import JoinToken
from ambient.core.model.identity import NodeId, OperatorId
from ambient.rpc.access import Issued, Operator, Role, Token
from ambient.rpc.errors import NotFound, Unauthenticated
from ambient.rpc.gate import Caller
from ambient.telemetry import log

if TYPE_CHECKING:
    from ambient.control.store import Store
    from ambient.control.tokens import Tokens
    from ambient.core.model.identity import ClientId


@dataclass(frozen=True, slots=True)
class Doors:
    """Where this control plane is reached, and how it is known."""

    host: str
    node_port: int
    bootstrap_port: int
    trust_domain: str
    root_fingerprint: str


class Access:
    """The tokens that are out, and who came with one. ``doors`` are as they are now."""

    def __init__(self, tokens: Tokens, store: Store, trust_domain: str, doors: Callable[[], Doors]) -> None:
        self._tokens, self._store, self._trust_domain, self._doors = tokens, store, trust_domain, doors

    def caller(self, client: ClientId) -> Caller:
        """What somebody with a certificate may do. Raises Unauthenticated."""
        if client.trust_domain != self._trust_domain:
            raise Unauthenticated(f"{client} is not of trust domain {self._trust_domain}")
        match client:
            case NodeId():
                return Caller(str(client), Role.NODE)
            case OperatorId():
                role = self._store.operator_role(client.operator)
                if role is None:
                    raise Unauthenticated(f"{client} is an operator no more; ask an admin for a token")
                return Caller(str(client), Role(role))

    def create_token(self, name: str, role: Role, ttl_seconds: int, address: str) -> Issued:
        """A new token for a node or an operator."""
        secret, made = self._tokens.create(name, role, ttl_seconds)
        doors = self._doors()
        host = address or doors.host
        host = f"[{host}]" if ":" in host else host
        join = JoinToken(
            name=name,
            role=role.value,
            control=f"{host}:{doors.node_port}",
            bootstrap=f"{host}:{doors.bootstrap_port}",
            trust_domain=doors.trust_domain,
            root=doors.root_fingerprint,
            secret=secret,
        )
        return Issued(secret, str(join), made.id, made.expires)

    def check_token(self, token: str) -> None:
        """Whether somebody could come in with it."""
        self._tokens.check(token)

    def tokens(self) -> tuple[Token, ...]:
        """Those that have not expired."""
        return self._tokens.all()

    def revoke_token(self, token_id: str) -> None:
        """Nobody can use it any more."""
        if not self._tokens.revoke(token_id):
            raise NotFound(f"there is no token {token_id!r}; see `ambient token list`")
        log.info("token revoked", id=token_id)

    def operators(self) -> tuple[Operator, ...]:
        """Everyone with an operator's certificate."""
        return tuple(Operator(name, Role(role), since) for name, role, since in self._store.operators())

    def remove_operator(self, name: str) -> None:
        """Their certificate opens nothing any more."""
        if not self._store.remove_operator(name):
            raise NotFound(f"there is no operator {name!r}; see `ambient token operators`")
        log.info("operator removed", name=name)


def own_address() -> str:
    """The address that this machine speaks to others with; loopback if it speaks to nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the kernel only chooses the route. 192.0.2.0/24 is for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address
