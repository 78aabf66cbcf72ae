"""Who a certificate says its holder is, and whether to believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from ambient.core.errors import ConfigError, InvalidIdentity, PeerError
from ambient.core.model.identity import ClientId, NodeId, SpiffeId, parse_client
from ambient.core.pki import reading
from ambient.core.pki.keys import STRONG, strong

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


MOST_CERTIFICATES: Final = 10
"""In a chain from leaf to root."""


class BadCertificate(PeerError):
    """A peer's certificate that proves nothing."""

    reason = "bad_certificate"


class TrustDomainMismatch(PeerError):
    """A peer of another trust domain."""

    reason = "trust_domain_mismatch"


def identity_of(leaf: bytes) -> SpiffeId:
    """The workload that a certificate (DER or PEM) is of: exactly one URI SAN, and that a workload's.

    The chain is not checked here. Raises BadCertificate. Source: X.509-SVID, section 2: exactly one URI SAN.
    """
    try:
        return SpiffeId.parse(spiffe_uri(leaf))
    except InvalidIdentity as error:
        raise BadCertificate(f"the certificate is not a workload's: {error}") from error


def node_of(leaf: bytes) -> NodeId:
    """The node that a certificate (DER or PEM) is of. The chain is not checked here. Raises BadCertificate."""
    try:
        return NodeId.parse(spiffe_uri(leaf))
    except InvalidIdentity as error:
        raise BadCertificate(f"the certificate is not a node's: {error}") from error


def client_of(leaf: bytes) -> ClientId:
    """The node or operator that a certificate (DER or PEM) is of. The chain is not checked here. Raises BadCertificate."""
    try:
        return parse_client(spiffe_uri(leaf))
    except InvalidIdentity as error:
        raise BadCertificate("the certificate is neither a node's nor an operator's") from error


def serial_of(certificate: bytes) -> str:
    """Its serial number, in hexadecimal. Raises BadCertificate."""
    return f"{load(certificate).serial_number:x}"


def spiffe_uri(leaf: bytes) -> str:
    """The SPIFFE URI that is the one URI SAN of a leaf certificate (DER or PEM).

    Raises BadCertificate if there is none or another, or if it is no leaf (X.509-SVID, sections 4.1 and 4.3), or its
    key is not one that we would certify. An extended key usage may be missing: TLS looks at it where there is one, and
    SPIFFE's and Istio's own verifiers ask no more.
    """
    certificate = load(leaf)
    _check_leaf(certificate)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    except (ValueError, x509.DuplicateExtension) as error:
        raise BadCertificate("the certificate's extensions cannot be read") from error
    if len(uris) != 1:
        raise BadCertificate(f"the certificate has {len(uris)} URI names; a SPIFFE certificate has one")
    if not uris[0].startswith("spiffe://"):
        raise BadCertificate(f"{uris[0]!r} in the certificate is not a SPIFFE identity")
    return uris[0]


def check_length(chain: Sequence[bytes]) -> None:
    """A chain that TLS has verified is not longer than any that an authority needs. Raises BadCertificate."""
    if len(chain) > MOST_CERTIFICATES:
        raise BadCertificate(
            f"the certificate leads to its root by {len(chain)} certificates; {MOST_CERTIFICATES} are taken"
        )


def check_chain(chain: Sequence[bytes], roots_pem: bytes, now: datetime) -> None:
    """Whether ``chain`` (leaf first; DER or PEM each) leads to a root, for where TLS did not look.

    Raises BadCertificate if not, or if a certificate is out of its time.
    """
    if not chain:
        raise BadCertificate("there is no certificate")
    leaf, *others = (load(certificate) for certificate in chain)
    roots = load_roots(roots_pem)
    verifier = verification.PolicyBuilder().store(verification.Store(roots)).time(now).build_client_verifier()
    try:
        verifier.verify(leaf, [certificate for certificate in others if certificate not in roots])
    except (verification.VerificationError, ValueError) as error:
        raise BadCertificate(f"the certificate does not lead to a trusted root: {error}") from error


def check_trust_domain(own: SpiffeId | ClientId, peer: SpiffeId | ClientId) -> None:
    """A peer is of our own trust domain. Raises TrustDomainMismatch."""
    if own.trust_domain != peer.trust_domain:
        raise TrustDomainMismatch(f"{peer} is not of trust domain {own.trust_domain}")


def _check_leaf(certificate: x509.Certificate) -> None:
    try:
        extensions = certificate.extensions
        key = certificate.public_key()
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise BadCertificate("the certificate's extensions or key cannot be read") from error
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                raise BadCertificate("the certificate is an authority's; nobody may speak with it")
            case x509.KeyUsage() as usage if usage.key_cert_sign or usage.crl_sign:
                raise BadCertificate("the certificate may sign others; nobody may speak with it")
    if strong(key) is None:
        raise BadCertificate(f"the certificate's key is too weak or of an unknown kind: use {STRONG}")


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER, or the first of PEM), in hexadecimal. Raises BadCertificate."""
    return load(certificate).fingerprint(hashes.SHA256()).hex()


def load(certificate: bytes) -> x509.Certificate:
    """A certificate from DER, or the first of PEM. Raises BadCertificate."""
    try:
        return reading.certificate(certificate)
    except ValueError as error:
        raise BadCertificate("the certificate cannot be read") from error


def signs(upper: x509.Certificate, lower: x509.Certificate) -> bool:
    """Whether ``upper`` has signed ``lower``."""
    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def split(certificates_pem: bytes) -> tuple[bytes, ...]:
    """Certificates (PEM), one by one. Raises BadCertificate."""
    try:
        return tuple(map(to_pem, reading.certificates(certificates_pem)))
    except ValueError as error:
        raise BadCertificate("the certificates cannot be read") from error


def to_pem(certificate: x509.Certificate) -> bytes:
    """As it stands in files."""
    return certificate.public_bytes(Encoding.PEM)


def load_roots(roots_pem: bytes) -> list[x509.Certificate]:
    """Trusted roots, concatenated. Raises ConfigError if there is none."""
    try:
        return reading.certificates(roots_pem)
    except ValueError as error:
        raise ConfigError(
            "the root certificates are not PEM: give root-cert.pem of the control plane"
        ) from error
