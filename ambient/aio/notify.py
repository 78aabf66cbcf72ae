"""How a program tells whoever started it that it is ready, and how that one hears of it. Source: sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from ambient.aio import unix

VARIABLE: Final = "NOTIFY_SOCKET"
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_LARGEST: Final = 4096


def tell(state: str) -> None:
    """Tell it, if somebody wants to know and is still there."""
    address = os.environ.get(VARIABLE)
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


class Listener:
    """Hears at ``path`` when the program that has it as its ``VARIABLE`` is ready."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ready = asyncio.Event()
        unix.make_way(str(path))
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._sock.bind(str(path))
            path.chmod(0o600)
        except BaseException:
            self._sock.close()
            raise
        asyncio.get_running_loop().add_reader(self._sock, self._hear)

    async def ready(self) -> None:
        """Wait until it is."""
        await self._ready.wait()

    def close(self) -> None:
        """Hear no more."""
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
        self.path.unlink(missing_ok=True)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if READY.encode() in self._sock.recv(_LARGEST).split(b"\n"):
                self._ready.set()
