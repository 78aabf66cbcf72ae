"""Where a control plane listens, who is let in there, and what is served behind each door."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ambient.rpc.gate import ROOT, Gate
from ambient.rpc.operator import SOCKET
from ambient.rpc.server import (
    calling_client,
    health_service,
    reflection_service,
    serve_known,
    serve_operator,
    serve_strangers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ambient.control.access import Access
    from ambient.control.audit import Audit
    from ambient.core.pki.issue import ServerCertificate
    from ambient.rpc.server import Service


@dataclass(frozen=True, slots=True)
class Behind:
    """What is served, by the names of services."""

    api: Mapping[str, Service]
    """To operators."""
    nodes: Mapping[str, Service]
    """To nodes with a certificate, and what else there is for anyone who has one."""
    strangers: tuple[Service, ...]
    """To whoever has a token."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """What doors of TLS show, and whom they believe."""

    shown: Callable[[], ServerCertificate]
    roots: Callable[[], bytes]
    is_revoked: Callable[[str], bool]
    """Whether a certificate, by its serial number, counts no more."""
    signing_root: Callable[[], bytes]
    """The one that a join token names."""


async def open_doors(
    state_dir: Path,
    listen: str,
    bootstrap_listen: str,
    behind: Behind,
    trusted: Trusted,
    access: Access,
    audit: Audit,
    stack: AsyncExitStack,
) -> tuple[int, int]:
    """Listen; ``stack`` ends it. The ports for those with a certificate and for those without. Raises ConfigError."""
    socket_services = (*behind.api.values(), health_service(), reflection_service(tuple(behind.api)))
    socket = await serve_operator(state_dir / SOCKET, [Gate(socket_services, lambda _: ROOT, audit)])
    stack.push_async_callback(socket.stop)

    def with_root() -> ServerCertificate:
        """A machine that joins knows only the root's hash, and must see the root itself."""
        shown = trusted.shown()
        return replace(shown, chain_pem=shown.chain_pem + trusted.signing_root())

    strangers = await serve_strangers(bootstrap_listen, with_root, trusted.roots, behind.strangers)
    stack.push_async_callback(strangers.stop)
    known = {**behind.api, **behind.nodes}
    known_services = (*known.values(), health_service(), reflection_service(tuple(known)))
    gate = Gate(
        known_services,
        lambda context: access.caller(calling_client(context, trusted.is_revoked)),
        audit,
    )
    nodes = await serve_known(listen, trusted.shown, trusted.roots, [gate])
    stack.push_async_callback(nodes.stop)
    return nodes.port, strangers.port
