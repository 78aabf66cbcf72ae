"""What stands between a root and its leaves: the issuer, and the bridge from a root to the one that follows it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from ambient.core.pki.csr import new_key
from ambient.core.pki.issue import (
    Authority,
    AuthorityEnding,
    authority_name,
    certificate_builder,
    key_usage,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

    from ambient.core.pki.keys import PublicKey

ISSUER_LIFETIME: Final = timedelta(days=365)


def new_issuer(
    root: Authority, trust_domain: str, now: datetime, lifetime: timedelta = ISSUER_LIFETIME
) -> Authority:
    """An authority below ``root`` that may sign leaves and nothing else. It never outlives the root.

    Raises AuthorityEnding if the root has ended.
    """
    key = new_key()
    name = authority_name(trust_domain, "issuer", key)
    certificate = _signed(root, name, key.public_key(), now, lifetime, path_length=0)
    return Authority(key, certificate, (root.certificate, *root.above))


def bridge(old: Authority, new: Authority, now: datetime) -> Certificate:
    """The root ``new`` as the root ``old`` vouches for it: who trusts only ``old`` believes what is below ``new``.

    Raises AuthorityEnding if ``old`` has ended.
    """
    root = new.root
    key = root.public_key()
    left = root.not_valid_after_utc - now
    return _signed(old, root.subject, key, now, left, path_length=None)  # type: ignore[arg-type]


def _signed(
    above: Authority, name: Name, key: PublicKey, now: datetime, lifetime: timedelta, path_length: int | None
) -> Certificate:
    lifetime = min(lifetime, above.not_after - now)
    if lifetime <= timedelta():
        raise AuthorityEnding(f"the authority {above.serial} ended at {above.not_after:%FT%TZ}")
    return (
        certificate_builder(name, above.certificate.subject, key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key()), critical=False
        )
        .sign(above.key, hashes.SHA256())
    )
