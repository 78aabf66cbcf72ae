"""Certificates as an attacker, or an operator in error, may present them: true, but for what a test bends."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from net.harness import AUTHORITY

from ambient.core.pki import issue

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
CLIENT_URI = "spiffe://cluster.local/ns/shop/sa/client"
SERVER_URI = "spiffe://cluster.local/ns/shop/sa/server"
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Signer:
    name: x509.Name
    key: Key
    chain: tuple[x509.Certificate, ...] = ()
    """Its own certificate and those above it, without the root."""

    @classmethod
    def of(cls, authority: issue.Authority) -> Signer:
        return cls(authority.root.subject, authority.key)


@dataclass(frozen=True)
class Presented:
    """What a peer shows; every field is as a good peer would have it, unless it is changed."""

    uris: Sequence[str] = (CLIENT_URI,)
    dns: Sequence[str] = ()
    common_name: str = ""
    starts: timedelta = -timedelta(minutes=2)
    """From now."""
    ends: timedelta = DAY
    usages: Sequence[x509.ObjectIdentifier] | None = (CLIENT_AUTH, SERVER_AUTH)
    """None: no such extension."""
    is_authority: bool = False
    may_sign: bool = False
    signer: Signer = field(default_factory=lambda: Signer.of(AUTHORITY))
    key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    padding: int = 0
    """Certificates of nobody that are sent along."""

    def pem(self) -> bytes:
        """Key, leaf, and what leads to the root."""
        now = datetime.now(UTC)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in self.uris]
        names += [x509.DNSName(name) for name in self.dns]
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)] if self.common_name else []
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + self.starts)
            .not_valid_after(now + self.ends)
            .add_extension(x509.BasicConstraints(ca=self.is_authority, path_length=None), critical=True)
            .add_extension(_usage(sign=self.may_sign), critical=True)
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
        if self.usages is not None:
            made = made.add_extension(x509.ExtendedKeyUsage(self.usages), critical=False)
        leaf = _signed(made, self.signer.key)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        sent = (leaf, *self.signer.chain, *([_stranger()] * self.padding))
        return key + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in sent)

    def context(self, side: int = ssl.PROTOCOL_TLS_CLIENT, alpn: str = "h2") -> ssl.SSLContext:
        """A peer that shows it and believes everyone."""
        made = anyone(side, alpn)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.pem())
            file.flush()
            made.load_cert_chain(file.name)
        return made


def anyone(side: int = ssl.PROTOCOL_TLS_CLIENT, alpn: str = "h2") -> ssl.SSLContext:
    """A peer that shows nothing."""
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_ciphers("DEFAULT@SECLEVEL=0")
    if alpn:
        made.set_alpn_protocols([alpn])
    return made


def intermediates(count: int, above: Signer) -> Signer:
    """So many authorities in a row, each certified by the one before."""
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"authority {number}")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(above.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(sign=True), critical=True)
        )
        above = Signer(name, key, (_signed(made, above.key), *above.chain))
    return above


@cache
def _stranger() -> x509.Certificate:
    return replace(intermediates(1, Signer.of(issue.new_authority("nowhere", datetime.now(UTC))))).chain[0]


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=sign, crl_sign=sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _signed(made: x509.CertificateBuilder, key: Key) -> x509.Certificate:
    return made.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
