"""Pods: workloads of this node, as its daemon holds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Self

from immutables import Map

from ambient.core.errors import ConfigError
from ambient.core.model.address import IpAddress, SocketAddress

if TYPE_CHECKING:
    from ambient.core.model.authorization import IpNetwork


class Capture(Enum):
    """How far a pod's traffic is in the mesh."""

    OFF = "off"
    """Not at all: nothing of ours touches it."""
    DRAINING = "draining"
    """New connections go straight; HBONE from peers that have not heard yet is still accepted."""
    ON = "on"
    """Outbound and inbound are captured."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Traffic that stays outside the mesh."""

    outbound_ports: frozenset[int] = frozenset()
    inbound_ports: frozenset[int] = frozenset()
    outbound_networks: frozenset[IpNetwork] = frozenset()

    def __or__(self, other: Exclusions) -> Exclusions:
        return Exclusions(
            self.outbound_ports | other.outbound_ports,
            self.inbound_ports | other.inbound_ports,
            self.outbound_networks | other.outbound_networks,
        )


@dataclass(frozen=True, slots=True)
class Probe:
    """How a workload's health is found out: a connection to a port of it, or a GET if there is a path."""

    port: int
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``tcp:8080`` or ``http:8080/path``. Raises ConfigError."""
        scheme, _, rest = text.partition(":")
        port, slash, path = rest.partition("/")
        if (
            scheme not in {"tcp", "http"}
            or not (port.isascii() and port.isdigit() and 0 < int(port) <= 0xFFFF)
            or (scheme == "tcp" and slash)
            or not all("!" <= character <= "~" for character in path)
        ):
            raise ConfigError(f"probe {text!r} is not tcp:PORT or http:PORT/PATH, such as http:8080/healthz")
        return cls(int(port), f"/{path}" if scheme == "http" else None)

    def __str__(self) -> str:
        return f"tcp:{self.port}" if self.path is None else f"http:{self.port}{self.path}"


@dataclass(frozen=True, slots=True)
class Pod:
    """One local workload: who it says it is, and where the kernel keeps it."""

    uid: str
    name: str
    namespace: str
    service_account: str
    netns_cookie: int
    """``SO_NETNS_COOKIE`` of its network namespace: unique for the life of the machine."""
    addresses: tuple[IpAddress, ...]
    labels: Map[str, str] = Map()  # noqa: RUF009
    cgroup: str | None = None
    """Its cgroup v2 folder; None: only reachable through the root of the hierarchy."""
    exclusions: Exclusions = Exclusions()
    probe: Probe | None = None
    """None: its health is what its operator says."""
    healthy: bool = True
    """Others may be sent to it."""


@dataclass(frozen=True, slots=True)
class OlderConnection:
    """A TCP connection of a pod that never met the mesh."""

    local: SocketAddress
    remote: SocketAddress
    inbound: bool
    """Whether the pod is its server: its local port has a listener."""
    cookie: int
    """The kernel's socket cookie, by which it can be destroyed."""
