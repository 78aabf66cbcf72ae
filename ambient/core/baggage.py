"""Headers of a CONNECT request that say who calls and why: ``baggage``, ``forwarded`` and ``traceparent``.

They feed telemetry and are never trusted for a decision. Parsing takes anything: what is not well formed is as if it
had not been sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ambient.core.model.address import SocketAddress

if TYPE_CHECKING:
    from ambient.core.model.workload import Workload


@dataclass(frozen=True, slots=True)
class Baggage:
    """What a workload says of itself; empty where it does not."""

    cluster: str = ""
    namespace: str = ""
    workload_kind: str = ""
    """``deployment``, ``cronjob``, ``pod`` or ``job``."""
    workload: str = ""
    service_name: str = ""
    service_version: str = ""
    region: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """On whose behalf a connection is made, and which host (a service) it meant."""

    source: SocketAddress | None
    host: str = ""


def baggage_of(workload: Workload) -> Baggage:
    """What ``workload`` says of itself."""
    raise NotImplementedError


def build_baggage(baggage: Baggage) -> str:
    """The ``baggage`` header."""
    raise NotImplementedError


def parse_baggage(header: str) -> Baggage:
    """Read a ``baggage`` header; unknown keys are skipped, the first of a repeated key counts."""
    raise NotImplementedError


def build_forwarded(source: SocketAddress, host: str = "") -> str:
    """The ``forwarded`` header (RFC 7239)."""
    raise NotImplementedError


def parse_forwarded(header: str) -> Forwarded | None:
    """Read the first element of a ``forwarded`` header; None if it is not well formed."""
    raise NotImplementedError


def build_traceparent(trace_id: bytes, parent_id: bytes) -> str:
    """The ``traceparent`` header of 16 and 8 random bytes, not sampled."""
    raise NotImplementedError


def parse_traceparent(header: str) -> tuple[bytes, bytes] | None:
    """Trace and parent id; None if it is not well formed (W3C Trace Context, version 00)."""
    raise NotImplementedError
