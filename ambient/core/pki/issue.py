"""What a certificate authority signs: its root, workload and node leaves, its own server's leaf."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambient.core.errors import ConfigError, InvalidIdentity, PeerError
from ambient.core.model.identity import NodeId
from ambient.core.pki.csr import key_to_pem, new_key
from ambient.core.pki.keys import STRONG, PublicKey, strong

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ambient.core.model.identity import SpiffeId

BACKDATE: Final = timedelta(minutes=6)
"""How far before its birth a certificate is valid, for peers whose clocks are five minutes behind; at most a tenth of its life,
so that half of its life is never over at its birth."""
LEAF_LIFETIME: Final = timedelta(hours=24)
ROOT_LIFETIME: Final = timedelta(days=3650)
SERVER_NAME: Final = "ambient-control"
"""A DNS name that every certificate of a control plane carries; its clients expect it whatever they dial."""


class BadRequest(PeerError):
    """A certificate request that cannot be signed."""

    reason = "bad_csr"


@dataclass(frozen=True, slots=True)
class Authority:
    """A self-signed root and its key."""

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    root: x509.Certificate

    @classmethod
    def from_pem(cls, key_pem: bytes, root_pem: bytes) -> Self:
        """Raises ConfigError if they are not a P-256, P-384 or P-521 key and its certificate."""
        try:
            key = load_pem_private_key(key_pem, password=None)
            root = x509.load_pem_x509_certificate(root_pem)
        except (ValueError, TypeError) as error:
            raise ConfigError("the root key or certificate is not PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError("the root key is not an elliptic curve key")
        if key.public_key() != root.public_key():
            raise ConfigError("the root certificate is not of the root key")
        return cls(key, root)

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8."""
        return key_to_pem(self.key)

    @property
    def root_pem(self) -> bytes:
        """The root certificate: what everyone trusts."""
        return self.root.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What a control plane presents."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    not_before: datetime
    not_after: datetime


def new_authority(trust_domain: str, now: datetime, lifetime: timedelta = ROOT_LIFETIME) -> Authority:
    """A new self-signed root for ``trust_domain``."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain)])
    root = (
        _certificate(name, name, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, root)


def requested_key(csr_pem: bytes) -> PublicKey:
    """The public key that a request proves to own; nothing else in a request is believed.

    Raises BadRequest for anything that is not a signed PEM request with a strong key.
    """
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
        is_signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise BadRequest("the certificate request is not a PEM PKCS #10 request") from error
    if not is_signed:
        raise BadRequest("the certificate request is not signed by its own key")
    believed = strong(key)
    if believed is None:
        raise BadRequest(f"the certificate request's key is too weak or of an unknown kind: use {STRONG}")
    return believed


def requested_node(csr_pem: bytes) -> NodeId | None:
    """Which node a request that ``requested_key`` has taken is for, if it names one. It proves nothing."""
    try:
        names = x509.load_pem_x509_csr(csr_pem).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except (ValueError, x509.ExtensionNotFound):
        return None
    for uri in names.value.get_values_for_type(x509.UniformResourceIdentifier):
        with contextlib.suppress(InvalidIdentity):
            return NodeId.parse(uri)
    return None


def key_fingerprint(key: PublicKey) -> bytes:
    """SHA-256 of a public key."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize()


def issue(
    authority: Authority,
    key: PublicKey,
    identity: SpiffeId | NodeId,
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
) -> tuple[bytes, ...]:
    """A certificate of ``identity`` for ``key``, good for both ends of TLS: PEM, leaf first, root last.

    It never outlives the root.
    """
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    leaf = _leaf(authority, key, names, now, lifetime)
    return (leaf.public_bytes(Encoding.PEM), authority.root_pem)


def issue_server(
    authority: Authority,
    trust_domain: str,
    names: Iterable[str],
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
) -> ServerCertificate:
    """A key and certificate for a control plane, known by ``names`` (DNS names or IP addresses)."""
    key = new_key()
    general: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"spiffe://{trust_domain}/control"),
        x509.DNSName(SERVER_NAME),
    ]
    general += [_general_name(name) for name in dict.fromkeys(names) if name != SERVER_NAME]
    leaf = _leaf(
        authority,
        key.public_key(),
        x509.SubjectAlternativeName(general),
        now,
        lifetime,
    )
    return ServerCertificate(
        key_to_pem(key), leaf.public_bytes(Encoding.PEM), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ConfigError(f"{name!r} is neither an IP address nor a DNS name in ASCII") from error


def _leaf(
    authority: Authority,
    key: PublicKey,
    names: x509.SubjectAlternativeName,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    root = authority.root
    not_after = min(now + lifetime, root.not_valid_after_utc)
    if not_after <= now:
        raise ConfigError(f"the root certificate expired on {root.not_valid_after_utc}: make a new one")
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _certificate(x509.Name([]), root.subject, key, now, not_after - now)
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - min(BACKDATE, lifetime / 10))
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
