"""Which keys are believed, whoever shows them."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
STRONG = "P-256, P-384, Ed25519 or RSA 2048-8192"
"""For sentences."""


def strong(key: object) -> PublicKey | None:
    """``key``, if it is neither too weak, nor of a kind that peers do not take, nor so large that it costs."""
    match key:
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        case rsa.RSAPublicKey() if 2048 <= key.key_size <= 8192:
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case _:
            return None
