"""Who a certificate says its holder is, and whether to believe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509 import verification

from ambient.core.errors import ConfigError, InvalidIdentity, PeerError
from ambient.core.model.identity import NodeId, SpiffeId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


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


def spiffe_uri(leaf: bytes) -> str:
    """The SPIFFE URI that is the one URI SAN of a certificate (DER or PEM). Raises BadCertificate if there is none or another."""
    certificate = load(leaf)
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
    except verification.VerificationError as error:
        raise BadCertificate(f"the certificate does not lead to a trusted root: {error}") from error


def check_trust_domain(own: SpiffeId | NodeId, peer: SpiffeId | NodeId) -> None:
    """A peer is of our own trust domain. Raises TrustDomainMismatch."""
    if own.trust_domain != peer.trust_domain:
        raise TrustDomainMismatch(f"{peer} is not of trust domain {own.trust_domain}")


def load(certificate: bytes) -> x509.Certificate:
    """A certificate from DER, or the first of PEM. Raises BadCertificate."""
    try:
        if certificate.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(certificate)
        return x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise BadCertificate("the certificate cannot be read") from error


def load_roots(roots_pem: bytes) -> list[x509.Certificate]:
    """Trusted roots, concatenated. Raises ConfigError if there is none."""
    try:
        return x509.load_pem_x509_certificates(roots_pem)
    except ValueError as error:
        raise ConfigError(
            "the root certificates are not PEM: give root-cert.pem of the control plane"
        ) from error
