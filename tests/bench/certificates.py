"""Keys and certificates for the peers, of the kind that our own mesh has: ECDSA P-256, one SPIFFE URI."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ambient.core.model.identity import SpiffeId
from ambient.core.pki import csr, issue

CLIENT, SERVER, WAYPOINT = (
    SpiffeId("cluster.local", "bench", role) for role in ("client", "server", "waypoint")
)


@dataclass(frozen=True, slots=True)
class Files:
    """What one side of a peer is given."""

    root: Path
    chain: Path
    key: Path
    both: Path
    """Chain and key in one file."""


class Authority:
    """Writes certificates into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._moment = datetime.now(UTC)
        self._authority = issue.new_authority("cluster.local", self._moment)
        folder.mkdir(parents=True)

    def issue(self, identity: SpiffeId) -> Files:
        request = csr.new_request(identity)
        chain = b"".join(
            issue.issue(self._authority, issue.requested_key(request.csr_pem), identity, self._moment)
        )
        name = identity.service_account
        return Files(
            root=self._write("root.pem", self._authority.root_pem),
            chain=self._write(f"{name}-chain.pem", chain),
            key=self._write(f"{name}-key.pem", request.key_pem),
            both=self._write(f"{name}.pem", chain + request.key_pem),
        )

    def _write(self, name: str, content: bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content)
        return path
