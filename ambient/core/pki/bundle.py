"""Everything that one identity needs to prove itself, as one value."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ambient.core.errors import InvalidIdentity, PeerError
from ambient.core.model.identity import NodeId, OperatorId, SpiffeId, parse_client
from ambient.core.pki.verify import BadCertificate, check_chain, load, load_roots, spiffe_uri, split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

Identity = SpiffeId | NodeId | OperatorId


class WrongIdentity(PeerError):
    """An authority answered with the certificate of someone else."""

    reason = "wrong_identity"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A private key, its certificate chain (leaf first, without the root), and whom it trusts. All PEM."""

    identity: Identity
    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    roots_pem: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(
        cls, identity: Identity, key_pem: bytes, chain: Sequence[bytes], roots_pem: bytes, now: datetime
    ) -> Self:
        """From an authority's answer (PEM each, leaf first, root last or left out).

        Raises WrongIdentity or BadCertificate if the leaf is not of ``identity`` and ``key_pem``, does not lead to
        ``roots_pem``, or is out of its time.
        """
        check_chain(chain, roots_pem, now)
        certificates = [load(certificate) for certificate in chain]
        leaf = certificates[0]
        if (uri := spiffe_uri(chain[0])) != str(identity):
            raise WrongIdentity(f"asked for a certificate of {identity}, got one of {uri}")
        if leaf.public_key() != load_pem_private_key(key_pem, password=None).public_key():
            raise WrongIdentity(f"the certificate of {identity} is for another key")
        roots = load_roots(roots_pem)
        chain_pem = b"".join(
            certificate.public_bytes(Encoding.PEM) for certificate in certificates if certificate not in roots
        )
        return cls(
            identity, key_pem, chain_pem, roots_pem, leaf.not_valid_before_utc, leaf.not_valid_after_utc
        )

    def is_expired(self, now: datetime) -> bool:
        """Whether nobody believes it any more."""
        return now >= self.not_after

    def trusting(self, roots_pem: bytes) -> Self:
        """The same with other roots."""
        return replace(self, roots_pem=roots_pem)

    def is_believed(self, now: datetime) -> bool:
        """Whether its chain leads to the roots that it trusts itself."""
        try:
            check_chain(split(self.chain_pem), self.roots_pem, now)
        except BadCertificate:
            return False
        return True

    @property
    def serial(self) -> str:
        """The leaf's serial number, in hexadecimal."""
        return f"{load(self.chain_pem).serial_number:x}"

    def to_bytes(self) -> bytes:
        """For a sealed memfd; of nodes and workloads never for a file."""
        return json.dumps(
            {
                "identity": str(self.identity),
                "key": self.key_pem.decode(),
                "chain": self.chain_pem.decode(),
                "roots": self.roots_pem.decode(),
            }
        ).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What ``to_bytes`` made. Raises BadCertificate for anything else; expired ones are returned."""
        try:
            fields = json.loads(content)
            key, chain, roots = (fields[name].encode() for name in ("key", "chain", "roots"))
            identity = _parse_identity(fields["identity"])
            leaf = load(chain)
            matches = leaf.public_key() == load_pem_private_key(key, password=None).public_key()
        except (ValueError, TypeError, KeyError, AttributeError, InvalidIdentity) as error:
            raise BadCertificate("these are not deposited credentials") from error
        if not matches or spiffe_uri(chain) != str(identity):
            raise BadCertificate(f"the deposited credentials of {identity} do not belong together")
        return cls(identity, key, chain, roots, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def _parse_identity(uri: str) -> Identity:
    try:
        return parse_client(uri)
    except InvalidIdentity:
        return SpiffeId.parse(uri)
