"""Whom the mesh trusts, as it travels beside the mesh's nouns: roots, and certificates that are revoked."""

from __future__ import annotations

import hashlib
from typing import Final

from google.protobuf.message import DecodeError, Message

from ambient.core.errors import ConfigError, PeerError
from ambient.core.pki import verify
from ambient.core.pki.revocation import Revocations
from ambient.rpc.pb.ambient.mesh.v1 import trust_pb2
from ambient.rpc.wire import RawResource

BUNDLE: Final = "type.googleapis.com/ambient.mesh.v1.TrustBundle"
REVOCATIONS: Final = "type.googleapis.com/ambient.mesh.v1.RevocationLists"
TYPES: Final = (BUNDLE, REVOCATIONS)
"""In the order of sending: before anything that is proved by them."""
NAME: Final = "default"
"""Of the one resource of either type."""


class BadTrust(PeerError):
    """Roots or lists that cannot be read."""

    reason = "bad_trust"


def bundle(roots_pem: bytes) -> RawResource:
    """All roots that are trusted."""
    return _raw(BUNDLE, trust_pb2.TrustBundle(roots_pem=roots_pem))


def revocations(lists_pem: bytes) -> RawResource:
    """All lists."""
    return _raw(REVOCATIONS, trust_pb2.RevocationLists(lists_pem=lists_pem))


def read_bundle(raw: RawResource) -> bytes:
    """Roots, PEM, at least one. Raises BadTrust."""
    try:
        roots_pem = trust_pb2.TrustBundle.FromString(raw.body).roots_pem
        verify.load_roots(roots_pem)
    except (DecodeError, ConfigError) as error:
        raise BadTrust("its roots cannot be read") from error
    return roots_pem


def read_revocations(raw: RawResource) -> bytes:
    """Lists, PEM. Raises BadTrust."""
    try:
        lists_pem = trust_pb2.RevocationLists.FromString(raw.body).lists_pem
        Revocations.from_pem(lists_pem)
    except (DecodeError, ConfigError) as error:
        raise BadTrust(f"its lists cannot be read: {error}") from error
    return lists_pem


def _raw(type_url: str, message: Message) -> RawResource:
    body = message.SerializeToString(deterministic=True)
    return RawResource(type_url, NAME, hashlib.sha256(body).hexdigest()[:32], body)
