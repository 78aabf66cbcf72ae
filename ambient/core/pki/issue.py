"""What a certificate authority signs: its root, workload and node leaves, its own server's leaf.

A leaf has one SPIFFE URI (a control plane's has its names as well), serves both ends of TLS, signs nothing, lives a
day at most and never past any authority above it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ambient.core.errors import ConfigError, InvalidIdentity, PeerError, Unavailable
from ambient.core.model.identity import parse_client
from ambient.core.pki import reading
from ambient.core.pki.csr import AuthorityKey, key_to_pem, new_key
from ambient.core.pki.keys import STRONG, PublicKey, strong
from ambient.core.pki.verify import signs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ambient.core.model.identity import ClientId, SpiffeId

BACKDATE: Final = timedelta(minutes=6)
"""How far before its birth a certificate is valid, for peers whose clocks are five minutes behind; at most a tenth of its life,
so that half of its life is never over at its birth."""
LEAF_LIFETIME: Final = timedelta(hours=24)
SHORTEST_LEAF: Final = timedelta(minutes=1)
"""A leaf that its authority's end would make shorter is not signed; one that was asked for to be shorter is."""
ROOT_LIFETIME: Final = timedelta(days=3650)
SERVER_NAME: Final = "ambient-control"
"""A DNS name that every certificate of a control plane carries; its clients expect it whatever they dial."""


class BadRequest(PeerError):
    """A certificate request that cannot be signed."""

    reason = "bad_csr"


class AuthorityEnding(Unavailable):
    """Too little is left of an authority to sign with it."""

    reason = "authority_ending"


@dataclass(frozen=True, slots=True)
class Authority:
    """Who signs: a key, its certificate, and what leads from that to a root; or a root itself."""

    key: AuthorityKey = field(repr=False, compare=False)
    """Of the public key in ``certificate``, which says all that is to be compared."""
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()
    """Who vouches for ``certificate``, and so on; the root is last. Nothing: it is a root."""
    bridges: tuple[x509.Certificate, ...] = ()
    """The root once more, as roots before it vouch for it."""

    @classmethod
    def from_pem(cls, key_pem: bytes, chain_pem: bytes) -> Self:
        """``chain_pem`` is its certificate, then those above it. Raises ConfigError if they do not belong together."""
        try:
            key = load_pem_private_key(key_pem, password=None)
            certificate, *above = reading.certificates(chain_pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                "the authority's key or certificate is not PEM, or the key has a password"
            ) from error
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
            or strong(key.public_key()) is None
        ):
            raise ConfigError(
                "the authority's key is not one to sign with; use P-256, P-384 or RSA 2048-8192"
            )
        if key.public_key() != certificate.public_key():
            raise ConfigError("the authority's certificate is not of its key")
        made = cls(key, certificate, tuple(above))
        made._check()
        return made

    def bridged(self, bridges_pem: bytes) -> Self:
        """The same with bridges (PEM, or nothing)."""
        bridges = reading.certificates(bridges_pem) if bridges_pem else []
        return dataclasses.replace(self, bridges=tuple(bridges))

    @property
    def root(self) -> x509.Certificate:
        """What everyone trusts."""
        return (self.certificate, *self.above)[-1]

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8."""
        return key_to_pem(self.key)

    @property
    def root_pem(self) -> bytes:
        """The root certificate."""
        return self.root.public_bytes(Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """Its certificate and those above it, root last: what ``from_pem`` takes."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def shown(self) -> tuple[bytes, ...]:
        """What is shown together with a leaf, PEM each: all that is between it and a root."""
        between = (self.certificate, *self.above)[:-1]
        return tuple(one.public_bytes(Encoding.PEM) for one in (*between, *self.bridges))

    @property
    def not_after(self) -> datetime:
        """When it ends, or what is above it does."""
        return min(one.not_valid_after_utc for one in (self.certificate, *self.above))

    @property
    def serial(self) -> str:
        """Its certificate's serial number, in hexadecimal."""
        return f"{self.certificate.serial_number:x}"

    def _check(self) -> None:
        for certificate in (self.certificate, *self.above):
            try:
                extensions = certificate.extensions
                may_sign = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
                with contextlib.suppress(x509.ExtensionNotFound):
                    may_sign &= extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
            except (ValueError, x509.DuplicateExtension, x509.ExtensionNotFound):
                may_sign = False
            if not may_sign:
                raise ConfigError(
                    f"the certificate {certificate.serial_number:x} is not an authority's: it needs CA:TRUE and keyCertSign"
                )
        for lower, upper in pairwise((self.certificate, *self.above)):
            if not signs(upper, lower):
                raise ConfigError(
                    f"the certificate {lower.serial_number:x} is not signed by {upper.serial_number:x} that follows it"
                )


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """What a control plane presents."""

    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    not_before: datetime
    not_after: datetime


def new_authority(
    trust_domain: str,
    now: datetime,
    lifetime: timedelta = ROOT_LIFETIME,
    name: x509.Name | None = None,
) -> Authority:
    """A new self-signed root for ``trust_domain``. ``name``: called so, and not by its own."""
    key = new_key()
    name = name or authority_name(trust_domain, "root", key)
    root = (
        certificate_builder(name, name, key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, root)


def authority_name(trust_domain: str, role: str, key: AuthorityKey) -> x509.Name:
    """Whom an authority of ours calls itself. Its key is part of the name, so that no two are mixed up."""
    mark = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"ambient {role} {mark}"),
        ]
    )


def joined(key_pem: bytes, chain_pem: bytes, roots_pem: bytes) -> Authority:
    """An authority from files of others: its certificate (first) and any between it and a root, in any order.

    Raises ConfigError if they do not lead to one of ``roots_pem``.
    """
    try:
        certificate, *others = reading.certificates(chain_pem)
        roots = reading.certificates(roots_pem)
    except ValueError as error:
        raise ConfigError("they are not all PEM; are they written to the end?") from error
    chain = [certificate]
    while chain[-1] not in roots:
        above = [one for one in (*roots, *others) if one not in chain and signs(one, chain[-1])]
        if not above:
            raise ConfigError(
                f"the certificate {chain[-1].serial_number:x} is not signed by a root of them or by one between"
            )
        chain.append(above[0])
    return Authority.from_pem(key_pem, b"".join(one.public_bytes(Encoding.PEM) for one in chain))


def requested_key(csr_pem: bytes) -> PublicKey:
    """The public key that a request proves to own; nothing else in a request is believed.

    Raises BadRequest for anything that is not a signed PEM request with a strong key.
    """
    try:
        request = reading.request(csr_pem)
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


def requested_client(csr_pem: bytes) -> ClientId | None:
    """Which node or operator a request that ``requested_key`` has taken is for, if it names one. It proves nothing."""
    try:
        names = reading.request(csr_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return None
    for uri in names.value.get_values_for_type(x509.UniformResourceIdentifier):
        with contextlib.suppress(InvalidIdentity):
            return parse_client(uri)
    return None


def key_fingerprint(key: PublicKey) -> bytes:
    """SHA-256 of a public key."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize()


def issue(
    authority: Authority,
    key: PublicKey,
    identity: SpiffeId | ClientId,
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
) -> tuple[bytes, ...]:
    """A certificate of ``identity`` for ``key``, good for both ends of TLS: PEM, leaf first, root last.

    It never outlives its authority. Raises AuthorityEnding if it would live less than a minute for that.
    """
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
    leaf = _leaf(authority, key, names, now, lifetime)
    return (leaf.public_bytes(Encoding.PEM), *authority.shown, authority.root_pem)


def issue_server(
    authority: Authority,
    trust_domain: str,
    names: Iterable[str],
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
) -> ServerCertificate:
    """A key and certificate for a control plane, known by ``names`` (DNS names or IP addresses).

    Raises AuthorityEnding as ``issue`` does.
    """
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
    chain = b"".join((leaf.public_bytes(Encoding.PEM), *authority.shown))
    return ServerCertificate(key_to_pem(key), chain, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


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
    not_after = min(now + lifetime, authority.not_after)
    if not_after - now < min(lifetime, SHORTEST_LEAF):
        raise AuthorityEnding(
            f"the authority {authority.serial} ends at {authority.not_after:%FT%TZ}, too soon to sign with it; "
            "see `ambient certs verify` on the control plane"
        )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        certificate_builder(x509.Name([]), authority.certificate.subject, key, now, not_after - now)
        .add_extension(names, critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )


def certificate_builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    """What every certificate of ours has."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - min(BACKDATE, lifetime / 10))
        .not_valid_after(now + lifetime)
    )


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """An authority signs certificates and lists, a leaf proves who it is."""
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
