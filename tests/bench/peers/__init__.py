"""What is compared. Each peer is a file; all of them stand on one site at the same time."""

from bench.peers.ambient import Ambient
from bench.peers.envoy import Envoy
from bench.peers.haproxy import Haproxy
from bench.peers.none import NoMesh
from bench.peers.peer import Peer

PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (NoMesh, Ambient, Envoy, Haproxy)}
"""In the order of the table."""

__all__ = ["PEERS", "Ambient", "Peer"]
