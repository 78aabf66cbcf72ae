"""Asks the workloads that have a probe how they are: from inside their own namespaces, past the mesh and its policies.

A socket of the daemon is none of the pod's cgroup, so the pod's programs do not see it; and what comes from the pod's
own address is let through to the application.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from ambient.core.health import Health, is_answer

if TYPE_CHECKING:
    from ambient.core.model.address import IpAddress
    from ambient.core.model.pod import Probe
    from ambient.node.machine import Machine
    from ambient.node.pods import Local

PERIOD_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 2.0
_AT_ONCE: Final = 64


class Found(Protocol):
    """Who is told of news."""

    def __call__(self, uid: str, *, healthy: bool) -> Awaitable[None]:
        """A workload is healthy now, or is not any more."""


class Probes:
    """The sole asker. ``locals_`` has the workloads by uid."""

    def __init__(self, locals_: Callable[[], Mapping[str, Local]], machine: Machine, found: Found) -> None:
        self._locals, self._machine, self._found = locals_, machine, found
        self._health: dict[str, Health] = {}
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """For ever: ask everyone, and wait."""
        while True:
            await self.ask()
            await asyncio.sleep(PERIOD_SECONDS)

    async def ask(self) -> None:
        """Ask everyone once, and tell what is new."""
        probed = {uid: local for uid, local in self._locals().items() if local.pod.probe is not None}
        for gone in self._health.keys() - probed.keys():
            del self._health[gone]
        answers = await asyncio.gather(*(self._answers(local) for local in probed.values()))
        for (uid, local), answered in zip(probed.items(), answers, strict=True):
            if answered is None:
                continue
            before = self._health.get(uid, Health(local.pod.healthy))
            after = self._health[uid] = before.after(answered=answered)
            if after.healthy != local.pod.healthy:
                await self._found(uid, healthy=after.healthy)

    async def _answers(self, local: Local) -> bool | None:
        """None: it could not be asked, which is no fault of its own."""
        probe = local.pod.probe
        if probe is None or not local.pod.addresses:
            return False
        address = local.pod.addresses[0]
        async with self._free:
            try:
                family = socket.AF_INET if address.version == 4 else socket.AF_INET6
                sock = self._machine.socket_in(local.netns, family)
            except OSError:
                return None
            with sock:
                try:
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        return await _converse(sock, address, probe)
                except OSError:  # TimeoutError is one.
                    return False


async def _converse(sock: socket.socket, address: IpAddress, probe: Probe) -> bool:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (str(address), probe.port))
    if probe.path is None:
        return True
    host = f"[{address}]" if address.version == 6 else str(address)
    request = f"GET {probe.path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: ambient\r\nconnection: close\r\n\r\n"
    await loop.sock_sendall(sock, request.encode())
    head = b""
    while len(head) < len(b"HTTP/1.1 200") and (read := await loop.sock_recv(sock, 64)):
        head += read
    return is_answer(head)
