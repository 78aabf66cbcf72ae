"""Certificates for programs that read them from files, by the mesh's own authority or by others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from topology.authority import root_of

from ambient.core.model.identity import NodeId, SpiffeId
from ambient.core.pki import csr, issue
from ambient.core.pki.issue import Authority


@dataclass(frozen=True, slots=True)
class Held:
    """A chain and its key as files."""

    chain: Path
    key: Path


def authority_of(state: Path) -> Authority:
    """The authority of the control plane with this state folder."""
    return root_of(state)


def held(
    folder: Path,
    name: str,
    identity: SpiffeId | NodeId,
    authority: Authority,
    *,
    age: timedelta = timedelta(0),
) -> Held:
    """A certificate as ``authority`` issued it ``age`` ago, for a day."""
    request = csr.new_request(identity)
    key = issue.requested_key(request.csr_pem)
    leaf, _ = issue.issue(authority, key, identity, datetime.now(UTC) - age)
    made = Held(folder / f"{name}.pem", folder / f"{name}.key")
    made.chain.write_bytes(leaf)
    made.key.touch(mode=0o600)
    made.key.write_bytes(request.key_pem)
    return made
