"""Every error the mesh raises on purpose.

Three families, by who must act: the operator (ConfigError), the peer (PeerError), or nobody but the
retry loop (Unavailable). Anything else that escapes a task is a bug, and is left to crash that task.
"""

from __future__ import annotations


class AmbientError(Exception):
    """Base of the errors below; ``reason`` is the stable label used in metrics."""

    reason = "internal"


class ConfigError(AmbientError):
    """The operator's input is wrong: reject it, and keep the last good state."""

    reason = "config"


class InvalidIdentity(ConfigError):
    """Not a SPIFFE ID of a workload."""

    reason = "invalid_identity"


class PeerError(AmbientError):
    """The remote side broke the protocol or is not who it must be."""

    reason = "peer"


class Unavailable(AmbientError):
    """A dependency cannot serve now; the caller may try again."""

    reason = "unavailable"
