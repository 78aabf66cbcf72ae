"""A new key and the request to certify it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

if TYPE_CHECKING:
    from ambient.core.model.identity import ClientId, SpiffeId

AuthorityKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A private key and the signed request (both PEM) that proves its possession."""

    key_pem: bytes = field(repr=False)
    csr_pem: bytes


def new_request(identity: SpiffeId | ClientId) -> CertificateRequest:
    """A fresh P-256 key and a request that names ``identity`` as its only URI SAN, with no subject."""
    key = new_key()
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))]), critical=True
        )
        .sign(key, hashes.SHA256())
    )
    return CertificateRequest(key_to_pem(key), request.public_bytes(Encoding.PEM))


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: AuthorityKey) -> bytes:
    """PKCS #8, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
