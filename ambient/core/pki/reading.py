"""Certificates, requests and revocation lists from others' bytes: read, or a ValueError and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cryptography import x509

T = TypeVar("T")


def certificate(content: bytes) -> x509.Certificate:
    """From DER, or the first of PEM."""
    if content.lstrip().startswith(b"-----BEGIN"):
        return _read(x509.load_pem_x509_certificate, content)
    return _read(x509.load_der_x509_certificate, content)


def certificates(pem: bytes) -> list[x509.Certificate]:
    """Concatenated PEM, of one at least."""
    return _read(x509.load_pem_x509_certificates, pem)


def request(pem: bytes) -> x509.CertificateSigningRequest:
    """PKCS #10, PEM."""
    return _read(x509.load_pem_x509_csr, pem)


def revocation_list(pem: bytes) -> x509.CertificateRevocationList:
    """One CRL, PEM."""
    return _read(x509.load_pem_x509_crl, pem)


def _read(read: Callable[[bytes], T], content: bytes) -> T:
    try:
        return read(content)
    except x509.InvalidVersion as error:
        # The one error of these readers that is no ValueError.
        raise ValueError(str(error)) from error
