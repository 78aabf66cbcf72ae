"""Intermediate authorities and lists of revoked certificates, as an operator's own authority would make them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ambient.core.model.identity import SpiffeId
from ambient.core.pki import csr, issue
from ambient.core.pki.bundle import Credentials
from ambient.core.pki.issue import Authority
from ambient.core.pki.verify import load


def intermediate(above: Authority, name: str = "intermediate") -> Authority:
    """An authority that ``above`` vouches for; what it issues is not complete without its own certificate."""
    key = csr.new_key()
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(above.root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(issue.key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key()), critical=False
        )
        .sign(above.key, hashes.SHA256())
    )
    return Authority(key, certificate)


def credentials(identity: SpiffeId, *authorities: Authority) -> Credentials:
    """A certificate of the first of ``authorities``, each vouched for by the next; the last is a root."""
    request = csr.new_request(identity)
    now = datetime.now(UTC)
    leaf, *_ = issue.issue(authorities[0], issue.requested_key(request.csr_pem), identity, now)
    chain = [leaf, *(authority.root_pem for authority in authorities)]
    return Credentials.of(identity, request.key_pem, chain, authorities[-1].root_pem, now)


def serial(held: Credentials | bytes) -> int:
    """Of a leaf."""
    return load(held if isinstance(held, bytes) else held.chain_pem).serial_number


def revocation_list(
    authority: Authority,
    *serials: int,
    next_update: datetime | None = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    signed_by: Authority | None = None,
) -> bytes:
    """PEM. ``signed_by``: another key puts its hand to it."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - timedelta(days=2))
        .next_update(next_update or now + timedelta(days=1))
    )
    for number in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
        builder = builder.add_revoked_certificate(entry)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign((signed_by or authority).key, hashes.SHA256()).public_bytes(Encoding.PEM)
