"""Which certificates nobody believes any more, although they are in their time.

A list of revoked certificates (CRL; RFC 5280, section 5) counts for the certificates of an authority if that
authority's own key signed it: its name alone proves nothing, and two roots of one name may live side by side. So a
list of an intermediate authority is checked when the first chain through that authority comes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ambient.core.errors import ConfigError, PeerError
from ambient.core.pki import reading
from ambient.core.pki.verify import load, load_roots, signs

if TYPE_CHECKING:
    from datetime import datetime

    from ambient.core.pki.issue import Authority

Chain: TypeAlias = tuple[bytes, ...]
"""Certificates (DER) as TLS verified them: leaf first, root last."""

_BLOCK: Final = re.compile(rb"-----BEGIN ([^-]*)-----(?:.*?-----END \1-----)?", re.DOTALL)
_CRL: Final = b"X509 CRL"


class Revoked(PeerError):
    """A peer's certificate, or one of an authority above it, is revoked."""

    reason = "cert_revoked"


@dataclass(frozen=True, slots=True, eq=False)
class RevocationList:
    """One list, as its authority signed it."""

    issuer: x509.Name
    serials: frozenset[int]
    next_update: datetime | None
    """When its authority promised another; it is used beyond that."""
    _signed: x509.CertificateRevocationList
    _verdicts: dict[bytes, bool] = field(default_factory=dict)
    """By public key, whether it signed the list. That memo is the only state here, and changes no answer."""

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Raises ConfigError for what is no list, or one that needs more than its numbers to be understood."""
        try:
            signed = reading.revocation_list(pem)
            extensions = list(signed.extensions)
            serials = frozenset(entry.serial_number for entry in signed)
        except (ValueError, x509.DuplicateExtension) as error:
            raise ConfigError(
                "a list in it cannot be read; make it anew with the authority's tool, as PEM"
            ) from error
        for extension in extensions:
            match extension.value:
                case x509.DeltaCRLIndicator():
                    raise ConfigError("a list in it holds only changes (a delta CRL); give the complete list")
                case x509.IssuingDistributionPoint() as point if point.indirect_crl:
                    raise ConfigError(
                        "a list in it speaks for other authorities; give a list of each authority"
                    )
                case x509.UnrecognizedExtension() if extension.critical:
                    raise ConfigError(
                        f"a list in it has the critical extension {extension.oid.dotted_string}, which is unknown"
                    )
                case _:
                    pass
        return cls(signed.issuer, serials, signed.next_update_utc, signed)

    @property
    def pem(self) -> bytes:
        """As ``from_pem`` takes it."""
        return self._signed.public_bytes(Encoding.PEM)

    def is_of(self, authority: x509.Certificate) -> bool:
        """Whether ``authority`` signed it."""
        if authority.subject != self.issuer:
            return False
        key = authority.public_key()
        encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if encoded not in self._verdicts:
            try:
                self._verdicts[encoded] = self._signed.is_signature_valid(key)  # type: ignore[arg-type]
            except TypeError:
                self._verdicts[encoded] = False
        return self._verdicts[encoded]


@dataclass(frozen=True, slots=True)
class Revocations:
    """All lists that are in force."""

    lists: tuple[RevocationList, ...] = ()

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Lists one after another, with any text between them; nothing but white space is no list at all.

        Raises ConfigError for anything else.
        """
        blocks = list(_BLOCK.finditer(pem))
        if not blocks and pem.strip():
            raise ConfigError(
                "it holds no list in PEM; `openssl crl -inform der -outform pem` makes one of a list in DER"
            )
        for block in blocks:
            if block[1] != _CRL:
                raise ConfigError(
                    f"it holds a {block[1].decode('ascii', 'replace')}; give lists (X509 CRL) alone"
                )
        return cls(tuple(RevocationList.from_pem(block[0]) for block in blocks))

    def __len__(self) -> int:
        return sum(len(one.serials) for one in self.lists)

    def check_signed_by(self, roots_pem: bytes) -> tuple[str, ...]:
        """Names of the lists' authorities that are none of the roots.

        Raises ConfigError for a list in a root's name that no root signed.
        """
        roots = load_roots(roots_pem)
        others = []
        for one in self.lists:
            named = [root for root in roots if root.subject == one.issuer]
            name = one.issuer.rfc4514_string()
            if not named:
                others.append(name)
            elif not any(one.is_of(root) for root in named):
                raise ConfigError(
                    f"the list of {name} is not signed by the root of that name; get it from its authority"
                )
        return tuple(others)

    def overdue(self, now: datetime) -> tuple[str, ...]:
        """Names of the authorities whose next list should have come."""
        return tuple(
            one.issuer.rfc4514_string()
            for one in self.lists
            if one.next_update is not None and one.next_update <= now
        )

    def check(self, chain: Sequence[bytes]) -> None:
        """Raises Revoked if a certificate of a verified chain is on the list of its authority."""
        if not self.lists:
            return
        certificates = [load(certificate) for certificate in chain]
        for certificate, authority in pairwise(certificates):
            for one in self.lists:
                if certificate.serial_number in one.serials and one.is_of(authority):
                    raise Revoked(
                        f"peer certificate revoked by CRL: serial {certificate.serial_number:x} of {one.issuer.rfc4514_string()}"
                    )

    def covers(self, chain_pem: bytes, roots_pem: bytes) -> bool:
        """Whether credentials of our own (leaf first, with whatever leads to roots) are revoked by any way to a root."""
        certificates = reading.certificates(chain_pem)
        authorities = (*certificates[1:], *load_roots(roots_pem))
        return any(
            certificate.serial_number in one.serials
            and one.is_of(authority)
            and signs(authority, certificate)
            for one in self.lists
            for certificate in certificates
            for authority in authorities
        )


def signed_list(
    authority: Authority, revoked: Mapping[int, datetime], next_update: datetime
) -> RevocationList:
    """The list of ``authority``: serial numbers and when each was revoked. The same input makes the same bytes."""
    latest = max(revoked.values())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(latest)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(int(latest.timestamp())), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    for serial in sorted(revoked):
        entry = (
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(revoked[serial]).build()
        )
        builder = builder.add_revoked_certificate(entry)
    match authority.key:
        case ec.EllipticCurvePrivateKey():
            signed = builder.sign(authority.key, hashes.SHA256(), ecdsa_deterministic=True)
        case rsa.RSAPrivateKey():
            signed = builder.sign(authority.key, hashes.SHA256())
    return RevocationList.from_pem(signed.public_bytes(Encoding.PEM))


NONE = Revocations()
"""Nobody is revoked."""
