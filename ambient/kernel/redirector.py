"""Brings the kernel to the wish of ``core.redirection``: programs, links and maps of each pod."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping

from ambient.core.redirection import Redirection, Role
from ambient.kernel.netns import Netns


class Redirector:
    """The kernel part of one node."""

    original_destinations_fd: int
    clients_fd: int

    @classmethod
    def open(
        cls, node: str, *, prober_cgroup: str | None = None, proxy_cgroup: str | None = None
    ) -> Redirector:
        """Adopt what an earlier daemon of this node left pinned, or load it anew."""
        raise NotImplementedError

    def set(
        self,
        desired: Collection[Redirection],
        netns: Mapping[str, Netns],
        listeners: Mapping[str, Mapping[Role, socket.socket]],
    ) -> int:
        """Bring about ``desired``; how many writes to the kernel it took."""
        raise NotImplementedError

    def counters(self) -> dict[str, int]:
        """How often each reason to pass, redirect or drop was met."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of it all; what is pinned goes on."""
        raise NotImplementedError


def uninstall(node: str) -> None:
    """Leave nothing of this node in the kernel."""
    raise NotImplementedError
