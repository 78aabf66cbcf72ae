"""From what an operator says to what a replica needs to begin."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ambient.core.errors import ConfigError, InvalidIdentity
from ambient.core.forwarding.client import Introductions
from ambient.core.model.address import IpAddress, SocketAddress, unmapped
from ambient.core.model.identity import SpiffeId
from ambient.core.overload import Capacity
from ambient.core.ports import HBONE_PORT
from ambient.kernel import netlink, process
from ambient.net.roots import fetch_root

if TYPE_CHECKING:
    from ambient.core.join import JoinToken

_LONGEST_REPLICA: Final = 40
_OTHERS: Final = re.compile(r"[^a-z0-9-]+")


class Joined(NamedTuple):
    """What was made of a join token."""

    root_cert: Path
    token_file: Path


async def join(token: JoinToken, run_dir: Path, state_dir: Path) -> Joined:
    """Fetch the root that the token names, and put what is secret in it where nobody else reads.

    Raises ConfigError, WrongRoot or Unavailable.
    """
    if token.role != "node":
        raise ConfigError(f"this token is of operator {token.name}; use it with `ambient login`")
    root = await fetch_root(token.bootstrap, token.root)
    joined = Joined(state_dir / "root-cert.pem", run_dir / "token")
    try:
        for folder in (run_dir, state_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        joined.root_cert.write_bytes(root)
        joined.token_file.unlink(missing_ok=True)
        with os.fdopen(os.open(joined.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token.secret)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; give folders that it may write to") from error
    return joined


def replica_name() -> str:
    """After the machine, as part of a DNS name."""
    name = _OTHERS.sub("-", socket.gethostname().partition(".")[0].lower())[:_LONGEST_REPLICA].strip("-")
    return name or "replica"


def addresses(given: Sequence[str]) -> tuple[IpAddress, ...]:
    """Where nodes reach it: as it was said, or every global address that there is here."""
    try:
        said = tuple(unmapped(ip_address(text)) for text in given)
    except ValueError as error:
        raise ConfigError(f"--address: {error}; give an IP address") from error
    found = said or netlink.global_addresses()
    if not found:
        raise ConfigError("this machine has no address that nodes could reach; give one with --address")
    return found


def introductions(trusted: Sequence[str], *, tells_identity: bool) -> Introductions:
    """What applications are told of their clients."""
    try:
        return Introductions(tells_identity, frozenset(str(SpiffeId.parse(one)) for one in trusted))
    except InvalidIdentity as error:
        raise ConfigError(f"--trust-forwarded: {error}") from error


def listening(given: Sequence[str]) -> tuple[SocketAddress, ...]:
    """Where it listens: as it was said, or on every address of each family that there is here."""
    if given:
        try:
            return tuple(SocketAddress.parse(text) for text in given)
        except ValueError as error:
            raise ConfigError(f"--listen: {error}; write 0.0.0.0:15008 or [::]:15008") from error
    everywhere = [ip_address("0.0.0.0")]
    if socket.has_dualstack_ipv6():
        everywhere.append(ip_address("::"))
    return tuple(SocketAddress(ip, HBONE_PORT) for ip in everywhere)


def capacity(memory_mib: int | None, connections: int) -> Capacity:
    """How much it may have: of memory, as it was said, or as much as its cgroup gives it; 0 connections: no limit."""
    memory = process.memory_limit() if memory_mib is None else memory_mib << 20
    return Capacity(memory or None, connections or None)
