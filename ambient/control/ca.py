"""The certificate authority: who may have which certificate."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ambient.control.ledger import Issued
from ambient.control.tokens import name_of
from ambient.core.errors import AmbientError
from ambient.core.model.identity import ClientId, NodeId, OperatorId, SpiffeId
from ambient.core.pki import issue, verify
from ambient.rpc.errors import PermissionDenied
from ambient.rpc.registration import Accepted, Order

if TYPE_CHECKING:
    from ambient.control.audit import Audit
    from ambient.control.tokens import Tokens
    from ambient.control.trust import Trust
    from ambient.core.pki.keys import PublicKey
    from ambient.rpc.signing import SigningRequest

SHORTEST: Final = timedelta(seconds=10)


class CertificateAuthority:
    """Signs for nodes themselves, and for the workloads that are registered on them.

    ``orders`` is the word on each workload of a node. ``lifetime`` is what a certificate has, and the most that can be
    asked for.
    """

    def __init__(
        self,
        trust: Trust,
        trust_domain: str,
        tokens: Tokens,
        orders: Callable[[str], Mapping[str, Order]],
        clock: Callable[[], datetime],
        audit: Audit,
        lifetime: timedelta = issue.LEAF_LIFETIME,
    ) -> None:
        self._trust = trust
        self._trust_domain = trust_domain
        self._tokens = tokens
        self._orders = orders
        self._clock = clock
        self._audit = audit
        self._lifetime = lifetime

    def sign_for_token(self, token: str, request: SigningRequest) -> tuple[bytes, ...]:
        """The first certificate of a node or an operator."""
        with self._audited("a token", request):
            key = issue.requested_key(request.csr_pem)
            asked = issue.requested_client(request.csr_pem)
            client = self._tokens.redeem(token, issue.key_fingerprint(key), asked)
            if request.impersonate is not None:
                raise PermissionDenied(
                    f"a bootstrap token is for {name_of(client)} itself; ask for {request.impersonate} with the node's certificate"
                )
            return self._sign(key, client, "a token", client, request)

    def sign_for_client(self, caller: ClientId, request: SigningRequest) -> tuple[bytes, ...]:
        """The next certificate of a node or an operator, or that of a workload on a node."""
        with self._audited(caller, request):
            key = issue.requested_key(request.csr_pem)
            if caller.trust_domain != self._trust_domain:
                raise PermissionDenied(f"{caller} is not of trust domain {self._trust_domain}")
            if request.impersonate is None:
                return self._sign(key, caller, caller, caller, request)
            match caller:
                case NodeId():
                    self._check_runs(caller.node, request.impersonate)
                case OperatorId():
                    raise PermissionDenied(f"{caller} runs no workloads: it may ask for its own certificate")
            return self._sign(key, request.impersonate, caller, caller, request)

    def _check_runs(self, node: str, identity: SpiffeId) -> None:
        if identity.trust_domain != self._trust_domain:
            raise PermissionDenied(f"{identity} is not of trust domain {self._trust_domain}")
        orders = self._orders(node).values()
        if any(isinstance(order, Accepted) and order.identity == identity for order in orders):
            return
        raise PermissionDenied(
            f"node {node} has no accepted workload that runs as {identity}; add one there with `ambient workload add "
            f"NAME --namespace {identity.namespace} --service-account {identity.service_account}`"
        )

    def _sign(
        self,
        key: PublicKey,
        identity: SpiffeId | ClientId,
        caller: ClientId | str,
        asking: ClientId,
        request: SigningRequest,
    ) -> tuple[bytes, ...]:
        lifetime = max(SHORTEST, min(request.lifetime or self._lifetime, self._lifetime))
        signer = self._trust.signer
        chain = issue.issue(signer, key, identity, self._clock(), lifetime)
        leaf = verify.load(chain[0])
        issued = Issued(
            serial=f"{leaf.serial_number:x}",
            identity=str(identity),
            node=asking.node if isinstance(asking, NodeId) else "",
            authority=self._trust.authority,
            issuer=signer.serial,
            not_after=leaf.not_valid_after_utc,
        )
        self._trust.issued(issued, is_nodes_own=isinstance(identity, NodeId))
        self._audit.record(
            "certificate issued",
            caller=caller,
            node=issued.node,
            identity=issued.identity,
            serial=issued.serial,
            not_after=issued.not_after,
            issuer_serial=issued.issuer,
        )
        return chain

    @contextlib.contextmanager
    def _audited(self, caller: ClientId | str, request: SigningRequest) -> Iterator[None]:
        try:
            yield
        except AmbientError as error:
            record = self._audit.record if isinstance(caller, NodeId) else self._audit.record_sparingly
            record(
                "certificate refused",
                caller=caller,
                identity=request.impersonate or "its own",
                reason=error.reason,
                why=error,
            )
            raise
