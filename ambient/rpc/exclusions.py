"""Exclusions on the wire: the same three fields in every message that has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import Protocol, TypeVar

from ambient.core.model.pod import Exclusions

M = TypeVar("M")


class Message(Protocol):
    """What every such message has."""

    @property
    def outbound_ports(self) -> Iterable[int]: ...

    @property
    def inbound_ports(self) -> Iterable[int]: ...

    @property
    def outbound_networks(self) -> Iterable[str]: ...


def message(kind: Callable[..., M], exclusions: Exclusions) -> M:
    """As a message of ``kind``."""
    return kind(
        outbound_ports=sorted(exclusions.outbound_ports),
        inbound_ports=sorted(exclusions.inbound_ports),
        outbound_networks=sorted(map(str, exclusions.outbound_networks)),
    )


def read(read_from: Message) -> Exclusions:
    """The way back. Raises ValueError."""
    for port in (*read_from.outbound_ports, *read_from.inbound_ports):
        if not 1 <= port <= 0xFFFF:
            raise ValueError(f"{port} is excluded; a port is 1-65535")
    return Exclusions(
        frozenset(read_from.outbound_ports),
        frozenset(read_from.inbound_ports),
        frozenset(map(ip_network, read_from.outbound_networks)),
    )
